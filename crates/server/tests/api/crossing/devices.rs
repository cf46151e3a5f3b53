//! Devices that are connected to one node and spoken to from another.

use serde_json::json;

use super::nodes::{Nodes, await_reach, comings, listening, told};
use crate::support::mqtt::Publisher;
use crate::support::{Caller, Hub};

#[tokio::test]
async fn a_device_is_commanded_and_asked_from_another_node() {
    let nodes = Nodes::start().await;
    let (lamp, credential) = nodes.lamp("lamp").await;
    let mut client = listening(&nodes.a, "lamp", &credential).await;
    await_reach(&nodes.b, &lamp, "online").await;
    let given = nodes.b.post("/commands", json!({ "name": "blink", "device": lamp })).await;
    assert_eq!(given.status, 201, "{given:?}");
    let heard = told(&mut client, "command").await;
    assert_eq!((&heard["id"], &heard["name"]), (&json!(given.string("id")), &json!("blink")));
    let path = format!("/devices/{lamp}/ask");
    let asks = nodes.b.post(&path, json!({ "name": "measure" }));
    let answers = async {
        let asked = told(&mut client, "command").await;
        let answer = json!({ "id": asked["id"], "ok": true, "result": 21.5 }).to_string();
        client.publish("devices/lamp/reply", answer.as_bytes()).await.unwrap();
        asked
    };
    let (answer, asked) = tokio::join!(asks, answers);
    assert_eq!((answer.status, &asked["name"]), (200, &json!("measure")), "{answer:?}");
    assert_eq!(answer.json(), json!({ "result": 21.5 }));
    let desired = json!({ "state": { "desired": { "on": true } } });
    assert_eq!(nodes.b.patch(&format!("/devices/{lamp}/shadow"), desired).await.status, 200);
    assert_eq!(told(&mut client, "delta").await["state"], json!({ "on": true }));
    nodes.b.is_well().await;
}

#[tokio::test]
async fn what_waits_for_a_device_is_told_by_the_node_that_it_comes_to() {
    let nodes = Nodes::start().await;
    let (lamp, credential) = nodes.lamp("lamp").await;
    let given = nodes.a.post("/commands", json!({ "name": "blink", "device": lamp })).await;
    let mut client = listening(&nodes.b, "lamp", &credential).await;
    assert_eq!(told(&mut client, "command").await["id"], json!(given.string("id")));
}

#[tokio::test]
async fn a_device_that_moves_to_another_node_was_never_away() {
    let nodes = Nodes::start().await;
    let (lamp, credential) = nodes.lamp("lamp").await;
    let mut client = listening(&nodes.a, "lamp", &credential).await;
    await_reach(&nodes.b, &lamp, "online").await;
    for turn in 0..6 {
        let (to, from) = if turn % 2 == 0 { (&nodes.b, &nodes.a) } else { (&nodes.a, &nodes.b) };
        let before = std::mem::replace(&mut client, listening(to, "lamp", &credential).await);
        // The other node knows it when a command that is given there arrives here.
        let given = from.post("/commands", json!({ "name": "blink", "device": lamp })).await;
        assert_eq!(given.status, 201);
        told(&mut client, "command").await;
        drop(before);
        let named = format!("turn {turn}");
        assert_eq!(to.patch(&format!("/devices/{lamp}"), json!({ "name": named })).await.status, 200);
    }
    assert_eq!(comings(&nodes.a, &lamp).await, ["device_online"]);
    await_reach(&nodes.a, &lamp, "online").await;
    drop(client);
    await_reach(&nodes.b, &lamp, "offline").await;
    assert_eq!(comings(&nodes.b, &lamp).await, ["device_online", "device_offline"]);
}

#[tokio::test]
async fn devices_of_a_node_that_is_gone_have_a_while_to_come_back() {
    let nodes = Nodes::start().await;
    let (lamp, lamp_secret) = nodes.lamp("lamp").await;
    let (fan, fan_secret) = nodes.lamp("fan").await;
    let _lamp = listening(&nodes.a, "lamp", &lamp_secret).await;
    let _fan = listening(&nodes.a, "fan", &fan_secret).await;
    await_reach(&nodes.b, &lamp, "online").await;
    await_reach(&nodes.b, &fan, "online").await;
    let Nodes { a, b, nats: _nats } = nodes;
    a.kill();
    let _again = listening(&b, "lamp", &lamp_secret).await;
    b.until("it is known that a is gone", || async {
        let nodes = b.get("/nodes").await.json();
        let alive = nodes["items"].as_array()?.iter().filter(|node| node["alive"] == true).count();
        (alive == 1).then_some(())
    })
    .await;
    assert_eq!(b.get(&format!("/devices/{fan}")).await.json()["reach"], "online", "it may come back");
    await_reach(&b, &fan, "offline").await;
    assert_eq!(comings(&b, &lamp).await, ["device_online"]);
    assert_eq!(comings(&b, &fan).await, ["device_online", "device_offline"]);
    await_reach(&b, &lamp, "online").await;
}

#[tokio::test]
async fn who_may_not_connect_any_more_is_cut_off_at_every_node() {
    let nodes = Nodes::start().await;
    let (lamp, lamp_secret) = nodes.lamp("lamp").await;
    let (fan, fan_secret) = nodes.lamp("fan").await;
    let token = nodes.a.post("/tokens", json!({ "name": "flow", "role": "engineer" })).await;
    let mut program = Publisher::connect(&nodes.b, "flow", &token.string("token")).await.unwrap();
    let mut lamp_client = listening(&nodes.b, "lamp", &lamp_secret).await;
    let mut fan_client = listening(&nodes.b, "fan", &fan_secret).await;
    await_reach(&nodes.a, &lamp, "online").await;
    await_reach(&nodes.a, &fan, "online").await;
    assert_eq!(nodes.a.delete(&format!("/devices/{lamp}")).await.status, 204);
    assert!(lamp_client.is_cut_off().await);
    assert_eq!(nodes.a.delete(&format!("/devices/{fan}/credential")).await.status, 204);
    assert!(fan_client.is_cut_off().await);
    assert_eq!(nodes.a.delete(&format!("/tokens/{}", token.string("id"))).await.status, 204);
    assert!(program.is_cut_off().await);
}

#[tokio::test]
async fn what_was_not_said_while_the_bus_was_away_is_said_when_it_is_back() {
    let nodes = Nodes::start().await;
    let (lamp, credential) = nodes.lamp("lamp").await;
    let (fan, fan_secret) = nodes.lamp("fan").await;
    let mut client = listening(&nodes.a, "lamp", &credential).await;
    let mut fan_client = listening(&nodes.a, "fan", &fan_secret).await;
    await_reach(&nodes.b, &lamp, "online").await;
    await_reach(&nodes.b, &fan, "online").await;
    let (key, key_secret) = nodes.lamp("key").await;
    let (hut, hut_secret) = nodes.lamp("hut").await;
    let mut key_client = listening(&nodes.a, "key", &key_secret).await;
    let mut hut_client = listening(&nodes.a, "hut", &hut_secret).await;
    await_reach(&nodes.b, &key, "online").await;
    await_reach(&nodes.b, &hut, "online").await;
    nodes.nats.kill();
    let given = nodes.b.post("/commands", json!({ "name": "blink", "device": lamp })).await;
    assert_eq!(given.status, 201);
    let desired = json!({ "state": { "desired": { "on": true } } });
    assert_eq!(nodes.b.patch(&format!("/devices/{lamp}/shadow"), desired).await.status, 200);
    // This is known by the store alone.
    assert_eq!(nodes.b.delete(&format!("/devices/{fan}")).await.status, 204);
    assert!(fan_client.is_cut_off().await);
    assert_eq!(nodes.b.delete(&format!("/devices/{key}/credential")).await.status, 204);
    assert!(key_client.is_cut_off().await);
    let renamed = json!({ "external_id": "cabin" });
    assert_eq!(nodes.b.patch(&format!("/devices/{hut}"), renamed).await.status, 200);
    assert!(hut_client.is_cut_off().await);
    nodes.nats.start_again();
    assert_eq!(told(&mut client, "command").await["id"], json!(given.string("id")));
    assert_eq!(told(&mut client, "delta").await["state"], json!({ "on": true }));
}

#[tokio::test]
async fn a_device_that_asks_by_http_is_told_at_whatever_node_it_asks() {
    let nodes = Nodes::start().await;
    let (lamp, credential) = nodes.lamp("lamp").await;
    let lamp_itself = Caller::token(credential);
    let asks = async |hub: &Hub, wait: u32| {
        let path = format!("/devices/lamp/downlinks?wait={wait}");
        hub.raw("GET", &path, &lamp_itself, &[], b"").await.json()["items"].clone()
    };
    // A balancer sends each request somewhere else.
    asks(&nodes.a, 0).await;
    await_reach(&nodes.b, &lamp, "online").await;
    asks(&nodes.b, 0).await;
    for (at, other) in [(&nodes.a, &nodes.b), (&nodes.b, &nodes.a)] {
        let order = json!({ "name": "blink", "device": lamp });
        let hears = async {
            // One that waits while it is noticed that it was at the other one asks again.
            loop {
                let told = asks(at, 15).await;
                if told[0]["id"].is_string() {
                    return told;
                }
            }
        };
        let (told, given) = tokio::join!(hears, other.post("/commands", order));
        assert_eq!(given.status, 201);
        assert_eq!(told[0]["id"], json!(given.string("id")), "{told}");
        let reply = json!({ "id": told[0]["id"], "ok": true }).to_string();
        let path = "/devices/lamp/reply";
        assert!(at.raw("POST", path, &lamp_itself, &[], reply.as_bytes()).await.status < 300);
    }
    assert_eq!(comings(&nodes.a, &lamp).await, ["device_online"]);
}
