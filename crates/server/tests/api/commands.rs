//! Commands: what cannot be asked, whom a command reaches, and how it is looked at.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::crossing::nodes::{listening, told};
use crate::support::Hub;
use crate::support::mqtt::Publisher;

const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";

async fn lamp(hub: &Hub, name: &str) -> (String, String) {
    let made = hub.post("/devices", json!({ "name": name, "dialect": "native", "external_id": name })).await;
    (made.string("id"), made.string("credential"))
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_changes_nothing() {
    let hub = Hub::start().await;
    let (lamp, _) = lamp(&hub, "lamp").await;
    let before = hub.last_seq().await;
    let with = |fields: Value| {
        let mut new = json!({ "name": "relay", "device": lamp });
        for (field, value) in fields.as_object().unwrap() {
            new[field] = value.clone();
        }
        new
    };
    let refused = [
        (json!({ "name": "" }), "name", "1 to 64"),
        (json!({ "name": "x".repeat(65) }), "name", "1 to 64"),
        (json!({ "name": "switch it on" }), "name", "letters"),
        (json!({ "name": "relay\u{0}" }), "name", "letters"),
        (json!({ "devices": [lamp] }), "devices", "not both"),
        (json!({ "selector": "all" }), "devices", "by one of them"),
        (json!({ "device": null }), "devices", "by one of them"),
        (json!({ "device": null, "devices": [] }), "devices", "no device is meant"),
        (json!({ "device": null, "selector": "tag=nothing" }), "devices", "no device is meant"),
        (json!({ "device": null, "selector": "tag" }), "selector", "position 4"),
        (json!({ "expires_in_seconds": 0 }), "expires_in_seconds", "7 days"),
        (json!({ "expires_in_seconds": 604_801 }), "expires_in_seconds", "7 days"),
        (json!({ "expires_in_seconds": i64::MIN }), "expires_in_seconds", "7 days"),
    ];
    for (fields, field, part) in refused {
        hub.post("/commands", with(fields)).await.refuses(field, part);
    }
    hub.post("/commands", with(json!({ "args": "x".repeat(8 * 1024) }))).await.is(413, "too_large");
    hub.post("/commands", with(json!({ "device": NO_ID }))).await.is(404, "not_found");
    for fields in [json!({ "name": 1 }), json!({ "expires_in_seconds": 1.5 }), json!({ "arguments": {} })] {
        hub.post("/commands", with(fields)).await.is(400, "invalid");
    }
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(hub.get("/commands").await.json(), json!({ "items": [], "total": 0 }));
    for path in ["/commands/x", &format!("/commands/{NO_ID}"), &format!("/commands/{NO_ID}/executions")] {
        hub.get(path).await.is(404, "not_found");
    }
    hub.get(&format!("/devices/{NO_ID}/commands")).await.is(404, "not_found");
    hub.post(&format!("/commands/{NO_ID}/cancel"), json!({})).await.is(404, "not_found");
    hub.is_well().await;
}

#[tokio::test]
async fn one_command_reaches_many_devices_and_each_answers_for_itself() {
    let hub = Hub::start().await;
    let (door, secret) = lamp(&hub, "door").await;
    let (lamp, _) = lamp(&hub, "lamp").await;
    hub.board("Fan", 1, &[]).await;
    let asked = hub.post("/commands", json!({ "name": "report", "selector": "all" })).await;
    assert_eq!((asked.status, &asked.json()["devices"]), (201, &json!(3)));
    let id = asked.string("id");
    let mut client = Publisher::connect(&hub, "door", &secret).await.unwrap();
    let answer = json!({ "id": id, "ok": true, "result": 7 }).to_string();
    client.publish("devices/door/reply", answer.as_bytes()).await.unwrap();
    let command = hub.get(&format!("/commands/{id}")).await.json();
    let counts = json!({ "Queued": 1, "Sent": 0, "Done": 1, "Failed": 1, "Expired": 0 });
    assert_eq!((&command["counts"], &command["selector"]), (&counts, &json!("all")));
    let executions = hub.get(&format!("/commands/{id}/executions")).await.json();
    let of = |row: &Value| (row["device_name"].clone(), row["state"].clone(), row["result"].clone());
    let rows: Vec<_> = executions["items"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(
        rows,
        [
            (json!("door"), json!("Done"), json!(7)),
            (json!("Fan"), json!("Failed"), Value::Null),
            (json!("lamp"), json!("Queued"), Value::Null),
        ]
    );
    let queued = hub.get(&format!("/commands/{id}/executions?state=Queued&limit=1")).await.json();
    assert_eq!((&queued["total"], &queued["items"][0]["device"]), (&json!(1), &json!(lamp)));
    hub.get(&format!("/commands/{id}/executions?state=queued")).await.refuses("state", "Queued");
    let of_door = hub.get(&format!("/devices/{door}/commands")).await.json();
    assert_eq!((&of_door["total"], &of_door["items"][0]["name"]), (&json!(1), &json!("report")));
    assert_eq!(hub.post(&format!("/commands/{id}/cancel"), json!({})).await.status, 204);
    hub.clock.advance(Span::days(91));
    hub.until("old commands are removed", || async {
        (hub.get("/commands").await.json()["total"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_device_that_comes_while_a_command_is_given_is_told() {
    let hub = Hub::start().await;
    let mut names = Vec::new();
    for number in 0..40 {
        let name = format!("lamp-{number}");
        let (_, credential) = lamp(&hub, &name).await;
        names.push((name, credential));
    }
    // Some find it waiting, some are there already, and some come between.
    let come = names.iter().map(async |(name, credential)| listening(&hub, name, credential).await);
    let (asked, devices) = tokio::join!(
        hub.post("/commands", json!({ "name": "relay", "selector": "all" })),
        futures_util::future::join_all(come)
    );
    assert_eq!((asked.status, &asked.json()["devices"]), (201, &json!(40)));
    for mut device in devices {
        assert_eq!(told(&mut device, "/command").await["id"], json!(asked.string("id")));
    }
}
