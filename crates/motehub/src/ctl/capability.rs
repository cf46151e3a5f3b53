//! `motehub ctl capability`: what devices can do, and which of it scripts need.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, bulk, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List capabilities: how many devices have each, and how many scripts require it
    List,
    /// Say what a capability is, such as `capability describe relay 'switches up to 10 A'`
    Describe {
        /// Lower-case letters, digits and `. _ -`
        name: String,
        /// For people
        description: String,
    },
    /// Take a capability that nobody uses out of the library
    Delete {
        /// Its name
        name: String,
    },
    /// Assign capabilities to all devices of a condition, besides those that they announce
    Assign(Assignment),
    /// Take assigned capabilities away from all devices of a condition
    Unassign(Assignment),
}

#[derive(clap::Args)]
pub(super) struct Assignment {
    /// The capabilities
    #[arg(required = true)]
    names: Vec<String>,
    /// The devices for which this is true, such as `tag=kitchen and online`
    #[arg(long, value_name = "TEXT")]
    selector: String,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    let path = |name: &str| format!("/capabilities/{}", find::encode(name));
    let done = |text: String| if caller.json { Ok(()) } else { out(&text) };
    match verb {
        Verb::List => caller.show(&caller.get("/capabilities")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten().map(|capability| {
                ["name", "assigned", "announced", "required", "description"]
                    .map(|key| cell(&capability[key]))
                    .to_vec()
            });
            let heading = ["NAME", "ASSIGNED", "ANNOUNCED", "REQUIRED", "DESCRIPTION"];
            table(&heading, &rows.collect::<Vec<Vec<String>>>())
        }),
        Verb::Describe { name, description } => {
            caller.api.call("PUT", &path(name), Some(&json!({ "description": description })))?;
            done(format!("described {name}\n"))
        }
        Verb::Delete { name } => {
            caller.api.call("DELETE", &path(name), None)?;
            done(format!("deleted {name}\n"))
        }
        Verb::Assign(wanted) => assign(caller, wanted, "add_capabilities", "give capabilities to"),
        Verb::Unassign(wanted) => assign(caller, wanted, "remove_capabilities", "take capabilities from"),
    }
}

fn assign(caller: &Caller, wanted: &Assignment, kind: &str, deed: &str) -> anyhow::Result<()> {
    let Assignment { names, selector, yes } = wanted;
    let action: Value = json!({ "kind": kind, "capabilities": names });
    bulk::run(caller, selector, &action, deed, *yes)
}
