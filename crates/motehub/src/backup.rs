//! `motehub backup` and `motehub restore`: everything that a hub keeps, in one file and back.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use motehub_server::{ArchiveError, note_backup};

/// What goes where.
#[derive(clap::Args)]
#[command(
    after_help = "The hub may run meanwhile. The file holds all secrets of the hub: keep it as you keep them.\n\
    For a hub on another machine: motehub ctl backup FILE"
)]
pub(crate) struct BackupOptions {
    /// The file to write; it appears when it is complete
    file: PathBuf,
    /// The data folder of the hub
    #[arg(long, value_name = "DIR", env = "MOTEHUB_DATA")]
    data: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// What goes where.
#[derive(clap::Args)]
#[command(after_help = "Then start a hub on it: motehub serve --data DIR")]
pub(crate) struct RestoreOptions {
    /// The file that `motehub backup` wrote
    file: PathBuf,
    /// The data folder to make; it must be missing or empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Takes a backup of a data folder.
pub(crate) fn backup(options: &BackupOptions) -> anyhow::Result<()> {
    let BackupOptions { file, data, force } = options;
    let taken = tokio::runtime::Runtime::new()?.block_on(async {
        let taken = motehub_server::backup(data, file, *force, progress()).await?;
        // The copy is good, whatever the activity log says of it.
        if let Err(error) = note_backup(data, &taken).await {
            eprintln!("motehub: the activity log does not mention this backup: {error}");
        }
        Ok::<_, ArchiveError>(taken)
    });
    let taken = taken.context("nothing was written")?;
    eprintln!("{}: {} bytes, SHA-256 of its content {}", file.display(), taken.size_bytes, taken.digest);
    Ok(())
}

/// Makes a data folder of a backup.
pub(crate) fn restore(options: &RestoreOptions) -> anyhow::Result<()> {
    let RestoreOptions { file, data } = options;
    let restored = tokio::runtime::Runtime::new()?.block_on(motehub_server::restore(file, data));
    let restored = restored.context("nothing was restored")?;
    let (shown, last) = (data.display(), restored.last_seq);
    eprintln!(
        "{shown}: restored and checked, up to change {last}; start it with: motehub serve --data {shown}"
    );
    Ok(())
}

/// Says how far it is, in steps of a tenth, to a person at a terminal.
fn progress() -> impl FnMut(u64, u64) + Send {
    let shows = std::io::stderr().is_terminal();
    let mut said = 0;
    move |done, all| {
        let tenth = (done * 10).checked_div(all).unwrap_or(10);
        if shows && tenth > said {
            said = tenth;
            eprintln!("{} % of {} MB", tenth * 10, all * 4096 / 1_000_000);
        }
    }
}
