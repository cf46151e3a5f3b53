//! A network that loses a tenth of everything: a proxy between clients and a server.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One of so many datagrams is lost.
const ONE_OF: u64 = 10;
/// So many arrive at least before the next one is lost.
const ARRIVE_BETWEEN: u64 = 3;

pub(crate) struct Lossy {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Lossy {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = front.local_addr().unwrap();
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        std::thread::spawn(move || forward(&front, server, &stopped));
        Self { address, stop }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What happens to the datagrams of one direction. So many follow each other before one is lost that every message
/// arrives within the repetitions of CoAP: a test fails for what is wrong and not for bad luck.
struct Chance {
    state: u64,
    arrived: u64,
}

impl Chance {
    fn new(seed: u64) -> Self {
        Self { state: seed << 16 | 1, arrived: 0 }
    }

    fn is_lost(&mut self) -> bool {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_lost =
            self.arrived >= ARRIVE_BETWEEN && (self.state >> 33).is_multiple_of(ONE_OF - ARRIVE_BETWEEN);
        self.arrived = if is_lost { 0 } else { self.arrived + 1 };
        is_lost
    }
}

/// Each client has a socket towards the server, and a thread that brings back what comes there.
fn forward(front: &Arc<UdpSocket>, server: SocketAddr, stop: &Arc<AtomicBool>) {
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, Chance)> = HashMap::new();
    let mut buffer = [0; 2_048];
    front.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, client)) = front.recv_from(&mut buffer) else { continue };
        let (upstream, chance) = clients.entry(client).or_insert_with(|| {
            let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            upstream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (front, back, stop) = (front.clone(), upstream.clone(), stop.clone());
            std::thread::spawn(move || {
                let (mut buffer, mut chance) = ([0; 2_048], Chance::new(u64::from(client.port()) + 1));
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, _)) = back.recv_from(&mut buffer) else { continue };
                    if !chance.is_lost() {
                        let _ = front.send_to(&buffer[..length], client);
                    }
                }
            });
            (upstream, Chance::new(u64::from(client.port())))
        });
        if !chance.is_lost() {
            let _ = upstream.send_to(&buffer[..length], server);
        }
    }
}
