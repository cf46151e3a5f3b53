//! SUBSCRIBE and UNSUBSCRIBE, and what a change of rights does to subscriptions.

use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_protocol::dialect;

use super::Millis;
use super::broker::Broker;
use super::out::{Out, Slot};
use super::reply::{self, Wish};
use super::session::{Replay, Subscription};
use super::wire::{self, Fault, reason};

/// As many filters may be in one packet in any case.
const FILTERS_MIN: usize = 16;

impl Broker {
    /// Takes a SUBSCRIBE.
    pub(super) fn take_subscribe(
        &mut self,
        now: Millis,
        slot: Slot,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(), Fault> {
        let Some(conn) = self.conn(slot) else { return Ok(()) };
        let (version, at) = (conn.version, conn.session);
        let subscribe = reply::subscribe(version, body)?;
        self.check_count(slot, subscribe.wishes.len())?;
        if subscribe.wishes.iter().any(|w| w.no_local && w.filter.starts_with("$share/")) {
            return Err(Fault(
                reason::PROTOCOL_ERROR,
                "a shared subscription cannot be without local messages",
            ));
        }
        let Some((index, _)) = at else { return Ok(()) };
        let made = self.notes.made();
        let codes: Vec<u8> =
            subscribe.wishes.iter().map(|wish| self.subscribe_one(index, wish, subscribe.id)).collect();
        let bytes = reply::subscribed(version, subscribe.packet_id, &codes);
        let ticket = self.notes.since(made);
        self.write_known(slot, ticket, &bytes, out);
        self.pump(now, slot, out);
        self.note_listening(index, Some(&subscribe.wishes), out);
        Ok(())
    }

    /// Has the hub told if the device hears downlinks from now on: by these wishes, or by what it subscribed to
    /// before.
    pub(super) fn note_listening(&self, index: u32, wishes: Option<&[Wish]>, out: &mut Out) {
        let Some(session) = self.sessions[index as usize].as_ref() else { return };
        let Some(identity) = &session.identity else { return };
        let is_new =
            |s: &Subscription| wishes.is_none_or(|all| all.iter().any(|wish| *wish.filter == *s.text));
        let mut filters = session.subscriptions.iter().filter(|s| is_new(s)).map(|s| &s.filter);
        if filters.any(|filter| dialect::listens(identity, filter)) {
            out.listens = Some(identity.device);
        }
    }

    /// Grants one filter or gives the reason why not.
    fn subscribe_one(&mut self, index: u32, wish: &Wish, id: Option<u32>) -> u8 {
        let limit = self.limits.subscriptions_per_session_max;
        let Some(session) = self.sessions[index as usize].as_mut() else { return reason::UNAVAILABLE };
        let (bytes_max, levels_max) = (self.limits.topic_bytes_max, self.limits.topic_levels_max);
        let found = filter_of(&wish.filter).filter(|(_, f)| within(f.as_str(), bytes_max, levels_max));
        let Some((share, filter)) = found else { return reason::BAD_FILTER };
        if !session.rights.may_subscribe(&filter) {
            self.counters.refused_rights += 1;
            return reason::NOT_AUTHORIZED;
        }
        let known = session.subscriptions.iter().position(|s| *s.text == *wish.filter);
        if known.is_none() && session.subscriptions.len() >= limit {
            self.counters.refused_limit += 1;
            return reason::QUOTA;
        }
        let subscription = Subscription {
            text: wish.filter.as_str().into(),
            share: share.map(Into::into),
            filter,
            qos: wish.qos,
            no_local: wish.no_local,
            retain_as_published: wish.retain_as_published,
            id,
            is_wanted: known.is_some_and(|known| session.subscriptions[known].is_wanted),
        };
        self.routes.insert(share, subscription.filter.as_str(), subscription.interest(index));
        if session.keeps() {
            self.notes.subscription(session.serial, &subscription.text, Some(subscription.record()));
        }
        let wants_retained = match wish.retain_handling {
            0 => true,
            1 => known.is_none(),
            _ => false,
        };
        if wants_retained && share.is_none() {
            let ticket = if session.keeps() { self.notes.so_far() } else { 0 };
            // Subscribing again starts again, so there is at most one replay for each subscription.
            session.replays.retain(|replay| replay.filter != subscription.filter);
            let filter = subscription.filter.clone();
            session.replays.push_back(Replay { filter, qos: wish.qos, id, ticket, after: None });
        }
        match known {
            Some(known) => session.subscriptions[known] = subscription,
            None => session.subscriptions.push(subscription),
        }
        self.tell_subscribed(index, &wish.filter);
        wish.qos
    }

    /// Takes an UNSUBSCRIBE.
    pub(super) fn take_unsubscribe(&mut self, slot: Slot, body: &[u8], out: &mut Out) -> Result<(), Fault> {
        let Some(conn) = self.conn(slot) else { return Ok(()) };
        let (version, at) = (conn.version, conn.session);
        let (packet_id, filters) = reply::unsubscribe(version, body)?;
        self.check_count(slot, filters.len())?;
        let Some((index, _)) = at else { return Ok(()) };
        let made = self.notes.made();
        let codes: Vec<u8> = filters
            .iter()
            .map(|text| {
                let is_known = self.drop_subscriptions(index, |s| *s.text == **text);
                if is_known { reason::SUCCESS } else { reason::NO_SUBSCRIPTION }
            })
            .collect();
        let bytes = reply::unsubscribed(version, packet_id, &codes);
        let ticket = self.notes.since(made);
        self.write_kept(slot, ticket, &bytes, out);
        Ok(())
    }

    /// Each filter of a packet is looked for among all of the session, and has a place in the answer.
    fn check_count(&self, slot: Slot, filters: usize) -> Result<(), Fault> {
        if filters > self.limits.subscriptions_per_session_max.max(FILTERS_MIN) {
            return Err(Fault(reason::QUOTA, "too many filters in one packet"));
        }
        if self.conn(slot).is_some_and(|conn| wire::grant_bytes(filters) > conn.packet_bytes_max) {
            return Err(Fault(
                reason::PACKET_TOO_LARGE,
                "the client takes no packet of the size of the answer",
            ));
        }
        Ok(())
    }

    /// Removes the subscriptions that are to go; whether there were any.
    pub(super) fn drop_subscriptions(&mut self, index: u32, goes: impl Fn(&Subscription) -> bool) -> bool {
        let Self { sessions, routes, notes, cluster, .. } = self;
        let Some(session) = sessions[index as usize].as_mut() else { return false };
        let before = session.subscriptions.len();
        let (is_kept, is_told, serial) = (session.is_kept, session.is_told, session.serial);
        let replays = &mut session.replays;
        session.subscriptions.retain(|subscription| {
            let goes = goes(subscription);
            if goes {
                routes.remove(subscription.share.as_deref(), subscription.filter.as_str(), index);
                replays.retain(|replay| replay.filter != subscription.filter);
                if is_kept {
                    notes.subscription(serial, &subscription.text, None);
                }
                match cluster {
                    Some(cluster) if subscription.is_wanted => {
                        cluster.want_not(subscription.filter.as_str());
                    }
                    Some(cluster) if is_told => {
                        cluster.tell_unsubscribed(serial, is_kept, &subscription.text);
                    }
                    Some(_) | None => {}
                }
            }
            !goes
        });
        session.subscriptions.len() < before
    }

    /// Changes what a device may do, in all its sessions. Subscriptions it may no longer have end; what waits for
    /// it is judged again when it is sent.
    pub fn set_rights(&mut self, device: DeviceId, rights: &TopicRights) {
        self.changed(Principal::Device(device));
        for index in self.sessions_of(device) {
            self.set_session_rights(index, rights);
        }
    }

    pub(super) fn sessions_of(&self, device: DeviceId) -> Vec<u32> {
        self.per_principal.get(&Principal::Device(device)).cloned().unwrap_or_default()
    }

    pub(super) fn set_session_rights(&mut self, index: u32, rights: &TopicRights) {
        if let Some(session) = self.sessions[index as usize].as_mut()
            && session.rights != *rights
        {
            session.rights = rights.clone();
            self.drop_subscriptions(index, |subscription| !rights.may_subscribe(&subscription.filter));
        }
    }
}

/// Whether a topic or filter is within the limits of this broker.
pub(super) fn within(topic: &str, bytes_max: usize, levels_max: usize) -> bool {
    topic.len() <= bytes_max && topic.bytes().filter(|byte| *byte == b'/').count() < levels_max
}

/// Splits `$share/name/filter`; a plain filter has no name.
pub(super) fn shared(text: &str) -> Option<(Option<&str>, &str)> {
    match text.strip_prefix("$share/") {
        None => Some((None, text)),
        Some(rest) => {
            let (name, filter) = rest.split_once('/')?;
            let is_name = !name.is_empty() && !name.contains(['+', '#']);
            is_name.then_some((Some(name), filter))
        }
    }
}

/// The filter of a subscription, checked.
pub(super) fn filter_of(text: &str) -> Option<(Option<&str>, TopicFilter)> {
    let (share, filter) = shared(text)?;
    Some((share, TopicFilter::parse(filter).ok()?))
}
