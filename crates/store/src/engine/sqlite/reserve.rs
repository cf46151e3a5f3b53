//! Space that is kept for the day when the disk is full: a file beside the database that is given up so that
//! the log can be moved into the database and the database can be opened again, and is taken anew right
//! after.
//!
//! Without it a full disk could not be left: the log takes the last free block, and moving it away needs
//! some.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// More than the log holds when it is moved in time (see `CHECKPOINT_PAGES`).
const RESERVE_BYTES: u64 = 2 * 1024 * 1024;
static BLOCK: [u8; 64 * 1024] = [0; 64 * 1024];
/// With less than this the disk counts as full: twice what SQLite needs to begin.
const PROBE_BYTES: u64 = 2 * 64 * 1024;

/// See the file. In memory there is none.
pub(super) struct Reserve(Option<PathBuf>);

impl Reserve {
    pub(super) fn beside(database: Option<&Path>) -> Self {
        Self(database.map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push("-reserve");
            name.into()
        }))
    }

    /// Gives the space up if the disk has too little for the database to be opened.
    pub(super) fn release_if_full(&self) {
        let Some(path) = &self.0 else { return };
        let probe = path.with_extension("probe");
        if fill(&probe, PROBE_BYTES).is_err() {
            self.release();
        }
        drop(std::fs::remove_file(probe));
    }

    /// Takes the space, if there is so much.
    pub(super) fn hold(&self) {
        let Some(path) = &self.0 else { return };
        if std::fs::metadata(path).is_ok_and(|file| file.len() == RESERVE_BYTES) {
            return;
        }
        if let Err(error) = fill(path, RESERVE_BYTES) {
            tracing::debug!(%error, "no space could be kept for a full disk");
            self.release();
        }
    }

    /// Gives the space up.
    pub(super) fn release(&self) {
        if let Some(path) = &self.0 {
            // It may not be there; if it cannot be removed, it does not help.
            drop(std::fs::remove_file(path));
        }
    }
}

fn fill(path: &Path, size_bytes: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..size_bytes / BLOCK.len() as u64 {
        file.write_all(&BLOCK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_held_and_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::beside(Some(&folder.path().join("motehub.db")));
        let held = || folder.path().join("motehub.db-reserve").metadata().map_or(0, |file| file.len());
        reserve.release();
        reserve.hold();
        assert_eq!(held(), RESERVE_BYTES);
        reserve.hold();
        reserve.release_if_full();
        assert_eq!(held(), RESERVE_BYTES, "there is space");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        reserve.release();
        assert_eq!(held(), 0);
    }
}
