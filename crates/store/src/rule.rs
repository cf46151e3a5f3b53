//! Rules, how they stand with devices, and that they fired.

use std::collections::HashMap;

use motehub_domain::id::{DeviceId, FiringId, RuleId};
use motehub_domain::rule::engine::State;
use motehub_domain::rule::{self, Record, Rule};
use motehub_domain::time::Time;

use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// How many firings of a rule are kept.
const FIRINGS_KEPT: i64 = 10_000;

/// The columns of a rule, in the order in which [`rule_of`] reads them.
macro_rules! rule_select {
    () => {
        "select id, name, description, enabled_at, document, created_at, updated_at, revision from rules"
    };
}

/// The columns of a firing, in the order in which [`view_of`] reads them.
macro_rules! firing_select {
    () => {
        "select f.id, f.rule, f.device, f.at, f.trace, f.ended_at, f.done, f.problems, d.name
        from firings f left join devices d on d.id = f.device"
    };
}

sql! {
    INSERT = "insert into rules (id, name, name_key, description, enabled_at, document, created_at, updated_at,
        revision) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing";
    UPDATE = "update rules set name = $2, name_key = $3, description = $4, enabled_at = $5, document = $6,
        created_at = $7, updated_at = $8, revision = $9 where id = $1 and revision = $9 - 1";
    DELETE = "delete from rules where id = $1";
    ALL = concat!(rule_select!(), " order by name_key");
    ONE = concat!(rule_select!(), " where id = $1");
    WRITE_STATE = "insert into rule_states (rule, device, body) select id, $3, $4 from rules
        where id = $1 and revision = $2 on conflict (rule, device) do update set body = excluded.body";
    NO_OPEN_ALARM = "update rules set revision = revision where id = $1
        and not exists (select 1 from alarms where rule = $1 and state <> 'cleared')";
    FORGET_STATES = "delete from rule_states where rule = $1";
    FORGET_DEVICE = "delete from rule_states where device = $1";
    STATES = "select rule, device, body from rule_states";
    WRITE_FIRING = "insert into firings (id, rule, device, at, trace, ended_at, done, problems)
        select $2, r.id, d.id, cast($4 as bigint), $5, cast($6 as bigint), cast($7 as bigint), $8 from rules r
        left join devices d on d.id = $3 where r.id = $1";
    DROP_FIRINGS = "delete from firings where rule = $1 and seq <= coalesce((select seq from firings
        where rule = $1 order by seq desc limit 1 offset $2), 0)";
    DONE = "update firings set done = 1, problems = $2 where id = $1";
    ENDED = "update firings set ended_at = $3 where ended_at is null and seq = (select max(seq) from firings
        where rule = $1 and coalesce(device, '') = $2)";
    UNDONE = concat!(firing_select!(), " where f.done = 0 order by f.seq limit $1");
    LAST = "select rule, count(*), max(at) from firings group by rule";
}

/// A firing as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct FiringView {
    /// The firing.
    pub record: Record,
    /// The name of its device now.
    pub device_name: Option<String>,
}

/// Which firings are wanted; what is `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FiringQuery {
    /// Of this rule.
    pub rule: Option<RuleId>,
    /// Of this device.
    pub device: Option<DeviceId>,
    /// From then on.
    pub from: Option<Time>,
    /// Before.
    pub to: Option<Time>,
    /// How many to leave out.
    pub offset: usize,
    /// So many at most.
    pub limit: usize,
}

pub(crate) fn write(rule: &Rule) -> Statement {
    let values = [
        Value::id(rule.id),
        (&rule.name).into(),
        rule.name.to_lowercase().into(),
        (&rule.description).into(),
        rule.enabled_at.into(),
        rule.document.to_string().into(),
        rule.created_at.into(),
        rule.updated_at.into(),
        rule.revision.into(),
    ];
    let sql = if rule.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("rule").unique("name")
}

pub(crate) fn delete(id: RuleId) -> Statement {
    Statement::new(DELETE, [Value::id(id)]).guards("rule")
}

/// No device is the empty text: a key has no null.
fn device_key(device: Option<DeviceId>) -> Value {
    device.map_or_else(|| "".into(), Value::id)
}

/// Whoever told the rule something read it at this revision.
pub(crate) fn write_state(rule: RuleId, revision: i64, device: Option<DeviceId>, state: &State) -> Statement {
    let body = rule::engine::state_to_json(state).to_string();
    let values = [Value::id(rule), revision.into(), device_key(device), body.into()];
    Statement::new(WRITE_STATE, values).guards("rule")
}

pub(crate) fn has_no_open_alarm(rule: RuleId) -> Statement {
    Statement::new(NO_OPEN_ALARM, [Value::id(rule)]).guards("alarm")
}

pub(crate) fn forget_states(rule: RuleId) -> Statement {
    Statement::new(FORGET_STATES, [Value::id(rule)])
}

/// How rules stand with a device that is deleted.
pub(crate) fn forget_device(device: DeviceId) -> Statement {
    Statement::new(FORGET_DEVICE, [Value::id(device)])
}

pub(crate) fn write_firing(record: &Record, transaction: &mut Transaction) {
    let values = [
        Value::id(record.rule),
        Value::id(record.id),
        record.device.map(Value::id).into(),
        record.at.into(),
        record.trace.to_string().into(),
        record.ended_at.into(),
        record.done.into(),
        serde_json::Value::from(record.problems.as_slice()).to_string().into(),
    ];
    transaction.push(Statement::new(WRITE_FIRING, values));
    transaction.push(Statement::new(DROP_FIRINGS, [Value::id(record.rule), FIRINGS_KEPT.into()]));
}

pub(crate) fn firing_done(id: FiringId, problems: &[String]) -> Statement {
    Statement::new(DONE, [Value::id(id), serde_json::Value::from(problems).to_string().into()])
}

pub(crate) fn firing_ended(rule: RuleId, device: Option<DeviceId>, at: Time) -> Statement {
    Statement::new(ENDED, [Value::id(rule), device_key(device), at.into()])
}

fn rule_of(row: Row) -> Result<Rule, StoreError> {
    let mut columns = Columns::of("rules", row);
    let id: RuleId = columns.parsed()?;
    let (name, description, enabled_at) = (columns.text()?, columns.text()?, columns.maybe_time()?);
    let document = columns.json()?;
    let meaning = rule::meaning(&document).map_err(|_| StoreError::damaged(format!("rule {id}")))?;
    let (created_at, updated_at) = (columns.time()?, columns.time()?);
    let revision = columns.integer()?;
    Ok(Rule { id, name, description, enabled_at, document, meaning, created_at, updated_at, revision })
}

fn view_of(row: Row) -> Result<FiringView, StoreError> {
    let mut columns = Columns::of("firings", row);
    let record = Record {
        id: columns.parsed()?,
        rule: columns.parsed()?,
        device: columns.maybe_parsed()?,
        at: columns.time()?,
        trace: columns.json()?,
        ended_at: columns.maybe_time()?,
        done: columns.boolean()?,
        problems: match columns.json()? {
            serde_json::Value::Array(list) => {
                list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
            }
            _ => return Err(StoreError::damaged("what went wrong with a firing")),
        },
    };
    Ok(FiringView { record, device_name: columns.maybe_text()? })
}

impl Store {
    /// All rules, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn rules(&self) -> Result<Vec<Rule>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(rule_of).collect()
    }

    /// One rule.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn rule(&self, id: RuleId) -> Result<Option<Rule>, StoreError> {
        self.engine().read_one(ONE, [Value::id(id)]).await?.map(rule_of).transpose()
    }

    /// How rules stand with devices, as far as that is not as at their beginning.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn rule_states(&self) -> Result<HashMap<(RuleId, Option<DeviceId>), State>, StoreError> {
        let rows = self.engine().read(STATES, []).await?;
        let read = |row| {
            let mut columns = Columns::of("rule_states", row);
            let rule = columns.parsed()?;
            let device = match columns.text()? {
                text if text.is_empty() => None,
                text => Some(text.parse().map_err(|_| StoreError::damaged("the device of a rule's state"))?),
            };
            let state = rule::engine::state_from_json(&columns.json()?);
            Ok(((rule, device), state.ok_or_else(|| StoreError::damaged("the state of a rule"))?))
        };
        rows.into_iter().map(read).collect()
    }

    /// The firings that satisfy a query, the last first, and how many there are.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firings(&self, wanted: &FiringQuery) -> Result<(Vec<FiringView>, i64), StoreError> {
        let mut condition = Query::default();
        let mut is_first = true;
        let conditions = [
            ("f.rule = ", wanted.rule.map(Value::id)),
            ("f.device = ", wanted.device.map(Value::id)),
            ("f.at >= ", wanted.from.map(Value::from)),
            ("f.at < ", wanted.to.map(Value::from)),
        ];
        for (column, value) in conditions {
            if let Some(value) = value {
                condition.condition(&mut is_first).push(column).bind(value);
            }
        }
        let mut list = Query::before(firing_select!(), &condition);
        let count = Query::before("select count(*) from firings f", &condition);
        list.push(" order by f.at desc, f.seq desc limit ").bind(wanted.limit);
        list.push(" offset ").bind(wanted.offset);
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(view_of).collect::<Result<_, _>>()?, total))
    }

    /// Firings whose actions were not all done when the hub stopped; `limit` at most.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn undone_firings(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let rows = self.engine().read(UNDONE, [limit.into()]).await?;
        rows.into_iter().map(|row| view_of(row).map(|view| view.record)).collect()
    }

    /// How often each rule fired as far as that is kept, and when last.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_firings(&self) -> Result<HashMap<RuleId, (i64, Time)>, StoreError> {
        let rows = self.engine().read(LAST, []).await?;
        let read = |row| {
            let mut columns = Columns::of("firings", row);
            Ok((columns.parsed()?, (columns.integer()?, columns.time()?)))
        };
        rows.into_iter().map(read).collect()
    }
}
