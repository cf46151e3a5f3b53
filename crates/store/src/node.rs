//! The nodes of a hub, each as it said last of itself.
//!
//! All times are by the clock of the database ([`Store::ahead`]).

use motehub_domain::time::Time;
use serde_json::Value as Json;

use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

sql! {
    BEAT = "insert into nodes (name, instance, version, started_at, seen_at, address, figures)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (name) do update set instance = excluded.instance, version = excluded.version,
        started_at = excluded.started_at, seen_at = excluded.seen_at, address = excluded.address,
        figures = excluded.figures where nodes.instance = excluded.instance or nodes.seen_at < $8
        returning name";
    ALL = "select name, instance, version, started_at, seen_at, address, figures from nodes order by name";
    LEFT = "update nodes set seen_at = 0 where name = $1 and instance = $2";
    FORGET = "delete from nodes where name = $1 and seen_at < $2";
    NOTE_ONCE = "insert into notes (name, body) values ($1, $2) on conflict (name) do nothing";
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, which no other has.
    pub name: String,
    /// This run of its program.
    pub instance: String,
    /// Of the program.
    pub version: String,
    /// When it started.
    pub started_at: Time,
    /// When it last said so; 0 if it has left in good order.
    pub seen_at: Time,
    /// Where it serves HTTP.
    pub address: String,
    /// How much it has to do.
    pub figures: Json,
}

fn node_of(row: Row) -> Result<Node, StoreError> {
    let mut columns = Columns::of("nodes", row);
    Ok(Node {
        name: columns.text()?,
        instance: columns.text()?,
        version: columns.text()?,
        started_at: columns.time()?,
        seen_at: columns.time()?,
        address: columns.text()?,
        figures: columns.json()?,
    })
}

impl Store {
    /// A node says that it lives. False if another run has its name and was seen at or after `lives_since`.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn beat(&self, node: &Node, lives_since: Time) -> Result<bool, StoreError> {
        let values = [
            node.name.as_str().into(),
            node.instance.as_str().into(),
            node.version.as_str().into(),
            node.started_at.0.into(),
            node.seen_at.0.into(),
            node.address.as_str().into(),
            node.figures.to_string().into(),
            lives_since.0.into(),
        ];
        let statement = Statement::new(BEAT, values);
        Ok(!self.engine().write_freely(Transaction::from(vec![statement])).await?.is_empty())
    }

    /// A node ends in good order.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn leave(&self, name: &str, instance: &str) -> Result<(), StoreError> {
        let statement = Statement::new(LEFT, [name.into(), instance.into()]);
        self.engine().write_freely(Transaction::from(vec![statement])).await.map(drop)
    }

    /// All nodes, also those that are gone, ordered by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(node_of).collect()
    }

    /// Forgets a node that was not seen since a moment.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn forget_node(&self, name: &str, before: Time) -> Result<(), StoreError> {
        let statement = Statement::new(FORGET, [name.into(), before.0.into()]);
        self.engine().write_freely(Transaction::from(vec![statement])).await.map(drop)
    }

    /// The note under a key, which is this one if there was none: whoever comes first says it for all.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn note_once(&self, key: &str, body: &[u8]) -> Result<Vec<u8>, StoreError> {
        if let Some(known) = self.note(key).await? {
            return Ok(known);
        }
        let statement = Statement::new(NOTE_ONCE, [key.into(), Value::Bytes(body.to_vec())]);
        self.engine().write(Transaction::from(vec![statement])).await?;
        Ok(self.note(key).await?.unwrap_or_else(|| body.to_vec()))
    }
}
