//! `motehub store copy`: everything that a hub keeps in a database, into another one.

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use motehub_store::{StoreUrl, Transferred, transfer};

/// How often progress is said, at most.
const SAID_EVERY: Duration = Duration::from_millis(500);

/// What is done with stores.
#[derive(clap::Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy everything in one store to another, empty one: from SQLite to PostgreSQL, or back
    Copy(CopyOptions),
}

/// From where to where.
#[derive(clap::Args)]
#[command(
    after_help = "Stop every hub that uses them before. A copy that was cut off goes on where it was when the same\n\
    command is given again; until it is complete, no hub starts on the target. The keys of TLS and\n\
    what else lies in the data folder are not in the store: copy them yourself.\n\
    Passwords are better in PGPASSWORD than here."
)]
pub(crate) struct CopyOptions {
    /// The store that there is, such as sqlite:/var/lib/motehub/motehub.db
    #[arg(long, value_name = "URL")]
    from: StoreUrl,
    /// The store to fill, such as postgres://motehub@db.example/motehub
    #[arg(long, value_name = "URL")]
    to: StoreUrl,
}

/// Does it.
pub(crate) fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Copy(options) => copy(&options),
    }
}

#[expect(clippy::print_stdout, reason = "what was compared is what the command is for")]
fn copy(CopyOptions { from, to }: &CopyOptions) -> anyhow::Result<()> {
    let _locks = (lock(from)?, lock(to)?);
    let copied = tokio::runtime::Runtime::new()?.block_on(transfer(from, to, progress()));
    let compared = copied.context("the copy is not complete")?;
    let rows: i64 = compared.iter().map(|table| table.rows).sum();
    println!("{:20} {:>12}  SHA-256", "table", "rows");
    for table in compared.iter().filter(|table| table.rows > 0) {
        println!("{:20} {:>12}  {}", table.table, table.rows, table.digest);
    }
    println!("{to}: {rows} rows in {} tables, the same as in {from}", compared.len());
    Ok(())
}

/// Keeps hubs from the folder of a file meanwhile.
fn lock(store: &StoreUrl) -> anyhow::Result<Option<File>> {
    match store {
        StoreUrl::Sqlite(file) => {
            let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            let locked = motehub_server::lock(folder);
            locked.map(Some).with_context(|| format!("the folder of {}", file.display()))
        }
        StoreUrl::Memory | StoreUrl::Postgres(_) => Ok(None),
    }
}

/// Says how far it is: to a person at a terminal now and then, otherwise once for each table.
fn progress() -> impl FnMut(Transferred) + Send {
    let shows = std::io::stderr().is_terminal();
    let mut said = Instant::now();
    move |now| {
        let deed = if now.compared { "compared" } else { "copied" };
        if now.done && now.rows > 0 {
            eprintln!("{}: {} rows {deed}", now.table, now.rows);
        } else if shows && !now.done && said.elapsed() > SAID_EVERY {
            said = Instant::now();
            eprintln!("{}: {} rows {deed} so far", now.table, now.rows);
        }
    }
}
