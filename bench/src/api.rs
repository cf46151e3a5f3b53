//! What the bench asks of the hub's HTTP API: devices to begin with, and whether what was acknowledged is there.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::wire::Login;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Points that the API gives at once.
const POINTS_MAX: usize = 100_000;
/// Longest time until devices that are connected are shown as online.
const ONLINE_MAX: Duration = Duration::from_secs(60);
/// How often it is asked whether they are.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Addresses that devices come from.
const ADDRESSES: usize = 10;

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

    /// Registers so many devices of the native dialect from one table. Every tenth has the tag `kitchen`.
    pub(crate) fn add_devices(&self, count: usize) -> anyhow::Result<Vec<Login>> {
        let mut table = "name,dialect,tags\n".to_owned();
        for n in 0..count {
            let tag = if n % 10 == 0 { "kitchen" } else { "hall" };
            writeln!(table, "bench {n},native,{tag}")?;
        }
        let request = self.agent.post(format!("http://{}/api/v1/devices/import", self.address));
        let request = request.header("Content-Type", "text/csv");
        let answer = read(request.header("Authorization", &self.authorization).send(table)?)?;
        let credentials = answer["credentials"].as_str().context("no credentials")?;
        let devices: Vec<Login> =
            credentials.lines().skip(1).enumerate().map(device).collect::<Option<_>>().context("no table")?;
        ensure!(devices.len() == count, "{} of {count} devices were registered", devices.len());
        Ok(devices)
    }

    /// Changes a device.
    pub(crate) fn edit_device(&self, id: &str, edit: &Value) -> anyhow::Result<()> {
        let request = self.agent.patch(format!("http://{}/api/v1/devices/{id}", self.address));
        let request = request.header("Content-Type", "application/json");
        read(request.header("Authorization", &self.authorization).send(edit.to_string())?)?;
        Ok(())
    }

    /// Does something that is answered with JSON, or with nothing.
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("http://{}/api/v1/{path}", self.address));
        let request = request.header("Content-Type", "application/json");
        let mut answer = request.header("Authorization", &self.authorization).send(body.to_string())?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// The key of a device for CoAP over DTLS.
    pub(crate) fn coap_key(&self, id: &str) -> anyhow::Result<String> {
        let found = self.get(&format!("devices/{id}/coap-key"))?;
        Ok(found["key"].as_str().context("no key")?.to_owned())
    }

    /// A counter of the hub, by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let mut answer = self.agent.get(format!("http://{}/metrics", self.address)).call()?;
        let text = answer.body_mut().read_to_string()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)).context("no such metric")?;
        Ok(value.trim().parse()?)
    }

    /// Waits until the list shows so many devices online.
    pub(crate) fn wait_online(&self, count: usize) -> anyhow::Result<()> {
        self.wait_online_within(count, ONLINE_MAX)
    }

    /// The same, for a span.
    pub(crate) fn wait_online_within(&self, count: usize, span: Duration) -> anyhow::Result<()> {
        let asked = Instant::now();
        while let Err(error) = self.device_page("selector=online", count) {
            ensure!(asked.elapsed() < span, "not so many devices are online: {error:#}");
            thread::sleep(ASK_EVERY);
        }
        Ok(())
    }

    /// The first page of the devices that match a query such as `selector=online`, and how long it took.
    pub(crate) fn device_page(&self, query: &str, total: usize) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        let page = self.get(&format!("devices?limit=50&{query}"))?;
        let took = asked.elapsed();
        ensure!(page["total"] == total, "{} devices and not {total}", page["total"]);
        Ok(took)
    }

    /// How many points the buckets of a range of milliseconds have together.
    pub(crate) fn count_in_buckets(
        &self,
        device: &Login,
        metric: &str,
        (from, to): (i64, i64),
        buckets: usize,
    ) -> anyhow::Result<i64> {
        let id = &device.user;
        let found =
            self.get(&format!("telemetry?series={id}:{metric}&from={from}&to={to}&buckets={buckets}"))?;
        let counts = found["series"][0]["count"].as_array().context("no list of buckets")?;
        Ok(counts.iter().filter_map(Value::as_i64).sum())
    }

    /// An error if the hub does not hold exactly so many points of a device.
    pub(crate) fn check_stored(&self, device: &Login, expected: usize) -> anyhow::Result<()> {
        let id = &device.user;
        let found = self.get(&format!("devices/{id}/telemetry?metric=value&limit={POINTS_MAX}"))?;
        let count = found["items"].as_array().context("no list of points")?.len();
        ensure!(
            count == expected,
            "{expected} messages of {id} were acknowledged, {count} points are stored"
        );
        Ok(())
    }

    /// Looks something up.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.agent.get(format!("http://{}/api/v1/{path}", self.address));
        read(request.header("Authorization", &self.authorization).call()?)
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    Ok(serde_json::from_str(&text)?)
}

/// A row of `name,dialect,external_id,id,credential`. The devices come from several addresses of this machine,
/// none of which is the hub's: else one could take the hub's port while it is away.
fn device((n, row): (usize, &str)) -> Option<Login> {
    let mut fields = row.split(',').skip(3).map(str::to_owned);
    let (id, password) = (fields.next()?, fields.next()?);
    let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n % ADDRESSES).ok()?);
    Some(Login { client: id.clone(), user: id, password, from })
}
