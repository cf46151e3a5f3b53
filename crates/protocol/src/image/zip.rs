//! Zip files whose entries are stored as they are, by their central directory.

use crate::DecodeError;

/// Most entries.
const ENTRIES_MAX: usize = 1000;
/// Bytes of the record at the end, without its comment, and the longest comment.
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 65_535;
const DIRECTORY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;

/// A file in a zip.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Its path, with `/`.
    pub(super) name: &'a str,
    /// Its content.
    pub(super) body: &'a [u8],
}

/// The files of a zip, in the order of its directory.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, DecodeError> {
    let end = end_of(bytes)?;
    let count = usize::from(u16_at(end, 10)?);
    if count > ENTRIES_MAX || count != usize::from(u16_at(end, 8)?) {
        return Err(DecodeError(format!(
            "the zip has {count} entries or several parts; at most {ENTRIES_MAX} in one"
        )));
    }
    let mut place = u32_at(end, 16)?;
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let head = bytes.get(place..).filter(|head| head.starts_with(b"PK\x01\x02"));
        let head = head.ok_or_else(|| truncated("an entry of the directory is not where it should be"))?;
        let [name_bytes, extra, comment] =
            [u16_at(head, 28)?, u16_at(head, 30)?, u16_at(head, 32)?].map(usize::from);
        let name = named(part(head, DIRECTORY_BYTES, name_bytes)?)?;
        let body = body_of(bytes, head, name)?;
        if entries.iter().any(|entry| entry.name == name) {
            return Err(DecodeError(format!("entry {name:?} is in the zip twice")));
        }
        total += body.len();
        if total > bytes.len() {
            return Err(DecodeError(
                "its entries overlap: together they are larger than the file".to_owned(),
            ));
        }
        // The name of a folder ends with a slash; folders have no content.
        if !name.ends_with('/') {
            entries.push(Entry { name, body });
        }
        place += DIRECTORY_BYTES + name_bytes + extra + comment;
    }
    Ok(entries)
}

/// The record at the end of the file.
fn end_of(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let latest = bytes.len().checked_sub(END_BYTES).ok_or_else(|| truncated("it is too short for a zip"))?;
    let earliest = latest.saturating_sub(COMMENT_BYTES_MAX);
    (earliest..=latest)
        .rev()
        .map(|place| &bytes[place..])
        .find(|end| {
            end.starts_with(b"PK\x05\x06") && u16_at(end, 20).map(usize::from) == Ok(end.len() - END_BYTES)
        })
        .ok_or_else(|| truncated("the directory at its end is missing"))
}

/// What an entry contains, if it is stored as it is and has the CRC that the directory says.
fn body_of<'a>(bytes: &'a [u8], head: &[u8], name: &str) -> Result<&'a [u8], DecodeError> {
    let (flags, method) = (u16_at(head, 8)?, u16_at(head, 10)?);
    let crc = u32_at(head, 16)?;
    let (packed, size, place) = (u32_at(head, 20)?, u32_at(head, 24)?, u32_at(head, 42)?);
    if flags & 1 != 0 {
        return Err(DecodeError(format!("entry {name:?} is encrypted")));
    }
    if method != 0 || packed != size {
        let how = "pack it without compression (zip -0), as devices read it";
        return Err(DecodeError(format!("entry {name:?} is compressed: {how}")));
    }
    let local = bytes.get(place..).filter(|local| local.starts_with(b"PK\x03\x04"));
    let local = local.ok_or_else(|| truncated(&format!("entry {name:?} is not where the directory says")))?;
    let (name_bytes, extra) = (usize::from(u16_at(local, 26)?), usize::from(u16_at(local, 28)?));
    // A device reads the file from its beginning and never sees the directory.
    if u16_at(local, 8)? != 0 || part(local, LOCAL_BYTES, name_bytes)? != name.as_bytes() {
        return Err(DecodeError(format!(
            "entry {name:?} is called or packed otherwise than the directory says"
        )));
    }
    let body = part(local, LOCAL_BYTES + name_bytes + extra, size)
        .map_err(|_| truncated(&format!("entry {name:?} does not end within the file")))?;
    let is = crc32fast::hash(body);
    if usize::try_from(is) != Ok(crc) {
        return Err(DecodeError(format!(
            "entry {name:?} is damaged: its CRC is {is:08x} and should be {crc:08x}"
        )));
    }
    Ok(body)
}

/// A name that stays below the folder it is unpacked in.
fn named(bytes: &[u8]) -> Result<&str, DecodeError> {
    let refused = |name: &str| {
        let name: String = name.chars().take(80).collect();
        Err(DecodeError(format!(
            "entry {name:?}: a name has no \"..\", no \"\\\", no \":\" and no leading \"/\""
        )))
    };
    let Ok(name) = std::str::from_utf8(bytes) else { return refused(&String::from_utf8_lossy(bytes)) };
    let is_odd = |c: char| c.is_control() || matches!(c, '\\' | ':');
    let is_path = |part: &str| part.is_empty() || part == "." || part == "..";
    let path = name.strip_suffix('/').unwrap_or(name);
    if name.chars().any(is_odd) || path.split('/').any(is_path) {
        return refused(name);
    }
    Ok(name)
}

fn truncated(what: &str) -> DecodeError {
    DecodeError(format!("the zip is cut off or damaged: {what}; upload it again"))
}

fn part(bytes: &[u8], place: usize, length: usize) -> Result<&[u8], DecodeError> {
    let end = place.checked_add(length);
    end.and_then(|end| bytes.get(place..end)).ok_or_else(|| truncated("a record is not complete"))
}

fn u16_at(bytes: &[u8], place: usize) -> Result<u16, DecodeError> {
    let two = part(bytes, place, 2)?;
    Ok(u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], place: usize) -> Result<usize, DecodeError> {
    let four = part(bytes, place, 4)?;
    let number = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    usize::try_from(number).map_err(|_| truncated("a size is too large"))
}
