//! What a node has in memory, after another one wrote it.

use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::json;

use super::nodes::Nodes;
use crate::support::mqtt::Publisher;
use crate::support::pyaiot::Socket;
use crate::support::{Caller, Hub};

#[tokio::test]
async fn the_inbox_is_one() {
    let nodes = Nodes::start().await;
    assert!(Publisher::connect(&nodes.a, "stranger", "x").await.is_err());
    let id = nodes
        .b
        .until("the knock is shown at b", || async {
            let inbox = nodes.b.get("/inbox").await.json();
            Some(inbox["items"].as_array()?.first()?["id"].as_str()?.to_owned())
        })
        .await;
    assert_eq!(nodes.b.post(&format!("/inbox/{id}/refuse"), json!({})).await.status, 204);
    nodes
        .a
        .until("a knows that it was refused", || async {
            let inbox = nodes.a.get("/inbox?state=refused").await.json();
            (inbox["items"].as_array()?.first()?["id"] == id.as_str()).then_some(())
        })
        .await;
    assert_eq!(nodes.a.get("/inbox").await.json()["waiting"], 0);
}

#[tokio::test]
async fn who_knocks_at_two_nodes_at_once_is_listed_once_and_let_in_by_whichever_id() {
    let nodes = Nodes::start().await;
    let listed = async |hub: &Hub| {
        assert!(Publisher::connect(hub, "10801015", "x").await.is_err());
        let fact = || async { hub.get("/inbox").await.json()["items"][0]["id"].as_str().map(str::to_owned) };
        hub.until("the knock is listed", fact).await
    };
    let (at_a, at_b) = (listed(&nodes.a).await, listed(&nodes.b).await);
    assert_eq!(at_a, at_b);
    let made = nodes.b.post(&format!("/inbox/{at_a}/accept"), json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
}

#[tokio::test]
async fn who_is_registered_at_one_node_is_no_stranger_at_the_other() {
    let nodes = Nodes::start().await;
    assert!(Publisher::connect(&nodes.a, "10801015", "x").await.is_err());
    nodes
        .a
        .until("it is listed", || async {
            (nodes.a.get("/inbox").await.json()["waiting"] == 1).then_some(())
        })
        .await;
    let new = json!({ "name": "lamp", "dialect": "nodemcu", "external_id": "10801015" });
    let made = nodes.b.post("/devices", new).await;
    assert_eq!(made.status, 201, "{made:?}");
    nodes
        .a
        .until("it is gone from the inbox", || async {
            (nodes.a.get("/inbox").await.json()["waiting"] == 0).then_some(())
        })
        .await;
}

#[tokio::test]
async fn people_and_programs_are_the_same_at_both() {
    let nodes = Nodes::start().await;
    let made = nodes.a.post("/tokens", json!({ "name": "flow", "role": "viewer" })).await;
    let flow = Caller::token(made.string("token"));
    assert_eq!(nodes.b.call("GET", "/devices", &flow, None).await.status, 200);
    assert_eq!(nodes.b.delete(&format!("/tokens/{}", made.string("id"))).await.status, 204);
    assert_eq!(nodes.a.call("GET", "/devices", &flow, None).await.status, 401);
}

#[tokio::test]
async fn wrong_guesses_count_at_all_nodes_together() {
    let nodes = Nodes::start().await;
    let password = "a guess of somebody";
    let guesses = [
        ("/login", json!({ "name": "nobody", "password": password }), 401),
        ("/sign-up", json!({ "code": "ABCD-EFGH-JKMN", "name": "nobody", "password": password }), 400),
    ];
    for (path, guess, wrong) in guesses {
        let try_at = async |hub: &Hub| hub.call("POST", path, &Caller::default(), Some(&guess)).await.status;
        for _ in 0..5 {
            assert_eq!(try_at(&nodes.a).await, wrong, "{path}");
        }
        // What was said last may be on its way. Without any of it five more would be let through.
        let mut more = 0;
        while try_at(&nodes.b).await == wrong {
            more += 1;
        }
        assert!(more < 5, "{path}: node b let {more} more through");
        assert_eq!(try_at(&nodes.b).await, 429, "{path}");
    }
}

#[tokio::test]
async fn a_token_of_a_gateway_that_serves_once_serves_at_one_node() {
    let nodes = Nodes::start().await;
    let key = nodes.a.pyaiot_key("lab", json!({ "token_age_max_seconds": 60 })).await;
    let number = AtomicU8::new(0);
    let next = || key.token(nodes.a.clock.now(), number.fetch_add(1, Ordering::Relaxed));
    let knows = async || Socket::gateway(&nodes.b, &next()).await.ok().map(drop);
    nodes.b.until("b knows the key", knows).await;
    // A node that has just started may not listen yet, and what is said to it takes a moment.
    let replayed = async || {
        let token = next();
        assert!(Socket::gateway(&nodes.a, &token).await.is_ok());
        nodes.a.pyaiot_key(&format!("after {}", number.load(Ordering::Relaxed)), json!({})).await;
        Socket::gateway(&nodes.b, &token).await.err()
    };
    assert_eq!(nodes.b.until("a replay at b is refused", replayed).await, 401);
    assert!(Socket::gateway(&nodes.b, &next()).await.is_ok());
}

#[tokio::test]
async fn how_a_worker_is_doing_is_seen_at_both() {
    let nodes = Nodes::start().await;
    let retention = async |hub: &Hub| hub.get("/metrics").await.json()["retention"].clone();
    let seen = nodes.a.until("a worker said when it looks", || async {
        let seen = retention(&nodes.a).await;
        (!seen["next_at"].is_null()).then_some(seen)
    });
    assert_eq!(seen.await, retention(&nodes.b).await);
}
