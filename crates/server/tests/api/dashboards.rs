//! Dashboards: made, saved, shared, seen by a public link; what their blocks show and do.

use std::time::Duration;

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::access::somebody;
use crate::support::events::Events;
use crate::support::mqtt::Publisher;
use crate::support::{Caller, Hub};

fn page(blocks: &[Value]) -> Value {
    let place = |(at, block): (usize, &Value)| {
        let mut block = block.clone();
        let own = block.as_object_mut().unwrap();
        own.entry("id").or_insert(json!(format!("b{at}")));
        own.extend(json!({ "x": 0, "y": at, "w": 3, "h": 1 }).as_object().unwrap().clone());
        block
    };
    let blocks: Vec<Value> = blocks.iter().enumerate().map(place).collect();
    json!({ "format": "motehub-dashboard/1", "name": "Greenhouse", "blocks": blocks })
}

async fn dashboard(hub: &Hub, blocks: &[Value]) -> String {
    let made = hub.post("/dashboards", json!({ "document": page(blocks), "shared": true })).await;
    assert_eq!(made.status, 201, "{made:?}");
    format!("/dashboards/{}", made.string("id"))
}

#[tokio::test]
async fn a_dashboard_is_kept_or_shared_saved_copied_exported_and_imported() {
    let hub = Hub::start().await;
    let (eve, bob) = (somebody(&hub, "eve", "viewer").await, somebody(&hub, "bob", "viewer").await);
    let text = json!({ "kind": "text", "markdown": "# Hello" });
    let new = json!({ "document": page(&[text]) });
    let made = hub.call("POST", "/dashboards", &eve, Some(&new)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let own = format!("/dashboards/{}", made.string("id"));
    assert_eq!(
        (&made.json()["mine"], &made.json()["may_edit"], &made.json()["owner"]),
        (&json!(true), &json!(true), &json!("eve"))
    );
    hub.call("GET", &own, &bob, None).await.is(404, "not_found");
    hub.get(&own).await.is(404, "not_found");
    let total =
        async |caller: &Caller| hub.call("GET", "/dashboards", caller, None).await.json()["total"].clone();
    assert_eq!((total(&eve).await, total(&bob).await), (json!(1), json!(0)));
    let mut document = made.json()["document"].clone();
    document["name"] = json!("Barn");
    let saved = json!({ "document": document, "shared": true, "revision": 1 });
    let answer = hub.call("PUT", &own, &eve, Some(&saved)).await;
    assert_eq!((answer.status, &answer.json()["revision"]), (200, &json!(2)), "{answer:?}");
    hub.call("PUT", &own, &eve, Some(&saved)).await.is(409, "stale");
    let again = json!({ "document": document, "revision": 2 });
    hub.call("PUT", &own, &bob, Some(&again)).await.is(403, "forbidden");
    hub.call("DELETE", &own, &bob, None).await.is(403, "forbidden");
    let copied = hub.call("POST", &format!("{own}/copy"), &bob, Some(&json!({}))).await;
    assert_eq!((copied.status, copied.string("name").as_str()), (201, "Barn (copy)"));
    assert_eq!((&copied.json()["mine"], &copied.json()["shared"]), (&json!(true), &json!(false)));
    let file = hub.get(&format!("{own}/export")).await;
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"barn.dashboard.json\""));
    assert_eq!(file.json(), document);
    let imported = hub.post("/dashboards", json!({ "document": file.json() })).await;
    assert_eq!(
        (imported.status, &imported.json()["shared"]),
        (201, &json!(true)),
        "a token has no own pages"
    );
    let mut newer = file.json();
    newer["format"] = json!("motehub-dashboard/7");
    hub.post("/dashboards", json!({ "document": newer })).await.refuses("format", "update the hub");
    let mut wrong = file.json();
    wrong["blocks"][0]["kind"] = json!("clock");
    hub.post("/dashboards", json!({ "document": wrong })).await.refuses("blocks[0].kind", "there are value");
    assert_eq!(hub.call("DELETE", &own, &eve, None).await.status, 204);
    hub.get(&own).await.is(404, "not_found");
}

#[tokio::test]
async fn blocks_show_what_devices_measure_and_report_now_and_before() {
    let hub = Hub::start().await;
    let (lamp, credential) = hub.board("Lamp", 1, &["kitchen"]).await;
    let (fan, other) = hub.board("Fan", 2, &["kitchen"]).await;
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    let mut second = Publisher::connect(&hub, "2", &other).await.unwrap();
    hub.device_is(&lamp, "online").await;
    hub.device_is(&fan, "online").await;
    for t in [20, 22, 24] {
        board
            .publish("devices/1/telemetry", format!("{{\"t\":{t},\"mode\":\"m{t}\"}}").as_bytes())
            .await
            .unwrap();
        hub.clock.advance(Span::seconds(60));
    }
    second.publish("devices/2/telemetry", br#"{"t":30}"#).await.unwrap();
    let reported = json!({ "state": { "reported": { "lamp": { "on": true }, "position": { "lat": 48.5, "lng": 2 } },
        "desired": { "lamp": { "on": false } } } });
    assert_eq!(hub.patch(&format!("/devices/{lamp}/shadow"), reported).await.status, 200);
    let (one, all) = (json!({ "device": lamp }), json!({ "selector": "tag=kitchen" }));
    let t = json!({ "metric": "t" });
    let own = dashboard(&hub, &[
        json!({ "id": "value", "kind": "value", "of": all, "read": t }),
        json!({ "id": "switch", "kind": "switch", "of": one, "path": "lamp.on" }),
        json!({ "id": "chart", "kind": "chart", "series": [{ "of": all, "metric": "t" }], "range": 3600 }),
        json!({ "id": "bar", "kind": "bar", "of": all, "metric": "t", "statistic": "mean", "range": 3600 }),
        json!({ "id": "lane", "kind": "timeline", "of": one, "read": { "metric": "mode" }, "range": 3600 }),
        json!({ "id": "there", "kind": "timeline", "of": one, "read": { "presence": true }, "range": 3600 }),
        json!({ "id": "table", "kind": "table", "selector": "tag=kitchen", "columns": [t, { "presence": true }] }),
        json!({ "id": "map", "kind": "map", "selector": "tag=kitchen" }),
        json!({ "id": "gone", "kind": "value", "of": { "device": "01k00000000000000000000000" }, "read": t }),
        json!({ "id": "group", "kind": "value", "of": { "selector": "group=attic" }, "read": t }),
    ]).await;
    let data = hub.get(&format!("{own}/data")).await.json()["blocks"].clone();
    let values: Vec<&Value> =
        data["value"]["devices"].as_array().unwrap().iter().map(|d| &d["value"]).collect();
    assert_eq!(values, [&json!(30), &json!(24)], "by name: Fan, Lamp");
    assert_eq!(data["value"]["devices"][1]["reach"], "online");
    let switch = &data["switch"]["devices"][0];
    assert_eq!((&switch["value"], &switch["desired"]), (&json!(true), &json!(false)));
    assert_eq!(data["table"]["devices"][0]["cells"][1]["value"], "online");
    assert_eq!(
        (&data["map"]["devices"][1]["latitude"], &data["map"]["devices"][0]["latitude"]),
        (&json!(48.5), &Value::Null)
    );
    assert!(data["gone"]["error"].as_str().unwrap().contains("the device is gone"), "{data}");
    assert!(data["group"]["error"].as_str().unwrap().contains("there is no group attic"), "{data}");
    let history =
        async |block: &str| hub.get(&format!("{own}/blocks/{block}/history")).await.json()["series"].clone();
    let chart = history("chart").await;
    assert_eq!((&chart[0]["label"], &chart[1]["label"]), (&json!("Fan"), &json!("Lamp")));
    let means: Vec<f64> =
        chart[1]["points"].as_array().unwrap().iter().map(|p| p[1].as_f64().unwrap()).collect();
    assert_eq!(means, [20.0, 22.0, 24.0]);
    let bars = history("bar").await;
    assert_eq!((&bars[0]["value"], &bars[1]["value"]), (&json!(30.0), &json!(22.0)));
    let lane = history("lane").await[0]["states"].clone();
    let states: Vec<&Value> = lane.as_array().unwrap().iter().map(|state| &state[2]).collect();
    assert_eq!(states, ["m20", "m22", "m24"]);
    assert_eq!(lane[0][1].as_i64().unwrap() - lane[0][0].as_i64().unwrap(), 60_000);
    let there = history("there").await[0]["states"].clone();
    assert_eq!(there.as_array().unwrap().last().unwrap()[2], "online");
    hub.get(&format!("{own}/blocks/map/history")).await.refuses("block", "has no history");
    hub.get(&format!("{own}/blocks/none/history")).await.is(404, "not_found");
    assert_eq!(hub.delete(&format!("/devices/{fan}")).await.status, 204);
    let data = hub.get(&format!("{own}/data")).await.json();
    assert_eq!(data["blocks"]["value"]["total"], 1);
    let mut draft = hub.get(&own).await.json()["document"].clone();
    let shown = hub.post("/dashboards/preview", json!({ "document": draft })).await;
    assert_eq!(
        (shown.status, &shown.json()["blocks"]),
        (200, &data["blocks"]),
        "what is not saved shows the same"
    );
    draft["blocks"][0]["read"] = json!({ "metric": "" });
    hub.post("/dashboards/preview", json!({ "document": draft })).await.is(400, "invalid");
}

#[tokio::test]
async fn blocks_set_what_is_desired_and_give_commands() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &["kitchen"]).await;
    hub.board("Fan", 2, &["kitchen"]).await;
    let viewer = somebody(&hub, "eve", "viewer").await;
    let (one, all) = (json!({ "device": lamp }), json!({ "selector": "tag=kitchen" }));
    let own = dashboard(&hub, &[
        json!({ "id": "switch", "kind": "switch", "of": all, "path": "lamp.on" }),
        json!({ "id": "level", "kind": "slider", "of": one, "path": "level", "min": 0, "max": 10 }),
        json!({ "id": "blink", "kind": "button", "of": all, "command": "blink", "arguments": { "times": 2 } }),
        json!({ "id": "text", "kind": "text", "markdown": "x" }),
        json!({ "id": "none", "kind": "switch", "of": { "selector": "tag=attic" }, "path": "on" }),
    ]).await;
    let act = async |block: &str, body: Value| hub.post(&format!("{own}/blocks/{block}/act"), body).await;
    let done = act("switch", json!({ "value": true })).await;
    assert_eq!((done.status, &done.json()["devices"]), (200, &json!(2)), "{done:?}");
    let shadow = hub.get(&format!("/devices/{lamp}/shadow")).await.json();
    assert_eq!(shadow["state"]["desired"], json!({ "lamp": { "on": true } }));
    act("level", json!({ "value": 11 })).await.refuses("value", "a number from 0 to 10");
    assert_eq!(act("level", json!({ "value": 7.5 })).await.status, 200);
    assert_eq!(act("blink", json!({})).await.json()["devices"], 2);
    let command = hub.get("/commands").await.json()["items"][0].clone();
    assert_eq!(
        (&command["name"], &command["args"], &command["devices"]),
        (&json!("blink"), &json!({ "times": 2 }), &json!(2))
    );
    act("text", json!({})).await.refuses("block", "only shows");
    act("none", json!({ "value": true })).await.is(409, "no_devices");
    let refused =
        hub.call("POST", &format!("{own}/blocks/switch/act"), &viewer, Some(&json!({ "value": true }))).await;
    refused.is(403, "forbidden");
}

#[tokio::test]
async fn a_look_is_live_and_ends_when_the_page_is_saved_anew() {
    let hub = Hub::start().await;
    let (lamp, credential) = hub.board("Lamp", 1, &["kitchen"]).await;
    let all = json!({ "selector": "tag=kitchen" });
    let blocks = [
        json!({ "id": "value", "kind": "value", "of": all, "read": { "metric": "t" } }),
        json!({ "id": "chart", "kind": "chart", "series": [{ "of": all, "metric": "t" }], "range": 3600 }),
        json!({ "id": "switch", "kind": "switch", "of": { "device": lamp }, "path": "on" }),
    ];
    let own = dashboard(&hub, &blocks).await;
    let mut look = Events::open(&hub, &format!("{own}/live"), &hub.ada, &[]).await.unwrap();
    assert_eq!(look.next_of("hello").await["revision"], 1);
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    let online = look.next_of("block").await;
    assert_eq!(online["data"]["devices"][0]["reach"], "online", "{online}");
    board.publish("devices/1/telemetry", br#"{"t":21.5}"#).await.unwrap();
    let points = look.next_of("points").await;
    assert_eq!(
        (&points["block"], &points["points"][0]["value"], &points["points"][0]["series"]),
        (&json!("chart"), &json!(21.5), &json!(0))
    );
    let value = loop {
        let said = look.next_of("block").await;
        if said["block"] == "value" && said["data"]["devices"][0]["value"] == 21.5 {
            break said;
        }
    };
    assert_eq!(value["data"]["total"], 1);
    let wish = json!({ "state": { "desired": { "on": true } } });
    assert_eq!(hub.patch(&format!("/devices/{lamp}/shadow"), wish).await.status, 200);
    let said = loop {
        let said = look.next_of("block").await;
        if said["block"] == "switch" && said["data"]["devices"][0]["desired"] == true {
            break said;
        }
    };
    assert_eq!(said["data"]["devices"][0]["value"], Value::Null);
    // A device that satisfies the selector from now on is in it.
    hub.board("Fan", 2, &["kitchen"]).await;
    loop {
        if look.next_of("block").await["data"]["total"] == 2 {
            break;
        }
    }
    let saved = json!({ "document": page(&blocks[..1]), "revision": 1 });
    assert_eq!(hub.call("PUT", &own, &hub.ada, Some(&saved)).await.status, 200);
    assert_eq!(look.next_of("saved").await["revision"], 2);
    assert_eq!(look.next().await, None, "the reader comes again, to the new blocks");
}

#[tokio::test]
async fn a_public_link_shows_everything_changes_nothing_and_ends() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &["kitchen"]).await;
    let own = dashboard(&hub, &[
        json!({ "id": "switch", "kind": "switch", "of": { "device": lamp }, "path": "on" }),
        json!({ "id": "bar", "kind": "bar", "of": { "device": lamp }, "metric": "t", "range": 60 }),
        json!({ "id": "go", "kind": "button", "of": { "device": lamp }, "command": "reboot", "arguments": { "pin": 1 } }),
    ]).await;
    let made =
        hub.post(&format!("{own}/links"), json!({ "label": "front door", "expires_in_s": 3600 })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let anybody = Caller::token(made.string("secret"));
    assert!(made.string("address").ends_with(&format!("/#/public/{}", made.string("secret"))), "{made:?}");
    assert!(made.string("qr").contains("<svg"));
    let seen = hub.call("GET", "/public/dashboard", &anybody, None).await;
    assert_eq!((seen.status, &seen.json()["name"]), (200, &json!("Greenhouse")), "{seen:?}");
    assert_eq!(seen.json()["document"]["blocks"].as_array().unwrap().len(), 2, "the button is not shown");
    assert!(!seen.text().contains("reboot"));
    let data = hub.call("GET", "/public/data", &anybody, None).await.json();
    assert_eq!(data["blocks"]["switch"]["devices"][0]["name"], "Lamp");
    assert_eq!(hub.call("GET", "/public/blocks/bar/history", &anybody, None).await.status, 200);
    let mut look = Events::open(&hub, "/public/live", &anybody, &[]).await.unwrap();
    assert_eq!(look.next_of("hello").await["revision"], 1);
    for (method, path) in
        [("GET", own.clone()), ("GET", "/devices".into()), ("POST", format!("{own}/blocks/switch/act"))]
    {
        let body = json!({ "value": true });
        let refused = hub.call(method, &path, &anybody, (method == "POST").then_some(&body)).await;
        refused.is(401, "unauthenticated");
    }
    let list = hub.get(&format!("{own}/links")).await;
    assert!(!list.text().contains(&made.string("secret")), "{list:?}");
    assert_eq!(
        (&list.json()["items"][0]["label"], list.json()["items"][0]["last_used_at"].is_string()),
        (&json!("front door"), true)
    );
    let other = hub.post(&format!("{own}/links"), json!({ "label": "x" })).await;
    let withdrawn = Caller::token(other.string("secret"));
    assert_eq!(hub.delete(&format!("{own}/links/{}", other.string("id"))).await.status, 204);
    let gone = hub.call("GET", "/public/dashboard", &withdrawn, None).await;
    gone.is(410, "gone");
    hub.clock.advance(Span::seconds(3601));
    let late = hub.call("GET", "/public/data", &anybody, None).await;
    late.is(410, "gone");
    assert!(late.string("detail").contains("expired"), "{late:?}");
    hub.call("GET", "/public/dashboard", &Caller::default(), None).await.is(401, "unauthenticated");
    assert_eq!(hub.delete(&own).await.status, 204);
    assert_eq!(look.next().await, None);
}

#[tokio::test]
async fn those_who_look_by_public_links_take_no_places_of_others_and_hold_up_no_end() {
    let hub = Hub::start().await;
    let own = dashboard(&hub, &[json!({ "kind": "text", "markdown": "x" })]).await;
    let made = hub.post(&format!("{own}/links"), json!({ "label": "door" })).await;
    let anybody = Caller::token(made.string("secret"));
    let mut looks = Vec::new();
    for _ in 0..200 {
        looks.push(Events::open(&hub, "/public/live", &anybody, &[]).await.unwrap());
    }
    assert_eq!(Events::open(&hub, "/public/live", &anybody, &[]).await.err(), Some(503));
    let mut look = Events::open(&hub, &format!("{own}/live"), &hub.ada, &[]).await.unwrap();
    assert_eq!(look.next_of("hello").await["revision"], 1);
    looks.pop();
    hub.until("there is a place again", || async {
        Events::open(&hub, "/public/live", &anybody, &[]).await.ok().map(drop)
    })
    .await;
    let hub = hub.again(false).await;
    assert!(hub.ended_in < Duration::from_secs(4), "it held up the end: {:?}", hub.ended_in);
    assert_eq!(look.next().await, None);
}
