//! A small hub in memory that records what a gateway tells it: for listener tests and the example program.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use motehub_domain::artifact::{ArtifactKind, Digest};
use motehub_domain::device::Dialect;
use motehub_domain::id::{DeviceId, ScriptId, TokenId};
use motehub_domain::job;
use motehub_domain::kept::{Batch, Principal, Recalled};
use motehub_domain::message::{Downlink, Offer, Uplink};
use motehub_domain::shadow::{self, Shadow};
use motehub_domain::time::Span;
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{
    Answer, Arrival, Client, Connection, ConnectionId, Credentials, Held, Hub, Kept, Knock, Refusal,
    UplinkError,
};
use motehub_protocol::{Identity, MqttMessage, aws::Ask, dialect};
use tokio::sync::{Notify, mpsc, watch};

#[path = "../disk/mod.rs"]
#[expect(dead_code, reason = "not everything of it is of use here")]
mod disk;
use disk::Disk;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "secret";

/// Users whose name begins with `app` are programs that may use every topic; others are NodeMCU boards of that
/// chip id, which may use their own topics and `shared/#`.
#[derive(Default)]
pub(crate) struct Recorder {
    heard: Mutex<Vec<String>>,
    news: Notify,
    senders: Mutex<Vec<(ConnectionId, mpsc::Sender<Downlink>)>>,
    disk: Mutex<Disk>,
    /// Storing waits until this is true.
    gate: Option<watch::Receiver<bool>>,
    /// Nobody is let in any more who is not attached yet.
    closes: AtomicBool,
    endings: AtomicU64,
}

impl Recorder {
    /// Storing waits until the gate is open.
    pub(crate) fn gated(gate: watch::Receiver<bool>) -> Self {
        Self { gate: Some(gate), ..Self::default() }
    }

    /// The password is another one from when the next device was let in with it; nobody is attached then.
    pub(crate) fn closing() -> Self {
        Self { closes: AtomicBool::new(true), ..Self::default() }
    }

    fn hear(&self, what: String) {
        self.heard.lock().unwrap().push(what);
        self.news.notify_waiters();
    }

    /// Everything that was heard.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until something was heard as often as given.
    pub(crate) async fn hears(&self, what: &str, times: usize) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let news = self.news.notified();
                let mut news = std::pin::pin!(news);
                news.as_mut().enable();
                if self.heard().iter().filter(|h| h.as_str() == what).count() >= times {
                    return;
                }
                news.await;
            }
        });
        assert!(waited.await.is_ok(), "not heard: {what}; but {:?}", self.heard());
    }

    /// Waits until something was heard that begins so.
    pub(crate) async fn hears_of(&self, begin: &str) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let news = self.news.notified();
                let mut news = std::pin::pin!(news);
                news.as_mut().enable();
                if self.heard().iter().any(|heard| heard.starts_with(begin)) {
                    return;
                }
                news.await;
            }
        });
        assert!(waited.await.is_ok(), "not heard: {begin}; but {:?}", self.heard());
    }

    /// Sends an offer to everybody who is attached.
    pub(crate) fn offer_to_all(&self) {
        let offer = Downlink::Offer(Offer {
            kind: ArtifactKind::Script { script: ScriptId::from_parts(1, 1), version: 1 },
            digest: Digest([7; 32]),
            size_bytes: 1,
            health_window: Span::seconds(30),
        });
        for (_, sender) in self.senders.lock().unwrap().iter() {
            let _ = sender.try_send(offer.clone());
        }
    }

    fn record(&self, arrival: &Arrival) {
        if let Uplink::Telemetry(points) = &arrival.uplink {
            for point in points {
                self.hear(format!("{} {}={}", arrival.device, point.metric.as_str(), point.value.to_json()));
            }
        }
    }
}

/// The device of a user name: the same in every test.
pub(crate) fn device_of(user: &str) -> DeviceId {
    DeviceId::from_parts(0, user.bytes().fold(0, |number, byte| number << 8 | u128::from(byte)))
}

/// The token of a user name: the same in every test.
pub(crate) fn token_of(user: &str) -> TokenId {
    TokenId::from_parts(0, user.bytes().fold(0, |number, byte| number << 8 | u128::from(byte)))
}

impl Hub for Recorder {
    fn authenticate(&self, knock: Knock) -> Answer<'_, Result<Client, Refusal>> {
        Box::pin(async move {
            if let Credentials::Token { secret } = &knock.credentials
                && secret == PASSWORD
                && self.endings() == 0
            {
                let identity =
                    Identity { device: device_of("light"), external_id: None, dialect: Dialect::Mongoose };
                let (name, rights) = ("light".to_owned(), TopicRights::default());
                return Ok(Client {
                    device: Some(identity),
                    token: None,
                    name,
                    rights,
                    until: None,
                    silence_max: None,
                });
            }
            let Credentials::Mqtt { user: Some(user), password: Some(password), .. } = knock.credentials
            else {
                return Err(Refusal::BadCredentials);
            };
            if password != PASSWORD.as_bytes() {
                return Err(Refusal::BadCredentials);
            }
            if user.starts_with("app") {
                let all = vec![TopicFilter::parse("#").unwrap()];
                let rights = TopicRights { publish: all.clone(), subscribe: all };
                let token = Some(token_of(&user));
                return Ok(Client {
                    device: None,
                    token,
                    name: user,
                    rights,
                    until: None,
                    silence_max: None,
                });
            }
            let device = device_of(&user);
            let identity = Identity { device, external_id: Some(user.clone()), dialect: Dialect::Nodemcu };
            let mut rights = dialect::mqtt_rights(&identity);
            rights.publish.extend(TopicFilter::parse("shared/#"));
            rights.subscribe.extend(TopicFilter::parse("shared/#"));
            Ok(Client {
                device: Some(identity),
                token: None,
                name: user,
                rights,
                until: None,
                silence_max: None,
            })
        })
    }

    fn keys(&self, _: String) -> Answer<'_, Result<Vec<String>, UplinkError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn uplink(&self, batch: Vec<Arrival>) -> Answer<'_, Vec<Result<(), UplinkError>>> {
        Box::pin(async move {
            if let Some(mut gate) = self.gate.clone() {
                let _ = gate.wait_for(|is_open| *is_open).await;
            }
            batch.iter().for_each(|arrival| self.record(arrival));
            batch.iter().map(|_| Ok(())).collect()
        })
    }

    fn offer(&self, batch: Vec<Arrival>) {
        batch.iter().for_each(|arrival| self.record(arrival));
    }

    fn shadow(
        &self,
        _: DeviceId,
        _: shadow::Request,
    ) -> Answer<'_, Result<Result<Shadow, shadow::Refusal>, UplinkError>> {
        Box::pin(async { Ok(Err(shadow::Refusal::NoThing)) })
    }

    fn asked(&self, _: Principal, ask: Ask) -> Answer<'_, Result<Option<MqttMessage>, UplinkError>> {
        let is_throttled = match &ask {
            Ask::Shadow(ask) => ask.request == Err(shadow::Refusal::TooManyRequests),
            Ask::Job(ask) => ask.request == Err(job::Refusal::RequestThrottled),
        };
        self.hear(format!("{} {}", if is_throttled { "throttled" } else { "asked" }, ask.topic()));
        Box::pin(async move {
            if let Some(mut gate) = self.gate.clone() {
                let _ = gate.wait_for(|is_open| *is_open).await;
            }
            Ok(None)
        })
    }

    fn attach(&self, connection: Connection, downlinks: mpsc::Sender<Downlink>) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.closes.load(Ordering::SeqCst) {
                self.endings.fetch_add(1, Ordering::SeqCst);
            }
            self.senders.lock().unwrap().push((connection.id, downlinks));
            self.hear(format!("attached {}", connection.device));
        })
    }

    fn detach(&self, connection: ConnectionId) -> Answer<'_, ()> {
        Box::pin(async move {
            self.senders.lock().unwrap().retain(|(id, _)| *id != connection);
            self.hear(format!("detached {}", connection.0));
        })
    }

    fn endings(&self) -> u64 {
        self.endings.load(Ordering::SeqCst)
    }

    fn listens(&self, _: DeviceId) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn artifact_size(&self, _: DeviceId, _: Digest) -> Answer<'_, Result<Option<usize>, UplinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn artifact_part(&self, _: Digest, _: Range<usize>) -> Answer<'_, Result<Bytes, UplinkError>> {
        Box::pin(async { Ok(Bytes::new()) })
    }

    fn pending(&self, _: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn current(&self, _: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn refused(&self, device: DeviceId, why: String) -> Answer<'_, ()> {
        Box::pin(async move { self.hear(format!("refused {device}: {why}")) })
    }

    fn keep<'a>(&'a self, batch: &'a Batch, _: &'a Held<'a>) -> Kept<'a> {
        Box::pin(async move {
            if let Some(mut gate) = self.gate.clone() {
                let _ = gate.wait_for(|is_open| *is_open).await;
            }
            self.disk.lock().unwrap().write(batch);
            Ok(BTreeSet::new())
        })
    }

    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>> {
        Box::pin(async { Ok(self.disk.lock().unwrap().read()) })
    }

    fn who(&self, principals: Vec<Principal>) -> Answer<'_, Result<Vec<Option<Client>>, UplinkError>> {
        Box::pin(async move { Ok(principals.iter().map(|_| None).collect()) })
    }

    fn artifact(&self, _: Digest) -> Answer<'_, Result<Option<Bytes>, UplinkError>> {
        Box::pin(async { Ok(None) })
    }
}
