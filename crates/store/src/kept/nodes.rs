//! What the brokers of several nodes keep in one store: whose a session is, what is passed from node to node, and the
//! fence that keeps a node from writing about sessions that others have taken from it.
//!
//! Every batch of a node first touches the row of the node, which says how often sessions were taken from it; taking
//! some touches it too. So both are done one after the other, and a batch that does not know of the last taking fails
//! as a whole: then what was lost is left out of it, and it is given again. The row also says which batch was written
//! last, so that one whose answer was lost is not written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use motehub_domain::kept::{Batch, Elsewhere, Passed, Principal, Recalled, RecalledSession};

use super::rows::{entry_of, number, passed_of, retained_values, session_of, subscription_of};
use super::{Many, PAGE_ROWS, WRITE_RETAINED, contents};
use crate::engine::row::{Columns, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// So many sessions share a block of numbers.
const SERIALS: u64 = 1_000_000;
/// So many sessions are read at once.
const SESSIONS_MAX: i64 = 500;
/// Most passed messages that are read at once.
pub const PASSED_ROWS_MAX: usize = 1_000;

sql! {
    START = "insert into mqtt_nodes (node, lost, changes, alive_at, batch, batch_lost) values ($1, 1, 0, $2, 0, 0)
        on conflict (node) do update set lost = mqtt_nodes.lost + 1, batch = 0 returning lost, alive_at";
    OWN_ALL = "update mqtt_sessions set node = $1 where node is null";
    GUARD = "update mqtt_nodes set changes = changes + $3, alive_at = $4, batch = $5, batch_lost = lost
        where node = $1 and lost = $2 and batch < $5";
    FENCE = "select lost, batch, batch_lost from mqtt_nodes where node = $1";
    LOSE = "update mqtt_nodes set lost = lost + 1 where node = $1";
    TAKE = "update mqtt_sessions set node = $3 where serial = $1 and node = $2";
    TAKE_ALL = "update mqtt_sessions set node = $2 where node = $1 returning serial";
    HAND = "update mqtt_sessions set node = $2 where serial = $1";
    OTHERS = "select serial from mqtt_sessions where serial >= $1 and serial <= $2 and node <> $3";
    FIND = "select serial, device, token, node from mqtt_sessions where client_id = $1 order by serial desc";
    BLOCK = "insert into mqtt_serials (node) values ($1) returning block";
    NEWEST = "select max(serial) from mqtt_sessions";
    OWNERS = "select distinct node from mqtt_sessions where node is not null order by node";
    NODES = "select node, changes, alive_at from mqtt_nodes";
    ALIVE = "select alive_at from mqtt_nodes where node = $1";
    SESSIONS = "select serial, device, token, client_id, expiry_ms, ends_at, will_topic, will_payload,
            will_properties, will_qos, will_retain, will_delay_ms, will_expiry_ms, will_due_at
        from mqtt_sessions where node = $1 and serial >= $2 and serial <= $3 order by serial limit $4";
    SUBSCRIPTIONS = "select m.session, m.filter, m.qos, m.no_local, m.retain_as_published, m.id
        from mqtt_subscriptions m join mqtt_sessions s on s.serial = m.session
        where s.node = $1 and m.session >= $2 and m.session <= $3 order by m.session, m.filter";
    ENTRIES = "select m.session, m.number, m.topic, m.payload, m.properties, m.published_qos, m.qos, m.retain,
            m.ids, m.expires_at, m.progress
        from mqtt_entries m join mqtt_sessions s on s.serial = m.session
        where s.node = $1 and m.session >= $2 and m.session <= $3 order by m.session, m.number";
    RECEIVED = "select m.session, m.packet_id
        from mqtt_received m join mqtt_sessions s on s.serial = m.session
        where s.node = $1 and m.session >= $2 and m.session <= $3 order by m.session, m.packet_id";
    PASSED_RANGE = "select m.id, m.session, m.topic, m.payload, m.properties, m.published_qos, m.qos,
            m.retain, m.ids, m.expires_at
        from mqtt_passed m join mqtt_sessions s on s.serial = m.session
        where s.node = $1 and m.session >= $2 and m.session <= $3 order by m.id";
    PASSED_TO = "select m.id, m.session, m.topic, m.payload, m.properties, m.published_qos, m.qos,
            m.retain, m.ids, m.expires_at
        from mqtt_passed m join mqtt_sessions s on s.serial = m.session
        where s.node = $1 order by m.id limit $2";
    ORPHANS = "delete from mqtt_passed where session not in (select serial from mqtt_sessions)";
    ALL_SESSIONS = "select serial, node, ends_at from mqtt_sessions
        where serial > $1 order by serial limit $2";
    ALL_SUBSCRIPTIONS = "select session, filter, qos, no_local, retain_as_published, id
        from mqtt_subscriptions where session >= $1 and session <= $2 order by session, filter";
    OLD_RETAINED = "delete from mqtt_retained where stamp < $1 and length(payload) = 0";
}

/// Sessions that another node had, or that a node has again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moved {
    /// With their contents.
    pub sessions: Vec<RecalledSession>,
    /// What was passed to them, in order.
    pub passed: Vec<(u64, Passed)>,
}

/// What keeps a node from writing about sessions that others have taken, and from writing twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// How often sessions were taken from the node.
    pub fence: i64,
    /// The last batch that it wrote in this life.
    pub batch: u64,
    /// What the fence was then.
    pub batch_fence: i64,
}

/// A node that has, or had, sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNode {
    /// Its name.
    pub node: String,
    /// How often what others have to know of its sessions has changed.
    pub changes: i64,
    /// When its broker last wrote, in milliseconds since 1970.
    pub alive_at: u64,
}

impl Store {
    /// A node starts: the fence for its batches, when its former life was last heard of, and what it has. Sessions of
    /// nobody are its own from now on.
    ///
    /// # Errors
    /// If the database cannot be written or read.
    pub async fn broker_starts(&self, node: &str, now: u64) -> Result<(i64, Recalled), StoreError> {
        let mut transaction = Transaction::default();
        transaction.push(Statement::new(START, [Value::from(node), number(now).into()]));
        transaction.push(Statement::new(OWN_ALL, [Value::from(node)]));
        let rows = self.engine().write_freely(transaction).await?;
        let mut columns = Columns::of("mqtt_nodes", rows.into_iter().next().unwrap_or_default());
        let (fence, alive_at) = (columns.integer()?, columns.integer()?.unsigned_abs());
        let Moved { sessions, passed } = self.moved(node, 0..=u64::MAX).await?;
        let retained = self.kept_messages().await?;
        Ok((fence, Recalled { sessions, retained, passed, alive_at: Some(alive_at) }))
    }

    /// Keeps a batch of a node's broker, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if other nodes have taken sessions from it since the fence was read, or if it was
    /// written before; else if it cannot be written. It may be tried again then.
    pub async fn keep_as(&self, node: &str, fence: i64, now: u64, batch: &Batch) -> Result<(), StoreError> {
        let mut transaction = Transaction::default();
        let changes =
            batch.sessions.values().filter(|session| session.is_none()).count() + batch.subscriptions.len();
        let at = batch.alive_at.unwrap_or(now);
        let guard =
            [Value::from(node), fence.into(), changes.into(), number(at).into(), number(batch.number).into()];
        transaction.push(Statement::new(GUARD, guard).guards("the sessions of this node"));
        let mut many = contents(batch, Some(node));
        for (topic, retained) in batch.retained.iter().filter(|(_, retained)| retained.message.is_none()) {
            many.push(WRITE_RETAINED, retained_values(topic, retained.stamp, None));
        }
        for (serial, to) in &batch.handed {
            many.push(HAND, [number(*serial).into(), Value::from(&**to)]);
        }
        transaction.statements.extend(many.into_transaction().statements);
        self.engine().write_freely(transaction).await.map(drop)
    }

    /// The fence of a node now, and what it wrote last.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn broker_fence(&self, node: &str) -> Result<Fence, StoreError> {
        let row = self.engine().read_one(FENCE, [Value::from(node)]).await?;
        let row = row.ok_or_else(|| StoreError::damaged("the row of this node in mqtt_nodes"))?;
        let mut columns = Columns::of("mqtt_nodes", row);
        let (fence, batch) = (columns.integer()?, columns.integer()?.unsigned_abs());
        Ok(Fence { fence, batch, batch_fence: columns.integer()? })
    }

    /// Which of these sessions other nodes have. A node that reads a new fence has to look for all of its sessions.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn sessions_lost(
        &self,
        node: &str,
        serials: &BTreeSet<u64>,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let (Some(first), Some(last)) = (serials.first(), serials.last()) else {
            return Ok(BTreeSet::new());
        };
        let values = [number(*first).into(), number(*last).into(), Value::from(node)];
        let rows = self.engine().read(OTHERS, values).await?;
        let others =
            rows.into_iter().map(|row| Ok(Columns::of("mqtt_sessions", row).integer()?.unsigned_abs()));
        let others: BTreeSet<u64> = others.collect::<Result<_, StoreError>>()?;
        Ok(others.intersection(serials).copied().collect())
    }

    /// The session of a client: its number, and the node that has it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find_session(
        &self,
        principal: &Principal,
        client_id: &str,
    ) -> Result<Option<(u64, Option<String>)>, StoreError> {
        for row in self.engine().read(FIND, [Value::from(client_id)]).await? {
            let mut columns = Columns::of("mqtt_sessions", row);
            let serial = columns.integer()?.unsigned_abs();
            let found = match (columns.maybe_parsed()?, columns.maybe_parsed()?) {
                (Some(device), _) => Principal::Device(device),
                (None, Some(token)) => Principal::Token(token),
                (None, None) => Principal::Anonymous,
            };
            if found == *principal {
                return Ok(Some((serial, columns.maybe_text()?)));
            }
        }
        Ok(None)
    }

    /// Takes a session from a node that does not give it. False if that node does not have it any more.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn take_session(&self, serial: u64, from: &str, to: &str) -> Result<bool, StoreError> {
        let mut transaction = Transaction::default();
        transaction.push(Statement::new(LOSE, [Value::from(from)]));
        let take = [number(serial).into(), Value::from(from), Value::from(to)];
        transaction.push(Statement::new(TAKE, take).guards("the session"));
        match self.engine().write_freely(transaction).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes all sessions of a node that is gone; gives their numbers in order, and when the node was last heard of.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn take_sessions(&self, from: &str, to: &str) -> Result<(BTreeSet<u64>, u64), StoreError> {
        let row = self.engine().read_one(ALIVE, [Value::from(from)]).await?;
        let Some(row) = row else { return Ok((BTreeSet::new(), 0)) };
        let alive_at = Columns::of("mqtt_nodes", row).integer()?.unsigned_abs();
        let mut transaction = Transaction::default();
        transaction.push(Statement::new(LOSE, [Value::from(from)]));
        transaction.push(Statement::new(TAKE_ALL, [Value::from(from), Value::from(to)]));
        let rows = self.engine().write_freely(transaction).await?;
        let serials =
            rows.into_iter().map(|row| Ok(Columns::of("mqtt_sessions", row).integer()?.unsigned_abs()));
        Ok((serials.collect::<Result<_, StoreError>>()?, alive_at))
    }

    /// The sessions of a node that have these numbers, and what was passed to them.
    ///
    /// # Errors
    /// If the database cannot be read or is damaged.
    pub async fn moved(&self, node: &str, serials: RangeInclusive<u64>) -> Result<Moved, StoreError> {
        let mut all = Moved::default();
        let (mut first, last) = (number(*serials.start()), number(*serials.end()));
        loop {
            let values = [Value::from(node), first.into(), last.into(), SESSIONS_MAX.into()];
            let rows = self.engine().read(SESSIONS, values).await?;
            let mut sessions: BTreeMap<u64, RecalledSession> = BTreeMap::new();
            let is_last = rows.len() < SESSIONS_MAX as usize;
            for row in rows {
                let session = session_of(row)?;
                let (subscriptions, entries, received) = (Vec::new(), Vec::new(), Vec::new());
                sessions
                    .insert(session.serial, RecalledSession { session, subscriptions, entries, received });
            }
            let Some(end) = sessions.keys().next_back().map(|serial| number(*serial)) else { return Ok(all) };
            let within = || [Value::from(node), first.into(), end.into()];
            for row in self.engine().read(SUBSCRIPTIONS, within()).await? {
                let (serial, filter, subscription) = subscription_of(row)?;
                if let Some(session) = sessions.get_mut(&serial) {
                    session.subscriptions.push((filter.as_str().into(), subscription));
                }
            }
            for row in self.engine().read(ENTRIES, within()).await? {
                let (serial, at, entry) = entry_of(row)?;
                if let Some(session) = sessions.get_mut(&serial) {
                    session.entries.push((at, entry));
                }
            }
            for row in self.engine().read(RECEIVED, within()).await? {
                let mut columns = Columns::of("mqtt_received", row);
                let (serial, packet_id) = (columns.integer()?.unsigned_abs(), columns.integer()?);
                if let Some(session) = sessions.get_mut(&serial) {
                    session.received.extend(u16::try_from(packet_id));
                }
            }
            for row in self.engine().read(PASSED_RANGE, within()).await? {
                all.passed.push(passed_of(row)?);
            }
            all.sessions.extend(sessions.into_values());
            if is_last {
                return Ok(all);
            }
            first = end + 1;
        }
    }

    /// What was passed to the sessions of a node, the oldest first; at most [`PASSED_ROWS_MAX`].
    ///
    /// # Errors
    /// If the database cannot be read or is damaged.
    pub async fn passed_to(&self, node: &str) -> Result<Vec<(u64, Passed)>, StoreError> {
        let rows = self.engine().read(PASSED_TO, [Value::from(node), PASSED_ROWS_MAX.into()]).await?;
        rows.into_iter().map(passed_of).collect()
    }

    /// All kept sessions, of whichever node, with their subscriptions.
    ///
    /// # Errors
    /// If the database cannot be read or is damaged.
    pub async fn sessions_of_all(&self) -> Result<Vec<Elsewhere>, StoreError> {
        let mut all: Vec<Elsewhere> = Vec::new();
        loop {
            let last = all.last().map_or(-1, |session| number(session.serial));
            let rows = self.engine().read(ALL_SESSIONS, [last.into(), PAGE_ROWS.into()]).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            let mut page = BTreeMap::new();
            for row in rows {
                let mut columns = Columns::of("mqtt_sessions", row);
                let serial = columns.integer()?.unsigned_abs();
                let node = columns.maybe_text()?.map(Into::into);
                let is_connected = columns.maybe_integer()?.is_none();
                page.insert(serial, Elsewhere { serial, node, is_connected, subscriptions: Vec::new() });
            }
            let (Some(first), Some(end)) = (page.keys().next().copied(), page.keys().next_back().copied())
            else {
                return Ok(all);
            };
            let within = [number(first).into(), number(end).into()];
            for row in self.engine().read(ALL_SUBSCRIPTIONS, within).await? {
                let (serial, filter, subscription) = subscription_of(row)?;
                if let Some(session) = page.get_mut(&serial) {
                    session.subscriptions.push((filter.as_str().into(), subscription));
                }
            }
            all.extend(page.into_values());
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Numbers for new sessions that nobody else has or had.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn session_serials(&self, node: &str) -> Result<Range<u64>, StoreError> {
        let newest = self.engine().read_one(NEWEST, []).await?;
        let newest =
            newest.map(|row| Columns::of("mqtt_sessions", row).maybe_integer()).transpose()?.flatten();
        loop {
            let block = vec![Statement::new(BLOCK, [Value::from(node)])];
            let rows = self.engine().write_freely(block.into()).await?;
            let row = rows.into_iter().next().unwrap_or_default();
            let start = Columns::of("mqtt_serials", row).integer()?.unsigned_abs() * SERIALS;
            // A hub that was alone gave numbers without asking.
            if newest.is_none_or(|newest| start > newest.unsigned_abs()) {
                return Ok(start..start + SERIALS);
            }
        }
    }

    /// The nodes that have sessions.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn session_owners(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.engine().read(OWNERS, []).await?;
        rows.into_iter().map(|row| Columns::of("mqtt_sessions", row).text()).collect()
    }

    /// The nodes that have, or had, sessions.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn broker_nodes(&self) -> Result<Vec<BrokerNode>, StoreError> {
        let rows = self.engine().read(NODES, []).await?;
        let nodes = rows.into_iter().map(|row| {
            let mut columns = Columns::of("mqtt_nodes", row);
            let (node, changes) = (columns.text()?, columns.integer()?);
            Ok(BrokerNode { node, changes, alive_at: columns.integer()?.unsigned_abs() })
        });
        nodes.collect()
    }

    /// Removes what nobody needs any more: what was passed to sessions that have ended, and that topics whose stamps
    /// are below this one have no retained message.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn tidy_brokers(&self, before: u64) -> Result<(), StoreError> {
        let mut many = Many::default();
        many.push(OLD_RETAINED, [number(before).into()]);
        let mut transaction = many.into_transaction();
        transaction.push(Statement::new(ORPHANS, []));
        self.engine().write_freely(transaction).await.map(drop)
    }
}
