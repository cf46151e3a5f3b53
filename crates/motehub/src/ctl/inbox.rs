//! `motehub ctl inbox`: unknown devices that knocked.

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List unknown devices that knocked, the last heard first
    List {
        /// Those with this state: new, ignored or refused
        #[arg(long, value_name = "STATE", default_value = "new")]
        state: String,
    },
    /// Register one; prints its credential, which is shown only now
    Accept {
        /// Its id, or what it calls itself
        knock: String,
        /// The name of the device [default: what it calls itself]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// How it speaks: nodemcu, native, micropython, mongoose, riot or esp-firmware [default: what it seems to be]
        #[arg(long)]
        dialect: Option<String>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Let a NodeMCU board in as it is, or a RIOT node from the address that it came from: a weakness, for devices
        /// that cannot be given a credential
        #[arg(long)]
        without_credential: bool,
    },
    /// Deny one from now on, and do not list it again
    Refuse {
        /// Its id, or what it calls itself
        knock: String,
    },
    /// Hide one until it says something else or comes from another address
    Ignore {
        /// Its id, or what it calls itself
        knock: String,
    },
    /// Take a refusal or ignoring back
    Reopen {
        /// Its id, or what it calls itself
        knock: String,
    },
    /// Take one out of the inbox; it is listed as new when it knocks again
    Delete {
        /// Its id, or what it calls itself
        knock: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List { state } => {
            let query = format!("&state={}", find::encode(state));
            caller.show(&find::all(caller, "/inbox", &query)?, knocks)
        }
        Verb::Accept { knock, name, dialect, tags, without_credential } => {
            let knock = one(caller, knock, &["new", "ignored", "refused"])?;
            let mut wanted = json!({ "tags": tags, "without_credential": without_credential });
            for (key, value) in [("name", name), ("dialect", dialect)] {
                if let Some(value) = value {
                    wanted[key] = json!(value);
                }
            }
            let made = caller.post(&format!("/inbox/{}/accept", cell(&knock["id"])), &wanted)?;
            caller.show(&made, |made| {
                let (id, credential) = (cell(&made["id"]), cell(&made["credential"]));
                format!("id          {id}\ncredential  {credential}   (shown only now: keep it)\n")
            })
        }
        Verb::Refuse { knock } => decide(caller, knock, &["new", "ignored"], "refuse", "refused"),
        Verb::Ignore { knock } => decide(caller, knock, &["new", "refused"], "ignore", "ignored"),
        Verb::Reopen { knock } => decide(caller, knock, &["ignored", "refused"], "reopen", "reopened"),
        Verb::Delete { knock } => {
            let knock = one(caller, knock, &["new", "ignored", "refused"])?;
            caller.api.call("DELETE", &format!("/inbox/{}", cell(&knock["id"])), None)?;
            said(caller, "deleted", &knock)
        }
    }
}

fn decide(caller: &Caller, text: &str, states: &[&str], verb: &str, done: &str) -> anyhow::Result<()> {
    let knock = one(caller, text, states)?;
    caller.post(&format!("/inbox/{}/{verb}", cell(&knock["id"])), &json!({}))?;
    said(caller, done, &knock)
}

fn said(caller: &Caller, done: &str, knock: &Value) -> anyhow::Result<()> {
    match caller.json {
        true => Ok(()),
        false => out(&format!("{done} {} ({})\n", cell(&knock["name"]), cell(&knock["address"]))),
    }
}

/// The one knock with this id or name.
fn one(caller: &Caller, text: &str, states: &[&str]) -> anyhow::Result<Value> {
    let mut fitting = Vec::new();
    for state in states {
        let list = find::all(caller, "/inbox", &format!("&state={state}"))?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        fitting.extend(items.into_iter().filter(|knock| knock["id"] == text || knock["name"] == text));
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => bail!("nobody called {text:?} knocked; `motehub ctl inbox list` shows who did"),
        _ => bail!("several called {text:?} knocked: use the id, which `motehub ctl inbox list` shows"),
    }
}

fn knocks(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten().map(|knock| {
        let secret = if knock["has_secret"] == true { "wrong" } else { "none" };
        let mut row: Vec<String> =
            ["name", "dialect", "address", "transport"].iter().map(|key| cell(&knock[*key])).collect();
        row.push(secret.to_owned());
        row.extend(["count", "last_at", "id"].map(|key| cell(&knock[key])));
        row
    });
    let heading = ["NAME", "SEEMS", "ADDRESS", "OVER", "SECRET", "TIMES", "LAST", "ID"];
    table(&heading, &rows.collect::<Vec<_>>())
}
