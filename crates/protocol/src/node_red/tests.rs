//! Exports of the fork and of stock Node-RED become flows.

use motehub_domain::flow::{self, Graph};
use serde_json::{Value, json};

use super::{Import, NODES_MAX, read};

/// An export; every graph in what it becomes can be read.
fn import(nodes: &Value) -> Import {
    let import = read(nodes.to_string().as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}"));
    import.flows.iter().for_each(|document| drop(graph(document)));
    import
}

fn graph(document: &Value) -> Graph {
    let mut graph = document.clone();
    let members = graph.as_object_mut().expect("an object");
    assert!(members.remove("name").is_some() && members.remove("description").is_some());
    flow::graph(&graph).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn refusal(export: &str) -> String {
    read(export.as_bytes()).expect_err("a refusal").sentence
}

/// `node: message` of every warning.
fn said(import: &Import) -> Vec<String> {
    import.warnings.iter().map(|warning| format!("{}: {}", warning.node, warning.message)).collect()
}

fn step<'a>(document: &'a Value, id: &str) -> &'a Value {
    let steps = document["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {document}"))
}

fn wires(document: &Value) -> Vec<String> {
    let wires = document["wires"].as_array().expect("wires").iter();
    wires.map(|wire| format!("{}>{}", wire["from"].as_str().unwrap(), wire["to"].as_str().unwrap())).collect()
}

fn ids(document: &Value) -> Vec<&str> {
    document["steps"].as_array().expect("steps").iter().filter_map(|step| step["id"].as_str()).collect()
}

/// The flow with which the fork is tried out: a sensor, two comparisons, both of them, and out.
fn seed() -> Value {
    json!([
        {"id": "669dab0c.81c974", "type": "tab", "label": "Climate", "disabled": false, "info": ""},
        {"id": "8ac3a3d1.2f9ae", "type": "mqtt-broker", "z": "", "name": "", "broker": "172.24.0.7", "port": "1883"},
        {"id": "d31c5be0.1b2cf8", "type": "registry", "z": "669dab0c.81c974", "name": "", "topic": "announcements/+",
         "broker": "8ac3a3d1.2f9ae", "x": 110, "y": 40, "wires": [["3f0c2bd2.9f5a14"]]},
        {"id": "3f0c2bd2.9f5a14", "type": "orchestrator", "z": "669dab0c.81c974", "name": "", "x": 300, "y": 40,
         "wires": [[], []]},
        {"id": "16c92033.3c8ed", "type": "temperature-humidity", "z": "669dab0c.81c974", "name": "Kitchen",
         "predicates": "temperature humidity micropython First-Floor", "priorities": "", "pin": "32",
         "repeat": true, "interval": "7000", "inputTopics": [], "outputTopics": ["topic0_node", "topic1_node"],
         "x": 140.5, "y": 200, "wires": [["79c5d6a8.b876a", "ef4575ed.beefe8"]]},
        {"id": "79c5d6a8.b876a", "type": "if", "z": "669dab0c.81c974", "name": "", "predicates": "",
         "priorities": "micropython", "property": "payload.temperature", "propertyType": "msg",
         "rules": [{"t": "gte", "v": "15", "vt": "num"}, {"t": "btwn", "v": "1", "vt": "num", "v2": "40.5", "v2t": "num"}],
         "checkall": "true", "repair": false, "outputs": 1, "tags": "", "x": 330, "y": 160,
         "wires": [["3d8abc0f.ac4bec"]]},
        {"id": "ef4575ed.beefe8", "type": "if", "z": "669dab0c.81c974", "name": "Dry", "property": "payload.humidity",
         "propertyType": "msg", "rules": [{"t": "lt", "v": "60", "vt": "str"}], "x": 330, "y": 240,
         "wires": [["3d8abc0f.ac4bec"]]},
        {"id": "3d8abc0f.ac4bec", "type": "and", "z": "669dab0c.81c974", "name": "", "property": "payload",
         "propertyType": "msg", "count": "2", "priorities": "micropython", "x": 490, "y": 200,
         "wires": [["a1.b2"]]},
        {"id": "a1.b2", "type": "nothing", "z": "669dab0c.81c974", "name": "", "x": 610, "y": 200,
         "wires": [["c3.d4", "e5.f6"]]},
        {"id": "c3.d4", "type": "mqtt out", "z": "669dab0c.81c974", "name": "", "topic": "climate/good", "qos": "",
         "retain": "true", "broker": "8ac3a3d1.2f9ae", "priorities": "micropython", "x": 760, "y": 200, "wires": []},
        {"id": "e5.f6", "type": "debug", "z": "669dab0c.81c974", "name": "", "active": true, "x": 750, "y": 260,
         "wires": []}
    ])
}

#[test]
fn the_seed_flow_of_the_fork_is_taken_over() {
    let import = import(&seed());
    assert_eq!(import.flows.len(), 1);
    let flow = &import.flows[0];
    assert_eq!(flow["name"], "Climate");
    assert_eq!(
        *step(flow, "16c920333c8ed"),
        json!({"id": "16c920333c8ed", "name": "Kitchen", "kind": "sensor", "sensor": "dht22", "pin": 32, "every_ms": 7000,
               "requires": ["temperature", "humidity", "micropython", "first-floor"], "x": 141, "y": 200})
    );
    assert_eq!(
        *step(flow, "79c5d6a8b876a"),
        json!({"id": "79c5d6a8b876a", "kind": "compare", "property": "temperature", "emits": "result",
               "rules": [{"operator": "gte", "value": 15}, {"operator": "between", "value": 1, "to": 40.5}],
               "prefers": ["micropython"], "x": 330, "y": 160})
    );
    let dry = step(flow, "ef4575edbeefe8");
    assert_eq!(dry["rules"], json!([{"operator": "lt", "value": 60}]), "a text that is a number is one");
    assert_eq!(dry["prefers"], json!(["micropython"]), "what the fork takes if nothing is said");
    assert_eq!(step(flow, "a1b2")["kind"], "pass");
    let out =
        json!({"id": "c3d4", "kind": "publish", "topic": "climate/good", "retain": true, "x": 760, "y": 200});
    assert_eq!(*step(flow, "c3d4"), out);
    assert_eq!(
        wires(flow),
        [
            "16c920333c8ed>79c5d6a8b876a",
            "16c920333c8ed>ef4575edbeefe8",
            "79c5d6a8b876a>3d8abc0fac4bec",
            "ef4575edbeefe8>3d8abc0fac4bec",
            "3d8abc0fac4bec>a1b2",
            "a1b2>c3d4",
        ]
    );
    assert_eq!(
        said(&import),
        [
            "d31c5be0.1b2cf8: registry: left out: the hub knows its boards and places steps by itself",
            "3f0c2bd2.9f5a14: orchestrator: left out: the hub knows its boards and places steps by itself",
            "e5.f6: debug: left out: the values of every wire are seen on the page of the flow",
        ]
    );
}

/// Two rooms with three sensors each, whose thresholds come together: 36 nodes on two tabs.
#[test]
fn rooms_with_three_sensors_each_are_a_flow_per_tab() {
    let mut nodes = Vec::new();
    for room in ["A", "C"] {
        nodes.push(json!({"id": format!("tab{room}"), "type": "tab", "label": "Room"}));
        let mut node = |id: &str, kind: &str, to: &[&str], more: Value| {
            let wires: Vec<String> = to.iter().map(|to| format!("{room}.{to}")).collect();
            let mut node = json!({"id": format!("{room}.{id}"), "type": kind, "z": format!("tab{room}"), "x": 1, "y": 2,
                "wires": [wires]});
            node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            nodes.push(node);
        };
        for (at, floor) in ["first", "second", "third"].iter().enumerate() {
            let predicates = json!(["temperature", "humidity", floor]);
            let (hot, wet, both) = (format!("hot{at}"), format!("wet{at}"), format!("both{at}"));
            let sensor = json!({"pin": 4, "repeat": true, "interval": 5000, "predicates": predicates});
            node(&format!("th{at}"), "temperature-humidity", &[&hot, &wet], sensor);
            let above = |limit: &str, part: &str| json!({"property": format!("payload.{part}"), "rules": [{"t": "gt", "v": limit, "vt": "num"}]});
            node(&hot, "if", &[&both], above("25", "temperature"));
            node(&wet, "if", &[&both], above("70", "humidity"));
            node(&both, "and", &[&format!("pass{at}")], json!({"count": 2, "property": "payload"}));
            node(&format!("pass{at}"), "nothing", &["all"], json!({}));
        }
        node("all", "and", &["out", "debug"], json!({"count": "3"}));
        node("out", "mqtt out", &[], json!({"topic": format!("room/{room}/air")}));
        node("debug", "debug", &[], json!({}));
    }
    let import = import(&json!(nodes));
    let names: Vec<&Value> = import.flows.iter().map(|flow| &flow["name"]).collect();
    assert_eq!(names, ["Room", "Room 2"]);
    for (flow, room) in import.flows.iter().zip(["A", "C"]) {
        assert_eq!((ids(flow).len(), wires(flow).len()), (17, 19));
        let graph = graph(flow);
        let sensors = graph.steps.iter().filter(|step| step.kind.as_str() == "sensor");
        let floors: Vec<&[String]> = sensors.map(|step| step.requires.as_slice()).collect();
        assert_eq!(floors[1], ["humidity", "second", "temperature"]);
        assert_eq!(step(flow, &format!("{room}out"))["topic"], format!("room/{room}/air"));
    }
    assert_eq!(import.warnings.len(), 2, "{:?}", import.warnings);
}

#[test]
fn what_stays_in_node_red_in_the_fork_runs_on_the_hub() {
    let import = import(&json!([
        {"id": "t", "type": "inject", "z": "z", "x": 0, "y": 0, "wires": [["s"]], "repeat": "2.5", "payload": "21.5",
         "payloadType": "num", "predicates": "node-red"},
        {"id": "s", "type": "switch", "z": "z", "name": "Warm", "x": 0, "y": 0, "property": "payload", "propertyType": "msg",
         "rules": [{"t": "gt", "v": "20", "vt": "num"}], "wires": [["j"]], "predicates": ["node-red"]},
        {"id": "j", "type": "junction", "z": "z", "x": 0, "y": 0, "wires": [["f"]]},
        {"id": "f", "type": "function", "z": "z", "name": "Round", "func": "return msg;", "x": 0, "y": 0, "wires": [["o"]]},
        {"id": "o", "type": "mqtt out", "z": "z", "topic": "a/b", "x": 0, "y": 0, "wires": []},
        {"id": "in", "type": "mqtt in", "z": "z", "topic": "a/c", "predicates": "relay", "x": 0, "y": 0, "wires": [["o", "o"]]},
        {"id": "bad", "type": "failure", "z": "z", "tags": "Poison gas", "x": 0, "y": 0, "wires": []},
    ]));
    let flow = &import.flows[0];
    assert_eq!(flow["name"], "Node-RED", "a part of a tab has no name");
    let timer = json!({"id": "t", "kind": "timer", "every_ms": 2500, "value": 21.5, "runs_on": "hub", "x": 0, "y": 0});
    assert_eq!(*step(flow, "t"), timer);
    let warm = step(flow, "s");
    assert_eq!(
        (&warm["emits"], &warm["runs_on"], &warm["name"]),
        (&json!("value"), &json!("hub"), &json!("Warm"))
    );
    assert_eq!(step(flow, "bad")["tags"], json!(["poison", "gas"]));
    assert_eq!(step(flow, "bad")["requires"], json!(["micropython"]));
    assert_eq!(wires(flow), ["t>s", "s>j", "in>o"]);
    let said = said(&import);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("f: function \"Round\": left out: there is no step"), "{said:?}");
    assert_eq!(said[1], "in: mqtt in: it runs on the hub, whatever it requires (relay)");
}

#[test]
fn what_cannot_be_a_step_is_left_out_with_everything_that_only_it_fed() {
    let node = |id: &str, kind: &str, more: Value| {
        let mut node = json!({"id": id, "type": kind, "z": "z", "x": 0, "y": 0, "wires": [["end"]]});
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node
    };
    let rules = |rules: Value| json!({"property": "payload", "rules": rules});
    let cases = [
        (node("x", "mqtt in", json!({"topic": "home/+/t"})), "without + and #, not home/+/t"),
        (
            node("x", "mqtt in", json!({"topic": "$SYS/uptime"})),
            "topics that begin with $ belong to the broker",
        ),
        (node("x", "inject", json!({"crontab": "00 12 * * *", "repeat": ""})), "no times of day"),
        (node("x", "inject", json!({"repeat": ""})), "when a person presses it"),
        (
            node("x", "inject", json!({"repeat": "1", "payload": "{", "payloadType": "json"})),
            "its payload is no JSON",
        ),
        (node("x", "temperature-humidity", json!({"pin": "D4"})), "its pin is no number"),
        (node("x", "temperature-humidity", json!({"pin": 999})), "pin: a whole number from 0 to 255"),
        (node("x", "switch", rules(json!([{"t": "eq"}, {"t": "else"}]))), "a switch with 2 rules"),
        (node("x", "if", rules(json!([{"t": "regex", "v": "a"}]))), "a step has no rule \"regex\""),
        (
            node("x", "if", rules(json!([{"t": "gt", "v": "limit", "vt": "flow"}]))),
            "a value of the type flow",
        ),
        (node("x", "if", rules(json!([{"t": "gt", "v": "warm", "vt": "num"}]))), "\"warm\" is no number"),
        (node("x", "if", json!({"property": "topic", "rules": [{"t": "true"}]})), "not at topic"),
        (node("x", "if", json!({})), "it has no rules"),
        (node("x", "subflow:ab.12", json!({"name": "Mean"})), "draw its nodes in their place"),
        (node("x", "pass", json!({"d": true})), "it is disabled"),
    ];
    let rest = json!([
        {"id": "timer", "type": "inject", "z": "z", "repeat": "1", "x": 0, "y": 0, "wires": [["x"]]},
        {"id": "end", "type": "nothing", "z": "z", "x": 0, "y": 0, "wires": [["out"]]},
        {"id": "out", "type": "mqtt out", "z": "z", "topic": "a", "x": 0, "y": 0},
    ]);
    for (node, why) in cases {
        let mut nodes = rest.as_array().unwrap().clone();
        nodes.push(node.clone());
        let import = import(&json!(nodes));
        assert_eq!(ids(&import.flows[0]), ["timer"], "{node}");
        let said = said(&import);
        assert!(said.iter().any(|said| said.starts_with("x: ") && said.contains(why)), "{why}: {said:?}");
        assert!(said.iter().any(|said| said.starts_with("out: mqtt out: left out: no wire")), "{said:?}");
    }
}

#[test]
fn a_stock_flow_is_what_belongs_to_its_motehub_flow() {
    let settings = json!({"property": "temperature", "rules": [{"operator": "gt", "value": 20}]});
    let import = import(&json!([
        {"id": "t1", "type": "tab", "label": "Home"},
        {"id": "hub", "type": "motehub-hub", "address": "http://127.0.0.1:8080"},
        {"id": "f1", "type": "motehub-flow", "name": "climate", "hub": "hub", "boards": "tag=kitchen", "takeOver": true},
        {"id": "f1a.th", "type": "motehub-source", "z": "t1", "flow": "f1", "name": "Kitchen", "kind": "sensor",
         "settings": {"sensor": "dht22", "pin": 4, "every_ms": 5000}, "requires": "temperature humidity",
         "prefers": "", "runsOn": "", "x": 40, "y": 60, "wires": [["warm", "debug"]]},
        {"id": "warm", "type": "motehub-step", "z": "t1", "flow": "f1", "kind": "compare", "settings": settings,
         "runsOn": "hub", "x": 200, "y": 60, "wires": [["out", "lamp"]]},
        {"id": "back", "type": "motehub-in", "z": "t1", "flow": "f1", "x": 0, "y": 0, "wires": [["lamp"]]},
        {"id": "out", "type": "motehub-out", "z": "t1", "flow": "f1", "x": 400, "y": 60, "wires": [["debug"]]},
        {"id": "lamp", "type": "motehub-sink", "z": "t1", "flow": "f1", "kind": "switch",
         "settings": {"device": "bench-1", "path": "light.on"}, "x": 400, "y": 90, "wires": []},
        {"id": "bomb", "type": "motehub-failure", "z": "t1", "flow": "f1", "tags": "lab, bench", "x": 0, "y": 0},
        {"id": "lost", "type": "motehub-failure", "z": "t1", "flow": "gone", "tags": "", "x": 0, "y": 0},
        {"id": "tele", "type": "motehub-telemetry", "z": "t1", "hub": "hub", "x": 40, "y": 200, "wires": [["debug"]]},
        {"id": "debug", "type": "debug", "z": "t1", "x": 600, "y": 60, "wires": []},
    ]));
    let flow = &import.flows[0];
    let around: Vec<&Value> = ["name", "boards", "take_over"].iter().map(|name| &flow[*name]).collect();
    assert_eq!(around, [&json!("climate"), &json!("tag=kitchen"), &json!(true)]);
    let sensor = step(flow, "f1ath");
    assert_eq!(
        (&sensor["every_ms"], &sensor["requires"]),
        (&json!(5000), &json!(["temperature", "humidity"]))
    );
    assert_eq!(step(flow, "warm")["runs_on"], "hub");
    assert_eq!(step(flow, "back")["topic"], "node-red/back");
    assert_eq!(step(flow, "bomb")["tags"], json!(["lab", "bench"]));
    assert_eq!(
        (&step(flow, "out")["kind"], &step(flow, "out")["topic"]),
        (&json!("publish"), &json!("node-red/out"))
    );
    assert_eq!(wires(flow), ["f1ath>warm", "warm>out", "warm>lamp", "back>lamp"]);
    let said = said(&import);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("lost: motehub-failure: left out: the motehub-flow"), "{said:?}");
    assert!(
        said[1].starts_with("f1a.th: motehub-source \"Kitchen\": a wire leads out of its flow"),
        "{said:?}"
    );
}

#[test]
fn the_example_of_our_package_is_the_seed_flow_too() {
    let example = include_bytes!("../../../../integrations/node-red/examples/seed flow.json");
    let import = read(example).expect("an import");
    assert_eq!(import.warnings, []);
    let graph = graph(&import.flows[0]);
    let kinds: Vec<&str> = graph.steps.iter().map(|step| step.kind.as_str()).collect();
    assert_eq!(kinds, ["sensor", "compare", "compare", "and", "pass", "publish"]);
    assert_eq!((graph.wires.len(), graph.steps[0].requires.len()), (6, 2));
}

#[test]
fn an_export_that_is_none_is_refused_with_the_node() {
    let huge = json!(vec![json!({"id": "a", "type": "tab"}); NODES_MAX + 1]).to_string();
    let cases = [
        ("{", "nodes: this is no JSON: EOF"),
        ("{\"a\": 1}", "nodes: a list of nodes is expected"),
        ("[]", "nodes: nothing in them can become a flow"),
        ("[7]", "nodes[0]: an object is expected"),
        ("[{\"type\": \"tab\"}]", "nodes[0]: a node has an id"),
        ("[{\"id\": \"a1\"}]", "node a1: type: a text"),
        ("[{\"id\": \"a1\", \"type\": \"if\", \"x\": \"left\"}]", "node a1: x: a number"),
        ("[{\"id\": \"a1\", \"type\": \"if\", \"wires\": [\"b\"]}]", "node a1: wires: a list of lists"),
        (
            "[{\"id\": \"a1\", \"type\": \"tab\"}, {\"id\": \"a1\", \"type\": \"tab\"}]",
            "node a1: id: there are two",
        ),
        (
            "[{\"id\": \"a1\", \"type\": \"http in\", \"x\": 1, \"y\": 1}]",
            "nodes: nothing in them can become a flow (node a1: http in: left out",
        ),
        (&huge, "nodes: at most 5000 nodes, these are 5001"),
    ];
    for (export, why) in cases {
        assert!(refusal(export).starts_with(why), "{}", refusal(export));
    }
    assert!(refusal(&" ".repeat(super::EXPORT_BYTES_MAX + 1)).contains("at most 1048576 bytes"));
}

#[test]
fn flows_that_cannot_work_are_named() {
    let pass = |id: String, to: String| json!({"id": id, "type": "nothing", "z": "z", "x": 0, "y": 0, "wires": [[to]]});
    let tab = json!({"id": "z", "type": "tab", "label": "Round"});
    let circle = json!([tab, pass("a".into(), "b".into()), pass("b".into(), "a".into())]);
    let sentence = refusal(&circle.to_string());
    assert!(
        sentence.contains("(node z: tab \"Round\": left out: wires: the steps a, b lead in a circle"),
        "{sentence}"
    );
    let mut many =
        vec![json!({"id": "s0", "type": "inject", "repeat": 1, "z": "z", "x": 0, "y": 0, "wires": [["s1"]]})];
    many.extend((1..300).map(|at| pass(format!("s{at}"), format!("s{}", at + 1))));
    let sentence = refusal(&json!(many).to_string());
    assert!(sentence.contains("a flow has at most 200 steps, this one 300"), "{sentence}");
}
