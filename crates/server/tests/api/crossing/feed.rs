//! The live page and the feed of changes: the same at every node.

use serde_json::{Value, json};

use super::nodes::{Nodes, await_reach, listening};
use crate::support::Hub;
use crate::support::events::Events;
use crate::support::live::Reader;

async fn open(hub: &Hub, query: &str) -> Reader {
    Reader::open(hub, &hub.ada, query, None).await.unwrap()
}

#[tokio::test]
async fn a_page_shows_what_arrives_at_another_node_in_its_order() {
    let nodes = Nodes::start().await;
    let (lamp, credential) = nodes.lamp("lamp").await;
    let (fan, fan_secret) = nodes.lamp("fan").await;
    let mut client = listening(&nodes.a, "lamp", &credential).await;
    let mut other = listening(&nodes.a, "fan", &fan_secret).await;
    await_reach(&nodes.b, &lamp, "online").await;
    let mut reader = open(&nodes.b, "").await;
    reader.say(&json!({ "watch": [lamp] }).to_string()).await;
    // Node a knows that somebody looks as soon as something comes.
    let is_shown = std::cell::Cell::new(false);
    let is_watched = async {
        loop {
            let frame = reader.next().await.unwrap();
            if !frame["telemetry"].is_null() {
                return is_shown.set(true);
            }
        }
    };
    let begins = async {
        while !is_shown.get() {
            client.publish("devices/lamp/telemetry", br#"{"first":1}"#).await.unwrap();
        }
    };
    tokio::join!(is_watched, begins);
    let says = async {
        for number in 0..200 {
            let point = json!({ "n": number }).to_string();
            other.publish("devices/fan/telemetry", point.as_bytes()).await.unwrap();
            client.publish("devices/lamp/telemetry", point.as_bytes()).await.unwrap();
        }
        client.publish("devices/lamp/log", br#"{"level":"warn","text":"hot"}"#).await.unwrap();
        client.publish("devices/lamp/shadow", br#"{"state":{"reported":{"on":true}}}"#).await.unwrap();
    };
    let reads = async {
        let (mut numbers, mut lines, mut shadows) = (Vec::new(), Vec::new(), Vec::new());
        while lines.is_empty() || shadows.is_empty() || numbers.len() < 200 {
            let frame = reader.next().await.unwrap();
            assert!(frame["telemetry"][&fan].is_null(), "nobody looks at it: {frame}");
            for point in frame["telemetry"][&lamp].as_array().into_iter().flatten() {
                if point[0] == "n" {
                    numbers.push(point[2].as_i64().unwrap());
                }
            }
            lines.extend(frame["log"][&lamp].as_array().into_iter().flatten().cloned());
            shadows.extend(Some(frame["shadow"][&lamp].clone()).filter(|shadow| !shadow.is_null()));
        }
        (numbers, lines, shadows)
    };
    let ((numbers, lines, shadows), ()) = tokio::join!(reads, says);
    assert_eq!(numbers, (0..200).collect::<Vec<i64>>());
    assert_eq!((&lines[0][0], &lines[0][2]), (&json!("warn"), &json!("hot")));
    assert_eq!(shadows[0]["state"]["reported"], json!({ "on": true }), "{shadows:?}");
}

#[tokio::test]
async fn both_nodes_tell_all_changes_in_one_order_and_a_reader_goes_on_at_the_other() {
    let nodes = Nodes::start().await;
    let before = nodes.a.last_seq().await;
    let makes = |hub: &'static str| {
        let node = if hub == "a" { &nodes.a } else { &nodes.b };
        async move {
            for number in 0..40 {
                let new = json!({ "name": format!("{hub} {number}"), "selector": "online" });
                assert_eq!(node.post("/groups", new).await.status, 201);
            }
        }
    };
    let query = format!("/activity/stream?noun=group&after={before}");
    let mut events = Events::open(&nodes.a, &query, &nodes.a.ada, &[]).await.unwrap();
    let mut page_a = open(&nodes.a, &format!("?after={before}")).await;
    let mut page_b = open(&nodes.b, &format!("?after={before}")).await;
    let mut heard: Vec<Value> = Vec::new();
    let reads = async {
        for _ in 0..30 {
            heard.push(events.next().await.unwrap().data);
        }
    };
    tokio::join!(reads, makes("a"), makes("b"));
    let last = heard.last().unwrap()["seq"].to_string();
    let (path, place) = ("/activity/stream?noun=group", [("Last-Event-ID", last.as_str())]);
    let mut events = Events::open(&nodes.b, path, &nodes.b.ada, &place).await.unwrap();
    while heard.len() < 80 {
        heard.push(events.next().await.unwrap().data);
    }
    let listed = nodes.a.get(&format!("/activity?noun=group&limit=1000&after={before}")).await.json();
    let listed: Vec<Value> = listed["items"].as_array().unwrap().iter().rev().cloned().collect();
    assert_eq!(heard, listed);
    assert_eq!(groups(&mut page_a).await, listed);
    assert_eq!(groups(&mut page_b).await, listed);
    // A page whose node dies goes on at the other.
    let middle = listed[40]["seq"].as_i64().unwrap();
    let mut again = open(&nodes.b, &format!("?after={middle}")).await;
    again.next().await.unwrap();
    let rest = again.changes(39).await;
    assert_eq!(rest, listed[41..]);
}

/// The 80 changes of groups, as a page hears them.
async fn groups(page: &mut Reader) -> Vec<Value> {
    let mut changes: Vec<Value> = Vec::new();
    while changes.len() < 80 {
        let frame = page.next().await.unwrap();
        changes.extend(frame["changes"].as_array().into_iter().flatten().cloned());
        changes
            .retain(|change| change["noun"] == "group" || change["kind"].as_str().unwrap().contains("group"));
    }
    changes
}
