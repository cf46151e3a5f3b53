//! What a call of a device means to the product.

use motehub_domain::message::Uplink;
use motehub_domain::report::{
    self, Announcement, EVENT_BYTES_MAX, Event, LOG_CHARS_MAX, Level, LogLine, WORD_BYTES_MAX,
};
use motehub_domain::shadow::{Deed, Request, Update};
use serde_json::{Map, Value, json};

use crate::DecodeError;

/// What of a device's own description is kept beside its model, firmware and version.
const ATTRIBUTES: [&str; 4] = ["mac", "mg_version", "ram_size", "fs_size"];

/// Longest word of it in characters; what is longer is cut.
const WORD_CHARS_MAX: usize = 60;

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Something to take; answered, if it was asked with an id, when it is durable.
    Said(Uplink),
    /// Something about the device's shadow; answered with what comes of it.
    Shadow(Request),
}

/// The meaning of a call.
pub fn heard(method: &str, params: Value) -> Result<Heard, DecodeError> {
    let named = |error: DecodeError| DecodeError(format!("{method}: {}", error.0));
    let uplink = match method {
        "Dash.Shadow.Get" => return Ok(Heard::Shadow(Request { shadow: None, deed: Deed::Get(None) })),
        "Dash.Shadow.Update" => return report(params).map(Heard::Shadow).map_err(named),
        "State.Set" => return reported(&params).map(Heard::Shadow).map_err(named),
        // What is in it the device says when it is asked, once.
        "Dash.Heartbeat" => Ok(Uplink::Alive),
        "Log" | "Dash.Log" => Ok(Uplink::Log(lines(&params))),
        _ => event(method, params).map(Uplink::Event),
    };
    uplink.map(Heard::Said).map_err(named)
}

/// `{"state":{"reported":{…}},"version":…}`; firmware of 2017 leaves `reported` out.
fn report(params: Value) -> Result<Request, DecodeError> {
    const PARTS: [&str; 3] = ["reported", "desired", "delta"];
    let Value::Object(mut params) = params else {
        return Err(DecodeError("an object with state".to_owned()));
    };
    let mut state = params.remove("state").unwrap_or_default();
    match &mut state {
        Value::Object(parts) if PARTS.iter().any(|part| parts.contains_key(*part)) => {
            drop(parts.remove("delta"));
        }
        Value::Object(_) => state = json!({ "reported": state }),
        _ => {}
    }
    let version = params.remove("version").filter(|version| version.as_i64() != Some(0));
    let mut document = json!({ "state": state });
    if let Some(version) = version {
        document["version"] = version;
    }
    request(document)
}

/// What a device says of its own state, such as how far an update is, is reported like all else.
pub fn reported(state: &Value) -> Result<Request, DecodeError> {
    request(json!({ "state": { "reported": state } }))
}

fn request(document: Value) -> Result<Request, DecodeError> {
    let update = Update::of(document).map_err(|refusal| DecodeError(refusal.to_string()))?;
    Ok(Request { shadow: None, deed: Deed::Update(Box::new(update)) })
}

/// What a device is, by its answer to `Sys.GetInfo`, and whether it keeps the firmware that it runs, by that to
/// `OTA.GetBootState`.
pub fn introduction(info: &Value, boot_state: Option<&Value>) -> Result<Announcement, DecodeError> {
    let Value::Object(fields) = info else {
        return Err(DecodeError("an object with app, arch, fw_version and more".to_owned()));
    };
    let word = |name: &str| {
        let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let text = report::clean(text, WORD_CHARS_MAX);
        Some(text).filter(|text| !text.is_empty())
    };
    let known = fields.iter().filter(|(name, _)| ATTRIBUTES.contains(&name.as_str()));
    let mut attributes: Map<String, Value> =
        known.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(address) = fields.get("wifi").and_then(|wifi| wifi.get("sta_ip")).filter(|ip| ip.is_string())
    {
        attributes.insert("ip".to_owned(), address.clone());
    }
    // The words of the native protocol for these.
    for (own, ours) in [("arch", "platform"), ("fw_id", "build")] {
        attributes.extend(word(own).map(|text| (ours.to_owned(), text.into())));
    }
    let committed = boot_state.and_then(|state| state["is_committed"].as_bool());
    attributes.extend(committed.map(|committed| ("committed".to_owned(), committed.into())));
    Ok(Announcement {
        model: word("arch"),
        firmware: word("app"),
        version: word("fw_version"),
        reset: word("reboot_reason"),
        free_memory: fields.get("ram_free").and_then(Value::as_i64),
        attributes: report::attributes(attributes).map_err(|rejection| DecodeError(rejection.sentence))?,
        ..Announcement::default()
    })
}

/// `{"fd":1,"data":"text","t":1534.1,"seq":7}`; what goes to the standard error is a warning.
fn lines(params: &Value) -> Vec<LogLine> {
    let level = if params["fd"] == json!(2) { Level::Warn } else { Level::Info };
    let text = params["data"].as_str().or(params.as_str()).map_or_else(|| params.to_string(), str::to_owned);
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines = lines.take(report::LOG_LINES_PER_MESSAGE_MAX);
    lines.map(|line| LogLine { level, text: report::clean(line, LOG_CHARS_MAX), time: None }).collect()
}

fn event(method: &str, data: Value) -> Result<Event, DecodeError> {
    if method.len() > WORD_BYTES_MAX {
        return Err(DecodeError(format!("the name of an event has at most {WORD_BYTES_MAX} bytes")));
    }
    if data.to_string().len() > EVENT_BYTES_MAX {
        return Err(DecodeError(format!("an event has at most {EVENT_BYTES_MAX} bytes")));
    }
    Ok(Event { name: report::clean(method, WORD_BYTES_MAX), data, time: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_introduces_itself() {
        let info = json!({
            "id": "esp8266_1", "app": "smartlight", "fw_version": "1.0", "fw_id": "20180903", "arch": "esp8266",
            "mac": "5ECF7F000001", "ram_free": 31000, "uptime": 12, "public_key": "secret?",
            "wifi": { "sta_ip": "10.0.0.7", "ssid": "Home" },
        });
        let said = introduction(&info, Some(&json!({ "is_committed": false }))).expect("is an introduction");
        assert_eq!(said.model.as_deref(), Some("esp8266"));
        assert_eq!(said.firmware.as_deref(), Some("smartlight"));
        assert_eq!(said.version.as_deref(), Some("1.0"));
        assert_eq!(said.free_memory, Some(31000));
        let names: Vec<&str> = said.attributes.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["build", "committed", "ip", "mac", "platform"],
            "neither its key nor the name of somebody's Wi-Fi"
        );
        assert!(introduction(&json!("simulator"), None).is_err());
    }

    #[test]
    fn reports_of_every_generation_are_heard() {
        let update = |document: Value| Update::of(document).expect("is an update");
        let on = || update(json!({ "state": { "reported": { "on": true } } }));
        let cases = [
            ("Dash.Shadow.Update", json!({ "state": { "reported": { "on": true } } }), on()),
            ("Dash.Shadow.Update", json!({ "state": { "on": true } }), on()),
            ("Dash.Shadow.Update", json!({ "state": { "reported": { "on": true } }, "version": 0 }), on()),
            ("State.Set", json!({ "on": true }), on()),
            (
                "Dash.Shadow.Update",
                json!({ "state": { "reported": { "on": true } }, "version": 7 }),
                update(json!({ "state": { "reported": { "on": true } }, "version": 7 })),
            ),
        ];
        for (method, params, expected) in cases {
            let said = heard(method, params.clone());
            let Ok(Heard::Shadow(Request { shadow: None, deed: Deed::Update(got) })) = said else {
                panic!("{params}: {said:?}")
            };
            assert_eq!(*got, expected, "{params}");
        }
        assert!(heard("Dash.Shadow.Update", json!(1)).is_err());
        assert!(heard("Dash.Shadow.Update", json!({ "state": { "reported": 1 } })).is_err());
    }

    #[test]
    fn log_lines_and_events_are_heard() {
        let log = heard("Log", json!({ "fd": 2, "data": "low\nbattery\n", "t": 1.5, "seq": 1 }));
        let Ok(Heard::Said(Uplink::Log(lines))) = log else { panic!("{log:?}") };
        let lines: Vec<(Level, &str)> = lines.iter().map(|line| (line.level, line.text.as_str())).collect();
        assert_eq!(lines, [(Level::Warn, "low"), (Level::Warn, "battery")]);
        let event = heard("MyStat", json!([1]));
        let Ok(Heard::Said(Uplink::Event(event))) = event else { panic!("{event:?}") };
        assert_eq!((event.name.as_str(), event.data), ("MyStat", json!([1])));
        assert!(heard(&"x".repeat(65), Value::Null).is_err());
    }
}
