//! TLS to PostgreSQL, with the one provider of this program.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::StoreError;
use crate::url::{PostgresUrl, Tls};

/// Where systems keep the authorities that they trust: Debian and Alpine, Fedora, openSUSE, others.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What makes connections encrypted, as the URL wants it; it is not used where that wants plain text.
pub(super) fn connector(url: &PostgresUrl) -> Result<MakeRustlsConnect, StoreError> {
    let unusable =
        |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("TLS to PostgreSQL: {error}"));
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let config = match url.tls {
        Tls::Verified => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(authorities(url.authorities.as_deref())?);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Tls::Off | Tls::Encrypted => {
            let anybody = Arc::new(Anybody(algorithms));
            builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn authorities(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let read = |place: &Path| -> Result<Vec<_>, io::Error> {
        let all = CertificateDer::pem_file_iter(place).map_err(io::Error::other)?;
        Ok(all.filter_map(Result::ok).collect())
    };
    match file {
        Some(file) => match read(file) {
            Ok(all) if !all.is_empty() => Ok(all),
            Ok(_) => Err(StoreError::Unavailable(format!(
                "sslrootcert {}: there is no certificate in it",
                file.display()
            ))),
            Err(error) => Err(StoreError::Unavailable(format!("sslrootcert {}: {error}", file.display()))),
        },
        None => {
            let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
            let mut places = named.into_iter().chain(SYSTEM_FILES.map(PathBuf::from));
            let found = places.find_map(|place| read(&place).ok().filter(|all| !all.is_empty()));
            Ok(found.unwrap_or_default())
        }
    }
}

/// Takes whoever answers for the server: what `sslmode=require` says.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
