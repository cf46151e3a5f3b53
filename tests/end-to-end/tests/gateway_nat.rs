//! A gateway in another building: a network of its own behind a router that translates addresses, from where only
//! connections that go out exist.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use end_to_end::{Gateway, Hub, binary, join_file, until};
use serde_json::Value;

/// Three networks: the hub's, a router, and the gateway's behind it. Needs no rights of its own.
const NETWORKS: &str = r#"set -e
ip link set lo up
unshare --net sleep 600 & router=$!
unshare --net sleep 600 & inside=$!
trap 'kill $router $inside' EXIT
while [ "$(readlink /proc/$router/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
while [ "$(readlink /proc/$inside/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add wan0 type veth peer name wan1
ip link set wan1 netns $router
ip address add 203.0.113.1/24 dev wan0
ip link set wan0 up
nsenter --target $router --net sh -ec "ip link set lo up
ip address add 203.0.113.2/24 dev wan1
ip link set wan1 up
ip link add lan0 type veth peer name lan1
ip link set lan1 netns $inside
ip address add 10.9.0.1/24 dev lan0
ip link set lan0 up
echo 1 > /proc/sys/net/ipv4/ip_forward
nft add table ip nat
nft add chain ip nat out '{ type nat hook postrouting priority 100 ; }'
nft add rule ip nat out oifname wan1 masquerade"
nsenter --target $inside --net sh -ec "ip link set lo up
ip address add 10.9.0.2/24 dev lan1
ip link set lan1 up
ip route add default via 10.9.0.1"
echo "ready $inside"
cat
"#;

/// The three networks, while they live.
struct Networks {
    holder: Child,
    inside: String,
}

impl Networks {
    /// An error says why this machine does not let us make them.
    fn new() -> Result<Self, String> {
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", NETWORKS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut line = String::new();
        let mut stdout = BufReader::new(holder.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("an answer");
        match line.trim().strip_prefix("ready ") {
            Some(inside) => Ok(Self { holder, inside: inside.to_owned() }),
            None => {
                let why = holder.wait_with_output().expect("it ends");
                Err(String::from_utf8_lossy(&why.stderr).into_owned())
            }
        }
    }

    /// What runs a program in the network of the hub.
    fn outside(&self) -> Vec<String> {
        enter(&self.holder.id().to_string())
    }

    /// What runs a program in the network of the gateway.
    fn inside(&self) -> Vec<String> {
        enter(&self.inside)
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        // The end of its input ends it, and with it what it started.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn enter(target: &str) -> Vec<String> {
    let words = ["nsenter", "--target", target, "--user", "--preserve-credentials", "--net", "--"];
    words.map(str::to_owned).to_vec()
}

fn run(wrapper: &[String], words: &[&str]) -> Output {
    let mut command = Command::new(&wrapper[0]);
    command.args(&wrapper[1..]).args(words).output().expect("it starts")
}

/// A person at the hub.
struct Ctl<'a> {
    wrapper: &'a [String],
    http: &'a str,
    token: &'a Path,
}

impl Ctl<'_> {
    fn call(&self, words: &[&str]) -> Value {
        let program = binary().display().to_string();
        let token = self.token.display().to_string();
        let hub = format!("http://{}", self.http);
        let mut all = vec![&*program, "ctl", "--json", "--hub", &hub, "--token-file", &token];
        all.extend(words);
        let done = run(self.wrapper, &all);
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap_or_default()
    }

    fn state(&self) -> Value {
        self.call(&["gateway", "show", "cellar"])["state"].clone()
    }
}

#[test]
fn a_gateway_behind_nat_needs_only_a_way_out_and_is_cut_within_a_second() {
    let networks = match Networks::new() {
        Ok(networks) => networks,
        Err(why) => {
            println!("NOT SHOWN: this machine makes no networks with a router that translates: {why}");
            return;
        }
    };
    let (outside, inside) = (networks.outside(), networks.inside());
    let folder =
        Arc::new(tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a temporary folder"));
    let words: Vec<&str> = outside.iter().map(String::as_str).collect();
    let hub = Hub::start_on(folder.clone(), &words, &["--https", "203.0.113.1:0"]);
    let (https, http) = (hub.ready["https"].as_str().expect("it listens by TLS").to_owned(), hub.http());
    let token = folder.path().join("token");
    fs::write(&token, &hub.api.token).expect("it is written");
    let ctl = Ctl { wrapper: &outside, http: &http, token: &token };
    let made = ctl.call(&["gateway", "new", "cellar", "--address", &format!("https://{https}")]);
    let join = made["join_file"].as_str().expect("a file");
    assert!(join.contains("BEGIN CERTIFICATE"), "{join}");
    let device = ctl.call(&["device", "add", "lamp", "--dialect", "native"]);
    let text = |key: &str| device[key].as_str().expect("a text").to_owned();
    let (id, credential) = (text("id"), text("credential"));

    let gateway = Gateway::start("mqtt", &join_file(folder.path(), join), &inside, &[]);
    until("it is linked", || (ctl.state() == "linked").then_some(()));
    assert_eq!(ctl.call(&["gateway", "show", "cellar"])["address"], "203.0.113.2", "that of the router");
    let way_in = run(&outside, &["ip", "route", "get", "10.9.0.2"]);
    assert!(!way_in.status.success(), "there is no way in: {way_in:?}");

    // A device in the other building publishes, and the hub has it.
    let (host, port) = gateway.address.rsplit_once(':').expect("an address with a port");
    let topic = format!("devices/{id}/telemetry");
    let publish =
        ["mosquitto_pub", "-h", host, "-p", port, "-i", &id, "-u", &id, "-P", &credential, "-q", "1"];
    let published = run(&inside, &[&publish[..], &["-t", &topic, "-m", r#"{"t":21.5}"#]].concat());
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    let latest = ctl.call(&["telemetry", "show", &id]).to_string();
    assert!(latest.contains("21.5"), "acknowledged is stored: {latest}");

    // Both ends say that the link is over within a second after the key was revoked.
    ctl.call(&["gateway", "revoke", "cellar"]);
    let revoked = Instant::now();
    until("the gateway is told", || gateway.log().contains("its key was revoked").then_some(()));
    let took = revoked.elapsed();
    assert_eq!(ctl.state(), "revoked");
    println!("the link was over {} ms after the key was revoked", took.as_millis());
    assert!(took < Duration::from_secs(10), "{took:?}: at once, but for a machine that is busy");
}
