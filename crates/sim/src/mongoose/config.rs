//! The settings of a light: a tree of which only known keys can be set, and only those that its access list allows.

use serde_json::{Value, json};

use super::call::{Fault, fault};

/// What the factory lets people set.
const FACTORY_ACL: &str = "wifi.*,device.*,dash.enable,dns_sd.enable";

/// The settings as they are set, and as they were last saved.
#[derive(Debug, Clone)]
pub(super) struct Config {
    now: Value,
    saved: Value,
}

impl Config {
    /// As the factory leaves it: an open access point, and no Wi-Fi of a home yet.
    pub(super) fn factory(id: &str, token: &str, server: &str) -> Self {
        let now = json!({
            "device": { "id": id, "password": "" },
            "dash": { "enable": false, "token": token, "server": server, "send_logs": true },
            "wifi": {
                "ap": { "enable": true, "ssid": "Mongoose-OS-Smart-Light-??????", "pass": "" },
                "sta": { "enable": false, "ssid": "", "pass": "" },
            },
            "dns_sd": { "enable": true, "host_name": "mongoose-os-smart-light" },
            "http": { "enable": true, "listen_addr": "80" },
            "rpc": { "enable": true, "max_frame_size": 4096, "max_queue_length": 25 },
            "smartlight": { "pin": 2, "inverted": true },
            "debug": { "level": 2 },
            "conf_acl": FACTORY_ACL,
        });
        Self { saved: now.clone(), now }
    }

    /// As it is once a customer has set it up.
    pub(super) fn set_up(id: &str, token: &str, server: &str) -> Self {
        let mut config = Self::factory(id, token, server);
        config.now["dash"]["enable"] = json!(true);
        config.now["dns_sd"]["enable"] = json!(false);
        config.now["wifi"]["ap"]["enable"] = json!(false);
        config.now["wifi"]["sta"] = json!({ "enable": true, "ssid": "Home", "pass": "demo-only" });
        config.saved = config.now.clone();
        config
    }

    /// What is saved, which is what a start goes by.
    pub(super) fn saved(&self, path: &str) -> &Value {
        path.split('.').fold(&self.saved, |at, key| &at[key])
    }

    /// All, or what is under a key.
    pub(super) fn get(&self, params: &Value) -> Result<Value, Fault> {
        let Some(key) = params["key"].as_str() else { return Ok(self.now.clone()) };
        match key.split('.').try_fold(&self.now, |at, key| at.get(key)) {
            Some(found) => Ok(found.clone()),
            None => fault(404, format!("no such key: {key}")),
        }
    }

    /// `{"config":{…}}`.
    pub(super) fn set(&mut self, params: &Value) -> Result<Value, Fault> {
        let Value::Object(wanted) = &params["config"] else { return fault(400, "config is required") };
        let acl = self.now["conf_acl"].as_str().unwrap_or_default().to_owned();
        let mut changed = self.now.clone();
        for (key, value) in wanted {
            merge(&mut changed[key.as_str()], value, key, &acl)?;
        }
        self.now = changed;
        Ok(Value::Null)
    }

    /// Keeps what is set.
    pub(super) fn save(&mut self) -> Value {
        self.saved = self.now.clone();
        json!({ "saved": true })
    }

    /// What was not saved is lost.
    pub(super) fn restart(&mut self) {
        self.now = self.saved.clone();
    }
}

fn merge(at: &mut Value, wanted: &Value, path: &str, acl: &str) -> Result<(), Fault> {
    match (at, wanted) {
        (Value::Object(known), Value::Object(wanted)) => {
            for (key, value) in wanted {
                // Keys that this firmware does not know are passed over, as on a real one.
                if let Some(at) = known.get_mut(key) {
                    merge(at, value, &format!("{path}.{key}"), acl)?;
                }
            }
            Ok(())
        }
        (Value::Null, _) => Ok(()),
        (at, wanted) => {
            if std::mem::discriminant(at) != std::mem::discriminant(wanted) {
                return fault(400, format!("{path} has another type"));
            }
            if !is_allowed(path, acl) {
                return fault(403, format!("Setting key {path} is not allowed"));
            }
            *at = wanted.clone();
            Ok(())
        }
    }
}

/// Whether a list such as `wifi.*,device.*` names a key; `*` names all.
fn is_allowed(path: &str, acl: &str) -> bool {
    acl.split(',').map(str::trim).any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => entry == path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_list_allows_is_set() {
        let mut config = Config::factory("l1", "secret", "ws://hub");
        let wifi = json!({ "config": { "wifi": { "sta": { "ssid": "Home", "enable": true } } } });
        assert!(config.set(&wifi).is_ok());
        let server =
            json!({ "config": { "wifi": { "ap": { "enable": false } }, "dash": { "server": "ws://eve" } } });
        assert_eq!(config.set(&server).map_err(|fault| fault.code), Err(403));
        let now = config.get(&Value::Null).unwrap_or_default();
        assert_eq!(now["dash"]["server"], "ws://hub");
        assert_eq!(now["wifi"]["ap"]["enable"], true, "all of it or nothing");
        assert_eq!(
            config.set(&json!({ "config": { "wifi": { "sta": { "ssid": 7 } } } })).map_err(|f| f.code),
            Err(400)
        );
        assert!(config.set(&json!({ "config": { "nonsense": { "x": 1 } } })).is_ok());
    }

    #[test]
    fn what_was_not_saved_is_lost_at_a_restart() {
        let mut config = Config::factory("l1", "secret", "ws://hub");
        let name = |name: &str| json!({ "config": { "device": { "password": name } } });
        assert!(config.set(&name("Hall")).is_ok());
        assert_eq!(config.save(), json!({ "saved": true }));
        assert!(config.set(&name("Kitchen")).is_ok());
        config.restart();
        assert_eq!(config.get(&json!({ "key": "device.password" })), Ok(json!("Hall")));
        assert_eq!(config.get(&json!({ "key": "device.nose" })).map_err(|fault| fault.code), Err(404));
    }
}
