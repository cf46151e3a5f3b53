//! The live connection: changes in their order, resuming, telemetry of watched devices, and when it ends.

use motehub_domain::time::Span;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::live::Reader;
use crate::support::mqtt::Publisher;
use crate::support::{Caller, Hub};

async fn open(hub: &Hub, query: &str) -> Reader {
    Reader::open(hub, &hub.ada, query, None).await.unwrap()
}

/// Waits until pages that are opened begin behind all that happened, and says where that is.
async fn the_feed_has_all(hub: &Hub) -> i64 {
    let last = hub.last_seq().await;
    hub.until("the feed has come so far", || async {
        (open(hub, "").await.next().await == Some(json!({ "hello": { "seq": last } }))).then_some(())
    })
    .await;
    last
}

fn seqs(changes: &[Value]) -> Vec<i64> {
    changes.iter().map(|change| change["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn changes_come_in_their_order_each_once() {
    let hub = Hub::start().await;
    let mut reader = open(&hub, "").await;
    let last = reader.next().await.unwrap()["hello"]["seq"].as_i64().unwrap();
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    hub.deploy(&script, 1, &[&lamp]).await;
    let path = format!("/devices/{lamp}");
    let edits = (0..30).map(|n| {
        let (hub, path) = (&hub, &path);
        async move { hub.patch(path, json!({ "name": format!("Lamp {n}") })).await }
    });
    for answer in futures_util::future::join_all(edits).await {
        assert_eq!(answer.status, 200);
    }
    let logged = hub.get(&format!("/activity?limit=1000&after={last}")).await.json()["items"].clone();
    let mut logged = logged.as_array().unwrap().clone();
    logged.reverse();
    // A number may be missing: of what was refused and written again.
    let changes = reader.changes(logged.len()).await;
    assert!(seqs(&changes).is_sorted() && logged.len() > 30);
    assert_eq!(changes, logged, "the feed and the log say the same");
}

#[tokio::test]
async fn what_happens_between_a_page_and_its_link_is_told() {
    let hub = Hub::start().await;
    let seq = hub.get("/me").await.json()["seq"].as_i64().unwrap();
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let mut reader = open(&hub, &format!("?after={seq}")).await;
    assert!(reader.next().await.unwrap()["hello"]["seq"].as_i64() >= Some(seq));
    while !reader.next().await.unwrap()["changes"].to_string().contains(&lamp) {}
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_or_is_told_to_load_again() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let before = hub.last_seq().await;
    for number in 0..20 {
        let edit = json!({ "name": format!("Lamp {number}") });
        assert_eq!(hub.patch(&format!("/devices/{lamp}"), edit).await.status, 200);
    }
    let last = the_feed_has_all(&hub).await;
    let mut reader = open(&hub, &format!("?after={before}")).await;
    assert_eq!(reader.next().await, Some(json!({ "hello": { "seq": last } })));
    assert_eq!(seqs(&reader.changes(20).await), (before + 1..=last).collect::<Vec<i64>>());
    assert_eq!(hub.delete(&format!("/devices/{lamp}")).await.status, 204);
    assert_eq!(seqs(&reader.changes(1).await), [last + 1]);
    let last = last + 1;
    for ahead in [last, last + 1, i64::MAX] {
        let mut reader = open(&hub, &format!("?after={ahead}")).await;
        assert_eq!(reader.next().await, Some(json!({ "hello": { "seq": last } })));
        if ahead > last {
            assert_eq!(reader.next().await, Some(json!({ "resync": true })), "a number of another history");
        }
    }
    let mut reader = open(&hub, "?after=-9223372036854775808").await;
    reader.next().await.unwrap();
    assert_eq!(reader.next().await, Some(json!({ "resync": true })));
    let (fan, _) = hub.board("Fan", 2, &[]).await;
    assert_eq!(reader.changes(1).await[0]["subject"], fan, "it goes on from there");
    for query in ["?after=x", "?after=9223372036854775808", "?since=1"] {
        assert_eq!(Reader::open(&hub, &hub.ada, query, None).await.err(), Some(400), "{query}");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn telemetry_of_watched_devices_is_shown() {
    let hub = Hub::start().await;
    let (lamp, lamp_credential) = hub.board("Lamp", 1, &[]).await;
    let (fan, fan_credential) = hub.board("Fan", 2, &[]).await;
    let mut of_lamp = Publisher::connect(&hub, "1", &lamp_credential).await.unwrap();
    let mut of_fan = Publisher::connect(&hub, "2", &fan_credential).await.unwrap();
    hub.until("both are online", || async {
        (hub.get("/overview").await.json()["devices"]["online"] == 2).then_some(())
    })
    .await;
    the_feed_has_all(&hub).await;
    let mut reader = open(&hub, "").await;
    reader.next().await.unwrap();
    let many: Vec<&str> = vec![&lamp; 51];
    let bad = [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        json!({ "watch": lamp }).to_string(),
        json!({ "watch": ["x"] }).to_string(),
        json!({ "watch": [1] }).to_string(),
        json!({ "watch": many }).to_string(),
        json!({ "watch": [], "more": 1 }).to_string(),
        "[".repeat(5000),
        format!("\"{}\"", "x".repeat(10_000)),
    ];
    for text in &bad {
        reader.say(text).await;
        let answer = reader.next().await.unwrap();
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("watch")), "{answer}");
    }
    reader.send(Message::binary(vec![0, 255])).await;
    reader.say(&json!({ "watch": [lamp, lamp] }).to_string()).await;
    // An answered frame behind it: what was said before is in force then.
    reader.say("?").await;
    reader.next().await.unwrap();
    of_fan.publish("devices/2/telemetry", b"7").await.unwrap();
    of_lamp.publish("devices/1/telemetry", br#"{"ts":1700000000000,"values":{"t":21.5}}"#).await.unwrap();
    let shown = reader.next().await.unwrap();
    assert_eq!(shown, json!({ "telemetry": { lamp.as_str(): [["t", 1_700_000_000_000_i64, 21.5]] } }));
    reader.say(&json!({ "watch": [fan] }).to_string()).await;
    reader.say("?").await;
    reader.next().await.unwrap();
    of_lamp.publish("devices/1/telemetry", b"8").await.unwrap();
    of_fan.publish("devices/2/telemetry", b"9").await.unwrap();
    let shown = reader.next().await.unwrap();
    assert_eq!(shown["telemetry"].as_object().unwrap().keys().collect::<Vec<_>>(), [&fan], "{shown}");
    hub.is_well().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_connection() {
    let hub = Hub::start().await;
    let mut reader = open(&hub, "").await;
    reader.next().await.unwrap();
    reader.say(&"x".repeat(100_000)).await;
    assert_eq!(reader.next().await, None);
    hub.is_well().await;
}

#[tokio::test]
async fn only_those_who_may_see_open_it_and_only_from_our_own_pages() {
    let hub = Hub::start().await;
    let nobody = Caller::default();
    assert_eq!(Reader::open(&hub, &nobody, "", None).await.err(), Some(401));
    assert_eq!(Reader::open(&hub, &Caller::token("mht_wrong"), "", None).await.err(), Some(401));
    let first = json!({ "code": hub.setup_code, "name": "ann", "password": "nine brown horses" });
    let came = hub.call("POST", "/setup", &nobody, Some(&first)).await;
    let cookie = came.header("set-cookie").unwrap().strip_prefix("motehub_session=").unwrap();
    let ann = Caller { cookie: cookie.split(';').next().map(str::to_owned), ..Caller::default() };
    for origin in [None, Some("https://evil.example"), Some("null"), Some("http://127.0.0.1")] {
        assert_eq!(Reader::open(&hub, &ann, "", origin).await.err(), Some(403), "{origin:?}");
    }
    let own = format!("http://{}", hub.http);
    let mut reader = Reader::open(&hub, &ann, "", Some(&own)).await.unwrap();
    assert!(reader.next().await.is_some_and(|frame| frame["hello"].is_object()));
}

#[tokio::test]
async fn who_may_no_longer_see_is_cut_off_at_once() {
    let hub = Hub::start().await;
    let made = hub.post("/tokens", json!({ "name": "wall", "role": "viewer" })).await;
    let (id, wall) = (made.string("id"), Caller::token(made.string("token")));
    let mut by_token = Reader::open(&hub, &wall, "", None).await.unwrap();
    by_token.next().await.unwrap();
    let expires = json!({ "name": "short", "role": "viewer", "expires_at": "2027-01-15T09:00:00Z" });
    let short = Caller::token(hub.post("/tokens", expires).await.string("token"));
    let mut by_short = Reader::open(&hub, &short, "", None).await.unwrap();
    by_short.next().await.unwrap();
    let made = hub.post("/users", json!({ "name": "bo", "role": "viewer" })).await;
    let (bo, password) = (made.string("id"), made.string("password"));
    let login = json!({ "name": "bo", "password": password });
    let came = hub.call("POST", "/login", &Caller::default(), Some(&login)).await;
    let secret = came.header("set-cookie").unwrap().strip_prefix("motehub_session=").unwrap();
    let secret = secret.split(';').next().unwrap().to_owned();
    let caller = Caller { cookie: Some(secret), csrf: Some(came.string("csrf")), token: None };
    let change = json!({ "current": password, "new": "nine brown horses" });
    assert_eq!(hub.call("POST", "/me/password", &caller, Some(&change)).await.status, 204);
    let own = format!("http://{}", hub.http);
    let mut by_cookie = Reader::open(&hub, &caller, "", Some(&own)).await.unwrap();
    by_cookie.next().await.unwrap();

    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    while by_token.next().await.is_some() {}
    assert_eq!(hub.patch(&format!("/users/{bo}"), json!({ "disabled": true })).await.status, 200);
    while by_cookie.next().await.is_some() {}
    hub.clock.advance(Span::minutes(61));
    assert_eq!(hub.post("/tokens", json!({ "name": "other", "role": "viewer" })).await.status, 201);
    while by_short.next().await.is_some() {}
}
