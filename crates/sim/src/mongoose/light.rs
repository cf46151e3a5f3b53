//! One light: what it does when it is called, told or switched. Nothing here waits or has a socket.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Answer, Reaction, Then, fault};
use super::config::Config;
use super::fault::{Fate, Fault};
use super::files::Files;
use super::slots::Slots;
use super::update::Update;
use super::zip::Manifest;

/// From a call that restarts the light until it does.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// The calls that it knows.
const METHODS: [&str; 23] = [
    "Config.Get",
    "Config.Save",
    "Config.Set",
    "FS.Get",
    "FS.List",
    "FS.ListExt",
    "FS.Put",
    "FS.Remove",
    "FS.Rename",
    "OTA.Begin",
    "OTA.Commit",
    "OTA.CreateSnapshot",
    "OTA.End",
    "OTA.GetBootState",
    "OTA.Revert",
    "OTA.SetBootState",
    "OTA.Status",
    "OTA.Update",
    "OTA.Write",
    "RPC.List",
    "Shadow.Delta",
    "Sys.GetInfo",
    "Sys.Reboot",
];

/// How a light answers that it took a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It reports, then says yes.
    Reports,
    /// What it applied is its answer, and all that it says.
    Answers,
}

/// A light.
pub(super) struct Light {
    pub(super) config: Config,
    pub(super) slots: Slots,
    files: Files,
    update: Update,
    platform: String,
    manner: Manner,
    fate: Fate,
    /// How often the power fails yet, and at which piece of an update.
    cuts_left: u64,
    pieces: u64,
    on: bool,
    brightness: i64,
    /// What happened that nobody was told yet.
    pub(super) switched: Option<bool>,
    pub(super) boots: u64,
}

impl Light {
    /// A light as it is unpacked.
    pub(super) fn new(config: Config, firmware: Manifest, manner: Manner, fate: Fate) -> Self {
        let usual = firmware.platform.clone();
        let platform = if fate.fault == Some(Fault::WrongPlatform) { "esp32".to_owned() } else { usual };
        let cuts_left = if fate.fault == Some(Fault::PowerCut) { 1 + fate.chance % 4 } else { 0 };
        Self {
            config,
            slots: Slots::factory(firmware),
            files: Files::factory(),
            update: Update::default(),
            platform,
            manner,
            fate,
            cuts_left,
            pieces: 0,
            on: false,
            brightness: 100,
            switched: None,
            boots: 0,
        }
    }

    /// It starts: what was only in its memory is gone. Whether it comes up.
    pub(super) fn boot(&mut self) -> bool {
        self.boots += 1;
        self.config.restart();
        self.update.restart();
        self.pieces = 0;
        (self.on, self.brightness) = (false, 100);
        if self.fate.fault == Some(Fault::Reverts) && !self.slots.is_committed() {
            let _ = self.slots.revert();
            return false;
        }
        true
    }

    /// Whether its settings let it speak to mDash.
    pub(super) fn may_connect(&self) -> bool {
        *self.config.saved("dash.enable") == json!(true)
            && *self.config.saved("wifi.sta.enable") == json!(true)
    }

    /// What it says when it has connected.
    pub(super) fn hello(&self) -> (&'static str, Value) {
        (
            "Dash.Shadow.Update",
            json!({ "state": { "reported": { "on": self.on, "brightness": self.brightness } } }),
        )
    }

    /// Somebody uses the switch on the light itself.
    pub(super) fn switch(&mut self, on: bool) -> (&'static str, Value) {
        self.on = on;
        self.switched = Some(on);
        ("Dash.Shadow.Update", json!({ "state": { "reported": { "on": on } } }))
    }

    /// A call, from wherever it comes.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Reaction {
        match method {
            "RPC.List" => Ok(json!(METHODS)).into(),
            "Sys.GetInfo" => Ok(self.info()).into(),
            "Sys.Reboot" => {
                let after = params["delay_ms"].as_u64().map_or(RESTART_AFTER, Duration::from_millis);
                Reaction::then(Value::Null, Then::Restart(after))
            }
            "Config.Get" => self.config.get(params).into(),
            "Config.Set" => self.config.set(params).into(),
            "Config.Save" => {
                let saved = self.config.save();
                match params["reboot"] == json!(true) {
                    true => Reaction::then(saved, Then::Restart(RESTART_AFTER)),
                    false => Ok(saved).into(),
                }
            }
            "FS.List" => self.files.list().into(),
            "FS.ListExt" => self.files.list_ext().into(),
            "FS.Get" => self.files.get(params).into(),
            "FS.Put" => self.files.put(params).into(),
            "FS.Rename" => self.files.rename(params).into(),
            "FS.Remove" => self.files.remove(params).into(),
            "Shadow.Delta" => self.delta(params),
            _ if method.starts_with("OTA.") => self.ota(method, params),
            _ => fault(404, format!("No handler for {method}")).into(),
        }
    }

    fn ota(&mut self, method: &str, params: &Value) -> Reaction {
        match method {
            "OTA.Status" => Ok(self.update.status()).into(),
            "OTA.Begin" => self.update.begin(params).into(),
            "OTA.Write" => {
                self.pieces += 1;
                if self.cuts_left > 0 && self.pieces > self.fate.chance % 3 {
                    self.cuts_left -= 1;
                    return Reaction::only(Then::PowerCut);
                }
                self.update.write(params, &self.platform).into()
            }
            "OTA.End" => match self.update.end(params, &self.platform) {
                Ok((firmware, commit_timeout_s)) => self.installed(firmware, commit_timeout_s),
                Err(fault) => Err(fault).into(),
            },
            "OTA.Update" => match params["url"].as_str() {
                Some(url) => {
                    let commit_timeout_s = params["commit_timeout"].as_u64().unwrap_or(0);
                    Reaction::only(Then::Fetches { url: url.to_owned(), commit_timeout_s })
                }
                None => fault(500, "url is required").into(),
            },
            "OTA.Commit" => self.commit(),
            "OTA.Revert" => match self.slots.revert() {
                Ok(done) => Reaction::then(done, Then::Restart(RESTART_AFTER)),
                Err(fault) => Err(fault).into(),
            },
            "OTA.GetBootState" => Ok(self.slots.boot_state()).into(),
            "OTA.SetBootState" | "OTA.CreateSnapshot" => fault(500, "not supported by this light").into(),
            _ => fault(404, format!("No handler for {method}")).into(),
        }
    }

    /// What it fetched has arrived, or has not.
    pub(super) fn fetched(&mut self, bytes: Result<Vec<u8>, String>, commit_timeout_s: u64) -> Reaction {
        let platform = self.platform.clone();
        let whole = match bytes {
            Ok(bytes) => self.update.whole(&bytes, &platform),
            Err(why) => fault(-1, why),
        };
        match whole {
            Ok(firmware) => self.installed(firmware, commit_timeout_s),
            Err(fault) => Err(fault).into(),
        }
    }

    fn installed(&mut self, firmware: Manifest, commit_timeout_s: u64) -> Reaction {
        self.slots.install(firmware, commit_timeout_s);
        let then =
            if self.fate.fault == Some(Fault::Silent) { Then::Dies } else { Then::Restart(RESTART_AFTER) };
        Reaction::then(json!(true), then)
    }

    fn commit(&mut self) -> Reaction {
        let is_lost = self.fate.fault == Some(Fault::LostCommit) && !self.slots.is_committed();
        match (is_lost, self.fate.chance % 2) {
            (false, _) => self.slots.commit().into(),
            // It does not arrive, however often it is sent.
            (true, 0) => Reaction { answer: None, tells: Vec::new(), then: None },
            // It arrives, and the answer does not.
            (true, _) => {
                let _ = self.slots.commit();
                Reaction::only(Then::Disconnects)
            }
        }
    }

    /// What is wanted becomes what is, if it is understood.
    fn delta(&mut self, params: &Value) -> Reaction {
        let wanted = params.get("state").unwrap_or(params);
        let mut applied = Map::new();
        if let Some(on) = wanted["on"].as_bool() {
            self.on = if self.fate.fault == Some(Fault::Contradicts) { !on } else { on };
            self.switched = Some(self.on);
            applied.insert("on".to_owned(), json!(self.on));
        }
        if let Some(brightness @ 0..=100) = wanted["brightness"].as_i64() {
            self.brightness = brightness;
            applied.insert("brightness".to_owned(), json!(brightness));
        }
        let applied = Value::Object(applied);
        match self.manner {
            Manner::Answers => Ok(applied).into(),
            Manner::Reports if applied == json!({}) => Ok(json!(true)).into(),
            Manner::Reports => {
                let report = ("Dash.Shadow.Update", json!({ "state": { "reported": applied } }));
                Reaction { answer: Some(Ok(json!(true))), tells: vec![report], then: None }
            }
        }
    }

    fn info(&self) -> Value {
        let running = self.slots.running();
        let (fs_size, fs_free) = self.files.space();
        json!({
            "id": self.config.saved("device.id"), "app": running.name, "fw_version": running.version,
            "fw_id": running.build_id, "mg_version": "2.7", "arch": self.platform,
            "mac": "5CCF7F000001", "uptime": self.boots, "ram_size": 52_000, "ram_free": 31_000,
            "fs_size": fs_size, "fs_free": fs_free,
            "wifi": {
                "sta_ip": "127.0.0.1", "ap_ip": "", "status": "got ip",
                "ssid": self.config.saved("wifi.sta.ssid"),
            },
        })
    }

    /// The page of the light's own server.
    pub(super) fn page(&self) -> Answer {
        self.files.get(&json!({ "filename": "index.html" }))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::mongoose::zip::{manifest, tests::firmware};

    fn light(fault: Option<Fault>, chance: u64) -> Light {
        let first = manifest(&firmware("1.0", "esp8266")).and_then(Result::ok).expect("is firmware");
        let config = Config::set_up("l1", "secret", "ws://hub");
        let mut light = Light::new(config, first, Manner::Reports, Fate { fault, chance });
        assert!(light.boot());
        light
    }

    fn result(light: &mut Light, method: &str, params: &Value) -> Value {
        let answer = light.call(method, params).answer.expect("answers");
        answer.unwrap_or_else(|fault| json!(fault.message))
    }

    fn update(light: &mut Light, zip: &[u8]) -> Value {
        assert_eq!(result(light, "OTA.Begin", &json!({ "commit_timeout": 300 })), true);
        for piece in zip.chunks(1024) {
            let said = light.call("OTA.Write", &json!({ "data": BASE64_STANDARD.encode(piece) }));
            match said.answer {
                Some(Ok(_)) => {}
                Some(Err(fault)) => return json!(fault.message),
                None => return json!(format!("{:?}", said.then)),
            }
        }
        result(light, "OTA.End", &Value::Null)
    }

    #[test]
    fn an_update_stays_only_when_it_is_committed() {
        let mut light = light(None, 0);
        assert_eq!(update(&mut light, &firmware("1.1", "esp8266")), true);
        assert!(light.boot());
        assert_eq!(result(&mut light, "Sys.GetInfo", &Value::Null)["fw_version"], "1.1");
        assert_eq!(result(&mut light, "OTA.GetBootState", &Value::Null)["is_committed"], false);
        assert_eq!(light.slots.commit_within_s(), Some(300));
        assert_eq!(result(&mut light, "OTA.Revert", &Value::Null), Value::Null);
        assert!(light.boot());
        assert_eq!(result(&mut light, "Sys.GetInfo", &Value::Null)["fw_version"], "1.0");
        assert_eq!(update(&mut light, &firmware("1.2", "esp8266")), true);
        assert!(light.boot());
        assert_eq!(result(&mut light, "OTA.Commit", &Value::Null), Value::Null);
        assert_eq!(result(&mut light, "OTA.Commit", &Value::Null), "already committed");
        assert_eq!(result(&mut light, "OTA.Revert", &Value::Null), "already committed");
    }

    #[test]
    fn each_fault_is_what_it_says() {
        let new = firmware("1.1", "esp8266");
        let mut other = light(Some(Fault::WrongPlatform), 0);
        assert_eq!(update(&mut other, &new), "Wrong platform");
        let mut cut = light(Some(Fault::PowerCut), 1);
        assert_eq!(update(&mut cut, &new), "Some(PowerCut)");
        assert!(cut.boot());
        assert_eq!(result(&mut cut, "OTA.Write", &json!({ "data": "" })), "OTA not started");
        let mut crashes = light(Some(Fault::Reverts), 0);
        assert_eq!(update(&mut crashes, &new), true);
        assert!(!crashes.boot());
        assert!(crashes.boot());
        assert_eq!(crashes.slots.running().version, "1.0");
        let mut deaf = light(Some(Fault::LostCommit), 0);
        assert_eq!(update(&mut deaf, &new), true);
        assert!(deaf.call("OTA.Commit", &Value::Null).answer.is_none());
        assert!(!deaf.slots.is_committed());
        let mut mute = light(Some(Fault::LostCommit), 1);
        assert_eq!(update(&mut mute, &new), true);
        assert_eq!(mute.call("OTA.Commit", &Value::Null).then, Some(Then::Disconnects));
        assert!(mute.slots.is_committed());
        let mut contrary = light(Some(Fault::Contradicts), 0);
        let said = contrary.call("Shadow.Delta", &json!({ "state": { "on": true } }));
        assert_eq!(said.tells[0].1["state"]["reported"]["on"], false);
    }

    #[test]
    fn a_delta_is_applied_as_far_as_it_is_understood() {
        let mut light = light(None, 0);
        let said =
            light.call("Shadow.Delta", &json!({ "state": { "on": true, "brightness": 400, "colour": 1 } }));
        assert_eq!(said.tells[0].1["state"]["reported"], json!({ "on": true }));
        assert_eq!(said.answer, Some(Ok(json!(true))));
        let said = light.call("Shadow.Delta", &json!({ "state": { "on": "yes" } }));
        assert_eq!((said.tells.len(), said.answer), (0, Some(Ok(json!(true)))));
        light.manner = Manner::Answers;
        let said = light.call("Shadow.Delta", &json!({ "state": { "on": false } }));
        assert_eq!((said.tells.len(), said.answer), (0, Some(Ok(json!({ "on": false })))));
    }
}
