//! Changes: facts in their total order. A row is written in the transaction of the state it tells of.

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::id::DeviceId;
use motehub_domain::time::Time;

use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

sql! {
    INSERT = "insert into changes
        (at, actor_kind, actor, kind, noun, subject, subject_name, device, before_json, after_json)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning seq";
    LAST = "select coalesce(max(seq), 0) from changes";
}

const SELECT: &str = "select seq, at, actor_kind, actor, kind, subject, subject_name, device, before_json, \
    after_json from changes";

/// A fact with its place in the order.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Strictly increasing in the order of commits; there may be gaps.
    pub seq: i64,
    /// When it was committed.
    pub at: Time,
    /// The fact.
    pub change: Change,
}

/// Which changes are wanted; what is `None` does not restrict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeQuery {
    /// Of this kind.
    pub kind: Option<ChangeKind>,
    /// About this noun ([`ChangeKind::noun`]).
    pub noun: Option<String>,
    /// To this subject.
    pub subject: Option<String>,
    /// Concerning this device.
    pub device: Option<DeviceId>,
    /// By an actor of this name.
    pub actor: Option<String>,
    /// With a larger sequence number.
    pub after: Option<i64>,
    /// With a smaller sequence number.
    pub before: Option<i64>,
    /// So many at most.
    pub limit: usize,
    /// Newest first, or oldest first.
    pub newest_first: bool,
}

impl Default for ChangeQuery {
    /// The newest 100.
    fn default() -> Self {
        Self {
            kind: None,
            noun: None,
            subject: None,
            device: None,
            actor: None,
            after: None,
            before: None,
            limit: 100,
            newest_first: true,
        }
    }
}

pub(crate) fn record(change: &Change, now: Time) -> Statement {
    let json = |value: &Option<serde_json::Value>| Value::from(value.as_ref().map(ToString::to_string));
    Statement::new(
        INSERT,
        [
            now.into(),
            change.actor.kind().into(),
            change.actor.name().into(),
            change.kind.as_str().into(),
            change.kind.noun().into(),
            (&change.subject).into(),
            (&change.subject_name).into(),
            change.device.map(Value::id).into(),
            json(&change.before),
            json(&change.after),
        ],
    )
}

fn recorded(row: Row) -> Result<Recorded, StoreError> {
    let mut columns = Columns::of("changes", row);
    let seq = columns.integer()?;
    let at = columns.time()?;
    let damaged = || StoreError::damaged(format!("change {seq}"));
    let actor = Actor::from_parts(&columns.text()?, &columns.text()?).ok_or_else(damaged)?;
    let change = Change {
        actor,
        kind: columns.word(ChangeKind::parse)?,
        subject: columns.text()?,
        subject_name: columns.text()?,
        device: columns.maybe_parsed()?,
        before: columns.maybe_json()?,
        after: columns.maybe_json()?,
    };
    Ok(Recorded { seq, at, change })
}

impl Store {
    /// The facts that satisfy a query, in the order it asks for.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn changes(&self, wanted: ChangeQuery) -> Result<Vec<Recorded>, StoreError> {
        let mut query = Query::new(SELECT);
        let mut is_first = true;
        let conditions = [
            ("kind = ", wanted.kind.map(|kind| kind.as_str().into())),
            ("noun = ", wanted.noun.map(Value::Text)),
            ("subject = ", wanted.subject.map(Value::Text)),
            ("device = ", wanted.device.map(Value::id)),
            ("actor = ", wanted.actor.map(Value::Text)),
            ("seq > ", wanted.after.map(Value::Integer)),
            ("seq < ", wanted.before.map(Value::Integer)),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                query.condition(&mut is_first).push(condition).bind(value);
            }
        }
        query.push(if wanted.newest_first { " order by seq desc limit " } else { " order by seq limit " });
        query.bind(wanted.limit);
        self.engine().ask(query).await?.into_iter().map(recorded).collect()
    }

    /// The sequence number of the newest fact; 0 if there is none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_seq(&self) -> Result<i64, StoreError> {
        let row = self.engine().read_one(LAST, []).await?;
        row.map_or(Ok(0), |row| Columns::of("changes", row).integer())
    }
}
