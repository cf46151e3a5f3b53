//! The Pusher protocol with clients at two nodes.

use serde_json::{Value, json};

use super::nodes::Nodes;
use crate::pusher_own::ask;
use crate::support::Hub;
use crate::support::pusher::{PusherApp, PusherSocket};

const ROOM: &str = "presence-room";

async fn users(hub: &Hub, app: &PusherApp) -> Value {
    hub.program(app, "GET", &format!("/channels/{ROOM}/users"), &[], Value::Null).await.json()["users"]
        .clone()
}

/// Waits until a node says so of who is there.
async fn await_users(hub: &Hub, app: &PusherApp, expected: &[&str]) {
    let expected: Value = expected.iter().map(|id| json!({ "id": id })).collect();
    hub.until("who is there", || async { (users(hub, app).await == expected).then_some(()) }).await;
}

#[tokio::test]
async fn members_at_two_nodes_see_each_other_and_a_node_that_is_gone_takes_its_along() {
    let Nodes { a, b, nats: _nats } = Nodes::start().await;
    let app = a.pusher_app("page", json!({})).await;
    let knows = || async {
        let answer = b.program(&app, "GET", "/channels", &[], Value::Null).await;
        (answer.status == 200).then_some(())
    };
    b.until("node b knows the app", knows).await;

    let mut ada = PusherSocket::connect(&a, &app).await;
    ada.subscribe_signed(&app, ROOM, Some("ada")).await;
    await_users(&b, &app, &["ada"]).await;
    let mut bo = PusherSocket::connect(&b, &app).await;
    let there = bo.subscribe_signed(&app, ROOM, Some("bo")).await;
    let hash = json!({ "ada": { "name": "ada" }, "bo": { "name": "bo" } });
    assert_eq!(there, json!({ "presence": { "count": 2, "ids": ["ada", "bo"], "hash": hash } }));
    let (event, data) = ada.event().await;
    assert_eq!((event.as_str(), &data["user_id"]), ("pusher_internal:member_added", &json!("bo")));

    // One who is at both nodes is one member.
    let mut twin = PusherSocket::connect(&a, &app).await;
    let there = twin.subscribe_signed(&app, ROOM, Some("bo")).await;
    assert_eq!(there["presence"]["count"], 2);
    for hub in [&a, &b] {
        await_users(hub, &app, &["ada", "bo"]).await;
        let counts = ["info=user_count,subscription_count"];
        let path = format!("/channels/{ROOM}");
        let says = || async {
            let told = hub.program(&app, "GET", &path, &counts, Value::Null).await.json();
            let expected = json!({ "occupied": true, "user_count": 2, "subscription_count": 3 });
            (told == expected).then_some(())
        };
        hub.until("how many hear it", says).await;
        let more = ["filter_by_prefix=presence-", "info=user_count"];
        let channels = hub.program(&app, "GET", "/channels", &more, Value::Null).await.json();
        assert_eq!(channels, json!({ "channels": { ROOM: { "user_count": 2 } } }));
    }
    bo.say(&json!({ "event": "client-typed", "channel": ROOM, "data": { "n": 1 } })).await;
    for client in [&mut ada, &mut twin] {
        assert_eq!(client.event().await, ("client-typed".to_owned(), json!({ "n": 1 })));
    }

    drop(twin);
    let path = format!("/channels/{ROOM}");
    let hears = || async {
        let told = b.program(&app, "GET", &path, &["info=subscription_count"], Value::Null).await;
        (told.json()["subscription_count"] == 2).then_some(())
    };
    b.until("the twin is gone", hears).await;
    b.kill();
    let (event, data) = ada.event().await;
    assert_eq!((event.as_str(), data), ("pusher_internal:member_removed", json!({ "user_id": "bo" })));
    await_users(&a, &app, &["ada"]).await;
}

#[tokio::test]
async fn a_socket_is_let_in_to_a_channel_of_the_hub_at_whatever_node_its_page_asks() {
    let Nodes { a, b, nats: _nats } = Nodes::start().await;
    let app = a.pusher_app("page", json!({})).await;
    let token = a.post("/tokens", json!({ "name": "page", "role": "viewer" })).await.string("token");
    let mut page = PusherSocket::connect(&a, &app).await;
    let asked = || async {
        let answer = ask(&b, "/broadcasting/auth", &token, "private-devices", &page.id).await;
        (answer.status == 200).then(|| answer.string("auth"))
    };
    // The other node knows of the app and of the token when it was told of them.
    let auth = b.until("it is let in", asked).await;
    let unknown = ask(&b, "/broadcasting/auth", &token, "private-devices", "1.2").await;
    assert_eq!(unknown.status, 403);
    page.subscribe("private-devices", Some(&auth), None).await;
    b.post("/devices", json!({ "name": "lamp", "dialect": "native" })).await;
    let (event, data) = page.event().await;
    assert_eq!((event.as_str(), &data["kind"]), ("change", &json!("device_registered")), "{data}");
}
