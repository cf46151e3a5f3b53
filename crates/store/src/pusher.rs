//! Pusher apps.

use motehub_domain::id::PusherAppId;
use motehub_domain::pusher::PusherApp;

use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

sql! {
    INSERT = "insert into pusher_apps (id, number, name, key, base_token, created_at)
        values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing";
    DELETE = "delete from pusher_apps where id = $1";
    ALL = "select id, number, name, key, base_token, created_at from pusher_apps order by name";
}

pub(crate) fn write(app: &PusherApp) -> Statement {
    let values = [
        Value::id(app.id),
        i64::from(app.number).into(),
        (&app.name).into(),
        (&app.key).into(),
        app.base_token.map_or(Value::Null, Value::id),
        app.created_at.into(),
    ];
    Statement::new(INSERT, values).guards("Pusher app").unique("name")
}

pub(crate) fn delete(id: PusherAppId) -> Statement {
    Statement::new(DELETE, [Value::id(id)])
}

fn app_of(row: Row) -> Result<PusherApp, StoreError> {
    let mut columns = Columns::of("pusher_apps", row);
    Ok(PusherApp {
        id: columns.parsed()?,
        number: u32::try_from(columns.integer()?).unwrap_or_default(),
        name: columns.text()?,
        key: columns.text()?,
        base_token: columns.maybe_parsed()?,
        created_at: columns.time()?,
    })
}

impl Store {
    /// All Pusher apps, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn pusher_apps(&self) -> Result<Vec<PusherApp>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(app_of).collect()
    }
}
