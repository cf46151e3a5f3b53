//! Gateways in processes of their own: each has a key pair, of which the hub knows the public half, and speaks only for
//! devices that are allowed to it.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::change::{Actor, Change, ChangeKind};
use crate::device::Device;
use crate::effects::{Effects, Save};
use crate::id::GatewayId;
use crate::line::Through;
use crate::rejection::Rejection;
use crate::selector::Selector;
use crate::text;
use crate::time::Time;

/// Most gateways.
pub const GATEWAYS_MAX: usize = 1000;

/// The public half of a gateway's key (Ed25519).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for PublicKey {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Rejection> {
        let digest: crate::artifact::Digest = text.parse()?;
        Ok(Self(digest.0))
    }
}

/// A gateway in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its id.
    pub id: GatewayId,
    /// Unique without regard to case.
    pub name: String,
    /// The key it has; without one it is revoked.
    pub key: Option<PublicKey>,
    /// The key it is given; it takes the place of the other when it is first used.
    pub next_key: Option<PublicKey>,
    /// Which devices it may speak for; empty for those that show their own credential to it, whichever they are.
    pub selector: String,
    /// When it was made.
    pub created_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// Up to where what a gateway numbers was taken. Written in the transaction of what was taken, so that what comes again
/// is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which gateway.
    pub gateway: GatewayId,
    /// Which spool of it; numbers of another one mean nothing.
    pub spool: u64,
    /// Which lane of that.
    pub lane: &'static str,
    /// The highest number that was taken.
    pub number: u64,
}

/// Why a device is not let in through a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// It is not among those that the gateway may speak for.
    NotItsOwn,
    /// It shows no credential, and was not given to the gateway by name or selector.
    ShowsNothing,
}

impl Gateway {
    /// What keeps a gateway from speaking for a device. `is_selected`: the device satisfies the selector, if there is
    /// one; `has_shown`: the device showed its own credential through this gateway, and the hub checked it.
    pub fn hindrance(
        &self,
        device: &Device,
        is_selected: Option<bool>,
        has_shown: bool,
    ) -> Option<Hindrance> {
        if let Some(line) = &device.line {
            // An engineer said through which gateway it is reached.
            let is_own = line.through == Through::Gateway(self.id);
            return (!is_own).then_some(Hindrance::NotItsOwn);
        }
        match is_selected {
            Some(false) => Some(Hindrance::NotItsOwn),
            Some(true) if has_shown || device.unauthenticated_allowed => None,
            None if has_shown => None,
            Some(true) | None => Some(Hindrance::ShowsNothing),
        }
    }
}

/// Makes a gateway.
///
/// # Errors
/// `invalid` for a name or selector that is none, `too_large` if there are too many.
pub fn register(
    id: GatewayId,
    name: &str,
    selector: &str,
    key: PublicKey,
    count: usize,
    actor: &Actor,
    now: Time,
) -> Result<(Gateway, Effects), Rejection> {
    if count >= GATEWAYS_MAX {
        return Err(Rejection::too_large("gateways", format!("there are {GATEWAYS_MAX} at most")));
    }
    let gateway = Gateway {
        id,
        name: text::name("name", name)?,
        key: Some(key),
        next_key: None,
        selector: checked(selector)?,
        created_at: now,
        revision: 1,
    };
    let effects = saving(&gateway, ChangeKind::GatewayRegistered, actor, None, Some(described(&gateway)));
    Ok((gateway, effects))
}

/// Changes the name of a gateway, and for which devices it may speak.
///
/// # Errors
/// `invalid` for a name or selector that is none.
pub fn edit(
    gateway: &Gateway,
    name: &str,
    selector: &str,
    actor: &Actor,
) -> Result<(Gateway, Effects), Rejection> {
    let edited = Gateway {
        name: text::name("name", name)?,
        selector: checked(selector)?,
        revision: gateway.revision + 1,
        ..gateway.clone()
    };
    let (before, after) = (described(gateway), described(&edited));
    if before == after {
        return Ok((gateway.clone(), Effects::none()));
    }
    let effects = saving(&edited, ChangeKind::GatewayEdited, actor, Some(before), Some(after));
    Ok((edited, effects))
}

/// Gives a gateway a new key. The one it has works until the new one was used; if it was revoked, the new one is its
/// only one.
pub fn rotate(gateway: &Gateway, next: PublicKey, actor: &Actor) -> Effects {
    let revision = gateway.revision + 1;
    let rotated = match gateway.key {
        Some(_) => Gateway { next_key: Some(next), revision, ..gateway.clone() },
        None => Gateway { key: Some(next), revision, ..gateway.clone() },
    };
    saving(&rotated, ChangeKind::GatewayKeyIssued, actor, None, Some(json!({ "key": next.to_string() })))
}

/// A gateway proved that it has a key. If that is its next one, the other stops.
pub fn proven(gateway: &Gateway, with: PublicKey) -> Effects {
    if gateway.next_key != Some(with) {
        return Effects::none();
    }
    let before = gateway.key.map(|key| json!({ "key": key.to_string() }));
    let (key, revision) = (Some(with), gateway.revision + 1);
    let changed = Gateway { key, next_key: None, revision, ..gateway.clone() };
    let after = json!({ "key": with.to_string() });
    saving(&changed, ChangeKind::GatewayKeyUsed, &Actor::System, before, Some(after))
}

/// No key of a gateway is good any more.
pub fn revoke(gateway: &Gateway, actor: &Actor) -> Effects {
    let revoked = Gateway { key: None, next_key: None, revision: gateway.revision + 1, ..gateway.clone() };
    saving(&revoked, ChangeKind::GatewayRevoked, actor, None, None)
}

/// Deletes a gateway. Devices stay.
pub fn delete(gateway: &Gateway, actor: &Actor) -> Effects {
    let change = fact(ChangeKind::GatewayDeleted, gateway, actor, Some(described(gateway)), None);
    Effects { save: vec![Save::DeleteGateway(gateway.id)], changes: vec![change], ..Effects::none() }
}

/// The link of a gateway was made.
pub fn linked(gateway: &Gateway, address: &str, now: Time) -> Effects {
    let change =
        fact(ChangeKind::GatewayLinked, gateway, &Actor::System, None, Some(json!({ "address": address })));
    let save = vec![Save::GatewaySeen(gateway.id, now, address.to_owned())];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// The link of a gateway was lost.
pub fn lost(gateway: &Gateway, address: &str, why: &str, now: Time) -> Effects {
    let change = fact(ChangeKind::GatewayLost, gateway, &Actor::System, None, Some(json!({ "reason": why })));
    let save = vec![Save::GatewaySeen(gateway.id, now, address.to_owned())];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// A selector that can be read, or nothing.
fn checked(selector: &str) -> Result<String, Rejection> {
    let selector = selector.trim();
    if !selector.is_empty() {
        Selector::parse(selector)?;
    }
    Ok(selector.to_owned())
}

fn described(gateway: &Gateway) -> Value {
    json!({ "name": gateway.name, "selector": gateway.selector })
}

fn saving(
    gateway: &Gateway,
    kind: ChangeKind,
    actor: &Actor,
    before: Option<Value>,
    after: Option<Value>,
) -> Effects {
    let change = fact(kind, gateway, actor, before, after);
    let save = vec![Save::Gateway(Box::new(gateway.clone()))];
    Effects { save, changes: vec![change], ..Effects::none() }
}

fn fact(
    kind: ChangeKind,
    gateway: &Gateway,
    actor: &Actor,
    before: Option<Value>,
    after: Option<Value>,
) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: gateway.id.to_string(),
        subject_name: gateway.name.clone(),
        device: None,
        before,
        after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Dialect;
    use crate::id::DeviceId;

    const OLD: PublicKey = PublicKey([1; 32]);
    const NEW: PublicKey = PublicKey([2; 32]);

    fn ada() -> Actor {
        Actor::User("ada".to_owned())
    }

    fn cellar() -> Gateway {
        let id = GatewayId::from_parts(1, 1);
        register(id, "cellar", "", OLD, 0, &ada(), Time(5)).expect("it is well-formed").0
    }

    fn saved(effects: &Effects) -> Gateway {
        match &effects.save[..] {
            [Save::Gateway(gateway)] => (**gateway).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_old_key_stops_when_the_new_one_was_used() {
        let rotated = saved(&rotate(&cellar(), NEW, &ada()));
        assert_eq!((rotated.key, rotated.next_key), (Some(OLD), Some(NEW)));
        assert_eq!(proven(&rotated, OLD), Effects::none());
        let used = saved(&proven(&rotated, NEW));
        assert_eq!((used.key, used.next_key, used.revision), (Some(NEW), None, 3));
    }

    #[test]
    fn a_revoked_gateway_has_no_key_until_it_is_given_one() {
        let rotated = saved(&rotate(&cellar(), NEW, &ada()));
        let revoked = saved(&revoke(&rotated, &ada()));
        assert_eq!((revoked.key, revoked.next_key), (None, None));
        let again = saved(&rotate(&revoked, NEW, &ada()));
        assert_eq!((again.key, again.next_key), (Some(NEW), None));
    }

    #[test]
    fn a_gateway_speaks_for_devices_that_showed_their_credential_or_were_given_to_it() {
        let device = |unauthenticated_allowed| Device {
            id: DeviceId::from_parts(1, 1),
            name: "lamp".to_owned(),
            description: String::new(),
            dialect: Dialect::Native,
            external_id: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            unauthenticated_allowed,
            allowed_from: None,
            silence_max: None,
            line: None,
            created_at: Time(1),
            revision: 1,
        };
        let cases = [
            (None, true, false, None),
            (None, false, false, Some(Hindrance::ShowsNothing)),
            (None, false, true, Some(Hindrance::ShowsNothing)),
            (Some(true), true, false, None),
            (Some(true), false, true, None),
            (Some(true), false, false, Some(Hindrance::ShowsNothing)),
            (Some(false), true, true, Some(Hindrance::NotItsOwn)),
        ];
        for (is_selected, has_shown, allowed, expected) in cases {
            let found = cellar().hindrance(&device(allowed), is_selected, has_shown);
            assert_eq!(found, expected, "{is_selected:?} {has_shown} {allowed}");
        }
        let address = crate::line::Address::parse("address", "192.168.1.20").unwrap();
        for (through, expected) in [
            (Through::Gateway(cellar().id), None),
            (Through::Gateway(GatewayId::from_parts(9, 9)), Some(Hindrance::NotItsOwn)),
            (Through::Hub, Some(Hindrance::NotItsOwn)),
        ] {
            let line = crate::line::Line { through, ..crate::line::Line::at(address.clone()) };
            let unit = Device { line: Some(Box::new(line)), ..device(false) };
            assert_eq!(cellar().hindrance(&unit, Some(true), true), expected, "{through:?}");
        }
    }

    #[test]
    fn words_that_are_none_are_refused() {
        let id = GatewayId::from_parts(1, 1);
        let made = |name, selector, count| register(id, name, selector, OLD, count, &ada(), Time(1)).is_ok();
        assert!(made("cellar", "tag=cellar", 0));
        assert!(!made("", "", 0) && !made("cellar", "tag=", 0) && !made("cellar", "", GATEWAYS_MAX));
        assert!(edit(&cellar(), "cellar", "and", &ada()).is_err());
        assert_eq!(edit(&cellar(), "cellar", " ", &ada()).map(|(_, effects)| effects), Ok(Effects::none()));
    }
}
