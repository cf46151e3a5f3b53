//! Server-sent events: whoever is cut off and comes again misses nothing and gets nothing twice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::{Caller, Hub};

/// Reads the stream as a script would, from behind the last event that it had.
async fn reader(hub: &Hub, caller: &Caller, query: &str, last: Option<i64>) -> Events {
    let last = last.map(|seq| seq.to_string());
    let headers: Vec<(&str, &str)> = last.iter().map(|seq| ("Last-Event-ID", seq.as_str())).collect();
    Events::open(hub, &format!("/activity/stream{query}"), caller, &headers).await.unwrap()
}

/// The next event: its id and what it says.
async fn event(events: &mut Events) -> Option<(i64, Value)> {
    let event = events.next().await?;
    Some((event.id.unwrap().parse().unwrap(), event.data))
}

async fn makes_groups(hub: &Hub, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let new = json!({ "name": format!("group {number}"), "selector": "online" });
        assert_eq!(hub.post("/groups", new).await.status, 201);
    }
}

#[tokio::test]
async fn a_reader_that_is_cut_off_goes_on_where_it_was() {
    let hub = Hub::start().await;
    let (mut heard, mut last) = (Vec::new(), None);
    let query = "?noun=group&after=0";
    for round in 0..5 {
        // Some happen while nobody reads, some while somebody does; and each time it ends in the middle.
        makes_groups(&hub, round * 20..round * 20 + 10).await;
        let mut events = reader(&hub, &hub.ada, query, last).await;
        let reads = async {
            for _ in 0..15 {
                let (id, change) = event(&mut events).await.unwrap();
                assert_eq!(change["seq"], id);
                heard.push(change);
                last = Some(id);
            }
        };
        tokio::join!(reads, makes_groups(&hub, round * 20 + 10..round * 20 + 20));
    }
    let mut events = reader(&hub, &hub.ada, query, last).await;
    while heard.len() < 100 {
        heard.push(event(&mut events).await.unwrap().1);
    }
    let listed = hub.get("/activity?noun=group&limit=1000").await.json();
    let listed: Vec<Value> = listed["items"].as_array().unwrap().iter().rev().cloned().collect();
    assert_eq!(heard, listed);
    hub.is_well().await;
}

#[tokio::test]
async fn without_a_place_it_begins_now_and_other_data_is_told() {
    let hub = Hub::start().await;
    makes_groups(&hub, 0..3).await;
    let mut now = reader(&hub, &hub.ada, "", None).await;
    let mut lost = reader(&hub, &hub.ada, "", Some(1_000_000)).await;
    let last = hub.last_seq().await;
    assert_eq!(event(&mut lost).await, Some((last, json!({ "seq": last }))), "the hub was restored");
    makes_groups(&hub, 3..4).await;
    for events in [&mut now, &mut lost] {
        assert_eq!(event(events).await.unwrap().1["subject_name"], "group 3");
    }
    hub.get("/activity/stream?kind=nothing").await.refuses("kind", "no such kind");
    hub.get("/activity/stream?after=x").await.is(400, "invalid");
    let headers = [("Last-Event-ID", "abc")];
    hub.send("GET", "/api/v1/activity/stream", &hub.ada, &headers, None)
        .await
        .refuses("Last-Event-ID", "a number");
    hub.send("GET", "/api/v1/activity/stream", &Caller::default(), &[], None)
        .await
        .is(401, "unauthenticated");
}

#[tokio::test]
async fn it_ends_with_the_token_and_with_the_hub() {
    let hub = Hub::start().await;
    let made = hub.post("/tokens", json!({ "name": "script", "role": "viewer" })).await;
    let caller = Caller::token(made.string("token"));
    let mut events = reader(&hub, &caller, "", None).await;
    let mut others = reader(&hub, &hub.ada, "?kind=group_created", None).await;
    makes_groups(&hub, 0..1).await;
    assert_eq!(event(&mut events).await.unwrap().1["kind"], "group_created");
    hub.delete(&format!("/tokens/{}", made.string("id"))).await;
    while event(&mut events).await.is_some() {}
    makes_groups(&hub, 1..2).await;
    assert_eq!(event(&mut others).await.unwrap().1["subject_name"], "group 0");
    assert_eq!(event(&mut others).await.unwrap().1["subject_name"], "group 1");
    let hub = hub.again(true).await;
    assert!(hub.ended_in < Duration::from_secs(4), "it held up the end: {:?}", hub.ended_in);
    assert_eq!(event(&mut others).await, None);
}
