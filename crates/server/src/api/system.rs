//! The hub itself: where it listens, what it has, and the weaknesses that are switched on.

use std::net::SocketAddr;

use axum::extract::State;
use motehub_domain::change::ChangeKind;
use motehub_domain::time::Span;
use motehub_store::ChangeQuery;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::rfc3339;
use super::problem::ApiError;
use crate::app::App;
use crate::settings::Nodes;
use crate::{backup, tls};

/// Until when this version gets security updates.
const SUPPORT_UNTIL: &str = "2028-12-31";
/// A certificate that ends so soon is a weakness.
const RENEW_BEFORE: Span = Span::minutes(30 * 24 * 60);
/// With less free space than this many bytes the disk is nearly full.
const FREE_BYTES_MIN: u64 = 200 * 1024 * 1024;

/// A weakness that is switched on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Weakness {
    /// Stable, for programs.
    code: &'static str,
    /// What it means and how to end it.
    sentence: String,
}

/// Where the hub listens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listeners {
    /// The API, the dashboard and HTTP of devices.
    http: String,
    /// MQTT over TCP.
    mqtt: String,
    /// MQTT over TLS.
    mqtt_tls: Option<String>,
    /// MQTT over WebSocket.
    mqtt_ws: Option<String>,
    /// CoAP over UDP.
    coap: Option<String>,
    /// CoAP over DTLS.
    coaps: Option<String>,
    /// WebSocket nodes of the Pyaiot family.
    nodes_ws: Option<String>,
    /// MQTT nodes of the Pyaiot family.
    nodes_mqtt: Option<String>,
    /// MQTT-SN nodes of the Pyaiot family.
    mqtt_sn: Option<String>,
    /// Mongoose OS devices, and the API that mDash has.
    mdash: Option<String>,
    /// The HTTP data plane of AWS IoT.
    aws: Option<String>,
    /// What boards with ESP-FIRMWARE log.
    logstash: Option<String>,
}

/// The disk that the data folder is on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Disk {
    /// What the hub may still write.
    free_bytes: u64,
    /// In all.
    total_bytes: u64,
    /// What the database has of it, with its log.
    database_bytes: u64,
}

/// The hub itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SystemDto {
    /// Of the program.
    version: &'static str,
    /// When it started.
    started_at: String,
    /// What its clock shows.
    time: String,
    /// The port of MQTT over TCP, for the settings of boards.
    mqtt_port: u16,
    /// Where it listens.
    listeners: Listeners,
    /// The disk of the data folder, if the system tells.
    disk: Option<Disk>,
    /// When the certificate of the TLS listeners ends, if there are any.
    tls_expires_at: Option<String>,
    /// When the last backup was taken, if ever.
    last_backup_at: Option<String>,
    /// What is switched on that makes it weaker.
    weaknesses: Vec<Weakness>,
    /// Until when this version gets security updates.
    support_until: &'static str,
}

/// The hub itself, with the weaknesses that are switched on.
#[utoipa::path(get, path = "/api/v1/system", tag = "overview", responses((status = 200, body = SystemDto)))]
pub(crate) async fn system(State(app): State<App>) -> Result<axum::Json<SystemDto>, ApiError> {
    let data = app.settings.data.clone();
    let disk = tokio::task::spawn_blocking(move || disk(&data)).await.ok().flatten();
    let query = ChangeQuery {
        kind: Some(ChangeKind::BackupTaken),
        limit: 1,
        newest_first: true,
        ..ChangeQuery::default()
    };
    let last_backup = app.store.changes(query).await?.into_iter().next();
    let expires_at = match app.addresses().mqtt_tls.or(app.addresses().aws) {
        Some(_) => tls::expires_at(&app.settings),
        None => None,
    };
    let weaknesses = weaknesses(&app, disk.as_ref(), expires_at).await?;
    let addresses = app.addresses();
    let text = |address: SocketAddr| address.to_string();
    Ok(axum::Json(SystemDto {
        version: env!("CARGO_PKG_VERSION"),
        started_at: rfc3339(app.started_at),
        time: rfc3339(app.now()),
        mqtt_port: addresses.mqtt.port(),
        listeners: Listeners {
            http: text(addresses.http),
            mqtt: text(addresses.mqtt),
            mqtt_tls: addresses.mqtt_tls.map(text),
            mqtt_ws: addresses.mqtt_ws.map(text),
            coap: addresses.coap.map(text),
            coaps: addresses.coaps.map(text),
            nodes_ws: addresses.nodes.websocket.map(text),
            nodes_mqtt: addresses.nodes.mqtt.map(text),
            mqtt_sn: addresses.nodes.mqtt_sn.map(text),
            mdash: addresses.mdash.map(text),
            aws: addresses.aws.map(text),
            logstash: addresses.logstash.map(text),
        },
        disk,
        tls_expires_at: expires_at.map(rfc3339),
        last_backup_at: last_backup.map(|change| rfc3339(change.at)),
        weaknesses,
        support_until: SUPPORT_UNTIL,
    }))
}

fn disk(data: &std::path::Path) -> Option<Disk> {
    let space = rustix::fs::statvfs(data).ok()?;
    let size = |end: &str| {
        let file = data.join(format!("{}{end}", backup::DATABASE));
        std::fs::metadata(file).map_or(0, |file| file.len())
    };
    Some(Disk {
        free_bytes: space.f_bavail * space.f_frsize,
        total_bytes: space.f_blocks * space.f_frsize,
        database_bytes: size("") + size("-wal"),
    })
}

async fn weaknesses(
    app: &App,
    disk: Option<&Disk>,
    tls_expires_at: Option<motehub_domain::time::Time>,
) -> Result<Vec<Weakness>, ApiError> {
    let mut weaknesses = Vec::new();
    let mut add = |code, sentence: String| weaknesses.push(Weakness { code, sentence });
    let open = &app.settings.mqtt_anonymous;
    if !open.is_empty() {
        let filters = open.iter().map(|filter| filter.as_str()).collect::<Vec<_>>().join(", ");
        add(
            "mqtt_anonymous",
            format!(
                "MQTT clients without credentials may use {filters}; leave out --mqtt-anonymous to end that"
            ),
        );
    }
    let unauthenticated = app.store.overview().await?.unauthenticated;
    if unauthenticated > 0 {
        add(
            "unauthenticated_devices",
            format!(
                "{unauthenticated} devices may speak without a credential: whoever knows the chip id or uid, and can \
                 send from where they are allowed, can speak for them; give a credential to those that can have one, \
                 and switch it off on the device page"
            ),
        );
    }
    if !app.settings.mqtt.ip().is_loopback() {
        let sentence = "MQTT without encryption listens beyond this machine: credentials can be read on the way; \
            use --mqtt-tls where the devices can";
        add("mqtt_plain", sentence.to_owned());
    }
    if !app.settings.http.ip().is_loopback() {
        let sentence = "the dashboard listens beyond this machine without encryption: put a TLS proxy in front, \
            or keep it in a network that you trust";
        add("http_plain", sentence.to_owned());
    }
    if app.settings.coap.is_some_and(|address| !address.ip().is_loopback()) {
        let sentence = "CoAP without encryption listens beyond this machine: what nodes say can be read and forged on \
            the way; keep --coap in a network of their own";
        add("coap_plain", sentence.to_owned());
    }
    nodes(app, &mut add);
    if app.settings.mdash.is_some() {
        let sentence = "the mDash listener takes what its unmodified clients send: API keys in addresses, where \
            proxies write them down, and device tokens without encryption; leave out --mdash when nothing needs it, \
            or put a TLS proxy that writes no addresses in front of it";
        add("mdash_open", sentence.to_owned());
    }
    if app.settings.mdash.is_some() && app.settings.mdash_app_users {
        let sentence = "users of the original phone app are let in by a name that is also the password, pair devices \
            without a proof that they have them, and their server may switch any device; leave out --mdash-app-users \
            and use the app at /app instead";
        add("mdash_app_users", sentence.to_owned());
    }
    pyaiot(app, &mut add);
    pusher(app, &mut add);
    boards(app, &mut add);
    units(app, &mut add);
    if let Some(disk) = disk.filter(|disk| disk.free_bytes < FREE_BYTES_MIN) {
        let free_mb = disk.free_bytes / 1_000_000;
        add("disk_full", format!("the disk of the data folder has {free_mb} MB left: free some space"));
    }
    if let Some(end) = tls_expires_at.filter(|end| *end < app.now() + RENEW_BEFORE) {
        let end = rfc3339(end);
        add(
            "tls_expires",
            format!("the certificate of the TLS listeners ends at {end}: renew it and restart"),
        );
    }
    Ok(weaknesses)
}

/// What is weak about the listeners for nodes.
fn nodes(app: &App, add: &mut impl FnMut(&'static str, String)) {
    let Nodes { websocket, mqtt, mqtt_sn } = app.settings.nodes;
    let all = [("--nodes-ws", websocket), ("--nodes-mqtt", mqtt), ("--mqtt-sn", mqtt_sn)];
    let open = all.into_iter().filter_map(|(setting, address)| {
        address.filter(|address| !address.ip().is_loopback()).map(|_| setting)
    });
    let open = open.collect::<Vec<_>>().join(", ");
    if !open.is_empty() {
        let sentence = format!(
            "nodes without a credential and without encryption come in at {open} from beyond this machine: what they \
             say can be read and forged on the way; keep it in a network of their own"
        );
        add("nodes_plain", sentence);
    }
}

/// What is weak about boards with ESP-FIRMWARE.
fn boards(app: &App, add: &mut impl FnMut(&'static str, String)) {
    if app.settings.esp_firmware.is_some() {
        let sentence = "boards with ESP-FIRMWARE are known by their address alone, and anybody who reaches such a \
            board can have it run anything; keep them in a network of their own, and leave out --esp-firmware when \
            there are none";
        add("esp_firmware", sentence.to_owned());
    }
}

/// What is weak about units.
fn units(app: &App, add: &mut impl FnMut(&'static str, String)) {
    let count = app.units.count();
    if count > 0 {
        let sentence = format!(
            "{count} units are known by their address or by a greeting, and prove nothing: whoever has the address can \
             say readings and is told what is desired; keep them in a network of their own"
        );
        add("units", sentence);
    }
}

/// What is weak about the listener for Pyaiot.
fn pyaiot(app: &App, add: &mut impl FnMut(&'static str, String)) {
    let Some(address) = app.settings.pyaiot.address else { return };
    if !address.ip().is_loopback() {
        let sentence = "the Pyaiot listener takes tokens without encryption from beyond this machine: put a TLS \
            proxy in front of it, or keep it in a network that you trust";
        add("pyaiot_plain", sentence.to_owned());
    }
    let ageless = app.pyaiot.ageless_keys();
    if ageless > 0 {
        let sentence = format!(
            "{ageless} keys of Pyaiot gateways take tokens of any age, so one that was seen on the way serves for \
             ever; give the key a greatest age if the clocks of its gateways are right"
        );
        add("pyaiot_tokens", sentence);
    }
    if app.settings.pyaiot.anonymous {
        let sentence = "anybody who reaches the Pyaiot listener sees all nodes and what they report; leave out \
            --pyaiot-anonymous where that is not meant";
        add("pyaiot_anonymous", sentence.to_owned());
    }
}

/// What is weak about the listener for the Pusher protocol.
fn pusher(app: &App, add: &mut impl FnMut(&'static str, String)) {
    if app.settings.pusher.address.is_some_and(|address| !address.ip().is_loopback()) {
        let sentence = "the Pusher listener takes tokens and signatures without encryption from beyond this machine: \
            use --pusher-tls instead, or put a TLS proxy in front of it";
        add("pusher_plain", sentence.to_owned());
    }
}
