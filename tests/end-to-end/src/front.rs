//! A TLS proxy in front of a hub, with an authority of its own, as people put one there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A running proxy. Dropping it closes its connections.
pub struct Front {
    runtime: Option<tokio::runtime::Runtime>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Front {
    /// A proxy to an address, whose certificate is for one name and was signed by an authority that is written to a
    /// file; it ended in 2020 if asked for.
    pub fn start(to: &str, name: &str, has_ended: bool, authority: &Path) -> Self {
        let config = Arc::new(config(name, has_ended, authority));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let to = to.to_owned();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, to) = (TlsAcceptor::from(config.clone()), to.clone());
                tokio::spawn(async move {
                    let Ok(mut secure) = acceptor.accept(stream).await else { return };
                    let Ok(mut plain) = TcpStream::connect(&to).await else { return };
                    let _ = copy_bidirectional(&mut secure, &mut plain).await;
                });
            }
        });
        Self { runtime: Some(runtime), address }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn config(name: &str, has_ended: bool, authority: &Path) -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    std::fs::write(authority, certificate.pem()).expect("it is written");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    if has_ended {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("they belong together")
}
