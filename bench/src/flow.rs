//! `bench flow`: how long a value takes along a line of 20 steps that pass it on: all on one virtual board, spread over
//! four, so that every wire crosses, and on the hub. Boards run the real MicroPython.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::broker::{self, Programs};
use crate::running::{Running, unread};
use crate::wire::{self, Connection, Login, PUBLISH_0};

/// Steps of the line.
const STEPS: usize = 20;
/// Boards that it is spread over.
const BOARDS: usize = 4;
/// Values that are sent along it, one after the other.
const VALUES: usize = 200;
/// How long it may take until the flow has settled.
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// How often it is asked whether it has.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long one value may take.
const VALUE_MAX: Duration = Duration::from_secs(10);
/// Medians of the dissertation behind ESP-FIRMWARE in milliseconds, with the network of its laboratory: plain Node-RED,
/// its fork with MQTT, the fork with 20 containers, and one ESP32.
const DISSERTATION: [(&str, u32); 4] =
    [("Node-RED", 10), ("the fork", 431), ("the fork, 20 containers", 1_318), ("the fork, one ESP32", 4_569)];

/// Measures it once and prints a table.
pub(crate) async fn flow(programs: &Programs, interpreter: Option<PathBuf>) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("motehub-bench-").tempdir()?;
    let token = broker::add_token(&programs.hub, folder.path(), "flow", &[])?;
    let mut command = Command::new(&programs.hub);
    command.arg("serve").arg("--data").arg(folder.path().join("data"));
    command.args(["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
    let mut hub = Running::start(command)?;
    let ready: Value = serde_json::from_str(&hub.line()?)?;
    let address = |name: &str| ready[name].as_str().context("no address");
    let api = Api::new(address("http")?.parse()?, &token);
    let (ids, _boards) = boards(programs, folder.path(), interpreter, &api, &ready)?;
    let login = Login {
        client: "bench-flow".to_owned(),
        user: "flow".to_owned(),
        password: token,
        from: std::net::Ipv4Addr::LOCALHOST,
    };
    let mut connection = Connection::open(address("mqtt")?.parse()?, &login).await?;
    connection.subscribe("bench/out").await?;
    let one = |_: usize| ids[0].clone();
    let spread = |at: usize| ids[at % BOARDS].clone();
    let on_hub = |_: usize| "hub".to_owned();
    let cases: [(&str, &dyn Fn(usize) -> String); 3] =
        [("on one board", &one), ("spread over four boards", &spread), ("on the hub", &on_hub)];
    let mut rows = Vec::with_capacity(cases.len());
    for (name, place) in cases {
        eprintln!("bench: {name}");
        let flow = line(&api, name, place)?;
        let mut took = Vec::with_capacity(VALUES);
        for number in 0..VALUES {
            took.push(value(&mut connection, number).await?);
        }
        took.sort_unstable_by(f64::total_cmp);
        rows.push((name, took[VALUES / 2], took[VALUES * 95 / 100]));
        api.post(&format!("flows/{flow}/stop"), &Value::Null)?;
    }
    print(&rows);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(rows: &[(&str, f64, f64)]) {
    println!("| 20 steps that pass a value on | median ms | 95 % ms |\n|---|--:|--:|");
    for (name, median, most) in rows {
        println!("| {name} | {median:.1} | {most:.1} |");
    }
    for (name, median) in DISSERTATION {
        println!("| in the dissertation: {name} | {median} | – |");
    }
}

/// Boards that are there, and the process that they live in.
fn boards(
    programs: &Programs,
    folder: &Path,
    interpreter: Option<PathBuf>,
    api: &Api,
    ready: &Value,
) -> anyhow::Result<(Vec<String>, Running)> {
    let mut ids = Vec::with_capacity(BOARDS);
    let mut arguments = vec!["sim".to_owned(), "micropython".to_owned(), "--quiet".to_owned()];
    for number in 0..BOARDS {
        let made =
            api.post("devices", &json!({ "name": format!("bench-{number}"), "dialect": "micropython" }))?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).context("no device");
        arguments.push(format!("--board={}:{}", text("id")?, text("credential")?));
        ids.push(text("id")?);
    }
    let mut command = Command::new(&programs.hub);
    command.args(&arguments).args(["--heap", "256k", "--until-eof"]);
    for name in ["http", "mqtt"] {
        command.args([&format!("--{name}"), ready[name].as_str().context("no address")?]);
    }
    command.arg("--flash").arg(folder.join("flash"));
    let unpacked = PathBuf::from(".tools/micropython/micropython");
    if let Some(interpreter) = interpreter.or_else(|| Some(unpacked).filter(|path| path.exists())) {
        command.env("MICROPYTHON", std::path::absolute(interpreter)?);
    }
    let mut boards = Running::start(command)?;
    let lines = unread(&mut boards)?;
    thread::spawn(move || lines.map_while(Result::ok).count());
    api.wait_online(BOARDS)?;
    Ok((ids, boards))
}

/// Deploys a line and waits until its boards run it. Gives its id.
fn line(api: &Api, name: &str, place: &dyn Fn(usize) -> String) -> anyhow::Result<String> {
    let mut steps = vec![json!({ "id": "begin", "kind": "topic", "topic": "bench/in" })];
    let mut wires = Vec::new();
    let mut last = "begin".to_owned();
    for at in 0..STEPS {
        let id = format!("s{at}");
        steps.push(json!({ "id": id, "kind": "pass", "runs_on": place(at) }));
        wires.push(json!({ "from": last, "to": id }));
        last = id;
    }
    steps.push(json!({ "id": "end", "kind": "publish", "topic": "bench/out" }));
    wires.push(json!({ "from": last, "to": "end" }));
    let made = api.post("flows", &json!({ "name": name, "steps": steps, "wires": wires }))?;
    let id = made["id"].as_str().context("no flow")?.to_owned();
    let begun = Instant::now();
    // Boards have said that they are there, but perhaps not yet what they are.
    while api.post(&format!("flows/{id}/deploy"), &json!({})).is_err() {
        ensure!(begun.elapsed() < SETTLED_MAX, "the flow cannot be placed");
        thread::sleep(ASK_EVERY);
    }
    while api.get(&format!("flows/{id}/placement"))?["settled"] != true {
        ensure!(begun.elapsed() < SETTLED_MAX, "the flow does not settle");
        thread::sleep(ASK_EVERY);
    }
    Ok(id)
}

/// Sends one value along and waits until it is back. Gives the milliseconds.
async fn value(connection: &mut Connection, number: usize) -> anyhow::Result<f64> {
    let mut packet = Vec::new();
    let text = number.to_string();
    wire::publish(&mut packet, "bench/in", None, text.as_bytes());
    let begun = Instant::now();
    connection.send(&packet).await?;
    let mut is_back = false;
    while !is_back {
        let arrived = connection.each(PUBLISH_0, |packet| is_back |= packet.ends_with(text.as_bytes()));
        tokio::time::timeout(VALUE_MAX, arrived).await.context("a value did not come back")??;
    }
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
