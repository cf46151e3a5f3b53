//! `motehub ctl group`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List groups with how many members each has now
    List,
    /// List the devices that are members of a group now
    Members {
        /// Its name or id
        group: String,
    },
    /// Make a group, such as `group add kitchen 'tag=kitchen'`
    Add {
        /// Its name
        name: String,
        /// Who its members are
        selector: String,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Change who the members of a group are
    Set {
        /// Its name or id
        group: String,
        /// Who its members are
        selector: String,
    },
    /// Delete a group; its devices stay as they are
    Delete {
        /// Its name or id
        group: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/groups")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten().map(|group| {
                ["name", "members", "selector", "description"].map(|key| cell(&group[key])).to_vec()
            });
            table(&["NAME", "MEMBERS", "SELECTOR", "DESCRIPTION"], &rows.collect::<Vec<_>>())
        }),
        Verb::Members { group } => {
            let path = format!("/groups/{}/members", cell(&one(caller, group)?["id"]));
            caller.show(&find::all(caller, &path, "")?, |list| {
                let rows = list["items"].as_array().into_iter().flatten().map(|device| {
                    let online = if device["online"] == true { "online" } else { "offline" };
                    vec![
                        cell(&device["name"]),
                        online.to_owned(),
                        cell(&device["state"]),
                        cell(&device["id"]),
                    ]
                });
                table(&["NAME", "PRESENCE", "STATE", "ID"], &rows.collect::<Vec<_>>())
            })
        }
        Verb::Add { name, selector, description } => {
            let new = json!({ "name": name, "selector": selector, "description": description });
            caller.show(&caller.post("/groups", &new)?, counted)
        }
        Verb::Set { group, selector } => {
            let path = format!("/groups/{}", cell(&one(caller, group)?["id"]));
            let edited = caller.api.call("PATCH", &path, Some(&json!({ "selector": selector })))?;
            caller.show(&edited, counted)
        }
        Verb::Delete { group } => {
            let group = one(caller, group)?;
            caller.api.call("DELETE", &format!("/groups/{}", cell(&group["id"])), None)?;
            if caller.json { Ok(()) } else { out(&format!("deleted {}\n", cell(&group["name"]))) }
        }
    }
}

fn counted(group: &Value) -> String {
    format!("{}: {} members now\n", cell(&group["name"]), cell(&group["members"]))
}

fn one(caller: &Caller, text: &str) -> anyhow::Result<Value> {
    let list = caller.get("/groups")?;
    let is_it =
        |group: &&Value| group["id"] == text || cell(&group["name"]).to_lowercase() == text.to_lowercase();
    let found = list["items"].as_array().into_iter().flatten().find(is_it).cloned();
    found.ok_or_else(|| {
        anyhow::anyhow!("no group has the id or name {text:?}; `motehub ctl group list` shows all")
    })
}
