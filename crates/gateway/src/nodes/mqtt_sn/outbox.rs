//! What is said to one client of MQTT-SN: one message at a time, its topic registered before, sent again until it is
//! confirmed.

use std::collections::{HashSet, VecDeque};

use motehub_protocol::mqtt_sn::{Code, Message, RETRIES_MAX, RETRY_AFTER_MS, Topic};

use super::super::caller;

/// Most topics of one client.
const TOPICS_MAX: usize = 100;
/// How many messages wait for one client; the oldest is dropped then.
const WAITING_MAX: usize = 32;

/// Topics and what waits.
#[derive(Default)]
pub(super) struct Outbox {
    /// The number of a topic is its place here, and one.
    names: Vec<String>,
    /// Those whose number the client knows.
    known: HashSet<u16>,
    waiting: VecDeque<caller::Message>,
    flight: Option<Flight>,
    last: u16,
}

/// A message that is not confirmed.
struct Flight {
    number: u16,
    message: Message,
    sent_ms: u64,
    tries: u32,
    /// What is said when the client knows the topic.
    then: Option<caller::Message>,
}

impl Outbox {
    /// The client begins anew.
    pub(super) fn clear(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    /// The number of a topic, which the client knows from now on; `None` if there are too many.
    pub(super) fn register(&mut self, name: &str) -> Option<u16> {
        let id = self.number_of(name)?;
        self.known.insert(id);
        Some(id)
    }

    /// The name of a number.
    pub(super) fn name(&self, id: u16) -> Option<&str> {
        self.names.get(usize::from(id).checked_sub(1)?).map(String::as_str)
    }

    fn number_of(&mut self, name: &str) -> Option<u16> {
        let place = self.names.iter().position(|known| known == name).or_else(|| {
            (self.names.len() < TOPICS_MAX).then(|| {
                self.names.push(name.to_owned());
                self.names.len() - 1
            })
        })?;
        u16::try_from(place + 1).ok()
    }

    /// Something is to be said to it.
    pub(super) fn push(&mut self, message: caller::Message) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            metrics::counter!("motehub_nodes_refused_total", "reason" => "outbox_full").increment(1);
        }
        self.waiting.push_back(message);
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_none()
    }

    /// What is to be sent now.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<Message> {
        if self.flight.is_some() {
            return None;
        }
        let next = self.waiting.pop_front()?;
        let Some(id) = self.number_of(&next.topic) else {
            metrics::counter!("motehub_nodes_refused_total", "reason" => "topics").increment(1);
            return self.next(now_ms);
        };
        let number = self.number();
        if !self.known.contains(&id) {
            let message = Message::Register { topic: id, message: number, name: next.topic.clone() };
            return Some(self.begin(number, message, Some(next), now_ms));
        }
        let qos = i8::from(next.qos > 0);
        let message = Message::Publish {
            dup: false,
            qos,
            retain: false,
            topic: Topic::Id(id),
            message: if qos > 0 { number } else { 0 },
            data: next.payload,
        };
        Some(if qos > 0 { self.begin(number, message, None, now_ms) } else { message })
    }

    fn begin(
        &mut self,
        number: u16,
        message: Message,
        then: Option<caller::Message>,
        now_ms: u64,
    ) -> Message {
        self.flight = Some(Flight { number, message: message.clone(), sent_ms: now_ms, tries: 0, then });
        message
    }

    fn number(&mut self) -> u16 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.last
    }

    /// The client answered a REGISTER.
    pub(super) fn registered(&mut self, topic: u16, number: u16, code: Code) {
        let Some(flight) = self.flight.take_if(|flight| flight.number == number && flight.then.is_some())
        else {
            return;
        };
        // One that it does not want to know is not said.
        if code == Code::Accepted {
            self.known.insert(topic);
            self.waiting.extend(flight.then);
            self.waiting.rotate_right(1);
        }
    }

    /// The client answered a PUBLISH.
    pub(super) fn acknowledged(&mut self, topic: u16, number: u16, code: Code) {
        if code == Code::InvalidTopic {
            self.known.remove(&topic);
        }
        self.flight.take_if(|flight| flight.number == number && flight.then.is_none());
    }

    /// When something is sent again.
    pub(super) fn retry_at(&self) -> Option<u64> {
        self.flight.as_ref().map(|flight| flight.sent_ms + RETRY_AFTER_MS)
    }

    /// What is sent again; the error says that the client does not answer any more.
    pub(super) fn retry(&mut self, now_ms: u64) -> Result<Option<Message>, ()> {
        let is_due = |flight: &&mut Flight| flight.sent_ms + RETRY_AFTER_MS <= now_ms;
        let Some(flight) = self.flight.as_mut().filter(is_due) else { return Ok(None) };
        if flight.tries >= RETRIES_MAX {
            return Err(());
        }
        flight.tries += 1;
        flight.sent_ms = now_ms;
        if let Message::Publish { dup, .. } = &mut flight.message {
            *dup = true;
        }
        Ok(Some(flight.message.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(topic: &str, qos: u8) -> caller::Message {
        caller::Message { topic: topic.to_owned(), payload: b"1".to_vec(), qos }
    }

    #[test]
    fn a_topic_is_registered_before_it_is_used_and_a_message_confirmed_before_the_next() {
        let mut outbox = Outbox::default();
        outbox.push(said("gateway/a/led/set", 1));
        outbox.push(said("gateway/a/led/set", 1));
        let register = Message::Register { topic: 1, message: 1, name: "gateway/a/led/set".to_owned() };
        assert_eq!(outbox.next(0), Some(register));
        assert_eq!(outbox.next(0), None);
        outbox.registered(1, 7, Code::Accepted);
        assert_eq!(outbox.next(0), None, "another one's answer");
        outbox.registered(1, 1, Code::Accepted);
        assert!(matches!(outbox.next(5), Some(Message::Publish { qos: 1, message: 2, dup: false, .. })));
        assert_eq!(outbox.next(5), None);
        outbox.acknowledged(1, 2, Code::Accepted);
        assert!(matches!(outbox.next(9), Some(Message::Publish { message: 3, .. })));
        assert!(!outbox.is_empty());
        outbox.acknowledged(1, 3, Code::InvalidTopic);
        assert!(outbox.is_empty());
        outbox.push(said("gateway/a/led/set", 0));
        assert!(matches!(outbox.next(9), Some(Message::Register { .. })), "it has forgotten the number");
    }

    #[test]
    fn what_is_not_confirmed_is_sent_again_and_then_given_up() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.register("gateway/check"), Some(1));
        outbox.push(said("gateway/check", 1));
        outbox.next(0);
        assert_eq!(outbox.retry_at(), Some(RETRY_AFTER_MS));
        assert_eq!(outbox.retry(RETRY_AFTER_MS - 1), Ok(None));
        for time in 1..=u64::from(RETRIES_MAX) {
            let again = outbox.retry(time * RETRY_AFTER_MS);
            assert!(matches!(again, Ok(Some(Message::Publish { dup: true, message: 1, .. }))), "{again:?}");
        }
        assert_eq!(outbox.retry(u64::from(RETRIES_MAX + 1) * RETRY_AFTER_MS), Err(()));
    }

    #[test]
    fn topics_and_messages_are_bounded() {
        let mut outbox = Outbox::default();
        for number in 0..TOPICS_MAX {
            assert!(outbox.register(&format!("node/a/{number}")).is_some());
        }
        assert_eq!(outbox.register("node/a/more"), None);
        for _ in 0..2 * WAITING_MAX {
            outbox.push(said("node/a/1", 0));
        }
        assert_eq!(std::iter::from_fn(|| outbox.next(0)).count(), WAITING_MAX);
    }
}
