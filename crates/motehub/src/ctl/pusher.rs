//! `motehub ctl pusher-app`: with what programs, web pages and original bases speak the Pusher protocol.

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Caller;
use super::print::{cell, out, table};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List apps, and who is connected by them
    List,
    /// Add an app; its secret is printed once
    Add {
        /// What it is called
        name: String,
        /// A key that clients have already
        #[arg(long)]
        key: Option<String>,
        /// An original IoT base comes in with it; its token is printed once
        #[arg(long)]
        base: bool,
    },
    /// Delete an app: whoever is connected by it is cut off
    Delete {
        /// Its name or id
        app: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/pusher-apps")?, apps),
        Verb::Add { name, key, base } => {
            let new = json!({ "name": name, "key": key, "base": base });
            caller.show(&caller.post("/pusher-apps", &new)?, |made| {
                let token = made["base_token"].as_str();
                let token = token.map(|token| format!("base token  {token}\n")).unwrap_or_default();
                let [id, key, secret] = ["app_id", "key", "secret"].map(|name| cell(&made[name]));
                format!("app id      {id}\nkey         {key}\nsecret      {secret}\n{token}")
            })
        }
        Verb::Delete { app } => {
            let list = caller.get("/pusher-apps")?;
            let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let Some(found) = items.iter().find(|item| item["id"] == **app || item["name"] == **app) else {
                bail!("no Pusher app is called {app:?}; `motehub ctl pusher-app list` shows all");
            };
            caller.api.call("DELETE", &format!("/pusher-apps/{}", cell(&found["id"])), None)?;
            if caller.json { Ok(()) } else { out(&format!("deleted {}\n", cell(&found["name"]))) }
        }
    }
}

fn apps(list: &Value) -> String {
    let count = |list: &Value| list.as_array().map_or(0, Vec::len).to_string();
    let rows = list["items"].as_array().into_iter().flatten().map(|item| {
        let mut row: Vec<String> = ["name", "app_id", "key", "base"].map(|key| cell(&item[key])).to_vec();
        row.extend([count(&item["sockets"]), count(&item["channels"])]);
        row
    });
    table(&["NAME", "APP ID", "KEY", "BASE", "SOCKETS", "CHANNELS"], &rows.collect::<Vec<_>>())
}
