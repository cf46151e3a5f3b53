//! TLS for the device listeners: certificate and key from files, or from an authority of this install's own.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use motehub_domain::time::Time;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Settings;

/// What the device listeners present.
pub(crate) fn server_config(settings: &Settings) -> io::Result<Arc<ServerConfig>> {
    let (chain, key) = files(settings);
    if settings.tls_files.is_none() && !chain.exists() {
        make_authority(&settings.data.join("tls"), settings).map_err(io::Error::other)?;
    }
    let named = |path: &Path, error: rustls::pki_types::pem::Error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: not readable as PEM: {error}", path.display()),
        )
    };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&chain).map_err(|e| named(&chain, e))?.collect();
    let certificates = certificates.map_err(|e| named(&chain, e))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| named(&key, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", chain.display())))?;
    Ok(Arc::new(config))
}

/// The certificate chain and its key.
fn files(settings: &Settings) -> (PathBuf, PathBuf) {
    let folder = settings.data.join("tls");
    let own = || (folder.join("server.pem"), folder.join("server.key"));
    settings.tls_files.clone().unwrap_or_else(own)
}

/// When the certificate of the device listeners ends, if it says so in a way that is understood.
pub(crate) fn expires_at(settings: &Settings) -> Option<Time> {
    let (chain, _) = files(settings);
    not_after(&CertificateDer::pem_file_iter(chain).ok()?.next()?.ok()?)
}

/// The end of the validity of a certificate (RFC 5280, section 4.1): the second time in the fifth or, if the version
/// is given, sixth part of its first part.
fn not_after(certificate: &[u8]) -> Option<Time> {
    /// Of a version in a certificate.
    const VERSION: u8 = 0xa0;
    let (_, whole, _) = part(certificate)?;
    let (_, mut rest, _) = part(whole)?;
    if let Some((VERSION, _, after)) = part(rest) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = part(rest)?.2;
    }
    let (_, validity, _) = part(rest)?;
    let (kind, end, _) = part(part(validity)?.2)?;
    time(kind, std::str::from_utf8(end).ok()?)
}

/// Kind and content of the first part (DER), and what comes behind it.
fn part(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..=127 => (short, rest),
        long => {
            let (digits, rest) = rest.split_at_checked(long - 128).filter(|(digits, _)| digits.len() <= 4)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((*kind, content, behind))
}

/// `YYMMDDHHMMSSZ` with kind 23, or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &str) -> Option<Time> {
    let full = match kind {
        23 if text.starts_with(|digit: char| digit >= '5') => format!("19{text}"),
        23 => format!("20{text}"),
        _ => text.to_owned(),
    };
    let at = jiff::fmt::strtime::parse("%Y%m%d%H%M%SZ", full).ok()?.to_datetime().ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Time(at.timestamp().as_millisecond()))
}

fn make_authority(
    folder: &Path,
    settings: &Settings,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    fs::create_dir_all(folder)?;
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Motehub authority of this install");
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(
        fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()),
    );
    let listens: [Option<IpAddr>; 2] = [settings.mqtt_tls.map(|a| a.ip()), Some(settings.mqtt.ip())];
    names.extend(listens.into_iter().flatten().filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.sort();
    names.dedup();
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "Motehub");
    let certificate = server.signed_by(&key, &issuer)?;

    write_private(&folder.join("ca.key"), &issuer.key().serialize_pem())?;
    fs::write(folder.join("ca.pem"), ca_certificate.pem())?;
    write_private(&folder.join("server.key"), &key.serialize_pem())?;
    fs::write(folder.join("server.pem"), certificate.pem())?;
    Ok(())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        for (year, expected) in [(2030, 1_893_456_000_000), (2075, 3_313_526_400_000)] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(made.der()), Some(Time(expected)), "{year}");
            for end in 0..made.der().len() {
                // Whatever is cut off, it is no panic.
                let _ = not_after(&made.der()[..end]);
            }
        }
    }
}
