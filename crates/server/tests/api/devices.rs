//! Devices: register, change, delete, credentials, and what is scripted on them.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Answer, Hub};

/// Registers a board with some fields replaced; `null` leaves a field out.
async fn register(hub: &Hub, fields: Value) -> Answer {
    let mut new = json!({ "name": "Lamp", "dialect": "nodemcu", "external_id": "10801015" });
    for (field, value) in fields.as_object().unwrap() {
        match value.is_null() {
            true => drop(new.as_object_mut().unwrap().remove(field)),
            false => new[field] = value.clone(),
        }
    }
    hub.post("/devices", new).await
}

#[tokio::test]
async fn a_registered_device_is_what_was_asked_for() {
    let hub = Hub::start().await;
    let made = register(
        &hub,
        json!({ "name": "  Küche <b>\"1\"</b> & 'co' ", "description": "by the\nwindow", "tags": ["b", "a", "b"] }),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
    let (id, credential) = (made.string("id"), made.string("credential"));
    assert!(credential.len() >= 32, "{credential}");
    let mut expected = json!({
        "id": id, "name": "Küche <b>\"1\"</b> & 'co'", "description": "by the\nwindow", "dialect": "nodemcu",
        "external_id": "10801015", "tags": ["a", "b"], "capabilities": [], "announced": [], "online": false, "reach": "offline", "gateway": null,
        "last_seen": null, "address": null,
        "has_credential": true, "unauthenticated_allowed": false, "allowed_from": null, "silence_max_seconds": null,
        "state": "waiting_for_script",
        "problem": null, "active": null, "running": null, "pending": null, "rotation": null,
        "credential_shared": null, "firmware": null, "line": null,
        "created_at": "2027-01-15T08:00:00.000Z", "revision": 1,
    });
    assert_eq!(hub.get(&format!("/devices/{id}")).await.json(), expected, "the credential is shown once");
    assert_eq!(hub.get("/devices").await.json(), json!({ "items": [expected.clone()], "total": 1 }));
    expected["credential"] = json!(credential);
    assert_eq!(made.json(), expected);
    let native = json!({ "name": "Native", "dialect": "native" });
    assert_eq!(hub.post("/devices", native).await.json()["external_id"], Value::Null);
}

#[tokio::test]
async fn an_external_id_is_taken_once_in_each_dialect() {
    let hub = Hub::start().await;
    assert_eq!(register(&hub, json!({})).await.status, 201);
    let before = hub.last_seq().await;
    register(&hub, json!({ "name": "Twin" })).await.is(409, "external_id_taken");
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(hub.get("/devices").await.json()["total"], 1);
    let native = register(&hub, json!({ "dialect": "native" })).await;
    assert_eq!(native.status, 201, "another dialect: {native:?}");
    let other = register(&hub, json!({ "external_id": "7" })).await;
    let path = format!("/devices/{}", other.string("id"));
    hub.patch(&path, json!({ "external_id": "10801015" })).await.is(409, "external_id_taken");
    assert_eq!(hub.get(&path).await.json()["external_id"], "7");
}

#[tokio::test]
async fn what_no_device_can_be_is_refused_with_the_field_and_changes_nothing() {
    let hub = Hub::start().await;
    let long = |count: usize| "x".repeat(count);
    let many: Vec<String> = (0..51).map(|n| format!("t{n}")).collect();
    let cases = [
        ("external_id", json!({ "external_id": null }), "chip id"),
        ("external_id", json!({ "external_id": "" }), "chip id"),
        ("external_id", json!({ "external_id": "abc" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "-1" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "+1" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "1.5" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "0010" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "4294967296" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "1".repeat(10_000) }), "node.chipid()"),
        ("external_id", json!({ "external_id": "../../etc/passwd" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "1\0" }), "node.chipid()"),
        ("external_id", json!({ "external_id": "١٢٣" }), "node.chipid()"),
        ("external_id", json!({ "dialect": "native", "external_id": "../x" }), "letters, digits"),
        ("external_id", json!({ "dialect": "native", "external_id": ".hidden" }), "leading dot"),
        ("external_id", json!({ "dialect": "native", "external_id": "a/b" }), "letters, digits"),
        ("external_id", json!({ "dialect": "native", "external_id": "a+b" }), "letters, digits"),
        ("external_id", json!({ "dialect": "native", "external_id": long(65) }), "letters, digits"),
        ("name", json!({ "name": "" }), "1 to 80"),
        ("name", json!({ "name": " \t " }), "1 to 80"),
        ("name", json!({ "name": long(81) }), "1 to 80"),
        ("name", json!({ "name": long(10_000) }), "1 to 80"),
        ("name", json!({ "name": "a\0b" }), "control"),
        ("name", json!({ "name": "two\nlines" }), "control"),
        ("name", json!({ "name": "\u{1b}[31mred" }), "control"),
        ("name", json!({ "name": "a\u{202e}b" }), "control"),
        ("description", json!({ "description": long(2001) }), "2000"),
        ("description", json!({ "description": "a\0" }), "control"),
        ("tags", json!({ "tags": ["a b"] }), "tag"),
        ("tags", json!({ "tags": [""] }), "tag"),
        ("tags", json!({ "tags": ["../x"] }), "tag"),
        ("tags", json!({ "tags": [long(41)] }), "tag"),
        ("tags", json!({ "tags": many }), "50"),
        ("dialect", json!({ "dialect": "mqtt" }), "native, micropython, nodemcu"),
        ("dialect", json!({ "dialect": "NODEMCU" }), "native, micropython, nodemcu"),
    ];
    let before = hub.last_seq().await;
    for (field, fields, part) in cases {
        register(&hub, fields).await.refuses(field, part);
    }
    let no_json = [
        (json!({ "name": null }), "name"),
        (json!({ "name": 1 }), "name"),
        (json!({ "name": ["Lamp"] }), "name"),
        (json!({ "tags": "kitchen" }), "tags"),
        (json!({ "tags": [1] }), "tags"),
        (json!({ "external_id": 10801015 }), "external_id"),
        (json!({ "id": "01kabcdefghjkmnpqrstvwxyz0" }), "unknown field"),
        (json!({ "credential": "mine" }), "unknown field"),
        (json!({ "unauthenticated_allowed": true }), "unknown field"),
    ];
    for (fields, part) in no_json {
        let refused = register(&hub, fields).await;
        refused.is(400, "invalid");
        assert!(refused.string("detail").contains(part), "{part}: {refused:?} {}", refused.text());
    }
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(hub.get("/devices").await.json()["total"], 0);
    hub.is_well().await;
}

#[tokio::test]
async fn a_change_says_what_changed_and_a_stale_one_changes_nothing() {
    let hub = Hub::start().await;
    let (id, _) = hub.board("Lamp", 1, &["kitchen"]).await;
    let path = format!("/devices/{id}");
    let edited = hub.patch(&path, json!({ "name": "Lantern", "tags": ["x"], "revision": 1 })).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    let edited = edited.json();
    assert_eq!(
        (&edited["name"], &edited["tags"], &edited["revision"]),
        (&json!("Lantern"), &json!(["x"]), &json!(2))
    );
    let fact = hub.get("/activity?limit=1").await.json()["items"][0].clone();
    assert_eq!(fact["kind"], "device_edited");
    assert_eq!(fact["before"], json!({ "name": "Lamp", "tags": ["kitchen"] }));
    assert_eq!(fact["after"], json!({ "name": "Lantern", "tags": ["x"] }));
    assert_eq!(fact["actor"], json!({ "kind": "token", "name": "ada" }));
    let before = hub.last_seq().await;
    hub.patch(&path, json!({ "name": "Late", "revision": 1 })).await.is(409, "stale");
    hub.patch(&path, json!({ "name": "Early", "revision": 3 })).await.is(409, "stale");
    hub.patch(&path, json!({ "name": "a\0" })).await.refuses("name", "control");
    hub.patch(&path, json!({ "external_id": "x" })).await.refuses("external_id", "chip id");
    for body in [json!({ "dialect": "native" }), json!({ "id": id }), json!([]), json!("x"), json!(null)] {
        hub.patch(&path, body).await.is(400, "invalid");
    }
    let same = hub.patch(&path, json!({ "name": "Lantern", "tags": ["x", "x"] })).await;
    assert_eq!((same.status, &same.json()["revision"]), (200, &json!(2)), "the same again is no change");
    assert_eq!(hub.patch(&path, json!({})).await.json()["revision"], 2);
    assert_eq!(hub.last_seq().await, before);
    for no in ["01kabcdefghjkmnpqrstvwxyz0", "1", "..%2f..%2fetc", "%00", &"x".repeat(5000)] {
        hub.patch(&format!("/devices/{no}"), json!({ "name": "x" })).await.is(404, "not_found");
    }
    let many = (0..10).map(|n| {
        let (hub, path) = (&hub, &path);
        async move { hub.patch(path, json!({ "description": format!("{n}") })).await.status }
    });
    let statuses = futures_util::future::join_all(many).await;
    assert!(statuses.iter().all(|status| *status == 200), "changes at once all succeed: {statuses:?}");
    assert_eq!(hub.get(&path).await.json()["revision"], 12);
}

#[tokio::test]
async fn who_deletes_a_device_deletes_its_telemetry_and_its_credential() {
    let hub = Hub::start().await;
    let (id, credential) = hub.board("Lamp", 1, &[]).await;
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    board.publish("devices/1/telemetry", br#"{"t":21.5}"#).await.unwrap();
    let path = format!("/devices/{id}");
    assert_eq!(hub.get(&format!("{path}/metrics")).await.json()["items"][0]["value"], 21.5);
    assert_eq!(hub.delete(&path).await.status, 204);
    assert!(board.publish("devices/1/telemetry", b"1").await.is_err(), "it is disconnected");
    for part in ["", "/telemetry", "/metrics", "/scripts", "/tasks"] {
        hub.get(&format!("{path}{part}")).await.is(404, "not_found");
    }
    hub.delete(&path).await.is(404, "not_found");
    assert!(Publisher::connect(&hub, "1", &credential).await.is_err(), "its credential is gone");
    let (again, _) = hub.board("Lamp", 1, &[]).await;
    assert_eq!(hub.get(&format!("/devices/{again}/telemetry")).await.json()["items"], json!([]));
    let facts = hub.get(&format!("/activity?subject={id}&kind=device_deleted")).await.json();
    assert_eq!(facts["items"][0]["before"]["name"], "Lamp");
}

#[tokio::test]
async fn a_credential_is_rotated_and_revoked_at_once() {
    let hub = Hub::start().await;
    let (id, first) = hub.board("Lamp", 1, &[]).await;
    let path = format!("/devices/{id}/credential");
    let mut board = Publisher::connect(&hub, "1", &first).await.unwrap();
    board.publish("devices/1/telemetry", b"1").await.unwrap();
    let rotated = hub.call("POST", &path, &hub.ada, None).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let second = rotated.string("credential");
    assert_ne!(first, second);
    assert!(board.publish("devices/1/telemetry", b"2").await.is_err(), "who came with the old one is out");
    assert!(Publisher::connect(&hub, "1", &first).await.is_err());
    assert!(Publisher::connect(&hub, "2", &second).await.is_err(), "under another name");
    let mut board = Publisher::connect(&hub, &id, &second).await.unwrap();
    board.publish(&format!("devices/{id}/telemetry"), b"3").await.unwrap();
    assert_eq!(hub.delete(&path).await.status, 204);
    assert!(board.publish("devices/1/telemetry", b"4").await.is_err());
    assert!(Publisher::connect(&hub, "1", &second).await.is_err());
    assert_eq!(hub.get(&format!("/devices/{id}")).await.json()["has_credential"], false);
    let log = hub.get(&format!("/activity?device={id}")).await.text();
    assert!(!log.contains(&first) && !log.contains(&second), "a secret is in the log");
    hub.delete("/devices/01kabcdefghjkmnpqrstvwxyz0/credential").await.is(404, "not_found");
}

#[tokio::test]
async fn scripts_are_assigned_activated_and_taken_back() {
    let hub = Hub::start().await;
    let (id, credential) = hub.board("Lamp", 1, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    let broken = hub.script("broken", "print(").await;
    let path = format!("/devices/{id}");
    for action in ["force", "cancel", "rollback"] {
        hub.call("POST", &format!("{path}/{action}"), &hub.ada, None).await.is(409, "conflict");
    }
    for _ in 0..2 {
        assert_eq!(hub.put(&format!("{path}/scripts/{script}")).await.status, 204);
    }
    let assigned = hub.get(&format!("{path}/scripts")).await.json();
    let expected = json!([{ "script": script, "name": "blink", "latest_version": 1, "active": false }]);
    assert_eq!(assigned["items"], expected);
    let facts = hub.get("/activity?kind=script_assigned").await.json();
    assert_eq!(facts["items"].as_array().unwrap().len(), 1, "assigned twice, once a fact");
    let refused = hub.post(&format!("{path}/activate"), json!({ "script": broken })).await;
    refused.is(422, "script_syntax");
    assert_eq!(refused.json()["line"], 1);
    let unknown = json!({ "script": script, "version": 2 });
    hub.post(&format!("{path}/activate"), unknown).await.is(404, "not_found");
    hub.post(&format!("{path}/activate"), json!({ "script": "x" })).await.is(404, "not_found");
    let begun = hub.post(&format!("{path}/activate"), json!({ "script": script })).await;
    assert_eq!((begun.status, &begun.json()["total"]), (201, &json!(1)));
    let device = hub.get(&path).await.json();
    assert_eq!((&device["state"], &device["pending"]["task_state"]), (&json!("pending"), &json!("Waiting")));
    assert_eq!(device["active"], json!({ "script": script, "name": "blink", "version": 1 }));
    assert_eq!(hub.call("POST", &format!("{path}/cancel"), &hub.ada, None).await.status, 204);
    hub.call("POST", &format!("{path}/cancel"), &hub.ada, None).await.is(409, "conflict");

    hub.clock.advance(Span::seconds(1));
    let forced = hub.post(&format!("{path}/activate"), json!({ "script": script })).await.string("id");
    hub.run_on_board(&credential, 1, &forced).await;
    let device = hub.get(&path).await.json();
    assert_eq!((&device["state"], &device["running"]["version"]), (&json!("ok"), &json!(1)));
    hub.call("POST", &format!("{path}/rollback"), &hub.ada, None).await.is(409, "conflict");
    let forced = hub.call("POST", &format!("{path}/force"), &hub.ada, None).await;
    assert_eq!(forced.status, 201, "{forced:?}");
    hub.run_on_board(&credential, 1, &forced.string("id")).await;
    assert_eq!(hub.delete(&format!("{path}/scripts/{script}")).await.status, 204);
    hub.delete(&format!("{path}/scripts/{script}")).await.is(404, "not_found");
    assert_eq!(hub.get(&path).await.json()["running"]["version"], 1, "what runs goes on running");
    let tasks = hub.get(&format!("{path}/tasks")).await.json();
    assert_eq!(tasks["total"], 3);
    let states: Vec<&Value> = tasks["items"].as_array().unwrap().iter().map(|task| &task["state"]).collect();
    assert_eq!(states, ["Done", "Done", "Cancelled"]);
}

#[tokio::test]
async fn a_connected_device_has_what_is_granted_to_it_and_its_tags_at_once() {
    let hub = Hub::start().await;
    let (lamp, credential) = hub.board("Lamp", 1, &["kitchen"]).await;
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    board.publish("devices/1/telemetry", b"1").await.unwrap();
    let grants = [json!({ "device": lamp }), json!({ "tag": "kitchen" })];
    for (number, mut grant) in grants.into_iter().enumerate() {
        grant["filter"] = json!(format!("house/{number}"));
        grant["publish"] = json!(true);
        let made = hub.post("/grants", grant).await;
        assert_eq!(made.status, 201, "{made:?}");
        board.publish(&format!("house/{number}"), b"on").await.unwrap();
    }
    assert_eq!(hub.patch(&format!("/devices/{lamp}"), json!({ "tags": ["garden"] })).await.status, 200);
    let _ = board.publish("house/1", b"on").await;
    let facts = hub.get(&format!("/activity?kind=uplink_refused&device={lamp}")).await.json();
    assert!(facts["items"].as_array().unwrap().len() <= 1, "a refused publish is told at most once");
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    board.publish("house/0", b"on").await.unwrap();
}
