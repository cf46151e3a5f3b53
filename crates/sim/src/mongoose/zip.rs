//! Firmware as Mongoose OS takes it: a zip without compression whose first entry is `<folder>/manifest.json`. It is
//! read from the front, as it arrives.

use serde_json::Value;

/// Of an entry.
const SIGNATURE: [u8; 4] = *b"PK\x03\x04";
const HEAD_BYTES: usize = 30;

/// What a firmware says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) platform: String,
    pub(super) build_id: String,
}

/// An entry.
struct Entry<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

/// The manifest, once it has arrived.
pub(super) fn manifest(zip: &[u8]) -> Option<Result<Manifest, String>> {
    match entry(zip)? {
        Ok((entry, _)) => Some(read(&entry)),
        Err(why) => Some(Err(why)),
    }
}

/// Checks the whole: every entry and its sum.
pub(super) fn check(zip: &[u8]) -> Result<(), String> {
    let mut rest = zip;
    while rest.starts_with(&SIGNATURE) {
        let (_, behind) = entry(rest).ok_or("the file ends too early")??;
        rest = behind;
    }
    // Behind the entries is the directory, which a device does not need.
    if rest.starts_with(b"PK\x01\x02") { Ok(()) } else { Err("the file ends too early".to_owned()) }
}

fn read(entry: &Entry) -> Result<Manifest, String> {
    if !entry.name.ends_with("/manifest.json") && entry.name != "manifest.json" {
        return Err("the first entry is not the manifest".to_owned());
    }
    let manifest: Value =
        serde_json::from_slice(entry.bytes).map_err(|error| format!("bad manifest: {error}"))?;
    let text = |key: &str| manifest[key].as_str().unwrap_or_default().to_owned();
    Ok(Manifest {
        name: text("name"),
        version: text("version"),
        platform: text("platform"),
        build_id: text("build_id"),
    })
}

/// The entry at the front and what is behind it; `None` if more must arrive.
fn entry(zip: &[u8]) -> Option<Result<(Entry<'_>, &[u8]), String>> {
    let head = zip.get(..HEAD_BYTES)?;
    let number = |at: usize, bytes: usize| {
        head[at..at + bytes].iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
    };
    if head[..4] != SIGNATURE {
        return Some(Err("not a zip".to_owned()));
    }
    if number(8, 2) != 0 {
        return Some(Err("the file is compressed".to_owned()));
    }
    if number(6, 2) & 8 != 0 {
        return Some(Err("sizes behind the data are not supported".to_owned()));
    }
    let (size, name_bytes, extra_bytes) = (number(18, 4), number(26, 2), number(28, 2));
    let name = zip.get(HEAD_BYTES..HEAD_BYTES + name_bytes)?;
    let start = HEAD_BYTES + name_bytes + extra_bytes;
    let bytes = zip.get(start..start.checked_add(size)?)?;
    let Ok(name) = std::str::from_utf8(name) else { return Some(Err("bad name".to_owned())) };
    if crc32(bytes) as usize != number(14, 4) {
        return Some(Err(format!("bad CRC of {name}")));
    }
    Some(Ok((Entry { name, bytes }, &zip[start + size..])))
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (number, place) in (0u32..).zip(table.iter_mut()) {
        *place = (0..8).fold(number, |sum, _| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 });
    }
    !bytes.iter().fold(!0u32, |sum, byte| table[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A zip without compression.
    pub(in crate::mongoose) fn pack(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = Vec::new();
        for (name, bytes) in entries {
            let length = u32::try_from(bytes.len()).expect("is small").to_le_bytes();
            zip.extend(SIGNATURE);
            zip.extend([20, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            zip.extend(crc32(bytes).to_le_bytes());
            zip.extend(length);
            zip.extend(length);
            zip.extend(u16::try_from(name.len()).expect("is short").to_le_bytes());
            zip.extend([0, 0]);
            zip.extend(name.bytes());
            zip.extend(*bytes);
        }
        zip.extend(b"PK\x01\x02");
        zip
    }

    /// A firmware for a platform.
    pub(in crate::mongoose) fn firmware(version: &str, platform: &str) -> Vec<u8> {
        let manifest = serde_json::json!({
            "name": "smartlight", "version": version, "platform": platform, "build_id": format!("b-{version}"),
        });
        pack(&[("fw/manifest.json", manifest.to_string().as_bytes()), ("fw/fw.bin", &[7; 3000])])
    }

    #[test]
    fn a_firmware_is_read_as_it_arrives() {
        let zip = firmware("1.1", "esp8266");
        assert_eq!(manifest(&zip[..40]), None);
        let read = manifest(&zip).expect("is there").expect("is read");
        assert_eq!((read.version.as_str(), read.platform.as_str()), ("1.1", "esp8266"));
        assert_eq!(check(&zip), Ok(()));
    }

    #[test]
    fn what_is_wrong_with_a_firmware_is_found() {
        let zip = firmware("1.1", "esp8266");
        assert!(check(&zip[..zip.len() - 100]).is_err(), "cut off");
        let mut flipped = zip.clone();
        flipped[1000] ^= 1;
        assert_eq!(check(&flipped), Err("bad CRC of fw/fw.bin".to_owned()));
        let mut deflated = zip;
        deflated[8] = 8;
        assert_eq!(manifest(&deflated), Some(Err("the file is compressed".to_owned())));
        assert_eq!(manifest(&[0; 64]), Some(Err("not a zip".to_owned())));
        assert!(manifest(&pack(&[("fw/fw.bin", b"x")])).expect("is there").is_err());
    }
}
