//! Programs that were made for mDash, and a light that speaks to it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Answer, Hub};

/// How long a frame may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What `axios` says that it sends, also with a GET.
const AXIOS: &str = "application/json; charset=utf-8";
/// What `curl -d` says that it sends.
const CURL: &str = "application/x-www-form-urlencoded";

impl Hub {
    /// Calls the API of mDash as the original api-server does; `auth` is the whole header.
    pub(crate) async fn axios(&self, method: &str, path: &str, auth: &str, body: Option<&Value>) -> Answer {
        self.mdash_call(method, path, auth, AXIOS, body).await
    }

    /// Calls it as `curl -d` does.
    pub(crate) async fn curl(&self, method: &str, path: &str, auth: &str, body: Option<&Value>) -> Answer {
        self.mdash_call(method, path, auth, CURL, body).await
    }

    /// Sends a form with a file as `curl -F` does.
    pub(crate) async fn mdash_form(&self, path: &str, auth: &str, form: &[u8]) -> Answer {
        let auth = if auth.is_empty() { String::new() } else { format!("Authorization: {auth}\r\n") };
        let boundary = form.split(|byte| *byte == b'\r').next().and_then(|line| line.strip_prefix(b"--"));
        let boundary = String::from_utf8(boundary.unwrap().to_vec()).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: dash:8001\r\nConnection: close\r\n{auth}\
             Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {}\r\n\r\n",
            form.len()
        );
        Self::exchange_with(self.mdash, &[head.as_bytes(), form].concat()).await
    }

    /// Fetches from an address of the listener as a device does: without a word of who it is.
    pub(crate) async fn mdash_get(&self, url: &str, headers: &str) -> Answer {
        let here = format!("http://{}", self.mdash);
        let path = url.strip_prefix(&here).unwrap_or_else(|| panic!("{url} is not at {here}"));
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{headers}\r\n", self.mdash);
        Self::exchange_with(self.mdash, request.as_bytes()).await
    }

    async fn mdash_call(
        &self,
        method: &str,
        path: &str,
        auth: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let auth = if auth.is_empty() { String::new() } else { format!("Authorization: {auth}\r\n") };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: dash:8001\r\nConnection: close\r\n\
             Accept: application/json, text/plain, */*\r\nUser-Agent: axios/0.18.1\r\n{auth}\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self::exchange_with(self.mdash, request.as_bytes()).await
    }

    /// The header of the administrator's API key.
    pub(crate) fn key(&self) -> String {
        format!("Bearer {}", self.ada.token.clone().unwrap_or_default())
    }
}

/// A WebSocket to the mDash listener.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens one as a device or as an observer; the error is the HTTP status.
    pub(crate) async fn open(hub: &Hub, path: &str, auth: &str) -> Result<Self, u16> {
        let mut request = format!("ws://{}{path}", hub.mdash).into_client_request().unwrap();
        request.headers_mut().insert("Origin", HeaderValue::from_static("ws://dash:8001"));
        if !auth.is_empty() {
            request.headers_mut().insert("Authorization", HeaderValue::try_from(auth).unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// One from which nobody ever reads.
    pub(crate) async fn deaf(hub: &Hub, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(hub.mdash).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: dash:8001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        stream
    }

    /// A device with its token, that has been asked what it is.
    pub(crate) async fn device(hub: &Hub, token: &str) -> Self {
        let mut socket = Self::open(hub, "/api/v2/rpc", &format!("Bearer {token}")).await.unwrap();
        assert_eq!(socket.next().await.unwrap()["method"], "Sys.GetInfo");
        socket
    }

    /// The next JSON frame; `None` when the hub has closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let next = tokio::time::timeout(WAIT_MAX, self.0.next()).await;
            match next.expect("waited in vain for a frame") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame that fits; others are passed over.
    pub(crate) async fn await_frame(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.next().await.expect("the connection is open");
            if fits(&frame) {
                return frame;
            }
        }
    }

    /// Sends a frame.
    pub(crate) async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }
}
