//! A well-formed request that the domain refuses: a stable code for programs and a sentence for people.

use thiserror::Error;

/// Why a verb refused. The code is stable and part of the API; the sentence may change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{sentence}")]
pub struct Rejection {
    /// What kind of refusal this is; decides the HTTP status.
    pub kind: RejectionKind,
    /// Stable, `snake_case`, for programs.
    pub code: &'static str,
    /// What was wrong and what to do, for people: lower case, no full stop.
    pub sentence: String,
    /// Where in a text the mistake is, in characters from 1, if it is in a text.
    pub position: Option<usize>,
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// A field has a value that cannot be accepted.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The request contradicts the present state, such as a name already taken.
    Conflict,
    /// The caller is known and may not do this.
    Forbidden,
    /// A limit is reached.
    TooLarge,
}

impl Rejection {
    /// A field with an unacceptable value.
    pub fn invalid(field: &str, why: impl Into<String>) -> Self {
        Self {
            kind: RejectionKind::Invalid,
            code: "invalid",
            sentence: format!("{field}: {}", why.into()),
            position: None,
        }
    }
    /// Something that does not exist.
    pub fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Self {
            kind: RejectionKind::NotFound,
            code: "not_found",
            sentence: format!("there is no {noun} {name}"),
            position: None,
        }
    }
    /// A contradiction with the present state.
    pub fn conflict(code: &'static str, sentence: impl Into<String>) -> Self {
        Self { kind: RejectionKind::Conflict, code, sentence: sentence.into(), position: None }
    }
    /// Something the caller may not do.
    pub fn forbidden(sentence: impl Into<String>) -> Self {
        Self { kind: RejectionKind::Forbidden, code: "forbidden", sentence: sentence.into(), position: None }
    }
    /// Where in a text the mistake is, in characters from 1.
    #[must_use]
    pub fn at_position(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }
    /// A size or count above its limit.
    pub fn too_large(field: &str, why: impl Into<String>) -> Self {
        Self {
            kind: RejectionKind::TooLarge,
            code: "too_large",
            sentence: format!("{field}: {}", why.into()),
            position: None,
        }
    }
}
