//! A hub of several nodes: real processes on a PostgreSQL and a NATS of their own, behind a real HAProxy with the
//! settings that `deploy/scale-out` has.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use servers::{Nats, Postgres};
use tempfile::TempDir;

use crate::hub::{Api, Hub};
use crate::wait::until;

/// From where the balancer connects to the nodes.
const BALANCER: &str = "127.0.0.2";
/// The names and addresses of nodes in the example.
const EXAMPLE: [(&str, &str); 3] = [("one", "10.0.0.11"), ("two", "10.0.0.12"), ("three", "10.0.0.13")];
/// Tries to get addresses that are still free when the balancer takes them.
const TRIES: usize = 5;

/// Running nodes. Dropping it ends everything.
pub struct Nodes {
    // It ends first.
    _balancer: Balancer,
    /// Where all of them keep everything.
    pub postgres: Postgres,
    /// The bus between them.
    pub nats: Nats,
    /// The nodes, by their numbers.
    pub nodes: Vec<Hub>,
    /// A caller that goes through the balancer.
    pub api: Api,
    /// Where the balancer takes HTTP.
    pub http: String,
    /// Where the balancer takes MQTT.
    pub mqtt: String,
    _folder: TempDir,
}

impl Nodes {
    /// So many nodes, up to three.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// The same, each with more arguments.
    pub fn start_with(count: usize, more: &[&str]) -> Self {
        let postgres = Postgres::alone();
        let nats = Nats::start();
        let way = (postgres.new_database(), nats.url());
        Self::start_on(postgres, nats, &vec![way; count], more)
    }

    /// Nodes that reach one database and one bus each by URLs of its own, with more arguments.
    pub fn start_on(postgres: Postgres, nats: Nats, ways: &[(String, String)], more: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("motehub-nodes-").tempdir().expect("a folder");
        let mut nodes: Vec<Hub> = Vec::new();
        for ((name, _), (store, bus)) in EXAMPLE.iter().zip(ways) {
            let data =
                Arc::new(tempfile::Builder::new().prefix("motehub-node-").tempdir().expect("a folder"));
            let own = ["--store", store, "--bus", bus, "--node", name, "--balancer", BALANCER];
            let arguments = [&own, more].concat();
            let token = nodes.first().map(|first| {
                alike(&first.data(), &data.path().join("data"));
                first.api.token.clone()
            });
            nodes.push(Hub::one_of(data, &arguments, token.as_deref()));
        }
        let (balancer, http, mqtt) = Balancer::start(folder.path(), &nodes);
        let api = Api { base: format!("http://{http}"), token: nodes[0].api.token.clone() };
        Self { _balancer: balancer, postgres, nats, nodes, api, http, mqtt, _folder: folder }
    }

    /// The node that does a work, by its number, as one of them sees it.
    pub fn holder(&self, seen_by: usize, work: &str) -> Option<usize> {
        let list = self.nodes[seen_by].api.get("/nodes");
        let does = |node: &&serde_json::Value| {
            let works = node["work"].as_array().into_iter().flatten();
            node["alive"] == true && works.into_iter().any(|it| it == work)
        };
        let holder = list["items"].as_array()?.iter().find(does)?["name"].as_str()?.to_owned();
        EXAMPLE.iter().position(|(name, _)| *name == holder)
    }

    /// A node by its name: `one`, `two` or `three`.
    pub fn named(&mut self, name: &str) -> Option<&mut Hub> {
        let at = EXAMPLE.iter().position(|(known, _)| *known == name)?;
        self.nodes.get_mut(at)
    }

    /// What a path answers through the balancer; none if there is no answer.
    pub fn try_get(&self, path: &str) -> Option<u16> {
        status(&format!("{}{path}", self.api.base), &self.api.token)
    }
}

/// A running HAProxy. Dropping it ends it.
struct Balancer(Child);

impl Balancer {
    /// One that has found a node; where it takes HTTP and MQTT.
    fn start(folder: &Path, nodes: &[Hub]) -> (Self, String, String) {
        let file = folder.join("haproxy.cfg");
        for _ in 0..TRIES {
            let (http, mqtt) = (free(), free());
            std::fs::write(&file, settings(&http, &mqtt, nodes)).expect("it is written");
            let child = Command::new("haproxy").arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).spawn();
            let mut balancer = Self(child.expect("haproxy; xtask/setup.sh test installs it"));
            let health = format!("http://{http}/healthz");
            // It ends by itself if somebody took one of its addresses meanwhile.
            let is_there = until("the balancer finds a node", || {
                let status = status(&health, &nodes[0].api.token);
                match balancer.0.try_wait().expect("its state") {
                    Some(_) => Some(false),
                    None => (status == Some(200)).then_some(true),
                }
            });
            if is_there {
                return (balancer, http, mqtt);
            }
        }
        panic!("the balancer does not start");
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a URL answers; none if there is no answer.
fn status(url: &str, token: &str) -> Option<u16> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(5)))
        .build()
        .into();
    let answer = agent.get(url).header("Authorization", format!("Bearer {token}")).call();
    answer.ok().map(|answer| answer.status().as_u16())
}

/// Gives a node the keys of the first one, as the guide has it.
fn alike(first: &Path, data: &Path) {
    std::fs::create_dir_all(data).expect("a folder");
    for file in ["access-keys.secret", "tls"] {
        if first.join(file).exists() {
            let copied = Command::new("cp").arg("-a").arg(first.join(file)).arg(data).status().expect("cp");
            assert!(copied.success(), "{file} is copied");
        }
    }
}

/// An address that nobody has.
fn free() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// The settings of the example, with these addresses in place of its own and without what is not here.
fn settings(http: &str, mqtt: &str, nodes: &[Hub]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/scale-out/haproxy.cfg");
    let example = std::fs::read_to_string(path).expect("the example");
    let (example, _) = example.split_once("# TLS of devices").expect("its last part");
    let mut settings = String::new();
    for line in example.lines() {
        match line.trim().strip_prefix("server ") {
            // Each server of the example once for each node here.
            Some(rest) if rest.starts_with("one ") => {
                for ((name, _), node) in EXAMPLE.iter().zip(nodes) {
                    let http = node.http();
                    let (_, port) = http.rsplit_once(':').expect("a port");
                    settings += &if rest.contains(":1883") {
                        format!("    server {name} {} port {port}\n", node.mqtt())
                    } else {
                        format!("    server {name} {http}\n")
                    };
                }
            }
            Some(_) => {}
            None => settings += &format!("{line}\n"),
        }
    }
    settings
        // So that it needs no more open files than a test may have, and shares no port with another balancer.
        .replace("maxconn 50000", "maxconn 6000\n    noreuseport")
        .replace("bind :8080", &format!("bind {http}"))
        .replace("bind :1883", &format!("bind {mqtt}"))
        .replace("default-server check", &format!("source {BALANCER}\n    default-server check"))
}
