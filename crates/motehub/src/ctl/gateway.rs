//! `motehub ctl gateway`: gateways on other hosts, their keys and links.

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Caller;
use super::print::{cell, out, table};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List gateways with their links and how many devices are behind each
    List,
    /// Show one
    Show {
        /// Its name or id
        gateway: String,
    },
    /// Make a gateway and print its join file, which is shown only now
    New {
        /// A name that is not taken
        name: String,
        /// For which devices it may speak; without it for all that show their own credential to it
        #[arg(long, value_name = "SELECTOR", default_value = "")]
        selector: String,
        #[command(flatten)]
        way: Way,
    },
    /// Change the name of a gateway, or for which devices it may speak
    Set {
        /// Its name or id
        gateway: String,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        /// For which devices it may speak; '' for all that show their own credential to it
        #[arg(long, value_name = "SELECTOR")]
        selector: Option<String>,
    },
    /// Make a new key and print the join file; the key before it works until the new one was used
    Rotate {
        /// Its name or id
        gateway: String,
        #[command(flatten)]
        way: Way,
    },
    /// Revoke the keys of a gateway; its link ends at once
    Revoke {
        /// Its name or id
        gateway: String,
    },
    /// Delete a gateway; its devices stay
    Delete {
        /// Its name or id
        gateway: String,
    },
}

/// How the gateway reaches the hub.
#[derive(clap::Args)]
pub(super) struct Way {
    /// Where the gateway reaches the hub, such as https://10.0.0.5:8443; several nodes with commas between [default:
    /// where this command does]
    #[arg(long, value_name = "URLS")]
    address: Option<String>,
    /// The hub is reached through a proxy, or has a certificate that machines know: its own authority is not used
    #[arg(long)]
    public_certificate: bool,
}

impl Way {
    fn body(&self, caller: &Caller) -> Value {
        let mut body = json!({ "hub": self.address.as_ref().unwrap_or(&caller.account.hub) });
        if self.public_certificate {
            body["own_authority"] = json!(false);
        }
        body
    }
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/gateways")?, list),
        Verb::Show { gateway } => caller.show(&one(caller, gateway)?, shown),
        Verb::New { name, selector, way } => {
            let mut body = way.body(caller);
            body["name"] = json!(name);
            body["selector"] = json!(selector);
            caller.show(&caller.post("/gateways", &body)?, join_file)
        }
        Verb::Set { gateway, name, selector } => {
            let mut body = json!({});
            for (field, value) in [("name", name), ("selector", selector)] {
                if let Some(value) = value {
                    body[field] = json!(value);
                }
            }
            let path = path(&one(caller, gateway)?, "");
            caller.show(&caller.api.call("PATCH", &path, Some(&body))?, shown)
        }
        Verb::Rotate { gateway, way } => {
            let path = path(&one(caller, gateway)?, "/key");
            caller.show(&caller.post(&path, &way.body(caller))?, join_file)
        }
        Verb::Revoke { gateway } => end(caller, gateway, "/key", "revoked the keys of"),
        Verb::Delete { gateway } => end(caller, gateway, "", "deleted"),
    }
}

fn end(caller: &Caller, gateway: &str, what: &str, deed: &str) -> anyhow::Result<()> {
    let found = one(caller, gateway)?;
    caller.api.call("DELETE", &path(&found, what), None)?;
    if caller.json { Ok(()) } else { out(&format!("{deed} {}\n", cell(&found["name"]))) }
}

fn path(gateway: &Value, what: &str) -> String {
    format!("/gateways/{}{what}", cell(&gateway["id"]))
}

fn one(caller: &Caller, text: &str) -> anyhow::Result<Value> {
    let all = caller.get("/gateways")?;
    let fits = |it: &&Value| it["id"] == text || cell(&it["name"]).to_lowercase() == text.to_lowercase();
    match all["items"].as_array().into_iter().flatten().find(fits) {
        Some(found) => Ok(found.clone()),
        None => bail!("no gateway has the id or name {text:?}; `motehub ctl gateway list` shows all"),
    }
}

/// Without escapes: it is a file, made by the hub.
fn join_file(made: &Value) -> String {
    made["join_file"].as_str().unwrap_or_default().to_owned()
}

fn list(all: &Value) -> String {
    let rows = all["items"].as_array().into_iter().flatten().map(|it| {
        let mut row: Vec<String> =
            ["name", "state", "devices_online", "devices_unreachable"].map(|key| cell(&it[key])).to_vec();
        row.extend(
            ["serves", "round_trip_ms", "messages_per_minute", "spooled", "dropped"]
                .map(|key| cell(&it["link"][key])),
        );
        row.extend(["address", "last_seen"].map(|key| cell(&it[key])));
        row
    });
    let heading = [
        "NAME",
        "STATE",
        "ONLINE",
        "UNREACHABLE",
        "SERVES",
        "MS",
        "MSG/MIN",
        "SPOOLED",
        "DROPPED",
        "ADDRESS",
        "LAST SEEN",
    ];
    table(&heading, &rows.collect::<Vec<_>>())
}

fn shown(gateway: &Value) -> String {
    let line = |name: &str, value: &Value| format!("{name:<19} {}\n", cell(value));
    let own = [
        "id",
        "name",
        "state",
        "selector",
        "key",
        "next_key",
        "address",
        "last_seen",
        "devices_online",
        "devices_unreachable",
        "created_at",
    ];
    let mut text: String = own.iter().map(|name| line(name, &gateway[*name])).collect();
    for (name, value) in gateway["link"].as_object().into_iter().flatten() {
        text.push_str(&line(name, value));
    }
    text
}
