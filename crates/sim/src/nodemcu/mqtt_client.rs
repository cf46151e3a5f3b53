//! The MQTT 3.1.1 client of a board: one connection from CONNECT to its end. It knows nothing of Lua; what
//! happens is handed to a callback, which may take its time (the socket then waits).

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event as CoreEvent, TimerKind};
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, SubEntry, SubOpts, v3_1_1};
use mqtt_protocol_core::mqtt::prelude::*;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::link::{self, Link, Wire};

/// How long the broker may take from SYN to CONNACK.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a PINGRESP may take.
const PING_MAX_MS: u64 = 10_000;
/// Requests of the script wait while this many bytes are unsent.
const UNSENT_MAX_BYTES: usize = 8 * 1024;
const READ_BYTES: usize = 1460;

/// Who connects and how.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) keep_alive_seconds: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) clean_session: bool,
    pub(crate) will: Option<Will>,
}

/// What the broker says for the board when it is gone.
#[derive(Clone)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// What a script asks of a connection; the token comes back in [`Event::Done`].
pub(crate) enum Ask {
    Publish { token: u64, topic: String, payload: Vec<u8>, qos: u8, retain: bool },
    Subscribe { token: u64, filters: Vec<(String, u8)> },
    Unsubscribe { token: u64, filters: Vec<String> },
    Close,
}

/// What a connection tells.
pub(crate) enum Event {
    Connected,
    /// A CONNACK code, or a negative number of the firmware.
    Refused(i32),
    Message {
        topic: String,
        payload: Vec<u8>,
    },
    /// Sent (QoS 0) or acknowledged.
    Done(u64),
    /// The connection is over though the script did not close it.
    Lost(&'static str),
    /// The script closed it.
    Closed,
}

/// The firmware's codes for connections that never got a CONNACK.
pub(crate) const SERVER_NOT_FOUND: i32 = -5;
pub(crate) const TIMEOUT_RECEIVING: i32 = -2;

/// Runs a connection to its end.
pub(crate) async fn run(
    link: &Rc<Link>,
    (host, port): (&str, u16),
    login: &Login,
    asks: &mut mpsc::Receiver<Ask>,
    deliver: impl AsyncFn(Event),
) {
    let Ok(wire) = link::connect(link, host, port).await else {
        return deliver(Event::Refused(SERVER_NOT_FOUND)).await;
    };
    let Ok(mut session) = Session::start(login) else {
        return deliver(Event::Refused(TIMEOUT_RECEIVING)).await;
    };
    match timeout(CONNECT_MAX, session.handshake(&wire)).await {
        Ok(Ok(0)) => deliver(Event::Connected).await,
        Ok(Ok(code)) => {
            wire.close().await;
            return deliver(Event::Refused(code)).await;
        }
        Ok(Err(_)) | Err(_) => return deliver(Event::Refused(TIMEOUT_RECEIVING)).await,
    }
    let end = session.work(&wire, asks, &deliver).await;
    if matches!(end, Event::Closed) {
        wire.close().await;
    }
    deliver(end).await;
}

/// The protocol state of one connection.
struct Session {
    core: Connection<role::Client>,
    unsent: Vec<u8>,
    /// Deadlines for sending PINGREQ and for receiving PINGRESP.
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
    waiting: HashMap<u16, u64>,
    events: Vec<Event>,
    connack: Option<i32>,
    is_over: bool,
}

impl Session {
    fn start(login: &Login) -> Result<Self, MqttError> {
        let mut core = Connection::<role::Client>::new(Version::V3_1_1);
        // Acknowledgements are built here, where a packet identifier of 0 is an error and not a panic.
        core.set_auto_pub_response(false);
        core.set_pingresp_recv_timeout(PING_MAX_MS);
        let mut connect = v3_1_1::Connect::builder()
            .client_id(login.client_id.as_str())?
            .clean_session(login.clean_session)
            .keep_alive(login.keep_alive_seconds);
        if let Some(will) = &login.will {
            connect = connect.will_message(will.topic.as_str(), &will.payload, qos(will.qos), will.retain)?;
        }
        if let Some(user) = &login.user {
            connect = connect.user_name(user.as_str())?;
            if let Some(password) = &login.password {
                connect = connect.password(password)?;
            }
        }
        let connect = connect.build()?;
        let mut session = Self {
            core,
            unsent: Vec::new(),
            ping_at: None,
            pong_by: None,
            waiting: HashMap::new(),
            events: Vec::new(),
            connack: None,
            is_over: false,
        };
        let events = session.core.checked_send(connect);
        session.take(events);
        Ok(session)
    }

    /// Until CONNACK; gives its code.
    async fn handshake(&mut self, wire: &Wire) -> std::io::Result<i32> {
        wire.write_all(&std::mem::take(&mut self.unsent)).await?;
        let mut buffer = [0; READ_BYTES];
        loop {
            let count = wire.read(&mut buffer).await?;
            self.receive(&buffer[..count]);
            match self.connack {
                Some(code) => return Ok(code),
                None if count == 0 || self.is_over => return Err(std::io::ErrorKind::ConnectionReset.into()),
                None => {}
            }
        }
    }

    /// From CONNACK to the end.
    async fn work(
        &mut self,
        wire: &Wire,
        asks: &mut mpsc::Receiver<Ask>,
        deliver: &impl AsyncFn(Event),
    ) -> Event {
        let mut buffer = [0; READ_BYTES];
        let mut is_closing = false;
        loop {
            for event in std::mem::take(&mut self.events) {
                deliver(event).await;
            }
            if self.is_over {
                return Event::Lost("protocol error or silence");
            }
            if is_closing && self.unsent.is_empty() {
                return Event::Closed;
            }
            let (timer, at) = self.next_timer();
            tokio::select! {
                read = wire.read(&mut buffer) => match read {
                    Ok(0) => return Event::Lost("closed by the broker"),
                    Err(_) => return Event::Lost("reset by the broker"),
                    Ok(count) => self.receive(&buffer[..count]),
                },
                written = wire.write(&self.unsent), if !self.unsent.is_empty() => match written {
                    Err(_) => return Event::Lost("reset by the broker"),
                    Ok(count) => drop(self.unsent.drain(..count)),
                },
                () = sleep_until(at) => self.fire(timer),
                ask = asks.recv(), if !is_closing && self.unsent.len() < UNSENT_MAX_BYTES => match ask {
                    None | Some(Ask::Close) => {
                        is_closing = true;
                        let events = v3_1_1::Disconnect::builder().build().map(|packet| self.core.checked_send(packet));
                        self.take_packets_only(events.unwrap_or_default());
                    }
                    // A packet that cannot be built (a wildcard in a topic to publish to) is not sent, as on
                    // the board.
                    Some(ask) => drop(self.send(ask)),
                },
            }
        }
    }

    fn next_timer(&self) -> (TimerKind, Instant) {
        let far = Instant::now() + Duration::from_secs(24 * 3600);
        let (ping, pong) = (self.ping_at.unwrap_or(far), self.pong_by.unwrap_or(far));
        if ping <= pong { (TimerKind::PingreqSend, ping) } else { (TimerKind::PingrespRecv, pong) }
    }

    fn fire(&mut self, timer: TimerKind) {
        match timer {
            TimerKind::PingreqSend => self.ping_at = None,
            TimerKind::PingrespRecv => self.pong_by = None,
            TimerKind::PingreqRecv => {}
        }
        let events = self.core.notify_timer_fired(timer);
        self.take(events);
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len() && !self.is_over {
            let events = self.core.recv(&mut cursor);
            self.take(events);
        }
    }

    fn send(&mut self, ask: Ask) -> Result<(), MqttError> {
        let events = match ask {
            Ask::Publish { token, topic, payload, qos: level, retain } => {
                let packet = v3_1_1::Publish::builder()
                    .topic_name(topic.as_str())?
                    .qos(qos(level))
                    .retain(retain)
                    .payload(payload);
                if level == 0 {
                    let packet = packet.build()?;
                    self.events.push(Event::Done(token));
                    self.core.checked_send(packet)
                } else {
                    let id = self.identify(token)?;
                    self.core.checked_send(packet.packet_id(id).build()?)
                }
            }
            Ask::Subscribe { token, filters } => {
                let entries = filters
                    .iter()
                    .map(|(filter, level)| {
                        SubEntry::new(filter.as_str(), SubOpts::new().set_qos(qos(*level)))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let id = self.identify(token)?;
                self.core.checked_send(v3_1_1::Subscribe::builder().packet_id(id).entries(entries).build()?)
            }
            Ask::Unsubscribe { token, filters } => {
                let packet = v3_1_1::Unsubscribe::builder().entries(filters.iter().map(String::as_str))?;
                let id = self.identify(token)?;
                self.core.checked_send(packet.packet_id(id).build()?)
            }
            Ask::Close => Vec::new(),
        };
        self.take(events);
        Ok(())
    }

    fn identify(&mut self, token: u64) -> Result<u16, MqttError> {
        let id = self.core.acquire_packet_id()?;
        self.waiting.insert(id, token);
        Ok(id)
    }

    fn done(&mut self, id: u16) {
        if let Some(token) = self.waiting.remove(&id) {
            self.events.push(Event::Done(token));
        }
    }

    /// The core asks for the connection to end right after DISCONNECT; the bytes have to go out first.
    fn take_packets_only(&mut self, events: Vec<CoreEvent>) {
        self.take(
            events.into_iter().filter(|event| matches!(event, CoreEvent::RequestSendPacket { .. })).collect(),
        );
    }

    fn take(&mut self, events: Vec<CoreEvent>) {
        for event in events {
            match event {
                CoreEvent::RequestSendPacket { packet, .. } => {
                    self.unsent.extend_from_slice(&packet.to_continuous_buffer());
                }
                CoreEvent::NotifyPacketReceived(packet) => self.received(packet),
                CoreEvent::RequestTimerReset { kind, duration_ms } => {
                    self.set_timer(kind, Some(Instant::now() + Duration::from_millis(duration_ms)));
                }
                CoreEvent::RequestTimerCancel(kind) => self.set_timer(kind, None),
                CoreEvent::RequestClose => self.is_over = true,
                CoreEvent::NotifyPacketIdReleased(_) | CoreEvent::NotifyError(_) => {}
            }
        }
    }

    fn set_timer(&mut self, kind: TimerKind, at: Option<Instant>) {
        match kind {
            TimerKind::PingreqSend => self.ping_at = at,
            TimerKind::PingrespRecv => self.pong_by = at,
            TimerKind::PingreqRecv => {}
        }
    }

    fn received(&mut self, packet: Packet) {
        match packet {
            Packet::V3_1_1Connack(connack) => self.connack = Some(connack.return_code() as i32),
            Packet::V3_1_1Publish(publish) => self.published(&publish),
            Packet::V3_1_1Puback(packet) => self.done(packet.packet_id()),
            Packet::V3_1_1Pubcomp(packet) => self.done(packet.packet_id()),
            Packet::V3_1_1Suback(packet) => self.done(packet.packet_id()),
            Packet::V3_1_1Unsuback(packet) => self.done(packet.packet_id()),
            Packet::V3_1_1Pubrec(packet) => {
                if let Ok(reply) = v3_1_1::Pubrel::builder().packet_id(packet.packet_id()).build() {
                    let events = self.core.checked_send(reply);
                    self.take(events);
                }
            }
            Packet::V3_1_1Pubrel(packet) => {
                if let Ok(reply) = v3_1_1::Pubcomp::builder().packet_id(packet.packet_id()).build() {
                    let events = self.core.checked_send(reply);
                    self.take(events);
                }
            }
            // PINGRESP concerns only the core; the rest is for brokers or of version 5.
            _ => {}
        }
    }

    fn published(&mut self, publish: &v3_1_1::Publish) {
        let events = match (publish.qos(), publish.packet_id()) {
            (Qos::AtLeastOnce, Some(id)) => {
                v3_1_1::Puback::builder().packet_id(id).build().map(|reply| self.core.checked_send(reply))
            }
            (Qos::ExactlyOnce, Some(id)) => {
                v3_1_1::Pubrec::builder().packet_id(id).build().map(|reply| self.core.checked_send(reply))
            }
            _ => Ok(Vec::new()),
        };
        let Ok(events) = events else {
            self.is_over = true;
            return;
        };
        let (topic, payload) = (publish.topic_name().to_owned(), publish.payload().as_slice().to_vec());
        self.events.push(Event::Message { topic, payload });
        self.take(events);
    }
}

fn qos(level: u8) -> Qos {
    Qos::try_from(level.min(2)).unwrap_or(Qos::AtMostOnce)
}
