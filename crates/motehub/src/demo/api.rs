//! A small client of the HTTP API.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::Value;

/// Calls a hub with a token.
#[derive(Clone)]
pub(super) struct Api {
    base: String,
    token: String,
    agent: ureq::Agent,
}

impl Api {
    /// The hub at an address.
    pub(super) fn new(http: SocketAddr, token: String) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { base: format!("http://{http}/api/v1"), token, agent }
    }

    /// Looks something up.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(path, None).await
    }

    /// Makes something.
    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(path, Some(body)).await
    }

    async fn call(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (api, path) = (self.clone(), path.to_owned());
        tokio::task::spawn_blocking(move || api.call_blocking(&path, body)).await?
    }

    fn call_blocking(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let bearer = format!("Bearer {}", self.token.trim());
        let answer = match body {
            Some(body) => {
                let request = self.agent.post(&url).header("Authorization", &bearer);
                request.content_type("application/json").send(body.to_string())
            }
            None => self.agent.get(&url).header("Authorization", &bearer).call(),
        };
        let mut answer = answer.with_context(|| format!("calling {path}"))?;
        let text =
            answer.body_mut().read_to_string().with_context(|| format!("reading the answer of {path}"))?;
        let json: Value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        if !answer.status().is_success() {
            bail!("{path}: {}", json["detail"].as_str().unwrap_or("the hub refused"));
        }
        Ok(json)
    }
}
