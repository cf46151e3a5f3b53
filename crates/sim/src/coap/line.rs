//! A board's way to the hub: CoAP on a socket, or CoAP in DTLS. Datagrams go in and come out; there is no socket here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dimpl::crypto::Dtls12CipherSuite;
use dimpl::{Config, Dtls, Output, PskResolver};
use motehub_protocol::coap::{Endpoint, Limits};
use tokio::time::Instant;

use crate::riot::Numbers;

/// The largest firmware that a board takes.
const FIRMWARE_BYTES_MAX: usize = 16 * 1024 * 1024;
const BUFFER_BYTES: usize = 4_096;

struct Key(Vec<u8>);

impl PskResolver for Key {
    fn resolve(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }
}

/// How a board proves who it is.
pub(super) fn proof(identity: &str, key: &str) -> anyhow::Result<Arc<Config>> {
    let config = Config::builder()
        .dtls12_cipher_suites(&[Dtls12CipherSuite::PSK_AES128_CCM_8])
        .dtls13_cipher_suites(&[])
        .handshake_timeout(Duration::from_secs(60))
        .with_psk_client(identity.as_bytes().to_vec(), Arc::new(Key(key.as_bytes().to_vec())))
        .build();
    Ok(Arc::new(config?))
}

pub(super) struct Line {
    hub: SocketAddr,
    pub(super) endpoint: Endpoint,
    dtls: Option<Dtls>,
    started: Instant,
    wake: Option<std::time::Instant>,
    pub(super) is_open: bool,
    /// It is of no use any more.
    pub(super) is_broken: bool,
    out: VecDeque<Vec<u8>>,
}

impl Line {
    /// A new one; with DTLS it is open after the handshake.
    pub(super) fn new(hub: SocketAddr, proof: Option<Arc<Config>>, mut numbers: Numbers) -> Self {
        let started = Instant::now();
        let limits = Limits { body_bytes_max: FIRMWARE_BYTES_MAX, ..Limits::default() };
        let mut endpoint = Endpoint::new(limits, move || numbers.draw());
        endpoint.trust_addresses();
        let dtls = proof.map(|proof| {
            let mut dtls = Dtls::new_12_psk(proof, started.into_std());
            dtls.set_active(true);
            dtls
        });
        let is_open = dtls.is_none();
        let out = VecDeque::new();
        let mut line = Self { hub, endpoint, dtls, started, wake: None, is_open, is_broken: false, out };
        line.tick();
        line
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When something is due next.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        let coap = self.endpoint.next_timeout().map(|at| self.started + Duration::from_millis(at));
        let dtls = self.wake.filter(|_| self.dtls.is_some()).map(Instant::from_std);
        coap.into_iter().chain(dtls).min()
    }

    /// Something is due.
    pub(super) fn tick(&mut self) {
        let now = self.now_ms();
        if let Some(dtls) = &mut self.dtls {
            self.is_broken |= dtls.handle_timeout(Instant::now().into_std()).is_err();
        }
        self.drain();
        self.endpoint.handle_timeout(now);
    }

    /// A datagram came from the hub.
    pub(super) fn datagram(&mut self, bytes: &[u8]) {
        let now = self.now_ms();
        match &mut self.dtls {
            None => self.endpoint.datagram(self.hub, bytes, now),
            Some(dtls) => {
                let fed =
                    dtls.handle_timeout(Instant::now().into_std()).and_then(|()| dtls.handle_packet(bytes));
                self.is_broken |= fed.is_err();
                self.drain();
            }
        }
    }

    fn drain(&mut self) {
        let now = self.now_ms();
        let Some(dtls) = &mut self.dtls else { return };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => self.out.push_back(bytes.to_vec()),
                Output::ApplicationData(bytes) => self.endpoint.datagram(self.hub, bytes, now),
                Output::Connected => self.is_open = true,
                Output::CloseNotify => self.is_broken = true,
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.wake = Some(at);
                    return;
                }
                _ => {}
            }
        }
    }

    /// The next datagram for the hub.
    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        while let Some((_, bytes)) = self.endpoint.poll_transmit() {
            match &mut self.dtls {
                None => self.out.push_back(bytes),
                Some(dtls) => {
                    self.is_broken |= dtls.send_application_data(&bytes).is_err();
                    self.drain();
                }
            }
        }
        self.out.pop_front()
    }
}
