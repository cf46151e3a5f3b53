//! What can go wrong with remembering.

/// Why something was not written or read. Nothing of a write that returned an error is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A guarded record was changed by somebody else meanwhile, exists already, or stands on something that
    /// is gone: read again and decide again.
    #[error("the {what} was changed by somebody else meanwhile: read it again")]
    Conflict {
        /// The noun.
        what: &'static str,
    },
    /// Another record has this unique value.
    #[error("another one has this {field} already")]
    Taken {
        /// Which field, as in the API: `name`, `external_id`, `credential`.
        field: &'static str,
    },
    /// The disk is full, or the database reached its size limit.
    #[error("the disk is full: free some space")]
    Full,
    /// The database cannot be used at present; the same call may succeed later. Of a server that went away while it
    /// committed it is not known whether that was stored: read before anything is done again that may not be.
    #[error("the database cannot be used at present: {0}")]
    Unavailable(String),
    /// The database was written by a newer version of the program.
    #[error(
        "the database has format {found} and this program knows formats up to {known}: \
         use the newer program that wrote it"
    )]
    Newer {
        /// The format of the database.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// The database is not one of this program.
    #[error("this is not a Motehub database: choose another data folder, or an empty database")]
    Foreign,
    /// A copy into this database was cut off.
    #[error(
        "the copy into this database is not complete: run `motehub store copy` again, which goes on where it was"
    )]
    Unfinished,
    /// Something stored is not what was written. It is never given out as good.
    #[error("{what} is damaged on disk: restore it from a backup")]
    Damaged {
        /// What, in words for people.
        what: String,
    },
}

impl StoreError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}
