//! Reaching the bus at the start: one clear sentence if it cannot be, without a secret in it.

use std::error::Error;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use rustls::CertificateError;

use super::BusError;
use super::url::{BusUrl, Login};

/// How long a server may take to answer at the start.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often the bus is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(3);
/// How long to wait at most between two tries to reach it again.
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// How many messages of one subscription may wait to be taken; more are dropped and counted.
pub(super) const HEARD_MAX: usize = 32 * 1024;
/// The oldest server that is taken.
const VERSION_MIN: (u64, u64) = (2, 10);

/// Connects as a node. `told` hears what becomes of the connection.
pub(super) async fn open(
    url: &BusUrl,
    node: &str,
    told: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Client, BusError> {
    let refused = |why: String| BusError::Refused(format!("the bus {url}: {why}"));
    let client = options(url, node, told)
        .map_err(refused)?
        .connect(url.servers.clone())
        .await
        .map_err(|error| refused(sentence(url, &error)))?;
    let version = client.server_info().version;
    if !is_new_enough(&version) {
        let (major, minor) = VERSION_MIN;
        return Err(refused(format!(
            "NATS {version} is too old: Motehub needs NATS {major}.{minor} or newer"
        )));
    }
    Ok(client)
}

fn options(
    url: &BusUrl,
    node: &str,
    told: impl Fn(Event) + Send + Sync + 'static,
) -> Result<ConnectOptions, String> {
    let options = ConnectOptions::new()
        .name(format!("motehub {node}"))
        .connection_timeout(CONNECT_MAX)
        .ping_interval(PING_EVERY)
        .subscription_capacity(HEARD_MAX)
        .reconnect_delay_callback(|tries| {
            AGAIN_MAX.min(Duration::from_millis(50).saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX)))
        })
        .event_callback(move |event| {
            told(event);
            std::future::ready(())
        });
    let options = match &url.authority {
        Some(file) if !file.is_file() => {
            return Err(format!("there is no file {} with its authority", file.display()));
        }
        Some(file) => options.add_root_certificates(file.clone()),
        None => options,
    };
    Ok(match url.login.clone() {
        Login::None => options,
        Login::Password { user, password } => options.user_and_password(user, password),
        Login::Token(token) => options.token(token),
        Login::Key(seed) => options.nkey(seed),
        Login::Credentials(text) => {
            options.credentials(&text).map_err(|_| "the credentials file is damaged".to_owned())?
        }
    })
}

/// Whether a version such as `2.10.25` or `2.11.0-beta` is one that we know how to speak with.
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= VERSION_MIN,
        _ => false,
    }
}

fn sentence(url: &BusUrl, error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => match &url.login {
            Login::None => "it wants a login: nats://USER:PASSWORD@…, nats://TOKEN@…, or --bus-key FILE",
            Login::Password { .. } => "it refuses this user and password",
            Login::Token(_) => "it refuses this token",
            Login::Key(_) => "it refuses this nkey",
            Login::Credentials(_) => "it refuses these credentials",
        }
        .to_owned(),
        ConnectErrorKind::Dns => "no such host is known here".to_owned(),
        ConnectErrorKind::TimedOut => {
            format!("nothing that speaks NATS answered within {} s", CONNECT_MAX.as_secs())
        }
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => below(error),
    }
}

/// What the causes of an error tell.
fn below(error: &ConnectError) -> String {
    let mut cause = error.source();
    while let Some(at) = cause {
        let inside = at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inside.and_then(|inside| inside.downcast_ref()).or_else(|| at.downcast_ref());
        if let Some(tls) = tls {
            return of_tls(tls);
        }
        if let Some(io) = at.downcast_ref::<std::io::Error>()
            && inside.is_none()
        {
            return format!("it cannot be reached: {io}");
        }
        cause = at.source();
    }
    "what answers there does not speak NATS".to_owned()
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by an authority that is not trusted here: name the right one, --bus-ca FILE"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(why) => format!("its certificate is not accepted: {why}"),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS: use nats://".to_owned(),
        other => format!("TLS with it does not come about: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_known_by_their_version() {
        for (version, expected) in [
            ("2.9.10", false),
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0", true),
            ("1.99", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
