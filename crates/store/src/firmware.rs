//! Firmware. The bytes are artifacts.

use motehub_domain::artifact::{Artifact, Digest};
use motehub_domain::firmware::{Firmware, Label};
use motehub_domain::id::FirmwareId;

use crate::engine::query::{Query, contains};
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{DeviceView, Store, StoreError, artifact};

/// The columns of a firmware, in the order in which [`firmware_of`] reads them.
macro_rules! firmware_select {
    () => {
        "f.id, f.name, f.version, f.platform, f.build, f.digest, f.size_bytes, f.manifest, f.notes, \
         f.created_by, f.created_at, f.revision"
    };
}

/// How many devices run, await or return to it.
macro_rules! used_by {
    ($id:literal) => {
        concat!(
            "(select count(*) from (select device from software where firmware = ",
            $id,
            " union select device from software where pending_artifact = ",
            $id,
            " union select device from tasks where is_open = 1 and artifact = ",
            $id,
            ") as users)"
        )
    };
}

sql! {
    INSERT = "insert into firmware (id, name, version, platform, build, digest, size_bytes, manifest, notes,
        created_by, created_at, search_key, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict (id) do nothing";
    UPDATE = "update firmware set name = $2, version = $3, platform = $4, build = $5, digest = $6,
        size_bytes = $7, manifest = $8, notes = $9, created_by = $10, created_at = $11, search_key = $12,
        revision = $13 where id = $1 and revision = $13 - 1";
    DELETE = concat!("delete from firmware where id = $1 and ", used_by!("$1"), " = 0");
    BY_ID = concat!("select ", firmware_select!(), " from firmware f where f.id = $1");
    USED_BY = concat!("select ", used_by!("$1"));
    SAID = concat!(
        "select ", firmware_select!(), " from firmware f where f.version = $1
        and f.name = coalesce(cast($2 as text), f.name) order by f.created_at desc, f.id desc limit 50");
    LABELLED = "select id from firmware where version = $1 and name = $2 and platform = $3 and build = $4";
    RUNNING = "select d.id from software s join devices d on d.id = s.device where s.firmware = $1
        order by d.name_key, d.id limit $2";
    RUNNING_COUNT = "select count(*) from software where firmware = $1";
}

const LIST: &str = concat!("select ", firmware_select!(), ", ", used_by!("f.id"), " from firmware f");
const COUNT: &str = "select count(*) from firmware f";
const CONTAINS: &str = " where f.search_key like ";
const ESCAPE: &str = " escape '\\'";

pub(crate) fn write(firmware: &Firmware) -> Statement {
    let Label { name, version, platform, build } = &firmware.label;
    let search = format!("{name}\n{version}\n{platform}\n{build}\n{}", firmware.notes);
    let values = [
        Value::id(firmware.id),
        name.into(),
        version.into(),
        platform.into(),
        build.into(),
        Value::id(firmware.digest),
        firmware.size_bytes.into(),
        firmware.manifest.clone().map(|map| serde_json::Value::from(map).to_string()).into(),
        (&firmware.notes).into(),
        (&firmware.created_by).into(),
        firmware.created_at.into(),
        search.to_lowercase().into(),
        firmware.revision.into(),
    ];
    let sql = if firmware.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("firmware").unique("version")
}

/// Refused as a conflict if devices have come to use it meanwhile.
pub(crate) fn delete(id: FirmwareId, digest: Digest, transaction: &mut Transaction) {
    transaction.push(Statement::new(DELETE, [Value::id(id)]).guards("firmware"));
    artifact::drop_unused(digest, transaction);
}

fn firmware_of(row: Row) -> Result<Firmware, StoreError> {
    firmware_columns(&mut Columns::of("firmware", row))
}

fn firmware_columns(columns: &mut Columns) -> Result<Firmware, StoreError> {
    let id = columns.parsed()?;
    let label = Label {
        name: columns.text()?,
        version: columns.text()?,
        platform: columns.text()?,
        build: columns.text()?,
    };
    let (digest, size_bytes) = (columns.parsed()?, columns.integer()?);
    let manifest = match columns.maybe_json()? {
        None => None,
        Some(serde_json::Value::Object(map)) => Some(map),
        Some(_) => return Err(StoreError::damaged(format!("firmware {id}"))),
    };
    Ok(Firmware {
        id,
        label,
        digest,
        size_bytes,
        manifest,
        notes: columns.text()?,
        created_by: columns.text()?,
        created_at: columns.time()?,
        revision: columns.integer()?,
    })
}

impl Store {
    /// A firmware by its id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware(&self, id: FirmwareId) -> Result<Option<Firmware>, StoreError> {
        self.engine().read_one(BY_ID, [Value::id(id)]).await?.map(firmware_of).transpose()
    }

    /// A page of the firmware that has `text` in name, version, platform, build or notes, newest first, each with
    /// how many devices run, await or return to it; and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware_list(
        &self,
        text: Option<&str>,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<(Firmware, i64)>, i64), StoreError> {
        let (mut list, mut count) = (Query::new(LIST), Query::new(COUNT));
        if let Some(text) = text {
            for query in [&mut list, &mut count] {
                query.push(CONTAINS).bind(contains(text)).push(ESCAPE);
            }
        }
        list.push(" order by f.created_at desc, f.id desc limit ").bind(limit).push(" offset ").bind(offset);
        let read = |row| {
            let mut columns = Columns::of("firmware", row);
            Ok((firmware_columns(&mut columns)?, columns.integer()?))
        };
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(read).collect::<Result<_, StoreError>>()?, total))
    }

    /// How many devices run, await or return to a firmware.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware_used_by(&self, id: FirmwareId) -> Result<i64, StoreError> {
        let row = self.engine().read_one(USED_BY, [Value::id(id)]).await?;
        row.map_or(Ok(0), |row| Columns::of("software", row).integer())
    }

    /// The firmware that a device means which says that it runs this program, version and build; of several the
    /// newest. Without a name or a build, any.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware_said(
        &self,
        name: Option<&str>,
        version: &str,
        build: Option<&str>,
        platform: Option<&str>,
    ) -> Result<Option<Artifact>, StoreError> {
        let rows = self.engine().read(SAID, [version.into(), name.into()]).await?;
        for row in rows {
            let firmware = firmware_of(row)?;
            let fits = platform.is_none_or(|platform| firmware.label.fits(platform));
            if fits && firmware.label.is_run_by(version, build) {
                return Ok(Some(firmware.artifact()));
            }
        }
        Ok(None)
    }

    /// Which firmware has this label.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware_labelled(&self, label: &Label) -> Result<Option<FirmwareId>, StoreError> {
        let Label { name, version, platform, build } = label;
        let values = [version.into(), name.into(), platform.into(), build.into()];
        let row = self.engine().read_one(LABELLED, values).await?;
        row.map(|row| Columns::of("firmware", row).parsed()).transpose()
    }

    /// Devices that say they run a firmware, by name, at most `limit`; and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware_runners(
        &self,
        id: FirmwareId,
        limit: usize,
    ) -> Result<(Vec<DeviceView>, i64), StoreError> {
        let list = Query::of(RUNNING, [Value::id(id), limit.into()]);
        let (rows, total) = self.engine().page(list, Query::of(RUNNING_COUNT, [Value::id(id)])).await?;
        let ids = rows.into_iter().map(|row| Columns::of("devices", row).parsed());
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Ok((self.views(&ids).await?, total))
    }
}
