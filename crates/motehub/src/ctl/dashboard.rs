//! `motehub ctl dashboard`: dashboards as documents in files, and their public links.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List your dashboards and the shared ones
    List,
    /// Print the document of a dashboard, as `dashboard import` reads it
    Export {
        /// Its name or id
        dashboard: String,
    },
    /// Make a dashboard of a document (JSON); what a token makes is shared with all people
    Import {
        /// The file
        file: PathBuf,
        /// Its name [default: that in the document]
        #[arg(long)]
        name: Option<String>,
        /// Save it over this dashboard, by name or id, instead of making a new one
        #[arg(long, value_name = "DASHBOARD")]
        over: Option<String>,
    },
    /// Make a copy
    Copy {
        /// Its name or id
        dashboard: String,
        /// The name of the copy [default: the same with "(copy)" behind it]
        #[arg(long)]
        name: Option<String>,
    },
    /// Delete a dashboard with its public links
    Delete {
        /// Its name or id
        dashboard: String,
    },
    /// Print what its blocks show now
    Data {
        /// Its name or id
        dashboard: String,
    },
    /// List the public links of a dashboard
    Links {
        /// Its name or id
        dashboard: String,
    },
    /// Make a link by which anybody sees a dashboard and changes nothing; it is printed only once
    Link {
        /// Its name or id
        dashboard: String,
        /// For whom it is
        label: String,
        /// After how many hours it stops [default: never]
        #[arg(long, value_name = "HOURS")]
        expires_in: Option<u32>,
    },
    /// Withdraw a public link
    Unlink {
        /// Its name or id
        dashboard: String,
        /// The link, by label or id
        link: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&find::all(caller, "/dashboards", "")?, list),
        Verb::Export { dashboard } => {
            let document = caller.get(&path(&one(caller, dashboard)?, "/export"))?;
            out(&format!("{document:#}\n"))
        }
        Verb::Import { file, name, over } => import(caller, file, name.as_deref(), over.as_deref()),
        Verb::Copy { dashboard, name } => {
            let path = path(&one(caller, dashboard)?, "/copy");
            caller.show(&caller.post(&path, &json!({ "name": name }))?, made)
        }
        Verb::Delete { dashboard } => {
            let dashboard = one(caller, dashboard)?;
            caller.api.call("DELETE", &path(&dashboard, ""), None)?;
            said(caller, "deleted", &dashboard["name"])
        }
        Verb::Data { dashboard } => {
            let data = caller.get(&path(&one(caller, dashboard)?, "/data"))?;
            out(&format!("{data:#}\n"))
        }
        Verb::Links { dashboard } => {
            caller.show(&caller.get(&path(&one(caller, dashboard)?, "/links"))?, links)
        }
        Verb::Link { dashboard, label, expires_in } => {
            let expires_in_s = expires_in.map(|hours| i64::from(hours) * 3600);
            let new = json!({ "label": label, "expires_in_s": expires_in_s });
            let link = caller.post(&path(&one(caller, dashboard)?, "/links"), &new)?;
            caller.show(&link, |link| {
                format!("{}/#/public/{}\n", caller.account.hub.trim_end_matches('/'), cell(&link["secret"]))
            })
        }
        Verb::Unlink { dashboard, link } => {
            let dashboard = one(caller, dashboard)?;
            let all = caller.get(&path(&dashboard, "/links"))?;
            let is_it = |found: &&Value| found["id"] == *link || found["label"] == *link;
            let Some(found) = all["items"].as_array().into_iter().flatten().find(is_it) else {
                bail!("no public link has the id or label {link:?}; `motehub ctl dashboard links` shows all");
            };
            let path = path(&dashboard, &format!("/links/{}", cell(&found["id"])));
            caller.api.call("DELETE", &path, None)?;
            said(caller, "withdrew", &found["label"])
        }
    }
}

fn path(dashboard: &Value, what: &str) -> String {
    format!("/dashboards/{}{what}", cell(&dashboard["id"]))
}

fn said(caller: &Caller, deed: &str, name: &Value) -> anyhow::Result<()> {
    if caller.json { Ok(()) } else { out(&format!("{deed} {}\n", cell(name))) }
}

fn made(dashboard: &Value) -> String {
    format!("{} {}\n", cell(&dashboard["id"]), cell(&dashboard["name"]))
}

/// A dashboard by its id or its name, if one alone has that.
fn one(caller: &Caller, text: &str) -> anyhow::Result<Value> {
    let all = find::all(caller, "/dashboards", "")?;
    let is_it = |it: &&Value| it["id"] == text || cell(&it["name"]).to_lowercase() == text.to_lowercase();
    let found: Vec<&Value> = all["items"].as_array().into_iter().flatten().filter(is_it).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => bail!("no dashboard has the id or name {text:?}; `motehub ctl dashboard list` shows all"),
        _ => bail!("{} dashboards have the name {text:?}: say the id", found.len()),
    }
}

fn list(all: &Value) -> String {
    let rows = all["items"].as_array().into_iter().flatten().map(|it| {
        let seen_by = if it["shared"] == true { "all" } else { "me" };
        let [name, blocks, owner, updated, id] =
            ["name", "blocks", "owner", "updated_at", "id"].map(|key| cell(&it[key]));
        vec![name, blocks, owner, seen_by.to_owned(), updated, id]
    });
    table(&["NAME", "BLOCKS", "OWNER", "SEEN BY", "UPDATED", "ID"], &rows.collect::<Vec<_>>())
}

fn links(all: &Value) -> String {
    let rows = all["items"].as_array().into_iter().flatten().map(|it| {
        ["label", "created_by", "created_at", "expires_at", "last_used_at", "id"]
            .map(|key| cell(&it[key]))
            .to_vec()
    });
    table(&["LABEL", "MADE BY", "MADE", "EXPIRES", "LAST USED", "ID"], &rows.collect::<Vec<_>>())
}

fn import(caller: &Caller, file: &Path, name: Option<&str>, over: Option<&str>) -> anyhow::Result<()> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut document: Value = serde_json::from_slice(&text)
        .with_context(|| format!("nothing was saved: {} is not JSON", file.display()))?;
    if let (Some(name), Some(fields)) = (name, document.as_object_mut()) {
        fields.insert("name".to_owned(), json!(name));
    }
    let saved = match over {
        Some(over) => {
            let before = one(caller, over)?;
            let body = json!({ "document": document, "revision": before["revision"] });
            caller.api.call("PUT", &path(&before, ""), Some(&body))?
        }
        None => caller.post("/dashboards", &json!({ "document": document, "shared": true }))?,
    };
    caller.show(&saved, made)
}
