//! TLS for the device listeners: certificate and key from files, or from an authority of this install's own.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use motehub_domain::certificate::VALID_YEARS;
use motehub_domain::id::DeviceId;
use motehub_domain::time::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::settings::Settings;

/// What the device listeners present.
pub(crate) fn server_config(settings: &Settings) -> io::Result<Arc<ServerConfig>> {
    let (chain, key) = files(settings);
    authority(settings)?;
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
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_client_cert_verifier(client_verifier(settings, provider)?)
        .with_single_cert(certificates, private)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", chain.display())))?;
    Ok(Arc::new(config))
}

/// Whoever shows a certificate has to have it from the authority of this install; nobody has to show one.
fn client_verifier(
    settings: &Settings,
    provider: Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let path = settings.data.join("tls/ca.pem");
    let root = CertificateDer::from_pem_file(&path).map_err(io::Error::other)?;
    roots.add(root).map_err(io::Error::other)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.allow_unauthenticated().build().map_err(io::Error::other)
}

/// A certificate with its key.
pub(crate) struct Issued {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) private_key: String,
    /// Of the authority, PEM.
    pub(crate) authority: String,
    /// The certificate in DER.
    pub(crate) der: Vec<u8>,
    /// When it ends.
    pub(crate) expires_at: Time,
}

/// Makes a client certificate for a device.
pub(crate) fn issue(
    settings: &Settings,
    device: DeviceId,
    now: Time,
) -> Result<Issued, Box<dyn std::error::Error + Send + Sync>> {
    authority(settings)?;
    let folder = settings.data.join("tls");
    let ca_key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca.key"))?)?;
    let issuer = Issuer::new(authority_params()?, ca_key);
    let mut client = CertificateParams::new(Vec::<String>::new())?;
    client.distinguished_name.push(DnType::CommonName, device.to_string());
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let today = jiff::Timestamp::from_millisecond(now.0)?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let end = i32::from(today.year() + VALID_YEARS);
    client.not_after =
        rcgen::date_time_ymd(end, today.month().unsigned_abs(), today.day().unsigned_abs().min(28));
    let key = KeyPair::generate()?;
    let made = client.signed_by(&key, &issuer)?;
    Ok(Issued {
        certificate: made.pem(),
        private_key: key.serialize_pem(),
        authority: fs::read_to_string(folder.join("ca.pem"))?,
        expires_at: not_after(made.der()).ok_or("a certificate that says when it ends")?,
        der: made.der().to_vec(),
    })
}

/// The authority of an install, PEM; it is made when the hub first listens with TLS.
pub(crate) fn own_authority(data: &Path) -> io::Result<String> {
    fs::read_to_string(data.join("tls/ca.pem"))
}

/// Makes the authority of this install if there is none.
fn authority(settings: &Settings) -> io::Result<()> {
    let folder = settings.data.join("tls");
    match folder.join("ca.pem").exists() {
        true => Ok(()),
        false => make_authority(&folder, settings).map_err(io::Error::other),
    }
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Motehub authority of this install");
    Ok(ca)
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
    let ca = authority_params()?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(
        fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()),
    );
    let over_tls = [settings.mqtt_tls, settings.https, settings.aws];
    let listens =
        over_tls.map(|address| address.map(|a| a.ip())).into_iter().chain([Some(settings.mqtt.ip())]);
    names.extend(listens.flatten().filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
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
