//! What lies on a board with Motehub's agent.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::json;

/// What lies on every board: the compiled agent, as it is on real ones, and the modules of a chip.
const FILES: [(&str, &[u8]); 20] = [
    ("main.py", include_bytes!("../../../../agents/micropython/main.py")),
    ("motehub.mpy", include_bytes!("../../../../agents/micropython/compiled/motehub.mpy")),
    ("mh/__init__.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/__init__.mpy")),
    ("mh/agent.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/agent.mpy")),
    ("mh/command.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/command.mpy")),
    ("mh/config.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/config.mpy")),
    ("mh/credential.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/credential.mpy")),
    ("mh/decide.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/decide.mpy")),
    ("mh/esp_firmware.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/esp_firmware.mpy")),
    ("mh/fetch.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/fetch.mpy")),
    ("mh/hello.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/hello.mpy")),
    ("mh/mqtt.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/mqtt.mpy")),
    ("mh/offer.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/offer.mpy")),
    ("mh/report.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/report.mpy")),
    ("mh/slots.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/slots.mpy")),
    ("mh/tls.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/tls.mpy")),
    ("mh/trial.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/trial.mpy")),
    ("mh/wifi.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/wifi.mpy")),
    ("machine.py", include_bytes!("../../firmware/micropython/machine.py")),
    ("dht.py", include_bytes!("../../firmware/micropython/dht.py")),
];

/// The certificate of the hub's authority on the flash.
const CA: &str = "ca.pem";

/// Where the agent finds its hub.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) http: (String, u16),
    pub(super) mqtt: u16,
    /// The certificate of the hub's authority: the agent speaks TLS.
    pub(super) ca: Option<Vec<u8>>,
}

/// Puts the agent and its settings on the flash. Other files are left as they are.
pub(super) fn prepare(flash: &Path, home: &Home, device: &str, credential: &str) -> anyhow::Result<()> {
    let is_name = !device.is_empty() && !device.contains(['/', '+', '#', '.']);
    ensure!(is_name, "`{device}` is no id of a device");
    std::fs::create_dir_all(flash.join("mh"))
        .with_context(|| format!("making the flash folder {}", flash.display()))?;
    let mut config = json!({
        "hub": { "host": home.http.0, "http": home.http.1, "mqtt": home.mqtt },
        "device": device,
        "credential": credential,
        "attributes": { "board": "virtual" },
    });
    if let Some(ca) = &home.ca {
        config["hub"]["ca"] = CA.into();
        let path = flash.join(CA);
        std::fs::write(&path, ca).with_context(|| format!("writing {}", path.display()))?;
    }
    let config = format!("{config:#}\n");
    for (name, bytes) in FILES.iter().copied().chain([("config.json", config.as_bytes())]) {
        let path = flash.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_agent_is_on_a_board() {
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agents/micropython");
        let listed = |folder: &str| {
            let files = std::fs::read_dir(agent.join(folder)).expect("a folder");
            let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
            names
                .filter_map(|name| name.strip_suffix(".py").map(|name| format!("{folder}{name}.")))
                .collect::<Vec<_>>()
        };
        for name in listed("").into_iter().chain(listed("mh/")) {
            assert!(
                FILES.iter().any(|(known, _)| known.starts_with(&name)),
                "{name} is not copied to virtual boards"
            );
        }
    }
}
