//! Jobs beside what their transcripts show: what is asked too often, and what many devices are told at once.

use serde_json::json;

use crate::support::Hub;
use crate::support::mqtt::Publisher;

/// More than may be under way on a connection.
const AT_ONCE: usize = 15;
/// Whether a burst arrives in one piece is up to the machine: it is tried again.
const BURSTS: usize = 200;

async fn lamp(hub: &Hub) -> Publisher {
    let lamp = json!({ "name": "lamp", "dialect": "native", "external_id": "lamp-1" });
    let credential = hub.post("/devices", lamp).await.string("credential");
    Publisher::connect(hub, "lamp-1", &credential).await.unwrap()
}

#[tokio::test]
async fn who_asks_too_much_at_once_is_told_so_and_answered_as_soon_as_there_is_room() {
    let hub = Hub::start().await;
    let mut lamp = lamp(&hub).await;
    lamp.subscribe("$aws/things/lamp-1/shadow/get/+").await.unwrap();
    for (topic, code) in [("shadow/get", json!(429)), ("jobs/get", json!("RequestThrottled"))] {
        let topic = format!("$aws/things/lamp-1/{topic}");
        let mut is_told = false;
        for _ in 0..BURSTS {
            let answers = lamp.ask_at_once(&topic, AT_ONCE).await.unwrap();
            assert_ne!(answers[0]["code"], code, "the first is none too many: {answers:?}");
            if answers.iter().any(|answer| answer["code"] == code) {
                is_told = true;
                break;
            }
        }
        assert!(is_told, "{topic}: {AT_ONCE} at once were never too many");
        let answers = lamp.ask_at_once(&topic, 1).await.unwrap();
        assert_ne!(answers[0]["code"], code, "there is room again");
    }
    hub.is_well().await;
}
