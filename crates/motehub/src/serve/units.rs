//! The settings of units, plain TCP devices.

use anyhow::anyhow;
use motehub_domain::line::default_networks;
use motehub_domain::network::Network;
use motehub_server::Units;

use super::address;

/// Where units are.
#[derive(clap::Args, Default)]
pub(crate) struct UnitOptions {
    /// Where units that dial in are taken, such as 0.0.0.0:8889; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_LINE_LISTEN")]
    pub(crate) line_listen: Option<String>,
    /// Where units may be, such as 192.168.1.0/24; repeatable [default: private networks and this host]
    #[arg(long, value_name = "NETWORK", env = "MOTEHUB_LINE_NETWORK", value_delimiter = ',')]
    pub(crate) line_network: Vec<String>,
}

/// Checks the settings; those of the file count where nothing else is said.
pub(crate) fn settings(options: UnitOptions, file: UnitOptions) -> anyhow::Result<Units> {
    let networks = match options.line_network.is_empty() {
        true => file.line_network,
        false => options.line_network,
    };
    let network = |text: &String| {
        Network::parse("line-network", text)
            .map_err(|rejection| anyhow!("line-network: {text:?}: {rejection}"))
    };
    let networks = match networks.is_empty() {
        true => default_networks(),
        false => networks.iter().map(network).collect::<Result<_, _>>()?,
    };
    let listen = options.line_listen.or(file.line_listen);
    Ok(Units { listen: listen.map(|text| address("line-listen", &text)).transpose()?, networks })
}
