//! Which spool a folder is, for which hub, and how often it was opened: from that come numbers that no former life of
//! the gateway has given.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use motehub_protocol::link::VERSION;
use ring::rand::{SecureRandom, SystemRandom};

use super::Lane;

const NAME: &str = "spool";
const LOCK: &str = "lock";
/// Each life has so many numbers.
const NUMBERS_PER_LIFE: u32 = 32;

/// The lock of a folder, held while the file lives: two gateways on one folder would contradict each other.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    file.try_lock().map_err(|_| other("another gateway uses it: stop it, or choose another --spool"))?;
    Ok(file)
}

/// Whether nothing waits in a folder.
pub(super) fn is_empty(folder: &Path) -> io::Result<bool> {
    for lane in Lane::ALL {
        let has_some = match fs::read_dir(folder.join(lane.as_str())) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if has_some {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Begins a life: gives the spool's id and the first number.
pub(super) fn begin(folder: &Path, hub: &str, is_empty: bool) -> io::Result<(u64, u64)> {
    let path = folder.join(NAME);
    let known = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (id, life) = match known.as_deref().map(read) {
        Some(Some((version, of, id, life))) if version == VERSION && of == hub => (id, life + 1),
        Some(_) if is_empty => (new_id()?, 1),
        None if is_empty => (new_id()?, 1),
        Some(Some((version, of, ..))) if of == hub => {
            return Err(other(&format!(
                "what waits in it was written by another release (version {version} of the link, this one has \
                 {VERSION}): let that release deliver it, or move the folder away"
            )));
        }
        Some(Some(_)) => {
            return Err(other("what waits in it is for another hub: choose another --spool"));
        }
        Some(None) | None => {
            return Err(other("its file `spool` is damaged or missing: move the folder away"));
        }
    };
    let new = folder.join("spool.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{VERSION} {id} {life} {hub}")?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()?;
    Ok((id, life << NUMBERS_PER_LIFE))
}

/// Version, hub, id, life.
fn read(text: &str) -> Option<(u64, &str, u64, u64)> {
    let mut words = text.trim_end().splitn(4, ' ');
    let (version, id, life) = (words.next()?, words.next()?, words.next()?);
    Some((version.parse().ok()?, words.next()?, id.parse().ok()?, life.parse().ok()?))
}

fn new_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| other("the system has no random numbers"))?;
    // The hub keeps it as a number with a sign.
    Ok(u64::from_be_bytes(bytes) >> 1)
}

fn other(sentence: &str) -> io::Error {
    io::Error::other(sentence.to_owned())
}
