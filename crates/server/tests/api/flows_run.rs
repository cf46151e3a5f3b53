//! Flows that run: what boards are given, where values go, and what happens when boards come, go and fail.

use std::time::Duration;

use motehub_domain::time::Span;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::Hub;
use crate::support::bench::{Board, candidate, place_of, wire};
use crate::support::live::Reader;
use crate::support::mqtt::Publisher;

/// Steps, and wires as `from>to`.
fn flow(name: &str, steps: &Value, wires: &[&str]) -> Value {
    let ends = wires.iter().map(|wire| wire.split_once('>').unwrap());
    let wires: Vec<Value> = ends.map(|(from, to)| json!({ "from": from, "to": to })).collect();
    json!({ "name": name, "steps": steps, "wires": wires })
}

/// A pin of a board that has a door, and a topic.
fn door() -> Value {
    let pin = json!({ "id": "pin", "kind": "sensor", "sensor": "pin", "pin": 2, "every_ms": 1000, "requires": ["door"] });
    flow("door", &json!([pin, { "id": "out", "kind": "publish", "topic": "door/open" }]), &["pin>out"])
}

async fn next(reader: &mut Publisher) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(60), reader.next_message()).await;
    serde_json::from_slice(&next.expect("a message").unwrap().1).unwrap()
}

/// The clock moves on until a step runs there.
async fn moves_to(hub: &Hub, flow: &str, step: &str, place: &str) -> Value {
    hub.until(&format!("{step} moves to {place}"), || async {
        hub.clock.advance(Span(200));
        let placement = hub.placement(flow).await;
        (place_of(&placement, step) == place).then_some(placement)
    })
    .await
}

/// The deployment of the newest task of a board.
async fn newest_task(hub: &Hub, board: &Board) -> Value {
    hub.get(&format!("/devices/{}/tasks", board.id)).await.json()["items"][0]["deployment"].clone()
}

#[tokio::test]
async fn a_board_is_given_its_program_and_told_to_stop() {
    let hub = Hub::start().await;
    let mut bench = Board::new(&hub, "bench", &["door"]).await;
    let id = hub.running_flow(door()).await;
    let program = bench.takes(&hub).await;
    assert!(program.contains(&id), "{program}");
    let shown = hub.get(&format!("/flows/{id}/programs/{}", bench.id)).await;
    assert_eq!((shown.status, shown.string("source")), (200, program), "{shown:?}");
    let listed = hub.get("/scripts").await.json();
    assert_eq!(listed, json!({ "items": [], "total": 0 }), "it is not in the library");
    let placement = hub.placement(&id).await;
    let board = &placement["boards"][0];
    assert_eq!((&board["steps"], &board["task"]["state"]), (&json!(["pin"]), &json!("Applying")), "{board}");
    assert_eq!((&board["free_memory_bytes"], &placement["settled"]), (&json!(98_304), &json!(false)));
    let flow = hub.get(&format!("/flows/{id}")).await.json();
    let facts = ["state", "deployed", "devices", "unplaced"].map(|fact| &flow[fact]);
    assert_eq!(json!(facts), json!(["running", 1, 1, 0]));
    assert_eq!(hub.causes(&id).await, ["deployed by ada"]);

    assert_eq!(hub.post(&format!("/flows/{id}/stop"), json!({})).await.status, 204);
    let idle = bench.takes(&hub).await;
    assert!(!idle.contains(&id), "{idle}");
    assert_eq!(hub.get(&format!("/flows/{id}")).await.json()["state"], "stopped");
    assert_eq!(hub.causes(&id).await, ["stopped by ada", "deployed by ada"]);
    hub.post(&format!("/flows/{id}/stop"), json!({})).await.is(409, "conflict");
    hub.post(&format!("/flows/{id}/deploy"), json!({})).await;
    assert_eq!(hub.delete(&format!("/flows/{id}")).await.status, 204, "it is stopped first");
    hub.get(&format!("/flows/{id}")).await.is(404, "not_found");
    hub.is_well().await;
}

/// An address that answers, and the bodies that were posted to it.
async fn address() -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, posted) = tokio::sync::mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"}") && stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let text = String::from_utf8(bytes).unwrap();
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            let _ = told.send(body.unwrap_or_default()).await;
        }
    });
    (url, posted)
}

/// A door that does something of each kind on the hub, and has a step on another board.
fn busy_door(url: &str) -> Value {
    let mut drawn = door();
    let more = json!([
        { "id": "light", "kind": "switch", "device": "lamp", "path": "light.state" },
        { "id": "ring", "kind": "command", "device": "lamp", "command": "ring", "arguments": { "times": 2 } },
        { "id": "nobody", "kind": "switch", "device": "nobody", "path": "on" },
        { "id": "hook", "kind": "webhook", "url": url },
        { "id": "far", "kind": "pass", "requires": ["relay"] },
    ]);
    for step in more.as_array().unwrap() {
        drawn["steps"].as_array_mut().unwrap().push(step.clone());
        drawn["wires"].as_array_mut().unwrap().push(json!({ "from": "pin", "to": step["id"] }));
    }
    drawn
}

#[tokio::test]
async fn values_of_a_board_reach_the_hub_and_other_boards() {
    let hub = Hub::start().await;
    let lamp = hub.post("/devices", json!({ "name": "lamp", "dialect": "native" })).await.string("id");
    let mut bench = Board::new(&hub, "bench", &["door"]).await;
    let mut far = Board::new(&hub, "far", &["relay"]).await;
    let (url, mut posted) = address().await;
    let id = hub.running_flow(busy_door(&url)).await;
    let mut reader = hub.reader("door/open").await;
    let value = json!({ "open": true });
    bench.emits(&id, "pin", 7, value.clone()).await;
    assert_eq!(next(&mut reader).await, value);
    assert_eq!(far.hears("flow-in").await, json!({ "w": format!("{id}/pin"), "i": 7, "v": value }));
    let hooked = tokio::time::timeout(Duration::from_secs(60), posted.recv()).await.unwrap();
    assert_eq!(hooked, Some(value.to_string()));
    let shadow = hub
        .until("the lamp is wanted on", || async {
            let shadow = hub.get(&format!("/devices/{lamp}/shadow")).await.json();
            (shadow["state"]["desired"]["light"]["state"] == value).then_some(shadow)
        })
        .await;
    assert!(shadow["state"]["desired"].is_object());
    let commands = hub
        .until("a command is given", || async {
            let list = hub.get(&format!("/devices/{lamp}/commands")).await.json();
            (list["total"] == 1).then(|| list["items"][0].clone())
        })
        .await;
    assert_eq!((&commands["name"], &commands["args"]), (&json!("ring"), &json!({ "times": 2 })));
    assert!(hub.until_failed(&id, "nobody").await.contains("no one device"));

    // What comes twice, from a board that does not run the step, or of no flow, is dropped.
    bench.emits(&id, "pin", 7, value.clone()).await;
    far.emits(&id, "pin", 8, value.clone()).await;
    bench.emits(&id, "none", 9, value.clone()).await;
    bench.emits("01kabcdefghjkmnpqrstvwxyz0", "pin", 9, value).await;
    bench.emits(&id, "pin", 10, json!({ "open": false })).await;
    assert_eq!(next(&mut reader).await, json!({ "open": false }));
    let placement = hub.placement(&id).await;
    let counted = wire(&placement, "pin", "out");
    let facts = ["messages", "dropped", "crosses", "last_value"].map(|fact| &counted[fact]);
    assert_eq!(json!(facts), json!([2, 0, true, { "open": false }]));
    far.goes_away(&hub).await;
    bench.emits(&id, "pin", 11, json!({ "open": true })).await;
    next(&mut reader).await;
    assert_eq!(wire(&hub.placement(&id).await, "pin", "far")["dropped"], 1);

    // Started again where private addresses are not posted to, it goes on.
    let hub = hub.again(false).await;
    let gone = bench.gone();
    let mut bench = Board::comes_back(&hub, gone, &["door"]).await;
    let mut reader = hub.reader("door/open").await;
    let mut number = 100;
    while hub.placement(&id).await["errors"] == json!([]) {
        number += 1;
        bench.emits(&id, "pin", number, json!({ "open": 1 })).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut reader).await, json!({ "open": 1 }));
    assert!(hub.until_failed(&id, "hook").await.contains("--webhook-network"));
    hub.is_well().await;
}

#[tokio::test]
async fn the_hub_runs_timers_metrics_and_topics() {
    let hub = Hub::start().await;
    let made =
        hub.post("/devices", json!({ "name": "lamp", "dialect": "native", "external_id": "lamp" })).await;
    let steps = json!([
        { "id": "every", "kind": "timer", "every_ms": 60_000, "value": "tick" },
        { "id": "watts", "kind": "metric", "device": "lamp", "metric": "watts" },
        { "id": "said", "kind": "topic", "topic": "shop/said" },
        { "id": "more", "kind": "expression", "expression": "value * 2" },
        { "id": "out", "kind": "publish", "topic": "out" },
    ]);
    let drawn = flow("hub", &steps, &["every>out", "watts>more", "more>out", "said>out"]);
    let id = hub.running_flow(drawn).await;
    let mut reader = hub.reader("out").await;
    hub.clock.advance(Span::seconds(60));
    assert_eq!(next(&mut reader).await, "tick");
    hub.clock.advance(Span::seconds(59));
    let mut lamp = Publisher::connect(&hub, "lamp", &made.string("credential")).await.unwrap();
    lamp.publish("devices/lamp/telemetry", br#"{"watts":21.5,"volts":230}"#).await.unwrap();
    assert_eq!(next(&mut reader).await, 43);
    for (said, heard) in [("{\"a\":1}", json!({ "a": 1 })), ("hello", json!("hello"))] {
        reader.publish("shop/said", said.as_bytes()).await.unwrap();
        assert_eq!(next(&mut reader).await, heard);
    }
    reader.publish("shop/said", "x".repeat(2000).as_bytes()).await.unwrap();
    assert!(hub.until_failed(&id, "said").await.contains("more than 1024 bytes"));
    lamp.publish("devices/lamp/telemetry", br#"{"watts":"many"}"#).await.unwrap();
    hub.until_failed(&id, "more").await;
    hub.clock.advance(Span::seconds(1));
    assert_eq!(next(&mut reader).await, "tick");

    let mut live = Reader::open(&hub, &hub.ada, "", None).await.unwrap();
    live.say(&json!({ "follow_flow": id }).to_string()).await;
    let wires = loop {
        let frame = live.next().await.unwrap();
        if frame["flow"] == id && frame["wires"].is_array() {
            break frame["wires"].clone();
        }
    };
    let of_said = wires.as_array().unwrap().iter().find(|wire| wire[0] == "said").unwrap();
    assert_eq!(*of_said, json!(["said", "out", 2, "hello"]));
    hub.is_well().await;
}

#[tokio::test]
async fn a_flow_moves_when_a_board_goes_away_and_stays_when_it_comes_back() {
    let hub = Hub::start().await;
    let mut bench = Board::new(&hub, "bench", &["door"]).await;
    let id = hub.running_flow(door()).await;
    assert!(bench.takes(&hub).await.contains(&id));
    let first = newest_task(&hub, &bench).await;
    let mut other = Board::new(&hub, "other", &["door"]).await;
    let gone = bench.goes_away(&hub).await;
    assert_eq!(place_of(&hub.placement(&id).await, "pin"), "bench", "it may come back at once");
    moves_to(&hub, &id, "pin", "other").await;
    other.takes(&hub).await;
    assert!(hub.causes(&id).await[0].contains("bench went away"), "{:?}", hub.causes(&id).await);
    let history = hub.get(&format!("/flows/{id}/placements?limit=1")).await.json();
    let moved = &history["items"][0]["moves"][0];
    let facts = [&moved["step"], &moved["from"]["name"], &moved["to"]["name"], &history["total"]];
    assert_eq!(json!(facts), json!(["pin", "bench", "other", 2]));

    let mut bench = Board::comes_back(&hub, gone, &["door"]).await;
    hub.until("it is given another program", || async {
        hub.clock.advance(Span(200));
        (newest_task(&hub, &bench).await != first).then_some(())
    })
    .await;
    let idle = bench.takes(&hub).await;
    assert!(!idle.contains(&id), "it lost its steps: {idle}");
    assert_eq!(place_of(&hub.placement(&id).await, "pin"), "other");
    assert_eq!(hub.causes(&id).await.len(), 2, "nothing moved");

    let gone = other.goes_away(&hub).await;
    moves_to(&hub, &id, "pin", "bench").await;
    bench.goes_away(&hub).await;
    moves_to(&hub, &id, "pin", "nowhere").await;
    assert_eq!(hub.get(&format!("/flows/{id}")).await.json()["state"], "partly");
    let _other = Board::comes_back(&hub, gone, &["door"]).await;
    moves_to(&hub, &id, "pin", "other").await;
    hub.is_well().await;
}

#[tokio::test]
async fn failures_teach_how_much_a_board_can_hold() {
    let hub = Hub::start().await;
    let mut bench = Board::new(&hub, "bench", &["relay"]).await;
    let pass = |id: &str| json!({ "id": id, "kind": "pass", "requires": ["relay"] });
    let steps = json!([{ "id": "in", "kind": "topic", "topic": "in" }, pass("a"), pass("b"), pass("c")]);
    let id = hub.running_flow(flow("line", &steps, &["in>a", "a>b", "b>c"])).await;
    let mut other = Board::new(&hub, "other", &["relay"]).await;
    bench.fails("MemoryError: memory allocation failed, allocating 512 bytes").await;
    let placement = moves_to(&hub, &id, "c", "other").await;
    assert_eq!((place_of(&placement, "a"), place_of(&placement, "b")), ("bench".into(), "bench".into()));
    let limit = |placement: &Value, name: &str| {
        let board = placement["boards"].as_array().unwrap().iter().find(|board| board["name"] == name);
        board.unwrap()["limit"].clone()
    };
    assert_eq!((limit(&placement, "bench"), limit(&placement, "other")), (json!(2), Value::Null));
    assert!(hub.causes(&id).await[0].contains("bench failed: MemoryError"), "{:?}", hub.causes(&id).await);

    other.fails("SyntaxError: invalid syntax").await;
    let placement = moves_to(&hub, &id, "c", "nowhere").await;
    let obstacle = &candidate(&placement, "c", "other")["obstacle"];
    assert_eq!(obstacle, "its program failed: SyntaxError: invalid syntax");
    // What cannot be placed is refused, and nothing is forgotten for it.
    let far = json!({
        "steps": [{ "id": "x", "kind": "timer", "every_ms": 1000, "requires": ["nobody_has_this"] }],
    });
    let saved = hub.post(&format!("/flows/{id}/versions"), far).await;
    assert_eq!(saved.status, 201, "{saved:?}");
    assert_eq!(hub.post(&format!("/flows/{id}/deploy"), json!({})).await.status, 409);
    assert_eq!(limit(&hub.placement(&id).await, "bench"), 2);
    // A person who deploys wants it tried again.
    assert!(!other.takes(&hub).await.contains(&id), "it is to do nothing");
    let again = hub.post(&format!("/flows/{id}/deploy"), json!({ "version": 1 })).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert!(other.takes(&hub).await.contains(&id));
    assert_eq!(limit(&hub.placement(&id).await, "bench"), Value::Null);
    hub.is_well().await;
}

#[tokio::test]
async fn a_script_of_a_person_is_left_alone_unless_it_may_be_taken_over() {
    let hub = Hub::start().await;
    let mut bench = Board::new(&hub, "bench", &["door"]).await;
    let id = hub.running_flow(door()).await;
    bench.takes(&hub).await;
    let _other = Board::new(&hub, "other", &["door"]).await;
    let new = json!({ "name": "blink", "language": "python", "source": "print(1)" });
    let script = hub.post("/scripts", new).await.string("id");
    hub.clock.advance(Span::seconds(1));
    let begun = hub.deploy(&script, 1, &[&bench.id]).await;
    let placement = moves_to(&hub, &id, "pin", "other").await;
    assert!(hub.causes(&id).await[0].contains("bench was given another script"));
    let obstacle = &candidate(&placement, "pin", "bench")["obstacle"];
    assert_eq!(obstacle, "it runs blink, and the flow may not take its place (take_over)");
    hub.clock.advance(Span::seconds(5));
    assert_eq!(bench.takes(&hub).await, "print(1)");
    assert_eq!(newest_task(&hub, &bench).await, begun, "nothing came after it");

    let mut eager = door();
    (eager["take_over"], eager["boards"]) = (json!(true), json!("name=bench"));
    let saved = hub.post(&format!("/flows/{id}/versions"), eager).await;
    assert_eq!(saved.status, 201, "{saved:?}");
    assert_eq!(hub.post(&format!("/flows/{id}/deploy"), json!({})).await.status, 200);
    hub.until_placed(&id, "pin", "bench").await;
    assert!(bench.takes(&hub).await.contains(&id));
    let rolled_back = hub.post(&format!("/flows/{id}/deploy"), json!({ "version": 1 })).await;
    assert_eq!((rolled_back.status, &rolled_back.json()["version"]), (200, &json!(1)));
    hub.is_well().await;
}
