//! A mail server of RFC 5321, as much of it as a mail takes: it can refuse, and keeps what it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A mail that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

/// The server.
pub(crate) struct Smtp {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What it says to a recipient instead of 250.
    refusal: Mutex<Option<&'static str>>,
    taken: Mutex<Vec<Taken>>,
}

impl Smtp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, own.clone()));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn refuses(&self, refusal: Option<&'static str>) {
        *self.shared.refusal.lock().unwrap() = refusal;
    }

    /// The mails that were taken, once there are so many.
    pub(crate) async fn taken(&self, count: usize) -> Vec<Taken> {
        super::wait::until(&format!("{count} mails are taken"), || async {
            let taken = self.shared.taken.lock().unwrap().clone();
            (taken.len() >= count).then_some(taken)
        })
        .await
    }
}

async fn talk(stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
    let mut to = Vec::new();
    loop {
        let line = lines.next_line().await.ok()??;
        let answer = match line.get(..4)?.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => "250-mail.test\r\n250 8BITMIME".to_owned(),
            "RCPT" => match *shared.refusal.lock().unwrap() {
                Some(refusal) => refusal.to_owned(),
                None => {
                    to.push(line[8..].trim_matches(['<', '>']).to_owned());
                    "250 ok".to_owned()
                }
            },
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await.ok()?;
                let mut text = String::new();
                loop {
                    match lines.next_line().await.ok()?? {
                        line if line == "." => break,
                        line => text.push_str(&format!("{}\n", line.strip_prefix('.').unwrap_or(&line))),
                    }
                }
                shared.taken.lock().unwrap().push(Taken { to: std::mem::take(&mut to), text });
                "250 queued as 7".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "250 ok".to_owned(),
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}
