//! Backups: the whole database and some small files in one file, taken while others write.
//!
//! A backup is a SQLite database like the hub's own, with one more table for the small files, and behind it one
//! line of text with the SHA-256 of all bytes before it. A file without that line is not complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use motehub_domain::artifact::Digest;
use sha2::{Digest as _, Sha256};

use crate::StoreError;
use crate::engine::copy;

/// What the last line begins with; the digest and a line feed follow.
const LABEL: &str = "motehub backup 1 sha256 ";
/// Bytes of the last line.
const LINE_BYTES: u64 = 24 + 64 + 1;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Most small files in a backup.
const FILES_MAX: usize = 1000;
/// Largest small file, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most folders that a small file lies in.
const DEPTH_MAX: usize = 3;

/// A small file that is kept beside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Where it lies, relative to the data folder, with `/`.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its content, at most 1 MiB.
    pub body: Vec<u8>,
}

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Bytes of the whole file.
    pub size_bytes: u64,
    /// SHA-256 of all but its last line.
    pub digest: Digest,
    /// The place of the last change that is in it.
    pub last_seq: i64,
}

/// Why a backup was not taken or cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        why: io::Error,
    },
    /// The file is something else.
    #[error("{0} is not a backup of Motehub, or only its beginning: it does not end with the line of one")]
    Incomplete(String),
    /// Its bytes are not those that were written.
    #[error("{0} is damaged: its bytes are not those that were written; use another backup")]
    Damaged(String),
    /// A small file cannot be kept or put back.
    #[error("{path} cannot be part of a backup: {why}")]
    Attached {
        /// Which.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// The database in it cannot be read or used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    /// What the system says of a file.
    pub fn file(path: &Path, why: io::Error) -> Self {
        Self::File { path: path.display().to_string(), why }
    }
}

/// Copies a database as it is at one moment, with small files, to a file that must not exist. Others may write to
/// the database meanwhile, this process or another. The copy is on disk when this returns; after an error it is
/// removed. `progress` is told the pages that are copied and all there are.
///
/// # Errors
/// If something cannot be read or written, or a small file is no such.
pub fn take_backup(
    database: &Path,
    attached: &[Attached],
    into: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupFacts, BackupError> {
    if attached.len() > FILES_MAX {
        let path = attached[FILES_MAX].path.clone();
        return Err(BackupError::Attached { path, why: "there are more than 1000 files" });
    }
    for file in attached {
        check(file)?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(into);
    made.map_err(|why| BackupError::file(into, why))?;
    let taken = copy::out(database, attached, into, progress).map_err(BackupError::from);
    let taken = taken.and_then(|last_seq| seal(into, last_seq).map_err(|why| BackupError::file(into, why)));
    if taken.is_err() {
        // What it is worth was just said.
        drop(fs::remove_file(into));
    }
    taken
}

/// Whether the database in a file has the newest format that this program knows. It stays as it is.
///
/// # Errors
/// If it is newer, not ours, or cannot be read.
pub fn is_current(database: &Path) -> Result<bool, StoreError> {
    copy::is_current(database)
}

fn seal(path: &Path, last_seq: i64) -> io::Result<BackupFacts> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let digest = digest(&mut file, u64::MAX, &mut io::sink())?;
    let length = file.seek(SeekFrom::End(0))?;
    file.write_all(line(digest).as_bytes())?;
    file.sync_all()?;
    Ok(BackupFacts { size_bytes: length + LINE_BYTES, digest, last_seq })
}

/// Puts the database of a backup at a place where nothing is, and gives its small files. All of the backup is
/// checked before this returns; after an error nothing of the database is left.
///
/// # Errors
/// If the file is no complete backup, was changed since, was written by a newer program, or cannot be read or
/// written.
pub fn unpack_backup(backup: &Path, database: &Path) -> Result<(BackupFacts, Vec<Attached>), BackupError> {
    let unpacked = unpack(backup, database);
    if unpacked.is_err() {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut name = database.as_os_str().to_owned();
            name.push(end);
            // It may not be there.
            drop(fs::remove_file(PathBuf::from(name)));
        }
    }
    unpacked
}

fn unpack(backup: &Path, database: &Path) -> Result<(BackupFacts, Vec<Attached>), BackupError> {
    let of_backup = |why| BackupError::file(backup, why);
    let mut file = File::open(backup).map_err(of_backup)?;
    let size_bytes = file.metadata().map_err(of_backup)?.len();
    let name = backup.display().to_string();
    let Some(length) = size_bytes.checked_sub(LINE_BYTES) else { return Err(BackupError::Incomplete(name)) };
    let mut last = String::new();
    file.seek(SeekFrom::Start(length)).map_err(of_backup)?;
    if file.read_to_string(&mut last).is_err() || !last.starts_with(LABEL) || !last.ends_with('\n') {
        return Err(BackupError::Incomplete(name));
    }
    file.seek(SeekFrom::Start(0)).map_err(of_backup)?;
    let of_copy = |why| BackupError::file(database, why);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(database);
    let mut copied = made.map_err(of_copy)?;
    let digest = digest(&mut file, length, &mut copied).map_err(of_copy)?;
    if line(digest) != last {
        return Err(BackupError::Damaged(name));
    }
    drop(copied);
    let (last_seq, attached) = copy::back(database)?;
    for file in &attached {
        check(file)?;
    }
    let copied = File::open(database).and_then(|file| file.sync_all());
    copied.map_err(of_copy)?;
    Ok((BackupFacts { size_bytes, digest, last_seq }, attached))
}

fn line(digest: Digest) -> String {
    format!("{LABEL}{digest}\n")
}

/// Reads at most so many bytes, passes them on, and gives their digest.
fn digest(from: &mut impl Read, length: u64, into: &mut impl Write) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut from = from.take(length);
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(Digest(hasher.finalize().into()));
        }
        hasher.update(&piece[..count]);
        into.write_all(&piece[..count])?;
    }
}

/// A backup may come from anywhere: nothing of it is written outside the data folder.
fn check(file: &Attached) -> Result<(), BackupError> {
    let refuse = |why| Err(BackupError::Attached { path: file.path.clone(), why });
    let names: Vec<&str> = file.path.split('/').collect();
    if names.iter().any(|name| matches!(*name, "" | "." | "..") || name.contains('\0')) {
        return refuse("its path is not one inside the data folder");
    }
    if names.len() > DEPTH_MAX + 1 {
        return refuse("it lies in more than three folders");
    }
    if file.body.len() > FILE_BYTES_MAX {
        return refuse("it is larger than 1 MiB");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_outside_the_data_folder() {
        let refused = |path: &str| check(&Attached { path: path.into(), mode: 0o600, body: vec![] }).is_err();
        for path in ["", "/etc/passwd", "../x", "tls/../../x", "a//b", "./a", "a/b/c/d/e", "a\0b"] {
            assert!(refused(path), "{path:?}");
        }
        assert!(!refused("tls/ca.pem"));
    }

    #[test]
    fn the_last_line_has_its_length() {
        assert_eq!(line(Digest([7; 32])).len() as u64, LINE_BYTES);
    }
}
