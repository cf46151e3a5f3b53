//! The hub's own channels of the Pusher protocol: who may hear them by its rights, what is said there, and an original
//! base with all that it says as it was captured.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::pusher::{PusherApp, PusherSocket};
use crate::support::{Answer, Hub};

const BASE: &str = "T0ken-of-the-base-as-it-was-before";

/// Asks to be let in to a channel, as the library of an original base does it.
pub(crate) async fn ask(hub: &Hub, path: &str, token: &str, channel: &str, socket: &str) -> Answer {
    let form = format!("channel_name={channel}&socket_id={socket}");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("charset", "UTF-8"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    hub.pusher_call("POST", path, &headers, Some(form.as_bytes())).await
}

/// Hears one of the hub's own channels with a token.
async fn hear(hub: &Hub, client: &mut PusherSocket, token: &str, channel: &str) {
    let answer = ask(hub, "/broadcasting/auth", token, channel, &client.id).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    client.subscribe(channel, Some(&answer.string("auth")), None).await;
}

/// A reading, as the JVM of a base puts it: no body, no length.
async fn put(hub: &Hub, prefix: &str, rest: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("User-Agent", "Java/17.0.15"),
        ("Accept", "text/html, image/gif, image/jpeg, */*; q=0.2"),
    ];
    hub.pusher_call("PUT", &format!("{prefix}/webhook/update-unit/{rest}"), &headers, None).await
}

async fn unit(hub: &Hub, name: &str, address: &str, settings: Value) -> String {
    let mut line = json!({ "through": "base" });
    line.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let made = hub
        .post("/devices", json!({ "name": name, "dialect": "line", "address": address, "line": line }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    made.string("id")
}

async fn with_base(hub: &Hub) -> PusherApp {
    hub.pusher_app("base", json!({ "key": "abc123", "base_token": BASE })).await
}

async fn token(hub: &Hub, name: &str, role: &str) -> String {
    {
        let made = hub.post("/tokens", json!({ "name": name, "role": role })).await;
        made.string("token")
    }
}

#[tokio::test]
async fn an_original_base_speaks_for_its_units_as_it_always_did() {
    let hub = Hub::start().await;
    let _app = with_base(&hub).await;
    let sensor = unit(&hub, "Light", "192.168.1.20", json!({ "kind": "read" })).await;
    let lamp = unit(&hub, "Lamp", "192.168.1.30", json!({ "kind": "update" })).await;
    let mut base = PusherSocket::open(&hub, "abc123?client=java-client&protocol=5&version=2.0.1").await;
    let (_, established) = base.event().await;
    established["socket_id"].as_str().unwrap().clone_into(&mut base.id);
    let answers = ["/broadcasting/auth", "/api/broadcasting/auth", "/api/api/broadcasting/auth"];
    let mut auth = String::new();
    for path in answers {
        let answer = ask(&hub, path, BASE, "private-requests", &base.id).await;
        assert_eq!(answer.status, 200, "{path}");
        auth = answer.string("auth");
        assert!(auth.starts_with("abc123:") && auth.len() == 7 + 64, "{auth}");
    }
    assert_eq!(base.subscribe("private-requests", Some(&auth), None).await, json!({}));
    hub.until("the lamp counts as there", || async {
        (hub.get(&format!("/devices/{lamp}")).await.json()["online"] == true).then_some(())
    })
    .await;
    let wanted = json!({ "state": { "desired": { "value": "#ff8800" } } });
    assert_eq!(hub.patch(&format!("/devices/{lamp}/shadow"), wanted).await.status, 200);
    let frame = base.next().await.unwrap();
    assert_eq!(
        frame,
        json!({ "event": "update.request", "channel": "private-requests",
            "data": "{\"ip\":\"192.168.1.30\",\"payload\":\"#ff8800\"}" })
    );
    hub.until("it is reported", || async {
        let shadow = hub.get(&format!("/devices/{lamp}/shadow")).await.json();
        (shadow["state"]["reported"]["value"] == "#ff8800").then_some(())
    })
    .await;
    let viewer = token(&hub, "page", "viewer").await;
    let mut page = PusherSocket::connect(&hub, &hub.pusher_app("page", json!({})).await).await;
    hear(&hub, &mut page, &viewer, "private-units").await;
    for (prefix, value) in [("", "512"), ("/api", "513.5"), ("", "%35%31")] {
        let answer = put(&hub, prefix, &format!("192.168.1.20/{value}"), BASE).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "status": 200 })), "{value}");
    }
    for value in ["512", "513.5", "51"] {
        let frame = page.next().await.unwrap();
        assert_eq!(
            (&frame["event"], &frame["channel"]),
            (&json!("App\\Events\\UnitUpdated"), &json!("private-units"))
        );
        let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
        assert_eq!(data, json!({ "ip": "192.168.1.20", "value": value }));
    }
    let points = hub.get(&format!("/devices/{sensor}/metrics")).await.json();
    assert_eq!(
        (&points["items"][0]["metric"], &points["items"][0]["value"]),
        (&json!("value"), &json!(51)),
        "{points}"
    );
    drop(base);
    hub.until("the lamp is gone with its base", || async {
        (hub.get(&format!("/devices/{lamp}")).await.json()["online"] == false).then_some(())
    })
    .await;
    hub.is_well().await;
}

#[tokio::test]
async fn readings_are_taken_from_a_base_and_of_units_only() {
    let hub = Hub::start().await;
    with_base(&hub).await;
    unit(&hub, "Light", "192.168.1.20", json!({})).await;
    unit(&hub, "Words", "192.168.1.21", json!({ "parser": "text" })).await;
    let viewer = token(&hub, "page", "viewer").await;
    let operator = token(&hub, "program", "manager").await;
    for (rest, token, expected) in [
        ("192.168.1.20/512", BASE, 200),
        ("192.168.1.20/512", operator.as_str(), 200),
        ("192.168.1.21/a/b?c=d%20e%", BASE, 200),
        ("192.168.1.20/512", "nonsense", 401),
        ("192.168.1.20/512", viewer.as_str(), 403),
        ("192.168.1.99/512", BASE, 404),
        ("lamp/512", BASE, 404),
        ("192.168.1.20", BASE, 404),
        ("192.168.1.20/hello", BASE, 422),
        ("192.168.1.20/", BASE, 422),
    ] {
        let answer = put(&hub, "", rest, token).await;
        assert_eq!(answer.status, expected, "{rest}");
        assert_eq!(answer.json()["status"], expected, "{rest}");
    }
    let devices = hub.get("/devices?limit=10").await.json();
    let words = devices["items"].as_array().unwrap().iter().find(|item| item["name"] == "Words").unwrap();
    let words = words["id"].as_str().unwrap();
    let points = hub.get(&format!("/devices/{words}/metrics")).await.json();
    assert_eq!(points["items"][0]["value"], "a/b?c=d e%", "kept as it was sent");
}

#[tokio::test]
async fn a_channel_of_a_device_is_for_those_who_may_see_it() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    with_base(&hub).await;
    let sensor = unit(&hub, "Light", "192.168.1.20", json!({})).await;
    let viewer = token(&hub, "page", "viewer").await;
    let (of_one, all) = (format!("private-device-{sensor}"), "private-devices");
    let mut page = PusherSocket::connect(&hub, &app).await;
    hear(&hub, &mut page, &viewer, &of_one).await;
    let mut wall = PusherSocket::connect(&hub, &app).await;
    hear(&hub, &mut wall, &viewer, all).await;
    assert_eq!(put(&hub, "", "192.168.1.20/7", BASE).await.status, 200);
    for client in [&mut page, &mut wall] {
        let (event, data) = client.event().await;
        assert_eq!((event.as_str(), &data["device"]), ("telemetry", &json!(sensor)));
        assert_eq!((&data["points"][0]["metric"], &data["points"][0]["value"]), (&json!("value"), &json!(7)));
    }
    assert_eq!(hub.patch(&format!("/devices/{sensor}"), json!({ "name": "Sun" })).await.status, 200);
    for client in [&mut page, &mut wall] {
        let (event, data) = client.event().await;
        assert_eq!((event.as_str(), &data["kind"]), ("change", &json!("device_edited")), "{data}");
    }
    let wanted = json!({ "state": { "desired": { "value": 1 } } });
    hub.patch(&format!("/devices/{sensor}/shadow"), wanted).await;
    let (event, data) = page.event().await;
    assert_eq!((event.as_str(), &data["shadow"]["state"]["desired"]["value"]), ("shadow", &json!(1)));
    // Who may not.
    let socket = page.id.clone();
    for (token, channel, socket) in [
        ("nonsense", of_one.as_str(), socket.as_str()),
        (BASE, of_one.as_str(), socket.as_str()),
        (viewer.as_str(), "private-requests", socket.as_str()),
        (viewer.as_str(), "private-room", socket.as_str()),
        (viewer.as_str(), "private-device-01jzzzzzzzzzzzzzzzzzzzzzzz", socket.as_str()),
        (viewer.as_str(), of_one.as_str(), "1.2"),
        (viewer.as_str(), of_one.as_str(), "one"),
    ] {
        assert_eq!(
            ask(&hub, "/broadcasting/auth", token, channel, socket).await.status,
            403,
            "{token} {channel} {socket}"
        );
    }
    // A signature for one socket is of no use to another.
    let auth = ask(&hub, "/broadcasting/auth", &viewer, &of_one, &socket).await.string("auth");
    let mut eve = PusherSocket::connect(&hub, &app).await;
    eve.say(&json!({ "event": "pusher:subscribe", "data": { "channel": of_one, "auth": auth } })).await;
    assert_eq!(eve.event().await.0, "pusher:subscription_error");
    // The token is revoked: what was opened with it ends.
    let tokens = hub.get("/tokens").await.json();
    let found = tokens["items"].as_array().unwrap().iter().find(|token| token["name"] == "page").unwrap();
    assert_eq!(hub.delete(&format!("/tokens/{}", found["id"].as_str().unwrap())).await.status, 204);
    hub.clock.advance(Span::seconds(30));
    let ended = loop {
        if let Err(ended) = wall.next().await {
            break ended;
        }
    };
    assert_eq!(ended.0, 4200, "{ended:?}");
}

#[tokio::test]
async fn only_pages_that_are_named_may_use_the_login_of_their_visitors() {
    let hub = Hub::start().await;
    let app = hub.pusher_app("page", json!({})).await;
    let bo = crate::access::somebody(&hub, "bo", "viewer").await;
    let cookie = format!("motehub_session={}", bo.cookie.unwrap());
    let client = PusherSocket::connect(&hub, &app).await;
    let form = format!("channel_name=private-devices&socket_id={}", client.id);
    for (origin, expected, allowed) in [
        ("http://page.example", 200, Some(("http://page.example", true))),
        ("http://evil.example", 403, Some(("*", false))),
    ] {
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Origin", origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let answer = hub.pusher_call("POST", "/broadcasting/auth", &headers, Some(form.as_bytes())).await;
        assert_eq!(answer.status, expected, "{origin}");
        let head = answer.head.to_ascii_lowercase();
        let (told, with_login) = allowed.unwrap();
        assert!(head.contains(&format!("access-control-allow-origin: {told}")), "{head}");
        assert_eq!(head.contains("access-control-allow-credentials"), with_login, "{head}");
    }
    let asked =
        hub.pusher_call("OPTIONS", "/broadcasting/auth", &[("Origin", "http://evil.example")], None).await;
    assert_eq!(asked.status, 204);
    assert!(
        asked.head.to_ascii_lowercase().contains("access-control-allow-headers: authorization"),
        "{}",
        asked.head
    );
}
