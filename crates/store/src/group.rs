//! Groups. Their members are not stored: they follow from the selector.

use motehub_domain::group::Group;
use motehub_domain::id::GroupId;

use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// The columns of a group, in the order in which [`group_of`] reads them.
macro_rules! group_select {
    () => {
        "select id, name, selector, description, created_at, revision from groups"
    };
}

sql! {
    INSERT = "insert into groups (id, name, name_key, selector, description, created_at, revision)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing";
    UPDATE = "update groups set name = $2, name_key = $3, selector = $4, description = $5, created_at = $6,
        revision = $7 where id = $1 and revision = $7 - 1";
    DELETE = "delete from groups where id = $1";
    ALL = concat!(group_select!(), " order by name_key");
}

pub(crate) fn write(group: &Group) -> Statement {
    let values = [
        Value::id(group.id),
        (&group.name).into(),
        group.name.to_lowercase().into(),
        (&group.selector).into(),
        (&group.description).into(),
        group.created_at.into(),
        group.revision.into(),
    ];
    let sql = if group.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("group").unique("name")
}

pub(crate) fn delete(id: GroupId) -> Statement {
    Statement::new(DELETE, [Value::id(id)]).guards("group")
}

fn group_of(row: Row) -> Result<Group, StoreError> {
    let mut columns = Columns::of("groups", row);
    Ok(Group {
        id: columns.parsed()?,
        name: columns.text()?,
        selector: columns.text()?,
        description: columns.text()?,
        created_at: columns.time()?,
        revision: columns.integer()?,
    })
}

impl Store {
    /// All groups, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(group_of).collect()
    }
}
