//! What the MQTT broker keeps: sessions, their subscriptions and unacknowledged messages, and retained messages.
//! Written in batches of the broker's making, read once when it starts.

pub(crate) mod nodes;
pub(crate) mod retained;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use motehub_domain::kept::{Batch, EntryNote, Message, Passed, Recalled, RecalledSession, Subscription};
use rows::{
    entry_of, entry_values, number, passed_of, passed_values, retained_of, retained_values, session_of,
    session_values, subscription_of, word,
};

use crate::engine::row::{Columns, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError, note};

/// So many rows are read at once.
const PAGE_ROWS: i64 = 5_000;
/// The note of when the broker was last alive.
const ALIVE: &str = "mqtt.alive";

sql! {
    WRITE_SESSION = "insert into mqtt_sessions (serial, device, token, client_id, expiry_ms, ends_at, will_topic,
            will_payload, will_properties, will_qos, will_retain, will_delay_ms, will_expiry_ms, will_due_at, node)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        on conflict (serial) do update set expiry_ms = excluded.expiry_ms, ends_at = excluded.ends_at,
            will_topic = excluded.will_topic, will_payload = excluded.will_payload,
            will_properties = excluded.will_properties, will_qos = excluded.will_qos,
            will_retain = excluded.will_retain, will_delay_ms = excluded.will_delay_ms,
            will_expiry_ms = excluded.will_expiry_ms, will_due_at = excluded.will_due_at";
    DELETE_SESSION = "delete from mqtt_sessions where serial = $1";
    DELETE_SUBSCRIPTIONS = "delete from mqtt_subscriptions where session = $1";
    DELETE_ENTRIES = "delete from mqtt_entries where session = $1";
    DELETE_ALL_RECEIVED = "delete from mqtt_received where session = $1";
    WRITE_SUBSCRIPTION = "insert into mqtt_subscriptions
            (session, filter, qos, no_local, retain_as_published, id) values ($1, $2, $3, $4, $5, $6)
        on conflict (session, filter) do update set qos = excluded.qos, no_local = excluded.no_local,
            retain_as_published = excluded.retain_as_published, id = excluded.id";
    DELETE_SUBSCRIPTION = "delete from mqtt_subscriptions where session = $1 and filter = $2";
    WRITE_ENTRY = "insert into mqtt_entries (session, number, topic, payload, properties, published_qos, qos,
            retain, ids, expires_at, progress) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (session, number) do update set topic = excluded.topic, payload = excluded.payload,
            properties = excluded.properties, published_qos = excluded.published_qos, qos = excluded.qos,
            retain = excluded.retain, ids = excluded.ids, expires_at = excluded.expires_at,
            progress = excluded.progress";
    ADVANCE_ENTRY = "update mqtt_entries set progress = $3 where session = $1 and number = $2";
    DELETE_ENTRY = "delete from mqtt_entries where session = $1 and number = $2";
    WRITE_RECEIVED = "insert into mqtt_received (session, packet_id) values ($1, $2)
        on conflict (session, packet_id) do nothing";
    DELETE_RECEIVED = "delete from mqtt_received where session = $1 and packet_id = $2";
    WRITE_RETAINED = "insert into mqtt_retained (topic, payload, properties, qos, expires_at, stamp)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (topic) do update set payload = excluded.payload, properties = excluded.properties,
            qos = excluded.qos, expires_at = excluded.expires_at, stamp = excluded.stamp
            where excluded.stamp >= mqtt_retained.stamp";
    DELETE_RETAINED = "delete from mqtt_retained where topic = $1";
    WRITE_PASSED = "insert into mqtt_passed (session, topic, payload, properties, published_qos, qos, retain, ids,
            expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    DELETE_PASSED = "delete from mqtt_passed where id = $1";
    DELETE_PASSED_TO = "delete from mqtt_passed where session = $1";
    PASSED = "select id, session, topic, payload, properties, published_qos, qos, retain, ids, expires_at
        from mqtt_passed where id > $1 order by id limit $2";
    SESSIONS = "select serial, device, token, client_id, expiry_ms, ends_at, will_topic, will_payload,
            will_properties, will_qos, will_retain, will_delay_ms, will_expiry_ms, will_due_at
        from mqtt_sessions where serial > $1 order by serial limit $2";
    SUBSCRIPTIONS = "select session, filter, qos, no_local, retain_as_published, id
        from mqtt_subscriptions where (session, filter) > ($1, $2) order by session, filter limit $3";
    ENTRIES = "select session, number, topic, payload, properties, published_qos, qos, retain, ids, expires_at,
            progress
        from mqtt_entries where (session, number) > ($1, $2) order by session, number limit $3";
    RECEIVED = "select session, packet_id from mqtt_received where (session, packet_id) > ($1, $2)
        order by session, packet_id limit $3";
    RETAINED = "select topic, payload, properties, qos, expires_at, stamp from mqtt_retained
        where topic > $1 order by topic limit $2";
}

impl Store {
    /// Keeps a batch of the broker's memory, all of it or nothing.
    ///
    /// # Errors
    /// If it cannot be written; it may be tried again then.
    pub async fn keep(&self, batch: &Batch) -> Result<(), StoreError> {
        self.engine().write_freely(alone(batch)).await.map(drop)
    }

    /// Everything that was kept.
    ///
    /// # Errors
    /// If the database cannot be read or is damaged.
    pub async fn recall(&self) -> Result<Recalled, StoreError> {
        let mut sessions = self.kept_sessions().await?;
        let mut place = (0, String::new());
        loop {
            let values = [place.0.into(), place.1.clone().into(), PAGE_ROWS.into()];
            let rows = self.engine().read(SUBSCRIPTIONS, values).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                let (serial, filter, subscription) = subscription_of(row)?;
                if let Some(session) = sessions.get_mut(&serial) {
                    session.subscriptions.push((filter.as_str().into(), subscription));
                }
                place = (number(serial), filter);
            }
            if is_last {
                break;
            }
        }
        self.read_entries(&mut sessions).await?;
        self.read_received(&mut sessions).await?;
        let retained = self.kept_messages().await?;
        let alive_at = self.note(ALIVE).await?.and_then(|body| String::from_utf8(body).ok()?.parse().ok());
        let passed = self.all_passed().await?;
        Ok(Recalled { sessions: sessions.into_values().collect(), retained, passed, alive_at })
    }

    /// What nodes had passed to each other, if this hub had several before.
    async fn all_passed(&self) -> Result<Vec<(u64, Passed)>, StoreError> {
        let mut all: Vec<(u64, Passed)> = Vec::new();
        loop {
            let last = all.last().map_or(0, |(id, _)| number(*id));
            let rows = self.engine().read(PASSED, [last.into(), PAGE_ROWS.into()]).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                all.push(passed_of(row)?);
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn kept_sessions(&self) -> Result<BTreeMap<u64, RecalledSession>, StoreError> {
        let mut sessions = BTreeMap::new();
        let mut last = -1;
        loop {
            let rows = self.engine().read(SESSIONS, [last.into(), PAGE_ROWS.into()]).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                let session = session_of(row)?;
                last = number(session.serial);
                let recalled = RecalledSession {
                    session,
                    subscriptions: Vec::new(),
                    entries: Vec::new(),
                    received: Vec::new(),
                };
                sessions.insert(recalled.session.serial, recalled);
            }
            if is_last {
                return Ok(sessions);
            }
        }
    }

    async fn read_entries(&self, sessions: &mut BTreeMap<u64, RecalledSession>) -> Result<(), StoreError> {
        let mut place = (0, -1);
        loop {
            let values = [place.0.into(), place.1.into(), PAGE_ROWS.into()];
            let rows = self.engine().read(ENTRIES, values).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                let (serial, at, entry) = entry_of(row)?;
                place = (number(serial), number(at));
                if let Some(session) = sessions.get_mut(&serial) {
                    session.entries.push((at, entry));
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn read_received(&self, sessions: &mut BTreeMap<u64, RecalledSession>) -> Result<(), StoreError> {
        let mut place = (0, -1);
        loop {
            let values = [place.0.into(), place.1.into(), PAGE_ROWS.into()];
            let rows = self.engine().read(RECEIVED, values).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                let mut columns = Columns::of("mqtt_received", row);
                place = (columns.integer()?, columns.integer()?);
                if let Some(session) = sessions.get_mut(&place.0.unsigned_abs()) {
                    session.received.extend(u16::try_from(place.1));
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn kept_messages(&self) -> Result<Vec<(u64, Arc<Message>)>, StoreError> {
        let mut messages: Vec<(u64, Arc<Message>)> = Vec::new();
        let mut last = String::new();
        loop {
            let rows = self.engine().read(RETAINED, [Value::from(&last), PAGE_ROWS.into()]).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                let (stamp, message) = retained_of(row)?;
                last = message.topic.to_string();
                if !message.payload.is_empty() {
                    messages.push((stamp, Arc::new(message)));
                }
            }
            if is_last {
                return Ok(messages);
            }
        }
    }
}

/// Of a hub that is alone: what is no longer retained leaves nothing behind.
fn alone(batch: &Batch) -> Transaction {
    let mut many = contents(batch, None);
    for topic in batch.retained.iter().filter(|(_, of)| of.message.is_none()).map(|(topic, _)| topic) {
        many.push(DELETE_RETAINED, [Value::from(&**topic)]);
    }
    let mut transaction = many.into_transaction();
    if let Some(at) = batch.alive_at {
        transaction.push(note::write(ALIVE, Some(at.to_string().as_bytes())));
    }
    transaction
}

/// All of a batch but when it was, and what is no longer retained; new sessions are of a node.
fn contents(batch: &Batch, node: Option<&str>) -> Many {
    let mut many = Many::default();
    for (serial, session) in &batch.sessions {
        match session {
            Some(session) => many.push(WRITE_SESSION, session_values(session, node)),
            None => {
                let all = [
                    DELETE_SESSION,
                    DELETE_SUBSCRIPTIONS,
                    DELETE_ENTRIES,
                    DELETE_ALL_RECEIVED,
                    DELETE_PASSED_TO,
                ];
                all.into_iter().for_each(|sql| many.push(sql, [number(*serial).into()]));
            }
        }
    }
    for ((serial, filter), subscription) in &batch.subscriptions {
        let serial = Value::from(number(*serial));
        let filter = Value::from(&**filter);
        match subscription {
            Some(Subscription { qos, no_local, retain_as_published, id }) => many.push(
                WRITE_SUBSCRIPTION,
                [
                    serial,
                    filter,
                    i64::from(*qos).into(),
                    (*no_local).into(),
                    (*retain_as_published).into(),
                    id.map(i64::from).into(),
                ],
            ),
            None => many.push(DELETE_SUBSCRIPTION, [serial, filter]),
        }
    }
    for ((serial, at), note) in &batch.entries {
        let (serial, at) = (number(*serial).into(), number(*at).into());
        match note {
            EntryNote::Put(entry) => many.push(WRITE_ENTRY, entry_values(serial, at, entry)),
            EntryNote::Progress(progress) => many.push(ADVANCE_ENTRY, [serial, at, word(*progress).into()]),
            EntryNote::Done => many.push(DELETE_ENTRY, [serial, at]),
        }
    }
    for ((serial, packet_id), is_there) in &batch.received {
        let sql = if *is_there { WRITE_RECEIVED } else { DELETE_RECEIVED };
        many.push(sql, [number(*serial).into(), i64::from(*packet_id).into()]);
    }
    for (topic, retained) in &batch.retained {
        if let Some(message) = &retained.message {
            many.push(WRITE_RETAINED, retained_values(topic, retained.stamp, Some(message)));
        }
    }
    for passed in &batch.passed {
        many.push(WRITE_PASSED, passed_values(passed));
    }
    for id in batch.taken.keys() {
        many.push(DELETE_PASSED, [number(*id).into()]);
    }
    many
}

/// Runs of few statements, put together by statement. Within a batch the order does not matter.
#[derive(Default)]
struct Many(Vec<(&'static str, usize, Vec<Value>)>);

impl Many {
    fn push<const WIDTH: usize>(&mut self, sql: &'static str, values: [Value; WIDTH]) {
        match self.0.iter_mut().find(|(of, ..)| *of == sql) {
            Some((_, _, all)) => all.extend(values),
            None => self.0.push((sql, WIDTH, values.into())),
        }
    }

    fn into_transaction(self) -> Transaction {
        let statements = self.0.into_iter().map(|(sql, width, values)| Statement::many(sql, width, values));
        statements.collect::<Vec<_>>().into()
    }
}
