//! TLS for the device listeners: certificate and key from files, or from an authority of this install's own, which also
//! issues the client certificates of devices.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use motehub_domain::certificate::VALID_YEARS;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SubjectPublicKeyInfo,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::settings::Settings;

/// Largest request for a certificate in bytes: one with an RSA key of 8192 bits and a long name.
const CSR_BYTES_MAX: usize = 8 * 1024;

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

/// A certificate, and what goes with it.
pub(crate) struct Issued {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM; none if the device made its key itself.
    pub(crate) private_key: Option<String>,
    /// The certificate in DER.
    pub(crate) der: Vec<u8>,
    /// When it ends.
    pub(crate) expires_at: Time,
}

/// Makes a client certificate for a device: for a key of its own, or with a new one.
pub(crate) fn issue(
    settings: &Settings,
    device: DeviceId,
    own: Option<&SubjectPublicKeyInfo>,
    now: Time,
) -> Result<Issued, Box<dyn std::error::Error + Send + Sync>> {
    authority(settings)?;
    let ca_key = KeyPair::from_pem(&fs::read_to_string(settings.data.join("tls/ca.key"))?)?;
    let issuer = Issuer::new(authority_params()?, ca_key);
    let mut client = CertificateParams::new(Vec::<String>::new())?;
    client.distinguished_name.push(DnType::CommonName, device.to_string());
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let today = jiff::Timestamp::from_millisecond(now.0)?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let end = i32::from(today.year() + VALID_YEARS);
    client.not_after =
        rcgen::date_time_ymd(end, today.month().unsigned_abs(), today.day().unsigned_abs().min(28));
    let (made, private_key) = match own {
        Some(own) => (client.signed_by(own, &issuer)?, None),
        None => {
            let key = KeyPair::generate()?;
            (client.signed_by(&key, &issuer)?, Some(key.serialize_pem()))
        }
    };
    Ok(Issued {
        certificate: made.pem(),
        private_key,
        expires_at: not_after(made.der()).ok_or("a certificate that says when it ends")?,
        der: made.der().to_vec(),
    })
}

/// The key in a request for a certificate (PKCS #10, PEM), whose sender has shown to have its private part. Whom the
/// request names and what it wants to be allowed is not looked at.
pub(crate) fn requested_key(pem: &str) -> Result<SubjectPublicKeyInfo, Rejection> {
    let wrong = |why: &str| Rejection::invalid("csr", why);
    if pem.len() > CSR_BYTES_MAX {
        return Err(Rejection::too_large("csr", format!("a request has at most {CSR_BYTES_MAX} bytes")));
    }
    let none = "a CERTIFICATE REQUEST in PEM is expected, as `openssl req -new` writes it";
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong(none))?;
    let (behind, request) = X509CertificationRequest::from_der(&der).map_err(|_| wrong(none))?;
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw);
    let key =
        key.map_err(|_| wrong("its key is of a kind that is not known: use ECDSA P-256, Ed25519 or RSA"))?;
    let is_proof = behind.is_empty() && request.verify_signature().is_ok();
    is_proof.then_some(key).ok_or_else(|| {
        wrong("it is not signed with its own key, by which the device shows that it has it, or the key is too short")
    })
}

/// The certificate of the authority, PEM, by which devices know the hub.
pub(crate) fn authority_pem(settings: &Settings) -> io::Result<String> {
    authority(settings)?;
    own_authority(&settings.data)
}

/// The same of an install that has one: it is made when the hub first listens with TLS, or issues a certificate.
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

/// The end of the validity of a certificate.
fn not_after(certificate: &[u8]) -> Option<Time> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(Time(certificate.validity().not_after.timestamp() * 1000))
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
        }
    }

    #[test]
    fn a_request_shows_that_its_sender_has_the_key() {
        let algorithms =
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        for algorithm in algorithms {
            let key = KeyPair::generate_for(algorithm).unwrap();
            // What it asks for beside that does not matter.
            let mut params = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let request = params.serialize_request(&key).unwrap();
            let own = requested_key(&request.pem().unwrap()).unwrap();
            assert_eq!(rcgen::PublicKeyData::der_bytes(&own), key.public_key_raw(), "{algorithm:?}");
            let der = request.der().to_vec();
            let mut other = der.clone();
            *other.last_mut().unwrap() ^= 1;
            for end in [0, 1, der.len() / 2, der.len() - 1] {
                assert!(requested_key(&pem(&der[..end])).is_err(), "cut off at {end}");
            }
            assert!(requested_key(&pem(&other)).is_err(), "signed by somebody else");
            assert!(requested_key(&pem(&[&der[..], b"more"].concat())).is_err());
        }
        for text in
            ["", "-----BEGIN CERTIFICATE REQUEST-----", &"x".repeat(CSR_BYTES_MAX + 1), &pem(b"no DER")]
        {
            assert!(requested_key(text).is_err(), "{text:.40}");
        }
    }

    fn pem(der: &[u8]) -> String {
        use base64::Engine;
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            lines.join("\n")
        )
    }
}
