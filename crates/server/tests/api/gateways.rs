//! Gateways in processes of their own: their keys, the devices they may speak for, and what the hub shows of both.

use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::gateway::Gateway;
use crate::support::mqtt::Publisher;

/// A native device. Returns its id and its credential.
async fn lamp(hub: &Hub, name: &str) -> (String, String) {
    let new = json!({ "name": name, "dialect": "native", "external_id": name, "tags": [name] });
    let made = hub.post("/devices", new).await;
    assert_eq!(made.status, 201, "{made:?}");
    (made.string("id"), made.string("credential"))
}

async fn points(hub: &Hub, device: &str) -> usize {
    let found = hub.get(&format!("/devices/{device}/telemetry?metric=t")).await.json();
    found["items"].as_array().unwrap_or_else(|| panic!("{found}")).len()
}

#[tokio::test]
async fn a_device_behind_a_gateway_is_a_device_like_others() {
    let hub = Hub::start().await;
    let (lamp, credential) = lamp(&hub, "lamp-1").await;
    let (id, join) = hub.gateway("cellar", "").await;
    assert_eq!(hub.get(&format!("/gateways/{id}")).await.json()["state"], "new");
    let gateway = Gateway::start(&hub, &join).await.linked().await;
    let mut device = Publisher::connect_at(gateway.mqtt, "lamp-1", &credential).await.unwrap();
    device.publish("devices/lamp-1/telemetry", br#"{"t":21.5}"#).await.unwrap();
    assert_eq!(points(&hub, &lamp).await, 1, "acknowledged is stored");
    let seen = hub.device_is(&lamp, "online").await;
    assert_eq!((&seen["online"], &seen["gateway"]), (&json!(true), &json!(id)));
    let shown = hub.gateway_in(&id, "linked").await;
    assert_eq!((&shown["address"], &shown["devices_online"]), (&json!("127.0.0.1"), &json!(1)), "{shown}");
    assert_eq!(shown["link"]["serves"], "mqtt");

    // What people want of it comes through, too.
    device.subscribe("devices/lamp-1/#").await.unwrap();
    let path = format!("/devices/{lamp}/shadow");
    let wanted = json!({ "state": { "desired": { "on": true } } });
    assert!(hub.patch(&path, wanted).await.status < 300);
    let (topic, payload) = device.next_message().await.unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        (topic.as_str(), &payload["state"]["on"]),
        ("devices/lamp-1/delta", &json!(true)),
        "{payload}"
    );
}

#[tokio::test]
async fn a_revoked_key_ends_the_link_at_once_and_lets_nobody_in_again() {
    let hub = Hub::start().await;
    let (lamp, credential) = lamp(&hub, "lamp-1").await;
    let (id, join) = hub.gateway("cellar", "").await;
    let gateway = Gateway::start(&hub, &join).await.linked().await;
    let _device = Publisher::connect_at(gateway.mqtt, "lamp-1", &credential).await.unwrap();
    hub.device_is(&lamp, "online").await;
    assert_eq!(hub.delete(&format!("/gateways/{id}/key")).await.status, 204);
    hub.gateway_in(&id, "revoked").await;
    let seen = hub.device_is(&lamp, "unreachable").await;
    assert_eq!(seen["online"], false);
    let kinds = hub
        .until("it is told that the gateway is lost", || async {
            let kinds = hub.get("/activity?limit=20").await.json();
            let kinds = kinds["items"].as_array()?.iter().filter_map(|change| change["kind"].as_str());
            let kinds: Vec<String> = kinds.map(str::to_owned).collect();
            kinds.iter().any(|kind| kind == "gateway_lost").then_some(kinds)
        })
        .await;
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert!(kinds.contains(&"gateway_revoked"), "{kinds:?}");
    assert!(kinds.contains(&"device_unreachable") && !kinds.contains(&"device_offline"), "{kinds:?}");
    // A gateway that is given a new key is back, and so is its device.
    let again =
        hub.post(&format!("/gateways/{id}/key"), json!({ "hub": format!("http://{}", hub.http) })).await;
    assert_eq!(again.status, 201, "{again:?}");
    let other = Gateway::start(&hub, &again.string("join_file")).await.linked().await;
    drop(gateway);
    hub.device_is(&lamp, "offline").await;
    let _device = Publisher::connect_at(other.mqtt, "lamp-1", &credential).await.unwrap();
    hub.device_is(&lamp, "online").await;
}

#[tokio::test]
async fn the_old_key_works_until_the_new_one_was_used() {
    let hub = Hub::start().await;
    let (id, join) = hub.gateway("cellar", "").await;
    let old = Gateway::start(&hub, &join).await.linked().await;
    let way = json!({ "hub": format!("http://{}", hub.http) });
    let rotated = hub.post(&format!("/gateways/{id}/key"), way).await;
    let before = hub.gateway_in(&id, "linked").await;
    assert!(before["next_key"].is_string() && before["next_key"] != before["key"], "{before}");
    let new = Gateway::start(&hub, &rotated.string("join_file")).await.linked().await;
    let after = hub.until("the new key is in use", || async {
        Some(hub.get(&format!("/gateways/{id}")).await.json()).filter(|it| it["next_key"].is_null())
    });
    assert_eq!(after.await["key"], before["next_key"]);
    drop((old, new));
}

#[tokio::test]
async fn a_gateway_speaks_for_its_own_devices_and_no_others() {
    let hub = Hub::start().await;
    let (one, credential) = lamp(&hub, "lamp-1").await;
    let (two, other) = lamp(&hub, "lamp-2").await;
    let (id, join) = hub.gateway("cellar", "tag=lamp-1").await;
    let gateway = Gateway::start(&hub, &join).await.linked().await;
    let mut device = Publisher::connect_at(gateway.mqtt, "lamp-1", &credential).await.unwrap();
    device.publish("devices/lamp-1/telemetry", br#"{"t":1}"#).await.unwrap();
    let refused = Publisher::connect_at(gateway.mqtt, "lamp-2", &other).await;
    assert!(refused.is_err(), "it showed its credential, but is not the gateway's");
    let wrong = Publisher::connect_at(gateway.mqtt, "lamp-1", "a wrong credential").await;
    assert!(wrong.is_err(), "the hub checks what devices show");

    // A gateway that lies: it says something for a device that never came through it.
    let uplink = |device: &str| motehub_gateway::hub::Arrival {
        device: device.parse().unwrap(),
        uplink: motehub_domain::message::Uplink::Telemetry(vec![motehub_domain::telemetry::Point {
            metric: motehub_domain::telemetry::Metric::parse("t").unwrap(),
            time: motehub_domain::telemetry::When::ARRIVAL,
            value: motehub_domain::telemetry::PointValue::Number(99.0),
        }]),
        mark: None,
        again: false,
    };
    use motehub_gateway::hub::{Hub as _, UplinkError};
    let outcomes = gateway.hub.uplink(vec![uplink(&one), uplink(&two), uplink(&one)]).await;
    let refused = Err(UplinkError::Refused("this gateway may not speak for this device".to_owned()));
    assert_eq!(outcomes, [Ok(()), refused, Ok(())]);
    assert_eq!(points(&hub, &two).await, 0);

    // One that may speak without a credential is let in through a gateway to which it was given, and no other.
    let open = json!({ "unauthenticated_allowed": true });
    for lamp in [&one, &two] {
        assert_eq!(hub.patch(&format!("/devices/{lamp}"), open.clone()).await.status, 200);
    }
    assert_eq!(hub.patch(&format!("/gateways/{id}"), json!({ "selector": "tag=lamp-2" })).await.status, 200);
    assert_eq!(gateway.hub.uplink(vec![uplink(&two)]).await, [Ok(())], "now, or when it is linked anew");
    hub.until("it is stored", || async { (points(&hub, &two).await == 1).then_some(()) }).await;
    let before = points(&hub, &one).await;
    hub.until("it is refused", || async {
        let outcome = gateway.hub.uplink(vec![uplink(&one)]).await.remove(0);
        matches!(outcome, Err(UplinkError::Refused(_))).then_some(())
    })
    .await;
    assert_eq!(points(&hub, &one).await, before);
}

#[tokio::test]
async fn what_is_wrong_with_a_gateway_is_said() {
    let hub = Hub::start().await;
    let here = format!("http://{}", hub.http);
    let (id, _) = hub.gateway("cellar", "").await;
    hub.post("/gateways", json!({ "name": "Cellar", "hub": here })).await.is(409, "name_taken");
    hub.post("/gateways", json!({ "name": "attic", "hub": "http://10.0.0.5" }))
        .await
        .refuses("hub", "over TLS");
    hub.post("/gateways", json!({ "name": "attic", "hub": "10.0.0.5" })).await.refuses("hub", "no address");
    let selector = json!({ "name": "attic", "hub": here, "selector": "tag=" });
    hub.post("/gateways", selector).await.is(400, "invalid");
    hub.get("/gateways/01kabcdefghjkmnpqrstvwxyz0").await.is(404, "not_found");
    assert_eq!(hub.delete(&format!("/gateways/{id}")).await.status, 204);
    assert_eq!(hub.get("/gateways").await.json()["total"], 0);

    let older = b"GET /gateway?version=0 HTTP/1.1\r\nHost: hub\r\nConnection: close, Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let older = hub.exchange(older).await;
    assert_eq!(older.status, 400);
    assert!(older.text().contains("same release"), "{older:?}");
}
