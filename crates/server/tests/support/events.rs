//! A reader of a stream of server-sent events.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::wait::WAIT_MAX;
use super::{Caller, Hub};

/// An open stream.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
}

/// One event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Events {
    /// Opens a stream with further headers; the error is the HTTP status.
    pub(crate) async fn open(
        hub: &Hub,
        path: &str,
        caller: &Caller,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let mut stream = TcpStream::connect(hub.http).await.unwrap();
        let mut head = format!("GET /api/v1{path} HTTP/1.1\r\nHost: {}\r\n", hub.http);
        if let Some(token) = &caller.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut events = Self { lines: BufReader::new(stream) };
        let first = events.line().await.unwrap();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let mut is_stream = false;
        loop {
            let line = events.line().await.unwrap();
            is_stream |= line.eq_ignore_ascii_case("content-type: text/event-stream");
            if line.is_empty() {
                break;
            }
        }
        if status == 200 && is_stream { Ok(events) } else { Err(status) }
    }

    /// The next event; `None` when the hub has ended the stream. Comments are left out.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let mut is_event = false;
        loop {
            let line = self.line().await?;
            match line.split_once(':') {
                Some(("id", rest)) => event.id = Some(rest.trim().to_owned()),
                Some(("event", rest)) => event.kind = rest.trim().to_owned(),
                Some(("data", rest)) => {
                    event.data = serde_json::from_str(rest).unwrap();
                    is_event = true;
                }
                // Sizes of chunks and the ends of them.
                _ if line == "0" => return None,
                _ if line.is_empty() && is_event => return Some(event),
                _ => {}
            }
        }
    }

    /// The next event of a kind.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect("the stream ended");
            if event.kind == kind {
                return event.data;
            }
        }
    }

    /// A line without its end; `None` at the end of the connection.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(WAIT_MAX, self.lines.read_line(&mut line)).await;
        let count = read.expect("waited in vain for an event").unwrap_or(0);
        (count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
