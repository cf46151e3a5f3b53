//! A Mongoose OS device, or a gateway or client of Pyaiot: a WebSocket with text frames, whole or cut into characters.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::Outcome;
use crate::wait::PATIENCE;

/// A connection, or what came instead of one.
pub(crate) struct Rpc {
    runtime: Handle,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// What the handshake came to, until it was looked at.
    opened: Option<String>,
}

impl Rpc {
    /// `token sub-protocol`, both may be missing.
    pub(crate) fn open(runtime: &Handle, address: SocketAddr, text: &str) -> Self {
        let (token, protocol) = text.split_once(' ').unwrap_or((text, ""));
        let headers = [
            ("Authorization", if token.is_empty() { String::new() } else { format!("Bearer {token}") }),
            ("Sec-WebSocket-Protocol", protocol.to_owned()),
            ("Origin", "https://mongoose-os.com".to_owned()),
        ];
        Self::open_with(runtime, &format!("ws://{address}/api/v2/rpc"), headers)
    }

    /// `/path sub-protocols` on the listener for Pyaiot; the sub-protocols may be missing.
    pub(crate) fn open_pyaiot(runtime: &Handle, address: SocketAddr, text: &str) -> Self {
        let (path, protocols) = text.split_once(' ').unwrap_or((text, ""));
        let headers = [("Sec-WebSocket-Protocol", protocols.to_owned())];
        Self::open_with(runtime, &format!("ws://{address}{path}"), headers)
    }

    fn open_with<const N: usize>(runtime: &Handle, url: &str, headers: [(&'static str, String); N]) -> Self {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
            request.headers_mut().insert(name, HeaderValue::try_from(value).unwrap());
        }
        let (socket, opened) = match runtime.block_on(connect_async(request)) {
            Ok((socket, answer)) => {
                let chosen = answer.headers().get("sec-websocket-protocol");
                let chosen = chosen.and_then(|value| value.to_str().ok()).unwrap_or_default();
                (Some(socket), format!("OPEN {chosen}").trim_end().to_owned())
            }
            Err(Error::Http(answer)) => (None, answer.status().as_u16().to_string()),
            Err(error) => (None, error.to_string()),
        };
        Self { runtime: runtime.clone(), socket, opened: Some(opened) }
    }

    /// A frame; `(characters) …` is one frame per character, as a simulator of 2019 sends it.
    pub(crate) fn say(&mut self, text: &str) -> Outcome {
        if text == "(cut)" {
            return self.socket.take().map(drop).ok_or("the cable is cut already".to_owned());
        }
        let socket = self.socket.as_mut().ok_or("there is no connection")?;
        let frames: Vec<String> = match text.strip_prefix("(characters) ") {
            Some(text) => text.chars().chain(['\n']).map(String::from).collect(),
            None => vec![text.to_owned()],
        };
        self.runtime.block_on(async {
            for frame in frames {
                socket.send(Message::text(frame)).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
    }

    /// The next frame is this JSON.
    pub(crate) fn expect(&mut self, expected: &str) -> Outcome {
        if let Some(opened) = self.opened.take() {
            return if opened == expected {
                Ok(())
            } else {
                Err(format!("expected {expected}, got {opened}"))
            };
        }
        let said = self.next()?;
        match (&said, expected) {
            (None, "(closed)") => Ok(()),
            (Some(said), expected) if serde_json::from_str::<Value>(expected).ok() == parse(said) => Ok(()),
            _ => Err(format!("expected {expected}, got {said:?}")),
        }
    }

    /// Whatever comes until the end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let mut rest: Vec<String> = self.opened.take().into_iter().collect();
        while let Ok(Some(frame)) = self.next() {
            rest.push(frame);
        }
        rest
    }

    fn next(&mut self) -> Result<Option<String>, String> {
        let Some(socket) = self.socket.as_mut() else { return Ok(None) };
        self.runtime.block_on(async {
            loop {
                match timeout(PATIENCE, socket.next()).await {
                    Err(_) => return Err("nothing was said".to_owned()),
                    Ok(Some(Ok(Message::Text(text)))) => return Ok(Some(text.to_string())),
                    Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Ok(None),
                    Ok(Some(Ok(_))) => {}
                }
            }
        })
    }
}

fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}
