//! Two nodes at work, and what they need goes away for a while: the bus, the database, the network to one or to both, or
//! the processor. Nobody loses or doubles what was acknowledged, and the hub says what is wrong.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use end_to_end::{
    Cable, FIRST_MS, Hub, Nodes, Publisher, Session, Swarm, Traffic, until, until_within, waited,
};
use serde_json::{Value, json};
use servers::{Nats, Postgres};

/// For so long a network is away.
const CUT: Duration = Duration::from_secs(60);
/// For so long a server is away, or a node.
const AWAY: Duration = Duration::from_secs(30);
/// Within this a node says that something is wrong.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
/// Within this the other node goes on, with all the work.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);
/// Within this after its end all is as before.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// How many kinds of work one node does for all that calls no boards and has no activity file.
const WORKS: usize = 7;
/// Devices that measure at each node, and how often.
const DEVICES: usize = 20;
const EVERY: Duration = Duration::from_secs(1);

/// One after the other: what is timed here is no use on a machine that does several at once.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two nodes, each with a cable to the store and one to the bus.
struct Place {
    hub: Nodes,
    stores: [Cable; 2],
    buses: [Cable; 2],
}

impl Place {
    fn new() -> Self {
        let (postgres, nats) = (Postgres::alone(), Nats::start());
        let store = postgres.new_database();
        let (server, bus) = (format!("127.0.0.1:{}", postgres.port()), format!("127.0.0.1:{}", nats.port()));
        let stores = [(); 2].map(|()| Cable::to(&server));
        let buses = [(); 2].map(|()| Cable::to(&bus));
        let ways = stores.iter().zip(&buses).map(|(to_store, to_bus)| {
            (store.replace(&server, &to_store.address), format!("nats://{}", to_bus.address))
        });
        let hub = Nodes::start_on(postgres, nats, &ways.collect::<Vec<_>>(), &[]);
        Self { hub, stores, buses }
    }

    fn node(&self, at: usize) -> &Hub {
        &self.hub.nodes[at]
    }
}

fn troubles(hub: &Hub) -> Option<(u16, BTreeSet<String>)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(3)))
        .build()
        .into();
    let mut answer = agent.get(format!("{}/readyz", hub.api.base)).call().ok()?;
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
    let codes = body["why"].as_array()?.iter().filter_map(|why| why["code"].as_str().map(str::to_owned));
    Some((answer.status().as_u16(), codes.collect()))
}

/// The node says that this is wrong, and nothing else.
fn says(hub: &Hub, codes: &[&str]) {
    let wanted: BTreeSet<String> = codes.iter().map(ToString::to_string).collect();
    let begun = Instant::now();
    let mut last = None;
    let is_said = waited(NOTICED_WITHIN, || {
        last = troubles(hub);
        last.as_ref().is_some_and(|(status, said)| *said == wanted && (*status == 503) != codes.is_empty())
    });
    assert!(is_said, "it should say {wanted:?} and says {last:?}");
    eprintln!("it says {codes:?} after {:.1?}", begun.elapsed());
}

/// A device that posts its points, and goes on to the next when one is taken.
struct Poster {
    id: String,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Poster {
    fn start(hub: &Hub, (id, credential): (String, String)) -> Self {
        let [taken, refused] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let url = format!("{}/devices/{id}/telemetry", hub.api.base);
        let (counts, over) = ((taken.clone(), refused.clone()), stop.clone());
        let thread = std::thread::spawn(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(30)))
                .build()
                .into();
            while !over.load(Ordering::SeqCst) {
                let n = counts.0.load(Ordering::SeqCst) + 1;
                let point = json!({ "n": n, "ts": FIRST_MS + i64::try_from(n).expect("small") });
                let request = agent.post(&url).header("Authorization", format!("Bearer {credential}"));
                let answer = request.send(point.to_string());
                match answer.map(|answer| answer.status().as_u16()) {
                    Ok(200..300) => counts.0.store(n, Ordering::SeqCst),
                    Ok(503) => drop(counts.1.fetch_add(1, Ordering::SeqCst)),
                    Ok(status) => panic!("a point is answered with {status}"),
                    Err(_) => {}
                }
                waited(Duration::from_millis(200), || over.load(Ordering::SeqCst));
            }
        });
        Self { id, taken, refused, stop, thread }
    }

    fn end(self, hub: &Hub) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("it ends");
        let found = hub.api.get(&format!("/devices/{}/telemetry?metric=n&limit=100000", self.id));
        let items = found["items"].as_array().expect("points");
        let stored: BTreeSet<u64> =
            items.iter().filter_map(|item| item["value"].as_f64()).map(|n| n as u64).collect();
        let taken = self.taken.load(Ordering::SeqCst);
        eprintln!("{taken} points taken by HTTP, {} refused", self.refused.load(Ordering::SeqCst));
        assert_eq!(stored.len(), items.len(), "a point is there twice");
        let missing = (1..=taken).filter(|n| !stored.contains(n)).count();
        assert_eq!(missing, 0, "points that were taken are missing");
    }
}

/// Everything that goes on meanwhile.
struct Work {
    /// Between the nodes: QoS 1 and 2, by who stays where it is and by who goes elsewhere.
    traffic: Vec<(u8, String, Traffic)>,
    swarms: Vec<Swarm>,
    poster: Poster,
    deployment: String,
    shadow: (String, i64),
}

impl Work {
    fn start(place: &Place) -> Self {
        let (api, token) = (&place.hub.api, &place.hub.api.token);
        let [one, two] = [0, 1].map(|at| place.node(at).mqtt());
        let traffic = [1, 2].into_iter().flat_map(|qos| {
            let (here, there) = (std::slice::from_ref(&one), std::slice::from_ref(&two));
            let (first, second) = ([one.clone(), two.clone()], [two.clone(), one.clone()]);
            [
                (qos, format!("QoS {qos}, patient"), Traffic::start(qos, here, there, token, true)),
                (qos, format!("QoS {qos}, hasty"), Traffic::start(qos, &first, &second, token, false)),
            ]
        });
        let traffic: Vec<_> = traffic.collect();
        let swarms = [0, 1].map(|at| {
            let node = place.node(at);
            let devices = (0..DEVICES).map(|n| api.native(&format!("d{at}-{n}"), "swarm")).collect();
            Swarm::start(&node.http(), &node.mqtt(), devices, EVERY)
        });
        let poster = Poster::start(place.node(0), api.native("poster", "poster"));
        let (shadowed, _) = api.native("shadowed", "shadowed");
        let script = api.script("blink", "print(1)");
        until("all are connected", || swarms.iter().all(|swarm| swarm.connected() == DEVICES).then_some(()));
        let order = json!({ "script": script, "selector": "tag=swarm", "health_window_seconds": 10 });
        let made = api.post("/deployments", &order);
        let deployment = made["id"].as_str().expect("an id").to_owned();
        let mut work = Self { traffic, swarms: swarms.into(), poster, deployment, shadow: (shadowed, 0) };
        assert_eq!(work.wish(place.node(0)), 200);
        until("all of them work", || work.traffic.iter().all(|(.., it)| it.newest() > 20).then_some(()));
        let states = || work.states(place);
        until("the rollout has begun", || states().iter().any(|s| s == "Applying").then_some(()));
        work
    }

    fn states(&self, place: &Place) -> Vec<String> {
        let found = place.hub.api.get(&format!("/deployments/{}", self.deployment));
        let tasks = found["tasks"].as_array().expect("tasks");
        tasks.iter().map(|task| task["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Wishes something of a device at a node; whether it was accepted.
    fn wish(&mut self, node: &Hub) -> u16 {
        let wished = json!({ "state": { "desired": { "n": self.shadow.1 + 1 } } });
        let path = format!("/devices/{}/shadow", self.shadow.0);
        let (status, answer) = node.api.call("PATCH", &path, Some(&wished));
        assert!(matches!(status, 200 | 503), "{status}: {answer}");
        self.shadow.1 += i64::from(status == 200);
        status
    }

    /// All that was acknowledged is there and is as it should be. A node that slept answered no pings.
    fn end(self, place: &Place, slept: bool) {
        let is_done = || self.states(place).iter().all(|state| state == "Done");
        assert!(waited(Duration::from_secs(120), is_done), "the rollout: {:?}", self.states(place));
        let ended: Vec<_> = self.traffic.into_iter().map(|(qos, what, it)| (qos, what, it.end())).collect();
        for (qos, what, heard) in &ended {
            heard.must_be_all(*qos, what);
            assert!(slept || heard.unanswered == 0, "{what}: {} pings were not answered", heard.unanswered);
        }
        for swarm in &self.swarms {
            swarm.rest();
            until("everything said is acknowledged", || swarm.is_all_acknowledged().then_some(()));
            let missing: usize = swarm.devices.iter().map(|device| device.missing(&place.hub.api)).sum();
            assert_eq!(missing, 0, "points that were acknowledged are missing");
            eprintln!("{} points acknowledged by MQTT and stored", swarm.acknowledged());
        }
        self.poster.end(place.node(1));
        let shadow = place.hub.api.get(&format!("/devices/{}/shadow", self.shadow.0));
        let wished = shadow["state"]["desired"]["n"].as_i64().unwrap_or_default();
        // One that was answered with "not now" may have been written when the answer was lost.
        assert!(
            (self.shadow.1..=self.shadow.1 + 1).contains(&wished),
            "{} was accepted: {shadow}",
            self.shadow.1
        );
        for at in [0, 1] {
            let log = place.node(at).log.lock().expect("the log").clone();
            assert!(!log.contains("panicked"), "node {at} panicked:\n{log}");
        }
    }
}

/// All is well again, and everybody goes on.
fn recovers(place: &Place, work: &Work) {
    let healed = Instant::now();
    for at in [0, 1] {
        says(place.node(at), &[]);
    }
    let ready = healed.elapsed();
    let said: Vec<u64> = work.traffic.iter().map(|(.., it)| it.newest()).collect();
    let swarms: Vec<u64> = work.swarms.iter().map(Swarm::acknowledged).collect();
    let left = RECOVERED_WITHIN.saturating_sub(healed.elapsed());
    let goes_on = || {
        let all = work.traffic.iter().zip(&said).all(|((.., it), before)| it.newest() > before + 20);
        all && work.swarms.iter().zip(&swarms).all(|(swarm, before)| swarm.acknowledged() > *before)
    };
    let is_going_on = waited(left, goes_on);
    let now: Vec<u64> = work.traffic.iter().map(|(.., it)| it.newest()).collect();
    assert!(is_going_on, "{RECOVERED_WITHIN:?} after it was over, of {said:?} there is {now:?}");
    until_within(RECOVERED_WITHIN, "all devices are online at both nodes", || {
        let online = |at| place.node(at).api.get("/devices?selector=tag%3Dswarm+and+online&limit=1");
        [0, 1].iter().all(|at| online(*at)["total"] == 2 * DEVICES).then_some(())
    });
    eprintln!("ready after {ready:.1?}, all go on after {:.1?}", healed.elapsed());
}

fn stays(span: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        assert!(holds(), "{what} does not hold after {:?}", begun.elapsed());
        waited(Duration::from_millis(500), || false);
    }
}

#[test]
fn without_the_bus_all_goes_on() {
    let _turn = turn();
    let place = Place::new();
    let mut work = Work::start(&place);
    place.hub.nats.kill();
    for at in [0, 1] {
        says(place.node(at), &["bus_away"]);
    }
    // It is only slower.
    let before: Vec<u64> = work.traffic.iter().map(|(.., it)| it.newest()).collect();
    stays(AWAY, "nothing is refused", || work.wish(place.node(0)) == 200);
    let after: Vec<u64> = work.traffic.iter().map(|(.., it)| it.newest()).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{before:?} {after:?}");
    place.hub.nats.start_again();
    recovers(&place, &work);
    work.end(&place, false);
}

#[test]
fn what_the_database_does_not_have_is_not_acknowledged() {
    let _turn = turn();
    let place = Place::new();
    let mut work = Work::start(&place);
    for _ in 0..3 {
        place.hub.postgres.kill();
        let killed = Instant::now();
        for at in [0, 1] {
            says(place.node(at), &["store_away"]);
        }
        let before: Vec<u64> = work.traffic.iter().map(|(.., it)| it.said()).collect();
        let both = [0, 1];
        stays(AWAY / 3, "everything is refused", || both.iter().all(|at| work.wish(place.node(*at)) == 503));
        let after: Vec<u64> = work.traffic.iter().map(|(.., it)| it.said()).collect();
        assert_eq!(before, after, "acknowledged {:?} after the database was killed", killed.elapsed());
        place.hub.postgres.start();
        recovers(&place, &work);
    }
    work.end(&place, false);
}

/// A cut of one node for a minute; what it says, and what goes away.
fn cut_off(codes: &[&str], pulled: impl Fn(&Place) -> Vec<&Cable>) {
    let _turn = turn();
    let place = Place::new();
    let mut work = Work::start(&place);
    let token = place.hub.api.post("/tokens", &json!({ "name": "guest", "role": "engineer" }));
    let [id, secret] = ["id", "token"].map(|key| token[key].as_str().expect("a text").to_owned());
    let mut guest = Session::connect(&place.node(0).mqtt(), false, "guest", &secret).expect("it is let in");
    guest.ping().expect("it is there");
    // A device that says nothing, and whose session ends with its connection: it stays where it is.
    let (idle, credential) = place.hub.api.native("idle", "idle");
    let mqtt = place.node(0).mqtt();
    let mut silent = Publisher::connect(&mqtt, &idle, &idle, &credential).expect("it is let in");
    let is_online = |online: bool| {
        let seen = place.node(1).api.get(&format!("/devices/{idle}"))["online"].clone();
        (seen == online).then_some(())
    };
    until("it is online", || is_online(true));
    pulled(&place).iter().for_each(|cable| cable.pull());
    let begun = Instant::now();
    says(place.node(0), codes);
    says(place.node(1), &[]);
    let (status, answer) = place.node(1).api.call("DELETE", &format!("/tokens/{id}"), None);
    assert!(status < 300, "{status} {answer}");
    let is_off_store = codes.contains(&"store_away");
    let first = place.node(1);
    until_within(TAKEN_OVER_WITHIN, "the other one goes on", || (work.wish(first) == 200).then_some(()));
    if is_off_store {
        until_within(Duration::from_secs(45), "nobody knows of its devices", || is_online(false));
        assert_eq!(work.wish(place.node(0)), 503);
        let other = Session::connect(&mqtt, false, "other", &secret);
        assert!(other.is_err(), "nobody is let in who cannot be looked up");
        until_within(TAKEN_OVER_WITHIN, "the other one does all the work", || {
            let nodes = first.api.get("/nodes");
            let does = |name: &str| {
                let node = nodes["items"].as_array()?.iter().find(|node| node["name"] == name)?;
                node["work"].as_array().map(Vec::len)
            };
            (does("two") == Some(WORKS)).then_some(())
        });
    }
    guest.patience(RECOVERED_WITHIN).expect("it waits");
    let mut is_out = || guest.ping().is_err().then_some(());
    if !is_off_store {
        until_within(RECOVERED_WITHIN, "whose token was revoked is out, also without the bus", &mut is_out);
    }
    stays(CUT.saturating_sub(begun.elapsed()), "the other one goes on", || work.wish(first) == 200);
    pulled(&place).iter().for_each(|cable| cable.mend());
    let healed = Instant::now();
    until_within(RECOVERED_WITHIN, "whose token was revoked is out", is_out);
    eprintln!("the guest is out {:.1?} after the end", healed.elapsed());
    recovers(&place, &work);
    until_within(RECOVERED_WITHIN, "who was connected all the time is online", || is_online(true));
    silent.publish(&format!("devices/{idle}/telemetry"), 1, "{\"n\":1}").expect("it is still connected");
    silent.acknowledged().expect("it is still connected");
    assert!(Session::connect(&mqtt, false, "guest", &secret).is_err(), "a revoked token lets somebody in");
    work.end(&place, false);
}

#[test]
fn a_node_without_its_network_to_the_database_is_missed_by_nobody() {
    cut_off(&["store_away"], |place| vec![&place.stores[0]]);
}

#[test]
fn a_node_without_its_network_to_the_bus_is_only_slower() {
    cut_off(&["bus_away"], |place| vec![&place.buses[0]]);
}

#[test]
fn a_node_that_is_cut_off_does_no_work_of_the_hub() {
    cut_off(&["bus_away", "store_away"], |place| vec![&place.stores[0], &place.buses[0]]);
}

#[test]
fn a_node_that_slept_notices_that_others_do_its_work() {
    let _turn = turn();
    let place = Place::new();
    let mut work = Work::start(&place);
    let signal = |name: &str| {
        let pid = place.node(0).pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    };
    for _ in 0..2 {
        signal("-STOP");
        let other = place.node(1);
        until_within(TAKEN_OVER_WITHIN, "the other one goes on", || (work.wish(other) == 200).then_some(()));
        stays(AWAY, "the other one goes on", || work.wish(other) == 200);
        signal("-CONT");
        recovers(&place, &work);
    }
    work.end(&place, true);
}
