//! Zips as `mos build` packs them, and what is wrong with others.

use super::*;

/// A zip of stored entries, as `mos build` packs it.
fn pack(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, body) in entries {
        let place = u32::try_from(file.len()).unwrap().to_le_bytes();
        let size = u32::try_from(body.len()).unwrap().to_le_bytes();
        let name_bytes = u16::try_from(name.len()).unwrap().to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32fast::hash(body).to_le_bytes());
        common.extend([size, size].concat());
        common.extend(name_bytes);
        common.extend([0, 0]);
        file.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), body].concat());
        directory.extend(
            [b"PK\x01\x02".as_slice(), &[20, 0], &common, &[0; 10], &place, name.as_bytes()].concat(),
        );
    }
    let place = u32::try_from(file.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    file.extend(directory);
    file.extend([b"PK\x05\x06".as_slice(), &[0; 4], &count, &count, &size, &place, &[0, 0]].concat());
    file
}

fn light(parts: &str) -> String {
    format!(r#"{{"name":"light","platform":"esp8266","version":"1.2","build_id":"b7","parts":{parts}}}"#)
}

const PARTS: &str = r#"{"fw":{"type":"fw","src":"fw.bin","size":4,
    "cs_sha1":"1A3C6AC5C7C13D57C45D6F3B8F35B7F5A5A5A5A5"},"rf":{"type":"fill","size":128,"fill":255}}"#;

fn good() -> Vec<u8> {
    let digest = hex(&<Sha1 as sha1::Digest>::digest(b"code"));
    let parts = PARTS.replace("1A3C6AC5C7C13D57C45D6F3B8F35B7F5A5A5A5A5", &digest.to_uppercase());
    pack(&[("light-1.2/manifest.json", light(&parts).as_bytes()), ("light-1.2/fw.bin", b"code")])
}

fn refusal(bytes: &[u8]) -> String {
    manifest(bytes).expect_err("it was accepted").0
}

#[test]
fn a_zip_of_mongoose_os_says_what_it_is() {
    let said = manifest(&good()).unwrap().unwrap();
    let words = [&said.name, &said.platform, &said.version, &said.build].map(String::as_str);
    assert_eq!(words, ["light", "esp8266", "1.2", "b7"]);
    assert_eq!(manifest(b"\xe9plain image"), Ok(None));
}

#[test]
fn what_is_wrong_with_a_zip_is_named() {
    let change = |place: &[u8], offset: usize, to: u8| {
        let mut bytes = good();
        let found = bytes.windows(place.len()).position(|window| window == place).unwrap();
        bytes[found + offset] = to;
        bytes
    };
    let mut deflated = good();
    for head in [b"PK\x01\x02", b"PK\x03\x04"] {
        let place = deflated.windows(4).position(|window| window == head).unwrap();
        deflated[place + if head[2] == 1 { 10 } else { 8 }] = 8;
    }
    let named = |name: &str| pack(&[("a/manifest.json", light("{}").as_bytes()), (name, b"x")]);
    let many: Vec<String> = (0..1001).map(|n| format!("a/{n}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let one = |text: &str| pack(&[("a/manifest.json", text.as_bytes())]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (good()[..good().len() - 30].to_vec(), "directory at its end is missing"),
        (b"PK\x03\x04".to_vec(), "too short"),
        (deflated, "entry \"light-1.2/manifest.json\" is compressed: pack it without compression"),
        (change(b"code", 0, b'X'), "entry \"light-1.2/fw.bin\" is damaged: its CRC"),
        (named("a/../../etc/passwd"), "a name has no \"..\""),
        (named("/etc/passwd"), "no leading \"/\""),
        (named("a\\b"), "a name has no"),
        (named("a/manifest.json"), "is in the zip twice"),
        (pack(&many), "1001 entries"),
        (pack(&[("fw.bin", b"x")]), "the first entry is \"fw.bin\""),
        (pack(&[]), "the first entry is \"nothing\""),
        (one("{"), "manifest.json: EOF"),
        (one(r#"{"platform":"esp32","version":"1"}"#), "manifest.json: name is missing"),
        (one(r#"{"name":1,"platform":"esp32","version":"1"}"#), "name is no text"),
        (one(r#"{"name":"a","platform":"esp32","version":"1"}"#), "parts is missing"),
        (one(&light(PARTS)), "part fw: the zip has no entry \"a/fw.bin\""),
        (one(&(" ".repeat(70_000) + &light("{}"))), "manifest.json: at most 65536 bytes"),
    ];
    for (bytes, why) in cases {
        let said = refusal(&bytes);
        assert!(said.contains(why), "{said:?} does not say {why:?}");
    }
    let with = |body: &[u8]| pack(&[("a/manifest.json", light(PARTS).as_bytes()), ("a/fw.bin", body)]);
    assert!(refusal(&with(b"code!")).contains("part fw: a/fw.bin has 5 bytes, the manifest says 4"));
    assert!(refusal(&with(b"code")).contains("part fw: a/fw.bin has another digest"));
}

#[test]
fn overlapping_entries_are_no_bomb() {
    let body = vec![0; 10_000];
    let mut bytes = pack(&[("a/1", &body), ("a/2", b""), ("a/3", b"")]);
    // The second and third are made to be the first, under its name: the device would write it three times.
    let second = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let first = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let facts = bytes[first + 16..first + 28].to_vec();
    bytes[second + 16..second + 28].copy_from_slice(&facts);
    bytes[second + 42..second + 46].copy_from_slice(&[0; 4]);
    assert!(refusal(&bytes).contains("otherwise than the directory says"), "{}", refusal(&bytes));
}

#[test]
fn no_file_makes_it_panic() {
    let good = good();
    for end in 0..good.len() {
        assert!(manifest(&good[..end]).is_err() || end < 2, "the first {end} bytes were accepted");
    }
    for place in 0..good.len() {
        for to in [0x00, 0xff] {
            let mut bytes = good.clone();
            bytes[place] = to;
            let _ = manifest(&bytes);
        }
    }
}

#[test]
fn a_plain_image_is_one_of_its_platform() {
    assert!(check_plain("ESP32", b"\xe9\x05").is_ok());
    assert!(check_plain("esp8266", b"<html>").unwrap_err().0.contains("0xe9, this file with 0x3c"));
    assert!(check_plain("stm32", b"anything").is_ok());
    assert!(check_plain("stm32", b"").is_err());
}
