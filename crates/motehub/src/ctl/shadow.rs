//! `motehub ctl shadow`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::print::{cell, clean, out, table};
use super::{Caller, Usage, find};

/// Which shadow.
#[derive(Args)]
pub(super) struct Which {
    /// The device's name or id
    device: String,
    /// A named shadow instead of the one without a name
    #[arg(long)]
    name: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Show what is desired of a device, what it reports, and what differs
    Get {
        #[command(flatten)]
        which: Which,
        /// As it was then: an RFC 3339 time
        #[arg(long, conflicts_with = "version")]
        at: Option<String>,
        /// As it was with this version
        #[arg(long)]
        version: Option<i64>,
    },
    /// Wish for something, such as `shadow set lamp on=true color.hue=120 old=null`
    Set {
        #[command(flatten)]
        which: Which,
        /// Members with their JSON values; what is no JSON is a text; null takes a member away
        #[arg(required = true, value_name = "PATH=VALUE")]
        values: Vec<String>,
        /// Only if the shadow has this version
        #[arg(long)]
        version: Option<i64>,
        /// For so many seconds; then the wish ends by itself
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
    },
    /// Delete a shadow
    Delete {
        #[command(flatten)]
        which: Which,
    },
    /// List the shadows of a device
    List {
        /// The device's name or id
        device: String,
    },
    /// List who changed a shadow and when, newest first
    History {
        #[command(flatten)]
        which: Which,
        /// How many at most
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show what differs between two revisions
    Diff {
        #[command(flatten)]
        which: Which,
        /// The number of the first
        from: i64,
        /// The number of the second
        to: i64,
    },
    /// Wish again for what was desired at a revision
    Restore {
        #[command(flatten)]
        which: Which,
        /// Its number, from `shadow history`
        revision: i64,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Get { which, at: None, version: None } => {
            caller.show(&caller.get(&path(caller, which, "", &[])?)?, pretty)
        }
        Verb::Get { which, at, version } => {
            let at = at.as_ref().map(|at| ("time", at.clone()));
            let version = version.map(|version| ("version", version.to_string()));
            let wanted: Vec<_> = at.into_iter().chain(version).collect();
            caller.show(&caller.get(&path(caller, which, "/at", &wanted)?)?, pretty)
        }
        Verb::Set { which, values, version, expires_in } => {
            let body = json!({
                "state": { "desired": wish(values)? }, "version": version, "expires_in_seconds": expires_in,
            });
            let changed = caller.api.call("PATCH", &path(caller, which, "", &[])?, Some(&body))?;
            caller.show(&changed, pretty)
        }
        Verb::Delete { which } => {
            caller.api.call("DELETE", &path(caller, which, "", &[])?, None)?;
            if caller.json { Ok(()) } else { out("deleted\n") }
        }
        Verb::List { device } => {
            let device = find::id(caller, "device", device)?;
            caller.show(&caller.get(&format!("/devices/{device}/shadows"))?, |list| {
                let rows = list["items"].as_array().into_iter().flatten().map(|shadow| {
                    let pending = if shadow["is_pending"] == true { "pending" } else { "" };
                    vec![
                        cell(&shadow["name"]),
                        cell(&shadow["version"]),
                        pending.to_owned(),
                        cell(&shadow["updated_at"]),
                    ]
                });
                table(&["NAME", "VERSION", "STATE", "CHANGED"], &rows.collect::<Vec<_>>())
            })
        }
        Verb::History { which, limit } => {
            let wanted = [("limit", limit.to_string())];
            caller.show(&caller.get(&path(caller, which, "/history", &wanted)?)?, |list| {
                let rows = list["items"].as_array().into_iter().flatten().map(|made| {
                    ["revision", "version", "at", "actor", "desired", "reported"]
                        .map(|key| cell(&made[key]))
                        .to_vec()
                });
                let heading = ["REVISION", "VERSION", "AT", "BY", "DESIRED", "REPORTED"];
                table(&heading, &rows.collect::<Vec<_>>())
            })
        }
        Verb::Diff { which, from, to } => {
            let wanted = [("from", from.to_string()), ("to", to.to_string())];
            caller.show(&caller.get(&path(caller, which, "/diff", &wanted)?)?, pretty)
        }
        Verb::Restore { which, revision } => {
            let body = json!({ "revision": revision });
            caller.show(&caller.post(&path(caller, which, "/restore", &[])?, &body)?, pretty)
        }
    }
}

fn path(caller: &Caller, which: &Which, below: &str, more: &[(&str, String)]) -> anyhow::Result<String> {
    let device = find::id(caller, "device", &which.device)?;
    let name = which.name.as_ref().map(|name| ("name", name.clone()));
    let query: Vec<String> =
        name.iter().chain(more).map(|(key, value)| format!("{key}={}", find::encode(value))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(format!("/devices/{device}/shadow{below}{mark}{}", query.join("&")))
}

/// `a.b=1` and so on as one object.
fn wish(values: &[String]) -> anyhow::Result<Value> {
    let mut desired = Map::new();
    for text in values {
        let wrong = || Usage(format!("{text:?} is not of the form PATH=VALUE, such as on=true"));
        let (path, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let names: Vec<&str> = path.split('.').collect();
        let Some((last, parents)) = names.split_last().filter(|_| names.iter().all(|name| !name.is_empty()))
        else {
            return Err(wrong().into());
        };
        let mut place = &mut desired;
        for name in parents {
            let child = place.entry(*name).or_insert_with(|| json!({}));
            place = child.as_object_mut().ok_or_else(wrong)?;
        }
        place.insert((*last).to_owned(), value);
    }
    Ok(Value::Object(desired))
}

/// The document as JSON, over several lines.
fn pretty(document: &Value) -> String {
    format!("{}\n", clean(&serde_json::to_string_pretty(document).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_paths_with_values() {
        let read = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|text| (*text).to_owned()).collect();
            wish(&values).unwrap_or_else(|error| json!(error.to_string()))
        };
        let expected = json!({ "on": true, "a": { "b": [1], "c": "warm" }, "old": null });
        assert_eq!(read(&["on=true", "a.b=[1]", "a.c=warm", "old=null"]), expected);
        for wrong in [&["on"][..], &["=1"], &["a..b=1"], &["a=1", "a.b=2"]] {
            assert!(read(wrong).as_str().is_some_and(|why| why.contains("PATH=VALUE")), "{wrong:?}");
        }
    }
}
