//! A guest that speaks by topics, over MQTT or MQTT-SN. The first id that it names is its own from then on: topics of
//! another are refused. It hears nothing but what is said to that id, and nothing of it before it is let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::message::Downlink;
use motehub_domain::topic::TopicFilter;
use motehub_protocol::riot::topics::{self, FromNode};
use tokio::time::Instant;

use super::guest::{Deed, Guest, House, Over};

/// Most subscriptions of one node.
const FILTERS_MAX: usize = 80;
/// How often nodes are asked to say that they are there.
const CHECK_EVERY: Duration = Duration::from_millis(topics::CHECK_EVERY_MS);

/// A node and what it may use.
pub(super) struct Caller {
    guest: Guest,
    id: Option<String>,
    filters: Vec<(TopicFilter, u8)>,
    check_at: Instant,
    has_checked: bool,
}

/// Something for it, with the quality of service that it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
}

/// What becomes of what it published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is on disk, or there is nothing to be stored.
    Taken,
    /// The node is not let in yet: its newest values are remembered, and taken then.
    Stranger,
    /// It cannot be stored now.
    Lost,
    /// It never will.
    Never(String),
}

/// What it waited for.
pub(super) enum Met {
    Downlink(Downlink),
    Due,
}

impl Caller {
    pub(super) fn new(house: Arc<House>, address: SocketAddr) -> Self {
        let guest = Guest::new(house, address);
        Self {
            guest,
            id: None,
            filters: Vec::new(),
            check_at: Instant::now() + CHECK_EVERY,
            has_checked: false,
        }
    }

    /// Whether it says that it is there.
    pub(super) fn has_checked(&self) -> bool {
        self.has_checked
    }

    /// Whether it may publish to a topic.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        topics::publisher(topic).is_some_and(|id| self.is_own(id))
    }

    /// `None` is for everybody.
    fn is_own(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.id.as_deref().is_none_or(|own| own == id))
    }

    /// It publishes something. Resolves when that is on disk.
    pub(super) async fn publishes(
        &mut self,
        topic: &str,
        payload: &[u8],
    ) -> Result<(Verdict, Vec<Message>), Over> {
        let never = |why: &str| Ok((Verdict::Never(why.to_owned()), Vec::new()));
        let said = match topics::published(topic, payload) {
            None => return never("a node publishes to node/check and node/ID/RESOURCE"),
            Some(Ok(said)) => said,
            Some(Err(error)) => {
                self.guest.misspoke(&format!("{topic}: {error}")).await;
                return never(&error.0);
            }
        };
        if !self.is_own(Some(said.id())) {
            self.guest.misspoke(&format!("{topic}: a node speaks for itself only")).await;
            return never("a node speaks for itself only");
        }
        self.id.get_or_insert_with(|| said.id().to_owned());
        let was_inside = self.guest.is_inside();
        let mut asks = None;
        let mut is_value = false;
        let mut deed = match said {
            FromNode::Check { id } => {
                self.has_checked = true;
                self.guest.is_called(&id).await?
            }
            FromNode::Resources { id, .. } => {
                asks = Some(topics::VALUES);
                self.guest.is_called(&id).await?
            }
            FromNode::Value { id, resource, text } => {
                is_value = true;
                if !was_inside {
                    self.guest.is_called(&id).await?;
                }
                self.guest.says(&[(resource, text)]).await?
            }
        };
        let is_inside = self.guest.is_inside();
        if is_inside && !was_inside {
            asks = Some(topics::RESOURCES);
        }
        let verdict = match (deed.is_lost, is_inside || !is_value) {
            (true, _) => Verdict::Lost,
            (false, true) => Verdict::Taken,
            (false, false) => Verdict::Stranger,
        };
        let mut messages = self.messages(std::mem::take(&mut deed));
        messages.extend(asks.filter(|_| is_inside).and_then(|what| self.discover(what)));
        Ok((verdict, messages))
    }

    /// It subscribes; the error says why it may not.
    pub(super) fn subscribes(&mut self, text: &str, qos: u8) -> Result<(), &'static str> {
        let id = topics::subscriber(text).ok_or("a node hears gateway/check and gateway/ID/... only")?;
        if !self.is_own(id) {
            return Err("a node hears what is said to itself only");
        }
        let filter = TopicFilter::parse(text).map_err(|_| "this is no topic filter")?;
        self.filters.retain(|(known, _)| known.as_str() != text);
        if self.filters.len() >= FILTERS_MAX {
            return Err("too many subscriptions");
        }
        if let (None, Some(id)) = (&self.id, id) {
            self.id = Some(id.to_owned());
        }
        self.filters.push((filter, qos));
        Ok(())
    }

    /// It does so no more.
    pub(super) fn unsubscribes(&mut self, text: &str) {
        self.filters.retain(|(known, _)| known.as_str() != text);
    }

    /// It begins anew: it has subscribed to nothing.
    pub(super) fn forgets(&mut self) {
        self.filters.clear();
    }

    /// Waits until something is to be said to it, or something is due. May be dropped while it waits.
    pub(super) async fn waits(&mut self) -> Result<Met, Over> {
        tokio::select! {
            downlink = self.guest.waits() => Ok(downlink?.map_or(Met::Due, Met::Downlink)),
            () = tokio::time::sleep_until(self.check_at) => Ok(Met::Due),
        }
    }

    /// What it waited for is there.
    pub(super) async fn meets(&mut self, met: Met) -> Result<Vec<Message>, Over> {
        let was_inside = self.guest.is_inside();
        let deed = match met {
            Met::Downlink(downlink) => self.guest.meets(Some(downlink)).await?,
            Met::Due => self.guest.meets(None).await?,
        };
        let mut messages = self.messages(deed);
        if self.guest.is_inside() && !was_inside {
            messages.extend(self.discover(topics::RESOURCES));
        }
        if Instant::now() >= self.check_at {
            self.check_at = Instant::now() + CHECK_EVERY;
            messages.extend(self.message(topics::CHECK_TOPIC.to_owned(), ""));
        }
        Ok(messages)
    }

    /// It is over.
    pub(super) async fn leave(self) {
        self.guest.leave().await;
    }

    fn messages(&self, deed: Deed) -> Vec<Message> {
        let Some(id) = &self.id else { return Vec::new() };
        let set = |write: motehub_protocol::riot::Write| {
            self.message(topics::set_topic(id, &write.resource), &write.text())
        };
        let mut messages: Vec<Message> = deed.writes.into_iter().filter_map(set).collect();
        if deed.asks {
            messages.extend(self.discover(topics::VALUES));
        }
        messages
    }

    fn discover(&self, what: &str) -> Option<Message> {
        self.message(topics::discover_topic(self.id.as_deref()?), what)
    }

    /// A message, if it has subscribed to its topic.
    fn message(&self, topic: String, text: &str) -> Option<Message> {
        let (_, qos) = self.filters.iter().find(|(filter, _)| filter.matches(&topic))?;
        Some(Message { topic, payload: text.as_bytes().to_vec(), qos: *qos })
    }
}
