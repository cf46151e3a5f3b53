//! The authorities that this machine trusts, for whatever is reached by https.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where systems keep the authorities that they trust: Debian and Alpine, Fedora, openSUSE, others.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Those in the file that SSL_CERT_FILE names, or else in the first of the usual places that has any; or none.
pub fn machine_authorities() -> Vec<CertificateDer<'static>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let places = named.into_iter().chain(SYSTEM_FILES.map(PathBuf::from));
    let read = |place: PathBuf| {
        let all = CertificateDer::pem_file_iter(place).ok()?;
        Some(all.filter_map(Result::ok).collect::<Vec<_>>()).filter(|all| !all.is_empty())
    };
    places.filter_map(read).next().unwrap_or_default()
}

/// How programs of ours reach https.
pub(crate) fn tls() -> ureq::tls::TlsConfig {
    let all = machine_authorities();
    let roots = all.iter().map(|it| ureq::tls::Certificate::from_der(it).to_owned());
    ureq::tls::TlsConfig::builder()
        .root_certs(roots.into())
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}
