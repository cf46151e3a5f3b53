//! Where the bus is and how a node proves itself there, as it is set at start.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// The port of NATS.
const PORT: u16 = 4222;
/// How many servers of one bus can be named.
const SERVERS_MAX: usize = 16;
/// How large a file with a key may be, in bytes.
const KEY_FILE_MAX: usize = 16 * 1024;

/// The bus of a hub of several nodes. Neither of its texts has a secret in it.
#[derive(Clone, PartialEq, Eq)]
pub struct BusUrl {
    /// Each such as `nats://bus:4222` or `tls://bus:4222`, without a login.
    pub(super) servers: Vec<String>,
    pub(super) login: Login,
    /// The authority that signed the certificate of the bus, in PEM; without it, those that the machine trusts.
    pub(super) authority: Option<PathBuf>,
}

/// With what a node proves itself at the bus.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    None,
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// The seed of an nkey.
    Key(String),
    /// A credentials file: a JWT and a seed.
    Credentials(String),
}

impl BusUrl {
    /// Reads `nats://USER:PASSWORD@HOST:PORT`, `nats://TOKEN@HOST` or `tls://…`; several servers of one bus are
    /// separated by commas.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it; it does not show the login.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut servers, mut login, mut scheme) = (Vec::new(), Login::None, None);
        for part in text.split(',') {
            let (server, found) = server(part.trim())?;
            if scheme.replace(server.is_tls).is_some_and(|before| before != server.is_tls) {
                return Err("all servers of one bus are nats:// or all are tls://".to_owned());
            }
            if found != Login::None && login != Login::None && found != login {
                return Err("all servers of one bus take the same login: give it once".to_owned());
            }
            if found != Login::None {
                login = found;
            }
            servers.push(server.address);
        }
        if servers.len() > SERVERS_MAX {
            return Err(format!("at most {SERVERS_MAX} servers"));
        }
        Ok(Self { servers, login, authority: None })
    }

    /// The same, whose certificate is signed by an authority in a PEM file.
    #[must_use]
    pub fn with_authority(self, file: PathBuf) -> Self {
        Self { authority: Some(file), ..self }
    }

    /// The same, where a node proves itself with what a file says: the seed of an nkey, or credentials (`.creds`).
    ///
    /// # Errors
    /// A sentence that says what is wrong; nothing of the file is in it.
    pub fn with_key(self, text: &str) -> Result<Self, String> {
        let text = text.trim();
        if self.login != Login::None {
            return Err("the address of the bus has a login already: use one or the other".to_owned());
        }
        let login = if text.len() > KEY_FILE_MAX {
            return Err(format!("it has more than {KEY_FILE_MAX} bytes"));
        } else if text.contains("-----BEGIN NATS USER JWT-----") {
            Login::Credentials(text.to_owned())
        } else if text.starts_with("SU") && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Login::Key(text.to_owned())
        } else {
            return Err("it is neither the seed of a user's nkey (SU…) nor a credentials file".to_owned());
        };
        Ok(Self { login, ..self })
    }
}

impl std::fmt::Display for BusUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.servers.join(","))
    }
}

impl std::fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BusUrl({self})")
    }
}

struct Server {
    address: String,
    is_tls: bool,
}

fn server(text: &str) -> Result<(Server, Login), String> {
    let example = "write it such as nats://bus.example:4222 or tls://bus.example:4222";
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("nats" | "tls"), rest)) => (scheme, rest),
        _ => return Err(format!("it does not begin with nats:// or tls://: {example}")),
    };
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (self::login(login)?, place),
        None => (Login::None, rest),
    };
    let place = place.trim_end_matches('/');
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let port: u16 = port.parse().map_err(|_| format!("its port is no number: {example}"))?;
            (host, port)
        }
        _ => (place, PORT),
    };
    let is_v6 = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if port == 0 || (!is_v6 && (host.is_empty() || !host.chars().all(is_name))) {
        return Err(format!("{place:?} is not a host and a port: {example}"));
    }
    let address = format!("{scheme}://{host}:{port}");
    address.parse::<async_nats::ServerAddr>().map_err(|_| format!("{place:?} is no host: {example}"))?;
    Ok((Server { address, is_tls: scheme == "tls" }, login))
}

fn login(text: &str) -> Result<Login, String> {
    let plain = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.is_empty() => Ok(text.into_owned()),
        _ => Err("its login is empty or no text: write it such as nats://USER:PASSWORD@host".to_owned()),
    };
    match text.split_once(':') {
        Some((user, password)) => Ok(Login::Password { user: plain(user)?, password: plain(password)? }),
        None => Ok(Login::Token(plain(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_written_as_an_address_and_never_shows_its_login() {
        let bus = BusUrl::parse("tls://hub:s%40cret@bus.example, tls://[::1]:4333").unwrap();
        assert_eq!(bus.servers, ["tls://bus.example:4222", "tls://[::1]:4333"]);
        assert!(bus.login == Login::Password { user: "hub".into(), password: "s@cret".into() });
        assert!(BusUrl::parse("nats://t0ken@bus").unwrap().login == Login::Token("t0ken".into()));
        assert!(!format!("{bus} {bus:?}").contains("cret"));
        let keyed = BusUrl::parse("nats://bus").unwrap().with_key("SUABC\n").unwrap();
        assert!(keyed.login == Login::Key("SUABC".into()));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_login() {
        for (text, part) in [
            ("", "nats://"),
            ("redis://bus", "nats://"),
            ("nats://hub:secret@", "not a host"),
            ("nats://hub:secret@bus:x", "port"),
            ("nats://bus:0", "not a host"),
            ("nats://a b", "not a host"),
            ("nats://:secret@bus", "login"),
            ("nats://bus,tls://bus", "all servers"),
            ("nats://a@bus,nats://b@bus", "login"),
        ] {
            let refused = BusUrl::parse(text).unwrap_err();
            assert!(refused.contains(part) && !refused.contains("secret"), "{text}: {refused}");
        }
        let bus = BusUrl::parse("nats://bus").unwrap();
        assert!(bus.with_key("hello").is_err());
        assert!(BusUrl::parse("nats://a@bus").unwrap().with_key("SUABC").is_err());
    }
}
