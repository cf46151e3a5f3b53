//! Flows: what can be drawn and what cannot, versions, and where steps would run.

use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::bench::{Board, candidate, of_step, place_of, wire};

const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";

/// A thermometer, a comparison, and a topic.
fn climate(name: &str) -> Value {
    json!({
        "name": name,
        "steps": [
            { "id": "th", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 5000, "requires": ["temperature"] },
            { "id": "warm", "kind": "compare", "property": "temperature", "rules": [{ "operator": "gt", "value": 20 }] },
            { "id": "out", "kind": "publish", "topic": "kitchen/warm" },
        ],
        "wires": [{ "from": "th", "to": "warm" }, { "from": "warm", "to": "out" }],
    })
}

#[tokio::test]
async fn a_flow_is_drawn_edited_and_deleted() {
    let hub = Hub::start().await;
    let mut drawn = climate("climate");
    drawn["description"] = json!("warns");
    drawn["comment"] = json!("first");
    let made = hub.post("/flows", drawn).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.string("id");
    let path = format!("/flows/{id}");
    let flow = hub.get(&path).await.json();
    assert_eq!(flow, made.json());
    let facts = ["name", "description", "latest_version", "deployed", "state", "unplaced", "devices"];
    let facts: Vec<&Value> = facts.iter().map(|fact| &flow[fact]).collect();
    assert_eq!(json!(facts), json!(["climate", "warns", 1, null, "stopped", 0, 0]));
    assert_eq!(flow["graph"]["wires"], climate("")["wires"]);
    assert_eq!(flow["graph"]["steps"][0]["requires"], json!(["temperature"]));

    let edited = hub.patch(&path, json!({ "name": "Klima" })).await.json();
    assert_eq!((&edited["name"], &edited["description"]), (&json!("Klima"), &json!("warns")));
    hub.post("/flows", climate("KLIMA")).await.is(409, "name_taken");
    hub.flow(climate("alarm")).await;
    hub.patch(&path, json!({ "name": "Alarm" })).await.is(409, "name_taken");
    hub.patch(&path, json!({ "name": "" })).await.refuses("name", "1 to 80");
    hub.patch(&path, json!({ "graph": {} })).await.is(400, "invalid");
    let list = async |query: &str| {
        let list = hub.get(&format!("/flows{query}")).await.json();
        let names = list["items"].as_array().unwrap().iter().map(|flow| flow["name"].clone());
        (names.collect::<Vec<_>>(), list["total"].clone())
    };
    assert_eq!(list("").await, (vec![json!("alarm"), json!("Klima")], json!(2)));
    assert_eq!(list("?q=LIM").await, (vec![json!("Klima")], json!(1)));
    assert_eq!(list("?offset=1&limit=1").await, (vec![json!("Klima")], json!(2)));
    hub.get("/flows?limit=0").await.is(400, "invalid");

    assert_eq!(hub.delete(&path).await.status, 204);
    for path in [&path, "/flows/x", &format!("/flows/{NO_ID}")] {
        hub.get(path).await.is(404, "not_found");
        hub.delete(path).await.is(404, "not_found");
        hub.get(&format!("{path}/placement")).await.is(404, "not_found");
        hub.get(&format!("{path}/placements")).await.is(404, "not_found");
        hub.get(&format!("{path}/versions")).await.is(404, "not_found");
        hub.post(&format!("{path}/deploy"), json!({})).await.is(404, "not_found");
        hub.post(&format!("{path}/stop"), json!({})).await.is(404, "not_found");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn versions_are_saved_behind_each_other() {
    let hub = Hub::start().await;
    let id = hub.flow(climate("climate")).await;
    let versions = format!("/flows/{id}/versions");
    let mut second = climate("");
    second["steps"][1]["rules"][0]["value"] = json!(25);
    second["comment"] = json!("warmer");
    second["based_on"] = json!(1);
    let saved = hub.post(&versions, second.clone()).await;
    assert_eq!((saved.status, &saved.json()["latest_version"]), (201, &json!(2)), "{saved:?}");
    hub.post(&versions, second.clone()).await.is(409, "stale");
    second["wires"] = json!([]);
    second["based_on"] = json!(2);
    hub.post(&versions, second).await.refuses("steps.warm", "no wire leads to it");
    let list = hub.get(&versions).await.json();
    let facts = |item: &Value| json!([item["version"], item["author"], item["comment"], item["graph"]]);
    let listed: Vec<Value> = list["items"].as_array().unwrap().iter().map(facts).collect();
    assert_eq!(listed, [json!([2, "ada", "warmer", null]), json!([1, "ada", "", null])]);
    let of = async |version: i64| {
        let version = hub.get(&format!("{versions}/{version}")).await.json();
        version["graph"]["steps"][1]["rules"][0]["value"].clone()
    };
    assert_eq!((of(1).await, of(2).await), (json!(20), json!(25)));
    for version in ["0", "3", "x", "99999999999999999999"] {
        hub.get(&format!("{versions}/{version}")).await.is(404, "not_found");
    }
    for kind in ["deploy", "dry-run"] {
        hub.post(&format!("/flows/{id}/{kind}"), json!({ "version": 3 })).await.is(404, "not_found");
        hub.post(&format!("/flows/{id}/{kind}"), json!({ "version": "1" })).await.is(400, "invalid");
    }
    hub.post(&format!("/flows/{id}/dry-run"), json!({ "without": ["x"] })).await.is(404, "not_found");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_step_and_field() {
    let hub = Hub::start().await;
    let before = hub.last_seq().await;
    let mut changed: Vec<(&str, Value, &str, &str)> = vec![
        ("/steps", json!([]), "steps", "at least one"),
        ("/steps", json!({}), "steps", "a list is expected"),
        ("/wires/0/to", json!("nobody"), "wires[0].to", "there is no step nobody"),
        ("/wires/1/from", json!("out"), "wires[1].from", "emits nothing"),
        ("/wires/1/to", json!("th"), "wires[1].to", "takes nothing"),
        ("/wires/1", json!({ "from": "th", "to": "warm" }), "wires[1].to", "already"),
        ("/wires/1", json!(7), "wires[1]", "an object is expected"),
        ("/wires", json!([{ "from": "th", "to": "warm" }]), "steps.out", "no wire leads to it"),
        ("/steps/0/id", json!("a b"), "steps[0].id", "letters, digits or underscores"),
        ("/steps/2/id", json!("th"), "steps.th", "two steps with this id"),
        ("/steps/0/kind", json!("magic"), "steps.th.kind", "the kinds are sensor, metric"),
        ("/steps/0/sensor", json!("nose"), "steps.th.sensor", "dht11, dht22"),
        ("/steps/0/pin", json!(256), "steps.th.pin", "0 to 255"),
        ("/steps/0/every_ms", Value::Null, "steps.th.every_ms", "is missing"),
        ("/steps/0/every_ms", json!(1), "steps.th.every_ms", "100 to"),
        ("/steps/0/runs_on", json!("hub"), "steps.th.runs_on", "boards only"),
        ("/steps/2/runs_on", json!("bench"), "steps.out.runs_on", "the hub only"),
        ("/steps/2/requires", json!(["relay"]), "steps.out.requires", "nothing of a board"),
        ("/steps/0/requires", json!([1]), "steps.th.requires", "a list of texts"),
        ("/steps/0/requires", json!(["a b"]), "steps.th.requires", ""),
        ("/steps/1/rules", json!([]), "steps.warm.rules", "1 to 50"),
        ("/steps/1/rules/0/value", Value::Null, "steps.warm.rules[0].value", "numbers or texts"),
        ("/steps/1/rules/0/value", json!([1]), "steps.warm.rules[0].value", "a number, a text"),
        ("/steps/1/rules/0/operator", json!("~"), "steps.warm.rules[0].operator", "lt, lte, gt"),
        ("/steps/1/emits", json!("light"), "steps.warm.emits", "result, value"),
        ("/steps/1/property", json!("a..b"), "steps.warm.property", "names with dots"),
        ("/steps/2/topic", json!("a/#"), "steps.out.topic", ""),
        ("/steps/2/topic", json!("$SYS/x"), "steps.out.topic", "belong to the broker"),
    ];
    changed.push(("/steps/0/x", json!(1e9), "steps.th.x", "-100000 to 100000"));
    for (path, value, field, part) in changed {
        let mut drawn = climate("climate");
        match drawn.pointer_mut(path) {
            Some(found) => *found = value,
            None => {
                let (parent, name) = path.rsplit_once('/').unwrap();
                drawn.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        hub.post("/flows", drawn.clone()).await.refuses(field, part);
        hub.post("/flows/check", drawn).await.refuses(field, part);
    }
    let with = |fields: Value| {
        let mut drawn = climate("climate");
        drawn.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        drawn
    };
    for (fields, field, part) in [
        (json!({ "name": "" }), "name", "1 to 80"),
        (json!({ "boards": "tag=" }), "boards", ""),
        (json!({ "take_over": "yes" }), "take_over", "true or false"),
        (json!({ "weights": { "load": 11 } }), "weights.load", "0 to 10"),
        (json!({ "weights": { "luck": 1 } }), "weights.luck", "there are priorities"),
        (json!({ "stepz": [] }), "stepz", "there are steps, wires"),
    ] {
        hub.post("/flows", with(fields)).await.refuses(field, part);
    }
    let step = |kind: Value| json!({ "steps": [kind], "wires": [] });
    for (drawn, field) in [
        (
            step(json!({ "id": "t", "kind": "timer", "every_ms": 1000, "value": "x".repeat(2000) })),
            "steps.t.value",
        ),
        (step(json!({ "id": "t", "kind": "metric", "device": "bench" })), "steps.t.metric"),
        (step(json!({ "id": "t", "kind": "code", "language": "c", "source": "x" })), "steps.t.language"),
        (step(json!({ "id": "t", "kind": "webhook", "url": "ftp://x" })), "steps.t.url"),
        (step(json!({ "id": "t", "kind": "map", "cases": [{ "when": 1 }] })), "steps.t.cases[0].then"),
        (step(json!({ "id": "t", "kind": "expression", "expression": "value +" })), "steps.t.expression"),
    ] {
        hub.post("/flows/check", drawn).await.refuses(field, "");
    }
    let pass = |id: &str| json!({ "id": id, "kind": "pass" });
    let circle = json!({ "name": "c", "steps": [pass("a"), pass("b")],
        "wires": [{ "from": "a", "to": "b" }, { "from": "b", "to": "a" }] });
    hub.post("/flows", circle).await.refuses("wires", "a, b lead in a circle");
    let many: Vec<Value> = (0..10_000).map(|n| json!({ "id": format!("s{n}"), "kind": "and" })).collect();
    hub.post("/flows", json!({ "name": "m", "steps": many, "wires": [] })).await.is(413, "too_large");
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(hub.get("/flows").await.json(), json!({ "items": [], "total": 0 }));
    hub.is_well().await;
}

#[tokio::test]
async fn a_plan_says_where_each_step_would_run_and_why() {
    let hub = Hub::start().await;
    let kitchen = Board::new(&hub, "kitchen", &["temperature"]).await;
    let cellar = Board::new(&hub, "cellar", &["temperature", "relay"]).await;
    let _porch = Board::new(&hub, "porch", &["relay"]).await;
    let checked = hub.post("/flows/check", climate("climate")).await;
    let plan = checked.json()["plan"].clone();
    assert_eq!(checked.json()["ok"], true, "{checked:?}");
    assert_eq!(place_of(&plan, "th"), "kitchen", "it can do little else");
    assert_eq!((place_of(&plan, "out"), &of_step(&plan, "out")["candidates"]), ("hub".into(), &json!([])));
    let parts = &candidate(&plan, "th", "kitchen")["parts"];
    assert_eq!((&parts["load"], &parts["specificity"]), (&json!(0.4), &json!(0.05)), "{plan}");
    assert!(candidate(&plan, "th", "cellar")["parts"]["specificity"].as_f64() < Some(0.04));
    let porch = candidate(&plan, "th", "porch");
    assert_eq!((&porch["obstacle"], &porch["total"]), (&json!("it lacks temperature"), &Value::Null));
    assert_eq!(hub.get("/flows").await.json()["total"], 0, "nothing was saved");

    let id = hub.flow(climate("climate")).await;
    let dry = async |without: &[&str]| {
        hub.post(&format!("/flows/{id}/dry-run"), json!({ "without": without })).await.json()
    };
    assert_eq!(place_of(&dry(&[]).await, "th"), "kitchen");
    let other = dry(&[&kitchen.id]).await;
    assert_eq!(place_of(&other, "th"), "cellar");
    assert_eq!(candidate(&other, "th", "kitchen")["obstacle"], "it is not there");
    let none = dry(&[&kitchen.id, &cellar.id]).await;
    assert_eq!((place_of(&none, "th"), &none["settled"]), ("nowhere".into(), &json!(false)));
    assert_eq!(place_of(&none, "warm"), "porch", "others run on");
    assert_eq!(wire(&none, "warm", "out")["crosses"], true);

    let mut impossible = climate("impossible");
    impossible["steps"][0]["requires"] = json!(["temperature", "bme280"]);
    let id = hub.flow(impossible).await;
    let refused = hub.post(&format!("/flows/{id}/deploy"), json!({})).await;
    refused.is(409, "unplaceable");
    assert_eq!(refused.string("detail"), "steps.th.requires: no board has bme280");
    assert_eq!(hub.get(&format!("/flows/{id}")).await.json()["state"], "stopped");
    hub.is_well().await;
}
