//! Whether a device is there, as far as the hub knows.

use serde_json::json;

use super::{Device, fact};
use crate::change::{Actor, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::{DeviceId, GatewayId};
use crate::time::Time;

/// Whether a device is there, as far as the hub knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It has a live connection.
    Online,
    /// It has none.
    Offline,
    /// The link to its gateway is lost: what the device does is not known.
    Unreachable,
}

impl Reach {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unreachable => "unreachable",
        }
    }
    /// A reach by its name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Online, Self::Offline, Self::Unreachable].into_iter().find(|reach| reach.as_str() == text)
    }
    /// Of a device without a gateway elsewhere.
    pub fn of(is_online: bool) -> Self {
        if is_online { Self::Online } else { Self::Offline }
    }
}

/// Whether a device is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Whose.
    pub device: DeviceId,
    /// Whether it is there.
    pub reach: Reach,
    /// Through which gateway in another process it came last; `None` if it came to the hub itself.
    pub gateway: Option<GatewayId>,
    /// When it was last heard.
    pub seen_at: Time,
    /// From which address, without port.
    pub address: String,
}

/// A device came or went, or came back from another address.
pub fn presence(device: &Device, was: Option<&Presence>, is: Presence) -> Effects {
    let changed = was.is_none_or(|was| was.reach != is.reach);
    let (kind, actor) = match is.reach {
        Reach::Online => (ChangeKind::DeviceOnline, Actor::Device(device.name.clone())),
        Reach::Offline => (ChangeKind::DeviceOffline, Actor::Device(device.name.clone())),
        Reach::Unreachable => (ChangeKind::DeviceUnreachable, Actor::System),
    };
    let is_online = is.reach == Reach::Online;
    let after = json!({ "online": is_online, "address": is.address });
    let change = fact(kind, device, &actor, None, Some(after));
    let changes = if changed && (is_online || was.is_some()) { vec![change] } else { Vec::new() };
    Effects { save: vec![Save::Presence(is)], changes, ..Effects::none() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Dialect;

    #[test]
    fn each_way_a_device_comes_or_goes_is_a_fact_of_its_own() {
        let device = Device {
            id: DeviceId::from_parts(1, 1),
            name: "lamp".to_owned(),
            description: String::new(),
            dialect: Dialect::Native,
            external_id: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            unauthenticated_allowed: false,
            allowed_from: None,
            silence_max: None,
            line: None,
            created_at: Time(1),
            revision: 1,
        };
        let is = |reach| {
            let address = "192.0.2.1".to_owned();
            Presence { device: device.id, reach, gateway: None, seen_at: Time(5), address }
        };
        let said = |was: Option<Reach>, now| {
            let effects = presence(&device, was.map(is).as_ref(), is(now));
            effects.changes.first().map(|change| change.kind)
        };
        let cases = [
            (None, Reach::Online, Some(ChangeKind::DeviceOnline)),
            (None, Reach::Offline, None),
            (Some(Reach::Online), Reach::Online, None),
            (Some(Reach::Online), Reach::Unreachable, Some(ChangeKind::DeviceUnreachable)),
            (Some(Reach::Unreachable), Reach::Online, Some(ChangeKind::DeviceOnline)),
            (Some(Reach::Unreachable), Reach::Offline, Some(ChangeKind::DeviceOffline)),
            (Some(Reach::Unreachable), Reach::Unreachable, None),
        ];
        for (was, now, expected) in cases {
            assert_eq!(said(was, now), expected, "{was:?} to {now:?}");
        }
    }
}
