//! `motehub ctl pusher-app`: with what programs, web pages and original bases speak the Pusher protocol.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::Caller;
use super::print::{cell, out, table};

/// Largest config.json of a base, in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// The hub takes no shorter token of a base.
const TOKEN_CHARS_MIN: usize = 16;

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
    /// Take over an original base by its config.json: its key, its token, and its read units as devices
    TakeOver {
        /// The file
        config: PathBuf,
        /// What the app is called
        #[arg(long, default_value = "base")]
        name: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
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
        Verb::TakeOver { config, name, dry_run } => take_over(caller, config, name, *dry_run),
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

/// The app first: if its key or its token is taken, nothing is done. Units that are there already stay as they are.
fn take_over(caller: &Caller, path: &Path, name: &str, is_dry: bool) -> anyhow::Result<()> {
    let config = read(path)?;
    let mut said = format!("app     {name}: key {}", config.key);
    if !is_dry {
        let mut new = json!({ "name": name, "key": config.key, "base": true });
        if config.token.chars().count() >= TOKEN_CHARS_MIN {
            new["base_token"] = json!(config.token);
        }
        let made = caller.post("/pusher-apps", &new)?;
        if let Some(token) = made["base_token"].as_str() {
            said += &format!("; the token was too short, put this one into config.json: {token}");
        }
    }
    for address in &config.units {
        said += &format!("\nunit    {address}");
        if is_dry {
            continue;
        }
        let new = json!({
            "name": address, "dialect": "line", "address": address, "line": { "through": "base", "kind": "read" },
        });
        if let Err(error) = caller.post("/devices", &new) {
            said += &format!(": {error}");
        }
    }
    let end = if is_dry { "\nnothing was done: leave --dry-run out\n" } else { "\n" };
    out(&format!("{said}{end}"))
}

/// What of a config.json is taken over.
struct Config {
    key: String,
    token: String,
    units: Vec<String>,
}

fn read(path: &Path) -> anyhow::Result<Config> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("{shown}"))?.len();
    if size > CONFIG_BYTES_MAX {
        bail!("{shown}: a config.json of a base is far smaller");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown}"))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("{shown}: no JSON"))?;
    let text = |outer: &str, inner: &str| {
        let found = config[outer][inner].as_str().map(str::to_owned);
        found.with_context(|| format!("{shown}: {outer}.{inner} is missing, or no text"))
    };
    let clients = config["clients"].as_array().with_context(|| format!("{shown}: clients is no list"))?;
    let address = |client: &Value| {
        let address = client.as_str().filter(|text| text.parse::<std::net::IpAddr>().is_ok());
        address.map(str::to_owned).with_context(|| format!("{shown}: clients: {client} is no address"))
    };
    let mut units = clients.iter().map(address).collect::<anyhow::Result<Vec<_>>>()?;
    units.sort();
    units.dedup();
    Ok(Config { key: text("pusher", "app-key")?, token: text("api", "token")?, units })
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
