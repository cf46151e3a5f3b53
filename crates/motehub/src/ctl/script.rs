//! `motehub ctl script`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List scripts
    List,
    /// Save a file as a new script, or as a new version of the script with that name
    Push {
        /// A file in Lua (.lua) or Python (.py)
        file: PathBuf,
        /// The script's name [default: the file's name without .lua or .py]
        #[arg(long)]
        name: Option<String>,
        /// What changed
        #[arg(long, default_value = "")]
        comment: String,
        /// A word to sort by; boards may install Python scripts of the category `mip`, and everybody may read them
        #[arg(long, value_name = "WORD")]
        category: Option<String>,
    },
    /// Say what a device must be able to do to be offered a script, such as `script require water relay`
    Require {
        /// Its name or id
        script: String,
        /// The capabilities; none for any device
        capabilities: Vec<String>,
    },
    /// Print the source of a script
    Show {
        /// Its name or id
        script: String,
        /// Which version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&find::all(caller, "/scripts", "")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten().map(|script| {
                ["name", "latest_version", "devices", "requires", "updated_at", "id"]
                    .map(|key| cell(&script[key]))
                    .to_vec()
            });
            table(&["NAME", "VERSION", "DEVICES", "REQUIRES", "UPDATED", "ID"], &rows.collect::<Vec<_>>())
        }),
        Verb::Push { file, name, comment, category } => {
            push(caller, file, name.as_deref(), comment, category.as_deref())
        }
        Verb::Require { script, capabilities } => {
            let path = format!("/scripts/{}", find::encode(&find::id(caller, "script", script)?));
            let edited = caller.api.call("PATCH", &path, Some(&json!({ "requires": capabilities })))?;
            caller.show(&edited, |script| {
                format!("{} requires {}\n", cell(&script["name"]), cell(&script["requires"]))
            })
        }
        Verb::Show { script, version } => {
            let script = find::one(caller, "script", script)?;
            let version =
                version.map_or_else(|| cell(&script["latest_version"]), |number| number.to_string());
            let path = format!("/scripts/{}/versions/{version}", cell(&script["id"]));
            caller.show(&caller.get(&path)?, |it| it["source"].as_str().unwrap_or_default().to_owned())
        }
    }
}

fn push(
    caller: &Caller,
    file: &Path,
    name: Option<&str>,
    comment: &str,
    category: Option<&str>,
) -> anyhow::Result<()> {
    let source = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.unwrap_or(&stem);
    let language = match file.extension().and_then(|extension| extension.to_str()) {
        Some("py") => "python",
        _ => "lua",
    };
    let syntax = caller.post("/scripts/check", &json!({ "language": language, "source": source }))?;
    if syntax["ok"] != true {
        let message = cell(&syntax["message"]);
        bail!("nothing was saved\n{}:{}: {message}", file.display(), cell(&syntax["line"]));
    }
    let known = find::all(caller, "/scripts", &format!("&q={}", find::encode(name)))?;
    let known = known["items"].as_array().into_iter().flatten().find(|script| script["name"] == name);
    let saved = match known {
        Some(script) => {
            let path = format!("/scripts/{}", cell(&script["id"]));
            if let Some(category) = category {
                caller.api.call("PATCH", &path, Some(&json!({ "category": category })))?;
            }
            let path = format!("{path}/versions");
            caller.post(&path, &json!({ "source": source, "comment": comment }))?
        }
        None => {
            let category = category.unwrap_or_default();
            let new = json!({ "name": name, "language": language, "source": source, "comment": comment,
                "category": category });
            caller.post("/scripts", &new)?
        }
    };
    match caller.json {
        true => caller.show(&saved, Value::to_string),
        false => out(&format!("{name} version {}\n", cell(&saved["version"]))),
    }
}
