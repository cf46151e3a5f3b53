//! An update on its way into a light: `OTA.Begin`, `OTA.Write` and `OTA.End`, or a whole file that it fetched.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::call::{Answer, Fault, fault};
use super::zip::{self, Manifest};

/// Room for one firmware in bytes.
const SIZE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The states of `OTA.Status`.
const IDLE: u8 = 0;
const PROGRESS: u8 = 1;
const FAILED: u8 = 2;
const SUCCESS: u8 = 3;

/// What has arrived.
#[derive(Debug, Default)]
pub(super) struct Update {
    state: u8,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    bytes: Vec<u8>,
    commit_timeout_s: u64,
}

impl Update {
    /// `OTA.Status`.
    pub(super) fn status(&self) -> Value {
        let word = ["idle", "progress", "error", "success"][usize::from(self.state)];
        json!({ "state": self.state, "message": word })
    }

    /// `OTA.Begin {"timeout","commit_timeout","size"}`.
    pub(super) fn begin(&mut self, params: &Value) -> Answer {
        if self.open.is_some() {
            return fault(500, "OTA already in progress");
        }
        let size = params["size"].as_u64().unwrap_or(0);
        if size > SIZE_BYTES_MAX as u64 {
            return fault(500, "too large");
        }
        let commit_timeout_s = params["commit_timeout"].as_u64().unwrap_or(0);
        self.open = Some(Open { bytes: Vec::new(), commit_timeout_s });
        self.state = PROGRESS;
        Ok(json!(true))
    }

    /// `OTA.Write {"data"}`: the platform is looked at as soon as the manifest is there.
    pub(super) fn write(&mut self, params: &Value, platform: &str) -> Answer {
        let Some(open) = &mut self.open else { return fault(500, "OTA not started") };
        let data = params["data"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
        let Some(data) = data else { return fault(500, "data required") };
        open.bytes.extend(data);
        let checked = match zip::manifest(&open.bytes) {
            _ if open.bytes.len() > SIZE_BYTES_MAX => Err("too large".to_owned()),
            None => Ok(()),
            Some(manifest) => manifest.and_then(|manifest| suits(&manifest, platform)),
        };
        match checked {
            Ok(()) => Ok(json!(true)),
            Err(why) => self.fails(why),
        }
    }

    /// `OTA.End`: the firmware, and how long it may run before it is committed.
    pub(super) fn end(&mut self, params: &Value, platform: &str) -> Result<(Manifest, u64), Fault> {
        let Some(open) = self.open.take() else { return fault(500, "OTA not started") };
        let commit_timeout_s = params["commit_timeout"].as_u64().unwrap_or(open.commit_timeout_s);
        self.whole(&open.bytes, platform).map(|manifest| (manifest, commit_timeout_s))
    }

    /// A whole file.
    pub(super) fn whole(&mut self, bytes: &[u8], platform: &str) -> Result<Manifest, Fault> {
        let manifest = zip::manifest(bytes).unwrap_or_else(|| Err("the file ends too early".to_owned()));
        let checked = manifest.and_then(|manifest| {
            suits(&manifest, platform)?;
            zip::check(bytes)?;
            Ok(manifest)
        });
        match checked {
            Ok(manifest) => {
                self.state = SUCCESS;
                Ok(manifest)
            }
            Err(why) => self.fails(why),
        }
    }

    /// The light restarted: what had arrived is lost.
    pub(super) fn restart(&mut self) {
        *self = Self { state: IDLE, open: None };
    }

    fn fails<T>(&mut self, why: String) -> Result<T, Fault> {
        self.open = None;
        self.state = FAILED;
        fault(500, why)
    }
}

fn suits(manifest: &Manifest, platform: &str) -> Result<(), String> {
    let wanted = manifest.platform.to_lowercase();
    match !wanted.is_empty() && wanted.starts_with(&platform.to_lowercase()) {
        true => Ok(()),
        false => Err("Wrong platform".to_owned()),
    }
}
