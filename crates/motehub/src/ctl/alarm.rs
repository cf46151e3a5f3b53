//! `motehub ctl alarm`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List alarms that are not cleared, the last raised first
    List {
        /// Those that are cleared too
        #[arg(long)]
        all: bool,
        /// Only those of a device, by id, name or external id
        #[arg(long)]
        device: Option<String>,
    },
    /// Say that you have seen an alarm and take care of it
    Acknowledge {
        /// Its id
        alarm: String,
    },
    /// Say that an alarm is over; it is raised again when its rule fires again
    Clear {
        /// Its id
        alarm: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List { all, device } => {
            let mut query = if *all { String::new() } else { "&state=raised,acknowledged".to_owned() };
            if let Some(device) = device {
                query = format!("{query}&device={}", find::id(caller, "device", device)?);
            }
            caller.show(&find::all(caller, "/alarms", &query)?, list)
        }
        Verb::Acknowledge { alarm } => moved(caller, alarm, "acknowledge"),
        Verb::Clear { alarm } => moved(caller, alarm, "clear"),
    }
}

fn list(list: &Value) -> String {
    let keys = ["severity", "state", "raised_at", "rule_name", "device_name", "message", "id"];
    let rows = list["items"].as_array().into_iter().flatten();
    let rows = rows.map(|alarm| keys.map(|key| cell(&alarm[key])).to_vec());
    table(&["SEVERITY", "STATE", "RAISED", "RULE", "DEVICE", "MESSAGE", "ID"], &rows.collect::<Vec<_>>())
}

fn moved(caller: &Caller, alarm: &str, deed: &str) -> anyhow::Result<()> {
    let alarm = caller.post(&format!("/alarms/{alarm}/{deed}"), &json!({}))?;
    let text = format!("{}: {}\n", cell(&alarm["rule_name"]), cell(&alarm["state"]));
    if caller.json { out(&format!("{alarm:#}\n")) } else { out(&text) }
}
