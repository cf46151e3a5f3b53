//! What somebody says who is not let in, and over what.

use crate::device::Dialect;
use crate::text;

/// How much is kept of each text that a stranger says, in characters.
pub const SAID_CHARS_MAX: usize = 80;

/// Over what somebody knocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// An MQTT CONNECT.
    Mqtt,
    /// An HTTP request of a device.
    Http,
    /// A CoAP request.
    Coap,
    /// A Pyaiot gateway spoke for it.
    Pyaiot,
    /// A WebSocket of nodes.
    WebSocket,
}

impl Via {
    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Http => "http",
            Self::Coap => "coap",
            Self::Pyaiot => "pyaiot",
            Self::WebSocket => "websocket",
        }
    }
    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Mqtt, Self::Http, Self::Coap, Self::Pyaiot, Self::WebSocket];
        all.into_iter().find(|via| via.as_str() == text)
    }
}

/// What somebody said who was not let in; never a secret. Make it with [`Said::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it calls itself: the user name, else the client id, or the chip id.
    pub name: String,
    /// Which firmware it seems to be.
    pub dialect: Dialect,
    /// The MQTT client id, if it is not the name.
    pub client_id: Option<String>,
    /// Over what.
    pub via: Via,
    /// From which address, without port.
    pub address: String,
    /// Whether it showed a secret; it was a wrong one.
    pub has_secret: bool,
}

impl Said {
    /// What somebody said, with bounds and without signs that cannot be seen. `None` if it said no name.
    /// Who calls itself by a number seems to be a NodeMCU board.
    pub fn new(
        name: &str,
        client_id: Option<&str>,
        via: Via,
        address: String,
        has_secret: bool,
    ) -> Option<Self> {
        let is_chip_id =
            name.len() <= 10 && name.bytes().all(|b| b.is_ascii_digit()) && name.parse::<u32>().is_ok();
        let dialect = if is_chip_id { Dialect::Nodemcu } else { Dialect::Native };
        let client_id = client_id.filter(|id| *id != name && !id.is_empty());
        let client_id = client_id.map(|id| text::shown(id, SAID_CHARS_MAX));
        let name = text::shown(name.trim(), SAID_CHARS_MAX);
        (!name.is_empty()).then_some(Self { name, dialect, client_id, via, address, has_secret })
    }

    /// An ESP-FIRMWARE board, which is known by its address.
    pub fn board(client_id: &str, address: String) -> Option<Self> {
        let said = Self::new(&address.clone(), Some(client_id), Via::Mqtt, address, false)?;
        Some(Self { dialect: Dialect::EspFirmware, ..said })
    }

    /// What a node of the Pyaiot family said, or who spoke for it. It showed no secret: there is none.
    pub fn node(uid: &str, via: Via, address: String) -> Option<Self> {
        let said = Self::new(uid, None, via, address, false)?;
        Some(Self { dialect: Dialect::Riot, ..said })
    }
}
