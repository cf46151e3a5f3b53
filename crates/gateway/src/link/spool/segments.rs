//! One lane of a spool on disk: files of bounded size in a folder, written at the end and read from the beginning.
//!
//! A row is its length and checksum, its number, its time and its body. What a crash tore at the end of a file was
//! never acknowledged, and is cut off when the folder is opened. A file is removed when all of it was delivered.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use motehub_domain::time::Time;

/// Bytes of a row before its number: length and checksum of the rest.
const HEAD_BYTES: usize = 8;
/// Bytes of its number and time.
const STAMP_BYTES: usize = 16;
/// The end of the names of files.
const ENDING: &str = ".rows";

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Larger for later ones; 0 if it has none yet.
    pub(crate) number: u64,
    /// When it was said.
    pub(crate) at: Time,
    /// What was said, encoded.
    pub(crate) body: Bytes,
}

impl Row {
    /// Bytes on disk.
    pub(super) fn size(&self) -> u64 {
        (HEAD_BYTES + STAMP_BYTES + self.body.len()) as u64
    }

    fn write(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend([0; HEAD_BYTES]);
        into.extend(self.number.to_be_bytes());
        into.extend(self.at.0.to_be_bytes());
        into.extend(&self.body);
        let sum = crc32fast::hash(&into[start + HEAD_BYTES..]);
        let length = u32::try_from(into.len() - start - HEAD_BYTES).unwrap_or(u32::MAX);
        into[start..start + 4].copy_from_slice(&length.to_be_bytes());
        into[start + 4..start + HEAD_BYTES].copy_from_slice(&sum.to_be_bytes());
    }

    /// The row at the beginning of some bytes; `None` if there is no whole one.
    fn read(bytes: &[u8]) -> Option<Self> {
        let four = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let (length, sum) = (four(0)? as usize, four(4)?);
        let rest = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(length)?)?;
        if length < STAMP_BYTES || crc32fast::hash(rest) != sum {
            return None;
        }
        let number = u64::from_be_bytes(rest[..8].try_into().ok()?);
        let at = i64::from_be_bytes(rest[8..STAMP_BYTES].try_into().ok()?);
        Some(Self { number, at: Time(at), body: Bytes::copy_from_slice(&rest[STAMP_BYTES..]) })
    }
}

/// A file.
#[derive(Debug, Clone)]
struct Segment {
    /// The number of its first row, which is its name.
    first: u64,
    rows: u64,
    bytes: u64,
    /// The time of its newest row.
    newest: Time,
}

/// A lane.
pub(super) struct Segments {
    folder: PathBuf,
    /// After so many bytes a new file is begun.
    segment_bytes: u64,
    all: VecDeque<Segment>,
    /// The last file, while rows are added to it.
    open: Option<Open>,
    /// Bytes and rows of the first file that were delivered.
    taken: (u64, u64),
    /// Rows that were read last: their numbers, and where they end in the first file.
    read: VecDeque<(u64, u64)>,
}

/// The file to which rows are added.
struct Open {
    file: File,
    /// What of it is known to be on disk.
    safe: Option<Segment>,
}

impl Segments {
    /// Opens a folder, which is made if it is missing. `each` is shown every row that is there.
    pub(super) fn open(folder: &Path, segment_bytes: u64, mut each: impl FnMut(&Row)) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING)?.parse::<u64>().ok());
            names.extend(number);
        }
        names.sort_unstable();
        let mut all = VecDeque::new();
        for first in names {
            let path = path(folder, first);
            let bytes = fs::read(&path)?;
            let mut segment = Segment { first, rows: 0, bytes: 0, newest: Time(i64::MIN) };
            while let Some(row) = Row::read(&bytes[usize::try_from(segment.bytes).unwrap_or(0)..]) {
                segment.add(&row);
                each(&row);
            }
            if segment.bytes < bytes.len() as u64 {
                let (kept, found) = (segment.bytes, bytes.len());
                tracing::warn!(path = %path.display(), kept, found, "the end of a file of the spool is torn");
                let file = File::options().write(true).open(&path)?;
                file.set_len(segment.bytes)?;
                file.sync_all()?;
            }
            match segment.rows {
                0 => fs::remove_file(&path)?,
                _ => all.push_back(segment),
            }
        }
        let folder = folder.to_owned();
        Ok(Self { folder, segment_bytes, all, open: None, taken: (0, 0), read: VecDeque::new() })
    }

    /// How many rows wait.
    pub(super) fn rows(&self) -> u64 {
        self.all.iter().map(|segment| segment.rows).sum::<u64>() - self.taken.1
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.all.iter().map(|segment| segment.bytes).sum()
    }

    /// Adds a row. It is on disk after [`Segments::sync`]; after an error of either, [`Segments::undo`].
    pub(super) fn append(&mut self, row: &Row) -> io::Result<()> {
        if self.open.is_some() && self.all.back().is_some_and(|last| last.bytes >= self.segment_bytes) {
            self.sync()?;
            self.open = None;
        }
        if self.open.is_none() {
            let file = File::options().append(true).create_new(true).open(path(&self.folder, row.number))?;
            self.all.push_back(Segment { first: row.number, rows: 0, bytes: 0, newest: row.at });
            self.open = Some(Open { file, safe: None });
            File::open(&self.folder)?.sync_all()?;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(row.size()).unwrap_or(0));
        row.write(&mut bytes);
        if let (Some(open), Some(last)) = (&mut self.open, self.all.back_mut()) {
            open.file.write_all(&bytes)?;
            last.add(row);
        }
        Ok(())
    }

    /// What was added is on disk when this returns.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let (Some(open), Some(last)) = (&mut self.open, self.all.back()) {
            open.file.sync_data()?;
            open.safe = Some(last.clone());
        }
        Ok(())
    }

    /// Takes back what was added and is not on disk.
    pub(super) fn undo(&mut self) {
        let Some(Open { file, safe }) = self.open.take() else { return };
        let Some(last) = self.all.pop_back() else { return };
        // A file that can be neither cut nor removed keeps rows that nobody acknowledged: harmless.
        match safe {
            Some(safe) => {
                let _ = file.set_len(safe.bytes);
                self.all.push_back(safe);
            }
            None => drop(fs::remove_file(path(&self.folder, last.first))),
        }
    }

    /// The first rows that wait, of one file: so many at most and, but for the first, so many bytes.
    pub(super) fn read(&mut self, rows_max: usize, bytes_max: u64) -> io::Result<Vec<Row>> {
        self.read.clear();
        let Some(first) = self.all.front() else { return Ok(Vec::new()) };
        let mut file = File::open(path(&self.folder, first.first))?;
        file.seek(SeekFrom::Start(self.taken.0))?;
        let mut bytes = Vec::new();
        file.take(first.bytes.saturating_sub(self.taken.0)).read_to_end(&mut bytes)?;
        let (mut rows, mut end) = (Vec::new(), 0);
        while rows.len() < rows_max
            && let Some(row) = Row::read(&bytes[usize::try_from(end).unwrap_or(0)..])
            && (rows.is_empty() || end + row.size() <= bytes_max)
        {
            end += row.size();
            self.read.push_back((row.number, self.taken.0 + end));
            rows.push(row);
        }
        Ok(rows)
    }

    /// The rows that were read last, up to this number, are at the hub.
    pub(super) fn delivered(&mut self, number: u64) {
        while let Some((_, end)) = self.read.pop_front_if(|(read, _)| *read <= number) {
            self.taken = (end, self.taken.1 + 1);
        }
        if self.all.front().is_some_and(|first| self.taken.0 >= first.bytes) {
            self.drop_first();
        }
    }

    /// Removes the first file. Gives how many rows in it had not been delivered.
    pub(super) fn drop_first(&mut self) -> u64 {
        let Some(first) = self.all.pop_front() else { return 0 };
        if self.all.is_empty() {
            self.open = None;
        }
        let rows = first.rows.saturating_sub(self.taken.1);
        self.taken = (0, 0);
        self.read.clear();
        // If it comes back after a crash, the hub knows its rows by their numbers.
        if let Err(error) = fs::remove_file(path(&self.folder, first.first)) {
            tracing::warn!(%error, "a file of the spool cannot be removed");
        }
        rows
    }

    /// Removes files whose rows are all older. Gives how many rows in them had not been delivered.
    pub(super) fn expire(&mut self, before: Time) -> u64 {
        let mut dropped = 0;
        while self.all.front().is_some_and(|first| first.newest < before) {
            dropped += self.drop_first();
        }
        dropped
    }
}

impl Segment {
    fn add(&mut self, row: &Row) {
        self.rows += 1;
        self.bytes += row.size();
        self.newest = self.newest.max(row.at);
    }
}

fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{ENDING}"))
}
