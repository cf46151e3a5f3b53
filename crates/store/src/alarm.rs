//! Alarms, those that are cleared too.

use motehub_domain::alarm::{Alarm, AlarmState, Severity};
use motehub_domain::id::{AlarmId, DeviceId, RuleId};
use motehub_domain::selector::Selector;
use motehub_domain::time::Time;

use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::selector::Context;
use crate::{Store, StoreError};

sql! {
    INSERT = "insert into alarms (id, rule, rule_name, device, severity, message, value, state, raised_at,
        acknowledged_at, acknowledged_by, cleared_at, cleared_by, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict (id) do nothing";
    UPDATE = "update alarms set rule = $2, rule_name = $3, device = $4, severity = $5, message = $6, value = $7,
        state = $8, raised_at = $9, acknowledged_at = $10, acknowledged_by = $11, cleared_at = $12,
        cleared_by = $13, revision = $14 where id = $1 and revision = $14 - 1";
    OPEN = "select state, severity, count(*) from alarms where state <> 'cleared' group by state, severity";
}

/// The columns of an alarm, in the order in which [`view_of`] reads them.
const SELECT: &str = "select a.id, a.rule, a.rule_name, a.device, a.severity, a.message, a.value, a.state,
    a.raised_at, a.acknowledged_at, a.acknowledged_by, a.cleared_at, a.cleared_by, a.revision, d.name
    from alarms a left join devices d on d.id = a.device";
const COUNT: &str = "select count(*) from alarms a";
/// The devices of a selector; the condition follows.
const DEVICES: &str = "a.device in (select d.id from devices d left join software s on s.device = d.id
    left join presence p on p.device = d.id
    left join scripts r on r.id = s.running_script where ";

/// An alarm as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmView {
    /// The alarm.
    pub alarm: Alarm,
    /// The name of its device now.
    pub device_name: Option<String>,
}

/// Which alarms are wanted; what is empty or `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlarmQuery {
    /// In one of these states.
    pub states: Vec<AlarmState>,
    /// Of this device.
    pub device: Option<DeviceId>,
    /// Of a device that satisfies this; groups are put in already.
    pub devices: Option<Selector>,
    /// Of this rule.
    pub rule: Option<RuleId>,
    /// This one.
    pub id: Option<AlarmId>,
    /// From when ages in `devices` count.
    pub now: Time,
    /// How many to leave out.
    pub offset: usize,
    /// So many at most.
    pub limit: usize,
}

pub(crate) fn write(alarm: &Alarm) -> Statement {
    let values = [
        Value::id(alarm.id),
        Value::id(alarm.rule),
        (&alarm.rule_name).into(),
        alarm.device.map(Value::id).into(),
        alarm.severity.as_str().into(),
        (&alarm.message).into(),
        alarm.value.as_ref().map(ToString::to_string).into(),
        alarm.state.as_str().into(),
        alarm.raised_at.into(),
        alarm.acknowledged_at.into(),
        alarm.acknowledged_by.as_ref().into(),
        alarm.cleared_at.into(),
        alarm.cleared_by.as_ref().into(),
        alarm.revision.into(),
    ];
    let sql = if alarm.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("alarm")
}

fn view_of(row: Row) -> Result<AlarmView, StoreError> {
    let mut columns = Columns::of("alarms", row);
    let alarm = Alarm {
        id: columns.parsed()?,
        rule: columns.parsed()?,
        rule_name: columns.text()?,
        device: columns.maybe_parsed()?,
        severity: columns.word(Severity::parse)?,
        message: columns.text()?,
        value: columns.maybe_json()?,
        state: columns.word(AlarmState::parse)?,
        raised_at: columns.time()?,
        acknowledged_at: columns.maybe_time()?,
        acknowledged_by: columns.maybe_text()?,
        cleared_at: columns.maybe_time()?,
        cleared_by: columns.maybe_text()?,
        revision: columns.integer()?,
    };
    Ok(AlarmView { alarm, device_name: columns.maybe_text()? })
}

impl Store {
    /// The alarms that satisfy a query, the last raised first, and how many there are.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn alarms(&self, wanted: &AlarmQuery) -> Result<(Vec<AlarmView>, i64), StoreError> {
        let mut condition = Query::default();
        self.choose_alarms(&mut condition, wanted);
        let (mut list, count) = (Query::before(SELECT, &condition), Query::before(COUNT, &condition));
        list.push(" order by a.raised_at desc, a.id desc limit ").bind(wanted.limit);
        list.push(" offset ").bind(wanted.offset);
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(view_of).collect::<Result<_, _>>()?, total))
    }

    fn choose_alarms(&self, query: &mut Query, wanted: &AlarmQuery) {
        let mut is_first = true;
        if !wanted.states.is_empty() {
            let states = wanted.states.iter().map(|state| state.as_str().into());
            query.condition(&mut is_first).push("a.state").among(states);
        }
        let equal = [
            ("a.device = ", wanted.device.map(Value::id)),
            ("a.rule = ", wanted.rule.map(Value::id)),
            ("a.id = ", wanted.id.map(Value::id)),
        ];
        for (column, value) in equal {
            if let Some(value) = value {
                query.condition(&mut is_first).push(column).bind(value);
            }
        }
        if let Some(selector) = &wanted.devices {
            query.condition(&mut is_first).push(DEVICES);
            let context = Context { telemetry: self.telemetry_state(), now: wanted.now };
            context.restrict(query, selector);
            query.push(")");
        }
    }

    /// One alarm.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn alarm(&self, id: AlarmId) -> Result<Option<AlarmView>, StoreError> {
        let wanted = AlarmQuery { id: Some(id), limit: 1, ..AlarmQuery::default() };
        Ok(self.alarms(&wanted).await?.0.pop())
    }

    /// How many alarms are not cleared, by state and severity.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn open_alarms(&self) -> Result<Vec<(AlarmState, Severity, i64)>, StoreError> {
        let rows = self.engine().read(OPEN, []).await?;
        let read = |row| {
            let mut columns = Columns::of("alarms", row);
            Ok((columns.word(AlarmState::parse)?, columns.word(Severity::parse)?, columns.integer()?))
        };
        rows.into_iter().map(read).collect()
    }
}
