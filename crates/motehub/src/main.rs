//! The binary: one subcommand per role.

mod api;
mod backup;
mod ctl;
mod demo;
mod gateway;
mod limits;
mod open_files;
mod people;
mod serve;
mod store;
mod trust;

use clap::{Parser, Subcommand};

/// One self-hosted program that runs a fleet of microcontrollers.
///
/// Start a hub with `motehub serve --data DIR`; see one at work, with virtual boards, with `motehub demo`.
#[derive(Parser)]
#[command(name = "motehub", version, arg_required_else_help = true, max_term_width = 110)]
struct CommandLine {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Run a hub: devices, dashboard and API
    Serve(Box<serve::Options>),
    /// Run a hub with a small fleet of virtual boards, to look around
    Demo(demo::Options),
    /// Run a gateway on another host than its hub, and make the join files for that
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Run virtual devices against a hub
    #[command(subcommand)]
    Sim(motehub_sim::Command),
    /// Work with a running hub over its API: devices, scripts, deployments, telemetry
    Ctl(ctl::Options),
    /// Write everything that a hub keeps to one file, while it runs
    Backup(backup::BackupOptions),
    /// Put a backup into a new data folder
    Restore(backup::RestoreOptions),
    /// Copy everything from one store to another
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Make users who log in to the dashboard
    #[command(subcommand)]
    User(people::UserCommand),
    /// Make tokens with which programs call the API
    #[command(subcommand)]
    Token(people::TokenCommand),
    /// Print what makes a shell complete the commands and options of this program
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the reference of the section [mqtt-limits]
    #[command(hide = true)]
    Limits,
    /// Print the OpenAPI description of the API
    #[command(hide = true)]
    Openapi,
}

fn main() -> std::process::ExitCode {
    let outcome = match CommandLine::parse().role {
        Role::Serve(options) => serve::run(*options),
        Role::Demo(options) => demo::run(options),
        Role::Gateway(command) => gateway::run(command),
        Role::Sim(command) => {
            // Each virtual device has sockets of its own; what the system does not give is missed when it is needed.
            open_files::raise(0);
            motehub_sim::run(command)
        }
        Role::Ctl(options) => return ctl::run(&options),
        Role::Backup(options) => backup::backup(&options),
        Role::Restore(options) => backup::restore(&options),
        Role::Store(command) => store::run(command),
        Role::User(command) => people::user(command),
        Role::Token(command) => people::token(command),
        Role::Completions { shell } => {
            let mut command = <CommandLine as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "motehub", &mut std::io::stdout());
            Ok(())
        }
        Role::Limits => limits_reference(),
        Role::Openapi => openapi(),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("motehub: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the page is what the command is for")]
fn limits_reference() -> anyhow::Result<()> {
    print!("{}", limits::reference());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the description is what the command is for")]
fn openapi() -> anyhow::Result<()> {
    println!("{}", motehub_server::openapi().to_pretty_json()?);
    Ok(())
}
