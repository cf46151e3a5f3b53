//! Knocks: unknown devices that asked to be let in. The inbox in memory decides; here is what it wrote.

use motehub_domain::device::Dialect;
use motehub_domain::id::KnockId;
use motehub_domain::knock::{Knock, Said, Standing, Via};

use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// Most knocks that are read; the inbox keeps fewer.
const KNOCKS_MAX: i64 = 20_000;

sql! {
    WRITE = "insert into knocks (id, name, dialect, client_id, via, address, has_secret, count, first_at,
        last_at, standing) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (id) do update set client_id = excluded.client_id, via = excluded.via,
        address = excluded.address, has_secret = excluded.has_secret, count = excluded.count,
        last_at = excluded.last_at, standing = excluded.standing";
    HEAR = "insert into knocks (id, name, dialect, client_id, via, address, has_secret, count, first_at,
        last_at, standing) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (id) do update set client_id = excluded.client_id, via = excluded.via,
        address = excluded.address, has_secret = excluded.has_secret, count = excluded.count,
        last_at = excluded.last_at, standing = case
            when knocks.standing = 'ignored' and (coalesce(knocks.client_id, '') <> coalesce(excluded.client_id, '')
                or knocks.via <> excluded.via or knocks.address <> excluded.address
                or knocks.has_secret <> excluded.has_secret) then excluded.standing
            else knocks.standing end";
    DELETE = "delete from knocks where id = $1";
    ALL = "select id, name, dialect, client_id, via, address, has_secret, count, first_at, last_at, standing
        from knocks order by last_at desc limit $1";
}

pub(crate) fn write(knock: &Knock) -> Statement {
    Statement::new(WRITE, values(knock))
}

pub(crate) fn hear(knock: &Knock) -> Statement {
    Statement::new(HEAR, values(knock))
}

fn values(knock: &Knock) -> [Value; 11] {
    let Knock { id, said, count, first_at, last_at, standing } = knock;
    [
        Value::id(id),
        (&said.name).into(),
        said.dialect.as_str().into(),
        said.client_id.as_ref().into(),
        said.via.as_str().into(),
        (&said.address).into(),
        said.has_secret.into(),
        (*count).into(),
        (*first_at).into(),
        (*last_at).into(),
        standing.as_str().into(),
    ]
}

pub(crate) fn delete(id: KnockId) -> Statement {
    Statement::new(DELETE, [Value::id(id)])
}

impl Store {
    /// All knocks, the last heard first; at most 20,000.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn knocks(&self) -> Result<Vec<Knock>, StoreError> {
        let rows = self.engine().read(ALL, [KNOCKS_MAX.into()]).await?;
        rows.into_iter().map(knock_of).collect()
    }
}

fn knock_of(row: Row) -> Result<Knock, StoreError> {
    let mut columns = Columns::of("knocks", row);
    Ok(Knock {
        id: columns.parsed()?,
        said: Said {
            name: columns.text()?,
            dialect: columns.word(|text| Dialect::parse(text).ok())?,
            client_id: columns.maybe_text()?,
            via: columns.word(Via::parse)?,
            address: columns.text()?,
            has_secret: columns.boolean()?,
        },
        count: columns.integer()?,
        first_at: columns.time()?,
        last_at: columns.time()?,
        standing: columns.word(Standing::parse)?,
    })
}
