//! A message on its way: made once, shared by everybody it is delivered to.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::{Properties, Property};

use super::Millis;

/// A published message. Immutable, so that a fan-out shares one.
#[derive(Debug)]
pub struct Message {
    /// Where it was published.
    pub topic: Box<str>,
    /// What was published.
    pub payload: Box<[u8]>,
    /// Quality of service of the publish, 0 to 2.
    pub qos: u8,
    /// Whether the publisher asked to retain it.
    pub retain: bool,
    /// The 5.0 properties that are forwarded unaltered, encoded; without the expiry.
    pub properties: Box<[u8]>,
    /// When it is no longer of use.
    pub expires_at: Option<Millis>,
}

impl Message {
    /// A message without 5.0 properties.
    pub fn plain(topic: &str, payload: &[u8], qos: u8, retain: bool) -> Arc<Self> {
        Arc::new(Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain,
            properties: Box::default(),
            expires_at: None,
        })
    }

    /// What it costs to keep, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// Whether its expiry has passed.
    pub fn has_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left of its expiry, in seconds, as it is told to a 5.0 subscriber.
    pub fn expiry_left_s(&self, now: Millis) -> Option<u32> {
        let left_ms = self.expires_at?.saturating_sub(now);
        Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

/// What the 5.0 properties of a PUBLISH or a will say to us, and what of them is passed on.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// Forwarded unaltered (section 3.3.2.3).
    pub forwarded: Vec<u8>,
    /// Message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// Topic alias.
    pub alias: Option<u16>,
    /// Will delay interval in seconds.
    pub delay_s: u32,
    /// A subscription identifier was given, which only servers may do.
    pub has_subscription_id: bool,
    /// The payload is said to be UTF-8 text.
    pub is_text: bool,
    /// The response topic, which must not have wildcards.
    pub response_topic: Option<String>,
}

impl Attributes {
    /// Sorts properties into what we use and what we forward.
    pub(super) fn of(properties: &Properties) -> Self {
        let mut this = Self::default();
        for property in properties {
            match property {
                Property::MessageExpiryInterval(v) => this.expiry_s = Some(v.val()),
                Property::TopicAlias(v) => this.alias = Some(v.val()),
                Property::WillDelayInterval(v) => this.delay_s = v.val(),
                Property::SubscriptionIdentifier(_) => this.has_subscription_id = true,
                Property::ResponseTopic(v) => {
                    this.response_topic = Some(v.val().to_owned());
                    this.forwarded.extend(property.to_continuous_buffer());
                }
                Property::PayloadFormatIndicator(v) => {
                    this.is_text = v.val() == 1;
                    this.forwarded.extend(property.to_continuous_buffer());
                }
                _ => this.forwarded.extend(property.to_continuous_buffer()),
            }
        }
        this
    }
}
