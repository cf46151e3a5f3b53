//! The live connection of a hub, followed for as long as somebody wants: when it is lost, it is opened again and goes
//! on behind the last change that was seen.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::Caller;
use crate::api::Refusal;
use crate::trust;

/// How long a connection may take to be opened.
const OPEN_MAX: Duration = Duration::from_secs(20);
/// The hub says something at least every 5 seconds; after this long it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// The rest before the first new attempt, doubled with each.
const REST_FIRST: Duration = Duration::from_secs(1);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(30);

/// What is followed.
#[derive(Default)]
pub(super) struct Live {
    /// Devices whose telemetry and log are wanted, by id; the hub takes at most 50.
    pub(super) watch: Vec<String>,
    /// Changes behind this one are wanted; from now on if not given.
    pub(super) after: Option<i64>,
}

/// One thing that the hub told.
pub(super) enum News {
    /// A change, as in the activity log.
    Change(Value),
    /// New points of the watched devices: `{"<device id>": [["metric", time in ms, value], …]}`.
    Telemetry(Value),
    /// New log lines of the watched devices: `{"<device id>": [["level", time in ms, "text"], …]}`.
    Log(Value),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}
type Socket = tokio_tungstenite::WebSocketStream<Box<dyn Stream>>;

impl Live {
    /// Tells `on` what happens until that returns an error; a connection that is lost is opened again.
    ///
    /// # Errors
    /// That of `on`; or if the hub cannot be reached the first time, or refuses the caller.
    pub(super) fn follow(
        mut self,
        caller: &Caller,
        on: &mut dyn FnMut(News) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut rest = REST_FIRST;
        let mut was_open = false;
        loop {
            let lost = match runtime.block_on(open(caller, self.after)) {
                Ok(socket) => {
                    (was_open, rest) = (true, REST_FIRST);
                    runtime.block_on(self.listen(caller, socket, on))?
                }
                Err(error) if !was_open || error.is::<Refusal>() => return Err(error),
                Err(error) => format!("{error:#}"),
            };
            eprintln!("motehub: {}; trying again", super::print::clean(&lost));
            std::thread::sleep(rest);
            rest = (rest * 2).min(REST_MAX);
        }
    }

    /// Why the connection was lost.
    async fn listen(
        &mut self,
        caller: &Caller,
        mut socket: Socket,
        on: &mut dyn FnMut(News) -> anyhow::Result<()>,
    ) -> anyhow::Result<String> {
        if !self.watch.is_empty() {
            let wanted = json!({ "watch": self.watch }).to_string();
            if let Err(error) = socket.send(Message::text(wanted)).await {
                return Ok(format!("the live connection is lost: {error}"));
            }
        }
        loop {
            let text = match timeout(SILENCE_MAX, socket.next()).await {
                Err(_) => return Ok("the hub is silent".to_owned()),
                Ok(None | Some(Ok(Message::Close(_)))) => {
                    return Ok("the hub closed the live connection".to_owned());
                }
                Ok(Some(Err(error))) => return Ok(format!("the live connection is lost: {error}")),
                Ok(Some(Ok(Message::Text(text)))) => text,
                Ok(Some(Ok(_))) => continue,
            };
            let frame: Value = serde_json::from_str(&text).context("the hub's live connection")?;
            self.heard(caller, frame, on)?;
        }
    }

    fn heard(
        &mut self,
        caller: &Caller,
        mut frame: Value,
        on: &mut dyn FnMut(News) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if let Some(seq) = frame["hello"]["seq"].as_i64() {
            // A history that ends before ours is another one: the hub was restored from a backup.
            self.after = Some(self.after.map_or(seq, |after| after.min(seq)));
        }
        if let (true, Some(after)) = (frame["resync"] == true, self.after) {
            let mut lines = Lines { rest: Vec::new(), last: after, on };
            caller.api.download(&format!("/activity/export?after={after}"), &mut lines)?;
            self.after = Some(lines.last);
        }
        if let Some(error) = frame["error"].as_str() {
            bail!("the hub refused: {error}");
        }
        if !frame["telemetry"].is_null() {
            on(News::Telemetry(frame["telemetry"].take()))?;
        }
        if !frame["log"].is_null() {
            on(News::Log(frame["log"].take()))?;
        }
        if let Value::Array(changes) = frame["changes"].take() {
            for change in changes {
                let seq = change["seq"].as_i64();
                if seq.is_some() && seq <= self.after {
                    continue;
                }
                self.after = seq.or(self.after);
                on(News::Change(change))?;
            }
        }
        Ok(())
    }
}

/// Takes an export of the activity apart, line by line, as it comes.
struct Lines<'on> {
    rest: Vec<u8>,
    last: i64,
    on: &'on mut dyn FnMut(News) -> anyhow::Result<()>,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let change: Value = serde_json::from_slice(&line)?;
            self.last = change["seq"].as_i64().unwrap_or(self.last);
            (self.on)(News::Change(change)).map_err(std::io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn open(caller: &Caller, after: Option<i64>) -> anyhow::Result<Socket> {
    let hub = &caller.account.hub;
    let opened = timeout(OPEN_MAX, connect(caller, after)).await;
    opened
        .map_err(|_| anyhow::anyhow!("no answer in time"))
        .flatten()
        .with_context(|| format!("calling {hub}"))
}

async fn connect(caller: &Caller, after: Option<i64>) -> anyhow::Result<Socket> {
    let account = &caller.account;
    // http becomes ws, https wss.
    let address = account.hub.replacen("http", "ws", 1);
    let query = after.map_or(String::new(), |after| format!("?after={after}"));
    let mut request = format!("{address}/api/v1/live{query}").into_client_request()?;
    let bearer = format!("Bearer {}", account.token.trim()).parse().context("the token")?;
    request.headers_mut().insert("Authorization", bearer);
    let is_secure = request.uri().scheme_str() == Some("wss");
    let host = request.uri().host().context("--hub has no host")?.trim_matches(['[', ']']).to_owned();
    let port = request.uri().port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let stream: Box<dyn Stream> = if is_secure {
        let config = trust::for_socket(trust::authorities(account.ca.as_deref())?)?;
        let name = rustls::pki_types::ServerName::try_from(host).context("--hub")?;
        Box::new(tokio_rustls::TlsConnector::from(config).connect(name, stream).await?)
    } else {
        Box::new(stream)
    };
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let status = answer.status().as_u16();
            let body: Value = answer
                .body()
                .as_deref()
                .and_then(|body| serde_json::from_slice(body).ok())
                .unwrap_or_default();
            let detail =
                body["detail"].as_str().map_or_else(|| format!("the hub answers {status}"), str::to_owned);
            match status {
                401 | 403 => Err(Refusal { status, detail }.into()),
                _ => bail!(detail),
            }
        }
        Err(error) => Err(error.into()),
    }
}
