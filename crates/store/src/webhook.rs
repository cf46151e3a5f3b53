//! Webhooks. Their secrets are not stored: they are derived.

use motehub_domain::id::WebhookId;
use motehub_domain::webhook::Webhook;

use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// The columns of a webhook, in the order in which [`webhook_of`] reads them.
macro_rules! webhook_select {
    () => {
        "select id, name, url, changes, devices, enabled, disabled_because, secret, rotated_at, after,
            created_at, revision from webhooks"
    };
}

sql! {
    INSERT = "insert into webhooks (id, name, name_key, url, changes, devices, enabled, disabled_because, secret,
        rotated_at, after, created_at, revision) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        on conflict (id) do nothing";
    UPDATE = "update webhooks set name = $2, name_key = $3, url = $4, changes = $5, devices = $6, enabled = $7,
        disabled_because = $8, secret = $9, rotated_at = $10, after = $11, created_at = $12,
        revision = $13 where id = $1 and revision = $13 - 1";
    DELETE = "delete from webhooks where id = $1";
    ALL = concat!(webhook_select!(), " order by name_key");
    ONE = concat!(webhook_select!(), " where id = $1");
}

pub(crate) fn write(webhook: &Webhook) -> Statement {
    let values = [
        Value::id(webhook.id),
        (&webhook.name).into(),
        webhook.name.to_lowercase().into(),
        (&webhook.url).into(),
        serde_json::Value::from(webhook.changes.as_slice()).to_string().into(),
        webhook.devices.as_deref().into(),
        webhook.enabled.into(),
        webhook.disabled_because.as_deref().into(),
        webhook.secret.into(),
        webhook.rotated_at.into(),
        webhook.after.into(),
        webhook.created_at.into(),
        webhook.revision.into(),
    ];
    let sql = if webhook.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("webhook").unique("name")
}

pub(crate) fn delete(id: WebhookId) -> Statement {
    Statement::new(DELETE, [Value::id(id)]).guards("webhook")
}

fn webhook_of(row: Row) -> Result<Webhook, StoreError> {
    let mut columns = Columns::of("webhooks", row);
    let (id, name, url): (WebhookId, _, _) = (columns.parsed()?, columns.text()?, columns.text()?);
    let damaged = || StoreError::damaged(format!("the changes of webhook {id}"));
    let changes = columns.json()?;
    let changes = changes.as_array().ok_or_else(damaged)?;
    let changes = changes.iter().map(|pattern| pattern.as_str().map(str::to_owned));
    Ok(Webhook {
        id,
        name,
        url,
        changes: changes.collect::<Option<_>>().ok_or_else(damaged)?,
        devices: columns.maybe_text()?,
        enabled: columns.boolean()?,
        disabled_because: columns.maybe_text()?,
        secret: columns.integer()?,
        rotated_at: columns.maybe_time()?,
        after: columns.integer()?,
        created_at: columns.time()?,
        revision: columns.integer()?,
    })
}

impl Store {
    /// All webhooks, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(webhook_of).collect()
    }

    /// A webhook.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        self.engine().read_one(ONE, [Value::id(id)]).await?.map(webhook_of).transpose()
    }
}
