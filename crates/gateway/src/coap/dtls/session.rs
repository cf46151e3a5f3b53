//! One session, from the first word of its handshake to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dimpl::{Config, Dtls, Output};

use super::record;

/// Datagrams that wait while a key is looked up; what is beyond is sent again by the peer.
const HELD_MAX: usize = 4;
/// Larger than anything that is sent or taken.
const BUFFER_BYTES: usize = 4_096;

/// Who the peer is.
pub(super) enum State {
    /// It did not say yet.
    Unknown,
    /// It said who it is; these datagrams wait until the key is known.
    Claimed { identity: String, held: Vec<Vec<u8>> },
    /// The key was looked up; there may be none.
    Known { identity: String, key: Option<String> },
}

pub(super) struct Session {
    pub(super) dtls: Dtls,
    pub(super) place: SocketAddr,
    /// Of its first message.
    pub(super) random: [u8; 32],
    pub(super) state: State,
    /// Whether its peer has returned the cookie: it is there, and may be sent more than it sent.
    pub(super) has_returned: bool,
    pub(super) is_established: bool,
    /// When it said something last, or began.
    pub(super) heard_ms: u64,
    /// When something is due with it, as it is scheduled.
    pub(super) due_ms: Option<u64>,
}

/// What a session has to say.
#[derive(Default)]
pub(super) struct Drained {
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) said: Vec<Vec<u8>>,
    pub(super) is_connected: bool,
    pub(super) is_over: bool,
    pub(super) wake: Option<Instant>,
}

impl Session {
    pub(super) fn new(
        config: Arc<Config>,
        place: SocketAddr,
        random: [u8; 32],
        now: Instant,
        now_ms: u64,
    ) -> Self {
        let dtls = Dtls::new_12_psk(config, now);
        let state = State::Unknown;
        Self {
            dtls,
            place,
            random,
            state,
            has_returned: false,
            is_established: false,
            heard_ms: now_ms,
            due_ms: None,
        }
    }

    /// It said who it is.
    pub(super) fn claim(&mut self, identity: String, bytes: &[u8]) {
        self.state = State::Claimed { identity, held: vec![bytes.to_vec()] };
    }

    /// A datagram waits.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        if let State::Claimed { held, .. } = &mut self.state
            && held.len() < HELD_MAX
        {
            held.push(bytes.to_vec());
        }
    }

    /// Its key was looked up. Returns what waited for that.
    pub(super) fn answered(&mut self, key: Option<String>) -> Vec<Vec<u8>> {
        let State::Claimed { identity, held } = &mut self.state else { return Vec::new() };
        let (identity, held) = (std::mem::take(identity), std::mem::take(held));
        self.state = State::Known { identity, key };
        held
    }

    /// Identity and key for the handshake.
    pub(super) fn offered(&self) -> Option<(String, String)> {
        match &self.state {
            State::Known { identity, key: Some(key) } if !self.is_established => {
                Some((identity.clone(), key.clone()))
            }
            State::Known { .. } | State::Claimed { .. } | State::Unknown => None,
        }
    }

    /// Who it says to be.
    pub(super) fn identity(&self) -> Option<&str> {
        match &self.state {
            State::Unknown => None,
            State::Claimed { identity, .. } | State::Known { identity, .. } => Some(identity),
        }
    }

    pub(super) fn drain(&mut self) -> Drained {
        let mut drained = Drained::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => drained.packets.push(bytes.to_vec()),
                Output::ApplicationData(bytes) => drained.said.push(bytes.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Connected => drained.is_connected = true,
                Output::CloseNotify => drained.is_over = true,
                Output::PeerCert(_) | Output::KeyingMaterial(..) => {}
                Output::Timeout(at) => {
                    drained.wake = Some(at);
                    self.has_returned |= drained.packets.iter().any(|packet| !record::is_cookie(packet));
                    return drained;
                }
                // The list of outputs is open.
                _ => {}
            }
        }
    }
}
