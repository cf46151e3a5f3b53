//! TLS for the device listeners: certificate and key from files, or from an authority of this install's own.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Settings;

/// What the device listeners present.
pub(crate) fn server_config(settings: &Settings) -> io::Result<Arc<ServerConfig>> {
    let (chain, key) = match &settings.tls_files {
        Some((chain, key)) => (chain.clone(), key.clone()),
        None => {
            let folder = settings.data.join("tls");
            if !folder.join("server.pem").exists() {
                make_authority(&folder, settings).map_err(io::Error::other)?;
            }
            (folder.join("server.pem"), folder.join("server.key"))
        }
    };
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
