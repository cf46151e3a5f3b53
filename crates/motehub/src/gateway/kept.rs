//! What the MQTT broker of a gateway keeps on the gateway's own disk, in the database that the hub has too.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::Context;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::kept::{Batch, Recalled};
use motehub_domain::time::Time;
use motehub_gateway::hub::{Answer, UplinkError};
use motehub_gateway::link::Notes;
use motehub_store::{Store, StoreError, StoreUrl};

/// The name of the database in the folder.
const DATABASE: &str = "sessions.db";

/// A folder of this machine.
pub(super) struct OwnDisk(Store);

impl OwnDisk {
    /// Opens the folder, which is made if it is missing.
    pub(super) async fn open(folder: &Path) -> anyhow::Result<Self> {
        let about = || format!("spool: the folder {} cannot be used", folder.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(about)?;
        Ok(Self(Store::open(&StoreUrl::Sqlite(folder.join(DATABASE))).await.with_context(about)?))
    }
}

impl Notes for OwnDisk {
    fn keep<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<(), UplinkError>> {
        Box::pin(async move { self.0.keep(batch).await.map_err(|error| unavailable(&error)) })
    }

    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>> {
        Box::pin(async move { self.0.recall().await.map_err(|error| unavailable(&error)) })
    }

    fn note<'a>(&'a self, name: &'a str) -> Answer<'a, Result<Option<Vec<u8>>, UplinkError>> {
        Box::pin(async move { self.0.note(name).await.map_err(|error| unavailable(&error)) })
    }

    fn set_note<'a>(&'a self, name: &'a str, body: Option<Vec<u8>>) -> Answer<'a, Result<(), UplinkError>> {
        Box::pin(async move {
            let save = vec![Save::Note(name.to_owned(), body)];
            let effects = Effects { save, ..Effects::none() };
            // A note has no time of its own.
            self.0.commit(&effects, Time(0)).await.map(drop).map_err(|error| unavailable(&error))
        })
    }
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}
