//! What clients publish: judged by rights, understood by the dialect, stored by the hub, then passed on and
//! acknowledged in the order it came.

use std::borrow::Cow;
use std::sync::Arc;

use motehub_domain::kept::Message;
use motehub_domain::topic::check_topic_name;
use motehub_protocol::aws::{self, Ask};
use motehub_protocol::{Said, dialect, shadow};

use super::broker::Broker;
use super::out::{Out, Slot, Token};
use super::session::{Received, Session};
use super::state::{Conn, Outcome, Pending, Phase};
use super::subscribe::within;
use super::wire::{self, Fault, Publish, kind, reason};
use super::{Limits, Millis, Version};
use crate::hub::Arrival;

/// What becomes of a publish.
enum Verdict {
    /// The product takes it, and subscribers; what of it is refused is told.
    Uplink(Said),
    /// The product answers it, also to a program; subscribers get it.
    Ask(Box<Ask>),
    /// Subscribers only.
    Plain,
    /// Nobody: a reason code and a sentence.
    No(u8, String),
}

impl Broker {
    /// Takes a PUBLISH.
    pub(super) fn take_publish(
        &mut self,
        now: Millis,
        slot: Slot,
        flags: u8,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(), Fault> {
        let topic_alias_max = self.limits.topic_alias_max;
        let Some(conn) = self.conn_mut(slot) else { return Ok(()) };
        let publish = wire::publish(conn.version, flags, body)?;
        let topic = resolve_alias(conn, &publish, topic_alias_max)?;
        let at = conn.session;
        self.counters.messages_in += 1;
        match publish.packet_id {
            Some(packet_id) => self.take_acknowledged(now, slot, packet_id, &publish, &topic, out),
            None => {
                let Some(session) = self.session(at) else { return Ok(()) };
                match judge(session, &publish, &topic, &self.limits) {
                    Verdict::No(code, why) => {
                        out.refuse(session, &why);
                        self.counters.count_refused(code);
                    }
                    Verdict::Uplink(Said { uplink, refused }) => {
                        if let Some(why) = refused {
                            out.refuse(session, &why);
                        }
                        if let Some(device) = session.identity.as_ref().map(|i| i.device) {
                            out.offers.push(Arrival { device, uplink, mark: None, again: false });
                        }
                        self.pass_on(now, at, &publish, &topic, out);
                    }
                    Verdict::Ask(ask) => {
                        out.asks.push((None, session.key.principal, *ask));
                        self.pass_on(now, at, &publish, &topic, out);
                    }
                    Verdict::Plain => self.pass_on(now, at, &publish, &topic, out),
                }
                Ok(())
            }
        }
    }

    fn pass_on(
        &mut self,
        now: Millis,
        at: Option<(u32, u64)>,
        publish: &Publish<'_>,
        topic: &str,
        out: &mut Out,
    ) {
        if let Some(message) = self.message(now, publish, topic) {
            self.route(now, at.map(|(index, _)| index), &message, out);
        }
    }

    /// The message to pass on; `None` if nobody wants it.
    fn message(&self, now: Millis, publish: &Publish<'_>, topic: &str) -> Option<Arc<Message>> {
        if !publish.retain && !self.routes.has_match(topic) && !self.taps.contains(topic) {
            return None;
        }
        Some(Arc::new(Message {
            topic: topic.into(),
            payload: publish.payload.into(),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.attributes.forwarded.as_slice().into(),
            expires_at: publish.attributes.expiry_s.map(|s| now + u64::from(s) * 1000),
        }))
    }

    /// QoS 1 and 2.
    fn take_acknowledged(
        &mut self,
        now: Millis,
        slot: Slot,
        packet_id: u16,
        publish: &Publish<'_>,
        topic: &str,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let taken_max = self.limits.taken_unacknowledged_max;
        let message = self.message(now, publish, topic);
        let Some(conn) = self.conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return Ok(()) };
        let Some((index, _)) = conn.session else { return Ok(()) };
        let Some(session) = self.sessions[index as usize].as_mut() else { return Ok(()) };
        let bytes = topic.len() + publish.payload.len();
        let mut pending = Pending {
            packet_id,
            qos: publish.qos,
            outcome: None,
            ticket: None,
            message,
            bytes,
            remark: None,
        };
        if publish.qos == 2 {
            let has_room = session.received.len() < usize::from(taken_max);
            match session.received_mut(packet_id) {
                // It is being stored; its PUBREC is on the way.
                Some(_) if conn.pending.iter().any(|p| p.qos == 2 && p.packet_id == packet_id) => {
                    return Ok(());
                }
                Some(received) if received.is_settled => {
                    pending.outcome = Some(Outcome::Taken);
                    pending.message = None;
                    conn.push(pending);
                    self.acknowledge(now, slot, out);
                    return Ok(());
                }
                // A former connection brought it and did not live to see its end.
                Some(_) => {}
                None if has_room => session.received.push(Received { packet_id, is_settled: false }),
                None => return Err(Fault(reason::RECEIVE_MAXIMUM, "too many messages without PUBREL")),
            }
        }
        if conn.version == Version::V5 && conn.taken >= taken_max {
            return Err(Fault(reason::RECEIVE_MAXIMUM, "more unacknowledged messages than were allowed"));
        }
        conn.taken = conn.taken.saturating_add(1);
        let token = Token(conn.first_token + conn.pending.len() as u64);
        match judge(session, publish, topic, &self.limits) {
            Verdict::Uplink(Said { uplink, refused }) => {
                if let Some(why) = refused {
                    out.refuse(session, &why);
                    pending.remark = Some(why.into());
                }
                if let Some(device) = session.identity.as_ref().map(|i| i.device) {
                    let mark = Some(mark(&session.key.client_id, packet_id, topic, publish.payload));
                    out.uplinks.push((token, Arrival { device, uplink, mark, again: publish.dup }));
                }
            }
            Verdict::Ask(ask) => out.asks.push((Some(token), session.key.principal, *ask)),
            Verdict::Plain => pending.outcome = Some(Outcome::Taken),
            Verdict::No(code, why) => {
                out.refuse(session, &why);
                self.counters.count_refused(code);
                pending.outcome = Some(Outcome::Refused(code, why));
            }
        }
        conn.push(pending);
        self.acknowledge(now, slot, out);
        Ok(())
    }

    /// Passes on what is settled and acknowledges what is on disk, both in the order it came (section 4.6).
    pub(super) fn acknowledge(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        while self.pass_on_next(now, slot, out).is_some() {}
        loop {
            let Self { conns, notes, .. } = self;
            let conn = conns.get_mut(slot.0 as usize).and_then(Option::as_mut);
            let popped = conn.and_then(|conn| {
                let popped = conn.pop_kept(|ticket| notes.is_kept(ticket))?;
                Some((popped, conn.version, conn.wants_reasons))
            });
            let Some(((Pending { packet_id, qos, remark, .. }, outcome), version, wants_reasons)) = popped
            else {
                return;
            };
            match outcome {
                Outcome::Taken => {
                    let why = remark.as_deref().filter(|_| wants_reasons).unwrap_or_default();
                    self.answer(slot, qos, packet_id, reason::SUCCESS, why, out);
                }
                Outcome::Refused(code, why) => {
                    let (code, why) = if version == Version::V5 { (code, why) } else { (0, String::new()) };
                    self.answer(slot, qos, packet_id, code, if wants_reasons { &why } else { "" }, out);
                }
                Outcome::Unavailable if version == Version::V5 => {
                    let why = if wants_reasons { "it cannot be stored at present" } else { "" };
                    self.answer(slot, qos, packet_id, reason::QUOTA, why, out);
                }
                Outcome::Unavailable => {
                    self.forget_received(slot, packet_id);
                    self.end(now, slot, reason::SUCCESS, "", true, out);
                }
            }
        }
    }

    /// Passes on the oldest publish that is settled and was not passed on; `None` if there is none.
    fn pass_on_next(&mut self, now: Millis, slot: Slot, out: &mut Out) -> Option<()> {
        let conn = self.conn_mut(slot)?;
        let (at, version) = (conn.session, conn.version);
        let pending = conn.next_settled()?;
        let (packet_id, qos, message) = (pending.packet_id, pending.qos, pending.message.take());
        let (is_taken, is_refused) = match pending.outcome {
            Some(Outcome::Taken) => (true, false),
            Some(Outcome::Refused(..)) => (false, true),
            Some(Outcome::Unavailable) | None => (false, false),
        };
        let made = self.notes.made();
        let mut ticket = None;
        let mut is_first = qos == 1;
        let Self { sessions, notes, .. } = self;
        let session = at.and_then(|(index, serial)| {
            sessions.get_mut(index as usize)?.as_mut().filter(|session| session.serial == serial)
        });
        if let Some(session) = session.filter(|_| qos == 2) {
            let (keeps, serial) = (session.keeps(), session.serial);
            if let Some(received) = session.received_mut(packet_id) {
                is_first = !received.is_settled;
                // What 3.1.1 cannot be told is acknowledged, so that it is not sent for ever.
                received.is_settled |= is_taken || is_refused && version == Version::V3;
                match (is_first && is_taken, keeps) {
                    (true, true) => notes.received(serial, packet_id, true),
                    // Its first sending may still be on its way to the disk.
                    (false, true) => ticket = Some(notes.so_far()),
                    (_, false) => {}
                }
            }
        }
        if let Some(message) = message.filter(|_| is_taken && is_first) {
            if let (true, Some(session)) = (self.cluster.is_some(), self.session(at).filter(|s| s.keeps())) {
                let serial = session.serial;
                self.notes.published(serial, &message);
            }
            self.route(now, at.map(|(index, _)| index), &message, out);
        }
        let ticket = ticket.unwrap_or_else(|| self.notes.since(made));
        self.notes.wait(ticket, slot);
        // It is still the last that was passed on: routing ends no connection.
        let conn = self.conn_mut(slot)?;
        let at = conn.passed_on.checked_sub(1)?;
        conn.pending.get_mut(at)?.ticket = Some(ticket);
        Some(())
    }

    /// PUBACK or PUBREC.
    fn answer(&mut self, slot: Slot, qos: u8, packet_id: u16, code: u8, why: &str, out: &mut Out) {
        let is_refused = code >= 0x80;
        if qos == 2 && is_refused {
            self.forget_received(slot, packet_id);
        }
        let Some(conn) = self.conn_mut(slot) else { return };
        if qos == 1 || is_refused {
            conn.taken = conn.taken.saturating_sub(1);
        }
        if !matches!(conn.phase, Phase::Open) {
            return;
        }
        let kind = if qos == 1 { kind::PUBACK } else { kind::PUBREC };
        wire::put_acknowledgement(&mut conn.output, conn.version, kind, packet_id, code, why);
        conn.mark_ready(slot, out);
    }

    fn forget_received(&mut self, slot: Slot, packet_id: u16) {
        let at = self.conn(slot).and_then(|conn| conn.session);
        if let Some(session) = self.session_mut(at) {
            session.received.retain(|r| r.packet_id != packet_id || r.is_settled);
        }
    }

    /// PUBREL: the client knows that we have its message.
    pub(super) fn take_release(&mut self, slot: Slot, packet_id: u16, out: &mut Out) {
        let at = self.conn(slot).and_then(|conn| conn.session);
        let Some(session) = self.session_mut(at) else { return };
        let known = session.received.iter().position(|r| r.packet_id == packet_id && r.is_settled);
        let (keeps, serial) = (session.is_kept, session.serial);
        if let Some(known) = known {
            session.received.swap_remove(known);
        }
        let mut ticket = 0;
        if keeps && known.is_some() {
            // Were it not on disk, the client's next message with this identifier could be taken for a repetition.
            self.notes.received(serial, packet_id, false);
            ticket = self.notes.so_far();
        }
        let Some(conn) = self.conn_mut(slot) else { return };
        conn.taken = conn.taken.saturating_sub(u16::from(known.is_some()));
        let code = if known.is_some() { reason::SUCCESS } else { reason::UNKNOWN_PACKET_ID };
        let mut bytes = Vec::new();
        wire::put_acknowledgement(&mut bytes, conn.version, kind::PUBCOMP, packet_id, code, "");
        self.write_kept(slot, ticket, &bytes, out);
    }
}

fn resolve_alias<'a>(conn: &mut Conn, publish: &Publish<'a>, alias_max: u16) -> Result<Cow<'a, str>, Fault> {
    const BAD_ALIAS: Fault = Fault(reason::BAD_ALIAS, "the topic alias is not valid");
    if publish.topic.contains(['+', '#', '\0']) {
        return Err(Fault(reason::BAD_TOPIC, "a topic to publish to has no +, # or NUL"));
    }
    let Some(alias) = publish.attributes.alias else {
        return match publish.topic {
            "" => Err(Fault(reason::PROTOCOL_ERROR, "a PUBLISH has a topic or an alias")),
            topic => Ok(Cow::Borrowed(topic)),
        };
    };
    if alias == 0 || alias > alias_max {
        return Err(BAD_ALIAS);
    }
    let at = usize::from(alias) - 1;
    if publish.topic.is_empty() {
        let known = conn.aliases.get(at).and_then(Option::as_deref).ok_or(BAD_ALIAS)?;
        return Ok(Cow::Owned(known.to_owned()));
    }
    if conn.aliases.len() <= at {
        conn.aliases.resize(at + 1, None);
    }
    conn.aliases[at] = Some(publish.topic.into());
    Ok(Cow::Borrowed(publish.topic))
}

/// Rights come first: what is not allowed is not even decoded.
fn judge(session: &Session, publish: &Publish<'_>, topic: &str, limits: &Limits) -> Verdict {
    if let Err(rejection) = check_topic_name(topic) {
        return Verdict::No(reason::BAD_TOPIC, rejection.sentence);
    }
    if !within(topic, limits.topic_bytes_max, limits.topic_levels_max) {
        return Verdict::No(
            reason::BAD_TOPIC,
            "the topic is longer or deeper than this hub allows".to_owned(),
        );
    }
    if !session.rights.may_publish(topic) {
        return Verdict::No(reason::NOT_AUTHORIZED, "this client may not publish to this topic".to_owned());
    }
    if publish.attributes.is_text && std::str::from_utf8(publish.payload).is_err() {
        return Verdict::No(reason::BAD_PAYLOAD, "the payload is said to be UTF-8 and is not".to_owned());
    }
    if shadow::is_reserved(topic) {
        return reserved(topic, publish);
    }
    let Some(identity) = &session.identity else { return Verdict::Plain };
    match dialect::mqtt_uplink(identity, topic, publish.attributes.encoding, publish.payload) {
        None => Verdict::Plain,
        Some(Ok(said)) => Verdict::Uplink(said),
        Some(Err(error)) => Verdict::No(reason::BAD_PAYLOAD, error.to_string()),
    }
}

/// Whatever was granted: answers come from the hub alone, and nothing there is retained.
fn reserved(topic: &str, publish: &Publish<'_>) -> Verdict {
    match aws::ask(topic, publish.payload) {
        Some(ask) if !publish.retain => Verdict::Ask(Box::new(ask)),
        Some(_) => Verdict::No(reason::NOT_AUTHORIZED, "nothing under $aws/ is retained".to_owned()),
        None => Verdict::No(reason::NOT_AUTHORIZED, "only the hub publishes to this topic".to_owned()),
    }
}

/// FNV-1a over client, packet identifier, topic and payload, each ended by a byte that UTF-8 does not have. The
/// same over restarts and versions of the program.
fn mark(client_id: &str, packet_id: u16, topic: &str, payload: &[u8]) -> u64 {
    let end = [0xff_u8];
    let id = packet_id.to_be_bytes();
    let parts = [client_id.as_bytes(), &end, &id, topic.as_bytes(), &end, payload];
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_never_changes() {
        assert_eq!(mark("lamp-1", 7, "devices/1/telemetry", b"21.5"), 0xf4f2_b515_5462_93f7);
    }
}
