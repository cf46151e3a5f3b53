//! `motehub user` and `motehub token`: the first people and programs, while a hub runs or while none does.

use std::path::PathBuf;

use anyhow::Context;
use motehub_domain::access::Role;
use motehub_store::StoreUrl;

/// Making users.
#[derive(clap::Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user and print a one-time password, to be changed at the first login
    Add(Options),
}

/// Making tokens.
#[derive(clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Make an API token and print it, alone, on the standard output
    Add(Options),
}

/// Who, with what rights, on which hub.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A name that is not taken
    name: String,
    /// admin: everything; engineer: devices, scripts, deployments; manager: activate and roll back; viewer: see
    #[arg(long, value_parser = role)]
    role: Role,
    #[command(flatten)]
    place: Place,
}

/// Where a hub keeps what it knows.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The data folder of the hub
    #[arg(long, value_name = "DIR", env = "MOTEHUB_DATA", required_unless_present = "store")]
    data: Option<PathBuf>,
    /// The store of the hub, if it is not in its data folder
    #[arg(long, value_name = "URL", env = "MOTEHUB_STORE", hide_env_values = true)]
    store: Option<StoreUrl>,
}

impl Place {
    fn store(self) -> anyhow::Result<StoreUrl> {
        let in_data = || self.data.map(|data| motehub_server::store_in(&data));
        self.store.or_else(in_data).context("data: say where the hub keeps its data")
    }
}

fn role(text: &str) -> Result<Role, String> {
    let staff = Role::ALL.into_iter().filter(|role| role.is_staff());
    let known: Vec<&str> = staff.clone().map(Role::as_str).collect();
    staff
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| format!("the roles are {}", known.join(", ")))
}

/// Performs a command about users.
pub(crate) fn user(UserCommand::Add(options): UserCommand) -> anyhow::Result<()> {
    let Options { name, role, place } = options;
    let store = place.store()?;
    let made = tokio::runtime::Runtime::new()?.block_on(motehub_server::add_user(&store, &name, role));
    print_secret(&made.with_context(|| format!("making the user {name:?}"))?);
    Ok(())
}

/// Performs a command about tokens.
pub(crate) fn token(TokenCommand::Add(options): TokenCommand) -> anyhow::Result<()> {
    let Options { name, role, place } = options;
    let store = place.store()?;
    let made = tokio::runtime::Runtime::new()?.block_on(motehub_server::add_token(&store, &name, role));
    print_secret(&made.with_context(|| format!("making the token {name:?}"))?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the secret is what the command is for")]
fn print_secret(secret: &str) {
    println!("{secret}");
}
