//! A small client of the HTTP API, for the demo (async) and for `motehub ctl` (blocking).

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::trust;

/// How long a call may take in all.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long the hub may take to begin with an answer that it has to make first.
const BEGIN_MAX: Duration = Duration::from_secs(3600);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Calls a hub with a token.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    token: String,
    agent: ureq::Agent,
}

/// What the hub answers when it does not do what was asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The hub's sentence.
    pub(crate) detail: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refusal {}

impl Api {
    /// The hub at a URL such as `http://127.0.0.1:8080`.
    pub(crate) fn new(hub: &str, token: &str) -> Self {
        Self::with(hub, token, None)
    }

    /// The hub at an https:// URL, if it proves to be it to these authorities; at an http:// URL nothing is proven.
    pub(crate) fn trusting(
        hub: &str,
        token: &str,
        authorities: &[rustls::pki_types::CertificateDer<'static>],
    ) -> Self {
        Self::with(hub, token, Some(trust::for_http(authorities)))
    }

    fn with(hub: &str, token: &str, tls: Option<ureq::tls::TlsConfig>) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(CALL_MAX));
        // Elsewhere the token is not sent: the person decides.
        let config = config.max_redirects(0).max_redirects_will_error(false);
        let config = match tls {
            Some(tls) => config.tls_config(tls),
            None => config,
        };
        let base = format!("{}/api/v1", hub.trim_end_matches('/'));
        Self { base, token: token.trim().to_owned(), agent: config.build().into() }
    }

    /// Looks something up.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call_async("GET", path, None).await
    }

    /// Makes something.
    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call_async("POST", path, Some(body)).await
    }

    async fn call_async(
        &self,
        method: &'static str,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let (api, path) = (self.clone(), path.to_owned());
        tokio::task::spawn_blocking(move || api.call(method, &path, body.as_ref())).await?
    }

    /// Calls a path under `/api/v1` and waits for the answer; an empty one is null.
    ///
    /// # Errors
    /// A [`Refusal`] if the hub answers with one; anything else if it cannot be reached or understood.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        match body {
            Some(body) => self.send(method, path, "application/json", body.to_string().as_bytes()),
            None => {
                let answer = self.agent.run(self.request(method, path).body(())?);
                self.understand(path, answer.with_context(|| format!("calling {}{path}", self.base))?)
            }
        }
    }

    /// As [`Self::call`], with a body of any kind.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Value> {
        let answer = self.agent.run(self.request(method, path).header("Content-Type", kind).body(body)?);
        self.understand(path, answer.with_context(|| format!("calling {}{path}", self.base))?)
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
    }

    /// Passes the answer of a path on as it comes, however long it takes. Returns its length in bytes.
    ///
    /// # Errors
    /// As [`Self::call`], and if the answer ends too early or cannot be passed on.
    pub(crate) fn download(&self, path: &str, into: &mut impl std::io::Write) -> anyhow::Result<u64> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let request = request.config().timeout_global(None).timeout_recv_response(Some(BEGIN_MAX)).build();
        let mut answer = request.call().with_context(|| format!("calling {}{path}", self.base))?;
        if !answer.status().is_success() {
            self.understand(path, answer)?;
            return Ok(0);
        }
        let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
        std::io::copy(&mut body, into).with_context(|| format!("reading the answer of {path}"))
    }

    /// Posts and tells every line of the answer, which is JSON, as it comes, however long it takes.
    ///
    /// # Errors
    /// As [`Self::call`], and if the answer ends too early.
    pub(crate) fn lines(&self, path: &str, body: &Value, mut tell: impl FnMut(&Value)) -> anyhow::Result<()> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let request = request.header("Content-Type", "application/json");
        let request = request.config().timeout_global(None).timeout_recv_response(Some(BEGIN_MAX)).build();
        let sent = request.send(body.to_string());
        let mut answer = sent.with_context(|| format!("calling {}{path}", self.base))?;
        if !answer.status().is_success() {
            return self.understand(path, answer).map(drop);
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).reader();
        for line in BufReader::new(body).lines() {
            let line = line.with_context(|| format!("reading the answer of {path}"))?;
            tell(&serde_json::from_str(&line).with_context(|| format!("{path}: {line}"))?);
        }
        Ok(())
    }

    fn understand(&self, path: &str, mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
        if let Some(place) = answer.headers().get("location").filter(|_| answer.status().is_redirection()) {
            let place = place.to_str().unwrap_or_default();
            bail!("{} sends its callers to {place}: use that address", self.base);
        }
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.with_context(|| format!("reading the answer of {path}"))?;
        let status = answer.status();
        let json = match text.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_str::<Value>(&text),
        };
        if !status.is_success() {
            let json = json.unwrap_or_default();
            let detail = json["detail"].as_str().map_or_else(|| format!("{path}: {status}"), str::to_owned);
            return Err(Refusal { status: status.as_u16(), detail }.into());
        }
        json.with_context(|| format!("{}{path} is not the API of a hub", self.base))
    }
}
