//! Clients and programs that speak the Pusher protocol, byte by byte.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use motehub_domain::time::Span;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Answer, Hub};

/// How long a frame may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// An app, as its server has it.
#[derive(Clone)]
pub(crate) struct PusherApp {
    pub(crate) id: String,
    pub(crate) app_id: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl PusherApp {
    /// What a text is signed as.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// The signature of a subscription.
    pub(crate) fn auth(&self, text: &str) -> String {
        format!("{}:{}", self.key, self.sign(text))
    }

    /// The query of a request at a time in seconds, with further parameters, sorted.
    pub(crate) fn query(&self, method: &str, path: &str, at_s: i64, more: &[&str], body: &[u8]) -> String {
        let mut pairs = vec![
            format!("auth_key={}", self.key),
            format!("auth_timestamp={at_s}"),
            "auth_version=1.0".to_owned(),
        ];
        if !body.is_empty() {
            pairs.push(format!("body_md5={}", hex(&Md5::digest(body))));
        }
        pairs.extend(more.iter().map(|pair| (*pair).to_owned()));
        pairs.sort();
        let query = pairs.join("&");
        let signature = self.sign(&format!("{method}\n{path}\n{query}"));
        format!("{query}&auth_signature={signature}")
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    /// Adds an app, with further members of the request.
    pub(crate) async fn pusher_app(&self, name: &str, more: Value) -> PusherApp {
        let mut new = json!({ "name": name });
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.post("/pusher-apps", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        let [id, app_id, key, secret] = ["id", "app_id", "key", "secret"].map(|name| made.string(name));
        PusherApp { id, app_id, key, secret }
    }

    /// A request to the Pusher listener.
    pub(crate) async fn pusher_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nHost: {}\r\n", self.pusher);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let bytes = [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat();
        let answer = Self::exchange_with(self.pusher, &bytes).await;
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        answer
    }

    /// A signed one.
    pub(crate) async fn program(
        &self,
        app: &PusherApp,
        method: &str,
        path: &str,
        more: &[&str],
        body: Value,
    ) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let path = format!("/apps/{}{path}", app.app_id);
        let query = app.query(method, &path, self.clock.now().0 / 1000, more, &body);
        let body = (!body.is_empty()).then_some(body.as_slice());
        self.pusher_call(method, &format!("{path}?{query}"), &[("Content-Type", "application/json")], body)
            .await
    }
}

/// A client.
pub(crate) struct PusherSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) id: String,
}

impl PusherSocket {
    /// Opens a connection, with the rest of the address behind `/app/`.
    pub(crate) async fn open(hub: &Hub, rest: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{}/app/{rest}", hub.pusher)).await.unwrap();
        Self { socket, id: String::new() }
    }

    /// A connection that was established.
    pub(crate) async fn connect(hub: &Hub, app: &PusherApp) -> Self {
        let mut client = Self::open(hub, &format!("{}?protocol=7&client=js&version=8.4.0", app.key)).await;
        let first = client.next().await.unwrap();
        assert_eq!(first["event"], "pusher:connection_established", "{first}");
        let data: Value = serde_json::from_str(first["data"].as_str().unwrap()).unwrap();
        assert_eq!(data["activity_timeout"], 120);
        data["socket_id"].as_str().unwrap().clone_into(&mut client.id);
        client
    }

    /// The next JSON frame; the error is the code and the reason of the close frame.
    pub(crate) async fn next(&mut self) -> Result<Value, (u16, String)> {
        loop {
            let next = tokio::time::timeout(WAIT_MAX, self.socket.next()).await;
            match next.expect("waited in vain for a frame") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err((0, String::new())),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame, with its data read if that is JSON in a text.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        let mut frame = self.next().await.expect("the connection is open");
        let data = match frame["data"].take() {
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            other => other,
        };
        (frame["event"].as_str().unwrap().to_owned(), data)
    }

    /// The next message of WebSocket itself, while time passes for the hub.
    pub(crate) async fn message_as_time_passes(&mut self, hub: &Hub, step: Span) -> Message {
        let waited = tokio::time::timeout(WAIT_MAX, async {
            loop {
                hub.clock.advance(step);
                if let Ok(next) = tokio::time::timeout(Duration::from_millis(50), self.socket.next()).await {
                    return next.unwrap().unwrap();
                }
            }
        });
        waited.await.expect("waited in vain for a frame")
    }

    /// Sends a JSON frame.
    pub(crate) async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// Sends any frame.
    pub(crate) async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Subscribes, and hears that it did. Returns what is said of who is there.
    pub(crate) async fn subscribe(&mut self, channel: &str, auth: Option<&str>, data: Option<&str>) -> Value {
        let data = json!({ "channel": channel, "auth": auth, "channel_data": data });
        self.say(&json!({ "event": "pusher:subscribe", "data": data })).await;
        let (event, data) = self.event().await;
        assert_eq!(event, "pusher_internal:subscription_succeeded", "{data}");
        data
    }

    /// Subscribes to a channel of the app, signed by its server; on a presence channel as somebody.
    pub(crate) async fn subscribe_signed(
        &mut self,
        app: &PusherApp,
        channel: &str,
        who: Option<&str>,
    ) -> Value {
        let data = who.map(|id| json!({ "user_id": id, "user_info": { "name": id } }).to_string());
        let mut text = format!("{}:{channel}", self.id);
        if let Some(data) = &data {
            text = format!("{text}:{data}");
        }
        let auth = app.auth(&text);
        self.subscribe(channel, Some(&auth), data.as_deref()).await
    }
}
