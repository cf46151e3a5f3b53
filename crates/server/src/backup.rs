//! Backup and restore of a data folder: its database and the small files beside it, the keys of TLS among them.
//!
//! A hub may run on the folder while it is backed up. A restore makes a new folder, or fills an empty one; whatever
//! interrupts it, no hub starts on half of it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::effects::Effects;
use motehub_store::{Attached, BackupError, BackupFacts, Store, StoreUrl, take_backup, unpack_backup};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::clock::Clock;
use crate::random;

/// Where the state of a hub alone is: the database in its data folder.
pub fn store_in(data: &Path) -> StoreUrl {
    StoreUrl::Sqlite(data.join(DATABASE))
}

/// The database in a data folder.
pub(crate) const DATABASE: &str = "motehub.db";
/// Held while a hub runs.
pub(crate) const LOCK: &str = "hub.lock";
/// What a restore that has not ended leaves in the data folder.
pub(crate) const RESTORING: &str = "restoring";
/// What is being written ends with this.
const PART: &str = ".part";
/// A backup that is sent begins with this, while it is written.
const SENT: &str = "backup-";
/// How deep files lie in a data folder.
const DEPTH_MAX: usize = 4;

/// Why a backup was not taken or not restored. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The backup itself.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// There is a file already.
    #[error("{0} exists: choose another name, or use --force to replace it")]
    Exists(String),
    /// It would be part of the next backup, and go away with the folder.
    #[error("{0} is inside the data folder: write the backup somewhere else, best on another disk")]
    Inside(String),
    /// Nothing is written over.
    #[error("{0} is not empty: restore to a new folder, and keep the old one until the new one runs")]
    NotEmpty(String),
    /// There is no data.
    #[error(
        "{0} holds no database of a hub: --data is the folder that `motehub serve` uses; a hub with --store postgres://… \
         is copied by pg_dump, or by `motehub store copy` into a file"
    )]
    NoHub(String),
}

/// Writes a backup of a data folder to a file, which appears when it is complete and on disk. `progress` is told
/// the parts that are done and how many there are.
///
/// # Errors
/// If the file exists and `force` is not given, or something cannot be read or written.
pub async fn backup(
    data: &Path,
    file: &Path,
    force: bool,
    mut progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<BackupFacts, ArchiveError> {
    if !data.join(DATABASE).is_file() {
        return Err(ArchiveError::NoHub(data.display().to_string()));
    }
    if file.exists() && !force {
        return Err(ArchiveError::Exists(file.display().to_string()));
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let real = |path: &Path| fs::canonicalize(path).map_err(|why| BackupError::file(path, why));
    if real(&folder)?.starts_with(real(data)?) {
        return Err(ArchiveError::Inside(file.display().to_string()));
    }
    let part = part_of(file);
    let (from, to) = (data.to_owned(), part.clone());
    let taken = blocking(move || copy(&from, &to, &mut progress)).await?;
    let moved = fs::rename(&part, file).and_then(|()| File::open(&folder)?.sync_all());
    if let Err(why) = moved {
        // It may have been moved.
        drop(fs::remove_file(&part));
        return Err(BackupError::file(file, why).into());
    }
    Ok(taken)
}

/// States that a backup was taken, in the activity log of its hub. A database of an earlier format stays as it
/// is, so nothing is stated there.
///
/// # Errors
/// What the database says.
pub async fn note_backup(data: &Path, taken: &BackupFacts) -> Result<(), ArchiveError> {
    let database = data.join(DATABASE);
    if !motehub_store::is_current(&database).map_err(BackupError::from)? {
        return Ok(());
    }
    let store = Store::open(&StoreUrl::Sqlite(database)).await.map_err(BackupError::from)?;
    let now = Clock::System.now();
    store.commit(&stated(Actor::System, taken), now).await.map_err(BackupError::from)?;
    Ok(())
}

/// The fact that somebody took a backup.
pub(crate) fn stated(actor: Actor, taken: &BackupFacts) -> Effects {
    let after = serde_json::json!({ "size_bytes": taken.size_bytes, "sha256": taken.digest.to_string() });
    let change = Change {
        actor,
        kind: ChangeKind::BackupTaken,
        subject: String::new(),
        subject_name: "backup".to_owned(),
        device: None,
        before: None,
        after: Some(after),
    };
    Effects { changes: vec![change], ..Effects::none() }
}

/// Copies a data folder to a file that must not exist.
pub(crate) fn copy(
    data: &Path,
    into: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupFacts, BackupError> {
    let mut attached = Vec::new();
    collect(data, "", &mut attached)?;
    take_backup(&data.join(DATABASE), &attached, into, progress)
}

/// Every file but the database, the lock, and what is only half written.
fn collect(data: &Path, below: &str, attached: &mut Vec<Attached>) -> Result<(), BackupError> {
    let folder = data.join(below);
    let of_folder = |why| BackupError::file(&folder, why);
    for entry in fs::read_dir(&folder).map_err(of_folder)? {
        let entry = entry.map_err(of_folder)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_at_top = below.is_empty();
        if is_at_top && (name.starts_with(DATABASE) || name == LOCK || name == RESTORING)
            || name.ends_with(PART)
        {
            continue;
        }
        let path = if is_at_top { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(of_folder)?;
        if kind.is_dir() && path.split('/').count() < DEPTH_MAX {
            collect(data, &path, attached)?;
        } else if kind.is_file() {
            let of_file = |why| BackupError::file(&entry.path(), why);
            let mode = entry.metadata().map_err(of_file)?.permissions().mode() & 0o777;
            attached.push(Attached { path, mode, body: fs::read(entry.path()).map_err(of_file)? });
        }
    }
    Ok(())
}

/// Puts a backup into a data folder that is missing or empty.
///
/// # Errors
/// If the folder is not empty, or the backup is not complete, damaged or from a newer program. The folder is then
/// as it was.
pub async fn restore(file: &Path, data: &Path) -> Result<BackupFacts, ArchiveError> {
    let (file, data) = (file.to_owned(), data.to_owned());
    blocking(move || restore_now(&file, &data)).await
}

fn restore_now(file: &Path, data: &Path) -> Result<BackupFacts, ArchiveError> {
    let at = |why| BackupError::file(data, why);
    let is_new = !data.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(at)?;
    let here = fs::read_dir(data).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at)?;
    if here.iter().any(|entry| entry.file_name() != RESTORING) {
        return Err(ArchiveError::NotEmpty(data.display().to_string()));
    }
    let folder = data.join(RESTORING);
    // What an earlier restore left that did not end.
    drop(fs::remove_dir_all(&folder));
    let restored = fill(file, data, &folder);
    if restored.is_err() {
        // The reason is what counts, and the next restore does the same.
        drop(fs::remove_dir_all(&folder));
        if is_new {
            drop(fs::remove_dir(data));
        }
    }
    restored
}

fn fill(file: &Path, data: &Path, folder: &Path) -> Result<BackupFacts, ArchiveError> {
    let at = |why| BackupError::file(folder, why);
    DirBuilder::new().mode(0o700).create(folder).map_err(at)?;
    fs::set_permissions(data, Permissions::from_mode(0o700)).map_err(at)?;
    let (facts, attached) = unpack_backup(file, &folder.join(DATABASE))?;
    for Attached { path, mode, body } in attached {
        let path = folder.join(path);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(folder))?;
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(mode & 0o777).open(&path)?;
            file.write_all(&body)?;
            file.sync_all()
        };
        write().map_err(|why| BackupError::file(&path, why))?;
    }
    // The database comes last: a folder with one is complete.
    let finish = || {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if name != DATABASE {
                fs::rename(folder.join(&name), data.join(&name))?;
            }
        }
        fs::rename(folder.join(DATABASE), data.join(DATABASE))?;
        fs::remove_dir(folder)?;
        File::open(data)?.sync_all()
    };
    finish().map_err(at)?;
    Ok(facts)
}

/// An error if a restore to this folder has not ended.
pub(crate) fn refuse_half_restored(data: &Path) -> io::Result<()> {
    match data.join(RESTORING).exists() {
        false => Ok(()),
        true => Err(io::Error::other(format!(
            "a restore to {} has not ended: wait for it, or empty the folder and restore again",
            data.display()
        ))),
    }
}

/// `hub.backup` while it is written is `hub.backup.123.part`, beside it; 123 is the process. What processes left
/// there that were killed goes away.
pub fn part_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let is_left_over = |name: &str| {
        let rest = file.file_name().and_then(|own| name.strip_prefix(own.to_str()?)?.strip_prefix('.'));
        let process = rest.and_then(|rest| rest.strip_suffix(PART)?.parse().ok()).and_then(Pid::from_raw);
        process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH))
    };
    remove_parts(folder, is_left_over);
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}{PART}", std::process::id()));
    name.into()
}

/// The file from which a backup is sent, in the data folder.
pub(crate) fn sent_part(data: &Path) -> PathBuf {
    data.join(format!("{SENT}{}{PART}", random::secret()))
}

/// Removes those of a hub that was killed. Whoever calls this holds the data folder.
pub(crate) fn remove_sent_parts(data: &Path) {
    remove_parts(data, |name| name.starts_with(SENT) && name.ends_with(PART));
}

fn remove_parts(folder: &Path, is_one: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_one)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(file = %entry.path().display(), %error, "a part of a backup could not be removed");
        }
    }
}

async fn blocking<T: Send + 'static, E: Into<ArchiveError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ArchiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
