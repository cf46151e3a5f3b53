//! How a connection becomes a session: CONNECT, the hub's answer, take-over, CONNACK.

use std::borrow::Cow;
use std::net::IpAddr;

use super::broker::Broker;
use super::out::{Out, Slot};
use super::reply::{self, Connect, Welcome};
use super::session::{Key, Will};
use super::state::{Attachment, Phase};
use super::subscribe::within;
use super::wire::{Fault, reason};
use super::{Millis, Version, lone_password};
use crate::hub::{Client, Connection, ConnectionId, Credentials, Knock, Refusal, Transport};
use motehub_domain::kept::{Message, Principal};
use motehub_domain::time::Span;
use motehub_domain::topic::check_topic_name;
use motehub_protocol::{aws, shadow};

/// Of so many addresses the CONNECTs are counted within a minute.
const CONNECTING_ADDRESSES_MAX: usize = 100_000;
/// Clients that take only smaller packets are not told reasons in words, which could make packets too large.
const REASONED_BYTES_MIN: usize = 512;

impl Broker {
    /// Takes a CONNECT and has the hub asked.
    pub(super) fn greet(&mut self, now: Millis, slot: Slot, body: &[u8], out: &mut Out) -> Result<(), Fault> {
        let client_id_bytes_max = self.limits.client_id_bytes_max;
        let Some(version) = reply::version_of(body)? else {
            self.refuse(slot, reason::UNSUPPORTED_VERSION, "", out);
            self.end(now, slot, reason::SUCCESS, "", false, out);
            return Ok(());
        };
        let Some(conn) = self.conn_mut(slot) else { return Ok(()) };
        conn.version = version;
        let address = conn.peer.ip();
        if self.comes_too_often(now, address) {
            self.counters.refused_limit += 1;
            self.refuse(slot, reason::CONNECTION_RATE, "too many connections from this address: wait", out);
            self.end(now, slot, reason::SUCCESS, "", false, out);
            return Ok(());
        }
        let Some(conn) = self.conn_mut(slot) else { return Ok(()) };
        let body = match version {
            Version::V5 => lone_password::with_user_name(body),
            Version::V3 => Cow::Borrowed(body),
        };
        let checked = reply::connect(version, &body).and_then(|connect| {
            check_connect(&connect, client_id_bytes_max)?;
            Ok(connect)
        });
        let connect = match checked {
            Ok(connect) => connect,
            Err(Fault(code, why)) => {
                self.counters.refused_protocol += 1;
                // A malformed CONNECT of 3.1.1 has no return code (section 3.1.4); it is only closed.
                if version == Version::V5 || code == reason::BAD_CLIENT_ID {
                    self.refuse(slot, code, why, out);
                }
                self.end(now, slot, reason::SUCCESS, "", false, out);
                return Ok(());
            }
        };
        conn.packet_bytes_max = connect.packet_bytes_max;
        self.ask(slot, Box::new(connect), out);
        Ok(())
    }

    /// Has the hub asked who somebody is.
    fn ask(&mut self, slot: Slot, connect: Box<Connect>, out: &mut Out) {
        let changes = self.stale.changes();
        let Some(conn) = self.conn_mut(slot) else { return };
        out.knock = Some(Knock {
            address: conn.peer,
            transport: Transport::Mqtt,
            credentials: Credentials::Mqtt {
                client_id: connect.client_id.clone(),
                user: connect.user.clone().filter(|user| !user.is_empty()),
                password: connect.password.clone(),
                certificate: conn.certificate.as_deref().map(<[u8]>::to_vec),
            },
        });
        conn.asked_at_change = changes;
        conn.phase = Phase::Asking(connect);
    }

    /// Counts a CONNECT of an address; whether there were too many within a minute.
    fn comes_too_often(&mut self, now: Millis, address: IpAddr) -> bool {
        if now >= self.connects_since + 60_000 || self.connects.len() >= CONNECTING_ADDRESSES_MAX {
            self.connects_since = now;
            self.connects.clear();
        }
        let count = self.connects.entry(address).or_default();
        *count += 1;
        *count > self.limits.connects_per_address_per_minute_max
    }

    /// The hub has answered. It is asked again if something about the client changed meanwhile.
    pub fn authenticated(&mut self, now: Millis, slot: Slot, answer: Result<Client, Refusal>, out: &mut Out) {
        let Some(conn) = self.conn_mut(slot) else { return };
        conn.last_at = now;
        let asked_at = conn.asked_at_change;
        let phase = std::mem::replace(&mut conn.phase, Phase::Greeting);
        let Phase::Asking(connect) = phase else {
            conn.phase = phase;
            return;
        };
        if let Ok(client) = &answer
            && self.stale.has_changed(&client.principal(), asked_at)
        {
            return self.ask(slot, connect, out);
        }
        if let Err((code, why)) = self.admit(now, slot, *connect, answer, out) {
            match code {
                reason::NOT_AUTHORIZED => self.counters.refused_rights += 1,
                reason::QUOTA => self.counters.refused_limit += 1,
                _ => self.counters.refused_credentials += 1,
            }
            self.refuse(slot, code, why, out);
            self.end(now, slot, reason::SUCCESS, "", false, out);
            return;
        }
        self.pump(now, slot, out);
        self.received(now, slot, &[], out);
    }

    fn admit(
        &mut self,
        now: Millis,
        slot: Slot,
        mut connect: Connect,
        answer: Result<Client, Refusal>,
        out: &mut Out,
    ) -> Result<(), (u8, &'static str)> {
        let client = answer.map_err(|refusal| match refusal {
            Refusal::BadCredentials => (reason::BAD_CREDENTIALS, "unknown, or a wrong secret"),
            Refusal::NotAllowed => (reason::NOT_AUTHORIZED, "not allowed here"),
            Refusal::Unavailable => (reason::UNAVAILABLE, "please try again later"),
        })?;
        let (bytes_max, levels_max) = (self.limits.topic_bytes_max, self.limits.topic_levels_max);
        if connect.will.as_ref().is_some_and(|will| !within(&will.topic, bytes_max, levels_max)) {
            return Err((
                reason::BAD_TOPIC,
                "the topic of the will is longer or deeper than this hub allows",
            ));
        }
        let will = connect.will.take().map(|will| checked_will(will, &client)).transpose()?;
        let Some(conn) = self.conn(slot) else { return Ok(()) };
        let (connection_id, peer) = (conn.id, conn.peer);
        let principal = client.principal();
        let assigned = connect.client_id.is_empty().then(|| self.free_client_id(connection_id, &principal));
        let client_id = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
        let key = Key { principal, client_id: client_id.into() };
        let expiry_s = connect.session_expiry_s.min(self.limits.session_expiry_max_s);
        let keep_alive_s = match connect.version {
            Version::V5 if connect.keep_alive_s == 0 => self.limits.keep_alive_max_s,
            Version::V5 => connect.keep_alive_s.min(self.limits.keep_alive_max_s),
            Version::V3 => connect.keep_alive_s,
        };
        let mut welcome = Welcome {
            version: connect.version,
            session_present: false,
            assigned_client_id: assigned.as_deref(),
            session_expiry_s: (expiry_s != connect.session_expiry_s).then_some(expiry_s),
            keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
        };
        let is_small = connect.packet_bytes_max < REASONED_BYTES_MIN;
        if is_small && reply::welcome(&welcome, &self.limits).len() > connect.packet_bytes_max {
            return Err((reason::PACKET_TOO_LARGE, "the client takes no packet of the size of a CONNACK"));
        }
        let (index, serial, is_resumed) = self.session_for(now, key, connect.clean_start, out)?;
        welcome.session_present = is_resumed;
        let bytes = reply::welcome(&welcome, &self.limits);
        let device = client.device.as_ref().map(|identity| identity.device);
        let valid_until = client.until.map(|until| until.0.unsigned_abs());
        let topic_alias_max = self.limits.topic_alias_max;
        let send_max = usize::from(connect.receive_max.min(self.limits.sent_unacknowledged_max));
        if let Some(session) = self.session_mut(Some((index, serial))) {
            session.connection = Some(slot);
            session.expiry_ms = u64::from(expiry_s) * 1000;
            session.is_kept |= expiry_s > 0;
            session.ends_at = None;
            session.will = None;
            session.identity = client.device;
            session.name = client.name.into();
            session.valid_until = valid_until;
        }
        self.set_session_rights(index, &client.rights);
        let Some(conn) = self.conn_mut(slot) else { return Ok(()) };
        conn.phase = Phase::Open;
        conn.since = now;
        conn.session = Some((index, serial));
        conn.connect_by = None;
        conn.silence_max_ms = u64::from(keep_alive_s) * 1500;
        conn.keep_alive_s = keep_alive_s;
        conn.valid_until = valid_until;
        conn.aliases_out_max = usize::from(connect.topic_alias_max.min(topic_alias_max));
        conn.send_max = send_max;
        conn.packet_bytes_max = connect.packet_bytes_max;
        conn.wants_reasons = connect.wants_reasons && connect.packet_bytes_max >= REASONED_BYTES_MIN;
        conn.will = will;
        if let Some(device) = device {
            conn.attachment = Attachment::Asked;
            let silence_max = (keep_alive_s > 0).then(|| Span::seconds(i64::from(keep_alive_s) * 3 / 2));
            let (id, transport) = (connection_id, Transport::Mqtt);
            out.attach = Some(Connection { id, device, address: peer, transport, silence_max });
        }
        self.note_session(now, index);
        self.tell_connected(now, index);
        self.tell_presence(index);
        self.write(slot, &bytes, out);
        self.arm_connection(now, slot);
        self.send_again(now, slot, out);
        self.note_listening(index, None, out);
        Ok(())
    }

    /// A client identifier that the same principal has no session with.
    fn free_client_id(&self, connection: ConnectionId, principal: &Principal) -> String {
        let mut client_id = match &self.cluster {
            Some(cluster) => format!("auto-{}-{:x}", cluster.name, connection.0),
            None => format!("auto-{:x}", connection.0),
        };
        let is_taken = |client_id: &str| {
            let key = Key { principal: *principal, client_id: client_id.into() };
            self.session_of.contains_key(&key)
        };
        while is_taken(&client_id) {
            client_id.push('x');
        }
        client_id
    }

    /// The session of a key: resumed, or new. Takes it from a connection that still has it.
    fn session_for(
        &mut self,
        now: Millis,
        key: Key,
        clean_start: bool,
        out: &mut Out,
    ) -> Result<(u32, u64, bool), (u8, &'static str)> {
        let former = self.session_of.get(&key).and_then(|i| self.sessions[*i as usize].as_ref()?.connection);
        if let Some(former) = former {
            self.end(now, former, reason::TAKEN_OVER, "another connection has taken the session", true, out);
        }
        if let Some(index) = self.session_of.get(&key).copied() {
            match self.sessions[index as usize].as_ref() {
                Some(session) if !clean_start => return Ok((index, session.serial, true)),
                _ => self.end_session(now, index, out),
            }
        }
        let count = self.per_principal.get(&key.principal).map_or(0, Vec::len);
        if count >= self.limits.sessions_per_principal_max {
            return Err((reason::QUOTA, "too many sessions of the same user"));
        }
        let serial = self.new_serial().ok_or((reason::UNAVAILABLE, "please try again later"))?;
        let (index, session) = self.place_for(key, serial);
        self.sessions[index as usize] = Some(session);
        Ok((index, serial, false))
    }

    fn refuse(&mut self, slot: Slot, code: u8, why: &str, out: &mut Out) {
        if let Some(conn) = self.conn(slot) {
            let has_room = conn.packet_bytes_max >= REASONED_BYTES_MIN;
            let bytes = reply::unwelcome(conn.version, code, if has_room { why } else { "" });
            self.write_if_it_fits(slot, &bytes, out);
        }
    }

    /// The hub knows of the connection. Must follow each [`Out::attach`].
    pub fn attached(&mut self, slot: Slot, out: &mut Out) {
        if let Some(conn) = self.conn_mut(slot) {
            match conn.phase {
                Phase::Closed => out.detach.push(conn.id),
                Phase::Greeting | Phase::Asking(_) | Phase::Open => conn.attachment = Attachment::Done,
            }
        }
    }
}

fn check_connect(connect: &Connect, client_id_bytes_max: usize) -> Result<(), Fault> {
    let id = &connect.client_id;
    if id.len() > client_id_bytes_max || id.chars().any(char::is_control) {
        return Err(Fault(
            reason::BAD_CLIENT_ID,
            "the client identifier is too long or has control characters",
        ));
    }
    if connect.version == Version::V3 && id.is_empty() && !connect.clean_start {
        return Err(Fault(reason::BAD_CLIENT_ID, "a session without client identifier cannot be kept"));
    }
    let will_topic = connect.will.as_ref().map(|will| will.topic.as_str());
    if [connect.user.as_deref(), will_topic].into_iter().flatten().any(|text| text.contains('\0')) {
        return Err(Fault(reason::MALFORMED, "a string of the CONNECT has a NUL"));
    }
    if will_topic.is_some_and(|topic| check_topic_name(topic).is_err()) {
        return Err(Fault(reason::BAD_TOPIC, "the topic of the will is not valid"));
    }
    if connect.has_authentication_method {
        return Err(Fault(reason::BAD_AUTHENTICATION_METHOD, "there is no extended authentication here"));
    }
    Ok(())
}

fn checked_will(will: reply::Will, client: &Client) -> Result<Will, (u8, &'static str)> {
    if !client.rights.may_publish(&will.topic) {
        return Err((reason::NOT_AUTHORIZED, "the will is for a topic that may not be published to"));
    }
    // As a request it means nothing: whoever sent it is gone. Subscribers get it.
    if shadow::is_reserved(&will.topic) && (will.retain || aws::ask(&will.topic, &will.payload).is_none()) {
        return Err((reason::NOT_AUTHORIZED, "a will under $aws/ is for a request and not retained"));
    }
    let message = Message {
        topic: will.topic.into(),
        payload: will.payload.into(),
        qos: will.qos,
        retain: will.retain,
        properties: will.attributes.forwarded.into(),
        expires_at: None,
    };
    Ok(Will {
        message: message.into(),
        delay_ms: u64::from(will.attributes.delay_s) * 1000,
        expiry_ms: will.attributes.expiry_s.map(|s| u64::from(s) * 1000),
    })
}
