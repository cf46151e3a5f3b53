//! Sessions that move from node to node: with their clients, or because their node is gone.

use std::collections::BTreeSet;

use motehub_domain::kept::{Passed, Principal, RecalledSession, Withdrawn};

use super::Said;
use crate::hub::Client;
use crate::mqtt::broker::Broker;
use crate::mqtt::out::{Out, Slot};
use crate::mqtt::session::Key;
use crate::mqtt::state::Phase;
use crate::mqtt::wire::reason;
use crate::mqtt::{Millis, News};

/// Numbers that are kept free for messages that were passed to a session before it came here: more than may wait.
const LATE_NUMBERS: u64 = 2_000;
const ELSEWHERE: &str = "the client has connected to another node";

impl Broker {
    /// Whose session and which client identifier a connection is about to have that was just let in; `None` if its
    /// session cannot be elsewhere. Before [`Broker::authenticated`] it is to be brought here if another node has it.
    pub fn claims(&self, slot: Slot, client: &Client) -> Option<(Principal, Box<str>)> {
        let conn = self.cluster.as_ref().and(self.conn(slot))?;
        let Phase::Asking(connect) = &conn.phase else { return None };
        if connect.client_id.is_empty() {
            return None;
        }
        let key = Key { principal: client.principal(), client_id: connect.client_id.as_str().into() };
        (!self.session_of.contains_key(&key)).then_some((key.principal, key.client_id))
    }

    /// A session of another node is of this one from now on: what the store has of it, and what was passed to it.
    /// `client` says what its owner may do; a session of somebody who is gone ends. `began` is what
    /// [`Broker::look_begins`] said before the store was read, `died_at` when its connection ended if nobody said so.
    pub fn adopt(
        &mut self,
        now: Millis,
        recalled: RecalledSession,
        passed: Vec<(u64, Passed)>,
        client: Option<Client>,
        (began, died_at): (u64, Millis),
        out: &mut Out,
    ) {
        let Self { cluster: Some(cluster), routes, .. } = self else { return };
        let serial = recalled.session.serial;
        if cluster.here.contains_key(&serial) {
            return;
        }
        cluster.aways.remove(routes, serial);
        let Some(client) = client else {
            cluster.noted.push(News::Ended { serial });
            return self.notes.forget_session(serial);
        };
        self.recall_session(now, died_at.min(now), recalled, client);
        let Some(index) = self.index_of(serial) else { return };
        for (id, passed) in passed {
            self.take_passed(now, id, passed, out);
        }
        let Self { cluster: Some(cluster), sessions, .. } = self else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        // What this node itself passed to it lately is not among that: it comes before all that is published now.
        if let Some(batch) = cluster.passed_in.remove(&serial).filter(|batch| *batch > began) {
            session.late = Some(session.next_number);
            session.next_number += LATE_NUMBERS;
            cluster.catching_up.push((serial, batch));
            cluster.wants_look = true;
        }
        if session.ends_at.is_some_and(|ends_at| ends_at <= now) {
            return self.end_session(now, index, out);
        }
        if let Some((_, will)) = session.will.take_if(|(due_at, _)| *due_at <= now) {
            self.send_will(now, index, will, out);
            self.note_session(now, index);
        }
    }

    /// Another node wants a session of ours, because its client is there now. Ends its connection and forgets it; gives
    /// the batch of notes that has to be on disk before the other may have it. `None` if it is not here.
    pub fn give_up(&mut self, now: Millis, serial: u64, to: &str, out: &mut Out) -> Option<u64> {
        let index = self.cluster.as_ref()?.here.get(&serial).copied()?;
        if let Some(slot) = self.sessions[index as usize].as_ref()?.connection {
            self.end(now, slot, reason::TAKEN_OVER, ELSEWHERE, true, out);
        }
        if self.index_of(serial).is_some() {
            self.notes.hand_over(serial, to);
            let node = self.cluster.as_mut()?.peers.index_of(to);
            self.let_go(index, node);
        }
        Some(self.notes.so_far())
    }

    /// The batch that is on its way was written without these sessions, since other nodes have taken them. To be called
    /// before [`Broker::kept`].
    pub fn lose(&mut self, now: Millis, lost: &BTreeSet<u64>, out: &mut Out) {
        let withdrawn = self.notes.left_without(lost);
        self.withdraw(&withdrawn);
        self.let_them_go(now, lost, out);
    }

    /// Messages are not delivered here: their publisher was not answered, and publishes them again elsewhere.
    fn withdraw(&mut self, messages: &Withdrawn) {
        if messages.is_empty() {
            return;
        }
        for session in self.sessions.iter_mut().flatten() {
            let (queue, bytes) = (&mut session.queue, &mut session.queue_bytes);
            queue.retain(|queued| {
                let stays = queued.again || !messages.has(&queued.message);
                if !stays {
                    *bytes -= queued.message.size_bytes();
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(queued.message.size_bytes());
                }
                stays
            });
        }
    }

    /// Other nodes have taken these sessions without asking: they are forgotten here, and nothing of them is written.
    fn let_them_go(&mut self, now: Millis, lost: &BTreeSet<u64>, out: &mut Out) {
        let withdrawn = self.notes.lose(lost);
        self.withdraw(&withdrawn);
        for serial in lost {
            let Some(index) = self.index_of(*serial) else { continue };
            let Some(session) = self.sessions[index as usize].as_mut() else { continue };
            session.is_kept = false;
            if let Some(slot) = session.connection {
                session.expiry_ms = session.expiry_ms.max(1);
                self.end(now, slot, reason::TAKEN_OVER, ELSEWHERE, false, out);
            }
            self.let_go(index, None);
            if let Some(cluster) = self.cluster.as_mut() {
                cluster.wants_reading = true;
            }
        }
    }

    /// The sessions here that are kept, and those that were here and of which something is still to be written.
    pub fn kept_serials(&self) -> BTreeSet<u64> {
        let mut serials = self.notes.serials();
        let kept = self.sessions.iter().flatten().filter(|session| session.is_kept);
        serials.extend(kept.map(|session| session.serial));
        serials
    }

    /// Forgets a session here; messages for it are passed on from now on.
    fn let_go(&mut self, index: u32, node: Option<u32>) {
        let Some(session) = self.vacate(index) else { return };
        let Self { cluster: Some(cluster), routes, .. } = self else { return };
        cluster.here.remove(&session.serial);
        cluster.catching_up.retain(|(serial, _)| *serial != session.serial);
        cluster.aways.put(session.serial, node, true, false);
        for subscription in &session.subscriptions {
            routes.remove(subscription.share.as_deref(), subscription.filter.as_str(), index);
            if subscription.is_wanted {
                cluster.want_not(subscription.filter.as_str());
            }
            cluster.aways.subscribe(routes, session.serial, &subscription.text, &subscription.record());
        }
    }

    /// Tells the others that a client has connected, so that they end its former connections.
    pub(in crate::mqtt) fn tell_connected(&mut self, now: Millis, index: u32) {
        let Self { cluster: Some(cluster), sessions, .. } = self else { return };
        let Some(session) = sessions[index as usize].as_ref() else { return };
        let Key { principal, client_id } = &session.key;
        cluster.say_all(|| Said::Connected {
            principal: *principal,
            client_id: client_id.clone(),
            serial: session.serial,
            since: now,
        });
    }

    /// A client has connected elsewhere: of two connections the later one stays.
    pub(super) fn connected_elsewhere(
        &mut self,
        now: Millis,
        from: &str,
        (principal, client_id): (Principal, Box<str>),
        serial: u64,
        since: Millis,
        out: &mut Out,
    ) {
        let Some(index) = self.session_of.get(&Key { principal, client_id }).copied() else { return };
        let Some(session) = self.sessions[index as usize].as_ref() else { return };
        if session.serial == serial {
            return self.let_them_go(now, &BTreeSet::from([serial]), out);
        }
        let (at, connection) = ((index, session.serial), session.connection);
        let ours = connection.and_then(|slot| self.conn(slot)).map(|conn| conn.since);
        let name = self.cluster.as_ref().map(|cluster| &*cluster.name);
        if ours.is_some_and(|ours| (ours, name) > (since, Some(from))) {
            return;
        }
        if let Some(slot) = connection {
            self.end(now, slot, reason::TAKEN_OVER, ELSEWHERE, true, out);
        }
        // There are two sessions if the client was on both nodes at once; the other one is used.
        if self.session(Some(at)).is_some() {
            self.end_session(now, index, out);
        }
    }
}
