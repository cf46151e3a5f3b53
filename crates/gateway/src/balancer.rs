//! Balancers before a listener: they say in front of each connection from whom it comes (the PROXY protocol of HAProxy,
//! versions 1 and 2), so that limits, networks and logs go by the address of the client and not by theirs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::network::Network;
use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long a balancer may take to say it.
const SAID_WITHIN: Duration = Duration::from_secs(5);
/// What every header has at least.
const LEAST: usize = 12;
/// The largest header of version 1, in bytes (section 2.1 of the specification).
const FIRST_MAX: usize = 107;
/// The largest body of a header of version 2 that is read, in bytes: addresses and some extensions.
const SECOND_MAX: usize = 2048;
/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; LEAST] = b"\r\n\r\n\0\r\nQUIT\n";

/// From where balancers connect; nowhere by default. Connections from there must begin with a header, and from
/// elsewhere with none: a client cannot say that it is somebody else.
#[derive(Debug, Clone, Default)]
pub struct Balancers(Arc<[Network]>);

impl Balancers {
    /// Balancers in these networks.
    pub fn within(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    /// Whether a connection from an address comes through a balancer.
    pub fn has(&self, peer: SocketAddr) -> bool {
        self.0.iter().any(|network| network.contains(peer.ip()))
    }

    /// From whom a connection comes that was accepted from `peer`. Reads the header and not a byte more.
    ///
    /// # Errors
    /// If there is no header in time, or another one than the specification has.
    pub async fn client_of(&self, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
        if !self.has(peer) {
            return Ok(peer);
        }
        let said = timeout(SAID_WITHIN, read_header(stream)).await;
        let client = said.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten();
        client.map(|client| client.unwrap_or(peer)).inspect_err(|error| {
            metrics::counter!("motehub_balancer_refused_total").increment(1);
            tracing::warn!(%peer, %error, "a connection from a balancer does not say from whom it comes");
        })
    }
}

/// A listener, with balancers before it or without.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub tcp: TcpListener,
    /// From where balancers connect to it.
    pub balancers: Balancers,
}

impl From<TcpListener> for Listener {
    /// Nobody is before it.
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, balancers: Balancers::default() }
    }
}

/// The client that a header names; none if the balancer speaks for itself, as when it looks whether we are there.
async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; LEAST];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(LEAST + 4, 0);
        stream.read_exact(&mut header[LEAST..]).await?;
        let body = usize::from(u16::from_be_bytes([header[LEAST + 2], header[LEAST + 3]]));
        if body > SECOND_MAX {
            return Err(wrong());
        }
        header.resize(LEAST + 4 + body, 0);
        stream.read_exact(&mut header[LEAST + 4..]).await?;
    } else {
        while !header.ends_with(b"\r\n") {
            if header.len() >= FIRST_MAX || !header.starts_with(b"PROXY ") {
                return Err(wrong());
            }
            header.push(stream.read_u8().await?);
        }
    }
    client(&header)
}

fn client(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let parsed = HeaderResult::parse(header);
    if parsed.is_incomplete() {
        return Err(wrong());
    }
    match parsed {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
            v1::Addresses::Tcp6(it) => Some((it.source_address, it.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(it) => Some((it.source_address, it.source_port).into()),
            v2::Addresses::IPv6(it) => Some((it.source_address, it.source_port).into()),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(wrong()),
    }
}

fn wrong() -> io::Error {
    let sentence =
        "it begins with no header of the PROXY protocol: switch that on in the balancer (send-proxy-v2)";
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is read of bytes that somebody sends, and what is left behind the header.
    async fn said(bytes: &[u8], networks: &[&str]) -> (io::Result<String>, Vec<u8>) {
        let networks: Vec<Network> =
            networks.iter().map(|text| Network::parse("balancer", text).unwrap()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        sender.write_all(bytes).await.unwrap();
        sender.shutdown().await.unwrap();
        let client = Balancers::within(&networks).client_of(&mut stream, peer).await;
        let mut rest = Vec::new();
        if client.is_ok() {
            stream.read_to_end(&mut rest).await.unwrap();
        }
        (client.map(|client| if client == peer { "itself".to_owned() } else { client.to_string() }), rest)
    }

    fn second(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes.extend(b"\x10\x0d");
        bytes
    }

    #[tokio::test]
    async fn a_balancer_says_from_whom_a_connection_comes_and_nothing_of_it_is_lost() {
        let here = &["127.0.0.0/8"];
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0x07, 0x5b];
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33]) = (9, 1, 80);
        let extended = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let cases = [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 8080 1883\r\n\x10\x0d".to_vec(), "192.0.2.7:8080"),
            (b"PROXY TCP6 ::9 ::1 80 1883\r\n\x10\x0d".to_vec(), "[::9]:80"),
            (b"PROXY UNKNOWN\r\n\x10\x0d".to_vec(), "itself"),
            (second(1, 0x11, &v4), "192.0.2.7:8080"),
            (second(1, 0x11, &extended), "192.0.2.7:8080"),
            (second(1, 0x21, &v6), "[::9]:80"),
            (second(0, 0x00, &[]), "itself"),
        ];
        for (bytes, expected) in cases {
            let (client, rest) = said(&bytes, here).await;
            assert_eq!(client.unwrap(), expected, "{bytes:?}");
            assert_eq!(rest, b"\x10\x0d", "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_from_a_balancer_and_plain_bytes_from_anybody_else() {
        let here = &["127.0.0.1"];
        let long = [SIGNATURE.as_slice(), &[0x21, 0x11, 0xff, 0xff]].concat();
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let wrong: &[&[u8]] = &[
            b"",
            b"PROXY",
            b"\x10\x20\0\x04MQTT\x05\xc0\0\x3c",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 99999 1883\r\n",
            b"PROXY TCP4 nobody 198.51.100.1 1 2\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            &second(1, 0x11, &[1, 2, 3]),
            &second(7, 0x11, &[0; 12]),
            &long,
            &endless,
        ];
        for bytes in wrong {
            assert!(said(bytes, here).await.0.is_err(), "{bytes:?}");
        }
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 8080 1883\r\n";
        let (client, rest) = said(header, &["10.0.0.0/8"]).await;
        assert_eq!((client.unwrap().as_str(), rest.as_slice()), ("itself", header.as_slice()));
    }
}
