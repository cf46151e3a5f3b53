//! Remembering: the only crate that speaks SQL.
//!
//! Writes have three doors: [`Store::commit`] for state (one transaction, guarded, facts included),
//! [`Store::append`] for telemetry (batched, the fast path) and [`Store::put`] for artifacts by digest. What
//! was written is on disk when the call returns. Nothing here decides anything.

/// Names the SQL texts of a file and lists them, so that a test can prepare every one on every engine.
macro_rules! sql {
    ($($(#[$doc:meta])* $vis:vis $name:ident = $text:expr;)*) => {
        $($(#[$doc])* $vis const $name: &str = $text;)*
        pub(crate) const SQL: &[&str] = &[$($name),*];
    };
}

mod alarm;
mod artifact;
mod backup;
mod camera;
mod capability;
mod certificate;
mod change;
mod command;
mod credential;
mod dashboard;
mod delivery;
mod deployment;
mod device;
mod device_list;
mod engine;
mod error;
mod firmware;
mod flow;
mod gateway;
mod group;
mod holder;
mod kept;
mod knock;
mod lease;
mod node;
mod note;
mod overview;
mod person;
mod position;
mod pusher;
mod pyaiot;
mod report;
mod rule;
mod save;
mod script;
mod selector;
mod shadow;
mod share;
mod signal;
mod task;
mod telemetry;
mod transfer;
mod url;
mod usage;
mod webhook;
mod words;

use std::sync::Arc;

use motehub_domain::time::{Span, Time};

pub use alarm::{AlarmQuery, AlarmView};
pub use backup::{Attached, BackupError, BackupFacts, is_current, take_backup, unpack_backup};
pub use change::{ChangeQuery, Recorded};
pub use command::{CommandView, ExecutionView};
pub use dashboard::DashboardEntry;
pub use delivery::DeliveryCounts;
pub use deployment::DeploymentFilter;
pub use device_list::{DeviceQuery, DeviceView, Sort};
pub use error::StoreError;
pub use gateway::GatewayView;
pub use kept::nodes::{BrokerNode, Fence, Moved, PASSED_ROWS_MAX};
pub use lease::{Held, Lease};
pub use node::Node;
pub use overview::Overview;
pub use position::Placed;
pub use report::Logged;
pub use rule::{FiringQuery, FiringView};
pub use share::{Customer, Shared};
pub use signal::said_by;
pub use telemetry::{Aged, Ages, Appended, Bucket, Measured, Merged, Numbers, Sample, States, Sum, Summary};
pub use transfer::{Compared, TransferError, Transferred, transfer};
pub use url::{PostgresUrl, StoreUrl, UrlError};
pub use words::Words;

use engine::Engine;
use telemetry::Telemetry;

/// All that the product remembers. Cheap to clone; when the last clone is dropped, what is queued is finished
/// and the database is closed.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    telemetry: Arc<Telemetry>,
}

impl Store {
    /// Opens the database, creates a file if there is none, and migrates it. On PostgreSQL it works on the runtime
    /// that calls.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Foreign`], or what the disk or the server says. The database is as it was
    /// then.
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let engine = Engine::open(url).await?;
        if transfer::is_unfinished(&engine).await? {
            return Err(StoreError::Unfinished);
        }
        let telemetry = Arc::new(Telemetry::load(&engine).await?);
        Ok(Self { inner: Arc::new(Inner { engine, telemetry }) })
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    fn telemetry_state(&self) -> &Arc<Telemetry> {
        &self.inner.telemetry
    }

    /// Whether other processes may write to this store too.
    pub fn is_shared(&self) -> bool {
        self.engine().is_shared()
    }

    /// How far the clock of the database is ahead of `now`; negative if it is behind. None is ahead in a file.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn ahead(&self, now: Time) -> Result<Span, StoreError> {
        self.engine().ahead(now).await
    }

    /// Looks for damage in the whole database; takes long for a large one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names what was found.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.engine().check().await
    }

    /// How often the engine made something durable since it was opened.
    pub fn commits(&self) -> u64 {
        self.engine().commits()
    }

    /// For tests of a full disk: the database grows to so many pages of 4096 bytes at most.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: i64) -> Result<(), StoreError> {
        self.engine().limit_pages(pages).await
    }

    /// For tests of group commit: nothing is written until what this returns is dropped.
    #[doc(hidden)]
    pub async fn hold_writer(&self) -> Result<std::sync::mpsc::Sender<()>, StoreError> {
        self.engine().hold_writer().await
    }

    /// For the conformance suite: prepares every constant SQL text on the engine.
    #[doc(hidden)]
    pub async fn prepare_all(&self) -> Result<usize, (String, StoreError)> {
        let mut count = 0;
        let nouns: &[&[&'static str]] = &[
            alarm::SQL,
            artifact::SQL,
            firmware::SQL,
            flow::SQL,
            capability::SQL,
            certificate::SQL,
            change::SQL,
            command::SQL,
            credential::SQL,
            deployment::SQL,
            device::SQL,
            kept::SQL,
            kept::nodes::SQL,
            kept::retained::SQL,
            gateway::SQL,
            dashboard::SQL,
            group::SQL,
            holder::SQL,
            knock::SQL,
            lease::SQL,
            node::SQL,
            note::SQL,
            overview::SQL,
            person::SQL,
            camera::SQL,
            position::SQL,
            pusher::SQL,
            pyaiot::SQL,
            report::SQL,
            rule::SQL,
            script::SQL,
            shadow::SQL,
            share::SQL,
            signal::SQL,
            task::SQL,
            telemetry::SQL,
            telemetry::engine_sql(self.is_shared()),
            transfer::SQL,
            usage::SQL,
            webhook::SQL,
            delivery::SQL,
            words::SQL,
        ];
        for sql in nouns.iter().copied().flatten() {
            self.engine().prepare(sql).await.map_err(|error| ((*sql).to_owned(), error))?;
            count += 1;
        }
        Ok(count)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}
