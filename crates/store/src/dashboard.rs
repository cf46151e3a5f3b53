//! Dashboards, and the public links by which they are seen.

use motehub_domain::artifact::Digest;
use motehub_domain::dashboard::{self, Dashboard, PublicLink};
use motehub_domain::id::{DashboardId, PublicLinkId, UserId};
use motehub_domain::time::Time;

use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// The columns of a public link, in the order in which [`link_of`] reads them.
macro_rules! link_select {
    () => {
        "select id, dashboard, label, digest, created_by, created_at, expires_at, last_used_at from public_links"
    };
}

sql! {
    INSERT = "insert into dashboards (id, owner, is_shared, name, name_key, description, blocks, document, created_at,
        updated_at, revision) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (id) do nothing";
    UPDATE = "update dashboards set owner = $2, is_shared = $3, name = $4, name_key = $5, description = $6,
        blocks = $7, document = $8, created_at = $9, updated_at = $10, revision = $11
        where id = $1 and revision = $11 - 1";
    DELETE = "delete from dashboards where id = $1";
    DELETE_KEPT = "delete from dashboards where owner = $1 and is_shared = 0";
    BY_ID = "select id, owner, is_shared, document, created_at, updated_at, revision from dashboards where id = $1";
    SEEN = "select d.id, d.owner, u.name, d.is_shared, d.name, d.description, d.blocks, d.updated_at, d.revision
        from dashboards d left join users u on u.id = d.owner where d.is_shared = 1 or d.owner = $1
        order by d.name_key, d.id limit $2 offset $3";
    COUNT_SEEN = "select count(*) from dashboards where is_shared = 1 or owner = $1";
    COUNT = "select count(*) from dashboards";
    INSERT_LINK = "insert into public_links (id, dashboard, label, digest, created_by, created_at, expires_at,
        last_used_at) values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing";
    DELETE_LINK = "delete from public_links where id = $1";
    LINK_USED = "update public_links set last_used_at = $2 where id = $1";
    LINKS = concat!(link_select!(), " where dashboard = $1 order by created_at, id");
    LINK_BY_DIGEST = concat!(link_select!(), " where digest = $1");
}

/// A dashboard in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardEntry {
    /// Its id.
    pub id: DashboardId,
    /// Whose it is, with the name.
    pub owner: Option<(UserId, String)>,
    /// Whether all people of the vendor see it.
    pub is_shared: bool,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// How many blocks it has.
    pub blocks: i64,
    /// When it was last saved.
    pub updated_at: Time,
    /// How often it was saved.
    pub revision: i64,
}

pub(crate) fn write(dashboard: &Dashboard) -> Statement {
    let document = &dashboard.document;
    let values = [
        Value::id(dashboard.id),
        dashboard.owner.map(|owner| owner.to_string()).into(),
        dashboard.is_shared.into(),
        (&document.name).into(),
        document.name.to_lowercase().into(),
        (&document.description).into(),
        document.blocks.len().into(),
        document.source.to_string().into(),
        dashboard.created_at.into(),
        dashboard.updated_at.into(),
        dashboard.revision.into(),
    ];
    let sql = if dashboard.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("dashboard")
}

pub(crate) fn delete(id: DashboardId) -> Statement {
    Statement::new(DELETE, [Value::id(id)]).guards("dashboard")
}

/// Those that a user kept to itself.
pub(crate) fn delete_kept(owner: UserId) -> Statement {
    Statement::new(DELETE_KEPT, [Value::id(owner)])
}

pub(crate) fn write_link(link: &PublicLink) -> Statement {
    let values = [
        Value::id(link.id),
        Value::id(link.dashboard),
        (&link.label).into(),
        Value::id(link.digest),
        (&link.created_by).into(),
        link.created_at.into(),
        link.expires_at.into(),
        link.last_used_at.into(),
    ];
    Statement::new(INSERT_LINK, values).guards("public link")
}

pub(crate) fn withdraw_link(id: PublicLinkId) -> Statement {
    Statement::new(DELETE_LINK, [Value::id(id)]).guards("public link")
}

pub(crate) fn link_used(id: PublicLinkId, at: Time) -> Statement {
    Statement::new(LINK_USED, [Value::id(id), at.into()])
}

fn dashboard_of(row: Row) -> Result<Dashboard, StoreError> {
    let mut columns = Columns::of("dashboards", row);
    let id: DashboardId = columns.parsed()?;
    let owner = columns.maybe_parsed()?;
    let is_shared = columns.boolean()?;
    let document = dashboard::document(&columns.json()?)
        .map_err(|error| StoreError::damaged(format!("the dashboard {id}: {error}")))?;
    let (created_at, updated_at) = (columns.time()?, columns.time()?);
    Ok(Dashboard { id, owner, is_shared, document, created_at, updated_at, revision: columns.integer()? })
}

fn entry_of(row: Row) -> Result<DashboardEntry, StoreError> {
    let mut columns = Columns::of("dashboards", row);
    let id = columns.parsed()?;
    let owner = columns.maybe_parsed()?.zip(columns.maybe_text()?);
    Ok(DashboardEntry {
        id,
        owner,
        is_shared: columns.boolean()?,
        name: columns.text()?,
        description: columns.text()?,
        blocks: columns.integer()?,
        updated_at: columns.time()?,
        revision: columns.integer()?,
    })
}

fn link_of(row: Row) -> Result<PublicLink, StoreError> {
    let mut columns = Columns::of("public_links", row);
    Ok(PublicLink {
        id: columns.parsed()?,
        dashboard: columns.parsed()?,
        label: columns.text()?,
        digest: columns.parsed()?,
        created_by: columns.text()?,
        created_at: columns.time()?,
        expires_at: columns.maybe_time()?,
        last_used_at: columns.maybe_time()?,
    })
}

impl Store {
    /// A dashboard by its id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn dashboard(&self, id: DashboardId) -> Result<Option<Dashboard>, StoreError> {
        self.engine().read_one(BY_ID, [Value::id(id)]).await?.map(dashboard_of).transpose()
    }

    /// A page of the dashboards that a person sees, or a program (`None`), by name, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn dashboards(
        &self,
        seen_by: Option<UserId>,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<DashboardEntry>, i64), StoreError> {
        let user = seen_by.map(|user| user.to_string()).unwrap_or_default();
        let list = Query::of(SEEN, [user.clone().into(), limit.into(), offset.into()]);
        let (rows, total) = self.engine().page(list, Query::of(COUNT_SEEN, [user.into()])).await?;
        Ok((rows.into_iter().map(entry_of).collect::<Result<_, _>>()?, total))
    }

    /// How many dashboards there are, whoever sees them.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn count_dashboards(&self) -> Result<i64, StoreError> {
        let row = self.engine().read_one(COUNT, []).await?;
        row.map_or(Ok(0), |row| Columns::of("dashboards", row).integer())
    }

    /// The public links of a dashboard, the oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn public_links(&self, dashboard: DashboardId) -> Result<Vec<PublicLink>, StoreError> {
        self.engine().read(LINKS, [Value::id(dashboard)]).await?.into_iter().map(link_of).collect()
    }

    /// A public link by the digest of its secret.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn public_link(&self, digest: Digest) -> Result<Option<PublicLink>, StoreError> {
        self.engine().read_one(LINK_BY_DIGEST, [Value::id(digest)]).await?.map(link_of).transpose()
    }
}
