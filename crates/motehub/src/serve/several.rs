//! The settings of one node of a hub of several.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use motehub_server::{BusUrl, NodeName};
use motehub_store::StoreUrl;

/// How a hub of several nodes is put together.
#[derive(clap::Args, Default)]
pub(crate) struct NodeOptions {
    /// Where the state is: sqlite:PATH, memory (nothing survives), or postgres://USER@HOST/DATABASE, whose password is
    /// better in PGPASSWORD or MOTEHUB_STORE than here [default: sqlite:DIR/motehub.db]
    #[arg(long, value_name = "URL", env = "MOTEHUB_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// The bus between several nodes on one PostgreSQL database, such as nats://bus.example:4222, tls:// for TLS; with
    /// a login nats://USER:PASSWORD@host or nats://TOKEN@host, and then better by MOTEHUB_BUS than here
    #[arg(long, value_name = "URL", env = "MOTEHUB_BUS", hide_env_values = true)]
    pub(crate) bus: Option<String>,
    /// The authority that signed the certificate of the bus, in PEM [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", env = "MOTEHUB_BUS_CA")]
    pub(crate) bus_ca: Option<PathBuf>,
    /// A file with what this node proves itself with at the bus: the seed of an nkey, or credentials (.creds)
    #[arg(long, value_name = "FILE", env = "MOTEHUB_BUS_KEY")]
    pub(crate) bus_key: Option<PathBuf>,
    /// The name of this node, other than those of all others: 1 to 32 of a-z, 0-9 and -
    #[arg(long, value_name = "NAME", env = "MOTEHUB_NODE")]
    pub(crate) node: Option<String>,
}

impl NodeOptions {
    /// These, and those of a file where nothing else is said.
    pub(super) fn or(self, file: Self) -> Self {
        Self {
            store: self.store.or(file.store),
            bus: self.bus.or(file.bus),
            bus_ca: self.bus_ca.or(file.bus_ca),
            bus_key: self.bus_key.or(file.bus_key),
            node: self.node.or(file.node),
        }
    }

    /// Where the state is of a hub with this data folder, the bus, if there is one, and the name of this node.
    pub(super) fn settings(self, data: &Path) -> anyhow::Result<(StoreUrl, Option<BusUrl>, NodeName)> {
        let store = match &self.store {
            Some(text) => StoreUrl::parse(text).map_err(|why| anyhow!("store: {why}"))?,
            None => motehub_server::store_in(data),
        };
        let node = self.node.map(|text| NodeName::parse(&text).map_err(|why| anyhow!("node: {why}")));
        let node = node.transpose()?;
        let Some(bus) = self.bus else {
            if self.bus_ca.is_some() || self.bus_key.is_some() {
                bail!("bus-ca and bus-key: they are about --bus, and there is none");
            }
            return Ok((store, None, node.unwrap_or_default()));
        };
        if !matches!(store, StoreUrl::Postgres(_)) {
            bail!("bus: several nodes share one PostgreSQL database: give --store postgres://… with --bus");
        }
        let Some(node) = node else {
            bail!("node: with --bus every node has a name of its own: --node a-name");
        };
        let mut bus = BusUrl::parse(&bus).map_err(|why| anyhow!("bus: {why}"))?;
        if let Some(file) = self.bus_ca {
            bus = bus.with_authority(file);
        }
        if let Some(file) = self.bus_key {
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| format!("bus-key: reading {}", file.display()))?;
            bus = bus.with_key(&text).map_err(|why| anyhow!("bus-key: {}: {why}", file.display()))?;
        }
        Ok((store, Some(bus), node))
    }
}
