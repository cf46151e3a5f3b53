//! What a device says of itself: its log, and the versions that crashed on it.

use anyhow::bail;
use serde_json::{Value, json};

use super::live::{Live, News};
use super::print::{cell, clean, out};
use super::{Caller, find};

/// Prints the newest lines of a device's log, oldest first; with `tail` then each as it comes.
pub(super) fn log(caller: &Caller, device: &str, last: u32, tail: bool) -> anyhow::Result<()> {
    let device = find::one(caller, "device", device)?;
    let id = cell(&device["id"]);
    let list = match last {
        0 => json!({ "items": [] }),
        _ => caller.get(&format!("/devices/{id}/log?limit={last}"))?,
    };
    if caller.json && !tail {
        return caller.show(&list, Value::to_string);
    }
    let newest = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    newest.iter().rev().try_for_each(|it| line(caller, &it["level"], &it["at"], &it["text"]))?;
    if !tail {
        return Ok(());
    }
    Live { watch: vec![id.clone()], ..Live::default() }.follow(caller, &mut |news| match news {
        News::Log(frame) => {
            let mut lines = frame[&id].as_array().into_iter().flatten();
            lines.try_for_each(|it| line(caller, &it[0], &it[1], &it[2]))
        }
        News::Change(_) | News::Telemetry(_) => Ok(()),
    })
}

fn line(caller: &Caller, level: &Value, at: &Value, text: &Value) -> anyhow::Result<()> {
    if caller.json {
        return out(&format!("{}\n", json!({ "at": at, "level": level, "text": text })));
    }
    let time = at.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.map_or_else(|| cell(at), |time| format!("{time:.3}"));
    let text = clean(text.as_str().unwrap_or_default()).replace('\n', "\n    ");
    out(&format!("{time}  {:<5}  {text}\n", cell(level)))
}

/// Lets a device have a version again that crashed on it; all of them if no digest is given.
pub(super) fn lift(caller: &Caller, device: &str, digest: Option<&str>) -> anyhow::Result<()> {
    let found = find::one(caller, "device", device)?;
    let path = format!("/devices/{}", cell(&found["id"]));
    let view = caller.get(&path)?;
    let kept_away = view["quarantined"].as_array().map(Vec::as_slice).unwrap_or_default();
    let meant: Vec<&Value> =
        kept_away.iter().filter(|one| digest.is_none_or(|digest| one["digest"] == digest)).collect();
    if meant.is_empty() {
        bail!(
            "{} has no such version in quarantine; `motehub ctl device show` names them",
            cell(&view["name"])
        );
    }
    for version in meant {
        let digest = find::encode(version["digest"].as_str().unwrap_or_default());
        caller.api.call("DELETE", &format!("{path}/quarantine/{digest}"), None)?;
        if !caller.json {
            out(&format!("{} may have {} again\n", cell(&view["name"]), version_name(version)))?;
        }
    }
    Ok(())
}

/// What is in quarantine, for the page of a device.
pub(super) fn quarantined(device: &Value) -> String {
    let versions = device["quarantined"].as_array().into_iter().flatten();
    versions
        .map(|version| {
            let (name, digest, why) =
                (version_name(version), cell(&version["digest"]), cell(&version["reason"]));
            format!("{:<12} {name}: {why} ({digest})\n", "quarantined")
        })
        .collect()
}

fn version_name(version: &Value) -> String {
    match version["name"].as_str() {
        Some(name) => format!("{} v{}", clean(name), cell(&version["version"])),
        None => cell(&version["digest"]),
    }
}
