//! Leases: which node does the work that only one may do. A holder that does not renew in time loses it to whoever asks
//! next; the epoch counts holders, so that what a former one still has on its way is refused.
//!
//! All times are by the clock of the database ([`Store::ahead`]).

use motehub_domain::time::Time;

use crate::engine::row::{Columns, Row};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

sql! {
    TAKE = "insert into leases (work, holder, node, epoch, until) values ($1, $2, $3, 1, $4)
        on conflict (work) do update set holder = excluded.holder, node = excluded.node, epoch = leases.epoch + 1,
        until = excluded.until where leases.until < $5 or leases.holder = excluded.holder returning epoch";
    RENEW = "update leases set until = $1 where work = $2 and holder = $3 and epoch = $4 returning epoch";
    RELEASE = "update leases set until = 0 where work = $1 and holder = $2 and epoch = $3";
    ALL = "select work, node, holder, epoch, until from leases order by work";
    HELD = "update leases set epoch = epoch where work = $1 and holder = $2 and epoch = $3";
}

/// That somebody holds a lease: what is committed under it is refused once another one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which work.
    pub work: String,
    /// The run of a program that holds it.
    pub holder: String,
    /// The how-manieth holder it is.
    pub epoch: i64,
}

/// A lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it, or held it last.
    pub held: Held,
    /// The name of the node.
    pub node: String,
    /// Until when, by the clock of the database.
    pub until: Time,
}

/// Refuses a transaction whose lease somebody else holds.
pub(crate) fn guard(held: &Held) -> Statement {
    let values = [held.work.as_str().into(), held.holder.as_str().into(), held.epoch.into()];
    Statement::new(HELD, values).guards("lease")
}

fn lease_of(row: Row) -> Result<Lease, StoreError> {
    let mut columns = Columns::of("leases", row);
    let (work, node, holder) = (columns.text()?, columns.text()?, columns.text()?);
    Ok(Lease { held: Held { work, holder, epoch: columns.integer()? }, node, until: columns.time()? })
}

impl Store {
    /// Takes a lease that nobody holds now, until a moment. `None` if somebody does.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn take_lease(
        &self,
        work: &str,
        holder: &str,
        node: &str,
        until: Time,
        now: Time,
    ) -> Result<Option<Held>, StoreError> {
        let values = [work.into(), holder.into(), node.into(), until.0.into(), now.0.into()];
        let rows = self.write_lease(Statement::new(TAKE, values)).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let epoch = Columns::of("leases", row).integer()?;
        Ok(Some(Held { work: work.to_owned(), holder: holder.to_owned(), epoch }))
    }

    /// Holds a lease for longer, until a moment. False if somebody else has it.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn renew_lease(&self, held: &Held, until: Time) -> Result<bool, StoreError> {
        let values =
            [until.0.into(), held.work.as_str().into(), held.holder.as_str().into(), held.epoch.into()];
        Ok(!self.write_lease(Statement::new(RENEW, values)).await?.is_empty())
    }

    /// Gives a lease back, so that another node takes it at once.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn release_lease(&self, held: &Held) -> Result<(), StoreError> {
        let values = [held.work.as_str().into(), held.holder.as_str().into(), held.epoch.into()];
        self.write_lease(Statement::new(RELEASE, values)).await.map(drop)
    }

    /// All leases, ordered by work.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(lease_of).collect()
    }

    /// One lease in a transaction, so that none ever waits for another while it has one.
    async fn write_lease(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        self.engine().write_freely(Transaction::from(vec![statement])).await
    }
}
