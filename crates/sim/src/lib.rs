//! Virtual devices. They see the product only over the wire, so they are an independent witness.

/// The kinds of virtual devices.
#[derive(clap::Subcommand)]
pub enum Command {}

/// Runs virtual devices until a signal ends them.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {}
}
