//! What PostgreSQL's errors mean for the caller, and which of them are about one transaction alone.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use rustls::CertificateError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::StoreError;
use crate::engine::Statement;
use crate::url::PostgresUrl;

/// What went wrong with statements.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// The transaction that they are of cannot be done; others can.
    Refused(StoreError),
    /// The group as a whole cannot be written; tried again, or one by one, it may be.
    Broken(StoreError),
    /// The connection is gone, and with it what was not committed.
    Lost(StoreError),
    /// Others did not let go of what is needed. Waiting again would be as long.
    Late(StoreError),
}

impl Trouble {
    pub(super) fn of(error: &Error) -> Self {
        let Some(found) = error.as_db_error() else {
            return Self::Lost(StoreError::Unavailable(sentence(error)));
        };
        let plain = || StoreError::Unavailable(format!("PostgreSQL says: {}", found.message()));
        match found.code().code() {
            "53100" => Self::Broken(StoreError::Full),
            "XX001" | "XX002" => {
                Self::Broken(StoreError::damaged(format!("the database ({})", found.message())))
            }
            // It shuts down, has crashed, or ended the session.
            "57P01" | "57P02" | "57P03" | "57P05" => Self::Lost(plain()),
            "55P03" => Self::Late(StoreError::Unavailable("another node writes and does not end".to_owned())),
            // The conflict of two transactions, or something that the server has too little of.
            code if ["40", "53", "55", "57", "58", "25", "XX"]
                .contains(&code.get(..2).unwrap_or_default()) =>
            {
                Self::Broken(plain())
            }
            code if code.starts_with("08") => Self::Lost(plain()),
            // What was given fits no column, or the statement is wrong.
            _ => Self::Refused(plain()),
        }
    }

    /// The same, for one of our statements.
    pub(super) fn in_statement(error: &Error, statement: &Statement) -> Self {
        match error.code() {
            Some(code) if code.code().starts_with("23") => Self::Refused(match statement.unique {
                Some(field) if *code == SqlState::UNIQUE_VIOLATION => StoreError::Taken { field },
                _ => StoreError::Conflict { what: statement.guards.unwrap_or("record") },
            }),
            _ => Self::of(error),
        }
    }

    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) | Self::Broken(error) | Self::Lost(error) | Self::Late(error) => error,
        }
    }
}

/// Why a connection could not be made, what it was about and what to do.
pub(super) fn refused(url: &PostgresUrl, error: &Error) -> StoreError {
    StoreError::Unavailable(match error.code() {
        Some(&SqlState::INVALID_PASSWORD) => {
            format!("PostgreSQL at {url} refuses the password of user {}: correct it in the URL", url.user())
        }
        Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            format!("PostgreSQL at {url} does not let user {} in: {}", url.user(), sentence(error))
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            format!("PostgreSQL at {url} has no database {}: make it with createdb", url.database())
        }
        Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            format!("PostgreSQL at {url} has too many connections: raise its max_connections")
        }
        Some(_) => format!("PostgreSQL at {url} says: {}", sentence(error)),
        None => unreachable(url, error),
    })
}

fn unreachable(url: &PostgresUrl, error: &Error) -> String {
    let said = sentence(error);
    if error.to_string().contains("TLS") {
        let certificate = cause(error).and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref());
        return match certificate {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => format!(
                "the certificate of PostgreSQL at {url} is from an authority that is not trusted: name its file with \
                 sslrootcert=FILE"
            ),
            Some(rustls::Error::InvalidCertificate(why)) => {
                format!("the certificate of PostgreSQL at {url} cannot be trusted: {why}")
            }
            _ if said.contains("does not support TLS") => format!(
                "PostgreSQL at {url} speaks no TLS: switch it on there (ssl = on), or write sslmode=disable if the \
                 network between is trusted"
            ),
            _ => format!("TLS to PostgreSQL at {url}: {said}"),
        };
    }
    match cause(error).map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
            format!("nothing listens at {url}: start PostgreSQL, or correct host and port in the URL")
        }
        Some(ErrorKind::TimedOut) => format!("PostgreSQL at {url} does not answer"),
        _ if said.contains("lookup") => format!("the host of {url} is not known: correct it in the URL"),
        _ if said.contains("password") => {
            format!(
                "PostgreSQL at {url} asks for a password of user {}: give it in the URL or in PGPASSWORD",
                url.user()
            )
        }
        _ => format!("PostgreSQL at {url} cannot be reached: {said}"),
    }
}

fn cause(error: &Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

/// The innermost words of an error.
fn sentence(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(found), _) => found.message().to_owned(),
        (None, Some(cause)) => cause.to_string(),
        (None, None) => error.to_string(),
    }
}
