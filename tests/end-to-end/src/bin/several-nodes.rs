//! A hub of two nodes for tests in other languages: PostgreSQL, NATS, the nodes and the balancer before them. It prints
//! where they are as a line of JSON, then does what each line of its standard input says: `kill`, `start`, `freeze` or
//! `thaw`, and the name of a node. It answers each by a line, and ends with its input, and everything with it.

use std::io::{BufRead, Write};

use end_to_end::{Hub, NAME, Nodes, PASSWORD};
use serde_json::{Value, json};

fn main() {
    let mut nodes = Nodes::start(2);
    let [one, two] = ["one", "two"].map(|name| nodes.named(name).map(|node| place(node)));
    say(&json!({
        "ready": true,
        "http": nodes.http,
        "mqtt": nodes.mqtt,
        "nodes": { "one": one, "two": two },
        "name": NAME,
        "password": PASSWORD,
    }));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (deed, name) = line.split_once(' ').unwrap_or((&line, ""));
        let node = nodes.named(name).unwrap_or_else(|| panic!("{line}: there is no such node"));
        match deed {
            "kill" => node.kill(),
            "start" => node.again(),
            "freeze" => node.freeze(),
            "thaw" => node.thaw(),
            _ => panic!("{line}: it is not known how"),
        }
        say(&json!({ "done": line }));
    }
}

/// Where a node is, for who goes past the balancer.
fn place(node: &Hub) -> Value {
    json!({ "http": node.http(), "mqtt": node.mqtt() })
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Who listens is gone, and closes the input too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
