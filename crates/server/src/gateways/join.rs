//! Join files: what a gateway needs to reach its hub and to prove itself, printed once. The hub keeps the public half
//! of the key only.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use motehub_domain::gateway::{Gateway, PublicKey};
use motehub_domain::rejection::Rejection;
use motehub_gateway::link::{Address, proof};

use crate::tls;

/// A key pair, of which only the public half may be kept.
pub(crate) struct NewKey {
    pub(crate) public: PublicKey,
    private: Vec<u8>,
}

/// Makes a key pair.
pub(crate) fn new_key() -> Result<NewKey, Rejection> {
    let key = proof::new_key().ok_or_else(|| Rejection::invalid("key", "no key can be made here"))?;
    Ok(NewKey { public: PublicKey(key.public), private: key.private })
}

/// How a gateway reaches the hub.
pub(crate) struct Way {
    /// As it is written in the file.
    address: String,
    /// The only authority that is believed, PEM; `None` for those that the gateway's machine knows.
    authority: Option<String>,
}

impl Way {
    /// Checks the address, or those of several nodes with commas between. `is_own`: the hub speaks TLS there with the
    /// certificate of its own authority.
    pub(crate) fn new(address: &str, is_own: bool, data: &Path) -> Result<Self, Rejection> {
        let found = Address::parse_all(address).map_err(|why| Rejection::invalid("hub", why))?;
        let authority = match is_own && found.iter().any(|address| address.is_secure) {
            true => Some(tls::own_authority(data).map_err(|error| {
                let why =
                    format!("the hub has no authority of its own yet ({error}): start it with --https first");
                Rejection::invalid("hub", why)
            })?),
            false => None,
        };
        Ok(Self { address: address.trim().to_owned(), authority })
    }
}

/// The file, for `motehub gateway`.
pub(crate) fn join_file(hub: &str, gateway: &Gateway, way: &Way, key: &NewKey) -> String {
    // JSON writes text as TOML does, but for characters that names cannot have.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let name = text(&gateway.name);
    let mut file = format!(
        "# The gateway {name} of a Motehub hub. Whoever has this file can speak as this gateway: keep it secret.\n\
         hub = {}\nhub_name = {}\ngateway = {}\nprivate_key = {}\n",
        text(&way.address),
        text(hub),
        text(&gateway.id.to_string()),
        text(&STANDARD.encode(&key.private)),
    );
    if let Some(authority) = &way.authority {
        file.push_str(&format!("authority = '''\n{}\n'''\n", authority.trim()));
    }
    file
}
