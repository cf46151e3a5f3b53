//! A board with ESP-FIRMWARE as the hub calls it: it answers by itself that it is there, and what it is posted as the
//! transcript says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::Outcome;

/// How long something may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Board {
    port: u16,
    posts: Receiver<String>,
    answers: Sender<String>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (posted, posts) = channel();
        let (answers, said) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serve(stream, &posted, &said).is_none() {
                    return;
                }
            }
        });
        Self { port, posts, answers }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `"source"` is what it is posted next.
    pub(crate) fn expect(&mut self, expected: &str) -> Outcome {
        let posted = self.posts.recv_timeout(WAIT_MAX).map_err(|_| "nothing was posted")?;
        if format!("{posted:?}") == expected { Ok(()) } else { Err(format!("posted was {posted:?}")) }
    }

    /// `413 "text"` is what it answers to that; `(reset)` that it breaks it off.
    pub(crate) fn say(&mut self, text: &str) -> Outcome {
        self.answers.send(text.to_owned()).map_err(|_| "the board is gone".to_owned())
    }
}

/// `None` when nobody listens any more.
fn serve(mut stream: TcpStream, posted: &Sender<String>, said: &Receiver<String>) -> Option<()> {
    let mut heard = Vec::new();
    let mut part = [0; 1024];
    loop {
        let Ok(length @ 1..) = stream.read(&mut part) else { return Some(()) };
        heard.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if head.starts_with("GET /ping") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nOk.\r\n");
            return Some(());
        }
        // In this letter case only.
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        posted.send(body.to_owned()).ok()?;
        let answer = said.recv().ok()?;
        if let Some((status, text)) = answer.split_once(' ') {
            let text = text.trim_matches('"');
            let _ = write!(stream, "HTTP/1.0 {status} X\r\nContent-Type: text/html\r\n\r\n{text}\r\n");
        }
        return Some(());
    }
}
