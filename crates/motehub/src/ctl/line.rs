//! `motehub ctl device line`: how a unit is spoken to.

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::Caller;
use super::find;
use super::print::cell;

/// Settings that are numbers.
const NUMBERS: [&str; 3] = ["size_bytes", "reply_ms", "expires_seconds"];

pub(super) fn run(
    caller: &Caller,
    device: &str,
    address: Option<&str>,
    settings: &[String],
) -> anyhow::Result<()> {
    let path = format!("/devices/{}", find::id(caller, "device", device)?);
    let mut edit = Map::new();
    edit.extend(address.map(|address| ("address".to_owned(), json!(address))));
    if !settings.is_empty() {
        edit.insert("line".to_owned(), Value::Object(read(settings)?));
    }
    let device = match edit.is_empty() {
        true => caller.get(&path)?,
        false => caller.api.call("PATCH", &path, Some(&Value::Object(edit)))?,
    };
    anyhow::ensure!(device["line"].is_object(), "only devices of the dialect line have settings of a unit");
    caller.show(&device["line"], |line| {
        let rows = line.as_object().into_iter().flatten();
        rows.map(|(name, value)| format!("{name:<16} {}\n", cell(value))).collect()
    })
}

/// `name=value` each; without a value as usual.
pub(super) fn read(settings: &[String]) -> anyhow::Result<Map<String, Value>> {
    let one = |setting: &String| {
        let (name, value) = setting
            .split_once('=')
            .with_context(|| format!("{setting:?}: a setting is NAME=VALUE, such as kind=read"))?;
        let value = match value {
            "" => Value::Null,
            number if NUMBERS.contains(&name) => {
                json!(number.parse::<i64>().with_context(|| format!("{setting:?}: a whole number"))?)
            }
            columns if name == "columns" => json!(columns.split(',').map(str::trim).collect::<Vec<_>>()),
            text => json!(text),
        };
        Ok((name.to_owned(), value))
    };
    settings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_api_takes_them() {
        let texts = ["kind=read", "pattern=T=(?<t>.*)", "columns=t,,h", "reply_ms=500", "greeting="];
        let read = read(&texts.map(str::to_owned)).unwrap();
        let expected = json!({
            "kind": "read", "pattern": "T=(?<t>.*)", "columns": ["t", "", "h"], "reply_ms": 500, "greeting": null,
        });
        assert_eq!(Value::Object(read), expected);
        for wrong in ["kind", "reply_ms=soon"] {
            assert!(super::read(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
