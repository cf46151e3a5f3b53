//! Which authorities are trusted when a hub is reached by https: those of this machine, or one that is named.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// The authorities in a file of certificates in PEM, or those of this machine.
///
/// # Errors
/// If there are none; the error says what to do.
pub(crate) fn authorities(file: Option<&Path>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    if let Some(file) = file {
        let about = || format!("--ca {}: certificates in PEM are expected", file.display());
        let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).with_context(about)?.collect();
        let all = all.with_context(about)?;
        if all.is_empty() {
            bail!("{}, and there are none", about());
        }
        return Ok(all);
    }
    let all = motehub_server::machine_authorities();
    if !all.is_empty() {
        return Ok(all);
    }
    bail!(
        "no list of trusted authorities was found on this machine: name the authority of the hub with --ca FILE"
    )
}

/// How https is spoken with `ureq`.
pub(crate) fn for_http(authorities: &[CertificateDer<'static>]) -> ureq::tls::TlsConfig {
    let certificates = authorities.iter().map(|it| ureq::tls::Certificate::from_der(it).to_owned());
    ureq::tls::TlsConfig::builder()
        .root_certs(certificates.into())
        .unversioned_rustls_crypto_provider(provider())
        .build()
}

/// How TLS is spoken on any other connection.
pub(crate) fn for_socket(authorities: Vec<CertificateDer<'static>>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    // A machine's list may hold some that are not understood; the others count.
    roots.add_parsable_certificates(authorities);
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What to do about an error of TLS, if that is in an error.
pub(crate) fn advice(error: &anyhow::Error) -> Option<&'static str> {
    let found = error.chain().find_map(tls_error)?;
    Some(match found {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "The hub's certificate is signed by an authority that this machine does not know: name it with --ca FILE."
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "The certificate is for other names: use one of them in --hub, or renew it with this one.",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "The certificate has ended: renew it. (Is the clock of this machine right?)",
        rustls::Error::InvalidMessage(_) => "No TLS is spoken there: is it an http:// address?",
        _ => "The hub and this program could not agree on a TLS connection.",
    })
}

fn tls_error<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    let inside = match cause.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Rustls(error)) => return Some(error),
        Some(ureq::Error::Io(error)) => error,
        _ => cause.downcast_ref::<std::io::Error>()?,
    };
    inside.get_ref()?.downcast_ref()
}
