//! Bulk actions and capabilities: whom they hit is seen before, and a selection that changed meanwhile is refused.

use serde_json::{Value, json};

use crate::support::{Answer, Hub};

/// The lines of an answer.
fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn token(hub: &Hub, selector: &str, action: &Value) -> String {
    let seen = hub.post("/devices/bulk/preview", json!({ "selector": selector, "action": action })).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    seen.string("token")
}

async fn count(hub: &Hub, selector: &str) -> i64 {
    let path = format!("/devices?selector={}", selector.replace('=', "%3D").replace(' ', "%20"));
    hub.get(&path).await.json()["total"].as_i64().unwrap()
}

#[tokio::test]
async fn a_selection_is_seen_then_changed_one_fact_per_device() {
    let hub = Hub::start().await;
    for number in 1..=250 {
        hub.board(&format!("Lamp {number:03}"), number, &["light"]).await;
    }
    let action = json!({ "kind": "tag", "tags": ["floor-1", "light"] });
    let seen = hub.post("/devices/bulk/preview", json!({ "selector": "tag=light", "action": action })).await;
    assert_eq!((&seen.json()["count"], &seen.json()["names"][0]), (&json!(250), &json!("Lamp 001")));
    assert_eq!(seen.json()["names"].as_array().unwrap().len(), 20);
    let order = json!({ "selector": "tag=light", "action": action, "token": seen.string("token") });
    hub.board("Lamp 999", 999, &["light"]).await;
    let stale = hub.post("/devices/bulk", order.clone()).await;
    stale.is(409, "selection_changed");
    assert!(stale.string("detail").contains("251"), "{stale:?}");
    assert_eq!(count(&hub, "tag=floor-1").await, 0, "nothing was changed");
    let before = hub.last_seq().await;
    let order = json!({ "selector": "tag=light", "action": action, "token": token(&hub, "tag=light", &action).await });
    let told = lines(&hub.post("/devices/bulk", order).await);
    let last = told.last().unwrap();
    assert_eq!((&last["done"], &last["changed"], &last["end"]), (&json!(251), &json!(251), &json!(true)));
    assert!(told.len() > 2 && told[0]["done"] == 100, "{told:?}");
    assert_eq!(count(&hub, "tag=floor-1").await, 251);
    assert_eq!(hub.last_seq().await - before, 251, "one fact per device");
    let again = json!({ "selector": "tag=light", "action": action, "token": token(&hub, "tag=light", &action).await });
    assert_eq!(lines(&hub.post("/devices/bulk", again).await).last().unwrap()["changed"], 0);
    let untag = json!({ "kind": "untag", "tags": ["floor-1"] });
    let order = json!({ "selector": "name ~ \"lamp 00\"", "action": untag,
        "token": token(&hub, "name ~ \"lamp 00\"", &untag).await });
    assert_eq!(lines(&hub.post("/devices/bulk", order).await).last().unwrap()["changed"], 9);
    let delete = json!({ "kind": "delete" });
    let order = json!({ "selector": "tag=floor-1", "action": delete,
        "token": token(&hub, "tag=floor-1", &delete).await });
    assert_eq!(lines(&hub.post("/devices/bulk", order).await).last().unwrap()["changed"], 242);
    assert_eq!(count(&hub, "all").await, 9);
    hub.is_well().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_before_or_for_the_device() {
    let hub = Hub::start().await;
    let (full, _) = hub.board("Full", 1, &[]).await;
    let (free, _) = hub.board("Free", 2, &[]).await;
    let many: Vec<String> = (0..50).map(|number| format!("t{number}")).collect();
    assert_eq!(hub.patch(&format!("/devices/{full}"), json!({ "tags": many })).await.status, 200);
    let tag = json!({ "kind": "tag", "tags": ["more"] });
    let told = lines(&hub.post("/devices/bulk", json!({ "devices": [full, free], "action": tag })).await);
    let last = told.last().unwrap();
    assert_eq!((&last["changed"], &last["refused"]), (&json!(1), &json!(1)));
    assert_eq!(last["refusals"][0]["name"], "Full");
    assert!(last["refusals"][0]["reason"].as_str().unwrap().contains("50 tags"), "{last}");
    let bulk = async |body: Value| hub.post("/devices/bulk", body).await;
    bulk(json!({ "selector": "all", "action": tag })).await.refuses("token", "preview");
    bulk(json!({ "selector": "all", "action": tag, "token": "nonsense" })).await.is(409, "selection_changed");
    bulk(json!({ "selector": "tag <", "action": tag })).await.refuses("selector", "position 5");
    bulk(json!({ "selector": "tag=nobody", "action": tag, "token": "0" }))
        .await
        .refuses("devices", "no device");
    bulk(json!({ "devices": [full], "selector": "all", "action": tag }))
        .await
        .refuses("devices", "by one of them");
    bulk(json!({ "devices": [full], "action": { "kind": "tag", "tags": [] } }))
        .await
        .refuses("tags", "at least one");
    bulk(json!({ "devices": [full], "action": { "kind": "tag", "tags": ["a b"] } }))
        .await
        .refuses("tags", "no blanks");
    bulk(json!({ "devices": [full], "action": { "kind": "explode" } })).await.is(400, "invalid");
    bulk(json!({ "devices": ["01kabcdefghjkmnpqrstvwxyz0"], "action": tag })).await.is(404, "not_found");
    hub.is_well().await;
}

#[tokio::test]
async fn a_script_is_offered_only_to_devices_that_can_run_it() {
    let hub = Hub::start().await;
    let (pump, _) = hub.board("Pump", 1, &["garden"]).await;
    let (lamp, _) = hub.board("Lamp", 2, &["garden"]).await;
    let script = hub.script("water", "print(1)").await;
    let path = format!("/scripts/{script}");
    hub.patch(&path, json!({ "requires": ["Relay"] })).await.refuses("capabilities", "lower-case");
    let edited = hub.patch(&path, json!({ "requires": ["valve", "relay"] })).await;
    assert_eq!(edited.json()["requires"], json!(["relay", "valve"]));
    let assign = json!({ "kind": "add_capabilities", "capabilities": ["relay", "valve"] });
    let told = lines(&hub.post("/devices/bulk", json!({ "devices": [pump], "action": assign })).await);
    assert_eq!(told.last().unwrap()["changed"], 1);
    assert_eq!(hub.get(&format!("/devices/{pump}")).await.json()["capabilities"], json!(["relay", "valve"]));

    let wanted = json!({ "selector": "tag=garden", "script": script });
    let seen = hub.post("/deployments/preview", wanted).await.json();
    assert_eq!((&seen["total"], &seen["left_out_total"]), (&json!(2), &json!(1)), "{seen}");
    assert_eq!(seen["left_out"][0]["name"], "Lamp");
    assert_eq!(seen["left_out"][0]["reason"], "the device lacks the capabilities relay, valve");
    let deploy = json!({ "kind": "deploy", "script": script });
    let seen = hub.post("/devices/bulk/preview", json!({ "selector": "tag=garden", "action": deploy })).await;
    assert_eq!((&seen.json()["count"], &seen.json()["left_out"]), (&json!(2), &json!(1)));
    let order = json!({ "selector": "tag=garden", "action": deploy, "token": seen.string("token") });
    let told = lines(&hub.post("/devices/bulk", order).await);
    let deployment = told.last().unwrap()["deployment"].as_str().unwrap().to_owned();
    let shown = hub.get(&format!("/deployments/{deployment}")).await.json();
    assert_eq!((&shown["total"], &shown["tasks"][0]["device_name"]), (&json!(1), &json!("Pump")));

    let named = hub.post("/deployments", json!({ "script": script, "devices": [lamp] })).await;
    let path = format!("/deployments/{}", named.string("id"));
    hub.until("a deployment that reaches nobody has failed", || async {
        (hub.get(&path).await.json()["state"] == "Failed").then_some(())
    })
    .await;
    let task = &hub.get(&path).await.json()["tasks"][0];
    assert_eq!(
        (&task["state"], &task["reason"]),
        (&json!("Failed"), &json!("the device lacks the capabilities relay, valve"))
    );
    hub.post(&format!("{path}/retry"), json!({})).await.is(409, "capability_missing");
    let activated = hub.post(&format!("/devices/{lamp}/activate"), json!({ "script": script })).await;
    activated.is(409, "capability_missing");
    let nobody = json!({ "script": script, "selector": "name=Lamp" });
    hub.post("/deployments", nobody).await.is(409, "capability_missing");
    let given = json!({ "capabilities": ["relay", "valve"] });
    assert_eq!(hub.patch(&format!("/devices/{lamp}"), given).await.status, 200);
    assert_eq!(hub.post(&format!("{path}/retry"), json!({})).await.json()["tasks"], 1);
    assert_eq!(count(&hub, "capability=relay").await, 2);
}

#[tokio::test]
async fn a_command_goes_to_the_selection_that_was_seen() {
    let hub = Hub::start().await;
    for name in ["Lamp", "Bell"] {
        hub.post("/devices", json!({ "name": name, "dialect": "native", "tags": ["hall"] })).await;
    }
    let action =
        json!({ "kind": "command", "name": "relay", "args": { "on": true }, "expires_in_seconds": 60 });
    let mut order = json!({ "selector": "tag=hall", "action": action });
    order["token"] = json!(token(&hub, "tag=hall", &action).await);
    hub.board("Board", 7, &["hall"]).await;
    hub.post("/devices/bulk", order.clone()).await.is(409, "selection_changed");
    assert_eq!(hub.get("/commands").await.json()["total"], 0, "nobody was told");
    order["token"] = json!(token(&hub, "tag=hall", &action).await);
    let told = lines(&hub.post("/devices/bulk", order).await);
    let last = told.last().unwrap();
    assert_eq!((&last["done"], &last["changed"], &last["end"]), (&json!(3), &json!(3), &json!(true)));
    let command = hub.get(&format!("/commands/{}", last["command"].as_str().unwrap())).await.json();
    assert_eq!((&command["name"], &command["args"]), (&json!("relay"), &json!({ "on": true })));
    assert_eq!((&command["selector"], &command["counts"]["Queued"]), (&json!("tag=hall"), &json!(2)));
    assert_eq!(command["counts"]["Failed"], 1, "the board with the IoT Executor firmware says so at once");
    let preview = async |action: Value| {
        hub.post("/devices/bulk/preview", json!({ "selector": "all", "action": action })).await
    };
    preview(json!({ "kind": "command", "name": "no way" })).await.refuses("name", "letters, digits");
    let never = json!({ "kind": "command", "name": "relay", "expires_in_seconds": 0 });
    preview(never).await.refuses("expires_in_seconds", "1 second to 7 days");
}

#[tokio::test]
async fn what_is_sent_after_a_preview_goes_to_those_who_were_seen() {
    let hub = Hub::start().await;
    let script = hub.script("water", "print(1)").await;
    hub.board("Pump", 1, &["hall"]).await;
    let seen = async || {
        let seen = hub.post("/deployments/preview", json!({ "selector": "tag=hall" })).await;
        seen.string("token")
    };
    let before = seen().await;
    hub.board("Lamp", 2, &["hall"]).await;
    for (path, mut order) in [
        ("/deployments", json!({ "selector": "tag=hall", "script": script })),
        ("/commands", json!({ "selector": "tag=hall", "name": "relay" })),
    ] {
        order["token"] = json!(before);
        hub.post(path, order.clone()).await.is(409, "selection_changed");
        assert_eq!(hub.get(path).await.json()["total"], 0, "nobody was told");
        order["token"] = json!(seen().await);
        assert_eq!(hub.post(path, order).await.status, 201);
    }
}

#[tokio::test]
async fn the_library_tells_who_has_and_needs_what() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let describe = async |name: &str, text: &str| {
        hub.call("PUT", &format!("/capabilities/{name}"), &hub.ada, Some(&json!({ "description": text })))
            .await
    };
    assert_eq!(describe("relay", "switches something").await.status, 204);
    assert_eq!(describe("relay", "switches <b>a lamp</b>").await.status, 204);
    describe("Relay", "x").await.refuses("capabilities", "lower-case");
    hub.patch(&format!("/devices/{lamp}"), json!({ "capabilities": ["relay", "bme280"] })).await;
    let many: Vec<String> = (0..10_000).map(|number| format!("c{number}")).collect();
    hub.patch(&format!("/devices/{lamp}"), json!({ "capabilities": many }))
        .await
        .refuses("capabilities", "at most 64");
    let list = hub.get("/capabilities").await.json();
    assert_eq!(
        list["items"][0],
        json!({ "name": "bme280", "description": "", "assigned": 1, "announced": 0, "required": 0 })
    );
    assert_eq!((&list["items"][1]["name"], &list["total"]), (&json!("relay"), &json!(2)));
    hub.delete("/capabilities/relay").await.is(409, "conflict");
    hub.delete("/capabilities/bme280").await.is(404, "not_found");
    hub.patch(&format!("/devices/{lamp}"), json!({ "capabilities": [] })).await;
    assert_eq!(hub.delete("/capabilities/relay").await.status, 204);
    assert_eq!(hub.get("/capabilities").await.json()["total"], 0);
    hub.is_well().await;
}
