//! Public links: who has one sees a dashboard without an account, until it expires or is withdrawn.

use serde_json::json;

use super::{Dashboard, Editor, fact};
use crate::artifact::Digest;
use crate::change::ChangeKind;
use crate::effects::{Effects, Save};
use crate::id::{DashboardId, PublicLinkId};
use crate::rejection::Rejection;
use crate::text;
use crate::time::{Span, Time};

/// Most public links of a dashboard.
pub const LINKS_MAX: usize = 100;
/// Shortest and longest time that a link may be good for, if it ends at all.
const GOOD_FOR: (Span, Span) = (Span::seconds(1), Span::days(3_660));

/// A link by which anybody sees a dashboard; only the digest of its secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicLink {
    /// Its id.
    pub id: PublicLinkId,
    /// What is seen.
    pub dashboard: DashboardId,
    /// For whom it is, for people.
    pub label: String,
    /// SHA-256 of the secret.
    pub digest: Digest,
    /// Who made it, by name.
    pub created_by: String,
    /// When it was made.
    pub created_at: Time,
    /// When it stops; never if it is not said.
    pub expires_at: Option<Time>,
    /// When somebody last looked by it, to the minute.
    pub last_used_at: Option<Time>,
}

impl PublicLink {
    /// Whether it is too late for it.
    pub fn has_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Makes a public link. `links` are all that the dashboard has.
///
/// # Errors
/// `invalid`, `too_large`, `forbidden`.
pub fn make_link(
    id: PublicLinkId,
    dashboard: &Dashboard,
    words: (&str, Option<Span>),
    digest: Digest,
    links: &[PublicLink],
    editor: &Editor,
    now: Time,
) -> Result<(PublicLink, Effects), Rejection> {
    dashboard.check(editor)?;
    let (label, good_for) = words;
    if links.len() >= LINKS_MAX {
        return Err(Rejection::too_large("links", format!("at most {LINKS_MAX}: withdraw some first")));
    }
    if good_for.is_some_and(|span| span < GOOD_FOR.0 || span > GOOD_FOR.1) {
        return Err(Rejection::invalid("expires_in_s", "1 second to 3660 days, or leave it out for ever"));
    }
    let link = PublicLink {
        id,
        dashboard: dashboard.id,
        label: text::name("label", label)?,
        digest,
        created_by: editor.actor.name().to_owned(),
        created_at: now,
        expires_at: good_for.map(|span| now + span),
        last_used_at: None,
    };
    let after = json!({ "label": link.label, "expires_at": link.expires_at.map(|at| at.0) });
    let change = fact(ChangeKind::PublicLinkMade, dashboard, editor, None, Some(after));
    let save = vec![Save::PublicLink(Box::new(link.clone()))];
    Ok((link, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// Withdraws a public link: nobody sees the dashboard by it any more.
///
/// # Errors
/// `forbidden`.
pub fn withdraw_link(
    dashboard: &Dashboard,
    link: &PublicLink,
    editor: &Editor,
) -> Result<Effects, Rejection> {
    dashboard.check(editor)?;
    let before = json!({ "label": link.label });
    let change = fact(ChangeKind::PublicLinkWithdrawn, dashboard, editor, Some(before), None);
    Ok(Effects { save: vec![Save::WithdrawPublicLink(link.id)], changes: vec![change], ..Effects::none() })
}
