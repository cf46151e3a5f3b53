//! One client of the Pusher protocol.

mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::response::Response;
use motehub_domain::pusher::PusherApp;
use motehub_domain::time::{Span, Time};
use motehub_protocol::pusher::{Channel, FromClient, Kind, Member, VERSIONS, code, frame, signature};
use ring::hmac;
use tokio::sync::mpsc;
use tokio::time::timeout;
use watch::Watched;

use super::Front;
use super::rooms::{Line, NotHeard, SocketId};

/// Largest frame that is read; an event has 10 KiB, and JSON may write a byte with six.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// After how much silence a client is asked whether it is there; it is told, so that it asks itself first.
const SILENCE_MAX: Span = Span::seconds(120);
/// How long it may take to answer.
const ANSWER_MAX: Span = Span::seconds(30);
/// How long a frame may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long the last frame may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// How many events of its own a client may send in a second.
const EVENTS_PER_SECOND: u32 = 10;

/// `GET /app/{key}`.
pub(super) async fn open(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    upgrade.on_upgrade(move |mut socket| async move {
        let known = front.app.pusher.app(|app| app.key == key);
        let known = known.ok_or((code::NO_APP, "there is no app with this key"));
        let let_in = known.and_then(|app| {
            version(query.as_deref().unwrap_or_default())?;
            let opened = front.app.pusher.rooms.open(app.id, peer, front.app.now())?;
            // It may have been deleted since it was looked at.
            if front.app.pusher.app(|known| known.id == app.id).is_none() {
                front.app.pusher.rooms.close_all(app.id);
            }
            Ok((app, opened))
        });
        match let_in {
            Err((code, why)) => {
                metrics::counter!("motehub_pusher_refused_total").increment(1);
                let _ = timeout(WRITE_MAX, socket.send(Message::Text(frame::error(Some(code), why).into())))
                    .await;
                close(socket, code, why).await;
            }
            Ok((app, (id, line, waiting))) => {
                let now = front.app.now();
                let mut client = Client {
                    front,
                    app,
                    id,
                    line,
                    socket,
                    patient_until: now + SILENCE_MAX,
                    is_asked: false,
                    second: now,
                    events: 0,
                    peer,
                    watched: Watched::default(),
                };
                let (code, why) = client.talk(waiting).await;
                client.front.app.pusher.rooms.end(client.app.id, client.id);
                client.watched.end_all(&client.front.app).await;
                close(client.socket, code, why).await;
            }
        }
    })
}

/// Whether a version of the protocol is asked for that is spoken here.
fn version(query: &str) -> Result<(), (u16, &'static str)> {
    let version = query.split('&').find_map(|pair| pair.strip_prefix("protocol="));
    match version.map(str::parse::<u64>) {
        None => Err((code::NO_VERSION, "say protocol=7 in the address")),
        Some(Err(_)) => Err((code::BAD_VERSION, "protocol: a number is expected")),
        Some(Ok(version)) if VERSIONS.contains(&version) => Ok(()),
        Some(Ok(_)) => Err((code::OTHER_VERSION, "protocol: 5, 6 and 7 are spoken here")),
    }
}

async fn close(mut socket: WebSocket, code: u16, why: &'static str) {
    let frame = CloseFrame { code, reason: why.into() };
    let _ = timeout(CLOSE_MAX, socket.send(Message::Close(Some(frame)))).await;
}

struct Client {
    front: Arc<Front>,
    app: PusherApp,
    id: SocketId,
    line: Arc<Line>,
    socket: WebSocket,
    /// Until when it may say nothing.
    patient_until: Time,
    /// It was asked whether it is there, and has not said anything since.
    is_asked: bool,
    /// The second in which its own events are counted.
    second: Time,
    events: u32,
    peer: SocketAddr,
    /// Which of the hub's own channels it hears.
    watched: Watched,
}

/// The connection is over: with this code.
type Over = (u16, &'static str);

impl Client {
    /// Until it is over. What is said goes through the queue, so that it keeps its order.
    async fn talk(&mut self, mut waiting: mpsc::Receiver<Utf8Bytes>) -> Over {
        let app = self.front.app.clone();
        let (line, shutdown) = (self.line.clone(), self.front.shutdown.clone());
        line.say(frame::established(&self.id.to_string(), SILENCE_MAX.0.unsigned_abs() / 1000));
        loop {
            let over = tokio::select! {
                over = line.ended() => Err(over),
                () = shutdown.cancelled() => Err((code::COME_BACK, "the hub ends")),
                Some(said) = waiting.recv() => self.send(Message::Text(said)).await,
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => self.heard(message).await,
                    Some(Err(_)) | None => Err((1000, "")),
                },
                () = app.clock.sleep_until(self.patient_until) => self.silent().await,
                () = app.clock.sleep_until(self.watched.look_at()), if !self.watched.is_empty() => {
                    self.look_again().await
                }
            };
            if let Err(over) = over {
                return over;
            }
        }
    }

    /// Nothing was heard for long. Not every library answers the protocol's own ping; all answer that of WebSocket.
    async fn silent(&mut self) -> Result<(), Over> {
        if self.is_asked {
            return Err((code::SILENT, "nothing was heard of you"));
        }
        self.is_asked = true;
        self.patient_until = self.front.app.now() + ANSWER_MAX;
        self.send(Message::Ping(bytes::Bytes::new())).await?;
        self.send(Message::Text(frame::ping().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        let written = tokio::select! {
            written = timeout(WRITE_MAX, self.socket.send(message)) => written,
            over = self.line.ended() => return Err(over),
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err((1000, "")),
            Err(_) => Err((code::OVER_CAPACITY, "you do not read what you are sent")),
        }
    }

    async fn heard(&mut self, message: Message) -> Result<(), Over> {
        (self.patient_until, self.is_asked) = (self.front.app.now() + SILENCE_MAX, false);
        let said = match message {
            Message::Text(text) => frame::from_client(&text),
            Message::Binary(bytes) => frame::from_client(&String::from_utf8_lossy(&bytes)),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err((1000, "")),
        };
        match said {
            Ok(FromClient::Ping) => self.line.say(frame::pong()),
            Ok(FromClient::Pong) => {}
            Ok(FromClient::Subscribe { channel, auth, channel_data }) => {
                self.subscribe(&channel, auth.as_deref(), channel_data.as_deref()).await;
            }
            Ok(FromClient::Unsubscribe { channel }) => {
                if let Ok(channel) = Channel::parse(&channel) {
                    self.front.app.pusher.rooms.unsubscribe(self.app.id, self.id, &channel);
                    self.watched.end(&self.front.app, &channel).await;
                }
            }
            Ok(FromClient::Event { event, channel, data }) => self.event(&event, &channel, &data),
            Err(error) => self.line.say(frame::error(None, &error.0)),
        }
        Ok(())
    }

    async fn subscribe(&mut self, name: &str, auth: Option<&str>, channel_data: Option<&str>) {
        let channel = match Channel::parse(name) {
            Ok(channel) => channel,
            Err(error) => return self.line.say(frame::error(None, &error.0)),
        };
        let name = channel.as_str();
        if channel.kind() != Kind::Public && !self.is_signed(&channel, auth, channel_data) {
            let why = match auth {
                None => format!("{name}: a subscription needs a signature (auth)"),
                Some(_) => {
                    format!("{name}: the signature is not that of this app for this socket and channel")
                }
            };
            metrics::counter!("motehub_pusher_unsigned_total").increment(1);
            self.line.say(frame::not_subscribed(name, "AuthError", &why, 401));
            return self.line.say(frame::error(Some(code::UNAUTHORISED), &why));
        }
        let member = match channel.kind() {
            Kind::Presence => match Member::parse(channel_data.unwrap_or_default()) {
                Ok(member) => Some(member),
                Err(error) => {
                    self.line.say(frame::not_subscribed(name, "AuthError", &error.0, 400));
                    return self.line.say(frame::error(None, &error.0));
                }
            },
            Kind::Public | Kind::Private | Kind::Encrypted => None,
        };
        let rooms = &self.front.app.pusher.rooms;
        let (kind, why) = match rooms.subscribe(self.app.id, self.id, &channel, member.as_ref()) {
            Ok(()) => return self.watch(channel).await,
            Err(NotHeard::Already) => {
                return self.line.say(frame::error(None, &format!("{name}: you hear it already")));
            }
            Err(NotHeard::TooMany) => ("LimitReached", "a connection hears at most 100 channels"),
            Err(NotHeard::Full) => ("LimitReached", "a presence channel has at most 100 members"),
        };
        self.line.say(frame::not_subscribed(name, kind, why, 413));
        self.line.say(frame::error(None, why));
    }

    /// Whether somebody who may has signed that this socket hears the channel.
    fn is_signed(&self, channel: &Channel, auth: Option<&str>, channel_data: Option<&str>) -> bool {
        let Some((key, signature)) = auth.and_then(signature::split) else { return false };
        let app = &self.front.app;
        let text = signature::of_channel(&self.id.to_string(), channel.as_str(), channel_data);
        if channel.is_reserved() && self.line.granted(channel).is_none() {
            return false;
        }
        let by = if channel.is_reserved() {
            app.access_keys.own_channels_of(self.app.id)
        } else {
            app.pusher_key(&self.app)
        };
        // It compares in constant time.
        key == self.app.key && hmac::verify(&by, text.as_bytes(), &signature).is_ok()
    }

    /// It says something to the others of a channel that it hears.
    fn event(&mut self, event: &str, name: &str, data: &str) {
        let refused = |why: &str| self.line.say(frame::error(None, why));
        let channel = match Channel::parse(name) {
            Ok(channel) => channel,
            Err(error) => return refused(&error.0),
        };
        if !matches!(channel.kind(), Kind::Private | Kind::Presence) || channel.is_reserved() {
            return refused(
                "clients say something on private- and presence- channels only, and not on the hub's own",
            );
        }
        let rooms = &self.front.app.pusher.rooms;
        let Some(member) = rooms.seat(self.app.id, self.id, &channel) else {
            return refused("subscribe to a channel before you say something on it");
        };
        let now = self.front.app.now();
        if now - self.second >= Span::seconds(1) {
            (self.second, self.events) = (now, 0);
        }
        self.events += 1;
        if self.events > EVENTS_PER_SECOND {
            let why = format!("at most {EVENTS_PER_SECOND} events in a second");
            return self.line.say(frame::error(Some(code::TOO_OFTEN), &why));
        }
        let said = frame::event(channel.as_str(), event, data, member.as_deref());
        rooms.publish(self.app.id, &channel, &said, Some(self.id));
        self.front.app.say_on_channel(Some(self.app.id), &channel, said);
    }
}
