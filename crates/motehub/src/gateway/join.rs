//! The join file as a gateway reads it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use motehub_domain::id::GatewayId;
use motehub_gateway::link::proof::PrivateKey;
use motehub_gateway::link::{Address, Clock, Notes, Route, Settings, Spool, SpoolSettings};
use motehub_server::Clock::System;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;

use crate::trust;

/// The certificate that a hub makes for itself has this name among others. Nobody but the hub has one of its
/// authority, so it is known by it at whichever address it is reached.
const OWN_NAME: &str = "localhost";

/// A join file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Join {
    hub: String,
    hub_name: String,
    gateway: String,
    private_key: String,
    authority: Option<String>,
}

impl Join {
    /// Reads the file that `motehub gateway new` printed.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let about = || format!("key: {}", file.display());
        let text = std::fs::read_to_string(file).with_context(about)?;
        // What is wrong with it is not shown: it may be the key.
        toml::from_str(&text)
            .map_err(|_| anyhow!("this is no join file: make one with `motehub gateway new`"))
            .with_context(about)
    }

    /// How the hub is reached. `hub` and `ca` take the place of what the file says.
    pub(super) fn settings(
        self,
        hub: Option<String>,
        ca: Option<&Path>,
        serves: &str,
        notes: Box<dyn Notes>,
        spool: SpoolSettings,
    ) -> anyhow::Result<Settings> {
        let addresses = Address::parse_all(&hub.unwrap_or(self.hub)).map_err(|why| anyhow!("hub: {why}"))?;
        let authority = self.authority.as_deref();
        let routes: anyhow::Result<Vec<Route>> = addresses
            .into_iter()
            .map(|address| {
                let tls = address.is_secure.then(|| tls(&address, ca, authority)).transpose()?;
                Ok(Route { address, tls })
            })
            .collect();
        let key = STANDARD.decode(&self.private_key).ok().and_then(|bytes| PrivateKey::read(&bytes));
        let gateway: Option<GatewayId> = self.gateway.parse().ok();
        let (Some(key), Some(gateway)) = (key, gateway) else {
            bail!("key: the join file is damaged: make another with `motehub gateway new`");
        };
        let clock: Clock = Arc::new(|| System.now());
        let spool = Spool::open(spool, &self.hub_name, clock.clone()).map_err(|why| anyhow!(why))?;
        Ok(Settings {
            routes: routes?,
            hub: self.hub_name,
            gateway,
            key,
            serves: serves.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock,
            notes,
            spool,
        })
    }
}

fn tls(
    address: &Address,
    ca: Option<&Path>,
    own: Option<&str>,
) -> anyhow::Result<(Arc<rustls::ClientConfig>, ServerName<'static>)> {
    let (authorities, name) = match (ca, own) {
        (None, Some(pem)) => {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            (all.context("key: the authority in the join file")?, OWN_NAME.to_owned())
        }
        (ca, _) => (trust::authorities(ca)?, address.host.clone()),
    };
    let name = ServerName::try_from(name).context("hub: a name that a certificate can have")?;
    Ok((trust::for_socket(authorities)?, name))
}
