//! What devices say of themselves: the last announcement, the newest log lines, and the versions in quarantine.

use motehub_domain::artifact::{Artifact, Digest};
use motehub_domain::id::DeviceId;
use motehub_domain::report::{Announcement, LOG_LINES_KEPT, Level, LogLine, Quarantine, Report, Running};
use motehub_domain::time::Time;

use crate::artifact::artifact_columns;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

sql! {
    WRITE = "insert into reports (device, model, firmware, version, reset, capabilities, free_memory, running,
        safe_mode, attributes, at)
        select id, $2, $3, $4, $5, $6, $7, $8, cast($9 as bigint), $10, cast($11 as bigint)
        from devices where id = $1
        on conflict (device) do update set model = excluded.model, firmware = excluded.firmware,
        version = excluded.version, reset = excluded.reset, capabilities = excluded.capabilities,
        free_memory = excluded.free_memory, running = excluded.running, safe_mode = excluded.safe_mode,
        attributes = excluded.attributes, at = excluded.at";
    ONE = "select device, model, firmware, version, reset, capabilities, free_memory, running, safe_mode,
        attributes, at from reports where device = $1";
    WRITE_LINE = "insert into log_lines (device, at, said_at, level, line)
        select id, cast($2 as bigint), cast($3 as bigint), $4, $5 from devices where id = $1";
    DROP_LINES = "delete from log_lines where device = $1 and id <= coalesce((select id from log_lines
        where device = $1 order by id desc limit 1 offset $2), 0)";
    LINES = "select id, at, said_at, level, line from log_lines where device = $1 and id < $2
        order by id desc limit $3";
    WRITE_QUARANTINE = "insert into quarantines (device, digest, reason, traceback, at)
        values ($1, $2, $3, $4, $5) on conflict (device, digest) do update
        set reason = excluded.reason, traceback = excluded.traceback, at = excluded.at";
    LIFT = "delete from quarantines where device = $1 and digest = $2";
    ARTIFACT = "select script, version, digest, size_bytes from versions where digest = $1
        order by created_at desc limit 1";
}

const QUARANTINES: &str = "select device, digest, reason, traceback, at from quarantines where device";

/// A log line with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Larger for later lines of one device.
    pub id: i64,
    /// When it arrived.
    pub at: Time,
    /// What it says.
    pub line: LogLine,
}

pub(crate) fn write(report: &Report) -> Statement {
    let Report { device, announcement: said, at } = report;
    let running = match said.running {
        None => Value::Null,
        Some(Running::Nothing) => "".into(),
        Some(Running::Artifact(digest)) => Value::id(digest),
    };
    let values = [
        Value::id(device),
        said.model.as_ref().into(),
        said.firmware.as_ref().into(),
        said.version.as_ref().into(),
        said.reset.as_ref().into(),
        serde_json::Value::from(said.capabilities.as_slice()).to_string().into(),
        said.free_memory.into(),
        running,
        said.safe_mode.into(),
        serde_json::Value::from(said.attributes.clone()).to_string().into(),
        (*at).into(),
    ];
    Statement::new(WRITE, values)
}

pub(crate) fn write_log(device: DeviceId, lines: &[LogLine], at: Time, transaction: &mut Transaction) {
    let newest = &lines[lines.len().saturating_sub(LOG_LINES_KEPT)..];
    let values = newest.iter().flat_map(|line| {
        let LogLine { level, text, time } = line;
        [Value::id(device), at.into(), (*time).into(), level.as_str().into(), text.into()]
    });
    transaction.push(Statement::many(WRITE_LINE, 5, values.collect()));
    transaction.push(Statement::new(DROP_LINES, [Value::id(device), LOG_LINES_KEPT.into()]));
}

pub(crate) fn write_quarantine(quarantine: &Quarantine) -> Statement {
    let Quarantine { device, digest, reason, traceback, at } = quarantine;
    let values =
        [Value::id(device), Value::id(digest), reason.into(), traceback.as_ref().into(), (*at).into()];
    Statement::new(WRITE_QUARANTINE, values)
}

pub(crate) fn lift_quarantine(device: DeviceId, digest: Digest) -> Statement {
    Statement::new(LIFT, [Value::id(device), Value::id(digest)])
}

fn report_of(row: Row) -> Result<Report, StoreError> {
    let mut columns = Columns::of("reports", row);
    let device: DeviceId = columns.parsed()?;
    let damaged = || StoreError::damaged(format!("the report of device {device}"));
    let (model, firmware) = (columns.maybe_text()?, columns.maybe_text()?);
    let (version, reset) = (columns.maybe_text()?, columns.maybe_text()?);
    let capabilities = columns.json()?;
    let words = capabilities.as_array().into_iter().flatten();
    let capabilities: Option<Vec<String>> = words.map(|word| word.as_str().map(str::to_owned)).collect();
    let free_memory = columns.maybe_integer()?;
    let running = match columns.maybe_text()?.as_deref() {
        None => None,
        Some("") => Some(Running::Nothing),
        Some(digest) => Some(Running::Artifact(digest.parse().map_err(|_| damaged())?)),
    };
    let safe_mode = columns.boolean()?;
    let attributes = columns.json()?.as_object().cloned().ok_or_else(damaged)?;
    let announcement = Announcement {
        model,
        firmware,
        version,
        reset,
        capabilities: capabilities.ok_or_else(damaged)?,
        free_memory,
        running,
        safe_mode,
        attributes,
    };
    Ok(Report { device, announcement, at: columns.time()? })
}

fn logged(row: Row) -> Result<Logged, StoreError> {
    let mut columns = Columns::of("log_lines", row);
    let (id, at, time) = (columns.integer()?, columns.time()?, columns.maybe_time()?);
    let level = columns.word(Level::parse)?;
    Ok(Logged { id, at, line: LogLine { level, text: columns.text()?, time } })
}

fn quarantine_of(row: Row) -> Result<Quarantine, StoreError> {
    let mut columns = Columns::of("quarantines", row);
    Ok(Quarantine {
        device: columns.parsed()?,
        digest: columns.digest()?,
        reason: columns.text()?,
        traceback: columns.maybe_text()?,
        at: columns.time()?,
    })
}

impl Store {
    /// What a device last said of itself; `None` if it never did.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn report(&self, device: DeviceId) -> Result<Option<Report>, StoreError> {
        self.engine().read_one(ONE, [Value::id(device)]).await?.map(report_of).transpose()
    }

    /// The newest log lines of a device that are older than `before`, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn log_lines(
        &self,
        device: DeviceId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        let values = [Value::id(device), before.unwrap_or(i64::MAX).into(), limit.into()];
        self.engine().read(LINES, values).await?.into_iter().map(logged).collect()
    }

    /// The versions in quarantine on these devices, by device, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn quarantines(&self, devices: &[DeviceId]) -> Result<Vec<Quarantine>, StoreError> {
        let mut query = Query::new(QUARANTINES);
        query.among(devices.iter().map(Value::id)).push(" order by device, at desc, digest");
        self.engine().ask(query).await?.into_iter().map(quarantine_of).collect()
    }

    /// The version of a script that has these bytes; the newest if there are several.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn artifact_with(&self, digest: Digest) -> Result<Option<Artifact>, StoreError> {
        let Some(row) = self.engine().read_one(ARTIFACT, [Value::id(digest)]).await? else { return Ok(None) };
        artifact_columns(&mut Columns::of("versions", row))
    }
}
