//! Names instead of ids, and lists in pieces.

use anyhow::bail;
use serde_json::Value;

use super::Caller;

/// How many items are asked for at a time.
const PAGE: usize = 1000;
/// How many pieces of a list are read at most.
const PAGES_MAX: usize = 100;

/// A text within a path or query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// All items of a list; `query` is empty or begins with `&`.
pub(super) fn all(caller: &Caller, path: &str, query: &str) -> anyhow::Result<Value> {
    let mut items = Vec::new();
    let mut list = Value::Null;
    for _ in 0..PAGES_MAX {
        list = caller.get(&format!("{path}?limit={PAGE}&offset={}{query}", items.len()))?;
        let more = list["items"].as_array().cloned().unwrap_or_default();
        let is_last = more.len() < PAGE;
        items.extend(more);
        if is_last {
            break;
        }
    }
    list["items"] = Value::Array(items);
    Ok(list)
}

/// The one device or script (`noun`, singular) with this id, external id or name.
pub(super) fn one(caller: &Caller, noun: &str, text: &str) -> anyhow::Result<Value> {
    let found = all(caller, &format!("/{noun}s"), &format!("&q={}", encode(text)))?;
    let found = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(exact) = found.iter().find(|item| item["id"] == text) {
        return Ok(exact.clone());
    }
    let fits = |item: &&Value| item["name"] == text || item["external_id"] == text;
    let fitting: Vec<&Value> = found.iter().filter(fits).collect();
    match fitting[..] {
        [one] => Ok(one.clone()),
        [] => bail!("no {noun} has the id or name {text:?}; `motehub ctl {noun} list` shows all"),
        _ => {
            let ids: Vec<String> = fitting
                .iter()
                .map(|item| {
                    format!("\n  {}  {}", super::print::cell(&item["id"]), super::print::cell(&item["name"]))
                })
                .collect();
            bail!("{text:?} is the name of several; use an id:{}", ids.concat())
        }
    }
}

/// The id of [`one`].
pub(super) fn id(caller: &Caller, noun: &str, text: &str) -> anyhow::Result<String> {
    Ok(one(caller, noun, text)?["id"].as_str().unwrap_or_default().to_owned())
}
