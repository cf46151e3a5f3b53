//! The settings as a file has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

/// Everything that the command line can say, by the same names.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) data: Option<PathBuf>,
    pub(super) store: Option<String>,
    pub(super) bus: Option<String>,
    pub(super) bus_ca: Option<PathBuf>,
    pub(super) bus_key: Option<PathBuf>,
    pub(super) node: Option<String>,
    pub(super) http: Option<String>,
    pub(super) https: Option<String>,
    pub(super) mqtt: Option<String>,
    pub(super) mqtt_tls: Option<String>,
    pub(super) mqtt_ws: Option<String>,
    pub(super) coap: Option<String>,
    pub(super) coaps: Option<String>,
    pub(super) nodes_ws: Option<String>,
    pub(super) nodes_mqtt: Option<String>,
    pub(super) mqtt_sn: Option<String>,
    pub(super) mdash: Option<String>,
    pub(super) aws: Option<String>,
    #[serde(default)]
    pub(super) mdash_app_users: bool,
    pub(super) pyaiot: Option<String>,
    #[serde(default)]
    pub(super) pyaiot_anonymous: bool,
    #[serde(default)]
    pub(super) pyaiot_origin: Vec<String>,
    pub(super) pusher: Option<String>,
    pub(super) pusher_tls: Option<String>,
    #[serde(default)]
    pub(super) pusher_origin: Vec<String>,
    #[serde(default)]
    pub(super) esp_firmware: bool,
    pub(super) esp_firmware_port: Option<u16>,
    #[serde(default)]
    pub(super) esp_firmware_network: Vec<String>,
    pub(super) logstash: Option<String>,
    pub(super) line_listen: Option<String>,
    #[serde(default)]
    pub(super) line_network: Vec<String>,
    #[serde(default)]
    pub(super) mqtt_anonymous: Vec<String>,
    #[serde(default)]
    pub(super) mqtt_limits: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub(super) balancer: Vec<String>,
    pub(super) tls_certificate: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) keep_points: Option<u32>,
    pub(super) keep_minutes: Option<u32>,
    pub(super) keep_hours: Option<u32>,
    #[serde(default)]
    pub(super) webhook_network: Vec<String>,
    pub(super) smtp: Option<String>,
    pub(super) smtp_password_file: Option<PathBuf>,
    pub(super) mail_from: Option<String>,
    pub(super) activity_file: Option<PathBuf>,
    pub(super) public_url: Option<String>,
    pub(super) firmware_max_mib: Option<usize>,
}

/// Reads a file.
pub(super) fn read_file(path: &Path) -> anyhow::Result<File> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("config: reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("config: {}", path.display()))
}
