//! Invitations: codes that serve once. One gives an account, one a share of a device, and one, the claim code that
//! is printed with a device, makes its owner.

use serde_json::{Value, json};

use super::{Right, Share, claim, claimed, give, guest, owner, unclaimed};
use crate::artifact::Digest;
use crate::change::{Actor, Change, ChangeKind};
use crate::device::{Device, fact};
use crate::effects::{Effects, Save};
use crate::id::{DeviceId, InvitationId};
use crate::person::User;
use crate::rejection::Rejection;
use crate::time::{Span, Time};

/// How long an invitation is good, if nobody says otherwise. A claim code is good until it is used.
pub const INVITED_FOR: Span = Span::days(7);
/// Longest time that an invitation is good.
const INVITED_FOR_MAX: Span = Span::days(366);
/// Most open invitations to one device, and of the vendor.
pub const INVITATIONS_MAX: usize = 1000;

/// A code that serves once; only its digest is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// SHA-256 of the code.
    pub digest: Digest,
    /// What it gives, besides an account to who has none.
    pub gift: Gift,
    /// Who made it, by name.
    pub created_by: String,
    /// When it was made.
    pub created_at: Time,
    /// When it stops; `None` never.
    pub expires_at: Option<Time>,
}

/// What an invitation gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gift {
    /// An account.
    Account,
    /// A device: who uses this claim code is its owner.
    Claim(DeviceId),
    /// A share of a device with a right, until a time.
    Share(DeviceId, Right, Option<Time>),
}

impl Gift {
    /// The device that it is about.
    pub fn device(self) -> Option<DeviceId> {
        match self {
            Self::Account => None,
            Self::Claim(device) | Self::Share(device, ..) => Some(device),
        }
    }
}

impl Invitation {
    /// Whether it is too late for it.
    pub fn has_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Makes the claim code of a device without an owner; the one before it stops. `shares` are all of the device.
///
/// # Errors
/// `claimed` if it has an owner.
pub fn claim_code(
    id: InvitationId,
    digest: Digest,
    device: &Device,
    shares: &[Share],
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    if owner(shares).is_some() {
        return Err(claimed());
    }
    let gift = Gift::Claim(device.id);
    let created_by = actor.name().to_owned();
    let code = Invitation { id, digest, gift, created_by, created_at: now, expires_at: None };
    let change = fact(ChangeKind::ClaimCodeMade, device, actor, None, None);
    Ok(Effects { save: vec![Save::Invitation(Box::new(code))], changes: vec![change], ..Effects::none() })
}

/// Invites a person to have an account and, with a device, a share of it. `device` comes with all its shares;
/// `open` is how many such invitations there are.
///
/// # Errors
/// `invalid` for an end that has passed or is too far away, `unclaimed`, `too_large`.
pub fn invite(
    invitation: &Invitation,
    device: Option<(&Device, &[Share])>,
    open: usize,
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    if let Some(at) = invitation.expires_at
        && (at <= now || at - now > INVITED_FOR_MAX)
    {
        return Err(Rejection::invalid("expires_at", "an invitation expires in the future, within a year"));
    }
    if open >= INVITATIONS_MAX {
        let why = format!("at most {INVITATIONS_MAX} open ones: withdraw those not in use");
        return Err(Rejection::too_large("invitations", why));
    }
    let expires_at = invitation.expires_at.map(|at| at.0);
    let change = match (invitation.gift, device) {
        (Gift::Share(_, right, until), Some((device, shares))) => {
            guest(right, until, now)?;
            owner(shares).ok_or_else(unclaimed)?;
            let after =
                json!({ "right": right.as_str(), "until": until.map(|at| at.0), "expires_at": expires_at });
            fact(ChangeKind::InvitationMade, device, actor, None, Some(after))
        }
        (Gift::Account | Gift::Claim(_) | Gift::Share(..), _) => {
            let after = json!({ "expires_at": expires_at });
            about(ChangeKind::InvitationMade, invitation, actor, Some(after))
        }
    };
    let save = vec![Save::Invitation(Box::new(invitation.clone()))];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

/// Takes an invitation back.
pub fn withdraw(invitation: &Invitation, device: Option<&Device>, actor: &Actor) -> Effects {
    let change = match device {
        Some(device) => fact(ChangeKind::InvitationWithdrawn, device, actor, None, None),
        None => about(ChangeKind::InvitationWithdrawn, invitation, actor, None),
    };
    let save = vec![Save::DropInvitation(invitation.id)];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// A customer uses an invitation; it serves once. `device` is the one it is about, with all its shares.
///
/// # Errors
/// `claimed` if the device got an owner meanwhile, `unclaimed` if it was given back; `invalid` for a customer who
/// has the device already, or whose share would have ended.
pub fn redeem(
    invitation: &Invitation,
    user: &User,
    device: Option<(&Device, &[Share])>,
    now: Time,
) -> Result<Effects, Rejection> {
    let used = Effects { save: vec![Save::DropInvitation(invitation.id)], ..Effects::none() };
    let given = match (invitation.gift, device) {
        (Gift::Claim(_), Some((device, shares))) => claim(device, user, shares, now)?,
        (Gift::Share(_, right, until), Some((device, shares))) => {
            give(device, user, right, until, shares, &Actor::User(invitation.created_by.clone()), now)?
        }
        (Gift::Account | Gift::Claim(_) | Gift::Share(..), _) => Effects::none(),
    };
    Ok(used.and(given))
}

fn about(kind: ChangeKind, invitation: &Invitation, actor: &Actor, after: Option<Value>) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: invitation.id.to_string(),
        subject_name: String::from("invitation"),
        device: None,
        before: None,
        after,
    }
}
