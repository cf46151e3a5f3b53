//! `motehub ctl rule`: rules as documents in files, and what they did or would have done.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

/// What the API adds to the document of a rule.
const OWN: [&str; 9] = [
    "id",
    "enabled_at",
    "firings",
    "fired_at",
    "errors",
    "last_error",
    "last_error_at",
    "created_at",
    "updated_at",
];

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List rules, how often they fired and when last
    List,
    /// Print a rule as a document, as `rule save` reads it
    Show {
        /// Its name or id
        rule: String,
    },
    /// Check a document (JSON) and save nothing
    Check {
        /// The file
        file: PathBuf,
    },
    /// Save a document (JSON) as a new rule, or in place of the rule with that name
    Save {
        /// The file
        file: PathBuf,
        /// Turn it on
        #[arg(long)]
        enable: bool,
    },
    /// Turn a rule on: it looks at what comes from now on
    Enable {
        /// Its name or id
        rule: String,
    },
    /// Turn a rule off; its alarms are cleared
    Disable {
        /// Its name or id
        rule: String,
    },
    /// List when a rule fired, the last time first
    Firings {
        /// Its name or id
        rule: String,
        /// How many at most: 1 to 1000
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show the firings that a rule would have made over what is stored; nothing is done
    Replay {
        /// The name or id of a rule, or a file with a document that need not be saved
        rule: String,
        /// How many days back: 1 to 92
        #[arg(long, default_value_t = 7)]
        days: u32,
    },
    /// Delete a rule with its firings; its alarms are cleared and stay as history
    Delete {
        /// Its name or id
        rule: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/rules")?, list),
        Verb::Show { rule } => out(&format!("{:#}\n", document(one(caller, rule)?))),
        Verb::Check { file } => {
            let checked = caller.post("/rules/check", &read(file)?)?;
            caller.show(&checked, |found| {
                format!("good; it looks at {} devices now\n", cell(&found["devices"]))
            })
        }
        Verb::Save { file, enable } => save(caller, file, *enable),
        Verb::Enable { rule } => turned(caller, rule, "enable", "on"),
        Verb::Disable { rule } => turned(caller, rule, "disable", "off"),
        Verb::Firings { rule, limit } => {
            let path = path(&one(caller, rule)?, &format!("/firings?limit={limit}"));
            caller.show(&caller.get(&path)?, |found| firings(&found["items"]))
        }
        Verb::Replay { rule, days } => replay(caller, rule, *days),
        Verb::Delete { rule } => {
            let rule = one(caller, rule)?;
            caller.api.call("DELETE", &path(&rule, ""), None)?;
            if caller.json { Ok(()) } else { out(&format!("deleted {}\n", cell(&rule["name"]))) }
        }
    }
}

fn list(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten().map(|rule| {
        let state = if rule["enabled"] == true { "on" } else { "off" };
        let mut row = vec![cell(&rule["name"]), state.to_owned()];
        row.extend(["firings", "fired_at", "errors", "last_error"].map(|key| cell(&rule[key])));
        row
    });
    table(&["NAME", "STATE", "FIRINGS", "LAST", "ERRORS", "LAST ERROR"], &rows.collect::<Vec<_>>())
}

fn firings(list: &Value) -> String {
    let rows = list.as_array().into_iter().flatten().map(|firing| {
        let trace = &firing["trace"];
        let mut row = ["at", "device_name", "ended_at"].map(|key| cell(&firing[key])).to_vec();
        row.push(cell(&trace["came"]["value"]));
        let actions = trace["actions"].as_array().into_iter().flatten();
        let names =
            actions.flat_map(|action| action.as_object().into_iter().flat_map(|it| it.keys().cloned()));
        row.push(names.collect::<Vec<_>>().join(","));
        row.push(cell(&firing["problems"]));
        row
    });
    table(&["AT", "DEVICE", "OVER", "VALUE", "ACTIONS", "PROBLEMS"], &rows.collect::<Vec<_>>())
}

fn replay(caller: &Caller, rule: &str, days: u32) -> anyhow::Result<()> {
    let wanted = json!({ "days": days });
    let file = Path::new(rule);
    let replayed = match file.is_file() {
        true => caller.post("/rules/replay", &json!({ "rule": read(file)?, "days": days }))?,
        false => caller.post(&path(&one(caller, rule)?, "/replay"), &wanted)?,
    };
    caller.show(&replayed, |found| {
        let mut text = firings(&found["firings"]);
        text.push_str(&format!(
            "{} firings for {} devices by {} points\n",
            cell(&found["total"]),
            cell(&found["devices"]),
            cell(&found["points"])
        ));
        for key in ["truncated", "error"] {
            if found[key].is_string() {
                text.push_str(&format!("{}\n", cell(&found[key])));
            }
        }
        text
    })
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut document: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let Some(members) = document.as_object_mut() else {
        bail!("{} is no document of a rule", file.display())
    };
    if !members.contains_key("name") {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        members.insert("name".to_owned(), name.into());
    }
    Ok(document)
}

fn save(caller: &Caller, file: &Path, enable: bool) -> anyhow::Result<()> {
    let mut new = read(file)?;
    if enable {
        new["enabled"] = true.into();
    }
    let name = cell(&new["name"]).to_lowercase();
    let list = caller.get("/rules")?;
    let known = list["items"].as_array().into_iter().flatten();
    let known = known.clone().find(|rule| cell(&rule["name"]).to_lowercase() == name).cloned();
    let saved = match known {
        None => caller.post("/rules", &new)?,
        Some(rule) => {
            // What the new document leaves out is taken away; whether it is on stays.
            for key in document(rule.clone()).as_object().into_iter().flatten().map(|(key, _)| key) {
                if new.get(key).is_none() && key != "enabled" {
                    new[key] = Value::Null;
                }
            }
            caller.api.call("PATCH", &path(&rule, ""), Some(&new))?
        }
    };
    caller.show(&saved, |rule| {
        let state = if rule["enabled"] == true { "on" } else { "off" };
        format!("saved {}; it is {state}\n", cell(&rule["name"]))
    })
}

fn turned(caller: &Caller, rule: &str, deed: &str, state: &str) -> anyhow::Result<()> {
    let rule = caller.post(&path(&one(caller, rule)?, &format!("/{deed}")), &json!({}))?;
    caller.show(&rule, |rule| format!("{} is {state}\n", cell(&rule["name"])))
}

/// A rule as it was written.
fn document(mut rule: Value) -> Value {
    if let Some(members) = rule.as_object_mut() {
        members.retain(|name, value| !OWN.contains(&name.as_str()) && !value.is_null());
    }
    rule
}

fn path(rule: &Value, rest: &str) -> String {
    format!("/rules/{}{rest}", find::encode(&cell(&rule["id"])))
}

fn one(caller: &Caller, text: &str) -> anyhow::Result<Value> {
    let list = caller.get("/rules")?;
    let is_it =
        |rule: &&Value| rule["id"] == text || cell(&rule["name"]).to_lowercase() == text.to_lowercase();
    let found = list["items"].as_array().into_iter().flatten().find(is_it).cloned();
    found.ok_or_else(|| {
        anyhow::anyhow!("no rule has the id or name {text:?}; `motehub ctl rule list` shows all")
    })
}
