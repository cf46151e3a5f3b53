//! The MQTT gateway alone, with a hub that only remembers in memory: to try clients against, and to measure.
//!
//! `cargo run -p motehub-gateway --example mqtt_alone -- CA.pem` writes the certificate for TLS to the
//! file and prints the addresses as one line of JSON. Every password is `secret`; users that begin with `app` may
//! use every topic, others are NodeMCU boards. Ends when its input ends.
#![expect(clippy::print_stdout, reason = "the addresses are for the program that started this one")]
#![expect(dead_code, reason = "not everything of the tests' hub is of use here")]

#[path = "../tests/recorder/mod.rs"]
mod recorder;

use std::net::SocketAddr;
use std::sync::Arc;

use motehub_gateway::mqtt::{Gateway, Settings};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let certificate_path = std::env::args().nth(1).ok_or("where shall the certificate go?")?;
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    std::fs::write(certificate_path, certified.cert.pem())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certified.cert.into()], key)?;
    let tls = Arc::new(tls);
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        tcp: Some(anywhere),
        tls: Some((anywhere, tls.clone())),
        ws: Some(anywhere),
        wss: Some((anywhere, tls)),
        ..Settings::default()
    };
    let hub = recorder::Recorder::default();
    let gateway = Gateway::bind(settings, Arc::new(hub)).await?;
    let addresses = gateway.addresses();
    let port = |address: Option<SocketAddr>| address.map_or(0, |a| a.port());
    println!(
        r#"{{"tcp":{},"tls":{},"ws":{},"wss":{}}}"#,
        port(addresses.tcp),
        port(addresses.tls),
        port(addresses.ws),
        port(addresses.wss)
    );
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(gateway.run(shutdown.clone()));
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    shutdown.cancel();
    running.await?;
    Ok(())
}
