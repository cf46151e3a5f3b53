//! Shadows, and the newest revisions of each.

use motehub_domain::change::Actor;
use motehub_domain::id::DeviceId;
use motehub_domain::shadow::{Expiry, REVISIONS_KEPT, Revision, Section, Shadow, ShadowName, Told};
use motehub_domain::time::Time;
use serde_json::{Map, Value as Json};

use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// How many devices one statement asks for.
const DEVICES_PER_READ: usize = 500;

/// The columns of a shadow, in the order in which [`shadow_of`] reads them.
macro_rules! shadow_select {
    () => {
        "select device, name, desired, desired_times, reported, reported_times, tags, version, updated_at, is_deleted,
        expiry, told_times, told_at, tell_again_at, revision from shadows where "
    };
}

/// The columns of a revision, in the order in which [`revision_of`] reads them.
macro_rules! revision_select {
    () => {
        "select revision, version, at, actor_kind, actor, desired, reported, is_deleted from shadow_revisions
        where device = $1 and name = $2 and "
    };
}

sql! {
    INSERT = "insert into shadows (device, name, desired, desired_times, reported, reported_times, tags, version,
        updated_at, is_deleted, expiry, told_times, told_at, tell_again_at, deadline, revision)
        select id, $2, $3, $4, $5, $6, $7, cast($8 as bigint), cast($9 as bigint), cast($10 as bigint), $11,
        cast($12 as bigint), cast($13 as bigint), cast($14 as bigint), cast($15 as bigint), cast($16 as bigint)
        from devices where id = $1 on conflict (device, name) do nothing";
    UPDATE = "update shadows set desired = $3, desired_times = $4, reported = $5, reported_times = $6, tags = $7,
        version = $8, updated_at = $9, is_deleted = $10, expiry = $11, told_times = $12, told_at = $13,
        tell_again_at = $14, deadline = $15, revision = $16
        where device = $1 and name = $2 and revision = $16 - 1";
    ONE = concat!(shadow_select!(), "device = $1 and name = $2");
    OF_DEVICE = concat!(shadow_select!(), "device = $1 order by name");
    DUE = concat!(shadow_select!(), "deadline <= $1 order by deadline limit $2");
    NEXT_DEADLINE = "select deadline from shadows where deadline is not null order by deadline limit 1";
    WRITE_REVISION = "insert into shadow_revisions
        (device, name, revision, version, at, actor_kind, actor, desired, reported, is_deleted)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    DROP_REVISIONS = "delete from shadow_revisions where device = $1 and name = $2 and revision <=
        coalesce((select revision from shadow_revisions where device = $1 and name = $2
        order by revision desc limit 1 offset $3), 0)";
    REVISIONS = concat!(revision_select!(), "revision < $3 order by revision desc limit $4");
    REVISION = concat!(revision_select!(), "revision = $3");
    AT_VERSION = concat!(revision_select!(), "version <= $3 order by revision desc limit 1");
    AT_TIME = concat!(revision_select!(), "at <= $3 order by revision desc limit 1");
}

const PLAIN: &str = concat!(shadow_select!(), "name = '' and device");

/// `now`: when it is kept, which is the time of the revision.
pub(crate) fn write(shadow: &Shadow, kept: Option<&Revision>, transaction: &mut Transaction, now: Time) {
    let name = name_of(shadow.name.as_ref());
    let values = vec![
        Value::id(shadow.device),
        name.clone(),
        text(&shadow.desired.values),
        text(&shadow.desired.times),
        text(&shadow.reported.values),
        text(&shadow.reported.times),
        text(&shadow.tags),
        shadow.version.into(),
        shadow.updated_at.into(),
        shadow.is_deleted.into(),
        text(&shadow.expiry.0),
        shadow.told.times.into(),
        shadow.told.at.into(),
        shadow.told.again_at.into(),
        shadow.deadline().into(),
        shadow.revision.into(),
    ];
    let sql = if shadow.revision == 1 { INSERT } else { UPDATE };
    transaction.push(Statement::new(sql, values).guards("shadow"));
    let Some(kept) = kept else { return };
    let key = [Value::id(shadow.device), name];
    let values = vec![
        kept.revision.into(),
        kept.version.into(),
        now.into(),
        kept.actor.kind().into(),
        kept.actor.name().into(),
        text(&kept.desired),
        text(&kept.reported),
        kept.is_deleted.into(),
    ];
    transaction.push(Statement::new(WRITE_REVISION, [&key[..], &values].concat()));
    transaction.push(Statement::new(DROP_REVISIONS, [&key[..], &[REVISIONS_KEPT.into()]].concat()));
}

fn name_of(name: Option<&ShadowName>) -> Value {
    name.map_or("", ShadowName::as_str).into()
}

fn text(tree: &Map<String, Json>) -> Value {
    Json::from(tree.clone()).to_string().into()
}

fn tree(columns: &mut Columns) -> Result<Map<String, Json>, StoreError> {
    match columns.json()? {
        Json::Object(tree) => Ok(tree),
        _ => Err(StoreError::damaged("a document of a shadow is no object".to_owned())),
    }
}

fn section(columns: &mut Columns) -> Result<Section, StoreError> {
    Ok(Section { values: tree(columns)?, times: tree(columns)? })
}

fn shadow_of(row: Row) -> Result<Shadow, StoreError> {
    let mut columns = Columns::of("shadows", row);
    Ok(Shadow {
        device: columns.parsed()?,
        name: ShadowName::parse(&columns.text()?),
        desired: section(&mut columns)?,
        reported: section(&mut columns)?,
        tags: tree(&mut columns)?,
        version: columns.integer()?,
        updated_at: columns.time()?,
        is_deleted: columns.boolean()?,
        expiry: Expiry(tree(&mut columns)?),
        told: Told { times: columns.integer()?, at: columns.time()?, again_at: columns.maybe_time()? },
        revision: columns.integer()?,
    })
}

fn revision_of(row: Row) -> Result<Revision, StoreError> {
    let mut columns = Columns::of("shadow_revisions", row);
    let (revision, version, at) = (columns.integer()?, columns.integer()?, columns.time()?);
    let (kind, name) = (columns.text()?, columns.text()?);
    let actor = Actor::from_parts(&kind, &name);
    Ok(Revision {
        revision,
        version,
        at,
        actor: actor.ok_or_else(|| StoreError::damaged(format!("who made revision {revision}")))?,
        desired: tree(&mut columns)?,
        reported: tree(&mut columns)?,
        is_deleted: columns.boolean()?,
    })
}

impl Store {
    /// A shadow of a device; also one that was deleted.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadow(
        &self,
        device: DeviceId,
        name: Option<&ShadowName>,
    ) -> Result<Option<Shadow>, StoreError> {
        let row = self.engine().read_one(ONE, [Value::id(device), name_of(name)]).await?;
        row.map(shadow_of).transpose()
    }

    /// All shadows of a device by name, the one without a name first; also those that were deleted.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadows(&self, device: DeviceId) -> Result<Vec<Shadow>, StoreError> {
        self.engine().read(OF_DEVICE, [Value::id(device)]).await?.into_iter().map(shadow_of).collect()
    }

    /// The shadows without a name of these devices, as far as there are any.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn plain_shadows(&self, devices: &[DeviceId]) -> Result<Vec<Shadow>, StoreError> {
        let mut shadows = Vec::new();
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(PLAIN);
            query.among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                shadows.push(shadow_of(row)?);
            }
        }
        shadows.retain(Shadow::exists);
        Ok(shadows)
    }

    /// The shadows whose deadline has come, the longest overdue first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn due_shadows(&self, now: Time, limit: usize) -> Result<Vec<Shadow>, StoreError> {
        self.engine().read(DUE, [now.into(), limit.into()]).await?.into_iter().map(shadow_of).collect()
    }

    /// When something is to be done about a shadow next, past or future.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn next_shadow_deadline(&self) -> Result<Option<Time>, StoreError> {
        let row = self.engine().read_one(NEXT_DEADLINE, []).await?;
        row.map(|row| Columns::of("shadows", row).time()).transpose()
    }

    /// The revisions of a shadow before one, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadow_revisions(
        &self,
        device: DeviceId,
        name: Option<&ShadowName>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Revision>, StoreError> {
        let before = before.unwrap_or(i64::MAX);
        let values = [Value::id(device), name_of(name), before.into(), limit.into()];
        self.engine().read(REVISIONS, values).await?.into_iter().map(revision_of).collect()
    }

    /// One revision of a shadow, by its number.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadow_revision(
        &self,
        device: DeviceId,
        name: Option<&ShadowName>,
        revision: i64,
    ) -> Result<Option<Revision>, StoreError> {
        let row =
            self.engine().read_one(REVISION, [Value::id(device), name_of(name), revision.into()]).await?;
        row.map(revision_of).transpose()
    }

    /// What a shadow was at a version: that revision, or the last one before it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadow_at_version(
        &self,
        device: DeviceId,
        name: Option<&ShadowName>,
        version: i64,
    ) -> Result<Option<Revision>, StoreError> {
        let row =
            self.engine().read_one(AT_VERSION, [Value::id(device), name_of(name), version.into()]).await?;
        row.map(revision_of).transpose()
    }

    /// What a shadow was at a time: the last revision before it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadow_at(
        &self,
        device: DeviceId,
        name: Option<&ShadowName>,
        at: Time,
    ) -> Result<Option<Revision>, StoreError> {
        let row = self.engine().read_one(AT_TIME, [Value::id(device), name_of(name), at.into()]).await?;
        row.map(revision_of).transpose()
    }
}
