//! Callers of the HTTP data plane of AWS IoT, over TLS: with a client certificate, or with a signature.

use std::sync::Arc;

use motehub_domain::time::{Span, Time};
use ring::hmac;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Answer, Hub};

/// How somebody shows who it is.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    Nothing,
    /// A certificate and its key, PEM.
    Certificate(String, String),
    Key(AccessKey),
}

/// An access key, and how a request is signed with it.
#[derive(Debug, Clone)]
pub(crate) struct AccessKey {
    pub(crate) token: String,
    pub(crate) id: String,
    pub(crate) secret: String,
    /// By how much its clock is ahead of the hub's.
    pub(crate) ahead: Span,
    /// A further header that is signed with the others.
    pub(crate) also: Option<(&'static str, &'static str)>,
    /// What is signed instead of the body.
    pub(crate) body: Option<&'static [u8]>,
}

impl Hub {
    /// Makes a token with an access key.
    pub(crate) async fn access_key(&self, name: &str, role: &str) -> AccessKey {
        let new = json!({ "name": name, "role": role, "access_key": true });
        let made = self.post("/tokens", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        let part = |key: &str| made.string(key);
        let (token, id, secret) = (part("id"), part("access_key_id"), part("secret_access_key"));
        AccessKey { token, id, secret, ahead: Span(0), also: None, body: None }
    }

    /// Gives a device a certificate. Returns the proof and the fingerprint.
    pub(crate) async fn certificate(&self, device: &str) -> (Proof, String) {
        let made = self.post(&format!("/devices/{device}/certificate"), json!({})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let proof = Proof::Certificate(made.string("certificate"), made.string("private_key"));
        (proof, made.string("fingerprint"))
    }

    /// Calls the data plane. `path` is written as it is signed.
    pub(crate) async fn aws(&self, method: &str, path: &str, proof: &Proof, body: &[u8]) -> Answer {
        let signed = match proof {
            Proof::Key(key) => {
                let at = self.clock.now() + key.ahead;
                key.sign(at, (method, path, &self.aws.to_string()), body)
            }
            Proof::Nothing | Proof::Certificate(..) => String::new(),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{signed}\r\n",
            self.aws,
            body.len()
        );
        let tls = TlsConnector::from(Arc::new(self.trusting(proof)));
        let stream = TcpStream::connect(self.aws).await.unwrap();
        let stream = tls.connect(ServerName::from(self.aws.ip()), stream).await.unwrap();
        Self::exchange_over(stream, &[head.as_bytes(), body].concat()).await
    }

    fn trusting(&self, proof: &Proof) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.folder().join("tls/ca.pem")).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots);
        match proof {
            Proof::Certificate(certificate, key) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            Proof::Nothing | Proof::Key(_) => config.with_no_client_auth(),
        }
    }
}

impl AccessKey {
    /// The headers that sign a request.
    fn sign(&self, at: Time, (method, path, host): (&str, &str, &str), body: &[u8]) -> String {
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap();
        let at = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("host", host), ("x-amz-date", &*at)];
        headers.extend(self.also);
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let payload = hex(&Sha256::digest(self.body.unwrap_or(body)));
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
        let scope = format!("{}/eu-west-1/iotdata/aws4_request", &at[..8]);
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/').chain([&*text]) {
            let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
            key = signed.as_ref().to_vec();
        }
        let also = self.also.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        format!(
            "{also}X-Amz-Date: {at}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders={names}, Signature={}\r\n",
            self.id,
            hex(&key)
        )
    }
}

impl Answer {
    /// The answer is a refusal as AWS has it. Returns its sentence.
    pub(crate) fn is_aws(&self, status: u16, kind: &str) -> String {
        let found = (self.status, self.header("x-amzn-errortype"));
        assert_eq!(found, (status, Some(kind)), "{self:?}");
        let body: Value = self.json();
        assert_eq!(body["code"], status, "{body}");
        body["message"].as_str().unwrap().to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
