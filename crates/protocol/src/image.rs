//! Firmware images as files: the zip of Mongoose OS with a manifest in it, and plain images. Nothing is unpacked:
//! what is compressed is refused, so that a small file can never become a large one.

mod zip;

use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::Sha256;

use crate::DecodeError;
use zip::Entry;

/// Largest manifest in bytes.
const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// What the images of Espressif chips begin with.
const ESPRESSIF: u8 = 0xe9;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Of the program.
    pub name: String,
    /// Which hardware it is for.
    pub platform: String,
    /// Its version.
    pub version: String,
    /// Tells builds of one version apart; may be empty.
    pub build: String,
    /// All of it.
    pub json: Map<String, Value>,
}

/// The manifest of a zip, whose entries and parts are what they should be; `None` for a file that is no zip.
///
/// # Errors
/// A sentence that names the entry or part that is wrong.
pub fn manifest(bytes: &[u8]) -> Result<Option<Manifest>, DecodeError> {
    if !bytes.starts_with(b"PK") {
        return Ok(None);
    }
    let entries = zip::entries(bytes)?;
    let first = entries.first().map_or("nothing", |entry| entry.name);
    let Some((folder, "manifest.json")) = first.split_once('/') else {
        let why = format!(
            "the first entry is {first:?}, not <folder>/manifest.json: is it a firmware of Mongoose OS?"
        );
        return Err(DecodeError(why));
    };
    let manifest = read(entries[0].body)?;
    check_parts(&manifest.json, folder, &entries)?;
    Ok(Some(manifest))
}

/// Refuses a plain image that is none of its platform.
///
/// # Errors
/// A sentence that says why.
pub fn check_plain(platform: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    let is_espressif = platform.trim().to_ascii_lowercase().starts_with("esp");
    match bytes.first() {
        None => Err(DecodeError("the file is empty".to_owned())),
        Some(first) if is_espressif && *first != ESPRESSIF => Err(DecodeError(format!(
            "an image for {} begins with the byte 0xe9, this file with {first:#04x}: it is another file",
            platform.trim()
        ))),
        Some(_) => Ok(()),
    }
}

fn read(body: &[u8]) -> Result<Manifest, DecodeError> {
    if body.len() > MANIFEST_BYTES_MAX {
        return Err(DecodeError(format!("manifest.json: at most {MANIFEST_BYTES_MAX} bytes")));
    }
    let json: Map<String, Value> =
        serde_json::from_slice(body).map_err(|e| DecodeError(format!("manifest.json: {e}")))?;
    let text = |field: &str| match json.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(DecodeError(format!("manifest.json: {field} is no text"))),
        None => Err(DecodeError(format!("manifest.json: {field} is missing"))),
    };
    let build = if json.contains_key("build_id") { text("build_id")? } else { String::new() };
    let (name, platform, version) = (text("name")?, text("platform")?, text("version")?);
    Ok(Manifest { name, platform, version, build, json })
}

/// Each part that has a file is there, in the size and with the digest that the manifest says.
fn check_parts(
    manifest: &Map<String, Value>,
    folder: &str,
    entries: &[Entry<'_>],
) -> Result<(), DecodeError> {
    let Some(Value::Object(parts)) = manifest.get("parts") else {
        return Err(DecodeError("manifest.json: parts is missing: there is nothing to flash".to_owned()));
    };
    for (part, facts) in parts {
        let Some(source) = facts.get("src").and_then(Value::as_str) else { continue };
        let name = format!("{folder}/{source}");
        let entry = entries.iter().find(|entry| entry.name == name);
        let body = entry.map(|entry| entry.body).ok_or_else(|| {
            DecodeError(format!("part {part}: the zip has no entry {name:?}, which the manifest names"))
        })?;
        let size = facts.get("size").and_then(Value::as_u64);
        if size.is_some_and(|size| size != body.len() as u64) {
            let size = size.unwrap_or_default();
            let is = body.len();
            return Err(DecodeError(format!("part {part}: {name} has {is} bytes, the manifest says {size}")));
        }
        let is = |field: &str, digest: String| {
            let said = facts.get(field).and_then(Value::as_str);
            said.is_none_or(|said| said.eq_ignore_ascii_case(&digest))
        };
        if !is("cs_sha1", hex(&<Sha1 as sha1::Digest>::digest(body)))
            || !is("cs_sha256", hex(&<Sha256 as sha2::Digest>::digest(body)))
        {
            return Err(DecodeError(format!(
                "part {part}: {name} has another digest than the manifest says"
            )));
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
