//! `motehub ctl device`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, bulk, camera, find, import, line, report};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List devices, such as `device list --selector 'tag=kitchen and not online'`
    List {
        /// A condition such as `tag=kitchen and online`
        #[arg(long, value_name = "TEXT")]
        selector: Option<String>,
        /// A part of the name, external id or a tag
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show one device
    Show {
        /// Its id, name or external id
        device: String,
    },
    /// Register a device; prints its credential, which is shown only now
    Add {
        /// Its name
        name: String,
        /// How it speaks: nodemcu, native, micropython, mongoose, riot, esp-firmware or line
        #[arg(long)]
        dialect: String,
        /// Its own id: the chip id of a NodeMCU board, the uid of a RIOT node
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// Where a unit of the dialect line is, such as 192.168.1.20:8888
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// How a unit is spoken to, such as kind=read; may be given several times
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// A new file for the settings of a board with Motehub's agent (native or micropython); fill in the Wi-Fi
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show or change how a unit is spoken to, such as `device line lamp kind=update end_out=cr`
    Line {
        /// Its id, name or external id
        device: String,
        /// Where it is now, such as 192.168.1.21:8888; its history stays
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Settings; without a value as usual
        #[arg(value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Register many devices from a CSV table
    Import(import::Import),
    /// Give devices new credentials over the air; the old one is valid until the new one was used
    Rotate {
        /// Its id, name or external id
        #[arg(required_unless_present = "selector", conflicts_with = "selector")]
        device: Option<String>,
        /// All devices of a condition such as `tag=kitchen`; shows first who that is
        #[arg(long, value_name = "TEXT")]
        selector: Option<String>,
        /// Do it without being asked
        #[arg(long)]
        yes: bool,
    },
    /// Print the key with which a device proves over DTLS who it is; it belongs to its credential
    CoapKey {
        /// Its id, name or external id
        device: String,
    },
    /// Return a device to what it ran before; one with firmware on trial goes back by itself
    Rollback {
        /// Its id, name or external id
        device: String,
    },
    /// Print the newest lines of a device's log
    Log {
        /// Its id, name or external id
        device: String,
        /// How many lines: 0 to 1000
        #[arg(long, value_name = "LINES", default_value_t = 100)]
        last: u32,
        /// Then print each line as it comes, until you end it; with --json one object a line
        #[arg(long)]
        tail: bool,
    },
    /// Take versions that crashed on a device out of its quarantine: it may have them again
    Lift {
        /// Its id, name or external id
        device: String,
        /// The version's digest [default: all that are in quarantine]
        digest: Option<String>,
    },
    /// Let a device without a credential speak from an address or network, such as `device allow window fd00:1::/64`
    Allow {
        /// Its id, name or external id
        device: String,
        /// From where it may speak; without it, it may no more
        from: Option<String>,
        /// After how many seconds of silence a RIOT node counts as gone; 0 for the usual 120
        #[arg(long, value_name = "SECONDS")]
        silence_max: Option<u32>,
    },
    /// List the devices that say where they are
    Positions,
    /// Say where a device has its camera, and from which origin its picture may be fetched
    Camera {
        /// Its id, name or external id
        device: String,
        /// Fetch it from this origin, such as http://10.0.0.7:8080
        #[arg(long, value_name = "ORIGIN", conflicts_with = "forbid")]
        allow: Option<String>,
        /// Fetch it no more
        #[arg(long)]
        forbid: bool,
        /// Fetch it now, and write it to this file
        #[arg(long, value_name = "FILE")]
        picture: Option<PathBuf>,
    },
    /// Add tags to all devices of a condition, such as `device tag floor-1 --selector tag=kitchen`
    Tag(Tagging),
    /// Take tags away from all devices of a condition
    Untag(Tagging),
    /// Delete a device, or all of a condition, with all that was measured
    Delete {
        /// Its id, name or external id
        #[arg(required_unless_present = "selector", conflicts_with = "selector")]
        device: Option<String>,
        /// All devices of a condition such as `tag=kitchen`; shows first who that is
        #[arg(long, value_name = "TEXT")]
        selector: Option<String>,
        /// Do it without being asked
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args)]
pub(super) struct Tagging {
    /// The tags
    #[arg(required = true)]
    tags: Vec<String>,
    /// The devices for which this is true, such as `tag=kitchen and online`
    #[arg(long, value_name = "TEXT")]
    selector: String,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List { selector, search } => {
            let mut query = String::new();
            for (key, value) in [("selector", selector), ("q", search)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{key}={}", find::encode(value)));
                }
            }
            caller.show(&find::all(caller, "/devices", &query)?, devices)
        }
        Verb::Show { device } => {
            let id = find::id(caller, "device", device)?;
            caller.show(&caller.get(&format!("/devices/{id}"))?, one)
        }
        Verb::Add { name, dialect, external_id, address, settings, tags, config } => {
            // A file that cannot be written is noticed before there is a device.
            let file = config.as_deref().map(new_private_file).transpose()?;
            let mut new =
                json!({ "name": name, "dialect": dialect, "external_id": external_id, "tags": tags });
            if let Some(address) = address {
                new["address"] = json!(address);
            }
            if !settings.is_empty() {
                new["line"] = Value::Object(line::read(settings)?);
            }
            let made = caller.post("/devices", &new)?;
            if let Some(mut file) = file {
                file.write_all(agent_config(caller, &made)?.as_bytes()).context("writing the settings")?;
            }
            caller.show(&made, |made| {
                let (id, credential) = (cell(&made["id"]), cell(&made["credential"]));
                format!("id          {id}\ncredential  {credential}   (shown only now: keep it)\n")
            })
        }
        Verb::Line { device, address, settings } => line::run(caller, device, address.as_deref(), settings),
        Verb::Import(wanted) => import::run(caller, wanted),
        Verb::Rotate { selector: Some(selector), yes, .. } => {
            bulk::run(caller, selector, &json!({ "kind": "rotate" }), "give new credentials to", *yes)
        }
        Verb::Rotate { device, .. } => {
            let id = find::id(caller, "device", device.as_deref().unwrap_or_default())?;
            let rotated = caller.post(&format!("/devices/{id}/credential/rotate"), &json!({}))?;
            caller.show(&rotated, |device| match device["rotation"]["state"] == "sent" {
                true => "sent: the old one stops when the new one is used\n".to_owned(),
                false => "it is sent when the device is there\n".to_owned(),
            })
        }
        Verb::CoapKey { device } => {
            let id = find::id(caller, "device", device)?;
            caller.show(&caller.get(&format!("/devices/{id}/coap-key"))?, |made| {
                format!("identity  {}\nkey       {}\n", cell(&made["identity"]), cell(&made["key"]))
            })
        }
        Verb::Rollback { device } => {
            let id = find::id(caller, "device", device)?;
            let begun = caller.post(&format!("/devices/{id}/rollback"), &json!({}))?;
            caller.show(&begun, |begun| format!("see deployment {}\n", cell(&begun["id"])))
        }
        Verb::Allow { device, from, silence_max } => {
            let device = find::one(caller, "device", device)?;
            let mut edit = json!({ "unauthenticated_allowed": from.is_some() });
            if let Some(from) = from {
                edit["allowed_from"] = json!(from);
            }
            if let Some(seconds) = silence_max {
                edit["silence_max_seconds"] = json!(seconds);
            }
            let path = format!("/devices/{}", cell(&device["id"]));
            let edited = caller.api.call("PATCH", &path, Some(&edit))?;
            caller.show(&edited, |device| match device["unauthenticated_allowed"] == true {
                true => format!("it may speak without a credential from {}\n", cell(&device["allowed_from"])),
                false => "it may not speak without a credential\n".to_owned(),
            })
        }
        Verb::Positions => caller.show(&caller.get("/positions")?, camera::positions),
        Verb::Camera { device, allow, forbid, picture } => {
            camera::run(caller, device, allow.as_deref(), *forbid, picture.as_deref())
        }
        Verb::Log { device, last, tail } => report::log(caller, device, *last, *tail),
        Verb::Lift { device, digest } => report::lift(caller, device, digest.as_deref()),
        Verb::Tag(Tagging { tags, selector, yes }) => {
            bulk::run(caller, selector, &json!({ "kind": "tag", "tags": tags }), "tag", *yes)
        }
        Verb::Untag(Tagging { tags, selector, yes }) => {
            bulk::run(caller, selector, &json!({ "kind": "untag", "tags": tags }), "untag", *yes)
        }
        Verb::Delete { selector: Some(selector), yes, .. } => {
            bulk::run(caller, selector, &json!({ "kind": "delete" }), "delete", *yes)
        }
        Verb::Delete { device, .. } => {
            let device = find::one(caller, "device", device.as_deref().unwrap_or_default())?;
            caller.api.call("DELETE", &format!("/devices/{}", cell(&device["id"])), None)?;
            match caller.json {
                true => Ok(()),
                false => out(&format!("deleted {} ({})\n", cell(&device["name"]), cell(&device["id"]))),
            }
        }
    }
}

/// A file that only its owner can read, because it will hold a credential; an existing one is left alone.
pub(super) fn new_private_file(path: &Path) -> anyhow::Result<std::fs::File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("making {}", path.display()))
}

/// The config.json of a board with the agent: the board is told the address of the hub that is used here.
fn agent_config(caller: &Caller, made: &Value) -> anyhow::Result<String> {
    let address = caller.account.hub.split('/').nth(2).unwrap_or_default();
    let (host, http) = address.rsplit_once(':').unwrap_or((address, "80"));
    let config = json!({
        "wifi": { "ssid": "", "password": "" },
        "hub": {
            "host": host,
            "mqtt": caller.get("/system")?["mqtt_port"],
            "http": http.parse::<u16>().unwrap_or(80),
        },
        "device": made["id"],
        "credential": made["credential"],
        "capabilities": [],
        "attributes": {},
    });
    Ok(format!("{config:#}\n"))
}

fn running(device: &Value) -> String {
    match &device["running"] {
        Value::Null => "-".to_owned(),
        script => format!("{} v{}", cell(&script["name"]), cell(&script["version"])),
    }
}

fn devices(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten().map(|device| {
        let online = if device["online"] == true { "online" } else { "offline" };
        let mut row = vec![cell(&device["name"]), online.to_owned(), cell(&device["state"]), running(device)];
        row.extend(["tags", "last_seen", "id"].map(|key| cell(&device[key])));
        row
    });
    table(&["NAME", "PRESENCE", "STATE", "RUNS", "TAGS", "LAST SEEN", "ID"], &rows.collect::<Vec<_>>())
}

fn one(device: &Value) -> String {
    let keys = ["id", "name", "dialect", "external_id", "tags", "online", "last_seen", "state", "problem"];
    let mut text: String = keys.iter().map(|key| format!("{key:<12} {}\n", cell(&device[key]))).collect();
    text.push_str(&format!("{:<12} {}\n", "running", running(device)));
    text.push_str(&report::quarantined(device));
    text
}
