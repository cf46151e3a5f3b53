//! Credentials of devices: rotation over the air, and the sign that two use one.
//!
//! A rotation sends the device a new secret. The old one stays valid until the new one was used once, so that a
//! message that is lost at any point locks nobody out. Only digests are stored; when the message may have been
//! lost, a fresh secret is made and sent, and of those sent lately each would do.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use serde_json::json;

use crate::artifact::Digest;
use crate::change::{Actor, ChangeKind};
use crate::device::{Device, fact};
use crate::effects::{Effects, Save};
use crate::id::DeviceId;
use crate::message::{Downlink, Secret};
use crate::rejection::Rejection;
use crate::time::{Span, Time};

/// How many of the secrets sent last are valid while a rotation goes on.
pub const NEXT_MAX: i64 = 4;
/// Within this span two addresses take turns, if they do.
pub const SHARED_WITHIN: Span = Span::minutes(1);
/// So many returns to an address that was left within [`SHARED_WITHIN`] are no change of network any more.
pub const RETURNS_MIN: usize = 2;
/// At most one warning per device and span.
pub const SHARED_EVERY: Span = Span::minutes(60);
/// For how many devices it is remembered from where they came.
const DEVICES_MAX: usize = 50_000;
/// How many arrivals are remembered of a device.
const ARRIVALS_MAX: usize = 8;

/// A rotation that goes on: the device has not used its new credential yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Whose.
    pub device: DeviceId,
    /// When a person asked for it.
    pub started_at: Time,
    /// When a new secret was sent last; `None` while the device is away.
    pub sent_at: Option<Time>,
}

/// Begins a rotation; the secret is sent when the device is there.
pub fn rotate(
    device: &Device,
    has_credential: bool,
    ongoing: Option<&Rotation>,
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    if !device.dialect.speaks_native() {
        return Err(Rejection::conflict(
            "cannot_rotate",
            "this firmware cannot be given a credential over the air: issue a new one and write it to the board",
        ));
    }
    if !has_credential {
        return Err(Rejection::conflict(
            "cannot_rotate",
            "it has no credential that could be rotated: issue one",
        ));
    }
    if ongoing.is_some() {
        return Ok(Effects::none());
    }
    let rotation = Rotation { device: device.id, started_at: now, sent_at: None };
    let change = fact(ChangeKind::RotationStarted, device, actor, None, None);
    Ok(Effects { save: vec![Save::Rotation(rotation)], changes: vec![change], ..Effects::none() })
}

/// The device is there and still has the old credential: it is sent a new one.
pub fn send(rotation: &Rotation, secret: Secret, digest: Digest, now: Time) -> Effects {
    let sent = Rotation { sent_at: Some(now), ..rotation.clone() };
    Effects {
        save: vec![Save::Rotation(sent), Save::NextCredential(rotation.device, digest, now)],
        send: vec![(rotation.device, Downlink::Credential(secret))],
        ..Effects::none()
    }
}

/// The device used its new credential: the old one stops.
pub fn rotated(device: &Device, used: Digest) -> Effects {
    let change = fact(ChangeKind::CredentialRotated, device, &Actor::Device(device.name.clone()), None, None);
    Effects { save: vec![Save::Credential(device.id, Some(used))], changes: vec![change], ..Effects::none() }
}

/// One credential is used from two addresses at once.
pub fn shared(device: &Device, addresses: &[IpAddr], now: Time) -> Effects {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let after = json!({ "addresses": addresses });
    let change = fact(ChangeKind::CredentialShared, device, &Actor::System, None, Some(after));
    let save = vec![Save::CredentialShared(device.id, now, addresses.join(", "))];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// From where devices came lately, to tell a change of network from two that use one credential.
#[derive(Debug, Default)]
pub struct Arrivals {
    of: HashMap<DeviceId, VecDeque<(IpAddr, Time)>>,
    warned: HashMap<DeviceId, Time>,
}

impl Arrivals {
    /// A device proved who it is, from an address. Returns the addresses that take turns, if they do and that was
    /// not said lately. A device that moves to another address once, or from one to the next, does not take turns.
    pub fn arrived(&mut self, device: DeviceId, address: IpAddr, now: Time) -> Option<Vec<IpAddr>> {
        if self.of.len() >= DEVICES_MAX && !self.of.contains_key(&device) {
            self.of.retain(|_, arrivals| arrivals.back().is_some_and(|(_, at)| now - *at < SHARED_WITHIN));
            self.warned.retain(|_, at| now - *at < SHARED_EVERY);
            if self.of.len() >= DEVICES_MAX {
                return None;
            }
        }
        let arrivals = self.of.entry(device).or_default();
        if arrivals.back().is_some_and(|(last, _)| *last == address) {
            return None;
        }
        while arrivals.len() >= ARRIVALS_MAX
            || arrivals.front().is_some_and(|(_, at)| arrivals.len() > 1 && now - *at >= SHARED_WITHIN)
        {
            arrivals.pop_front();
        }
        arrivals.push_back((address, now));
        let recent: Vec<IpAddr> = arrivals
            .iter()
            .filter(|(_, at)| now - *at < SHARED_WITHIN)
            .map(|(address, _)| *address)
            .collect();
        let returns = (0..recent.len()).filter(|at| recent[..*at].contains(&recent[*at])).count();
        if returns < RETURNS_MIN || !self.may_warn(device, now) {
            return None;
        }
        Some(distinct(recent))
    }

    /// Whether no warning about a device was given lately; then this one counts as given.
    pub fn may_warn(&mut self, device: DeviceId, now: Time) -> bool {
        if self.warned.len() >= DEVICES_MAX {
            self.warned.retain(|_, at| now - *at < SHARED_EVERY);
        }
        let is_known = self.warned.get(&device).is_some_and(|at| now - *at < SHARED_EVERY);
        let may_warn = !is_known && self.warned.len() < DEVICES_MAX;
        if may_warn {
            self.warned.insert(device, now);
        }
        may_warn
    }
}

/// A connection that a device has.
#[derive(Debug, Clone, Copy)]
pub struct Stay {
    /// From where.
    pub address: IpAddr,
    /// Since when.
    pub since: Time,
    /// It ends after so much silence; `None` for never.
    pub silence_max: Option<Span>,
}

/// The addresses from which one device is connected at once, if they are several. A device that changed its network
/// leaves a connection behind, which ends when it was silent for too long; those that outlast that beside one
/// another are alive.
pub fn side_by_side(stays: &[Stay], now: Time) -> Option<Vec<IpAddr>> {
    let is_alive_beside = |one: &Stay, other: &Stay| {
        let together = now - one.since.max(other.since);
        one.address != other.address && one.silence_max.is_some_and(|silence_max| together > silence_max)
    };
    let are_both = |one: &Stay, other: &Stay| is_alive_beside(one, other) && is_alive_beside(other, one);
    let alive = stays.iter().filter(|one| stays.iter().any(|other| are_both(one, other)));
    let addresses = distinct(alive.map(|stay| stay.address).collect());
    (addresses.len() > 1).then_some(addresses)
}

fn distinct(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Dialect;

    const START: Time = Time(1_000_000);

    fn device(dialect: Dialect) -> Device {
        let registration = crate::device::Registration {
            name: "Lamp".to_owned(),
            description: String::new(),
            dialect,
            external_id: Some("7".to_owned()),
            tags: Vec::new(),
            line: None,
        };
        let id = DeviceId::from_parts(1, 1);
        let made = crate::device::register(id, &registration, Digest([1; 32]), &Actor::System, START);
        made.expect("is a device").0
    }

    #[test]
    fn only_a_device_that_can_be_told_is_rotated() {
        let (lamp, board) = (device(Dialect::Native), device(Dialect::Nodemcu));
        let begin = |device: &Device, has, ongoing: Option<&Rotation>| {
            rotate(device, has, ongoing, &Actor::System, START)
        };
        let begun = begin(&lamp, true, None).expect("begins");
        assert_eq!(begun.changes[0].kind, ChangeKind::RotationStarted);
        let Save::Rotation(rotation) = &begun.save[0] else { panic!("{begun:?}") };
        assert_eq!(rotation.sent_at, None);
        assert_eq!(begin(&lamp, true, Some(rotation)), Ok(Effects::none()), "once is enough");
        assert!(begin(&board, true, None).is_err());
        assert!(begin(&lamp, false, None).is_err());
        let sent = send(
            rotation,
            Secret { credential: "s3cret".to_owned(), coap_key: "k".to_owned() },
            Digest([2; 32]),
            START,
        );
        assert!(!format!("{sent:?}").contains("s3cret"), "a secret is never shown");
    }

    #[test]
    fn two_that_take_turns_are_told_from_one_that_moves() {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let id = DeviceId::from_parts(1, 1);
        type Step = (u8, i64);
        let cases: [(&str, &[Step], bool); 7] = [
            ("one that stays", &[(1, 0), (1, 1), (1, 2), (1, 3)], false),
            ("one that moves", &[(1, 0), (2, 1), (2, 2)], false),
            ("one that wanders", &[(1, 0), (2, 5), (3, 10), (4, 15), (5, 20)], false),
            ("there and back", &[(1, 0), (2, 10), (1, 20)], false),
            ("two that take turns", &[(1, 0), (2, 10), (1, 20), (2, 30)], true),
            ("turns over hours", &[(1, 0), (2, 3600), (1, 7200), (2, 10800), (1, 14400)], false),
            ("three that take turns", &[(1, 0), (2, 1), (3, 2), (1, 3), (2, 4)], true),
        ];
        for (what, steps, is_shared) in cases {
            let mut arrivals = Arrivals::default();
            let warned = steps.iter().filter_map(|(from, seconds)| {
                arrivals.arrived(id, address(*from), START + Span::seconds(*seconds))
            });
            assert_eq!(warned.count() == 1, is_shared, "{what}");
        }
    }

    #[test]
    fn two_that_stay_are_told_from_what_a_device_left_behind() {
        let stay = |n: u8, since: i64, silence_max: Option<i64>| Stay {
            address: IpAddr::from([10, 0, 0, n]),
            since: START + Span::seconds(since),
            silence_max: silence_max.map(Span::seconds),
        };
        let cases: [(&str, &[Stay], &[u8]); 6] = [
            ("one address", &[stay(1, 0, Some(90)), stay(1, 10, Some(90))], &[]),
            ("the old one may be dead still", &[stay(1, 0, Some(90)), stay(2, 920, Some(30))], &[]),
            ("the new one may be dead already", &[stay(1, 0, Some(30)), stay(2, 920, Some(90))], &[]),
            ("nobody would notice that it is dead", &[stay(1, 0, None), stay(2, 10, Some(90))], &[]),
            ("both stay", &[stay(2, 0, Some(90)), stay(1, 900, Some(60))], &[1, 2]),
            ("two of three", &[stay(1, 0, Some(90)), stay(2, 10, Some(90)), stay(3, 990, Some(90))], &[1, 2]),
        ];
        for (what, stays, expected) in cases {
            let found = side_by_side(stays, START + Span::seconds(1000)).unwrap_or_default();
            let expected: Vec<IpAddr> = expected.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect();
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_warning_comes_once_an_hour() {
        let mut arrivals = Arrivals::default();
        let id = DeviceId::from_parts(1, 1);
        let warned = (0..7200_i64).filter(|second| {
            let address = IpAddr::from([10, 0, 0, if second % 2 == 0 { 1 } else { 2 }]);
            arrivals.arrived(id, address, START + Span::seconds(*second)).is_some()
        });
        assert_eq!(warned.count(), 2);
    }
}
