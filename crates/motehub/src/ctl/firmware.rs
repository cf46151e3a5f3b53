//! `motehub ctl firmware`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List firmware, newest first
    List,
    /// Upload an image: a zip of Mongoose OS, or a plain image with its name, version and platform
    Push {
        /// The file
        file: PathBuf,
        /// Of the program; a zip says it itself
        #[arg(long)]
        name: Option<String>,
        /// Such as 1.2.0, as the device will report it; a zip says it itself
        #[arg(long)]
        version: Option<String>,
        /// The hardware it is for, such as esp32; a zip says it itself
        #[arg(long)]
        platform: Option<String>,
        /// Tells builds of one version apart; a zip says it itself
        #[arg(long, value_name = "ID")]
        build_id: Option<String>,
        /// In your words
        #[arg(long)]
        notes: Option<String>,
    },
    /// Take the file of a firmware out again
    Download {
        /// Its id
        id: String,
        /// Where to; no file of this name may be there
        file: PathBuf,
    },
    /// Show a firmware
    Show {
        /// Its id
        id: String,
    },
    /// Delete a firmware that no device runs or awaits
    Delete {
        /// Its id
        id: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    let path = |id: &str| format!("/firmware/{}", find::encode(id));
    match verb {
        Verb::List => caller.show(&find::all(caller, "/firmware", "")?, |list| {
            rows(list["items"].as_array().map(Vec::as_slice).unwrap_or_default())
        }),
        Verb::Push { file, name, version, platform, build_id, notes } => {
            let label = [("name", name), ("version", version), ("platform", platform)];
            let fields = [&label[..], &[("build_id", build_id), ("notes", notes)]].concat();
            let fields = fields.iter().filter_map(|(field, text)| Some((*field, text.as_deref()?)));
            let made = push(caller, file, fields)?;
            caller.show(&made, |made| rows(std::slice::from_ref(made)))
        }
        Verb::Download { id, file } => {
            let whole = format!("{}/file", path(id));
            // Asked for first: what is not there leaves no empty file behind.
            caller.get(&path(id))?;
            let mut into = File::create_new(file).with_context(|| format!("writing {}", file.display()))?;
            let bytes = caller.api.download(&whole, &mut into)?;
            if caller.json { Ok(()) } else { out(&format!("{bytes} bytes in {}\n", file.display())) }
        }
        Verb::Show { id } => caller.show(&caller.get(&path(id))?, |one| rows(std::slice::from_ref(one))),
        Verb::Delete { id } => {
            caller.api.call("DELETE", &path(id), None)?;
            if caller.json { Ok(()) } else { out("deleted\n") }
        }
    }
}

fn rows(items: &[Value]) -> String {
    let keys = ["name", "version", "platform", "size_bytes", "used_by", "created_at", "id"];
    let rows = items.iter().map(|it| keys.map(|key| cell(&it[key])).to_vec());
    table(&["NAME", "VERSION", "PLATFORM", "BYTES", "DEVICES", "UPLOADED", "ID"], &rows.collect::<Vec<_>>())
}

/// Sends the file and the fields as a form.
fn push<'a>(
    caller: &Caller,
    file: &Path,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<Value> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let boundary = format!("motehub-{:016x}-{}", bytes.len(), std::process::id());
    let mut form = Vec::with_capacity(bytes.len() + 1024);
    for (field, text) in fields {
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{text}\r\n");
        form.extend(head.into_bytes());
    }
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"firmware\"";
    form.extend(format!("--{boundary}\r\n{head}\r\n\r\n").into_bytes());
    form.extend(bytes);
    form.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    caller.api.send("POST", "/firmware", &format!("multipart/form-data; boundary={boundary}"), &form)
}
