//! Server-sent events: whoever is cut off and comes again misses nothing and gets nothing twice.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Caller, Hub};

/// How long an event may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A reader of the stream, as a script would be one.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn open(hub: &Hub, caller: &Caller, query: &str, last: Option<i64>) -> Self {
        let mut stream = TcpStream::connect(hub.http).await.unwrap();
        let token = caller.token.as_deref().unwrap_or_default();
        let last = last.map(|seq| format!("Last-Event-ID: {seq}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /api/v1/activity/stream{query} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\
             {last}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut events = Self { stream, text: String::new() };
        assert_eq!(events.line().await.as_deref(), Some("HTTP/1.1 200 OK"));
        events
    }

    /// The next line; none when the hub has ended the stream.
    async fn line(&mut self) -> Option<String> {
        let next = async {
            loop {
                if let Some((line, rest)) = self.text.split_once('\n') {
                    let line = line.trim_end().to_owned();
                    self.text = rest.to_owned();
                    return Some(line);
                }
                let mut bytes = [0; 4096];
                let count = self.stream.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
                self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        tokio::time::timeout(WAIT_MAX, next).await.expect("waited in vain for a line")
    }

    /// The next event: its id and what it says.
    async fn event(&mut self) -> Option<(i64, Value)> {
        let mut id = 0;
        loop {
            let line = self.line().await?;
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.parse().unwrap();
            }
            if let Some(text) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(text).unwrap()));
            }
        }
    }
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
        let mut events = Events::open(&hub, &hub.ada, query, last).await;
        let reads = async {
            for _ in 0..15 {
                let (id, change) = events.event().await.unwrap();
                assert_eq!(change["seq"], id);
                heard.push(change);
                last = Some(id);
            }
        };
        tokio::join!(reads, makes_groups(&hub, round * 20 + 10..round * 20 + 20));
    }
    let mut events = Events::open(&hub, &hub.ada, query, last).await;
    while heard.len() < 100 {
        heard.push(events.event().await.unwrap().1);
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
    let mut now = Events::open(&hub, &hub.ada, "", None).await;
    let mut lost = Events::open(&hub, &hub.ada, "", Some(1_000_000)).await;
    let last = hub.last_seq().await;
    assert_eq!(lost.event().await, Some((last, json!({ "seq": last }))), "the hub was restored");
    makes_groups(&hub, 3..4).await;
    for events in [&mut now, &mut lost] {
        assert_eq!(events.event().await.unwrap().1["subject_name"], "group 3");
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
    let mut events = Events::open(&hub, &caller, "", None).await;
    let mut others = Events::open(&hub, &hub.ada, "?kind=group_created", None).await;
    makes_groups(&hub, 0..1).await;
    assert_eq!(events.event().await.unwrap().1["kind"], "group_created");
    hub.delete(&format!("/tokens/{}", made.string("id"))).await;
    while events.event().await.is_some() {}
    makes_groups(&hub, 1..2).await;
    assert_eq!(others.event().await.unwrap().1["subject_name"], "group 0");
    assert_eq!(others.event().await.unwrap().1["subject_name"], "group 1");
    let began = std::time::Instant::now();
    let _hub = hub.again(true).await;
    assert!(began.elapsed() < Duration::from_secs(4), "it held up the end: {:?}", began.elapsed());
    assert_eq!(others.event().await, None);
}
