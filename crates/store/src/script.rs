//! Scripts and their versions.

use motehub_domain::artifact::Digest;
use motehub_domain::id::ScriptId;
use motehub_domain::script::{Language, Script, ScriptVersion, Syntax};

use crate::device::texts;
use crate::engine::query::{Query, contains};
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// The columns of a script, in the order in which [`script_columns`] reads them.
macro_rules! script_select {
    () => {
        "c.id, c.number, c.name, c.description, c.category, c.language, c.requires, c.latest_version, \
         c.created_at, c.updated_at, c.revision"
    };
}

/// How many devices have it assigned, active, running or pending.
macro_rules! used_by {
    ($id:literal) => {
        concat!(
            "(select count(*) from (
            select device from assignments where script = ",
            $id,
            " union select device from software where active_script = ",
            $id,
            " union select device from software where running_script = ",
            $id,
            " union select device from software where pending_artifact = ",
            $id,
            ") as users)"
        )
    };
}

pub(crate) use script_select;

sql! {
    INSERT = "insert into scripts (id, number, name, name_key, search_key, description, category, language,
        requires, latest_version, created_at, updated_at, revision)
        values ($1, (select coalesce(max(number), 0) + 1 from
            (select number from scripts union all select number from retired_numbers) as given), $2, $3, $4,
        $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict (id) do nothing";
    UPDATE = "update scripts set name = $2, name_key = $3, search_key = $4, description = $5, category = $6,
        language = $7, requires = $8, latest_version = $9, created_at = $10, updated_at = $11, revision = $12
        where id = $1 and revision = $12 - 1";
    DELETE_REQUIREMENTS = "delete from requirements where script = $1";
    INSERT_REQUIREMENT = "insert into requirements (script, capability) values ($1, $2)";
    RETIRE_NUMBER = "insert into retired_numbers (number) select number from scripts where id = $1";
    DELETE = "delete from scripts where id = $1";
    INSERT_VERSION = "insert into versions (script, version, author, created_at, digest, size_bytes, comment,
        error_line, error_message) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (script, version) do nothing";
    BY_ID = concat!("select ", script_select!(), " from scripts c where c.id = $1");
    BY_NUMBER = concat!("select ", script_select!(), " from scripts c where c.number = $1");
    BY_NAME = concat!("select ", script_select!(), " from scripts c where c.name = $1");
    USED_BY = concat!("select ", used_by!("$1"));
    VERSIONS = "select script, version, author, created_at, digest, size_bytes, comment, error_line,
        error_message from versions where script = $1 order by version desc";
    VERSION = "select script, version, author, created_at, digest, size_bytes, comment, error_line,
        error_message from versions where script = $1 and version = $2";
    VERSION_WITH = "select version from versions where script = $1 and digest = $2 order by version desc limit 1";
}

const LIST: &str = concat!("select ", script_select!(), ", ", used_by!("c.id"), " from scripts c");
const COUNT: &str = "select count(*) from scripts c";
const IN_LIBRARY: &str = " where c.id not in (select script from programs)";
const CONTAINS: &str = " and c.search_key like ";
const ESCAPE: &str = " escape '\\'";

pub(crate) fn write(script: &Script, transaction: &mut Transaction) {
    let search = format!("{}\n{}\n{}", script.name, script.category, script.description);
    let values = [
        Value::id(script.id),
        (&script.name).into(),
        script.name.to_lowercase().into(),
        search.to_lowercase().into(),
        (&script.description).into(),
        (&script.category).into(),
        script.language.as_str().into(),
        serde_json::Value::from(script.requires.as_slice()).to_string().into(),
        script.latest_version.into(),
        script.created_at.into(),
        script.updated_at.into(),
        script.revision.into(),
    ];
    let sql = if script.revision == 1 { INSERT } else { UPDATE };
    transaction.push(Statement::new(sql, values).guards("script").unique("name"));
    if script.revision > 1 {
        transaction.push(Statement::new(DELETE_REQUIREMENTS, [Value::id(script.id)]));
    }
    if !script.requires.is_empty() {
        let values = script.requires.iter().flat_map(|name| [Value::id(script.id), name.into()]);
        transaction.push(Statement::many(INSERT_REQUIREMENT, 2, values.collect()));
    }
}

/// A number is never given out again: programs that know a script by its number must not meet another one.
pub(crate) fn delete(id: ScriptId) -> [Statement; 2] {
    [RETIRE_NUMBER, DELETE].map(|sql| Statement::new(sql, [Value::id(id)]))
}

pub(crate) fn write_version(version: &ScriptVersion) -> Statement {
    let (line, message) = match &version.syntax {
        Syntax::Good => (None, None),
        Syntax::Error { line, message } => (Some(*line), Some(message)),
    };
    let values = [
        Value::id(version.script),
        version.version.into(),
        (&version.author).into(),
        version.created_at.into(),
        Value::id(version.digest),
        version.size_bytes.into(),
        (&version.comment).into(),
        line.into(),
        message.into(),
    ];
    Statement::new(INSERT_VERSION, values).guards("version")
}

/// Reads the columns of [`script_select`].
pub(crate) fn script_columns(columns: &mut Columns) -> Result<Script, StoreError> {
    Ok(Script {
        id: columns.parsed()?,
        number: columns.integer()?,
        name: columns.text()?,
        description: columns.text()?,
        category: columns.text()?,
        language: columns.word(|text| Language::parse(text).ok())?,
        requires: texts(columns.json()?)
            .ok_or_else(|| StoreError::damaged("the requirements of a script"))?,
        latest_version: columns.integer()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        revision: columns.integer()?,
    })
}

fn script_of(row: Row) -> Result<Script, StoreError> {
    script_columns(&mut Columns::of("scripts", row))
}

fn version_of(row: Row) -> Result<ScriptVersion, StoreError> {
    let mut columns = Columns::of("versions", row);
    Ok(ScriptVersion {
        script: columns.parsed()?,
        version: columns.integer()?,
        author: columns.text()?,
        created_at: columns.time()?,
        digest: columns.digest()?,
        size_bytes: columns.integer()?,
        comment: columns.text()?,
        syntax: match (columns.maybe_integer()?, columns.maybe_text()?) {
            (Some(line), Some(message)) => Syntax::Error { line, message },
            _ => Syntax::Good,
        },
    })
}

impl Store {
    /// A script by its id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn script(&self, id: ScriptId) -> Result<Option<Script>, StoreError> {
        self.engine().read_one(BY_ID, [Value::id(id)]).await?.map(script_of).transpose()
    }

    /// A script by the small number that the store gave it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn script_by_number(&self, number: i64) -> Result<Option<Script>, StoreError> {
        self.engine().read_one(BY_NUMBER, [number.into()]).await?.map(script_of).transpose()
    }

    /// A script by its name, exactly.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn script_by_name(&self, name: &str) -> Result<Option<Script>, StoreError> {
        self.engine().read_one(BY_NAME, [name.into()]).await?.map(script_of).transpose()
    }

    /// A page of the scripts, by name, each with how many devices use it (see [`Store::script_used_by`]), and
    /// how many there are in all. With a text: those that have it in name, category or description.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn scripts(
        &self,
        text: Option<&str>,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<(Script, i64)>, i64), StoreError> {
        let mut list = Query::new(LIST);
        let mut count = Query::new(COUNT);
        for query in [&mut list, &mut count] {
            query.push(IN_LIBRARY);
            if let Some(text) = text {
                query.push(CONTAINS).bind(contains(text)).push(ESCAPE);
            }
        }
        list.push(" order by c.name_key, c.id limit ").bind(limit).push(" offset ").bind(offset);
        let read = |row| {
            let mut columns = Columns::of("scripts", row);
            Ok((script_columns(&mut columns)?, columns.integer()?))
        };
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(read).collect::<Result<_, StoreError>>()?, total))
    }

    /// How many devices have it assigned, active, running or pending.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn script_used_by(&self, id: ScriptId) -> Result<i64, StoreError> {
        let row = self.engine().read_one(USED_BY, [Value::id(id)]).await?;
        row.map_or(Ok(0), |row| Columns::of("scripts", row).integer())
    }

    /// All versions of a script, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn versions(&self, script: ScriptId) -> Result<Vec<ScriptVersion>, StoreError> {
        let rows = self.engine().read(VERSIONS, [Value::id(script)]).await?;
        rows.into_iter().map(version_of).collect()
    }

    /// One version of a script.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn version(&self, script: ScriptId, version: i64) -> Result<Option<ScriptVersion>, StoreError> {
        let row = self.engine().read_one(VERSION, [Value::id(script), version.into()]).await?;
        row.map(version_of).transpose()
    }

    /// The newest version of a script with these bytes.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn version_with(&self, script: ScriptId, digest: Digest) -> Result<Option<i64>, StoreError> {
        let row = self.engine().read_one(VERSION_WITH, [Value::id(script), Value::id(digest)]).await?;
        row.map(|row| Columns::of("versions", row).integer()).transpose()
    }

    /// The number that a query counts.
    pub(crate) async fn count(&self, query: Query) -> Result<i64, StoreError> {
        let row = self.engine().ask(query).await?.into_iter().next();
        row.map_or(Ok(0), |row| Columns::of("count", row).integer())
    }
}
