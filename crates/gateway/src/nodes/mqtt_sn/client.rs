//! One client of MQTT-SN, from its CONNECT to its end. A message is acknowledged when it is on disk; one that comes
//! again with the number that it had is acknowledged again and not taken twice, also without the flag that says so:
//! emCute of RIOT does not set it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_protocol::mqtt_sn::{self, Code, Message, Topic};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::caller::{Caller, Verdict};
use super::super::guest::{House, Over};
use super::outbox::Outbox;

/// Of so many messages it is remembered that they were taken.
const TAKEN_MAX: usize = 16;
/// And for so long; emCute sends again for 60 seconds.
const TAKEN_FOR: Duration = Duration::from_secs(75);
/// The longest that a client may sleep.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);

/// A client.
pub(super) struct Client {
    house: Arc<House>,
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    caller: Caller,
    client_id: Option<String>,
    outbox: Outbox,
    /// What it said last: the number, what it was, and when.
    taken: VecDeque<(u16, u64, Instant)>,
    wakefulness: Wakefulness,
    silence_max: Duration,
    heard_at: Instant,
    started: Instant,
}

/// Whether it can be told something (section 6.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakefulness {
    Active,
    Asleep,
    /// It asked what waits for it, and sleeps when it has it.
    Awake,
}

/// The end of it.
struct End;

impl Client {
    pub(super) fn new(house: Arc<House>, socket: Arc<UdpSocket>, address: SocketAddr) -> Self {
        let now = Instant::now();
        Self {
            caller: Caller::new(house.clone(), address),
            silence_max: house.pace.silence_max,
            house,
            socket,
            address,
            client_id: None,
            outbox: Outbox::default(),
            taken: VecDeque::new(),
            wakefulness: Wakefulness::Active,
            heard_at: now,
            started: now,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let _ = self.talk(&mut inbox).await;
        // Who connects from there now is another one.
        inbox.close();
        self.caller.leave().await;
    }

    async fn talk(&mut self, inbox: &mut mpsc::Receiver<Message>) -> Result<(), End> {
        loop {
            self.pump().await?;
            let silent_at = self.heard_at + self.silent_after();
            let retry = self.outbox.retry_at().map(|ms| self.started + Duration::from_millis(ms));
            tokio::select! {
                biased;
                // First, so that one that asks what waits for it is told of what came before it asked.
                met = self.caller.waits() => {
                    let met = self.told(met).await?;
                    let messages = self.caller.meets(met).await;
                    let messages = self.told(messages).await?;
                    messages.into_iter().for_each(|message| self.outbox.push(message));
                }
                message = inbox.recv() => {
                    self.heard_at = Instant::now();
                    self.take(message.ok_or(End)?).await?;
                }
                () = tokio::time::sleep_until(retry.unwrap_or(silent_at).min(silent_at)) => {
                    if Instant::now() >= silent_at {
                        return Err(End);
                    }
                    match self.outbox.retry(self.now_ms()) {
                        Ok(again) => self.send_all(again).await,
                        Err(()) => return self.end().await,
                    }
                }
            }
        }
    }

    /// A node that says `node/check` says it every 30 seconds, whatever it agreed on.
    fn silent_after(&self) -> Duration {
        match self.wakefulness {
            Wakefulness::Active if self.caller.has_checked() => {
                self.silence_max.min(self.house.pace.silence_max)
            }
            Wakefulness::Active | Wakefulness::Asleep | Wakefulness::Awake => self.silence_max,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn told<T>(&self, outcome: Result<T, Over>) -> Result<T, End> {
        match outcome {
            Ok(value) => Ok(value),
            Err(_) => self.end().await,
        }
    }

    async fn end<T>(&self) -> Result<T, End> {
        self.send(&Message::Disconnect { duration_s: None }).await;
        Err(End)
    }

    /// Sends what waits, if it listens.
    async fn pump(&mut self) -> Result<(), End> {
        if self.wakefulness == Wakefulness::Asleep || self.client_id.is_none() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        while let Some(message) = self.outbox.next(now_ms) {
            self.send(&message).await;
        }
        if self.wakefulness == Wakefulness::Awake && self.outbox.is_empty() {
            self.wakefulness = Wakefulness::Asleep;
            self.send(&Message::PingResp).await;
        }
        Ok(())
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Connect { will, clean, duration_s, client_id } => {
                self.connect(will, clean, duration_s, client_id).await
            }
            _ if self.client_id.is_none() => self.end().await,
            Message::Register { message, name, .. } => {
                let topic = if self.caller.may_publish(&name) { self.outbox.register(&name) } else { None };
                let code = if topic.is_some() { Code::Accepted } else { Code::NotSupported };
                self.send(&Message::RegAck { topic: topic.unwrap_or(0), message, code }).await;
                Ok(())
            }
            Message::Publish { qos, topic, message, data, .. } => {
                self.published(qos, &topic, message, &data).await
            }
            Message::Subscribe { qos, message, topic, .. } => {
                self.subscribe(qos, message, topic).await;
                Ok(())
            }
            Message::Unsubscribe { message, topic } => {
                if let Topic::Name(name) = topic {
                    self.caller.unsubscribes(&name);
                }
                self.send(&Message::UnsubAck { message }).await;
                Ok(())
            }
            Message::RegAck { topic, message, code } => {
                self.outbox.registered(topic, message, code);
                Ok(())
            }
            Message::PubAck { topic, message, code } => {
                self.outbox.acknowledged(topic, message, code);
                Ok(())
            }
            Message::PingReq { .. } => {
                match self.wakefulness {
                    Wakefulness::Active => self.send(&Message::PingResp).await,
                    Wakefulness::Asleep | Wakefulness::Awake => self.wakefulness = Wakefulness::Awake,
                }
                Ok(())
            }
            Message::Disconnect { duration_s: Some(seconds @ 1..) } => {
                // Its silence is over when it slept for half as long again (section 6.14).
                self.silence_max = Duration::from_secs(u64::from(seconds)).mul_f32(1.5).min(SLEEP_MAX);
                self.wakefulness = Wakefulness::Asleep;
                self.send(&Message::Disconnect { duration_s: None }).await;
                Ok(())
            }
            Message::Disconnect { .. } => self.end().await,
            // Only gateways say these.
            Message::SearchGw
            | Message::GwInfo { .. }
            | Message::ConnAck(_)
            | Message::SubAck { .. }
            | Message::UnsubAck { .. }
            | Message::PingResp => Ok(()),
        }
    }

    async fn connect(
        &mut self,
        will: bool,
        clean: bool,
        duration_s: u16,
        client_id: String,
    ) -> Result<(), End> {
        if will {
            self.send(&Message::ConnAck(Code::NotSupported)).await;
            return if self.client_id.is_none() { Err(End) } else { Ok(()) };
        }
        let is_another = self.client_id.as_ref().is_some_and(|known| *known != client_id);
        if is_another {
            let caller = Caller::new(self.house.clone(), self.address);
            std::mem::replace(&mut self.caller, caller).leave().await;
        }
        if clean || is_another {
            self.outbox.clear();
            self.taken.clear();
            self.caller.forgets();
        }
        let usual = self.house.pace.silence_max;
        self.silence_max = match duration_s {
            0 => usual,
            seconds => usual.max(Duration::from_secs(u64::from(seconds)).mul_f32(1.5)),
        };
        self.wakefulness = Wakefulness::Active;
        self.client_id = Some(client_id);
        self.send(&Message::ConnAck(Code::Accepted)).await;
        Ok(())
    }

    async fn published(&mut self, qos: i8, topic: &Topic, message: u16, data: &[u8]) -> Result<(), End> {
        let (id, name) = match topic {
            Topic::Id(id) => (*id, self.outbox.name(*id).map(str::to_owned)),
            Topic::Predefined(id) => (*id, None),
            Topic::Short(letters) => (u16::from_be_bytes(*letters), None),
            Topic::Name(_) => (0, None),
        };
        let acknowledge = |code| Message::PubAck { topic: id, message, code };
        let Some(name) = name else {
            self.send(&acknowledge(Code::InvalidTopic)).await;
            return Ok(());
        };
        if !(0..=1).contains(&qos) {
            self.send(&acknowledge(Code::NotSupported)).await;
            return Ok(());
        }
        let mut hasher = DefaultHasher::new();
        (&name, data).hash(&mut hasher);
        let content = hasher.finish();
        let is_repeated = |(number, known, at): &(u16, u64, Instant)| {
            *number == message && *known == content && at.elapsed() < TAKEN_FOR
        };
        if qos == 1 && self.taken.iter().any(is_repeated) {
            self.send(&acknowledge(Code::Accepted)).await;
            return Ok(());
        }
        let outcome = self.caller.publishes(&name, data).await;
        let (verdict, messages) = self.told(outcome).await?;
        let code = match verdict {
            Verdict::Taken => Code::Accepted,
            Verdict::Stranger | Verdict::Lost => Code::Congestion,
            Verdict::Never(_) => Code::NotSupported,
        };
        if qos == 1 {
            if code == Code::Accepted {
                self.taken.truncate(TAKEN_MAX - 1);
                self.taken.push_front((message, content, Instant::now()));
            }
            self.send(&acknowledge(code)).await;
        }
        messages.into_iter().for_each(|message| self.outbox.push(message));
        Ok(())
    }

    async fn subscribe(&mut self, qos: i8, message: u16, topic: Topic) {
        let granted = qos.clamp(0, 1);
        let outcome = match &topic {
            Topic::Name(name) => {
                let taken = self.caller.subscribes(name, u8::try_from(granted).unwrap_or(0));
                let id = match name.contains(['+', '#']) {
                    true => Some(0),
                    false => self.outbox.register(name),
                };
                taken.ok().and(id).ok_or(Code::NotSupported)
            }
            Topic::Id(_) | Topic::Predefined(_) | Topic::Short(_) => Err(Code::InvalidTopic),
        };
        let (topic, code) = match outcome {
            Ok(id) => (id, Code::Accepted),
            Err(code) => (0, code),
        };
        self.send(&Message::SubAck { qos: granted, topic, message, code }).await;
    }

    async fn send_all(&self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.send(&message).await;
        }
    }

    async fn send(&self, message: &Message) {
        match mqtt_sn::encode(message) {
            Ok(bytes) => {
                if let Err(error) = self.socket.send_to(&bytes, self.address).await {
                    tracing::debug!(to = %self.address, %error, "an MQTT-SN datagram could not be sent");
                }
            }
            Err(error) => tracing::debug!(to = %self.address, %error, "a message is too long for MQTT-SN"),
        }
    }
}
