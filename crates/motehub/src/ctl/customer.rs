//! `motehub ctl claim-code`, `share`, `invite` and `customer`: devices in the hands of customers.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum ShareVerb {
    /// List the customers who have a device
    List {
        /// Its name, external id or id
        device: String,
    },
    /// End a customer's share of a device
    Revoke {
        /// Its name, external id or id
        device: String,
        /// The customer's name
        customer: String,
    },
    /// Take a device back from its owner and from all with whom it is shared; prints a new claim code
    Release {
        /// Its name, external id or id
        device: String,
    },
}

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List customers with how many devices each has
    List,
}

/// Under which address customers reach the hub.
#[derive(clap::Args)]
pub(super) struct Reach {
    /// What the link and the QR code begin with [default: the address of the hub as this command reaches it]
    #[arg(long, value_name = "URL")]
    address: Option<String>,
}

/// Makes the claim code of a device.
#[derive(clap::Args)]
pub(super) struct ClaimCode {
    /// Its name, external id or id
    device: String,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn claim_code(caller: &Caller, wanted: &ClaimCode) -> anyhow::Result<()> {
    let device = find::id(caller, "device", &wanted.device)?;
    let query = wanted.reach.address.as_ref().map(|url| format!("?address={}", find::encode(url)));
    let path = format!("/devices/{device}/claim-code{}", query.unwrap_or_default());
    caller.show(&caller.post(&path, &json!({}))?, code)
}

pub(super) fn invite(caller: &Caller, reach: &Reach) -> anyhow::Result<()> {
    let wanted = reach.address.as_ref().map_or_else(|| json!({}), |url| json!({ "address": url }));
    caller.show(&caller.post("/invitations", &wanted)?, code)
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&find::all(caller, "/customers", "")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten().map(|customer| {
                ["name", "devices", "created_at", "last_login_at"].map(|key| cell(&customer[key])).to_vec()
            });
            table(&["NAME", "DEVICES", "SIGNED UP", "LAST LOGIN"], &rows.collect::<Vec<_>>())
        }),
    }
}

pub(super) fn share(caller: &Caller, verb: &ShareVerb) -> anyhow::Result<()> {
    match verb {
        ShareVerb::List { device } => {
            let device = find::id(caller, "device", device)?;
            caller.show(&caller.get(&format!("/devices/{device}/shares"))?, |list| {
                let rows = list["items"].as_array().into_iter().flatten().map(|share| {
                    let mut row = ["user_name", "right", "until"].map(|key| cell(&share[key])).to_vec();
                    row.push(if share["ended"] == true { "ended" } else { "good" }.to_owned());
                    row
                });
                table(&["CUSTOMER", "RIGHT", "UNTIL", "STATE"], &rows.collect::<Vec<_>>())
            })
        }
        ShareVerb::Revoke { device, customer } => {
            let device = find::id(caller, "device", device)?;
            let list = caller.get(&format!("/devices/{device}/shares"))?;
            let shares = list["items"].as_array().into_iter().flatten();
            let is_it = |share: &&Value| cell(&share["user_name"]).to_lowercase() == customer.to_lowercase();
            let share = shares.into_iter().find(is_it).ok_or_else(|| {
                anyhow::anyhow!("{customer:?} has no share of it; `motehub ctl share list` shows who has")
            })?;
            caller.api.call("DELETE", &format!("/devices/{device}/shares/{}", cell(&share["user"])), None)?;
            if caller.json { Ok(()) } else { out(&format!("revoked from {}\n", cell(&share["user_name"]))) }
        }
        ShareVerb::Release { device } => {
            let device = find::id(caller, "device", device)?;
            caller.show(&caller.api.call("DELETE", &format!("/devices/{device}/claim"), None)?, code)
        }
    }
}

fn code(made: &Value) -> String {
    let (code, link) = (cell(&made["code"]), cell(&made["link"]));
    format!("code  {code}   (shown only now: print it)\nlink  {link}\n")
}
