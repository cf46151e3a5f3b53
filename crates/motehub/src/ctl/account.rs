//! Which hub is called, and with which token: from the command line, the environment, or the file of `ctl login`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::print::{cell, out};
use super::{Caller, Options, Usage};
use crate::api::Api;
use crate::trust;

/// Where the hub is if nobody says.
const USUAL_HUB: &str = "http://127.0.0.1:8080";
/// Longest token file in bytes: far more than any token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// A hub and who calls it.
pub(super) struct Account {
    /// An http:// or https:// URL without a slash at its end.
    pub(super) hub: String,
    pub(super) token: String,
    /// A file with the authority that signed the hub's certificate, if it is not one of this machine's.
    pub(super) ca: Option<PathBuf>,
}

/// The file of `ctl login`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    hub: String,
    token: String,
    ca: Option<PathBuf>,
}

impl Account {
    /// What the options, the environment and the file say, in this order of precedence. The token in the file is
    /// used for the hub in the file only.
    pub(super) fn find(options: &Options) -> anyhow::Result<Self> {
        let kept = read()?;
        let asked = address(options)?;
        let hub =
            asked.or_else(|| kept.as_ref().map(|kept| kept.hub.clone())).unwrap_or(USUAL_HUB.to_owned());
        let kept = kept.filter(|kept| kept.hub == hub);
        let ca = authority(options).or_else(|| kept.as_ref().and_then(|kept| kept.ca.clone()));
        let token = match (given_token(options)?, kept) {
            (Some(token), _) => token,
            (None, Some(kept)) => kept.token,
            (None, None) => {
                let sentence = format!(
                    "no token for {hub}: use `motehub ctl login`, set MOTEHUB_TOKEN or use --token-file FILE \
                     (`motehub ctl --help` shows how)"
                );
                return Err(Usage(sentence).into());
            }
        };
        Ok(Self { hub, token, ca })
    }

    /// A client of the API.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        if self.hub.starts_with("https://") {
            let authorities = trust::authorities(self.ca.as_deref())?;
            return Ok(Api::trusting(&self.hub, &self.token, &authorities));
        }
        Ok(Api::new(&self.hub, &self.token))
    }
}

/// Asks for a token, tries it, and keeps it with the address of the hub in a file that its owner alone can read.
pub(super) fn login(options: &Options) -> anyhow::Result<()> {
    let hub = address(options)?.unwrap_or(USUAL_HUB.to_owned());
    let token = match given_token(options)? {
        Some(token) => token,
        None => ask(&hub)?,
    };
    let absolute =
        |file: PathBuf| fs::canonicalize(&file).with_context(|| format!("--ca {}", file.display()));
    let ca = authority(options).map(absolute).transpose()?;
    let account = Account { hub, token: token.trim().to_owned(), ca };
    let caller = Caller { api: account.api()?, account, json: options.json };
    let me = caller.get("/me")?;
    let Account { hub, token, ca } = &caller.account;
    let path = write(&Kept { hub: hub.clone(), token: token.clone(), ca: ca.clone() })?;
    caller.show(&me, |me| {
        let (name, role) = (cell(&me["name"]), cell(&me["role"]));
        format!("{hub} knows you as {name}, role {role}; kept in {}\n", path.display())
    })
}

/// Forgets what `login` kept.
pub(super) fn logout() -> anyhow::Result<()> {
    let path = path()?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => out("there was nothing to forget\n"),
        removed => {
            removed.with_context(|| format!("removing {}", path.display()))?;
            out("forgotten here; the token itself is valid until it is revoked on the page Tokens\n")
        }
    }
}

fn ask(hub: &str) -> anyhow::Result<String> {
    let mut from = std::io::stdin().lock().take(TOKEN_BYTES_MAX);
    let mut token = String::new();
    if std::io::stdin().is_terminal() {
        eprint!("token for {hub}: ");
        std::io::stderr().flush()?;
        std::io::BufRead::read_line(&mut from, &mut token).context("reading the token")?;
    } else {
        from.read_to_string(&mut token).context("reading the token from the standard input")?;
    }
    match token.trim() {
        "" => bail!("no token was given: make one with `motehub token add NAME --role ROLE --data DIR`"),
        token => Ok(token.to_owned()),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn address(options: &Options) -> anyhow::Result<Option<String>> {
    let Some(hub) = options.hub.clone().or_else(|| variable("MOTEHUB_HUB")) else { return Ok(None) };
    let hub = hub.trim_end_matches('/');
    let is_url = |prefix| hub.strip_prefix(prefix).is_some_and(|rest: &str| !rest.is_empty());
    if !is_url("http://") && !is_url("https://") {
        return Err(
            Usage(format!("--hub {hub}: write an http:// or https:// URL, such as {USUAL_HUB}")).into()
        );
    }
    Ok(Some(hub.to_owned()))
}

fn authority(options: &Options) -> Option<PathBuf> {
    options.ca.clone().or_else(|| variable("MOTEHUB_CA").map(PathBuf::from))
}

fn given_token(options: &Options) -> anyhow::Result<Option<String>> {
    let Some(file) = &options.token_file else { return Ok(variable("MOTEHUB_TOKEN")) };
    let token = fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?;
    Ok(Some(token.trim().to_owned()))
}

fn path() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let folder = folder.or_else(home).context("HOME is not set: use MOTEHUB_HUB and MOTEHUB_TOKEN")?;
    Ok(folder.join("motehub/ctl.toml"))
}

fn read() -> anyhow::Result<Option<Kept>> {
    // Without a home there is no file, and the other ways are left.
    let Ok(path) = path() else { return Ok(None) };
    let about = || format!("{}: `motehub ctl login` writes it anew", path.display());
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(toml::from_str(&text.with_context(about)?).with_context(about)?)),
    }
}

fn write(kept: &Kept) -> anyhow::Result<PathBuf> {
    let path = path()?;
    let about = || format!("writing {}", path.display());
    let folder = path.parent().context("a file lies in a folder")?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(about)?;
    // A new file, since the rights of an old one could be wider.
    let part = path.with_extension(format!("toml.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).with_context(about)?;
    file.write_all(toml::to_string(kept)?.as_bytes()).with_context(about)?;
    fs::rename(&part, &path).with_context(about)?;
    Ok(path)
}
