//! Shares: a customer's right to see and control one device, from the claim that makes the owner to the release
//! that ends everything.
//!
//! A device without an owner is the vendor's alone. An owner shares it with others; a share may end by itself at
//! its time. What a customer calls a device is in its share, and the vendor does not see it unless the customer
//! says so.

use serde_json::json;

use crate::artifact::Digest;
use crate::change::{Actor, ChangeKind};
use crate::device::{Device, fact};
use crate::effects::{Effects, Save};
use crate::id::{DeviceId, InvitationId, UserId};
use crate::person::User;
use crate::rejection::Rejection;
use crate::text;
use crate::time::{Span, Time};

mod invitation;

pub use invitation::{Gift, INVITATIONS_MAX, INVITED_FOR, Invitation, claim_code, invite, redeem, withdraw};

/// Most customers who share a device.
pub const SHARES_MAX: usize = 50;
/// How long a customer who asks for a device may take to press its button.
pub const PRESS_WITHIN: Span = Span::minutes(1);
/// The events of a device that say that somebody pressed its button.
pub const PRESSES: [&str; 2] = ["claim", "button"];

/// What a customer may do with a device; each includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// See it and what it measured.
    View,
    /// Also change its desired state.
    Control,
    /// Also share it with others, and give it back.
    Owner,
}

impl Right {
    /// All rights, from least to most.
    pub const ALL: [Right; 3] = [Right::View, Right::Control, Right::Owner];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Control => "control",
            Self::Owner => "owner",
        }
    }

    /// A right by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == text)
    }
}

/// A customer's right to see and control one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which device.
    pub device: DeviceId,
    /// Whose right.
    pub user: UserId,
    /// To do what.
    pub right: Right,
    /// When it ends by itself; `None` never.
    pub until: Option<Time>,
    /// What the customer calls the device.
    pub name: Option<String>,
    /// Whether the vendor may see that name.
    pub name_shown: bool,
    /// Who gave it, by name.
    pub created_by: String,
    /// Since when.
    pub created_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

impl Share {
    /// Whether the customer may see what happened then: what was before is of another owner, or of nobody's concern.
    pub fn shows(&self, at: Time) -> bool {
        at >= self.created_at
    }

    /// Whether it has reached its end.
    pub fn has_ended(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A customer proved to have a device, by its code or its button: the customer is its owner now. `shares` are all
/// of the device.
///
/// # Errors
/// `claimed` if it has an owner already.
pub fn claim(device: &Device, user: &User, shares: &[Share], now: Time) -> Result<Effects, Rejection> {
    match owner(shares) {
        Some(owner) if owner.user == user.id => {
            return Err(Rejection::conflict("claimed", "this device is yours already"));
        }
        Some(_) => return Err(claimed()),
        None => {}
    }
    Ok(owned(device, user, &Actor::User(user.name.clone()), now))
}

/// The customers of a device that is registered now, as they had it elsewhere: the first is its owner, the others may
/// control it.
///
/// # Errors
/// `too_large`.
pub fn bring(device: &Device, users: &[User], actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    let Some((owner, guests)) = users.split_first() else { return Ok(Effects::none()) };
    if users.len() > SHARES_MAX {
        return Err(Rejection::too_large("shared_with", format!("at most {SHARES_MAX} customers")));
    }
    let mut effects = owned(device, owner, actor, now);
    for guest in guests {
        let share = Share { right: Right::Control, ..new(device, guest, actor, now) };
        let change = fact(ChangeKind::ShareGiven, device, actor, None, Some(described(&share, &guest.name)));
        effects.save.push(Save::Share(Box::new(share)));
        effects.changes.push(change);
    }
    Ok(effects)
}

fn owned(device: &Device, user: &User, actor: &Actor, now: Time) -> Effects {
    let change = fact(ChangeKind::DeviceClaimed, device, actor, None, Some(json!({ "user": user.name })));
    let save = vec![Save::EndSharesOf(device.id), Save::Share(Box::new(new(device, user, actor, now)))];
    Effects { save, changes: vec![change], ..Effects::none() }
}

fn new(device: &Device, user: &User, actor: &Actor, now: Time) -> Share {
    Share {
        device: device.id,
        user: user.id,
        right: Right::Owner,
        until: None,
        name: None,
        name_shown: false,
        created_by: actor.name().to_owned(),
        created_at: now,
        revision: 1,
    }
}

fn described(share: &Share, name: &str) -> serde_json::Value {
    json!({ "user": name, "right": share.right.as_str(), "until": share.until.map(|until| until.0) })
}

/// Shares a device with a customer, or changes the share that the customer has. `shares` are all of the device.
///
/// # Errors
/// `invalid` for an end that has passed or for a second owner, `unclaimed` without an owner, `too_large`.
pub fn give(
    device: &Device,
    to: &User,
    right: Right,
    until: Option<Time>,
    shares: &[Share],
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    let owner = owner(shares).ok_or_else(unclaimed)?;
    guest(right, until, now)?;
    if owner.user == to.id {
        return Err(Rejection::invalid("user", "the device is this customer's own already"));
    }
    let had = shares.iter().find(|share| share.user == to.id);
    if had.is_none() && shares.len() >= SHARES_MAX {
        return Err(Rejection::too_large("shares", format!("at most {SHARES_MAX}: revoke those not in use")));
    }
    let share = match had {
        Some(had) => Share { right, until, revision: had.revision + 1, ..had.clone() },
        None => Share { right, until, name: owner.name.clone(), ..new(device, to, actor, now) },
    };
    let before = had.map(|had| described(had, &to.name));
    let after = described(&share, &to.name);
    let change = fact(ChangeKind::ShareGiven, device, actor, before, Some(after));
    // The owner's record is written again, so that this and a release at the same moment collide.
    let owner = Share { revision: owner.revision + 1, ..owner.clone() };
    let save = vec![Save::Share(Box::new(owner)), Save::Share(Box::new(share))];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

/// Ends a share before its time, by the owner, the vendor or the customer who has it.
///
/// # Errors
/// `conflict` for the owner's own share: an owner releases the device.
pub fn revoke(device: &Device, share: &Share, name: &str, actor: &Actor) -> Result<Effects, Rejection> {
    if share.right == Right::Owner {
        return Err(Rejection::conflict("conflict", "this is the owner's share: release the device instead"));
    }
    let before = json!({ "user": name, "right": share.right.as_str() });
    let change = fact(ChangeKind::ShareRevoked, device, actor, Some(before), None);
    let save = vec![Save::EndShare(device.id, share.user)];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

/// The device is given back: all shares, private names and invitations end, and a new claim code is made for who
/// has it next.
///
/// # Errors
/// `unclaimed` if it has no owner.
pub fn release(
    device: &Device,
    shares: &[Share],
    code: (InvitationId, Digest),
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    let owner = owner(shares).ok_or_else(unclaimed)?;
    let next = Invitation {
        id: code.0,
        digest: code.1,
        gift: Gift::Claim(device.id),
        created_by: actor.name().to_owned(),
        created_at: now,
        expires_at: None,
    };
    let change =
        fact(ChangeKind::DeviceReleased, device, actor, Some(json!({ "shares": shares.len() })), None);
    // The owner's share is ended by itself first: of two releases at once, the second finds nothing.
    let save = vec![
        Save::EndShare(device.id, owner.user),
        Save::EndSharesOf(device.id),
        Save::Invitation(Box::new(next)),
    ];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

/// A customer calls a device by another name, or shows that name to the vendor, or hides it; `None` leaves it as
/// it is, and an empty name takes it away.
///
/// # Errors
/// `invalid` for a name that cannot be one.
pub fn rename(
    device: &Device,
    share: &Share,
    name: Option<&str>,
    shown: Option<bool>,
    actor: &Actor,
) -> Result<(Share, Effects), Rejection> {
    let name = match name {
        None => share.name.clone(),
        Some(text) if text.trim().is_empty() => None,
        Some(text) => Some(text::name("name", text)?),
    };
    let name_shown = shown.unwrap_or(share.name_shown);
    if name == share.name && name_shown == share.name_shown {
        return Ok((share.clone(), Effects::none()));
    }
    let renamed = Share { name, name_shown, revision: share.revision + 1, ..share.clone() };
    let after = json!({ "name_shown": name_shown });
    let change = fact(ChangeKind::ShareRenamed, device, actor, None, Some(after));
    let save = vec![Save::Share(Box::new(renamed.clone()))];
    Ok((renamed, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// The share of the owner.
pub fn owner(shares: &[Share]) -> Option<&Share> {
    shares.iter().find(|share| share.right == Right::Owner)
}

fn guest(right: Right, until: Option<Time>, now: Time) -> Result<(), Rejection> {
    if right == Right::Owner {
        return Err(Rejection::invalid("right", "a device has one owner: share it to view or to control"));
    }
    match until {
        Some(until) if until <= now => Err(Rejection::invalid("until", "a share ends in the future")),
        Some(_) | None => Ok(()),
    }
}

fn claimed() -> Rejection {
    Rejection::conflict("claimed", "this device has an owner already: the owner can share it or give it back")
}

fn unclaimed() -> Rejection {
    Rejection::conflict("unclaimed", "this device has no owner: claim it first")
}

#[cfg(test)]
mod tests;
