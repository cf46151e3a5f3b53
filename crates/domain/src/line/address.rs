//! Where a unit is, and where units may be at all.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::network::Network;
use crate::rejection::Rejection;

/// The port of units, if nothing else is said.
pub const PORT: u16 = 8888;

/// A host in the network, by address or by name, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: Host,
    /// 1 to 65535.
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Address {
    /// `192.168.1.20`, `192.168.1.20:8888`, `[fd00::7]:8888` or `lamp.local:8888`.
    ///
    /// # Errors
    /// For anything else, and for port 0.
    pub fn parse(field: &str, text: &str) -> Result<Self, Rejection> {
        let text = text.trim();
        let wrong = || {
            Rejection::invalid(
                field,
                "an address in the network, such as 192.168.1.20:8888, [fd00::7]:8888 or lamp.local:8888",
            )
        };
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: Host::Ip(ip.to_canonical()), port: PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<u16>().map_err(|_| wrong())?),
            None => (text, PORT),
        };
        if port == 0 {
            return Err(wrong());
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (bare, bare.unwrap_or(host).parse::<IpAddr>()) {
            (Some(_), Ok(ip @ IpAddr::V6(_))) | (None, Ok(ip @ IpAddr::V4(_))) => Host::Ip(ip.to_canonical()),
            (None, Err(_)) if is_name(host) => Host::Name(host.to_ascii_lowercase()),
            _ => return Err(wrong()),
        };
        Ok(Self { host, port })
    }

    /// The address, if it is said as one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ip(ip) => Some(ip),
            Host::Name(_) => None,
        }
    }

    /// The address or the name, without brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A name of DNS that is no number: letters, digits, `-` and `_` between points.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_part) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where units may be if nobody says otherwise: private networks and the host itself.
pub fn default_networks() -> Vec<Network> {
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1"]
        .into_iter()
        .filter_map(|text| Network::parse("line-network", text).ok())
        .collect()
}

/// Whether a unit may be at an address. One that is many or none is never.
///
/// # Errors
/// If not, with what to do.
pub fn is_allowed(ip: IpAddr, networks: &[Network]) -> Result<(), Rejection> {
    let ip = ip.to_canonical();
    let is_many = ip.is_unspecified()
        || ip.is_multicast()
        || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
        || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match !is_many && networks.iter().any(|network| network.contains(ip)) {
        true => Ok(()),
        false => Err(Rejection::invalid(
            "address",
            format!("{ip} is outside the networks in which units may be: --line-network names them"),
        )),
    }
}
