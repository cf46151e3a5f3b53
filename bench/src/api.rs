//! What the bench asks of the hub's HTTP API: devices to begin with, and whether what was acknowledged is there.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::wire::Login;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Points that the API gives at once.
const POINTS_MAX: usize = 100_000;

/// Calls the API with a token.
pub(crate) struct Api {
    agent: ureq::Agent,
    address: SocketAddr,
    authorization: String,
}

impl Api {
    /// The API of a hub, for the holder of a token.
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        let authorization = format!("Bearer {token}");
        Self { agent: ureq::Agent::new_with_defaults(), address, authorization }
    }

    /// Registers a device of the native dialect.
    pub(crate) fn add_device(&self, name: &str) -> anyhow::Result<Login> {
        let device = json!({ "name": name, "dialect": "native" }).to_string();
        let request = self.agent.post(format!("http://{}/api/v1/devices", self.address));
        let request = request.header("Content-Type", "application/json");
        let mut answer = request.header("Authorization", &self.authorization).send(device)?;
        let made: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        let text = |key: &str| made[key].as_str().map(str::to_owned).context("no id or credential");
        Ok(Login { client: text("id")?, user: text("id")?, password: text("credential")? })
    }

    /// How many points the buckets of a range of milliseconds have together.
    pub(crate) fn count_in_buckets(
        &self,
        device: &Login,
        metric: &str,
        (from, to): (i64, i64),
        buckets: usize,
    ) -> anyhow::Result<i64> {
        let (address, id) = (self.address, &device.user);
        let query = format!("series={id}:{metric}&from={from}&to={to}&buckets={buckets}");
        let request = self.agent.get(format!("http://{address}/api/v1/telemetry?{query}"));
        let mut answer = request.header("Authorization", &self.authorization).call()?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        let found: Value = serde_json::from_str(&text)?;
        let counts = found["series"][0]["count"].as_array().context("no list of buckets")?;
        Ok(counts.iter().filter_map(Value::as_i64).sum())
    }

    /// An error if the hub does not hold exactly so many points of a device.
    pub(crate) fn check_stored(&self, device: &Login, expected: usize) -> anyhow::Result<()> {
        let (address, id) = (self.address, &device.user);
        let path = format!("http://{address}/api/v1/devices/{id}/telemetry?metric=value&limit={POINTS_MAX}");
        let mut answer = self.agent.get(path).header("Authorization", &self.authorization).call()?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        let found: Value = serde_json::from_str(&text)?;
        let count = found["items"].as_array().context("no list of points")?.len();
        ensure!(
            count == expected,
            "{expected} messages of {id} were acknowledged, {count} points are stored"
        );
        Ok(())
    }
}
