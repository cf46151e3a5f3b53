//! Devices with their credential, software, presence and assigned scripts.

use motehub_domain::artifact::{Artifact, ArtifactKind};
use motehub_domain::device::{Assignment, Device, Dialect, Presence, Reach, Software};
use motehub_domain::id::DeviceId;
use motehub_domain::line::Line;
use motehub_domain::network::Network;
use motehub_domain::script::Script;
use motehub_domain::time::{Span, Time};

use crate::artifact::{artifact_columns, artifact_values};
use crate::capability;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::script;
use crate::{Store, StoreError};

/// The columns of a device, in the order in which [`device_columns`] reads them.
macro_rules! device_select {
    () => {
        "d.id, d.name, d.description, d.dialect, d.external_id, d.tags, d.capabilities, \
         d.unauthenticated_allowed, d.allowed_from, d.silence_max_ms, d.line, d.created_at, d.revision"
    };
}

/// The columns of software, in the order in which [`software_columns`] reads them.
macro_rules! software_select {
    () => {
        "s.device, s.active_script, s.active_version, s.active_digest, s.active_size, \
         s.pending_deployment, s.pending_artifact, s.pending_version, s.pending_digest, s.pending_size, \
         s.running_script, s.running_version, s.running_digest, s.running_size, \
         s.good_script, s.good_version, s.good_digest, s.good_size, \
         s.firmware, s.firmware_digest, s.firmware_size, \
         s.fetched_at, s.woken_at, s.boots, s.problem, s.revision"
    };
}

pub(crate) use {device_select, software_select};

/// How many names one statement looks for.
const NAMES_PER_READ: usize = 500;

const BY_EXTERNAL_IDS: &str = concat!("select ", device_select!(), " from devices d where d.external_id");

sql! {
    INSERT = "insert into devices (id, name, name_key, search_key, description, dialect, external_id, tags,
        capabilities, unauthenticated_allowed, allowed_from, silence_max_ms, line, created_at, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) on conflict (id) do nothing";
    UPDATE = "update devices set name = $2, name_key = $3, search_key = $4, description = $5, dialect = $6,
        external_id = $7, tags = $8, capabilities = $9, unauthenticated_allowed = $10,
        allowed_from = $11, silence_max_ms = $12, line = $13, created_at = $14,
        revision = $15 where id = $1 and revision = $15 - 1";
    DELETE = "delete from devices where id = $1";
    DELETE_TAGS = "delete from device_tags where device = $1";
    INSERT_TAG = "insert into device_tags (device, tag, tag_key) values ($1, $2, $3)";

    INSERT_SOFTWARE = "insert into software (device,
        active_script, active_version, active_digest, active_size,
        pending_deployment, pending_artifact, pending_version, pending_digest, pending_size,
        running_script, running_version, running_digest, running_size,
        good_script, good_version, good_digest, good_size, firmware, firmware_digest, firmware_size,
        fetched_at, woken_at, boots, problem, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $26) on conflict (device) do nothing";
    UPDATE_SOFTWARE = "update software set
        active_script = $2, active_version = $3, active_digest = $4, active_size = $5,
        pending_deployment = $6, pending_artifact = $7, pending_version = $8, pending_digest = $9,
        pending_size = $10, running_script = $11, running_version = $12, running_digest = $13,
        running_size = $14, good_script = $15, good_version = $16, good_digest = $17, good_size = $18,
        firmware = $19, firmware_digest = $20, firmware_size = $21,
        fetched_at = $22, woken_at = $23, boots = $24, problem = $25, revision = $26
        where device = $1 and revision = $26 - 1";

    ASSIGN = "insert into assignments (device, script) values ($1, $2)
        on conflict (device, script) do nothing";
    UNASSIGN = "delete from assignments where device = $1 and script = $2";
    WRITE_PRESENCE = "insert into presence (device, online, unreachable, gateway, seen_at, address)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (device) do update set online = excluded.online, unreachable = excluded.unreachable,
        gateway = excluded.gateway, seen_at = excluded.seen_at, address = excluded.address";
    SEEN = "insert into presence (device, online, unreachable, seen_at, address)
        select id, 0, 0, cast($2 as bigint), '' from devices where id = $1
        on conflict (device) do update set seen_at = excluded.seen_at
        where excluded.seen_at > presence.seen_at";
    ALL_OFFLINE = "update presence
        set online = 0, unreachable = case when gateway is null then 0 else 1 end,
        seen_at = case when seen_at > $1 then $1 else seen_at end
        where online = 1 returning device";
    NOBODY_HELD = "update holders set node = null, fence = fence + 1 where node is not null";

    BY_ID = concat!("select ", device_select!(), " from devices d where d.id = $1");
    BY_EXTERNAL_ID = concat!(
        "select ", device_select!(), " from devices d where d.external_id = $1 order by d.dialect");
    SOFTWARE = concat!("select ", software_select!(), " from software s where s.device = $1");
    PRESENCE = "select device, online, unreachable, gateway, seen_at, address from presence where device = $1";
    ASSIGNMENTS = concat!(
        "select ", script::script_select!(), ", case when s.active_script = c.id then 1 else 0 end
        from assignments a join scripts c on c.id = a.script
        left join software s on s.device = a.device
        where a.device = $1 order by c.name_key, c.id");
}

pub(crate) fn write(device: &Device, transaction: &mut Transaction) {
    let id = Value::id(device.id);
    let tags = serde_json::Value::from(device.tags.as_slice()).to_string();
    let external_id = device.external_id.as_deref().unwrap_or_default();
    let search = format!("{}\n{external_id}\n{}", device.name, device.tags.join("\n"));
    let values = [
        id.clone(),
        (&device.name).into(),
        device.name.to_lowercase().into(),
        search.to_lowercase().into(),
        (&device.description).into(),
        device.dialect.as_str().into(),
        device.external_id.as_ref().into(),
        tags.into(),
        serde_json::Value::from(device.capabilities.as_slice()).to_string().into(),
        device.unauthenticated_allowed.into(),
        device.allowed_from.map(|network| network.to_string()).into(),
        device.silence_max.map(|span| span.0).into(),
        device.line.as_ref().map(|line| line.to_json().to_string()).into(),
        device.created_at.into(),
        device.revision.into(),
    ];
    let sql = if device.revision == 1 { INSERT } else { UPDATE };
    transaction.push(Statement::new(sql, values).guards("device").unique("external_id"));
    if device.revision > 1 {
        transaction.push(Statement::new(DELETE_TAGS, [id.clone()]));
    }
    if !device.tags.is_empty() {
        let values = device.tags.iter().flat_map(|tag| [id.clone(), tag.into(), tag.to_lowercase().into()]);
        transaction.push(Statement::many(INSERT_TAG, 3, values.collect()));
    }
    if device.revision > 1 || !device.capabilities.is_empty() {
        capability::write_of(device.id, "assigned", &device.capabilities, transaction);
    }
}

/// The rest goes with it by the references of the tables; its series are removed by merging.
pub(crate) fn delete(id: DeviceId) -> Statement {
    Statement::new(DELETE, [Value::id(id)])
}

pub(crate) fn write_software(software: &Software) -> Statement {
    let mut values = vec![Value::id(software.device)];
    values.extend(artifact_values(software.active.as_ref()));
    values.push(software.pending.map(|(deployment, _)| Value::id(deployment)).into());
    values.extend(artifact_values(software.pending.as_ref().map(|(_, artifact)| artifact)));
    values.extend(artifact_values(software.running.as_ref()));
    values.extend(artifact_values(software.good.as_ref()));
    let [firmware, _, digest, size] = artifact_values(software.firmware.as_ref());
    values.extend([firmware, digest, size]);
    let boots: Vec<i64> = software.boots.iter().map(|time| time.0).collect();
    values.extend([
        software.fetched_at.into(),
        software.woken_at.into(),
        serde_json::Value::from(boots).to_string().into(),
        software.problem.as_ref().into(),
        software.revision.into(),
    ]);
    let sql = if software.revision == 1 { INSERT_SOFTWARE } else { UPDATE_SOFTWARE };
    Statement::new(sql, values).guards("software")
}

pub(crate) fn assign(assignment: Assignment) -> Statement {
    Statement::new(ASSIGN, [Value::id(assignment.device), Value::id(assignment.script)])
}

pub(crate) fn unassign(assignment: Assignment) -> Statement {
    Statement::new(UNASSIGN, [Value::id(assignment.device), Value::id(assignment.script)])
}

pub(crate) fn write_presence(presence: &Presence) -> Statement {
    let Presence { device, reach, gateway, seen_at, address } = presence;
    let values = [
        Value::id(device),
        (*reach == Reach::Online).into(),
        (*reach == Reach::Unreachable).into(),
        gateway.as_ref().map(ToString::to_string).as_ref().into(),
        (*seen_at).into(),
        address.into(),
    ];
    Statement::new(WRITE_PRESENCE, values)
}

pub(crate) fn reach(online: bool, unreachable: bool) -> Reach {
    match (online, unreachable) {
        (true, _) => Reach::Online,
        (false, true) => Reach::Unreachable,
        (false, false) => Reach::Offline,
    }
}

pub(crate) fn seen(device: DeviceId, at: Time) -> Statement {
    Statement::new(SEEN, [Value::id(device), at.into()])
}

/// Reads the columns of [`device_select`].
pub(crate) fn device_columns(columns: &mut Columns) -> Result<Device, StoreError> {
    let id = columns.parsed()?;
    let damaged = || StoreError::damaged(format!("device {id}"));
    Ok(Device {
        id,
        name: columns.text()?,
        description: columns.text()?,
        dialect: columns.word(|text| Dialect::parse(text).ok())?,
        external_id: columns.maybe_text()?,
        tags: texts(columns.json()?).ok_or_else(damaged)?,
        capabilities: texts(columns.json()?).ok_or_else(damaged)?,
        unauthenticated_allowed: columns.boolean()?,
        allowed_from: network(columns)?,
        silence_max: columns.maybe_integer()?.map(Span),
        line: columns.maybe_json()?.as_ref().map(line).transpose()?,
        created_at: columns.time()?,
        revision: columns.integer()?,
    })
}

fn line(document: &serde_json::Value) -> Result<Box<Line>, StoreError> {
    let line = Line::from_json(document);
    line.map(Box::new).map_err(|rejection| StoreError::damaged(rejection.sentence))
}

fn network(columns: &mut Columns) -> Result<Option<Network>, StoreError> {
    let text = columns.maybe_text()?;
    let network = text.map(|text| Network::parse("allowed_from", &text)).transpose();
    network.map_err(|rejection| StoreError::damaged(rejection.sentence))
}

pub(crate) fn texts(json: serde_json::Value) -> Option<Vec<String>> {
    let serde_json::Value::Array(items) = json else { return None };
    items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Reads the columns of [`software_select`]; without a row the device was never given anything.
pub(crate) fn software_columns(columns: &mut Columns, device: DeviceId) -> Result<Software, StoreError> {
    let is_there = columns.maybe_text()?.is_some();
    let active = artifact_columns(columns)?;
    let deployment = columns.maybe_parsed()?;
    let pending = artifact_columns(columns)?;
    let running = artifact_columns(columns)?;
    let good = artifact_columns(columns)?;
    let firmware = firmware_columns(columns)?;
    let fetched_at = columns.maybe_time()?;
    let woken_at = columns.maybe_time()?;
    let boots = columns.maybe_json()?;
    let problem = columns.maybe_text()?;
    let revision = columns.maybe_integer()?;
    if !is_there {
        return Ok(Software::none(device));
    }
    let times = |json: serde_json::Value| {
        let items = json.as_array().cloned()?;
        items.iter().map(|item| item.as_i64().map(Time)).collect::<Option<Vec<Time>>>()
    };
    let damaged = || StoreError::damaged(format!("the software of device {device}"));
    Ok(Software {
        device,
        active,
        pending: deployment.zip(pending),
        running,
        good,
        firmware,
        fetched_at,
        woken_at,
        boots: boots.and_then(times).ok_or_else(damaged)?,
        problem,
        revision: revision.ok_or_else(damaged)?,
    })
}

/// A firmware: its id, digest and size.
fn firmware_columns(columns: &mut Columns) -> Result<Option<Artifact>, StoreError> {
    let (id, digest) = (columns.maybe_parsed()?, columns.maybe_parsed()?);
    let size = columns.maybe_integer()?;
    let artifact =
        |((id, digest), size_bytes)| Artifact { kind: ArtifactKind::Firmware(id), digest, size_bytes };
    Ok(id.zip(digest).zip(size).map(artifact))
}

fn device_of(row: Row) -> Result<Device, StoreError> {
    device_columns(&mut Columns::of("devices", row))
}

impl Store {
    /// A device by its id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn device(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        self.engine().read_one(BY_ID, [Value::id(id)]).await?.map(device_of).transpose()
    }

    /// The devices that call themselves so, at most one of each dialect.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn devices_by_external_id(&self, external_id: &str) -> Result<Vec<Device>, StoreError> {
        let rows = self.engine().read(BY_EXTERNAL_ID, [external_id.into()]).await?;
        rows.into_iter().map(device_of).collect()
    }

    /// The devices that call themselves by one of these names, in any dialect.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn devices_by_external_ids(&self, names: &[&str]) -> Result<Vec<Device>, StoreError> {
        let mut devices = Vec::new();
        for some in names.chunks(NAMES_PER_READ) {
            let mut query = Query::new(BY_EXTERNAL_IDS);
            query.among(some.iter().map(|name| (*name).into()));
            for row in self.engine().ask(query).await? {
                devices.push(device_of(row)?);
            }
        }
        Ok(devices)
    }

    /// What a device runs and what waits for it; [`Software::none`] if nothing was written yet.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn software(&self, device: DeviceId) -> Result<Software, StoreError> {
        let row = self.engine().read_one(SOFTWARE, [Value::id(device)]).await?;
        row.map_or_else(
            || Ok(Software::none(device)),
            |row| software_columns(&mut Columns::of("software", row), device),
        )
    }

    /// Whether a device is there; `None` if it was never heard.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn presence(&self, device: DeviceId) -> Result<Option<Presence>, StoreError> {
        let Some(row) = self.engine().read_one(PRESENCE, [Value::id(device)]).await? else { return Ok(None) };
        let mut columns = Columns::of("presence", row);
        Ok(Some(Presence {
            device: columns.parsed()?,
            reach: reach(columns.boolean()?, columns.boolean()?),
            gateway: columns.maybe_parsed()?,
            seen_at: columns.time()?,
            address: columns.text()?,
        }))
    }

    /// At the start of the program: who was online is offline, or unreachable if it was so through a gateway in
    /// another process, without a fact being stated. Nobody was last
    /// heard later than `now`. Returns how many were online.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn all_offline(&self, now: Time) -> Result<usize, StoreError> {
        let statements = vec![Statement::new(ALL_OFFLINE, [now.into()]), Statement::new(NOBODY_HELD, [])];
        let rows = self.engine().write(statements.into()).await?;
        Ok(rows.len())
    }

    /// The scripts that may be activated on a device, by name, and which one is active.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn assignments(&self, device: DeviceId) -> Result<Vec<(Script, bool)>, StoreError> {
        let rows = self.engine().read(ASSIGNMENTS, [Value::id(device)]).await?;
        let read = |row| {
            let mut columns = Columns::of("scripts", row);
            Ok((script::script_columns(&mut columns)?, columns.boolean()?))
        };
        rows.into_iter().map(read).collect()
    }
}
