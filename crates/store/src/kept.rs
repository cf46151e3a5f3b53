//! What the MQTT broker keeps: sessions, their subscriptions and unacknowledged messages, and retained messages.
//! Written in batches of the broker's making, read once when it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use motehub_domain::kept::{
    Batch, Entry, EntryNote, Message, Principal, Progress, Recalled, RecalledSession, Session, Subscription,
    Will,
};

use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError, note};

/// So many rows are read at once.
const PAGE_ROWS: i64 = 5_000;
/// The note of when the broker was last alive.
const ALIVE: &str = "mqtt.alive";

sql! {
    WRITE_SESSION = "insert into mqtt_sessions (serial, device, token, client_id, expiry_ms, ends_at, will_topic,
            will_payload, will_properties, will_qos, will_retain, will_delay_ms, will_expiry_ms, will_due_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
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
    WRITE_RETAINED = "insert into mqtt_retained (topic, payload, properties, qos, expires_at)
        values ($1, $2, $3, $4, $5)
        on conflict (topic) do update set payload = excluded.payload, properties = excluded.properties,
            qos = excluded.qos, expires_at = excluded.expires_at";
    DELETE_RETAINED = "delete from mqtt_retained where topic = $1";
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
    RETAINED = "select topic, payload, properties, qos, expires_at from mqtt_retained
        where topic > $1 order by topic limit $2";
}

impl Store {
    /// Keeps a batch of the broker's memory, all of it or nothing.
    ///
    /// # Errors
    /// If it cannot be written; it may be tried again then.
    pub async fn keep(&self, batch: &Batch) -> Result<(), StoreError> {
        self.engine().write_freely(transaction(batch)).await.map(drop)
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
        Ok(Recalled { sessions: sessions.into_values().collect(), retained, alive_at })
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

    async fn kept_messages(&self) -> Result<Vec<Arc<Message>>, StoreError> {
        let mut messages: Vec<Arc<Message>> = Vec::new();
        loop {
            let last = messages.last().map(|message| message.topic.to_string()).unwrap_or_default();
            let rows = self.engine().read(RETAINED, [last.into(), PAGE_ROWS.into()]).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            for row in rows {
                let mut columns = Columns::of("mqtt_retained", row);
                messages.push(Arc::new(Message {
                    topic: columns.text()?.into(),
                    payload: columns.bytes()?.into(),
                    properties: columns.bytes()?.into(),
                    qos: small(&mut columns)?,
                    retain: true,
                    expires_at: moment(&mut columns)?,
                }));
            }
            if is_last {
                return Ok(messages);
            }
        }
    }
}

fn transaction(batch: &Batch) -> Transaction {
    let mut many = Many::default();
    for (serial, session) in &batch.sessions {
        match session {
            Some(session) => many.push(WRITE_SESSION, session_values(session)),
            None => {
                let all = [DELETE_SESSION, DELETE_SUBSCRIPTIONS, DELETE_ENTRIES, DELETE_ALL_RECEIVED];
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
    for (topic, message) in &batch.retained {
        match message {
            Some(message) => many.push(
                WRITE_RETAINED,
                [
                    Value::from(&**topic),
                    message.payload.to_vec().into(),
                    message.properties.to_vec().into(),
                    i64::from(message.qos).into(),
                    message.expires_at.map(number).into(),
                ],
            ),
            None => many.push(DELETE_RETAINED, [Value::from(&**topic)]),
        }
    }
    let mut transaction = many.into_transaction();
    if let Some(at) = batch.alive_at {
        transaction.push(note::write(ALIVE, Some(at.to_string().as_bytes())));
    }
    transaction
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

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn session_values(session: &Session) -> [Value; 14] {
    let (device, token) = match &session.principal {
        Principal::Device(device) => (Value::id(device), Value::Null),
        Principal::Token(token) => (Value::Null, Value::id(token)),
        Principal::Anonymous => (Value::Null, Value::Null),
    };
    let will = session.will.as_ref();
    [
        number(session.serial).into(),
        device,
        token,
        Value::from(&*session.client_id),
        number(session.expiry_ms).into(),
        session.ends_at.map(number).into(),
        will.map(|will| will.message.topic.to_string()).into(),
        will.map(|will| will.message.payload.to_vec()).into(),
        will.map(|will| will.message.properties.to_vec()).into(),
        will.map(|will| i64::from(will.message.qos)).into(),
        will.map(|will| will.message.retain).into(),
        will.map(|will| number(will.delay_ms)).into(),
        will.and_then(|will| will.expiry_ms).map(number).into(),
        will.and_then(|will| will.due_at).map(number).into(),
    ]
}

fn entry_values(serial: Value, at: Value, entry: &Entry) -> [Value; 11] {
    let ids: Vec<String> = entry.ids.iter().map(u32::to_string).collect();
    [
        serial,
        at,
        Value::from(&*entry.message.topic),
        entry.message.payload.to_vec().into(),
        entry.message.properties.to_vec().into(),
        i64::from(entry.message.qos).into(),
        i64::from(entry.qos).into(),
        entry.retain.into(),
        ids.join(" ").into(),
        entry.message.expires_at.map(number).into(),
        word(entry.progress).into(),
    ]
}

fn word(progress: Progress) -> i64 {
    match progress {
        Progress::Waiting => 0,
        Progress::Sent => 1,
        Progress::Released => 2,
    }
}

fn small(columns: &mut Columns) -> Result<u8, StoreError> {
    u8::try_from(columns.integer()?).map_err(|_| StoreError::damaged("what the MQTT broker keeps"))
}

fn moment(columns: &mut Columns) -> Result<Option<u64>, StoreError> {
    Ok(columns.maybe_integer()?.map(i64::unsigned_abs))
}

fn session_of(row: Row) -> Result<Session, StoreError> {
    let mut columns = Columns::of("mqtt_sessions", row);
    let serial = columns.integer()?.unsigned_abs();
    let principal = match (columns.maybe_parsed()?, columns.maybe_parsed()?) {
        (Some(device), _) => Principal::Device(device),
        (None, Some(token)) => Principal::Token(token),
        (None, None) => Principal::Anonymous,
    };
    let client_id = columns.text()?.into();
    let expiry_ms = columns.integer()?.unsigned_abs();
    let ends_at = moment(&mut columns)?;
    let will = match columns.maybe_text()? {
        None => None,
        Some(topic) => {
            let (payload, properties) = (columns.bytes()?.into(), columns.bytes()?.into());
            let (qos, retain) = (small(&mut columns)?, columns.boolean()?);
            let topic = topic.into();
            Some(Will {
                message: Arc::new(Message { topic, payload, qos, retain, properties, expires_at: None }),
                delay_ms: columns.integer()?.unsigned_abs(),
                expiry_ms: moment(&mut columns)?,
                due_at: moment(&mut columns)?,
            })
        }
    };
    Ok(Session { serial, principal, client_id, expiry_ms, ends_at, will })
}

fn subscription_of(row: Row) -> Result<(u64, String, Subscription), StoreError> {
    let mut columns = Columns::of("mqtt_subscriptions", row);
    let (serial, filter) = (columns.integer()?.unsigned_abs(), columns.text()?);
    let (qos, no_local, retain_as_published) = (small(&mut columns)?, columns.boolean()?, columns.boolean()?);
    let id = columns.maybe_integer()?.and_then(|id| u32::try_from(id).ok());
    Ok((serial, filter, Subscription { qos, no_local, retain_as_published, id }))
}

fn entry_of(row: Row) -> Result<(u64, u64, Entry), StoreError> {
    let mut columns = Columns::of("mqtt_entries", row);
    let (serial, at) = (columns.integer()?.unsigned_abs(), columns.integer()?.unsigned_abs());
    let (topic, payload) = (columns.text()?.into(), columns.bytes()?.into());
    let (properties, published_qos) = (columns.bytes()?.into(), small(&mut columns)?);
    let (qos, retain) = (small(&mut columns)?, columns.boolean()?);
    let ids = columns.text()?.split(' ').filter_map(|id| id.parse().ok()).collect();
    let expires_at = moment(&mut columns)?;
    let progress = match columns.integer()? {
        0 => Progress::Waiting,
        1 => Progress::Sent,
        _ => Progress::Released,
    };
    let message = Message { topic, payload, qos: published_qos, retain, properties, expires_at };
    Ok((serial, at, Entry { message: Arc::new(message), qos, retain, ids, progress }))
}
