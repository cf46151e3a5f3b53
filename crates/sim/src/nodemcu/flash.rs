//! The flash of a board: a flat set of files in one folder, with the name length and size limits of SPIFFS.
//! Every write goes straight to the file, so a power cut keeps what was written.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Longest file name, as SPIFFS has it.
const NAME_MAX_BYTES: usize = 31;

/// The flash of one board.
pub(crate) struct Flash {
    folder: PathBuf,
    /// Room for files, in bytes.
    pub(crate) size_bytes: u64,
    /// Bytes that are still written before the power goes, if it is to go.
    pub(crate) cut_at: Cell<Option<u64>>,
}

impl Flash {
    /// Opens the flash in `folder`, which is made if it is missing, with room for so many bytes.
    pub(crate) fn open(folder: &Path, size_bytes: u64) -> io::Result<Self> {
        // Settings hold credentials, so the folder is for its owner only.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), size_bytes, cut_at: Cell::new(None) })
    }

    /// Opens a file with a mode of the C library (`r`, `w`, `a`, each with or without `+`). `None` if it
    /// cannot be.
    pub(crate) fn open_file(&self, name: &[u8], mode: &str) -> Option<File> {
        let path = self.path(name)?;
        let mut options = OpenOptions::new();
        match mode.trim_end_matches('b') {
            "r" => options.read(true),
            "r+" => options.read(true).write(true),
            "w" => options.write(true).create(true).truncate(true),
            "w+" => options.read(true).write(true).create(true).truncate(true),
            "a" => options.append(true).create(true),
            "a+" => options.read(true).append(true).create(true),
            _ => return None,
        };
        options.open(path).ok()
    }

    /// The whole file, if it exists.
    pub(crate) fn read(&self, name: &[u8]) -> Option<Vec<u8>> {
        fs::read(self.path(name)?).ok()
    }

    /// Replaces a file; false when it does not fit or the name is impossible.
    pub(crate) fn write(&self, name: &[u8], content: &[u8]) -> bool {
        let fits = content.len() as u64 <= self.remaining();
        fits && self.path(name).is_some_and(|path| fs::write(path, content).is_ok())
    }

    pub(crate) fn size(&self, name: &[u8]) -> Option<u64> {
        fs::metadata(self.path(name)?).ok().map(|data| data.len())
    }

    /// A missing file is no error.
    pub(crate) fn remove(&self, name: &[u8]) {
        if let Some(path) = self.path(name) {
            let _ = fs::remove_file(path);
        }
    }

    /// False when `from` is missing or `to` exists.
    pub(crate) fn rename(&self, from: &[u8], to: &[u8]) -> bool {
        match (self.path(from), self.path(to)) {
            (Some(from), Some(to)) => from.exists() && !to.exists() && fs::rename(from, to).is_ok(),
            _ => false,
        }
    }

    /// Names and sizes, sorted by name.
    pub(crate) fn list(&self) -> Vec<(Vec<u8>, u64)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let data = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((decode(entry.file_name().to_str()?)?, data.len()))
            })
            .collect();
        files.sort();
        files
    }

    /// Bytes left.
    pub(crate) fn remaining(&self) -> u64 {
        let used: u64 = self.list().iter().map(|(_, size)| size).sum();
        self.size_bytes.saturating_sub(used)
    }

    /// Where a file of the board lies on the host. Names are flat on SPIFFS, `/` is a character like others;
    /// whatever could mean something to the host is escaped, so no name leads out of the folder.
    fn path(&self, name: &[u8]) -> Option<PathBuf> {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if name.is_empty() || name.len() > NAME_MAX_BYTES || name.contains(&0) {
            return None;
        }
        let mut encoded = String::new();
        for (index, byte) in name.iter().enumerate() {
            let plain =
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || (*byte == b'.' && index > 0);
            if plain {
                encoded.push(char::from(*byte));
            } else {
                encoded.push_str(&format!("%{byte:02x}"));
            }
        }
        Some(self.folder.join(encoded))
    }
}

/// The name on the board of a file on the host; `None` if the board cannot have written it.
fn decode(encoded: &str) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            name.push(*byte);
        }
    }
    (name.len() <= NAME_MAX_BYTES).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let flash = Flash::open(&folder.path().join("board"), 4096).unwrap();
        for name in ["../out", "..", ".", "a/../../b", "/etc/passwd", "%2e%2e", "ä b"] {
            assert!(flash.write(name.as_bytes(), b"x"), "{name}");
            assert_eq!(flash.read(name.as_bytes()).as_deref(), Some(&b"x"[..]), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(flash.list().len(), 7);
        for name in ["", "a\0b", "a name that is much too long for it"] {
            assert!(!flash.write(name.as_bytes(), b"x"), "{name}");
        }
    }

    #[test]
    fn a_full_flash_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let flash = Flash::open(folder.path(), 4096).unwrap();
        assert!(!flash.write(b"big", &[0; 4097]));
        assert_eq!(flash.remaining(), 4096);
    }
}
