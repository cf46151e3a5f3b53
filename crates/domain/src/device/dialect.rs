//! The firmware families, and what holds for the devices of each.

use crate::artifact::ArtifactKind;
use crate::rejection::Rejection;

/// Longest external id in bytes.
pub const EXTERNAL_ID_BYTES_MAX: usize = 64;

/// The firmware families a device may belong to: how its addresses and payloads map to uplinks and downlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Motehub's own protocol.
    Native,
    /// MicroPython boards with Motehub's agent: Motehub's own protocol, and scripts in Python.
    Micropython,
    /// NodeMCU Lua boards with the IoT Executor firmware.
    Nodemcu,
    /// Mongoose OS devices that speak to mDash.
    Mongoose,
    /// RIOT nodes that speak CoAP to a Pyaiot gateway.
    Riot,
    /// MicroPython boards with the ESP-FIRMWARE firmware: MQTT without a credential, and an HTTP server for scripts.
    EspFirmware,
    /// Plain TCP units: sensors that say a line for each reading, lamps that are told one. See [`crate::line`].
    Line,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 7] = [
        Dialect::Native,
        Dialect::Micropython,
        Dialect::Nodemcu,
        Dialect::Mongoose,
        Dialect::Riot,
        Dialect::EspFirmware,
        Dialect::Line,
    ];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Micropython => "micropython",
            Self::Nodemcu => "nodemcu",
            Self::Mongoose => "mongoose",
            Self::Riot => "riot",
            Self::EspFirmware => "esp-firmware",
            Self::Line => "line",
        }
    }
    /// Why a device of this dialect is not given such an artifact, if it is not.
    pub fn refuses(self, kind: ArtifactKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Native, _)
            | (Self::Micropython | Self::Nodemcu | Self::EspFirmware, ArtifactKind::Script { .. })
            | (Self::Mongoose, ArtifactKind::Firmware(_)) => None,
            (Self::Mongoose, ArtifactKind::Script { .. }) => {
                Some("devices of the mongoose dialect run no scripts: give them a firmware")
            }
            (Self::Line, _) => Some("units of the line dialect take no code: they are flashed by cable"),
            (Self::Riot, _) => Some("nodes of the riot dialect take no code: they are flashed by cable"),
            (Self::Micropython, ArtifactKind::Firmware(_)) => {
                Some("boards of the micropython dialect are flashed by cable: they take scripts only")
            }
            (Self::Nodemcu, ArtifactKind::Firmware(_)) => {
                Some("boards of the nodemcu dialect are flashed by cable: they take scripts only")
            }
            (Self::EspFirmware, ArtifactKind::Firmware(_)) => {
                Some("boards of the esp-firmware dialect are flashed by cable: they take scripts only")
            }
        }
    }
    /// Whether its devices speak Motehub's own protocol.
    pub fn speaks_native(self) -> bool {
        match self {
            Self::Native | Self::Micropython => true,
            Self::Nodemcu | Self::Mongoose | Self::Riot | Self::EspFirmware | Self::Line => false,
        }
    }
    /// What each of its devices can do, before it says so itself.
    pub fn capabilities(self) -> Vec<String> {
        match self {
            Self::Micropython | Self::EspFirmware => vec!["micropython".to_owned()],
            Self::Native | Self::Nodemcu | Self::Mongoose | Self::Riot | Self::Line => Vec::new(),
        }
    }
    /// Whether its devices may be let speak without a credential: firmware exists that has none.
    pub fn may_be_open(self) -> bool {
        match self {
            Self::Nodemcu | Self::Riot | Self::EspFirmware => true,
            Self::Native | Self::Micropython | Self::Mongoose | Self::Line => false,
        }
    }
    /// Whether its open devices prove nothing of themselves but from where they speak, so that this has to be said.
    pub fn is_known_by_address(self) -> bool {
        match self {
            Self::Riot | Self::EspFirmware => true,
            Self::Native | Self::Micropython | Self::Nodemcu | Self::Mongoose | Self::Line => false,
        }
    }
    /// A dialect by its name.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == text)
            .ok_or_else(|| Rejection::invalid("dialect", format!("the dialects are {known}")))
    }

    /// Checks the id that a device of this dialect has of its own.
    pub(super) fn external_id(self, given: Option<&str>) -> Result<Option<String>, Rejection> {
        let id = given.map(str::trim).filter(|id| !id.is_empty());
        match (self, id) {
            (Dialect::Nodemcu, None) => Err(Rejection::invalid(
                "external_id",
                "a NodeMCU board is registered with its chip id, in decimal digits",
            )),
            (Dialect::Nodemcu, Some(id)) => {
                let is_number = id.bytes().all(|b| b.is_ascii_digit()) && id.parse::<u32>().is_ok();
                match is_number && !(id.len() > 1 && id.starts_with('0')) {
                    true => Ok(Some(id.to_owned())),
                    false => Err(Rejection::invalid(
                        "external_id",
                        "a chip id is the decimal number that node.chipid() prints, such as 10801015",
                    )),
                }
            }
            (Dialect::Riot, None) => Err(Rejection::invalid(
                "external_id",
                "a RIOT node is registered with the uid that it announces",
            )),
            (Dialect::EspFirmware, None) => Err(Rejection::invalid(
                "external_id",
                "an ESP-FIRMWARE board is registered with the address that it announces, or with its client id",
            )),
            (Dialect::Native | Dialect::Micropython | Dialect::Mongoose | Dialect::Line, None) => Ok(None),
            (_, Some(id)) => match is_external_id(id) {
                true => Ok(Some(id.to_owned())),
                false => Err(Rejection::invalid(
                    "external_id",
                    format!(
                        "1 to {EXTERNAL_ID_BYTES_MAX} letters, digits or the signs - _ . : and no leading dot"
                    ),
                )),
            },
        }
    }
}

/// Whether this can be the id of a device of its own; those of NodeMCU boards are numbers beside that.
pub fn is_external_id(id: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=EXTERNAL_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain) && !id.starts_with('.')
}
