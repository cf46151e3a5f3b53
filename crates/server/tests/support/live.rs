//! A reader of the live connection.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Caller, Hub};

/// How long a frame may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// An open connection.
pub(crate) struct Reader {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Reader {
    /// Opens the connection; the error is the HTTP status.
    pub(crate) async fn open(
        hub: &Hub,
        caller: &Caller,
        query: &str,
        origin: Option<&str>,
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{}/api/v1/live{query}", hub.http).into_client_request().unwrap();
        let proofs = [
            ("Authorization", caller.token.as_ref().map(|token| format!("Bearer {token}"))),
            ("Cookie", caller.cookie.as_ref().map(|secret| format!("motehub_session={secret}"))),
            ("Origin", origin.map(str::to_owned)),
        ];
        for (name, value) in proofs {
            if let Some(value) = value {
                request.headers_mut().insert(name, HeaderValue::try_from(value).unwrap());
            }
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next JSON frame, signs of life left out; `None` when the hub has closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let next = tokio::time::timeout(WAIT_MAX, self.socket.next()).await;
            match next.expect("waited in vain for a frame") {
                Some(Ok(Message::Text(text))) if text.as_str() == r#"{"alive":true}"# => {}
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("{other:?}"),
            }
        }
    }

    /// Sends a text frame.
    pub(crate) async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    /// Sends any frame.
    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next `count` changes, in the order they come.
    pub(crate) async fn changes(&mut self, count: usize) -> Vec<Value> {
        let mut changes = Vec::new();
        while changes.len() < count {
            let frame = self.next().await.expect("the connection is open");
            let some = frame["changes"].as_array().unwrap_or_else(|| panic!("{frame}"));
            assert_eq!(frame["seq"], some.last().unwrap()["seq"], "{frame}");
            changes.extend(some.iter().cloned());
        }
        assert_eq!(changes.len(), count, "{changes:?}");
        changes
    }
}
