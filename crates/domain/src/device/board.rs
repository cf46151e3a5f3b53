//! At which address a board with an HTTP server is spoken to. A board proves nothing of itself, so whatever it says is
//! weighed: otherwise a forged word would make the hub connect anywhere.

use std::net::IpAddr;

use super::Device;
use crate::network::Network;
use crate::rejection::Rejection;

/// The address at which a board is spoken to: what it announced, else what it is registered with. It is the one that
/// the board may speak from, or lies inside `networks`.
///
/// # Errors
/// When it announced an address that is neither.
pub fn address(
    device: &Device,
    announced: Option<&str>,
    networks: &[Network],
) -> Result<Option<IpAddr>, Rejection> {
    let may_be = |address: IpAddr| {
        device.unauthenticated_allowed
            && (device.allowed_from.is_some_and(|from| from.contains(address))
                || networks.iter().any(|network| network.contains(address)))
            && !address.is_unspecified()
            && !address.is_multicast()
    };
    let Some(announced) = announced else {
        let own = device.external_id.as_deref().and_then(|id| id.parse().ok());
        return Ok(own.filter(|address| may_be(*address)));
    };
    match announced.parse::<IpAddr>() {
        Ok(address) if may_be(address) => Ok(Some(address.to_canonical())),
        Ok(_) => Err(Rejection::invalid(
            "address",
            format!(
                "{announced} is not where the board may speak from, nor inside --esp-firmware-network: nothing is \
                 sent there"
            ),
        )),
        Err(_) => Err(Rejection::invalid("address", "an address, such as 192.0.2.7")),
    }
}
