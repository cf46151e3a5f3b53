//! Rows of what the MQTT broker keeps, and what they mean.

use std::sync::Arc;

use motehub_domain::kept::{Entry, Message, Passed, Principal, Progress, Session, Subscription, Will};

use crate::StoreError;
use crate::engine::row::{Columns, Row, Value};

pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn session_values(session: &Session, node: Option<&str>) -> [Value; 15] {
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
        node.into(),
    ]
}

pub(super) fn entry_values(serial: Value, at: Value, entry: &Entry) -> [Value; 11] {
    [
        serial,
        at,
        Value::from(&*entry.message.topic),
        entry.message.payload.to_vec().into(),
        entry.message.properties.to_vec().into(),
        i64::from(entry.message.qos).into(),
        i64::from(entry.qos).into(),
        entry.retain.into(),
        ids_text(&entry.ids).into(),
        entry.message.expires_at.map(number).into(),
        word(entry.progress).into(),
    ]
}

pub(super) fn word(progress: Progress) -> i64 {
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

pub(super) fn session_of(row: Row) -> Result<Session, StoreError> {
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

pub(super) fn subscription_of(row: Row) -> Result<(u64, String, Subscription), StoreError> {
    let mut columns = Columns::of("mqtt_subscriptions", row);
    let (serial, filter) = (columns.integer()?.unsigned_abs(), columns.text()?);
    let (qos, no_local, retain_as_published) = (small(&mut columns)?, columns.boolean()?, columns.boolean()?);
    let id = columns.maybe_integer()?.and_then(|id| u32::try_from(id).ok());
    Ok((serial, filter, Subscription { qos, no_local, retain_as_published, id }))
}

pub(super) fn entry_of(row: Row) -> Result<(u64, u64, Entry), StoreError> {
    let mut columns = Columns::of("mqtt_entries", row);
    let (serial, at) = (columns.integer()?.unsigned_abs(), columns.integer()?.unsigned_abs());
    let (topic, payload) = (columns.text()?.into(), columns.bytes()?.into());
    let (properties, published_qos) = (columns.bytes()?.into(), small(&mut columns)?);
    let (qos, retain) = (small(&mut columns)?, columns.boolean()?);
    let ids = ids_of(&columns.text()?);
    let expires_at = moment(&mut columns)?;
    let progress = match columns.integer()? {
        0 => Progress::Waiting,
        1 => Progress::Sent,
        _ => Progress::Released,
    };
    let message = Message { topic, payload, qos: published_qos, retain, properties, expires_at };
    Ok((serial, at, Entry { message: Arc::new(message), qos, retain, ids, progress }))
}

fn ids_text(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn ids_of(text: &str) -> Vec<u32> {
    text.split(' ').filter_map(|id| id.parse().ok()).collect()
}

/// Without a message: that there is nothing any more.
pub(super) fn retained_values(topic: &str, stamp: u64, message: Option<&Message>) -> [Value; 6] {
    let bytes = |of: fn(&Message) -> &[u8]| Value::from(message.map(of).unwrap_or_default().to_vec());
    [
        Value::from(topic),
        bytes(|message| &message.payload),
        bytes(|message| &message.properties),
        i64::from(message.map_or(0, |message| message.qos)).into(),
        message.and_then(|message| message.expires_at).map(number).into(),
        number(stamp).into(),
    ]
}

pub(super) fn retained_of(row: Row) -> Result<(u64, Message), StoreError> {
    let mut columns = Columns::of("mqtt_retained", row);
    let message = Message {
        topic: columns.text()?.into(),
        payload: columns.bytes()?.into(),
        properties: columns.bytes()?.into(),
        qos: small(&mut columns)?,
        retain: true,
        expires_at: moment(&mut columns)?,
    };
    Ok((columns.integer()?.unsigned_abs(), message))
}

pub(super) fn passed_values(passed: &Passed) -> [Value; 9] {
    let Passed { session, message, qos, retain, ids } = passed;
    [
        number(*session).into(),
        Value::from(&*message.topic),
        message.payload.to_vec().into(),
        message.properties.to_vec().into(),
        i64::from(message.qos).into(),
        i64::from(*qos).into(),
        (*retain).into(),
        ids_text(ids).into(),
        message.expires_at.map(number).into(),
    ]
}

pub(super) fn passed_of(row: Row) -> Result<(u64, Passed), StoreError> {
    let mut columns = Columns::of("mqtt_passed", row);
    let (id, session) = (columns.integer()?.unsigned_abs(), columns.integer()?.unsigned_abs());
    let (topic, payload) = (columns.text()?.into(), columns.bytes()?.into());
    let (properties, published_qos) = (columns.bytes()?.into(), small(&mut columns)?);
    let (qos, retain) = (small(&mut columns)?, columns.boolean()?);
    let ids = ids_of(&columns.text()?);
    let expires_at = moment(&mut columns)?;
    let message = Message { topic, payload, qos: published_qos, retain, properties, expires_at };
    Ok((id, Passed { session, message: Arc::new(message), qos, retain, ids }))
}
