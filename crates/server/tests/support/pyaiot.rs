//! Pyaiot gateways of both generations, and its clients.

use std::time::Duration;

use aes::Aes128;
use base64::Engine;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use motehub_domain::time::{Span, Time};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Caller, Hub};

/// How long a frame may take on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A key file, as a gateway has it.
#[derive(Clone)]
pub(crate) struct KeyFile {
    pub(crate) id: String,
    pub(crate) text: String,
}

impl KeyFile {
    fn value(&self, name: &str) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        line.unwrap().trim()
    }

    /// A token as an original gateway makes it.
    pub(crate) fn token(&self, at: Time, iv: u8) -> String {
        let key = BASE64_URL_SAFE.decode(self.value("private")).unwrap();
        let mut bytes = vec![0x80];
        bytes.extend((at.0 / 1000).cast_unsigned().to_be_bytes());
        bytes.extend([iv; 16]);
        let cipher = cbc::Encryptor::<Aes128>::new_from_slices(&key[16..], &[iv; 16]).unwrap();
        let secret = self.value("secret").as_bytes();
        let mut block = vec![0; secret.len() + 16];
        block[..secret.len()].copy_from_slice(secret);
        bytes.extend(cipher.encrypt_padded::<Pkcs7>(&mut block, secret.len()).unwrap());
        let mut mac = Hmac::<Sha256>::new_from_slice(&key[..16]).unwrap();
        mac.update(&bytes);
        bytes.extend(mac.finalize().into_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl Hub {
    /// Makes a key, with further members of the request.
    pub(crate) async fn pyaiot_key(&self, name: &str, more: Value) -> KeyFile {
        let mut new = json!({ "name": name });
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.post("/pyaiot-keys", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        KeyFile { id: made.string("id"), text: made.string("file") }
    }

    /// Registers a node. Returns its id.
    pub(crate) async fn node(&self, uid: &str, tags: &[&str]) -> String {
        let new =
            json!({ "name": format!("Node {uid}"), "dialect": "riot", "external_id": uid, "tags": tags });
        let made = self.post("/devices", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.string("id")
    }
}

/// A WebSocket to the Pyaiot listener.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens one with headers; the error is the HTTP status.
    pub(crate) async fn open(hub: &Hub, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{}{path}", hub.pyaiot).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match connect_async(request).await {
            Ok((socket, answer)) => {
                let chosen =
                    answer.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap());
                let offered = headers.iter().any(|(name, _)| *name == "Sec-WebSocket-Protocol");
                assert_eq!(chosen, offered.then_some("token"));
                Ok(Self(socket))
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A WebSocket node.
    pub(crate) async fn of_node(hub: &Hub) -> Self {
        let (socket, _) = connect_async(format!("ws://{}/node", hub.nodes_ws)).await.unwrap();
        Self(socket)
    }

    /// A gateway of today, with its token in the handshake.
    pub(crate) async fn gateway(hub: &Hub, token: &str) -> Result<Self, u16> {
        Self::open(hub, "/gw", &[("Sec-WebSocket-Protocol", &format!("token,{token}"))]).await
    }

    /// A gateway that is let in, and was asked for all it knows.
    pub(crate) async fn let_in(hub: &Hub, key: &KeyFile) -> Self {
        let mut gateway = Self::gateway(hub, &key.token(hub.clock.now(), 1)).await.unwrap();
        assert_eq!(
            gateway.next().await.unwrap(),
            json!({ "type": "new", "data": "client", "src": "motehub" })
        );
        gateway
    }

    /// A client with a token or a cookie, that said new.
    pub(crate) async fn client(hub: &Hub, caller: &Caller) -> Self {
        let bearer = format!("Bearer {}", caller.token.as_deref().unwrap());
        let mut client = Self::open(hub, "/ws", &[("Authorization", &bearer)]).await.unwrap();
        client.say(&json!({ "type": "new", "data": "client", "results": true })).await;
        client
    }

    /// The next JSON frame; the error is the code and the reason of the close frame.
    pub(crate) async fn next(&mut self) -> Result<Value, (u16, String)> {
        Ok(serde_json::from_str(&self.text().await?).unwrap())
    }

    /// The same as text.
    pub(crate) async fn text(&mut self) -> Result<String, (u16, String)> {
        loop {
            let next = tokio::time::timeout(WAIT_MAX, self.0.next()).await;
            match next.expect("waited in vain for a frame") {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err((0, String::new())),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next JSON frame while time passes for the hub.
    pub(crate) async fn next_as_time_passes(
        &mut self,
        hub: &Hub,
        step: Span,
    ) -> Result<Value, (u16, String)> {
        let waited = tokio::time::timeout(WAIT_MAX, async {
            loop {
                hub.clock.advance(step);
                if let Ok(next) = tokio::time::timeout(Duration::from_millis(50), self.next()).await {
                    return next;
                }
            }
        });
        waited.await.expect("waited in vain for a frame")
    }

    /// The next frames until one fits; all of them.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await.expect("the connection is open");
            let is_last = fits(&frame);
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
    }

    /// Sends a JSON frame.
    pub(crate) async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// Sends any frame.
    pub(crate) async fn send(&mut self, message: Message) {
        let _ = self.0.send(message).await;
    }

    /// A node is there and says this.
    pub(crate) async fn node(&mut self, uid: &str, says: &[(&str, &str)]) {
        self.say(&json!({ "type": "new", "uid": uid, "dst": "all" })).await;
        for (endpoint, data) in says {
            self.update(uid, endpoint, data).await;
        }
    }

    /// A node says something.
    pub(crate) async fn update(&mut self, uid: &str, endpoint: &str, data: &str) {
        self.say(&json!({ "type": "update", "uid": uid, "endpoint": endpoint, "data": data, "dst": "all" }))
            .await;
    }
}
