//! Remembering: the only crate that speaks SQL.
