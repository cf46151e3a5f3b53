//! What comes of the entries of another product's file.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem::ApiError;

/// How many entries, and how many wrong ones, are named in an answer.
pub(super) const NAMED_MAX: usize = 1000;

/// What comes of an entry.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It is new here.
    Made,
    /// It is here already and stays as it is.
    Known,
    /// It has no place here.
    LeftOut,
}

/// An entry of the file, as it was understood.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Imported {
    /// What it is: `user`, `key`, `device` or `dashboard`.
    pub(super) kind: &'static str,
    /// The name of the user, the id of the device; for a key the name of its token.
    pub(super) name: String,
    /// What comes of it.
    pub(super) outcome: Outcome,
    /// As what, for people.
    pub(super) detail: String,
}

/// An entry that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryError {
    /// What it is: `user`, `key`, `device`, `states` or `dashboard`.
    pub(super) kind: &'static str,
    /// As in the entries.
    pub(super) name: String,
    /// What is wrong.
    pub(super) detail: String,
}

/// The refusal of a file of which `wrong` of `count` entries are wrong.
pub(super) fn nothing_done(wrong: usize, count: usize, first: &EntryError) -> ApiError {
    let detail = format!(
        "{wrong} of {count} entries are wrong, so nothing was imported; the first is the {} {}: {}",
        first.kind, first.name, first.detail
    );
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "entries_refused", detail)
}
