//! The binary: one subcommand per role.

use clap::Parser;

/// One self-hosted program that runs a fleet of microcontrollers.
#[derive(Parser)]
#[command(name = "motehub", version, about, long_about = None, arg_required_else_help = true)]
enum Role {
    /// Run virtual devices against a hub
    #[command(subcommand)]
    Sim(motehub_sim::Command),
}

fn main() -> anyhow::Result<()> {
    match Role::parse() {
        Role::Sim(command) => motehub_sim::run(command),
    }
}
