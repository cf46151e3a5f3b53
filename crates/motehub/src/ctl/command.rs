//! `motehub ctl command`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, bulk, find};

/// How long `--wait` rests between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Ask devices to do something, such as `command send relay --args '{"on":true}' --device lamp --wait`
    #[command(group(clap::ArgGroup::new("where").required(true).args(["selector", "devices"])))]
    Send {
        /// What to do, in the words of the program on the device
        name: String,
        /// With what, as JSON
        #[arg(long, value_name = "JSON")]
        args: Option<String>,
        /// The devices for which this is true, such as `tag=kitchen and online`
        #[arg(long, value_name = "TEXT")]
        selector: Option<String>,
        /// A device by id, name or external id; may be given several times
        #[arg(long = "device", value_name = "DEVICE")]
        devices: Vec<String>,
        /// How long it may wait for a device that is away
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        expires: u32,
        /// Wait for the answers and show them; fails if any is not Done
        #[arg(long)]
        wait: bool,
    },
    /// List commands, newest first
    List,
    /// Show what each device answered
    Show {
        /// The command's id
        id: String,
    },
    /// Take a command back from the devices that were not told yet
    Cancel {
        /// The command's id
        id: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Send { name, args, selector, devices, expires, wait } => {
            let args: Value = match args {
                Some(text) => serde_json::from_str(text).context("--args is not JSON")?,
                None => Value::Null,
            };
            let mut new = json!({ "name": name, "args": args, "expires_in_seconds": expires });
            let asked = match selector {
                Some(selector) => {
                    new["kind"] = json!("command");
                    let order = bulk::look(caller, selector, &new, &format!("send {name} to"))?;
                    let last = bulk::act(caller, &order)?;
                    json!({ "id": last["command"], "devices": last["changed"] })
                }
                None => {
                    let ids: anyhow::Result<Vec<String>> =
                        devices.iter().map(|device| find::id(caller, "device", device)).collect();
                    new["devices"] = json!(ids?);
                    caller.post("/commands", &new)?
                }
            };
            let line = |asked: &Value| {
                format!("command {} to {} devices\n", cell(&asked["id"]), cell(&asked["devices"]))
            };
            match wait {
                false => caller.show(&asked, line),
                true => {
                    eprint!("{}", line(&asked));
                    let longest = Duration::from_secs(u64::from(*expires)) + Duration::from_secs(5);
                    until_answered(caller, &cell(&asked["id"]), longest)
                }
            }
        }
        Verb::List => caller.show(&find::all(caller, "/commands", "")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten().map(|it| {
                let mut row = vec![cell(&it["name"]), progress(it)];
                row.extend(["args", "created_by", "created_at", "id"].map(|key| cell(&it[key])));
                row
            });
            table(&["COMMAND", "DEVICES", "ARGS", "BY", "ASKED", "ID"], &rows.collect::<Vec<_>>())
        }),
        Verb::Show { id } => answers(caller, id),
        Verb::Cancel { id } => {
            caller.post(&path(id, "/cancel"), &json!({}))?;
            if caller.json { Ok(()) } else { out("cancelled\n") }
        }
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/commands/{}{rest}", find::encode(id))
}

fn progress(command: &Value) -> String {
    let counts = command["counts"].as_object().into_iter().flatten().filter(|(_, count)| **count != 0);
    counts.map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}

fn answers(caller: &Caller, id: &str) -> anyhow::Result<()> {
    caller.show(&find::all(caller, &path(id, "/executions"), "")?, |list| {
        let rows = list["items"].as_array().into_iter().flatten().map(|it| {
            ["device_name", "state", "result", "reason", "updated_at"].map(|key| cell(&it[key])).to_vec()
        });
        table(&["DEVICE", "STATE", "RESULT", "REASON", "CHANGED"], &rows.collect::<Vec<_>>())
    })
}

fn until_answered(caller: &Caller, id: &str, longest: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut said = String::new();
    loop {
        let now = caller.get(&path(id, ""))?;
        let progress = progress(&now);
        if progress != said {
            eprintln!("{progress}");
            said = progress;
        }
        let of = |state: &str| now["counts"][state].as_i64().unwrap_or(0);
        let is_open = of("Queued") + of("Sent") > 0;
        if !is_open || start.elapsed() >= longest {
            answers(caller, id)?;
            if is_open {
                bail!("still open after {} s", longest.as_secs());
            }
            if of("Failed") + of("Expired") > 0 {
                bail!("not every device did it: {said}");
            }
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
