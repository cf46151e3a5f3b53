//! A network of addresses: an address, or all that begin with the same bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::rejection::Rejection;

/// Addresses that begin with the same bits, such as `fd00:1::/64`; or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// `192.0.2.7`, `192.0.2.0/24` or `fd00:1::/64`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Rejection> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, bits.parse::<u8>().map(Some)),
            None => (text.trim(), Ok(None)),
        };
        let wrong =
            || Rejection::invalid(field, "an address such as 192.0.2.7, or a network such as fd00:1::/64");
        let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits) else { return Err(wrong()) };
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits.unwrap_or(most) {
            bits if bits <= most => Ok(Self { first: first(address, bits), bits }),
            _ => Err(wrong()),
        }
    }

    /// One address.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { first: address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && first(address, self.bits) == self.first
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.first, self.bits) {
            (IpAddr::V4(address), 32) => write!(f, "{address}"),
            (IpAddr::V6(address), 128) => write!(f, "{address}"),
            (address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

/// The first address that begins with the same bits.
fn first(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    let behind = |of: u32| of - bits.min(of);
    match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(behind(32)).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            let mask = if bits == 0 { 0 } else { u128::MAX << behind(128) };
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_with_it() {
        let cases = [
            ("192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/24", "192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("10.0.0.0/0", "0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00:1::5/64", "fd00:1::/64", "fd00:1::ffff", "fd00:2::"),
            ("fd00::1", "fd00::1", "fd00::1", "fd00::2"),
            ("::/0", "::/0", "fd00::1", "192.0.2.1"),
            (" 192.0.2.7 ", "192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.8"),
        ];
        for (text, written, inside, outside) in cases {
            let network = Network::parse("from", text).expect("is a network");
            assert_eq!(network.to_string(), written);
            assert!(network.contains(inside.parse().expect("an address")), "{inside} is not in {text}");
            assert!(!network.contains(outside.parse().expect("an address")), "{outside} is in {text}");
        }
        assert_eq!(Network::of("::ffff:192.0.2.7".parse().expect("an address")).to_string(), "192.0.2.7");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "lab", "192.0.2.0/33", "fd00::/129", "192.0.2/24", "192.0.2.1/-1", "fe80::1%eth0"] {
            assert!(Network::parse("from", text).is_err(), "{text} was taken for a network");
        }
    }
}
