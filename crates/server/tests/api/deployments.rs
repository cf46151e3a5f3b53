//! Deployments: begin, preview, cancel, retry, roll back, and what cannot be begun.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Hub};

const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";

async fn states(hub: &Hub, deployment: &str) -> Vec<String> {
    let got = hub.get(&format!("/deployments/{deployment}")).await.json();
    got["tasks"].as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap().to_owned()).collect()
}

async fn act(hub: &Hub, deployment: &str, action: &str) -> Answer {
    hub.call("POST", &format!("/deployments/{deployment}/{action}"), &hub.ada, None).await
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused_and_changes_nothing() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &["kitchen"]).await;
    let script = hub.script("blink", "print(1)").await;
    let before = hub.last_seq().await;
    let with = |fields: Value| {
        let mut new = json!({ "script": script, "version": 1 });
        for (field, value) in fields.as_object().unwrap() {
            new[field] = value.clone();
        }
        new
    };
    let refused = [
        (json!({}), "devices", "by one of them"),
        (json!({ "devices": [lamp], "selector": "all" }), "devices", "by one of them"),
        (json!({ "devices": null, "selector": null }), "devices", "by one of them"),
        (json!({ "devices": [] }), "devices", "no device is meant"),
        (json!({ "selector": "tag=nothing" }), "devices", "no device is meant"),
        (json!({ "selector": "" }), "selector", "position 1"),
        (json!({ "selector": "tag" }), "selector", "position 4"),
        (json!({ "devices": [lamp], "health_window_seconds": 4 }), "health_window_seconds", "5 to 3600"),
        (json!({ "devices": [lamp], "health_window_seconds": 3601 }), "health_window_seconds", "5 to 3600"),
        (json!({ "devices": [lamp], "health_window_seconds": -30 }), "health_window_seconds", "5 to 3600"),
        (
            json!({ "devices": [lamp], "health_window_seconds": i64::MAX }),
            "health_window_seconds",
            "5 to 3600",
        ),
    ];
    for (fields, field, part) in refused {
        hub.post("/deployments", with(fields)).await.refuses(field, part);
    }
    for fields in [
        json!({ "devices": [NO_ID] }),
        json!({ "devices": [lamp, NO_ID] }),
        json!({ "devices": ["x"] }),
        json!({ "devices": ["../1"] }),
        json!({ "devices": [lamp], "version": 2 }),
        json!({ "devices": [lamp], "version": 0 }),
        json!({ "devices": [lamp], "version": -1 }),
        json!({ "devices": [lamp], "script": NO_ID }),
        json!({ "devices": [lamp], "script": "" }),
    ] {
        hub.post("/deployments", with(fields)).await.is(404, "not_found");
    }
    for fields in [
        json!({ "devices": lamp }),
        json!({ "devices": [1] }),
        json!({ "devices": [lamp], "version": "1" }),
        json!({ "devices": [lamp], "version": 1.5 }),
        json!({ "devices": [lamp], "health_window_seconds": 1e300 }),
        json!({ "devices": [lamp], "force": true }),
        json!({ "devices": [lamp], "script": null }),
    ] {
        hub.post("/deployments", with(fields)).await.is(400, "invalid");
    }
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(hub.get("/deployments").await.json(), json!({ "items": [], "total": 0 }));
    for path in ["/deployments/x", &format!("/deployments/{NO_ID}"), &format!("/deployments/{NO_ID}/tasks")] {
        hub.get(path).await.is(404, "not_found");
    }
    for query in ["state=Sleeping", "state=running", "limit=0", "offset=x"] {
        hub.get(&format!("/deployments?{query}")).await.is(400, "invalid");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn a_deployment_names_its_devices_once_and_shows_how_it_stands() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &["kitchen"]).await;
    let (fan, _) = hub.board("Fan", 2, &["kitchen"]).await;
    let script = hub.script("blink", "print(1)").await;
    let preview = hub.post("/deployments/preview", json!({ "devices": [lamp, fan, lamp] })).await.json();
    assert_eq!((&preview["total"], preview["items"].as_array().unwrap().len()), (&json!(2), 2));
    hub.post("/deployments/preview", json!({ "devices": [NO_ID] })).await.is(404, "not_found");
    hub.post("/deployments/preview", json!({})).await.refuses("devices", "by one of them");
    let new = json!({ "script": script, "devices": [lamp, fan, lamp], "health_window_seconds": 60 });
    let begun = hub.post("/deployments", new).await;
    assert_eq!((begun.status, &begun.json()["total"]), (201, &json!(2)));
    let id = begun.string("id");
    let got = hub.get(&format!("/deployments/{id}")).await.json();
    let fields = ["script_name", "version", "cause", "state", "created_by", "health_window_seconds", "total"];
    let values: Vec<&Value> = fields.iter().map(|field| &got[field]).collect();
    assert_eq!(json!(values), json!(["blink", 1, "asked", "Running", "ada", 60, 2]));
    assert_eq!(got["counts"]["Waiting"], 2);
    let task = &got["tasks"][0];
    assert_eq!((&task["state"], &task["script_name"]), (&json!("Waiting"), &json!("blink")));
    let one = hub.get(&format!("/deployments/{id}/tasks?state=Waiting&limit=1&offset=1")).await.json();
    assert_eq!((&one["total"], one["items"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(hub.get(&format!("/deployments/{id}/tasks?state=Done")).await.json()["total"], 0);
    hub.get(&format!("/deployments/{id}/tasks?state=done")).await.refuses("state", "no such");
    hub.clock.advance(Span::seconds(1));
    let second =
        hub.post("/deployments", json!({ "script": script, "selector": "name=Fan" })).await.string("id");
    let list = |query: &'static str| {
        let hub = &hub;
        async move {
            let items = hub.get(&format!("/deployments?{query}")).await.json()["items"].clone();
            items.as_array().unwrap().iter().map(|item| item["id"].clone()).collect::<Vec<_>>()
        }
    };
    assert_eq!(list("").await, [second.as_str(), id.as_str()], "newest first");
    assert_eq!(list("limit=1&offset=1").await, [id.as_str()]);
    assert_eq!(list("state=Done").await.len(), 0);
    let of_lamp = hub.get(&format!("/deployments?device={lamp}")).await.json();
    assert_eq!((&of_lamp["total"], &of_lamp["items"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(hub.get(&format!("/deployments?script={script}")).await.json()["total"], 2);
    hub.get("/deployments?device=x").await.is(404, "not_found");
    let mut replaced = states(&hub, &id).await;
    replaced.sort();
    assert_eq!(replaced, ["Cancelled", "Waiting"], "a later deployment took the fan");
}

#[tokio::test]
async fn what_is_on_its_way_is_cancelled_and_tried_again() {
    let hub = Hub::start().await;
    let (lamp, credential) = hub.board("Lamp", 1, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    let id = hub.deploy(&script, 1, &[&lamp]).await;
    act(&hub, &id, "retry").await.is(409, "conflict");
    assert_eq!(act(&hub, &id, "cancel").await.status, 204);
    act(&hub, &id, "cancel").await.is(409, "conflict");
    assert_eq!(states(&hub, &id).await, ["Cancelled"]);
    assert_eq!(hub.get(&format!("/deployments/{id}")).await.json()["state"], "Cancelled");
    assert_eq!(hub.poll(&credential, 1).await, "", "nothing waits any more");
    let device = hub.get(&format!("/devices/{lamp}")).await.json();
    assert_eq!((&device["pending"], &device["running"]), (&Value::Null, &Value::Null));
    act(&hub, &id, "rollback").await.is(409, "conflict");
    let path = format!("/deployments/{id}/retry");
    for body in ["{", "[]", "{\"devices\":\"x\"}", "{\"device\":[]}", "\u{0}"] {
        let answer = hub.raw("POST", &format!("/api/v1{path}"), &hub.ada, &[], body.as_bytes()).await;
        answer.is(400, "invalid");
    }
    hub.post(&path, json!({ "devices": [NO_ID] })).await.is(404, "not_found");
    let again = hub.post(&path, json!({ "devices": [lamp] })).await;
    assert_eq!((again.status, again.json()), (200, json!({ "tasks": 1 })));
    assert_eq!(states(&hub, &id).await, ["Waiting"]);
    assert_eq!(hub.get(&format!("/deployments/{id}")).await.json()["state"], "Running");
    hub.run_on_board(&credential, 1, &id).await;
    hub.until("it is done", || async {
        (hub.get(&format!("/deployments/{id}")).await.json()["state"] == "Done").then_some(())
    })
    .await;
    act(&hub, &id, "cancel").await.is(409, "conflict");
    act(&hub, &id, "retry").await.is(409, "conflict");
    act(&hub, &id, "rollback").await.is(409, "conflict");
    hub.is_well().await;
}

#[tokio::test]
async fn a_deployment_is_rolled_back_to_what_ran_before() {
    let hub = Hub::start().await;
    let (lamp, lamp_credential) = hub.board("Lamp", 1, &[]).await;
    let (fan, _) = hub.board("Fan", 2, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    let first = hub.deploy(&script, 1, &[&lamp]).await;
    hub.run_on_board(&lamp_credential, 1, &first).await;
    let saved = json!({ "source": "print(2)" });
    assert_eq!(hub.post(&format!("/scripts/{script}/versions"), saved).await.status, 201);
    hub.clock.advance(Span::seconds(20));
    let second = hub.deploy(&script, 2, &[&lamp, &fan]).await;
    hub.run_on_board(&lamp_credential, 1, &second).await;
    hub.clock.advance(Span::seconds(20));
    let elsewhere = json!({ "devices": [NO_ID] });
    hub.post(&format!("/deployments/{second}/rollback"), elsewhere).await.is(404, "not_found");
    let back = act(&hub, &second, "rollback").await;
    assert_eq!((back.status, &back.json()["total"]), (201, &json!(1)), "the fan never took it: {back:?}");
    let back = back.string("id");
    let mut left = states(&hub, &second).await;
    left.sort();
    assert_eq!(left, ["Cancelled", "Done"], "what still waited is cancelled");
    let got = hub.get(&format!("/deployments/{back}")).await.json();
    assert_eq!((&got["cause"], &got["of"]), (&json!("rollback"), &json!(second)));
    assert_eq!(
        (&got["tasks"][0]["version"], &got["tasks"][0]["previous"]["version"]),
        (&json!(1), &json!(2))
    );
    hub.run_on_board(&lamp_credential, 1, &back).await;
    hub.until("the task says so", || async {
        states(&hub, &second).await.contains(&"RolledBack".to_owned()).then_some(())
    })
    .await;
    assert_eq!(hub.get(&format!("/devices/{lamp}")).await.json()["running"]["version"], 1);
    hub.is_well().await;
}

#[tokio::test]
async fn a_board_that_has_the_new_version_is_rolled_back_and_not_cancelled() {
    let hub = Hub::start().await;
    let (lamp, credential) = hub.board("Lamp", 1, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    let first = hub.deploy(&script, 1, &[&lamp]).await;
    hub.run_on_board(&credential, 1, &first).await;
    let saved = json!({ "source": "print(2)" });
    assert_eq!(hub.post(&format!("/scripts/{script}/versions"), saved).await.status, 201);
    let second = hub.deploy(&script, 2, &[&lamp]).await;
    assert_eq!(hub.poll(&credential, 1).await, "UPDATE");
    let program = format!("/d/{credential}/uploads/1/boot.lua");
    assert_eq!(hub.send("GET", &program, &Caller::default(), &[], None).await.text(), "print(2)");
    hub.until("the board applies it", || async {
        (states(&hub, &second).await == ["Applying"]).then_some(())
    })
    .await;
    let cancel = format!("/devices/{lamp}/cancel");
    hub.call("POST", &cancel, &hub.ada, None).await.is(409, "conflict");
    let back = act(&hub, &second, "rollback").await;
    assert_eq!(back.status, 201, "{back:?}");
    assert_eq!(states(&hub, &second).await, ["Cancelled"]);
    hub.clock.advance(Span::seconds(20));
    hub.run_on_board(&credential, 1, &back.string("id")).await;
    hub.until("the task says so", || async { (states(&hub, &second).await == ["RolledBack"]).then_some(()) })
        .await;
    hub.until("the deployment says so", || async {
        (hub.get(&format!("/deployments/{second}")).await.json()["state"] == "RolledBack").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_manager_chooses_among_what_is_assigned() {
    let hub = Hub::start().await;
    let made = hub.post("/tokens", json!({ "name": "manager", "role": "manager" })).await;
    let manager = Caller::token(made.string("token"));
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    let (path, body) = (format!("/devices/{lamp}/activate"), json!({ "script": script }));
    hub.call("POST", &path, &manager, Some(&body)).await.is(403, "forbidden");
    assert_eq!(hub.put(&format!("/devices/{lamp}/scripts/{script}")).await.status, 204);
    let begun = hub.call("POST", &path, &manager, Some(&body)).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let id = begun.string("id");
    let cancelled = hub.call("POST", &format!("/deployments/{id}/cancel"), &manager, None).await;
    assert_eq!(cancelled.status, 204);
    let fact = hub.get("/activity?kind=deployment_cancelled").await.json();
    assert_eq!(fact["items"][0]["actor"]["name"], "manager");
}

#[tokio::test]
async fn a_thousand_devices_are_begun_listed_and_cancelled_in_a_moment() {
    let hub = Hub::start().await;
    let script = hub.script("blink", "print(1)").await;
    let boards = (0..1000_u32).map(|number| hub.board("Lamp", number, &["many"]));
    let mut some = futures_util::stream::StreamExt::buffered(futures_util::stream::iter(boards), 16);
    while futures_util::StreamExt::next(&mut some).await.is_some() {}
    let begun = hub.post("/deployments", json!({ "script": script, "selector": "tag=many" })).await;
    assert_eq!((begun.status, &begun.json()["total"]), (201, &json!(1000)));
    let id = begun.string("id");
    assert_eq!(states(&hub, &id).await.len(), 1000);
    assert_eq!(hub.get("/devices?limit=1000&sort=state").await.json()["items"][999]["state"], "pending");
    assert_eq!(act(&hub, &id, "cancel").await.status, 204);
    let mut ids: Vec<Value> = Vec::new();
    for task in hub.get(&format!("/deployments/{id}")).await.json()["tasks"].as_array().unwrap() {
        ids.push(task["device"].clone());
    }
    let retry = format!("/deployments/{id}/retry");
    let with_stranger: Vec<Value> = ids.iter().cloned().chain([json!(NO_ID)]).collect();
    hub.post(&retry, json!({ "devices": with_stranger })).await.is(404, "not_found");
    hub.post("/deployments", json!({ "script": script, "devices": with_stranger }))
        .await
        .is(404, "not_found");
    let again = hub.post(&retry, json!({ "devices": ids[..600] })).await;
    assert_eq!(again.json(), json!({ "tasks": 600 }));
    let again = act(&hub, &id, "retry").await;
    assert_eq!(again.json(), json!({ "tasks": 400 }));
    hub.is_well().await;
}
