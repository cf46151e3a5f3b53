//! What is not kept of commands: the settings and files of a device hold the passwords of people.

use serde_json::Value;

use super::Command;
use crate::effects::{Effects, Save};

/// Members of arguments and results that are secrets, by their names: no device needs them to be kept.
const SECRETS: [&str; 7] = ["pass", "password", "psk", "token", "secret", "key", "ha1"];
/// What is kept in place of a secret.
const CONCEALED: &str = "(not kept)";

/// A request as it is kept once it was said to a device that somebody waits for: without the secrets in it.
pub fn concealed(mut effects: Effects) -> Effects {
    for save in &mut effects.save {
        if let Save::Command(command) = save {
            command.arguments = kept(command, &command.arguments);
        }
    }
    for change in &mut effects.changes {
        if let Some(Value::Object(after)) = &mut change.after
            && let Some(arguments) = after.get_mut("arguments")
        {
            *arguments = without_secrets(arguments, &change.subject_name);
        }
    }
    effects
}

/// What is kept of the arguments or the result of a command.
pub(super) fn kept(command: &Command, value: &Value) -> Value {
    without_secrets(value, &command.name)
}

/// The settings of a device hold the passwords of people, and so may its files.
fn without_secrets(value: &Value, command: &str) -> Value {
    let is_secret = |name: &str| SECRETS.contains(&name) || name == "data" && command.starts_with("FS.");
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| match value {
                Value::String(text) if is_secret(name) && !text.is_empty() => {
                    (name.clone(), CONCEALED.into())
                }
                value => (name.clone(), without_secrets(value, command)),
            };
            members.iter().map(member).collect()
        }
        Value::Array(items) => items.iter().map(|item| without_secrets(item, command)).collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_not_kept_and_the_rest_is() {
        let config = json!({ "wifi": [{ "ssid": "Home", "pass": "s3cret", "psk": "" }], "dash": { "token": "t0ken" } });
        let kept = without_secrets(&config, "Config.Get");
        let expected = json!({
            "wifi": [{ "ssid": "Home", "pass": CONCEALED, "psk": "" }], "dash": { "token": CONCEALED },
        });
        assert_eq!(kept, expected);
        let piece = json!({ "filename": "conf9.json", "data": "eyJ3" });
        assert_eq!(without_secrets(&piece, "FS.Get")["data"], CONCEALED);
        assert_eq!(without_secrets(&piece, "relay"), piece);
    }
}
