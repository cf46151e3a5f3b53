//! A small proxy between boards and the HTTP of a hub that spoils the scripts that pass through it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What goes wrong with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The hub says that there is no such thing.
    NotFound,
    /// The last byte of each piece is another.
    Altered,
    /// The answer ends without a byte of its body.
    Cut,
    /// The head says that the whole is one byte.
    Size,
}

/// A running proxy; it ends with the process.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    /// A proxy before a hub.
    pub fn start(hub: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let fault = Arc::new(Mutex::new(Fault::None));
        let (upstream, at) = (hub.to_owned(), fault.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (upstream, fault) = (upstream.clone(), *at.lock().expect("the fault"));
                // A connection that breaks is what the boards have to live with.
                std::thread::spawn(move || drop(pass(socket, &upstream, fault)));
            }
        });
        Self { address, fault }
    }

    /// Spoils scripts in this way from now on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().expect("the fault") = fault;
    }
}

/// One request: agents ask for the connection to be closed after the answer.
fn pass(mut board: TcpStream, upstream: &str, fault: Fault) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && board.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let mut hub = TcpStream::connect(upstream)?;
    hub.write_all(&head)?;
    let mut answer = Vec::new();
    hub.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    match fault {
        Fault::None => {}
        Fault::NotFound => answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Fault::Altered => {
            if let Some(last) = answer[end..].last_mut() {
                *last = last.wrapping_add(1);
            }
        }
        Fault::Cut => answer.truncate(end),
        Fault::Size => {
            let text = String::from_utf8_lossy(&answer[..end]).into_owned();
            let lines = text.lines().map(|line| match line.split_once(": ") {
                Some((name, range)) if name.eq_ignore_ascii_case("content-range") => {
                    format!("{name}: {}/1\r\n", range.split('/').next().unwrap_or_default())
                }
                _ => format!("{line}\r\n"),
            });
            answer = [lines.collect::<String>().as_bytes(), &answer[end..]].concat();
        }
    }
    board.write_all(&answer)
}
