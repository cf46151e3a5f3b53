//! `motehub ctl certificate`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::device::new_private_file;
use super::print::{cell, out, table};
use super::{Caller, find};

/// What a new certificate is written as: the field of the answer, and the file.
const FILES: [(&str, &str); 3] =
    [("private_key", "private_key.pem"), ("certificate", "certificate.pem"), ("authority", "authority.pem")];

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Issue a certificate with which a device proves who it is in TLS, beside those it has
    Issue {
        /// The device's id, name or external id
        device: String,
        /// A request for it in PEM, as `openssl req -new` writes it, if the device made its key itself
        #[arg(long, value_name = "FILE")]
        csr: Option<PathBuf>,
        /// The folder for certificate.pem, authority.pem and, without --csr, private_key.pem; no file is replaced
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// List the certificates of a device, oldest first
    List {
        /// The device's id, name or external id
        device: String,
    },
    /// Revoke a certificate: the device is disconnected, and not let in with it any more
    Revoke {
        /// The device's id, name or external id
        device: String,
        /// The certificate's fingerprint, or so much of its beginning that no other has it
        fingerprint: String,
    },
    /// Print the authority by which devices and programs know the hub, in PEM
    Authority,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Issue { device, csr, out } => issue(caller, device, csr.as_deref(), out),
        Verb::List { device } => caller.show(&list(caller, device)?.1, |list| {
            let rows = list["items"].as_array().into_iter().flatten();
            let keys = ["issued_at", "expires_at", "fingerprint"];
            let rows: Vec<_> = rows.map(|one| keys.map(|key| cell(&one[key])).to_vec()).collect();
            table(&["ISSUED", "ENDS", "FINGERPRINT"], &rows)
        }),
        Verb::Revoke { device, fingerprint } => revoke(caller, device, fingerprint),
        Verb::Authority => {
            let mut pem = Vec::new();
            caller.api.download("/authority", &mut pem)?;
            out(&String::from_utf8_lossy(&pem))
        }
    }
}

fn issue(caller: &Caller, device: &str, csr: Option<&Path>, folder: &Path) -> anyhow::Result<()> {
    let reading = |file: &Path| fs::read_to_string(file).with_context(|| format!("--csr {}", file.display()));
    let request = csr.map(reading).transpose()?;
    let id = find::id(caller, "device", device)?;
    fs::create_dir_all(folder).with_context(|| format!("--out {}", folder.display()))?;
    let mut files = Vec::new();
    let made = open(folder, request.is_none(), &mut files)
        .and_then(|()| caller.post(&format!("/devices/{id}/certificate"), &json!({ "csr": request })));
    if made.is_err() {
        // They are empty.
        files.iter().for_each(|(_, path, _)| drop(fs::remove_file(path)));
    }
    let made = made?;
    for (field, path, mut file) in files {
        let text = made[field].as_str().unwrap_or_default();
        file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    caller.show(&json!({ "fingerprint": made["fingerprint"], "expires_at": made["expires_at"] }), |made| {
        let (fingerprint, ends) = (cell(&made["fingerprint"]), cell(&made["expires_at"]));
        format!("fingerprint  {fingerprint}\nends         {ends}\nwritten to   {}\n", folder.display())
    })
}

/// Files that cannot be written are noticed before there is a certificate.
fn open(
    folder: &Path,
    with_key: bool,
    files: &mut Vec<(&'static str, PathBuf, fs::File)>,
) -> anyhow::Result<()> {
    for (field, name) in FILES.into_iter().filter(|(field, _)| with_key || *field != "private_key") {
        let path = folder.join(name);
        let file = new_private_file(&path)?;
        files.push((field, path, file));
    }
    Ok(())
}

/// The id of a device, and its certificates.
fn list(caller: &Caller, device: &str) -> anyhow::Result<(String, Value)> {
    let id = find::id(caller, "device", device)?;
    let list = caller.get(&format!("/devices/{id}/certificates"))?;
    Ok((id, list))
}

fn revoke(caller: &Caller, device: &str, fingerprint: &str) -> anyhow::Result<()> {
    let (id, list) = list(caller, device)?;
    let all = list["items"].as_array().into_iter().flatten().filter_map(|one| one["fingerprint"].as_str());
    let fitting: Vec<&str> =
        all.filter(|one| !fingerprint.is_empty() && one.starts_with(fingerprint)).collect();
    let [one] = fitting[..] else {
        anyhow::bail!(
            "{} certificates of {device:?} begin with {fingerprint:?}; `certificate list` shows all",
            fitting.len()
        );
    };
    caller.api.call("DELETE", &format!("/devices/{id}/certificates/{one}"), None)?;
    if caller.json { Ok(()) } else { out(&format!("revoked {one}\n")) }
}
