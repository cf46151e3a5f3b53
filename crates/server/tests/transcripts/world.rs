//! One hub, its clock, what was remembered on the way, and the connections of devices.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};

use motehub_domain::access::Role;
use motehub_domain::time::{Span, Time};
use motehub_server::{Clock, EspFirmware, Pyaiot, Server, Settings, add_token};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::board::Board;
use crate::coap::Nodes;
use crate::http::{self, Answer, Ending};
use crate::mqtt::Link;
use crate::rpc::Rpc;
use crate::sensor::Sensor;

const START: Time = Time(1_800_000_000_000);
const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data; boundary=transcript";

pub(crate) struct World {
    pub http: SocketAddr,
    mqtt: SocketAddr,
    mdash: SocketAddr,
    pyaiot: SocketAddr,
    listeners: motehub_server::NodeAddresses,
    sensors: HashMap<String, Sensor>,
    clock: Clock,
    token: String,
    names: HashMap<String, String>,
    links: HashMap<String, Link>,
    former_links: Vec<Link>,
    rpcs: HashMap<String, Rpc>,
    coap: SocketAddr,
    nodes: Nodes,
    board: Board,
    answers: HashMap<String, Answer>,
    ending: Ending,
    held: Option<TcpStream>,
    counters: Vec<(String, f64)>,
    runtime: Handle,
    running: JoinHandle<std::io::Result<()>>,
    shutdown: CancellationToken,
    _data: tempfile::TempDir,
}

impl World {
    pub(crate) fn start(runtime: &Handle) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut nodes = Nodes::new();
        let board = Board::new();
        let places = ["a", "b"].map(|node| (format!("{node}.ip"), nodes.address(node).to_string()));
        let settings = Settings {
            store: servers::store_of(data.path()).parse().unwrap(),
            coap: Some(free),
            nodes: motehub_server::Nodes { websocket: Some(free), mqtt: Some(free), mqtt_sn: Some(free) },
            riot_port: nodes.port(),
            mdash: Some(free),
            pyaiot: Pyaiot { address: Some(free), ..Pyaiot::default() },
            esp_firmware: Some(EspFirmware { port: board.port(), networks: Vec::new(), logstash: None }),
            webhook_networks: vec![motehub_domain::network::Network::of([127, 0, 0, 1].into())],
            clock: clock.clone(),
            ..Settings::in_folder(data.path())
        };
        let server = runtime.block_on(Server::bind(settings)).unwrap();
        let token = runtime
            .block_on(add_token(&servers::store_of(data.path()).parse().unwrap(), "ada", Role::Admin))
            .unwrap();
        let addresses = server.addresses();
        let shutdown = CancellationToken::new();
        let running = runtime.spawn(server.run(shutdown.clone()));
        let mut world = Self {
            http: addresses.http,
            mqtt: addresses.mqtt,
            mdash: addresses.mdash.unwrap(),
            pyaiot: addresses.pyaiot.unwrap(),
            listeners: addresses.nodes,
            sensors: HashMap::new(),
            clock,
            token,
            names: places.into_iter().collect(),
            links: HashMap::new(),
            former_links: Vec::new(),
            rpcs: HashMap::new(),
            coap: addresses.coap.unwrap(),
            nodes,
            board,
            answers: HashMap::new(),
            ending: Ending::Close,
            held: None,
            counters: Vec::new(),
            runtime: runtime.clone(),
            running,
            shutdown,
            _data: data,
        };
        world.counters = world.count();
        world
    }

    /// Stops the hub; nobody may have been told more than the transcript has.
    pub(crate) fn end(self) -> Outcome {
        let Self { links, former_links, rpcs, answers, runtime, running, shutdown, .. } = self;
        if let Some((name, answer)) = answers.iter().next() {
            return Err(format!("nobody looked at the answer {answer:?} on connection {name:?}"));
        }
        shutdown.cancel();
        runtime.block_on(running).unwrap().map_err(|error| format!("the hub ended with {error}"))?;
        let links = links.into_iter().chain(former_links.into_iter().map(|link| (String::new(), link)));
        let links = links.map(|(name, mut link)| (name, link.rest()));
        for (name, rest) in links.chain(rpcs.into_iter().map(|(name, mut rpc)| (name, rpc.rest()))) {
            if !rest.is_empty() {
                return Err(format!("connection {name:?} was told more: {rest:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn clock_moves(&self, text: &str) -> Outcome {
        let units = [("ms", 1), ("s", 1000), ("d", 86_400_000)];
        let text = text.trim_start_matches('+');
        let span = units
            .iter()
            .find_map(|(unit, ms)| Some(text.strip_suffix(unit)?.parse::<i64>().ok()? * ms))
            .ok_or("a span is a number with ms, s or d")?;
        self.clock.advance(Span(span));
        Ok(())
    }

    pub(crate) fn fault(&mut self, text: &str) -> Outcome {
        let bytes = text.strip_prefix("cut after ").and_then(|rest| rest.strip_suffix(" bytes"));
        self.ending = match bytes.and_then(|number| number.parse().ok()) {
            Some(bytes) => Ending::CutAfter(bytes),
            None if text == "hold" => Ending::Hold,
            None => return Err("there is no such fault".to_owned()),
        };
        Ok(())
    }

    pub(crate) fn device_says(&mut self, name: &str, text: &str) -> Outcome {
        let text = self.expand(text)?;
        let word = text.split(' ').next().unwrap_or_default();
        if ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"].contains(&word) {
            let ending = std::mem::replace(&mut self.ending, Ending::Close);
            let (answer, held) = http::device(self.http, &text, ending)?;
            self.held = held;
            return match self.answers.insert(name.to_owned(), answer) {
                None => Ok(()),
                Some(former) => Err(format!("nobody looked at the former answer {former:?}")),
            };
        }
        if let Some(text) = text.strip_prefix("coap ") {
            return self.nodes.say(name, self.coap, text);
        }
        if let Some(text) = text.strip_prefix("post ") {
            return self.board.say(text);
        }
        if word == "(close)" {
            return self.held.take().map(drop).ok_or("no connection is held".to_owned());
        }
        if word == "OPEN" {
            let text = text.trim_start_matches("OPEN").trim();
            let rpc = match text.starts_with('/') {
                true if text.starts_with("/node") => {
                    Rpc::open_pyaiot(&self.runtime, self.listeners.websocket.unwrap(), text)
                }
                true => Rpc::open_pyaiot(&self.runtime, self.pyaiot, text),
                false => Rpc::open(&self.runtime, self.mdash, text),
            };
            self.rpcs.insert(name.to_owned(), rpc);
            return Ok(());
        }
        if let Some(rpc) = self.rpcs.get_mut(name) {
            return rpc.say(&text);
        }
        if let Some(text) = text.strip_prefix("sn ") {
            let address = self.listeners.mqtt_sn.unwrap();
            return self.sensors.entry(name.to_owned()).or_insert_with(|| Sensor::new(address)).say(text);
        }
        let text = text
            .strip_prefix("(nodes) ")
            .map_or((text.as_str(), self.mqtt), |text| (text, self.listeners.mqtt.unwrap()));
        let (text, mqtt) = text;
        if text.starts_with("CONNECT") {
            let former = self.links.insert(name.to_owned(), Link::open(mqtt));
            self.former_links.extend(former);
        }
        let link = self.links.get_mut(name).ok_or("there is no such connection")?;
        link.say(text)
    }

    pub(crate) fn device_is_told(&mut self, name: &str, text: &str) -> Outcome {
        let text = self.expand(text)?;
        if let Some(text) = text.strip_prefix("coap ") {
            return self.nodes.expect(name, text);
        }
        if let Some(text) = text.strip_prefix("post ") {
            return self.board.expect(text);
        }
        if let Some(text) = text.strip_prefix("sn ") {
            return self.sensors.get(name).ok_or("there is no such connection")?.expect(text);
        }
        match (self.answers.remove(name), self.rpcs.get_mut(name)) {
            (Some(answer), _) => answer.is(&text),
            (None, Some(rpc)) => rpc.expect(&text),
            (None, None) => {
                let link = self.links.get_mut(name).ok_or("there is no such connection")?;
                self.names.extend(link.expect(&text)?);
                Ok(())
            }
        }
    }

    /// `POST /path {…} => 201 board=id`.
    pub(crate) fn person_asks(&mut self, text: &str, has_token: bool) -> Outcome {
        let (request, expected) = text.split_once(" => ").ok_or("what is expected behind ` => `?")?;
        let (method, rest) = request.split_once(' ').ok_or("a method and a path")?;
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let (path, body) = (self.expand(path)?, self.expand(body)?);
        let path = if path.starts_with("/request.php") { path } else { format!("/api/v1{path}") };
        let (status, answer) = match method {
            "UPLOAD" => self.api("POST", &path, (FORM, &form(&body)?), has_token),
            _ => self.api(method, &path, (JSON, &body), has_token),
        };
        let mut words = expected.split(' ');
        let wanted = words.next().unwrap_or_default();
        if status.to_string() != wanted {
            return Err(format!("expected {wanted}, got {status} {answer}"));
        }
        for word in words {
            match word.split_once('=') {
                Some((name, field)) => {
                    let value = answer[field].as_str().map(str::to_owned);
                    let value = value.unwrap_or_else(|| answer[field].to_string());
                    self.names.insert(name.to_owned(), value);
                }
                None if answer["code"] == *word => {}
                None => return Err(format!("expected the code {word}, got {answer}")),
            }
        }
        if method == "POST" && path == "/api/v1/devices" && status == 201 {
            let id = answer["id"].as_str().unwrap();
            for known_as in [&answer["name"], &answer["external_id"]].into_iter().filter_map(Value::as_str) {
                self.names.insert(known_as.to_owned(), id.to_owned());
            }
        }
        Ok(())
    }

    /// Something is called so from now on.
    pub(crate) fn remember(&mut self, name: &str, value: String) {
        self.names.insert(name.to_owned(), value);
    }

    /// Asks the API as an administrator.
    pub(crate) fn look(&self, path: &str) -> Value {
        self.api("GET", &format!("/api/v1{path}"), (JSON, ""), true).1
    }

    fn api(&self, method: &str, path: &str, body: (&str, &str), has_token: bool) -> (u16, Value) {
        let token = Some(self.token.as_str()).filter(|_| has_token);
        let (status, text) = http::person(self.http, method, path, token, body);
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The id behind a name.
    pub(crate) fn id(&self, name: &str) -> Result<&str, String> {
        self.names.get(name).map(String::as_str).ok_or_else(|| format!("nothing is called {name:?}"))
    }

    /// How much each counter has grown since this hub started.
    pub(crate) fn grown(&self, counter: &str) -> f64 {
        let of = |counters: &[(String, f64)]| {
            counters.iter().filter(|(name, _)| name == counter).map(|(_, value)| value).sum::<f64>()
        };
        of(&self.count()) - of(&self.counters)
    }

    fn count(&self) -> Vec<(String, f64)> {
        let (_, text) = http::person(self.http, "GET", "/metrics", None, (JSON, ""));
        let counters = text.lines().filter_map(|line| line.rsplit_once(' '));
        counters.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// `{board}` is what was remembered, `{x*1000}` a thousand x.
    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, behind) = rest.split_at(at);
            expanded.push_str(before);
            let inside = behind[1..].split(['}', '"', '{']).next().unwrap_or_default();
            let is_closed = behind[1 + inside.len()..].starts_with('}');
            match inside.split_once('*') {
                Some((what, times)) if is_closed => {
                    expanded.push_str(&what.repeat(times.parse().map_err(|_| "no number of times")?));
                }
                None if is_closed && !inside.is_empty() => expanded.push_str(self.id(inside)?),
                _ => {
                    expanded.push('{');
                    rest = &behind[1..];
                    continue;
                }
            }
            rest = &behind[inside.len() + 2..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// The fields `name=light version=1.3` and, as the file, what `file=` says, or the same text.
fn form(text: &str) -> Result<String, String> {
    let mut form = String::new();
    let mut part = |name: &str, value: &str| {
        let head = format!("--transcript\r\nContent-Disposition: form-data; name=\"{name}\"");
        form.push_str(&format!("{head}\r\n\r\n{value}\r\n"));
    };
    let mut file = text;
    for field in text.split(' ') {
        match field.split_once('=').ok_or("a field is name=value")? {
            ("file", bytes) => file = bytes,
            (name, value) => part(name, value),
        }
    }
    part("file\"; filename=\"image", file);
    form.push_str("--transcript--\r\n");
    Ok(form)
}
