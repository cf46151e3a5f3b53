//! Nodes of the Pyaiot family that come by themselves: what an original client says and compares, letter by letter, and
//! what strangers may not do.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::pyaiot::Socket;
use crate::support::{Answer, Hub};

/// The node as it was captured: it answers the one text that it knows, and takes no other for it.
struct Original {
    socket: Socket,
    led: String,
}

impl Original {
    async fn open(hub: &Hub) -> Self {
        Self { socket: Socket::of_node(hub).await, led: "0".to_owned() }
    }

    /// Everything it has.
    async fn says_all(&mut self) {
        let led = self.led.clone();
        let data = json!({ "node": "fd00:aaaa:bbbb::1", "name": "websocket", "led": led, "os": "riot" });
        self.socket.say(&json!({ "type": "update", "data": data })).await;
    }

    /// Reacts to frames until one makes its led this.
    async fn until_led(&mut self, led: &str) {
        while self.led != led {
            let text = self.socket.text().await.expect("the connection is open");
            if text == r#"{"request": "discover"}"# {
                self.says_all().await;
                continue;
            }
            let command: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(command.as_object().unwrap().len(), 2, "{text}");
            assert_eq!(command["endpoint"], "led", "{text}");
            self.led = command["payload"].as_str().expect("a payload is a text").to_owned();
            self.socket.say(&json!({ "type": "update", "data": { "led": self.led } })).await;
        }
    }
}

async fn knock(hub: &Hub, name: &str) -> Value {
    hub.until("a knock", || async {
        let inbox = hub.get("/inbox").await.json();
        let items = inbox["items"].as_array().unwrap().clone();
        items.into_iter().find(|knock| knock["name"] == *name)
    })
    .await
}

async fn accept(hub: &Hub, name: &str) -> String {
    let id = knock(hub, name).await["id"].as_str().unwrap().to_owned();
    let wanted = json!({ "name": name, "without_credential": true });
    let made: Answer = hub.post(&format!("/inbox/{id}/accept"), wanted).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.string("id")
}

#[tokio::test]
async fn an_original_node_is_accepted_commanded_and_known_again() {
    let hub = Hub::start().await;
    let mut node = Original::open(&hub).await;
    assert_eq!(node.socket.text().await.as_deref(), Ok(r#"{"request": "discover"}"#), "it compares this");
    node.says_all().await;
    let id = accept(&hub, "fd00:aaaa:bbbb::1").await;
    // It stayed connected; the hub looks again by itself, and takes what it said before.
    hub.until("it is let in", || async {
        let device = hub.get(&format!("/devices/{id}")).await.json();
        (device["online"] == true).then_some(())
    })
    .await;
    let order = json!({ "name": "led", "args": "1", "device": id });
    assert_eq!(hub.post("/commands", order).await.status, 201);
    node.until_led("1").await;
    hub.until("the command is done", || async {
        let list = hub.get(&format!("/devices/{id}/commands")).await.json();
        (list["items"][0]["state"] == "Done").then_some(())
    })
    .await;
    // Off and on again: another connection, the same device, and what is desired is told.
    let desired = json!({ "state": { "desired": { "led": 1 } } });
    assert_eq!(hub.patch(&format!("/devices/{id}/shadow"), desired).await.status, 200);
    drop(node);
    let mut node = Original::open(&hub).await;
    node.until_led("1").await;
    let system = hub.get("/system").await.json();
    let address = hub.nodes_ws.to_string();
    assert_eq!(system["listeners"]["nodes_ws"], json!(address), "{system}");
    hub.is_well().await;
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_with_a_short_reason() {
    let hub = Hub::start().await;
    let garbage = "x".repeat(200);
    let frames: [Message; 7] = [
        Message::text("hello"),
        Message::text(garbage),
        Message::text("null"),
        Message::text(r#"{"data":{"led":"1"}}"#),
        Message::text(r#"{"type":"foo"}"#),
        Message::text(r#"{"type":"update"}"#),
        Message::binary(vec![0xff, 0xfe]),
    ];
    for frame in frames {
        let mut node = Socket::of_node(&hub).await;
        node.text().await.unwrap();
        node.send(frame.clone()).await;
        let (code, reason) = node.text().await.expect_err("it is closed");
        assert_eq!(code, 1003, "{frame:?}: {reason}");
        assert!(!reason.is_empty() && reason.len() <= 123, "{frame:?}: {reason}");
    }
    let mut node = Socket::of_node(&hub).await;
    node.text().await.unwrap();
    node.say(&json!({ "type": "update", "data": { "js": "x".repeat(100_000) } })).await;
    assert!(node.text().await.is_err(), "a frame has at most 64 KiB");
    hub.is_well().await;
}

#[tokio::test]
async fn a_node_is_let_in_by_its_name_from_its_network_only() {
    let hub = Hub::start().await;
    let made = json!({ "name": "far", "dialect": "riot", "external_id": "Bench-7" });
    let far = hub.post("/devices", made).await.string("id");
    let open = json!({ "unauthenticated_allowed": true, "allowed_from": "192.0.2.0/24", "revision": 1 });
    let opened = hub.patch(&format!("/devices/{far}"), open).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let mut node = Socket::of_node(&hub).await;
    node.say(&json!({ "type": "update", "data": { "name": "Bench 7", "led": "1" } })).await;
    let knock = knock(&hub, "Bench-7").await;
    assert_eq!(knock["transport"], "websocket", "{knock}");
    let device = hub.get(&format!("/devices/{far}")).await.json();
    assert_eq!(device["online"], false, "{device}");
}
