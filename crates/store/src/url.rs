//! Where the store is: the URL that people write.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// Where all that the product remembers is.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: the embedded engine, in this file.
    Sqlite(PathBuf),
    /// `memory`: the embedded engine, without a file; nothing survives the process.
    Memory,
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`: a server, which several processes may share.
    Postgres(Box<PostgresUrl>),
}

/// How a PostgreSQL server is reached. The password is in nothing that it shows.
#[derive(Clone, PartialEq)]
pub struct PostgresUrl {
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    /// The file with the authorities that the server's certificate may be from; the machine's if not given.
    pub(crate) authorities: Option<PathBuf>,
}

/// What is expected of the connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// `sslmode=disable`: plain text.
    Off,
    /// `sslmode=require`: encrypted, to whoever answers.
    Encrypted,
    /// `sslmode=verify-full`: encrypted, to the host of this name.
    Verified,
}

/// A text that is no URL of a store, and what is wrong with it; never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

impl StoreUrl {
    /// Reads `sqlite:PATH`, `memory` or `postgres://…`. Behind the `?` of the latter may stand what libpq takes there,
    /// with `sslmode` as one of `disable`, `require` and `verify-full`, and `sslrootcert=FILE`. Without `sslmode` it is
    /// `disable` for this machine and `verify-full` for any other.
    ///
    /// # Errors
    /// Says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("sqlite", _)) => Err(UrlError("the store sqlite: needs a file: sqlite:PATH".to_owned())),
            Some(("postgres" | "postgresql", _)) => {
                PostgresUrl::parse(text).map(Box::new).map(Self::Postgres)
            }
            _ => Err(UrlError("a store is sqlite:PATH, memory or postgres://USER@HOST/DATABASE".to_owned())),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("memory"),
            Self::Postgres(url) => write!(f, "postgres://{}@{url}/{}", url.user(), url.database()),
        }
    }
}

impl PostgresUrl {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = |what: String| UrlError(format!("the URL of the PostgreSQL store: {what}"));
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut tls, mut authorities, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", "disable")) => tls = Some(Tls::Off),
                Some(("sslmode", "require")) => tls = Some(Tls::Encrypted),
                Some(("sslmode", "verify-full")) => tls = Some(Tls::Verified),
                Some(("sslmode", _)) => {
                    return Err(wrong("sslmode is disable, require or verify-full".to_owned()));
                }
                Some(("sslrootcert", file)) => authorities = Some(PathBuf::from(file)),
                _ => rest.push(pair),
            }
        }
        let text = format!("{address}?{}", rest.join("&"));
        let parsed = Config::from_str(text.trim_end_matches('?'));
        let mut config = parsed.map_err(|error| {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            wrong(format!("{why}; it is postgres://USER:PASSWORD@HOST:PORT/DATABASE"))
        })?;
        if config.get_hosts().is_empty() {
            return Err(wrong("the host is missing: postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned()));
        }
        if config.get_user().is_none() {
            return Err(wrong("the user is missing: postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned()));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let tls =
            tls.unwrap_or(if config.get_hosts().iter().all(is_here) { Tls::Off } else { Tls::Verified });
        if tls != Tls::Verified && authorities.is_some() {
            return Err(wrong("sslrootcert is used with sslmode=verify-full only".to_owned()));
        }
        config.ssl_mode(if tls == Tls::Off { SslMode::Disable } else { SslMode::Require });
        if config.get_hosts().len() > 1 {
            // Of several servers the one that can be written is meant.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { config, tls, authorities })
    }

    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }
}

/// Host and port, several with commas between them.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (i, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
            let comma = if i > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "{comma}[{name}]:{port}")?,
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{self}/{}", self.user(), self.database())
    }
}

/// Whether what is said to it stays on this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> PostgresUrl {
        match StoreUrl::parse(text) {
            Ok(StoreUrl::Postgres(url)) => *url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_url_says_where_and_never_shows_the_password() {
        assert_eq!(StoreUrl::parse("memory"), Ok(StoreUrl::Memory));
        assert_eq!(StoreUrl::parse("sqlite:/a b"), Ok(StoreUrl::Sqlite("/a b".into())));
        let url = StoreUrl::parse("postgresql://ada:s3cret@db.example/hub").unwrap();
        assert_eq!(url.to_string(), "postgres://ada@db.example:5432/hub");
        assert!(!format!("{url:?}").contains("s3cret"));
        for wrong in ["", "sqlite:", "mysql://db", "postgres://ada@/hub", "postgres://ada:s3cret@db:port/hub"]
        {
            let error = StoreUrl::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn other_machines_are_reached_by_tls_unless_somebody_says_otherwise() {
        for (text, tls) in [
            ("postgres://ada@127.0.0.1:6000/hub", Tls::Off),
            ("postgres://ada@%2Frun%2Fpostgresql/hub", Tls::Off),
            ("postgres://ada@db/hub", Tls::Verified),
            ("postgres://ada@localhost,db/hub", Tls::Verified),
            ("postgres://ada@db/hub?sslmode=disable", Tls::Off),
            ("postgres://ada@db/hub?connect_timeout=3&sslmode=require", Tls::Encrypted),
        ] {
            assert_eq!(postgres(text).tls, tls, "{text}");
        }
        let named = postgres("postgres://ada@db/hub?sslrootcert=/etc/ca.pem");
        assert_eq!((named.tls, named.authorities), (Tls::Verified, Some("/etc/ca.pem".into())));
        for wrong in ["sslmode=prefer", "sslmode=disable&sslrootcert=a.pem", "nonsense=1"] {
            assert!(StoreUrl::parse(&format!("postgres://ada@db/hub?{wrong}")).is_err(), "{wrong}");
        }
    }
}
