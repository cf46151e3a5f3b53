//! One hub of several nodes, as it is operated: real processes on a real PostgreSQL and a real NATS.

use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use end_to_end::{Hub, Session, binary, until, until_within};
use serde_json::{Value, json};
use servers::{Nats, Postgres};
use tempfile::TempDir;

/// How many kinds of work one node does for all that calls no boards and has no activity file.
const WORKS: usize = 7;
/// How long a killed node may be missed.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(30);

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a temporary folder"))
}

struct Place {
    postgres: Postgres,
    nats: Nats,
    store: String,
    first: Arc<TempDir>,
}

impl Place {
    fn new() -> Self {
        let postgres = Postgres::alone();
        let store = postgres.new_database();
        Self { postgres, nats: Nats::start(), store, first: folder() }
    }

    fn start(&self, name: &str, folder: Arc<TempDir>, token: Option<&str>) -> Hub {
        let bus = self.nats.url();
        Hub::one_of(folder, &["--store", &self.store, "--bus", &bus, "--node", name], token)
    }

    /// A node with the secrets of the first one.
    fn another(&self, name: &str, token: &str) -> Hub {
        let folder = folder();
        std::fs::create_dir_all(folder.path().join("data")).expect("a folder");
        let file = "data/access-keys.secret";
        std::fs::copy(self.first.path().join(file), folder.path().join(file)).expect("it is there");
        self.start(name, folder, Some(token))
    }

    /// Why a node does not start.
    fn refuses(&self, name: &str) -> String {
        let folder = folder();
        let mut command = Command::new(binary());
        command.args(["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--node", name]);
        command.args(["--store", &self.store, "--bus", &self.nats.url()]);
        let output = command.arg("--data").arg(folder.path()).output().expect("it ends");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The nodes that live and how much each does.
fn work(hub: &Hub) -> Vec<(String, usize)> {
    let list = hub.api.get("/nodes");
    let alive = list["items"].as_array().expect("a list").iter().filter(|node| node["alive"] == true);
    alive
        .map(|node| {
            let name = node["name"].as_str().unwrap_or_default().to_owned();
            (name, node["work"].as_array().map_or(0, Vec::len))
        })
        .collect()
}

fn does_all(hub: &Hub, name: &str) {
    until_within(TAKEN_OVER_MAX, "the work is taken over", || {
        let doing: Vec<_> = work(hub).into_iter().filter(|(_, works)| *works > 0).collect();
        (doing == [(name.to_owned(), WORKS)]).then_some(())
    });
}

fn ready(hub: &Hub) -> (u16, Value) {
    hub.api.call_raw("GET", "/readyz", None)
}

fn says(hub: &Hub, code: &str) {
    until("it says what is wrong", || {
        let (status, body) = ready(hub);
        let has = body["why"].as_array().is_some_and(|why| why.iter().any(|why| why["code"] == code));
        (status == 503 && has).then_some(())
    });
}

/// Watches a node until it does not answer any more: whether it said that this is wrong before.
fn said_before_its_end(hub: &Hub, code: &'static str) -> JoinHandle<bool> {
    let url = format!("{}/readyz", hub.api.base);
    std::thread::spawn(move || {
        let mut is_said = false;
        until("it ends", || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let Ok(mut answer) = agent.get(&url).call() else { return Some(()) };
            let body = answer.body_mut().read_to_string().unwrap_or_default();
            is_said |= answer.status() == 503 && body.contains(code);
            None
        });
        is_said
    })
}

fn is_ready(hub: &Hub) {
    until("it is ready", || (ready(hub).0 == 200).then_some(()));
}

#[test]
fn a_node_that_ends_or_dies_is_replaced_by_another() {
    let place = Place::new();
    let mut one = place.start("one", place.first.clone(), None);
    does_all(&one, "one");
    let refused = place.refuses("two");
    assert!(refused.contains("access-keys.secret") && refused.contains("copy it from there"), "{refused}");
    let mut two = place.another("two", &one.api.token);
    until("both are seen", || (work(&two).len() == 2 && work(&one).len() == 2).then_some(()));
    let listed = Command::new(binary())
        .args(["ctl", "node", "list", "--hub", &two.api.base])
        .env("MOTEHUB_TOKEN", &two.api.token)
        .output()
        .expect("it runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("commands flows rollouts"), "{listed}");
    assert!(listed.lines().count() == 3, "{listed}");

    // A balancer sees that it is not ready before anything ends.
    let watching = said_before_its_end(&one, "draining");
    let pid = one.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    // A second signal would end it at once.
    assert!(one.ends().success());
    assert!(watching.join().expect("it is watched"), "it said nothing before it ended");
    assert!(!one.log.lock().expect("the log").contains("not everything ended in time"));
    does_all(&two, "two");

    let three = place.another("three", &two.api.token);
    until("both are seen", || (work(&three).len() == 2).then_some(()));
    two.kill();
    does_all(&three, "three");
}

#[test]
fn without_the_bus_or_the_database_a_node_says_so_and_goes_on_by_itself() {
    let place = Place::new();
    let one = place.start("one", place.first.clone(), None);
    is_ready(&one);
    let mut session = Session::connect(&one.mqtt(), false, "reader", &one.api.token).expect("it is let in");
    session.subscribe("news/#", 0).expect("it is granted");
    place.nats.kill();
    says(&one, "bus_away");
    assert_eq!(one.api.get("/nodes")["bus_here"], json!(false));
    place.nats.start_again();
    is_ready(&one);

    place.postgres.kill();
    says(&one, "store_away");
    let (status, problem) = one.api.call("GET", "/devices", None);
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
    assert_eq!(one.api.call_raw("GET", "/healthz", None).0, 200);
    session.ping().expect("a ping is answered");
    place.postgres.start();
    is_ready(&one);
    does_all(&one, "one");
    assert_eq!(one.api.call("GET", "/devices", None).0, 200);
    session.ping().expect("it is still connected");
}
