//! What the 5.0 properties of a message mean to us.

use motehub_protocol::Encoding;
use mqtt_protocol_core::mqtt::packet::{Properties, Property};

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
    /// How the payload is written, by its content type.
    pub encoding: Encoding,
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
                Property::ContentType(v) => {
                    this.encoding = Encoding::of(v.val());
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
