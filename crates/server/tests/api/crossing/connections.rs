//! Who is connected by MQTT, at whatever node.

use serde_json::{Value, json};

use super::nodes::{Nodes, listening};
use crate::support::Hub;
use crate::support::mqtt::Publisher;

/// A list of a node that all nodes answered for: one that answers late is named as silent.
async fn list(hub: &Hub, query: &str) -> Value {
    let whole = || async {
        let list = hub.get(&format!("/connections{query}")).await.json();
        (list["silent"] == json!([])).then_some(list)
    };
    hub.until("no node is silent", whole).await
}

/// The client identifiers that a node lists, each with the node that has it.
async fn listed(hub: &Hub, query: &str) -> Vec<(String, String)> {
    let list = list(hub, query).await;
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (text(item, "client_id"), text(item, "node")))
        .collect()
}

/// Waits until a node knows that both live: it looks every two seconds.
async fn await_both(hub: &Hub) {
    let knows =
        || async { (hub.get("/connections").await.json()["nodes"] == json!(["a", "b"])).then_some(()) };
    hub.until("a node knows both", knows).await;
}

#[tokio::test]
async fn connections_of_all_nodes_are_one_list_and_each_is_ended_from_anywhere() {
    let nodes = Nodes::start().await;
    let (_, credential) = nodes.lamp("lamp").await;
    let (_, fan_secret) = nodes.lamp("fan").await;
    let (_, bell_secret) = nodes.lamp("bell").await;
    let mut lamp = listening(&nodes.b, "lamp", &credential).await;
    let _fan = listening(&nodes.a, "fan", &fan_secret).await;
    let mut bell = Publisher::connect_kept(&nodes.b, "bell", &bell_secret).await.unwrap();
    let all = [("fan", "a"), ("bell", "b"), ("lamp", "b")].map(|(id, node)| (id.to_owned(), node.to_owned()));
    for hub in [&nodes.a, &nodes.b] {
        await_both(hub).await;
        assert_eq!(listed(hub, "").await, all, "by node, then by name");
        assert_eq!(listed(hub, "?limit=1&offset=1").await, all[1..2]);
        assert_eq!(listed(hub, "?limit=2&offset=0").await, all[..2]);
        assert_eq!(listed(hub, "?node=b&limit=1&offset=1").await, all[2..]);
        assert_eq!(listed(hub, "?q=LAM").await, all[2..]);
        let list = list(hub, "?limit=1").await;
        assert_eq!((&list["total"], &list["nodes"]), (&json!(3), &json!(["a", "b"])));
        assert_eq!(&list["broker"]["connections"], &json!(3));
    }

    let id_of = async |name: &str| {
        let list = nodes.a.get(&format!("/connections?q={name}")).await.json();
        list["items"][0]["id"].as_str().unwrap().to_owned()
    };
    let path = format!("/connections/{}", id_of("lamp").await);
    assert_eq!(nodes.a.get(&path).await.json()["subscriptions"][0]["filter"], "devices/lamp/#");
    assert_eq!(nodes.a.post(&format!("{path}/disconnect"), json!({})).await.status, 204);
    assert!(lamp.publish("devices/lamp/telemetry", b"1").await.is_err(), "it is closed");
    nodes.a.get(&path).await.is(404, "not_found");

    let path = format!("/connections/{}", id_of("bell").await);
    assert_eq!(nodes.a.post(&format!("{path}/disconnect"), json!({})).await.status, 204);
    assert!(bell.publish("devices/bell/telemetry", b"1").await.is_err(), "it is closed");
    nodes.a.post(&format!("{path}/disconnect"), json!({})).await.is(409, "not_connected");
    assert_eq!(listed(&nodes.a, "?state=away").await, all[1..2]);
    assert_eq!(nodes.a.delete(&path).await.status, 204);
    assert_eq!(listed(&nodes.a, "").await, all[..1]);
    let kinds = nodes.b.get("/activity?limit=50").await.json().to_string();
    assert!(kinds.contains("client_disconnected") && kinds.contains("session_forgotten"), "{kinds}");
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    let nodes = Nodes::start().await;
    let (_, credential) = nodes.lamp("lamp").await;
    let _lamp = listening(&nodes.a, "lamp", &credential).await;
    await_both(&nodes.a).await;
    nodes.nats.kill();
    let list = nodes.a.get("/connections").await.json();
    assert_eq!((&list["silent"], &list["total"]), (&json!(["b"]), &json!(1)), "{list}");
}
