//! `motehub ctl webhook`.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Caller;
use super::print::{cell, out, table};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List webhooks with how many deliveries wait and how many are dead letters
    List,
    /// Make a webhook; prints the secret with which its posts are signed, once
    Add {
        /// Its name
        name: String,
        /// Where to post
        url: String,
        /// Which changes, such as device_offline, task_* or '*'; repeatable; without it only rules deliver to it
        #[arg(long, value_name = "KIND", value_delimiter = ',')]
        on: Vec<String>,
        /// Only changes that concern devices of this selector
        #[arg(long, value_name = "SELECTOR")]
        devices: Option<String>,
    },
    /// Change what a webhook is; what is not given stays
    Set {
        /// Its name or id
        webhook: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// A new address; what waits goes there
        #[arg(long)]
        url: Option<String>,
        /// Which changes; repeatable
        #[arg(long, value_name = "KIND", value_delimiter = ',')]
        on: Option<Vec<String>>,
        /// Of devices of this selector; an empty one is none
        #[arg(long, value_name = "SELECTOR")]
        devices: Option<String>,
    },
    /// Deliver to a webhook again
    Enable {
        /// Its name or id
        webhook: String,
    },
    /// Stop delivering to a webhook; what waits stays
    Disable {
        /// Its name or id
        webhook: String,
    },
    /// Give a webhook a new secret; the former one signs beside it for a day
    Rotate {
        /// Its name or id
        webhook: String,
    },
    /// Post a ping to a webhook now and show what it answers
    Ping {
        /// Its name or id
        webhook: String,
    },
    /// List deliveries of a webhook, or of mail
    Deliveries {
        /// The webhook's name or id, or mail
        webhook: String,
        /// Which of them
        #[arg(long, value_enum, default_value_t = State::Dead)]
        state: State,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Send dead letters again: one, or all of a webhook
    Resend {
        /// The webhook's name or id, or mail
        webhook: String,
        /// The id of one delivery
        #[arg(long, value_name = "ID")]
        delivery: Option<String>,
    },
    /// Delete a webhook with its deliveries
    Delete {
        /// Its name or id
        webhook: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum State {
    /// Not taken yet
    Waiting,
    /// Taken
    Delivered,
    /// Given up
    Dead,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/webhooks")?, listed),
        Verb::Add { name, url, on, devices } => {
            let new = json!({ "name": name, "url": url, "changes": on, "devices": devices });
            caller.show(&caller.post("/webhooks", &new)?, secret)
        }
        Verb::Set { webhook, name, url, on, devices } => {
            let fields = [
                ("name", json!(name)),
                ("url", json!(url)),
                ("changes", json!(on)),
                ("devices", json!(devices)),
            ];
            let given = fields.into_iter().filter(|(_, value)| !value.is_null());
            edit(caller, webhook, &given.map(|(name, value)| (name.to_owned(), value)).collect())
        }
        Verb::Enable { webhook } => edit(caller, webhook, &json!({ "enabled": true })),
        Verb::Disable { webhook } => edit(caller, webhook, &json!({ "enabled": false })),
        Verb::Rotate { webhook } => {
            caller.show(&caller.post(&format!("{}/secret", path(caller, webhook)?), &json!({}))?, secret)
        }
        Verb::Ping { webhook } => {
            let said = caller.post(&format!("{}/ping", path(caller, webhook)?), &json!({}))?;
            caller.show(&said, |said| {
                let taken = if said["taken"] == true { "taken" } else { "not taken" };
                format!("{taken}: {} {}\n", cell(&said["status"]), cell(&said["answer"]))
            })
        }
        Verb::Deliveries { webhook, state, limit } => {
            let state =
                state.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            let path = format!("{}/deliveries?state={state}&limit={limit}", path(caller, webhook)?);
            caller.show(&caller.get(&path)?, deliveries)
        }
        Verb::Resend { webhook, delivery } => {
            let one = delivery.as_ref().map(|id| format!("/{id}")).unwrap_or_default();
            let path = format!("{}/deliveries{one}/resend", path(caller, webhook)?);
            caller.show(&caller.post(&path, &json!({}))?, |said| format!("{} wait again\n", said["resent"]))
        }
        Verb::Delete { webhook } => {
            caller.api.call("DELETE", &path(caller, webhook)?, None)?;
            if caller.json { Ok(()) } else { out(&format!("deleted {webhook}\n")) }
        }
    }
}

fn edit(caller: &Caller, webhook: &str, edit: &Value) -> anyhow::Result<()> {
    let edited = caller.api.call("PATCH", &path(caller, webhook)?, Some(edit))?;
    caller.show(&edited, |webhook| rows(std::slice::from_ref(webhook)))
}

fn secret(made: &Value) -> String {
    format!("{}\n", cell(&made["secret"]))
}

fn listed(list: &Value) -> String {
    rows(list["items"].as_array().map_or(&[][..], Vec::as_slice))
}

fn rows(webhooks: &[Value]) -> String {
    let rows = webhooks.iter().map(|webhook| {
        let state = match (&webhook["enabled"], &webhook["disabled_because"]) {
            (Value::Bool(true), _) => "enabled".to_owned(),
            (_, Value::Null) => "disabled".to_owned(),
            (_, because) => format!("disabled: {}", cell(because)),
        };
        let mut row =
            ["name", "waiting", "dead", "changes", "devices", "url"].map(|key| cell(&webhook[key])).to_vec();
        row.insert(1, state);
        row
    });
    table(&["NAME", "STATE", "WAITING", "DEAD", "ON", "DEVICES", "URL"], &rows.collect::<Vec<_>>())
}

fn deliveries(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten().map(|delivery| {
        ["id", "event", "created_at", "at", "tries", "status", "answer"]
            .map(|key| cell(&delivery[key]))
            .to_vec()
    });
    table(&["ID", "EVENT", "PUT IN", "AT", "TRIES", "STATUS", "ANSWER"], &rows.collect::<Vec<_>>())
}

fn path(caller: &Caller, text: &str) -> anyhow::Result<String> {
    if text == "mail" {
        return Ok("/webhooks/mail".to_owned());
    }
    let list = caller.get("/webhooks")?;
    let is_it = |one: &&Value| one["id"] == text || cell(&one["name"]).to_lowercase() == text.to_lowercase();
    let found = list["items"].as_array().into_iter().flatten().find(is_it);
    let found = found.ok_or_else(|| {
        anyhow::anyhow!("no webhook has the id or name {text:?}; `motehub ctl webhook list` shows all")
    })?;
    Ok(format!("/webhooks/{}", cell(&found["id"])))
}
