//! The settings of boards with ESP-FIRMWARE.

use anyhow::{anyhow, bail};
use motehub_domain::network::Network;
use motehub_gateway::boards::PORT;
use motehub_server::EspFirmware;

use super::address;

/// How boards with ESP-FIRMWARE are served.
#[derive(clap::Args, Default)]
pub(crate) struct BoardOptions {
    /// Serve boards with ESP-FIRMWARE, which have no credential (a weakness that the dashboard shows)
    #[arg(long, env = "MOTEHUB_ESP_FIRMWARE")]
    pub(crate) esp_firmware: bool,
    /// The port that their HTTP servers listen on [default: 80]
    #[arg(long, value_name = "PORT", env = "MOTEHUB_ESP_FIRMWARE_PORT")]
    pub(crate) esp_firmware_port: Option<u16>,
    /// Where a board may be called besides the addresses that it may speak from, such as 10.77.0.0/24; repeatable
    #[arg(long, value_name = "NETWORK", env = "MOTEHUB_ESP_FIRMWARE_NETWORK", value_delimiter = ',')]
    pub(crate) esp_firmware_network: Vec<String>,
    /// Where what they log is taken, such as 0.0.0.0:5959; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_LOGSTASH")]
    pub(crate) logstash: Option<String>,
}

/// Checks the settings; those of the file count where nothing else is said.
pub(super) fn settings(options: BoardOptions, file: BoardOptions) -> anyhow::Result<Option<EspFirmware>> {
    let is_on = options.esp_firmware || file.esp_firmware;
    let port = options.esp_firmware_port.or(file.esp_firmware_port);
    let logstash = options.logstash.or(file.logstash);
    let networks = match options.esp_firmware_network.is_empty() {
        true => file.esp_firmware_network,
        false => options.esp_firmware_network,
    };
    if !is_on && (port.is_some() || logstash.is_some() || !networks.is_empty()) {
        bail!("esp-firmware: switch it on, or leave out its port, its networks and logstash");
    }
    if port == Some(0) {
        bail!("esp-firmware-port: 1 to 65535");
    }
    let network = |text: &String| {
        Network::parse("esp-firmware-network", text)
            .map_err(|rejection| anyhow!("esp-firmware-network: {text:?}: {rejection}"))
    };
    let networks = networks.iter().map(network).collect::<Result<_, _>>()?;
    let logstash = logstash.map(|text| address("logstash", &text)).transpose()?;
    Ok(is_on.then(|| EspFirmware { port: port.unwrap_or(PORT), networks, logstash }))
}
