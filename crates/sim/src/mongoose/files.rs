//! The file system of a light, and the calls on it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::call::{Answer, fault};

/// Room for all files, in bytes.
const SIZE_BYTES: usize = 192 * 1024;
/// Longest name, as SPIFFS has it.
const NAME_BYTES_MAX: usize = 31;
/// Most that is given at once.
const PIECE_BYTES_MAX: usize = 2 * 1024;

/// The files by name.
#[derive(Debug, Clone)]
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// What the factory puts there.
    pub(super) fn factory() -> Self {
        let files = [
            ("conf0.json", "{\n  \"smartlight\": {\n    \"pin\": 2\n  }\n}\n"),
            ("conf5.json", "{\n  \"conf_acl\": \"wifi.*,device.*,dash.enable\"\n}\n"),
            ("index.html", "<!doctype html>\n<title>Smart Light</title>\n<p>Set me up with the app.\n"),
        ];
        Self(files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// Bytes in all, and bytes that are free.
    pub(super) fn space(&self) -> (usize, usize) {
        (SIZE_BYTES, SIZE_BYTES.saturating_sub(self.used()))
    }

    fn used(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// `FS.List`.
    pub(super) fn list(&self) -> Answer {
        Ok(self.0.keys().map(String::as_str).collect())
    }

    /// `FS.ListExt`.
    pub(super) fn list_ext(&self) -> Answer {
        Ok(self.0.iter().map(|(name, bytes)| json!({ "name": name, "size": bytes.len() })).collect())
    }

    /// `FS.Get {"filename","offset","len"}`.
    pub(super) fn get(&self, params: &Value) -> Answer {
        let Some(name) = params["filename"].as_str() else { return fault(400, "filename is required") };
        let Some(bytes) = self.0.get(name) else { return fault(404, "error opening file") };
        let number = |key: &str| params[key].as_u64().and_then(|number| usize::try_from(number).ok());
        let offset = number("offset").unwrap_or(0);
        let Some(rest) = bytes.get(offset..) else { return fault(400, "illegal offset") };
        let length = number("len").unwrap_or(PIECE_BYTES_MAX).min(PIECE_BYTES_MAX).min(rest.len());
        let data = BASE64_STANDARD.encode(&rest[..length]);
        Ok(json!({ "filename": name, "offset": offset, "data": data, "left": rest.len() - length }))
    }

    /// `FS.Put {"filename","data","append"}`.
    pub(super) fn put(&mut self, params: &Value) -> Answer {
        let (Some(name), Some(data)) = (params["filename"].as_str(), params["data"].as_str()) else {
            return fault(400, "filename and data are required");
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return fault(400, "a name has 1 to 31 bytes");
        }
        let Ok(data) = BASE64_STANDARD.decode(data) else { return fault(400, "data is not base64") };
        if self.used() + data.len() > SIZE_BYTES {
            return fault(500, "no space left on device");
        }
        let written = data.len();
        let file = self.0.entry(name.to_owned()).or_default();
        if params["append"] != json!(true) {
            file.clear();
        }
        file.extend(data);
        Ok(json!({ "filename": name, "written": written }))
    }

    /// `FS.Rename {"src","dst"}`.
    pub(super) fn rename(&mut self, params: &Value) -> Answer {
        let (Some(from), Some(to)) = (params["src"].as_str(), params["dst"].as_str()) else {
            return fault(400, "src and dst are required");
        };
        let Some(bytes) = self.0.remove(from) else { return fault(404, "rename failed") };
        self.0.insert(to.to_owned(), bytes);
        Ok(Value::Null)
    }

    /// `FS.Remove {"filename"}`.
    pub(super) fn remove(&mut self, params: &Value) -> Answer {
        match params["filename"].as_str().and_then(|name| self.0.remove(name)) {
            Some(_) => Ok(Value::Null),
            None => fault(404, "remove failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_and_read_in_pieces() {
        let mut files = Files::factory();
        let piece = |text: &str, append| json!({ "filename": "a.txt", "data": BASE64_STANDARD.encode(text), "append": append });
        assert_eq!(files.put(&piece("hello ", false)).map(|done| done["written"].clone()), Ok(json!(6)));
        assert!(files.put(&piece("world", true)).is_ok());
        let got = files.get(&json!({ "filename": "a.txt", "offset": 6, "len": 3 })).unwrap_or_default();
        assert_eq!(got["data"], BASE64_STANDARD.encode("wor"));
        assert_eq!(got["left"], 2);
        assert!(files.rename(&json!({ "src": "a.txt", "dst": "b.txt" })).is_ok());
        assert!(files.get(&json!({ "filename": "a.txt" })).is_err());
        assert!(files.remove(&json!({ "filename": "b.txt" })).is_ok());
        let large = "x".repeat(SIZE_BYTES);
        assert_eq!(files.put(&piece(&large, false)).map_err(|fault| fault.code), Err(500));
    }
}
