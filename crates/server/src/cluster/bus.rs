//! The bus: NATS between the nodes of a hub, or nothing when it is alone.
//!
//! It only makes known quickly what is in the store, or what is not kept at all: a message that is lost is a delay.
//! Whoever hears by it looks into the store again when it comes back ([`Bus::state`]), and now and then.

mod open;
mod url;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{ClientError, Event, ServerError, Subject};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use motehub_domain::time::Time;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
pub use url::BusUrl;

/// How many messages may wait to be sent.
const WAITING_MAX: usize = 16 * 1024;
/// How many bytes may wait to be sent.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long [`Bus::flushed`] waits at most.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Why something of the bus did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BusError {
    /// At the start; the sentence says what to do.
    #[error("{0}")]
    Refused(String),
    /// Nobody listens to this subject.
    #[error("no other node answers to this")]
    Nobody,
    /// No answer came in time, or the bus is away.
    #[error("no answer came over the bus in time")]
    Late,
}

/// Whether the bus can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BusState {
    /// It is there, or the hub is alone.
    Here,
    /// It is not.
    Away {
        /// Since when.
        since: Time,
        /// What is known of the reason.
        why: String,
    },
}

/// One connection to the bus. Cheap to clone; everything is a no-op where the hub is alone.
#[derive(Clone)]
pub(crate) struct Bus {
    nats: Option<Arc<Nats>>,
    state: watch::Receiver<BusState>,
}

struct Nats {
    client: async_nats::Client,
    /// Before every subject.
    prefix: String,
    waiting: mpsc::Sender<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
}

struct Outgoing {
    subject: String,
    payload: Bytes,
}

/// What was heard of one subject. It survives that the bus goes and comes back; what was said meanwhile is lost.
pub(crate) struct Heard {
    /// Nothing is ever heard by a hub that is alone.
    subscriber: Option<async_nats::Subscriber>,
    prefix_bytes: usize,
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    subject: Subject,
    prefix_bytes: usize,
    /// What it says.
    pub(crate) payload: Bytes,
    /// Where an answer is waited for, if one is.
    pub(crate) reply: Option<Reply>,
}

/// Where an answer is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Reply(Subject);

impl Bus {
    /// No bus: the hub is alone.
    pub(crate) fn none() -> Self {
        Self { nats: None, state: watch::channel(BusState::Here).1 }
    }

    /// Reaches the bus as a node of an installation, whose subjects are apart from those of others.
    pub(crate) async fn open(
        url: &BusUrl,
        installation: &str,
        node: &str,
        clock: &Clock,
    ) -> Result<Self, BusError> {
        let (told, state) = watch::channel(BusState::Here);
        let news = News { told, clock: clock.clone() };
        let client = open::open(url, node, move |event| news.take(event)).await?;
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        tokio::spawn(send_all(client.clone(), queue, waiting_bytes.clone()));
        let prefix = format!("motehub.{installation}.");
        Ok(Self { nats: Some(Arc::new(Nats { client, prefix, waiting, waiting_bytes })), state })
    }

    /// Says something to whoever listens: at most once, in order for each subject. It never blocks; what has no place
    /// in the queue is dropped and counted. A subject is words of letters, digits, `-` and `_`, with dots between.
    pub(crate) fn publish(&self, subject: &str, payload: impl Into<Bytes>) {
        if let Some(nats) = &self.nats {
            nats.queue(format!("{}{subject}", nats.prefix), payload.into());
        }
    }

    /// Answers to one who waits for it.
    pub(crate) fn answer(&self, reply: &Reply, payload: impl Into<Bytes>) {
        if let Some(nats) = &self.nats {
            nats.queue(reply.0.to_string(), payload.into());
        }
    }

    /// Asks whoever listens, and waits for the first answer.
    ///
    /// # Errors
    /// [`BusError::Nobody`] at once if nobody listens, or if the hub is alone; [`BusError::Late`] else.
    pub(crate) async fn request(
        &self,
        subject: &str,
        payload: impl Into<Bytes>,
        wait: Duration,
    ) -> Result<Bytes, BusError> {
        let Some(nats) = &self.nats else { return Err(BusError::Nobody) };
        // A subject of its own for the answer: what the client keeps of one that never comes goes with it.
        let request = async_nats::Request::new()
            .payload(payload.into())
            .inbox(nats.client.new_inbox())
            .timeout(Some(wait));
        let asked = nats.client.send_request(format!("{}{subject}", nats.prefix), request);
        match tokio::time::timeout(wait, asked).await {
            Ok(Ok(answer)) => Ok(answer.payload),
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                Err(BusError::Nobody)
            }
            Ok(Err(_)) | Err(_) => Err(BusError::Late),
        }
    }

    /// Listens to a subject, `*` being any one word and `>` all that follow. It counts at the server only from
    /// [`Bus::flushed`] on.
    pub(crate) async fn subscribe(&self, subject: &str) -> Heard {
        let Some(nats) = &self.nats else { return Heard { subscriber: None, prefix_bytes: 0 } };
        let subscriber = nats.client.subscribe(format!("{}{subject}", nats.prefix)).await;
        if let Err(error) = &subscriber {
            tracing::error!(%error, subject, "a subject of the bus cannot be listened to");
        }
        Heard { subscriber: subscriber.ok(), prefix_bytes: nats.prefix.len() }
    }

    /// Waits until the server has our subscriptions and what was published before.
    ///
    /// # Errors
    /// [`BusError::Late`] if the bus is away.
    pub(crate) async fn flushed(&self) -> Result<(), BusError> {
        let Some(nats) = &self.nats else { return Ok(()) };
        // The server reads what we send in order: when our own word comes back, it has read all before it.
        let back = async {
            let inbox = nats.client.new_inbox();
            let mut heard = nats.client.subscribe(inbox.clone()).await.ok()?;
            nats.waiting.send(Outgoing { subject: inbox, payload: Bytes::new() }).await.ok()?;
            heard.next().await
        };
        let back = tokio::time::timeout(FLUSH_MAX, back).await;
        back.ok().flatten().map(|_| ()).ok_or(BusError::Late)
    }

    /// Whether it can be reached, and when that changes.
    pub(crate) fn state(&self) -> watch::Receiver<BusState> {
        self.state.clone()
    }

    /// The largest payload that is taken, in bytes.
    pub(crate) fn payload_max(&self) -> usize {
        self.nats.as_ref().map_or(usize::MAX, |nats| nats.client.max_payload())
    }
}

impl Nats {
    fn queue(&self, subject: String, payload: Bytes) {
        let bytes = payload.len();
        let is_too_large = bytes > self.client.max_payload();
        let is_full = self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING_BYTES_MAX;
        if is_too_large || is_full {
            return dropped(if is_too_large { "too large" } else { "queue full" });
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.waiting.try_send(Outgoing { subject, payload }).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            dropped("queue full");
        }
    }
}

impl Heard {
    /// The next message; never any where the hub is alone, and `None` when the program ends.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        StreamExt::next(self).await
    }
}

impl Stream for Heard {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let prefix_bytes = self.prefix_bytes;
        let Some(subscriber) = &mut self.subscriber else { return Poll::Pending };
        subscriber.poll_next_unpin(context).map(|message| {
            message.map(|message| Message {
                subject: message.subject,
                prefix_bytes,
                payload: message.payload,
                reply: message.reply.map(Reply),
            })
        })
    }
}

impl Message {
    /// Of what it is, without what all subjects of this installation begin with.
    pub(crate) fn subject(&self) -> &str {
        self.subject.get(self.prefix_bytes..).unwrap_or_default()
    }
}

/// A word of a subject for any text: letters and digits as they are, all else as hexadecimal digits behind `_`.
pub(crate) fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => word.push(char::from(byte)),
            _ => word.push_str(&format!("_{byte:02x}")),
        }
    }
    if word.is_empty() { "_".to_owned() } else { word }
}

/// What becomes of the connection.
struct News {
    told: watch::Sender<BusState>,
    clock: Clock,
}

impl News {
    fn take(&self, event: Event) {
        match event {
            Event::Connected => {
                let _ = self.told.send_if_modified(|state| {
                    let was_away = *state != BusState::Here;
                    if was_away {
                        tracing::info!("the bus is back");
                        *state = BusState::Here;
                    }
                    was_away
                });
            }
            Event::Disconnected | Event::Closed => self.away("the connection was lost".to_owned()),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.away("it refuses the login".to_owned());
            }
            Event::ClientError(ClientError::Other(why)) | Event::ServerError(ServerError::Other(why)) => {
                if *self.told.borrow() != BusState::Here {
                    self.away(why);
                }
            }
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => dropped("not taken"),
            Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {}
        }
    }

    fn away(&self, why: String) {
        self.told.send_modify(|state| {
            let since = match state {
                BusState::Here => {
                    tracing::error!(%why, "the bus is away: what other nodes say is heard late until it is back");
                    self.clock.now()
                }
                BusState::Away { since, .. } => *since,
            };
            *state = BusState::Away { since, why };
        });
    }
}

fn dropped(reason: &'static str) {
    metrics::counter!("motehub_bus_dropped_total", "reason" => reason).increment(1);
}

async fn send_all(
    client: async_nats::Client,
    mut queue: mpsc::Receiver<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
) {
    while let Some(Outgoing { subject, payload }) = queue.recv().await {
        let bytes = payload.len();
        if client.publish(subject, payload).await.is_err() {
            dropped("refused");
        }
        waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
