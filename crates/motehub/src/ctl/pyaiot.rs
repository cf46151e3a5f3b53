//! `motehub ctl pyaiot-key`: the keys with which Pyaiot gateways come in.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::Caller;
use super::print::{cell, out, table};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List keys and the gateways that are here by them
    List,
    /// Add a key; a new one is printed once, as the file ~/.pyaiot/keys of its gateways
    Add {
        /// What it is called
        name: String,
        /// A key file that gateways have already
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The devices that its gateways may speak for, such as tag=lab; all of the riot dialect without it
        #[arg(long, value_name = "SELECTOR")]
        devices: Option<String>,
        /// Take only tokens that are at most so old, and each once (10 to 86400)
        #[arg(long, value_name = "SECONDS")]
        token_age: Option<i64>,
    },
    /// Revoke a key: its gateways are cut off at once
    Revoke {
        /// Its name or id
        key: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/pyaiot-keys")?, keys),
        Verb::Add { name, file, devices, token_age } => {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| format!("--file {}", path.display()))
            };
            let file = file.as_ref().map(read).transpose()?;
            let new = json!({
                "name": name, "file": file, "devices": devices, "token_age_max_seconds": token_age,
            });
            caller.show(&caller.post("/pyaiot-keys", &new)?, |made| match made["file"].as_str() {
                Some(file) => file.to_owned(),
                None => format!("added {name}: gateways with this file are let in\n"),
            })
        }
        Verb::Revoke { key } => {
            let list = caller.get("/pyaiot-keys")?;
            let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let Some(found) = items.iter().find(|item| item["id"] == **key || item["name"] == **key) else {
                bail!("no key of Pyaiot gateways is called {key:?}; `motehub ctl pyaiot-key list` shows all");
            };
            caller.api.call("DELETE", &format!("/pyaiot-keys/{}", cell(&found["id"])), None)?;
            if caller.json { Ok(()) } else { out(&format!("revoked {}\n", cell(&found["name"]))) }
        }
    }
}

fn keys(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten().map(|item| {
        let gateways = item["gateways"].as_array().map(Vec::as_slice).unwrap_or_default();
        let here = gateways.iter().map(|gateway| {
            let deaf = if gateway["listens"] == false { ", does not listen" } else { "" };
            format!("{} ({} devices{deaf})", cell(&gateway["address"]), cell(&gateway["devices"]))
        });
        let here = here.collect::<Vec<_>>().join(", ");
        let mut row: Vec<String> =
            ["id", "name", "devices", "last_used_at"].map(|key| cell(&item[key])).to_vec();
        row.push(here);
        row
    });
    table(&["ID", "NAME", "DEVICES", "LAST USED", "GATEWAYS"], &rows.collect::<Vec<_>>())
}
