//! Dashboards: pages that people make of blocks. A block shows something of a device, or of all devices of a selector,
//! or changes what is desired of them.
//!
//! The document of a dashboard is kept as it was written, once it has been read without a mistake.

mod block;
mod link;
mod read;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::{DashboardId, UserId};
use crate::rejection::Rejection;
use crate::text;
use crate::time::Time;

pub use block::{Binding, Block, Deed, Kind, Reading, Series, Statistic};
pub use link::{LINKS_MAX, PublicLink, make_link, withdraw_link};
pub use read::{Document, document};

/// Most blocks of one dashboard.
pub const BLOCKS_MAX: usize = 100;
/// Longest document of a dashboard in bytes, pictures included.
pub const DOCUMENT_BYTES_MAX: usize = 900 * 1024;
/// How many columns the grid has.
pub const COLUMNS: i64 = 12;
/// Most dashboards.
pub const DASHBOARDS_MAX: i64 = 5_000;

/// A page made of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// Its id.
    pub id: DashboardId,
    /// Whose it is; nobody's if a program made it or its owner is gone, and then it is shared.
    pub owner: Option<UserId>,
    /// Whether all people of the vendor see it, not only its owner.
    pub is_shared: bool,
    /// What it shows.
    pub document: Document,
    /// When it was made.
    pub created_at: Time,
    /// When it was last saved.
    pub updated_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// Who wants to do something with a dashboard.
#[derive(Debug, Clone)]
pub struct Editor {
    /// For the activity log.
    pub actor: Actor,
    /// The person, if it is one.
    pub user: Option<UserId>,
    /// Whether it may change shared dashboards of others.
    pub may_build: bool,
}

impl Dashboard {
    /// Whether it may be seen by a person of the vendor, or by a program.
    pub fn is_seen_by(&self, user: Option<UserId>) -> bool {
        self.is_shared || (user.is_some() && self.owner == user)
    }

    /// Whether it may be changed: by its owner, and if it is shared by those who build.
    pub fn is_edited_by(&self, editor: &Editor) -> bool {
        self.is_seen_by(editor.user)
            && (editor.may_build || (editor.user.is_some() && self.owner == editor.user))
    }

    fn check(&self, editor: &Editor) -> Result<(), Rejection> {
        match self.is_edited_by(editor) {
            true => Ok(()),
            false => Err(Rejection::forbidden(
                "this dashboard is changed by its owner and by engineers: make a copy of your own",
            )),
        }
    }
}

/// Makes a dashboard. What a program makes is shared, since a program has no pages of its own.
///
/// # Errors
/// `too_large` if there are too many already, `forbidden` for a program that may not build.
pub fn create(
    id: DashboardId,
    document: Document,
    is_shared: bool,
    count: i64,
    editor: &Editor,
    now: Time,
) -> Result<(Dashboard, Effects), Rejection> {
    if count >= DASHBOARDS_MAX {
        return Err(Rejection::too_large(
            "dashboards",
            format!("at most {DASHBOARDS_MAX}: delete some first"),
        ));
    }
    if editor.user.is_none() && !editor.may_build {
        return Err(Rejection::forbidden(
            "a token makes shared dashboards, and that needs the role engineer",
        ));
    }
    let is_shared = is_shared || editor.user.is_none();
    let dashboard = Dashboard {
        id,
        owner: editor.user,
        is_shared,
        document,
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let after = described(&dashboard);
    let effects = saving(&dashboard, ChangeKind::DashboardCreated, editor, None, Some(after));
    Ok((dashboard, effects))
}

/// Saves a dashboard anew. `based_on` is the revision that it was made from.
///
/// # Errors
/// `stale` if somebody saved it meanwhile, `forbidden`.
pub fn save(
    dashboard: &Dashboard,
    document: Document,
    is_shared: Option<bool>,
    based_on: i64,
    editor: &Editor,
    now: Time,
) -> Result<(Dashboard, Effects), Rejection> {
    dashboard.check(editor)?;
    if based_on != dashboard.revision {
        return Err(Rejection::conflict(
            "stale",
            "somebody saved this dashboard meanwhile: load it again, or save yours as a copy",
        ));
    }
    let is_shared = is_shared.unwrap_or(dashboard.is_shared) || dashboard.owner.is_none();
    if !is_shared && dashboard.owner != editor.user {
        return Err(Rejection::forbidden("only its owner can keep a dashboard to itself"));
    }
    let saved = Dashboard {
        document,
        is_shared,
        updated_at: now,
        revision: dashboard.revision + 1,
        ..dashboard.clone()
    };
    let (before, after) = (described(dashboard), described(&saved));
    let effects = saving(&saved, ChangeKind::DashboardSaved, editor, Some(before), Some(after));
    Ok((saved, effects))
}

/// Makes a copy of a dashboard for whoever asks.
///
/// # Errors
/// As [`create`].
pub fn copy(
    id: DashboardId,
    dashboard: &Dashboard,
    name: Option<&str>,
    count: i64,
    editor: &Editor,
    now: Time,
) -> Result<(Dashboard, Effects), Rejection> {
    let name = match name {
        Some(name) => text::name("name", name)?,
        None => copied_name(&dashboard.document.name),
    };
    create(id, dashboard.document.renamed(name), false, count, editor, now)
}

/// Deletes a dashboard with its public links.
///
/// # Errors
/// `forbidden`.
pub fn delete(dashboard: &Dashboard, editor: &Editor) -> Result<Effects, Rejection> {
    dashboard.check(editor)?;
    let change = fact(ChangeKind::DashboardDeleted, dashboard, editor, Some(described(dashboard)), None);
    Ok(Effects { save: vec![Save::DeleteDashboard(dashboard.id)], changes: vec![change], ..Effects::none() })
}

/// The name with "(copy)" behind it, as long as names may be.
fn copied_name(name: &str) -> String {
    const BEHIND: &str = " (copy)";
    let room = text::NAME_CHARS_MAX - BEHIND.len();
    let name: String = name.chars().take(room).collect();
    format!("{}{BEHIND}", name.trim_end())
}

fn described(dashboard: &Dashboard) -> Value {
    json!({
        "name": dashboard.document.name, "blocks": dashboard.document.blocks.len(),
        "shared": dashboard.is_shared,
    })
}

fn saving(
    dashboard: &Dashboard,
    kind: ChangeKind,
    editor: &Editor,
    before: Option<Value>,
    after: Option<Value>,
) -> Effects {
    let change = fact(kind, dashboard, editor, before, after);
    let save = vec![Save::Dashboard(Box::new(dashboard.clone()))];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// A fact about a dashboard.
fn fact(
    kind: ChangeKind,
    dashboard: &Dashboard,
    editor: &Editor,
    before: Option<Value>,
    after: Option<Value>,
) -> Change {
    Change {
        actor: editor.actor.clone(),
        kind,
        subject: dashboard.id.to_string(),
        subject_name: dashboard.document.name.clone(),
        device: None,
        before,
        after,
    }
}
