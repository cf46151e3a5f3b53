//! `motehub ctl backup`: the backup of a hub on another machine, written here.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::Caller;

#[derive(clap::Args)]
pub(super) struct Options {
    /// The file to write; it appears when it is complete
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(caller: &Caller, Options { file, force }: &Options) -> anyhow::Result<()> {
    if file.exists() && !force {
        bail!("{} exists: choose another name, or use --force to replace it", file.display());
    }
    let part = motehub_server::part_of(file);
    let written = download(caller, &part, file);
    if written.is_err() {
        // What is worth knowing was just said.
        drop(fs::remove_file(&part));
    }
    let size_bytes = written?;
    let shown = json!({ "file": file.display().to_string(), "size_bytes": size_bytes });
    caller.show(&shown, |_| format!("{}: {size_bytes} bytes\n", file.display()))
}

fn download(caller: &Caller, part: &Path, file: &Path) -> anyhow::Result<u64> {
    let writing = || format!("writing {}", part.display());
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part);
    let mut to = made.with_context(writing)?;
    let size_bytes = caller.api.download("/backup", &mut to)?;
    to.sync_all().with_context(writing)?;
    fs::rename(part, file).with_context(|| format!("writing {}", file.display()))?;
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(writing)?;
    Ok(size_bytes)
}
