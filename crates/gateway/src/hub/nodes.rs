//! What the broker wants of a hub of several nodes (ADR 0025): words for the other brokers, and whose a session is.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use motehub_domain::kept::{Elsewhere, Message, Passed, Principal, RecalledSession};

use super::{Answer, UplinkError};

/// Messages that were passed to sessions, by their numbers in the store.
pub type PassedRows = Vec<(u64, Passed)>;
/// Retained messages with their stamps.
pub type RetainedRows = Vec<(u64, Arc<Message>)>;
/// Sessions with their contents, and what was passed to them.
pub type Moved = (Vec<RecalledSession>, PassedRows);
/// A session by its number, and the node that has it.
pub type Owned = (u64, Option<String>);

/// The other nodes of a hub, and what all of them keep in one store.
pub trait Nodes: Send + Sync {
    /// The name of this one.
    fn name(&self) -> &str;

    /// The names of the others that are alive.
    fn alive(&self) -> Vec<String>;

    /// Whether others can be reached at all.
    fn is_reached(&self) -> bool;

    /// Says something to the broker of a node: at most once, in order, and without waiting.
    fn say(&self, to: &str, said: Bytes);

    /// Asks a node for a session of a client that is here now; whether it has given it, so that it is ours.
    fn ask(&self, owner: String, serial: u64) -> Answer<'_, bool>;

    /// Numbers for new sessions that nobody else has.
    fn serials(&self) -> Answer<'_, Result<Range<u64>, UplinkError>>;

    /// The session of a client: its number and the node that has it.
    fn find(&self, who: Principal, client_id: Box<str>) -> Answer<'_, Result<Option<Owned>, UplinkError>>;

    /// Takes a session from a node that does not give it; false if that node does not have it any more.
    fn take(&self, serial: u64, from: String) -> Answer<'_, Result<bool, UplinkError>>;

    /// The nodes that have sessions.
    fn owners(&self) -> Answer<'_, Result<Vec<String>, UplinkError>>;

    /// Takes all sessions of a node that is gone: their numbers, and when it was last heard of, in milliseconds since
    /// 1970.
    fn take_all(&self, from: String) -> Answer<'_, Result<(BTreeSet<u64>, u64), UplinkError>>;

    /// The sessions of this node with these numbers.
    fn sessions(&self, serials: RangeInclusive<u64>) -> Answer<'_, Result<Moved, UplinkError>>;

    /// What was passed to the sessions of this node, the oldest first, and whether that is all.
    fn passed(&self) -> Answer<'_, Result<(PassedRows, bool), UplinkError>>;

    /// All kept sessions, of whichever node.
    fn elsewhere(&self) -> Answer<'_, Result<Vec<Elsewhere>, UplinkError>>;

    /// How often what there is to know of sessions has changed, on all nodes together.
    fn changes(&self) -> Answer<'_, Result<i64, UplinkError>>;

    /// Removes from the store what nobody needs any more: also that topics have no retained message, by stamps below
    /// this.
    fn tidy(&self, before: u64) -> Answer<'_, Result<(), UplinkError>>;

    /// What was retained with stamps above this one; without payload, that there is nothing any more.
    fn retained_since(&self, stamp: u64) -> Answer<'_, Result<RetainedRows, UplinkError>>;
}
