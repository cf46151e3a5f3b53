//! The Pusher protocol: clients hear what programs publish, signed and not otherwise, see who is there, and nothing that
//! anybody says stops the hub.

use motehub_domain::time::Span;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::Hub;
use crate::support::pusher::{PusherApp, PusherSocket};

async fn heard_events(client: &mut PusherSocket, count: usize) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(client.event().await);
    }
    events
}

/// How many are connected by the first app.
async fn sockets(hub: &Hub) -> usize {
    let listed = hub.get("/pusher-apps").await.json();
    listed["items"][0]["sockets"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn who_connects_wrongly_is_told_so_with_a_code() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    for (rest, expected) in [
        ("nobody?protocol=7".to_owned(), 4001),
        (app.key.clone(), 4008),
        (format!("{}?protocol=seven", app.key), 4006),
        (format!("{}?protocol=4", app.key), 4007),
        (format!("{}?protocol=8", app.key), 4007),
    ] {
        let mut client = PusherSocket::open(&hub, &rest).await;
        let error = client.next().await.unwrap();
        assert_eq!(
            (&error["event"], &error["data"]["code"]),
            (&json!("pusher:error"), &json!(expected)),
            "{rest}"
        );
        assert_eq!(client.next().await.map_err(|(code, _)| code), Err(expected), "{rest}");
    }
    assert_eq!(hub.pusher_call("GET", "/elsewhere", &[], None).await.status, 404);
    for protocol in 5..=7 {
        let query = format!("{}?client=java-client&protocol={protocol}&version=2.0.1", app.key);
        let mut client = PusherSocket::open(&hub, &query).await;
        assert_eq!(client.next().await.unwrap()["event"], "pusher:connection_established");
    }
}

#[tokio::test]
async fn programs_publish_to_those_who_hear_a_channel() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let mut one = PusherSocket::connect(&hub, &app).await;
    let mut other = PusherSocket::connect(&hub, &app).await;
    one.subscribe("news", None, None).await;
    other.subscribe("news", None, None).await;
    other.subscribe_signed(&app, "private-room", None).await;
    let said = json!({ "name": "said", "channels": ["news", "private-room"], "data": "{\"n\":1}", "socket_id": one.id,
        "info": "subscription_count" });
    let answer = hub.program(&app, "POST", "/events", &[], said).await;
    let counts = json!({ "channels": { "news": { "subscription_count": 2 }, "private-room": { "subscription_count": 1 } } });
    assert_eq!((answer.status, answer.json()), (200, counts));
    for channel in ["news", "private-room"] {
        let frame = other.next().await.unwrap();
        assert_eq!(frame, json!({ "event": "said", "channel": channel, "data": "{\"n\":1}" }));
    }
    let batch = json!({ "batch": [{ "channel": "news", "name": "a", "data": "1" }, { "channel": "news", "name": "b", "data": "2" }] });
    assert_eq!(hub.program(&app, "POST", "/batch_events", &[], batch).await.json(), json!({}));
    assert_eq!(heard_events(&mut one, 2).await, [("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
    one.say(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "news" } })).await;
    one.say(&json!({ "event": "pusher:ping", "data": {} })).await;
    assert_eq!(one.next().await.unwrap(), json!({ "event": "pusher:pong", "data": "{}" }));
    let channel = hub.program(&app, "GET", "/channels/news", &["info=subscription_count"], Value::Null).await;
    assert_eq!(channel.json(), json!({ "occupied": true, "subscription_count": 1 }));
    let listed = hub.get("/pusher-apps").await.json();
    assert_eq!(listed["items"][0]["sockets"].as_array().map(Vec::len), Some(2), "{listed}");
    assert!(!listed.to_string().contains(&app.secret));
    hub.is_well().await;
}

#[tokio::test]
async fn members_of_a_presence_channel_see_each_other() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let room = "presence-room";
    let mut ada = PusherSocket::connect(&hub, &app).await;
    let there = ada.subscribe_signed(&app, room, Some("ada")).await;
    assert_eq!(
        there,
        json!({ "presence": { "count": 1, "ids": ["ada"], "hash": { "ada": { "name": "ada" } } } })
    );
    let mut bo = PusherSocket::connect(&hub, &app).await;
    assert_eq!(bo.subscribe_signed(&app, room, Some("bo")).await["presence"]["count"], 2);
    let (event, data) = ada.event().await;
    assert_eq!((event.as_str(), &data["user_id"]), ("pusher_internal:member_added", &json!("bo")));
    // A second connection of the same member is no second member.
    let mut twin = PusherSocket::connect(&hub, &app).await;
    twin.subscribe_signed(&app, room, Some("bo")).await;
    let users = hub.program(&app, "GET", "/channels/presence-room/users", &[], Value::Null).await.json();
    assert_eq!(users, json!({ "users": [{ "id": "ada" }, { "id": "bo" }] }));
    let more = ["filter_by_prefix=presence-", "info=user_count"];
    let channels = hub.program(&app, "GET", "/channels", &more, Value::Null).await.json();
    assert_eq!(channels, json!({ "channels": { "presence-room": { "user_count": 2 } } }));
    bo.say(&json!({ "event": "client-typed", "channel": room, "data": { "n": 1 } })).await;
    let frame = ada.next().await.unwrap();
    assert_eq!(
        frame,
        json!({ "event": "client-typed", "channel": room, "data": "{\"n\":1}", "user_id": "bo" })
    );
    drop(bo);
    drop(twin);
    let (event, data) = ada.event().await;
    assert_eq!((event.as_str(), data), ("pusher_internal:member_removed", json!({ "user_id": "bo" })));
}

/// Subscribes, and expects to be refused.
async fn refused(client: &mut PusherSocket, channel: &str, auth: Option<&str>, data: Option<&str>) -> Value {
    let asked = json!({ "channel": channel, "auth": auth, "channel_data": data });
    client.say(&json!({ "event": "pusher:subscribe", "data": asked })).await;
    let (event, error) = client.event().await;
    assert_eq!(
        (event.as_str(), &error["type"]),
        ("pusher:subscription_error", &json!("AuthError")),
        "{channel}"
    );
    let (event, error) = client.event().await;
    assert_eq!(event, "pusher:error");
    error["code"].clone()
}

#[tokio::test]
async fn no_other_signature_opens_a_private_channel() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let other = hub.pusher_app("other", json!({})).await;
    let device = hub.node("1234", &[]).await;
    let mut client = PusherSocket::connect(&hub, &app).await;
    let text = format!("{}:private-room", client.id);
    let foreign = PusherApp { key: app.key.clone(), ..other.clone() };
    for auth in [
        None,
        Some(String::new()),
        Some("nonsense".to_owned()),
        Some(format!("{}:zz", app.key)),
        Some(format!("{}:", app.key)),
        Some(other.auth(&text)),
        Some(foreign.auth(&text)),
        Some(app.auth("1.2:private-room")),
        Some(app.auth(&format!("{}:private-other", client.id))),
    ] {
        assert_eq!(refused(&mut client, "private-room", auth.as_deref(), None).await, 4009, "{auth:?}");
    }
    // What the hub tells itself is not for who has the secret of an app.
    for own in [
        format!("private-device-{device}"),
        "private-devices".into(),
        "private-requests".into(),
        "private-units".into(),
    ] {
        let auth = app.auth(&format!("{}:{own}", client.id));
        assert_eq!(refused(&mut client, &own, Some(&auth), None).await, 4009, "{own}");
        let said = json!({ "name": "a", "channel": own, "data": "x" });
        assert_eq!(hub.program(&app, "POST", "/events", &[], said).await.status, 403, "{own}");
    }
    let auth = app.auth(&format!("{}:presence-room:{{}}", client.id));
    assert_eq!(refused(&mut client, "presence-room", Some(&auth), Some("{}")).await, Value::Null, "nobody");
    client.subscribe_signed(&app, "private-room", None).await;
    assert_eq!(hub.delete(&format!("/pusher-apps/{}", app.id)).await.status, 204);
    assert_eq!(client.next().await, Err((4001, "the app was deleted".to_owned())));
}

#[tokio::test]
async fn a_request_counts_if_the_secret_signed_it_lately() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let other = hub.pusher_app("other", json!({})).await;
    let path = format!("/apps/{}/events", app.app_id);
    let body = br#"{"name":"a","channel":"b","data":"c"}"#;
    let now_s = hub.clock.now().0 / 1000;
    let post = async |path: String, query: String, body: &[u8]| {
        hub.pusher_call("POST", &format!("{path}?{query}"), &[], Some(body)).await.status
    };
    assert_eq!(post(path.clone(), app.query("POST", &path, now_s, &[], body), body).await, 200);
    let unsigned = [
        app.query("POST", &path, now_s - 601, &[], body),
        app.query("POST", &path, now_s + 601, &[], body),
        app.query("POST", &path, now_s, &[], b"another"),
        app.query("POST", &path, now_s, &[], b""),
        app.query("GET", &path, now_s, &[], body),
        app.query("POST", "/apps/1/events", now_s, &[], body),
        other.query("POST", &path, now_s, &[], body),
        PusherApp { key: app.key.clone(), ..other.clone() }.query("POST", &path, now_s, &[], body),
        format!("{}&more=1", app.query("POST", &path, now_s, &[], body)),
        String::new(),
    ];
    for query in unsigned {
        assert_eq!(post(path.clone(), query.clone(), body).await, 401, "{query}");
    }
    let wrong: [(&[u8], u16); 4] = [
        (b"{}", 400),
        (b"no", 400),
        (br#"{"name":"a","channel":"b c","data":"x"}"#, 400),
        (br#"{"name":"a","channel":"b","data":"x","socket_id":"one"}"#, 400),
    ];
    for (body, status) in wrong {
        assert_eq!(post(path.clone(), app.query("POST", &path, now_s, &[], body), body).await, status);
    }
    for size in [11_000, 300_000] {
        let large = json!({ "name": "a", "channel": "b", "data": "x".repeat(size) }).to_string().into_bytes();
        assert_eq!(post(path.clone(), app.query("POST", &path, now_s, &[], &large), &large).await, 413);
    }
    let more = ["info=user_count"];
    assert_eq!(hub.program(&app, "GET", "/channels", &more, Value::Null).await.status, 400);
    assert_eq!(hub.program(&app, "GET", "/channels/news/users", &[], Value::Null).await.status, 400);
    hub.is_well().await;
}

#[tokio::test]
async fn odd_frames_are_answered_and_the_connection_stays() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let mut client = PusherSocket::connect(&hub, &app).await;
    let large =
        json!({ "event": "client-a", "channel": "private-a", "data": "x".repeat(11_000) }).to_string();
    let many = json!({ "event": "pusher:subscribe", "data": { "channel": "x".repeat(300) } }).to_string();
    for odd in [
        "",
        "{",
        "[]",
        "null",
        "{\"event\":1}",
        "{\"event\":\"pusher:subscribe\"}",
        "{\"event\":\"x\"}",
        &large,
        &many,
        "{\"event\":\"client-a\",\"channel\":\"news\",\"data\":1}",
        "{\"event\":\"client-a\",\"channel\":\"private-a\",\"data\":1}",
    ] {
        client.send(Message::text(odd)).await;
        let frame = client.next().await.unwrap();
        assert_eq!(
            (&frame["event"], &frame["data"]["code"]),
            (&json!("pusher:error"), &Value::Null),
            "{odd}"
        );
    }
    client.send(Message::binary(vec![0xff, 0xfe])).await;
    assert_eq!(client.event().await.0, "pusher:error");
    client.subscribe_signed(&app, "private-a", None).await;
    for _ in 0..11 {
        client.say(&json!({ "event": "client-a", "channel": "private-a", "data": "x" })).await;
    }
    assert_eq!(
        client.next().await.unwrap()["data"]["code"],
        4301,
        "not said to the one who says it, and not so often"
    );
    for number in 0..99 {
        client.subscribe(&format!("news-{number}"), None, None).await;
    }
    client.say(&json!({ "event": "pusher:subscribe", "data": { "channel": "news-100" } })).await;
    assert_eq!(client.event().await.1["type"], "LimitReached");
    hub.is_well().await;
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_given_up() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let mut client = PusherSocket::connect(&hub, &app).await;
    assert!(matches!(client.message_as_time_passes(&hub, Span::seconds(30)).await, Message::Ping(_)));
    // The library of this test answers by itself, as all do, when it reads on.
    assert_eq!(client.event().await.0, "pusher:ping");
    client.say(&json!({ "event": "pusher:pong" })).await;
    client.say(&json!({ "event": "pusher:ping" })).await;
    assert_eq!(client.event().await.0, "pusher:pong");
    let slow = PusherSocket::connect(&hub, &app).await;
    assert_eq!(sockets(&hub).await, 2);
    // Nobody reads there, so nobody answers.
    for _ in 0..100 {
        hub.clock.advance(Span::seconds(20));
        client.say(&json!({ "event": "pusher:ping" })).await;
        while client.event().await.0 != "pusher:pong" {}
        if sockets(&hub).await == 1 {
            break;
        }
    }
    assert_eq!(sockets(&hub).await, 1);
    drop(slow);
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_holds_nobody_up() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let mut slow = PusherSocket::connect(&hub, &app).await;
    let mut quick = PusherSocket::connect(&hub, &app).await;
    slow.subscribe("news", None, None).await;
    quick.subscribe("news", None, None).await;
    let data = "x".repeat(10_000);
    let events: Vec<Value> =
        (0..10).map(|_| json!({ "channel": "news", "name": "a", "data": data })).collect();
    for _ in 0..1000 {
        let answer = hub.program(&app, "POST", "/batch_events", &[], json!({ "batch": events })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for _ in 0..10 {
            assert_eq!(quick.event().await.0, "a");
        }
        if sockets(&hub).await == 1 {
            break;
        }
    }
    assert_eq!(sockets(&hub).await, 1);
    hub.is_well().await;
}
