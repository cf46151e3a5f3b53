//! Connections: who is listed, and what disconnecting, forgetting, revoking and deleting do to them.

use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::mqtt::Publisher;

async fn items(hub: &Hub, query: &str) -> Vec<Value> {
    hub.get(&format!("/connections{query}")).await.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn connections_are_found_disconnected_and_forgotten() {
    let hub = Hub::start().await;
    let (lamp, lamp_credential) = hub.board("Lamp", 1, &[]).await;
    let (_, fan_credential) = hub.board("Fan", 2, &[]).await;
    let mut of_lamp = Publisher::connect(&hub, "1", &lamp_credential).await.unwrap();
    let _of_fan = Publisher::connect(&hub, "2", &fan_credential).await.unwrap();
    let all = items(&hub, "").await;
    let names: Vec<&str> = all.iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Fan", "Lamp"], "by name");
    let found = items(&hub, "?q=LAM&state=connected").await;
    let [item] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&item["device"], &item["client_id"]), (&json!(lamp), &json!("1")));
    assert_eq!((&item["kind"], &item["transport"]), (&json!("device"), &json!("tcp")));
    assert_eq!((&item["version"], &item["keep_alive_seconds"]), (&json!("3.1.1"), &json!(60)));
    assert_eq!(items(&hub, "?state=away").await, [""; 0]);
    assert_eq!(hub.get("/connections?limit=1&offset=1").await.json()["total"], 2);
    hub.get("/connections?state=x").await.is(400, "invalid");
    let path = format!("/connections/{}", item["id"].as_str().unwrap());
    assert_eq!(hub.get(&path).await.json()["name"], "Lamp");
    for missing in ["/connections/999999", "/connections/x", "/connections/-1"] {
        hub.get(missing).await.is(404, "not_found");
    }
    assert_eq!(hub.post(&format!("{path}/disconnect"), json!({})).await.status, 204);
    assert!(of_lamp.publish("devices/1/telemetry", b"1").await.is_err(), "it is closed");
    hub.get(&path).await.is(404, "not_found");
    let again = Publisher::connect(&hub, "1", &lamp_credential).await;
    assert!(again.is_ok(), "it may come back");
    let broker = hub.get("/connections").await.json()["broker"].clone();
    assert_eq!((&broker["sessions"], &broker["away"]), (&json!(2), &json!(0)));
    let activity = hub.get("/activity?limit=50").await.json();
    let kinds: Vec<&str> =
        activity["items"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"client_disconnected"), "{kinds:?}");
}

#[tokio::test]
async fn a_revoked_token_and_a_deleted_device_lose_their_connections_at_once() {
    let hub = Hub::start().await;
    let made = hub.post("/tokens", json!({ "name": "reader", "role": "engineer" })).await;
    let (id, secret) = (made.string("id"), made.string("token"));
    let mut program = Publisher::connect(&hub, "reader", &secret).await.unwrap();
    program.publish("news/today", b"1").await.unwrap();
    let (lamp, credential) = hub.board("Lamp", 1, &[]).await;
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    assert_eq!(items(&hub, "").await.len(), 2);
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert!(program.publish("news/today", b"2").await.is_err(), "it is closed");
    assert!(Publisher::connect(&hub, "reader", &secret).await.is_err());
    assert_eq!(hub.delete(&format!("/devices/{lamp}")).await.status, 204);
    assert!(board.publish("devices/1/telemetry", b"2").await.is_err(), "it is closed");
    assert_eq!(items(&hub, "").await, [""; 0]);
}
