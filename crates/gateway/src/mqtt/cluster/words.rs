//! What brokers on the nodes of a hub say to each other. Nothing of it has to arrive: what must not be lost is in the
//! store, and whoever finds a gap asks for the whole.

use std::sync::Arc;

use bytes::Bytes;
use motehub_domain::kept::{Message, Principal, Subscription};
use motehub_protocol::{DecodeError, link, wire};

/// The version of what is said. Nodes of another one are not understood.
const VERSION: u8 = 1;
/// Longest name of a node, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What one broker says to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// News since the last time; without any, only the number of the last that there were.
    Tell {
        /// Since when the node runs: numbers of another life mean nothing.
        start: u64,
        /// The number of these news; one more for each.
        told: u64,
        /// What is new.
        news: Vec<News>,
    },
    /// A part of all that there is to tell, for one who asked.
    Whole {
        /// As in `Tell`.
        start: u64,
        /// The number of the last news that are in it.
        told: u64,
        /// The first part.
        is_first: bool,
        /// The last part: what was not mentioned is not there any more.
        is_last: bool,
        /// What there is.
        news: Vec<News>,
    },
    /// Tell me the whole.
    Ask,
    /// News up to this number are known.
    Knows {
        /// As it was said.
        start: u64,
        /// As it was said.
        told: u64,
    },
    /// Somebody of yours wants this message.
    Spread {
        /// What.
        message: Arc<Message>,
        /// Sessions that get it by the store.
        skip: Vec<u64>,
        /// A client published it, and not the hub itself.
        is_of_client: bool,
    },
    /// A message for one session of yours, which was chosen among those of a shared subscription.
    One {
        /// Which session.
        serial: u64,
        /// What.
        message: Arc<Message>,
        /// At which quality of service it is delivered.
        qos: u8,
        /// With which RETAIN flag.
        retain: bool,
        /// The subscription identifier.
        ids: Vec<u32>,
    },
    /// Something was passed to sessions of yours: look into the store.
    Look,
    /// The retained message of a topic has changed.
    Retained {
        /// Which topic.
        topic: Box<str>,
        /// See [`motehub_domain::kept::Retained::stamp`].
        stamp: u64,
        /// What is retained from now on.
        message: Option<Arc<Message>>,
    },
    /// A client has connected: its connections elsewhere are over.
    Connected {
        /// Who.
        principal: Principal,
        /// Its client identifier.
        client_id: Box<str>,
        /// The number of its session.
        serial: u64,
        /// When, in milliseconds since 1970.
        since: u64,
    },
}

/// What other nodes have to know of the sessions of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A session is there, or comes from elsewhere.
    Session {
        /// Its number.
        serial: u64,
        /// What is passed to it by the store is not lost.
        is_kept: bool,
        /// It has a connection.
        is_here: bool,
    },
    /// A session has ended.
    Ended {
        /// Its number.
        serial: u64,
    },
    /// A session has subscribed.
    Subscribed {
        /// Its number.
        serial: u64,
        /// The filter as it was written, with `$share/…`.
        text: Box<str>,
        /// What was granted.
        subscription: Subscription,
    },
    /// A session has unsubscribed.
    Unsubscribed {
        /// Its number.
        serial: u64,
        /// The filter as it was written.
        text: Box<str>,
    },
    /// Somebody on the node wants these topics: one of the sessions that end with their connection, or the hub.
    Wants {
        /// The filter.
        filter: Box<str>,
    },
    /// Nobody of them wants these topics any more.
    WantsNot {
        /// The filter.
        filter: Box<str>,
    },
}

wire! {
    enum Said {
        0 = Tell { start, told, news },
        1 = Whole { start, told, is_first, is_last, news },
        2 = Ask,
        3 = Knows { start, told },
        4 = Spread { message, skip, is_of_client },
        5 = One { serial, message, qos, retain, ids },
        6 = Look,
        7 = Retained { topic, stamp, message },
        8 = Connected { principal, client_id, serial, since },
    }
    enum News {
        0 = Session { serial, is_kept, is_here },
        1 = Ended { serial },
        2 = Subscribed { serial, text, subscription },
        3 = Unsubscribed { serial, text },
        4 = Wants { filter },
        5 = WantsNot { filter },
    }
}

/// What is said, and by whom.
struct Letter {
    version: u8,
    from: Box<str>,
    said: Said,
}

wire! {
    struct Letter { version, from, said }
}

impl Said {
    /// The bytes for the bus.
    pub fn encode(self, from: &str) -> Bytes {
        link::encode(&Letter { version: VERSION, from: from.into(), said: self })
    }

    /// Reads what came by the bus: who said it, and what.
    ///
    /// # Errors
    /// If it is something else, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<(Box<str>, Self), DecodeError> {
        let letter: Letter = link::decode(bytes)?;
        if letter.version != VERSION || letter.from.is_empty() || letter.from.len() > NAME_BYTES_MAX {
            return Err(DecodeError(format!(
                "a word of the bus in version {}, not {VERSION}",
                letter.version
            )));
        }
        Ok((letter.from, letter.said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_nothing_else() {
        let message = Message::plain("a/b", &[0, 255], 1, true);
        let subscription = Subscription { qos: 2, no_local: true, retain_as_published: false, id: Some(7) };
        let news = vec![
            News::Session { serial: 5, is_kept: true, is_here: false },
            News::Subscribed { serial: 5, text: "$share/g/a/#".into(), subscription },
            News::WantsNot { filter: "+".into() },
        ];
        let all = [
            Said::Whole { start: 1, told: 2, is_first: true, is_last: false, news },
            Said::Spread { message: message.clone(), skip: vec![9, u64::MAX], is_of_client: true },
            Said::Retained { topic: "a/b".into(), stamp: 3, message: Some(message) },
            Said::Ask,
        ];
        for said in all {
            let bytes = said.clone().encode("a");
            assert_eq!(Said::decode(&bytes), Ok(("a".into(), said)));
            for end in 0..bytes.len() {
                assert!(Said::decode(&bytes[..end]).is_err(), "half a word");
            }
        }
        assert!(
            Said::decode(&link::encode(&Letter { version: 2, from: "a".into(), said: Said::Ask })).is_err()
        );
    }
}
