//! What a call of the broker wants done, and the names it uses for connections and uplinks.

use std::sync::Arc;

use motehub_domain::id::DeviceId;
use motehub_domain::kept::{Message, Principal};
use motehub_protocol::aws::Ask;

use super::session::Session;
use crate::hub::{Arrival, Connection, ConnectionId, Knock};

/// Most refusals told to the hub for one read of a socket; all are counted.
const REFUSALS_MAX: usize = 4;

/// A place in the table of connections, from [`Broker::opened`] until [`Broker::forget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

/// Identifies an uplink of one connection until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u64);

/// What a call wants done. The caller empties it; it may be used again.
#[derive(Debug, Default)]
pub struct Out {
    /// Connections that have something to write or are to be closed: see [`Broker::take`].
    pub ready: Vec<Slot>,
    /// Ask the hub about the connection that the call was about; then [`Broker::authenticated`].
    pub knock: Option<Knock>,
    /// For [`crate::hub::Hub::uplink`], in one batch; then [`Broker::settled`].
    pub uplinks: Vec<(Token, Arrival)>,
    /// For [`crate::hub::Hub::asked`], in this order; those with a token are settled with it.
    pub asks: Vec<(Option<Token>, Principal, Ask)>,
    /// For [`crate::hub::Hub::offer`].
    pub offers: Vec<Arrival>,
    /// For [`crate::hub::Hub::published`].
    pub tapped: Vec<Arc<Message>>,
    /// For [`crate::hub::Hub::refused`].
    pub refusals: Vec<(DeviceId, String)>,
    /// For [`crate::hub::Hub::attach`], before any `detach`; then [`Broker::attached`].
    pub attach: Option<Connection>,
    /// For [`crate::hub::Hub::listens`], after `attach`.
    pub listens: Option<DeviceId>,
    /// For [`crate::hub::Hub::detach`].
    pub detach: Vec<ConnectionId>,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Open,
    /// It is to be closed when everything is written.
    Closing,
}

impl Out {
    /// Has the hub told that a message of a device was refused.
    pub(super) fn refuse(&mut self, session: &Session, why: &str) {
        if let Some(identity) = &session.identity
            && self.refusals.len() < REFUSALS_MAX
        {
            self.refusals.push((identity.device, why.to_owned()));
        }
    }
}
