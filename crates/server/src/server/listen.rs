//! The sockets of a hub: bound, or an error that names the setting.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use motehub_gateway::coap;
use motehub_gateway::hub::Hub;
use tokio::net::TcpListener;

use super::Addresses;
use crate::random;
use crate::settings::Settings;

/// A listener over TCP.
pub(crate) async fn tcp(setting: &str, address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| about(&format!("{setting} {address}"), &e))
}

/// The same, if there is to be one.
pub(crate) async fn tcp_if(name: &str, address: Option<SocketAddr>) -> io::Result<Option<TcpListener>> {
    match address {
        Some(address) => tcp(name, address).await.map(Some),
        None => Ok(None),
    }
}

/// The listeners of CoAP that are wanted: without DTLS, and with it.
pub(super) fn coap(settings: &Settings, hub: &Arc<dyn Hub>) -> io::Result<[Option<coap::Gateway>; 2]> {
    let bind = |option: &str, udp: SocketAddr, is_secure: bool| {
        let wanted = coap::Settings {
            udp,
            is_secure,
            node_port: settings.riot_port,
            limits: coap::Limits::default(),
            draw: random::number,
        };
        coap::Gateway::bind(wanted, hub.clone()).map_err(|error| about(&format!("{option} {udp}"), &error))
    };
    let plain = settings.coap.map(|address| bind("--coap", address, false)).transpose()?;
    let secure = settings.coaps.map(|address| bind("--coaps", address, true)).transpose()?;
    Ok([plain, secure])
}

impl Addresses {
    /// All ports that the hub listens on.
    pub(super) fn ports(&self) -> HashSet<u16> {
        let Self { http, https, mqtt, mqtt_tls, mqtt_ws, coap, coaps, mdash, aws, .. } = self;
        let Self { pyaiot, nodes, logstash, line, pusher, .. } = self;
        let by_choice = [https, mqtt_tls, mqtt_ws, coap, coaps, mdash, aws, pyaiot, logstash, line];
        let of_families = [&nodes.websocket, &nodes.mqtt, &nodes.mqtt_sn, &pusher.plain, &pusher.tls];
        let by_choice = by_choice.into_iter().chain(of_families);
        [*http, *mqtt].into_iter().chain(by_choice.flatten().copied()).map(|address| address.port()).collect()
    }
}

/// An error with what it is about.
pub(crate) fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
