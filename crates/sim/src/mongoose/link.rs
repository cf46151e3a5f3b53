//! The connection of a light to mDash: it connects again and again, says hello, and answers calls.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::call::{self, Then};
use super::fleet::Sender;
use super::life::Life;

/// Longest wait before the next try.
const RECONNECT_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a download may take, and how large it may be.
const FETCH_MAX: Duration = Duration::from_secs(60);
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Stays connected for as long as this is awaited; when it is dropped, the socket is too.
pub(super) async fn keep_connected(life: &Life) -> Infallible {
    let mut wait = life.reconnect();
    loop {
        let wanted = {
            let light = life.light();
            let text = |key: &str| light.config.saved(key).as_str().unwrap_or_default().to_owned();
            light.may_connect().then(|| (text("dash.server"), text("dash.token")))
        };
        let Some((server, token)) = wanted else { return std::future::pending().await };
        if let Ok(Ok(mut socket)) = timeout(CONNECT_MAX, connect(&server, &token, life.sender())).await {
            wait = life.reconnect();
            life.state_online().await;
            let online = Online(life);
            let _ = talk(life, &mut socket).await;
            drop(online);
        }
        sleep(wait).await;
        wait = (wait * 2).min(RECONNECT_MAX);
    }
}

/// States that the light is offline, also when its power fails in the middle of a word.
struct Online<'a>(&'a Life);

impl Drop for Online<'_> {
    fn drop(&mut self) {
        self.0.state_offline();
    }
}

async fn connect(server: &str, token: &str, sender: Sender) -> anyhow::Result<Socket> {
    let mut request = server.into_client_request()?;
    let protocol = match sender {
        Sender::Whole => "json-rpc",
        Sender::Characters => "dash.mongoose-os.com",
    };
    let headers = request.headers_mut();
    headers.insert("Authorization", HeaderValue::try_from(format!("Bearer {token}"))?);
    headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    headers.insert("Origin", HeaderValue::from_static("https://mongoose-os.com"));
    Ok(connect_async(request).await?.0)
}

async fn talk(life: &Life, socket: &mut Socket) -> anyhow::Result<()> {
    let (method, params) = life.light().hello();
    write(socket, life.sender(), &json!({ "method": method, "params": params })).await?;
    loop {
        tokio::select! {
            said = life.unsent() => {
                let (method, params) = said.context("the light is over")?;
                write(socket, life.sender(), &json!({ "method": method, "params": params })).await?;
            }
            message = socket.next() => match message.context("the end")?? {
                Message::Text(text) => {
                    // What is behind the last brace is no concern of the firmware.
                    let end = text.rfind('}').map_or(0, |at| at + 1);
                    if let Ok(call) = serde_json::from_str::<Value>(&text[..end]) {
                        called(life, socket, &call).await?;
                    }
                }
                Message::Close(_) => return Ok(()),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            },
        }
    }
}

async fn called(life: &Life, socket: &mut Socket, call: &Value) -> anyhow::Result<()> {
    let Some(method) = call["method"].as_str() else { return Ok(()) };
    let params = call.get("params").or_else(|| call.get("args")).unwrap_or(&Value::Null);
    let mut reaction = life.call(method, params).await;
    if let Some(Then::Fetches { url, commit_timeout_s }) = reaction.then {
        let fetched =
            timeout(FETCH_MAX, fetch(&url)).await.unwrap_or_else(|_| Err(anyhow::anyhow!("time-out")));
        let fetched = fetched.map_err(|error| format!("{error:#}"));
        reaction = life.light().fetched(fetched, commit_timeout_s);
    }
    for (method, params) in reaction.tells {
        write(socket, life.sender(), &json!({ "method": method, "params": params })).await?;
    }
    if let (Some(id), Some(answer)) = (call.get("id"), &reaction.answer) {
        write(socket, life.sender(), &call::message(id, answer)).await?;
    }
    match reaction.then {
        None => Ok(()),
        Some(Then::Disconnects) => anyhow::bail!("the connection breaks"),
        Some(then) => {
            life.happens(then).await;
            Ok(())
        }
    }
}

async fn write(socket: &mut Socket, sender: Sender, message: &Value) -> anyhow::Result<()> {
    let text = message.to_string();
    match sender {
        Sender::Whole => socket.send(Message::text(text)).await?,
        Sender::Characters => {
            for character in text.chars().chain(['\n']) {
                socket.feed(Message::text(character.to_string())).await?;
            }
            socket.flush().await?;
        }
    }
    Ok(())
}

/// `GET` of an `http://` address, as simple as the firmware does it.
async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let rest = url.strip_prefix("http://").context("only http:// is known")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream =
        TcpStream::connect(&address).await.with_context(|| format!("connecting to {address}"))?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(FETCH_BYTES_MAX as u64).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no answer")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    ensure!(status == "200", "HTTP status {status}");
    let body = answer.split_off(end + 4);
    let length = head.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: Option<usize> = length.and_then(|text| text.trim().parse().ok());
    ensure!(length.is_none_or(|length| length == body.len()), "the file ends too early");
    Ok(body)
}
