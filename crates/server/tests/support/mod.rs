//! A real hub on its own data folder with a clock that is moved by hand, and small clients written by hand: they
//! send exactly the bytes that a test says, also wrong ones.

pub(crate) mod aws;
pub(crate) mod bench;
pub(crate) mod cut;
pub(crate) mod events;
pub(crate) mod gateway;
pub(crate) mod live;
pub(crate) mod mdash;
pub(crate) mod mqtt;
pub(crate) mod pusher;
pub(crate) mod pyaiot;
pub(crate) mod smtp;
pub(crate) mod target;

mod served;
mod wait;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use motehub_domain::access::Role;
use motehub_domain::network::Network;
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::TopicFilter;
use motehub_server::{Clock, Pyaiot, SmtpSecurity, SmtpSettings, add_token};
use motehub_store::Store;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use served::Served;

/// When every hub starts: 2027-01-15T08:00:00Z.
pub(crate) const START: Time = Time(1_800_000_000_000);

/// A hub that runs until it is dropped, and the token of an administrator.
pub(crate) struct Hub {
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) mdash: SocketAddr,
    pub(crate) aws: SocketAddr,
    pub(crate) pyaiot: SocketAddr,
    pub(crate) pusher: SocketAddr,
    pub(crate) nodes_ws: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) ada: Caller,
    pub(crate) setup_code: String,
    /// How long the end before this start took, if there was one.
    pub(crate) ended_in: Duration,
    data: tempfile::TempDir,
    served: Served,
}

/// How a request proves who sends it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) cookie: Option<String>,
    pub(crate) csrf: Option<String>,
    pub(crate) token: Option<String>,
}

/// What came back.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_open_to(&[]).await
    }

    /// A hub that opens topic filters to MQTT clients without credentials.
    pub(crate) async fn start_open_to(filters: &[&str]) -> Self {
        Self::start_with(filters, false, Pyaiot::default()).await
    }

    /// A hub that lets the users of the original phone app in.
    pub(crate) async fn start_with_app_users() -> Self {
        Self::start_with(&[], true, Pyaiot::default()).await
    }

    /// A hub that shows all nodes to anybody, and lets pages from there use the login of their visitors.
    pub(crate) async fn start_with_pyaiot(anonymous: bool, origins: &[&str]) -> Self {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Self::start_with(&[], false, Pyaiot { address: None, anonymous, origins }).await
    }

    /// A hub that sends mail by a server without TLS.
    pub(crate) async fn start_with_mail(server: SocketAddr) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let mut settings = served::settings(data.path(), &clock);
        settings.smtp = Some(SmtpSettings {
            security: SmtpSecurity::None,
            host: server.ip().to_string(),
            port: server.port(),
            login: None,
            from: "hub@example.org".to_owned(),
        });
        Self::at(Served::start(settings).await, clock, data, None).await
    }

    /// A hub with a balancer at one address of this machine.
    pub(crate) async fn start_behind(balancer: std::net::IpAddr) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let mut settings = served::settings(data.path(), &clock);
        settings.balancers = vec![Network::of(balancer)];
        Self::at(Served::start(settings).await, clock, data, None).await
    }

    async fn start_with(filters: &[&str], mdash_app_users: bool, pyaiot: Pyaiot) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let mut settings = served::settings(data.path(), &clock);
        settings.mdash_app_users = mdash_app_users;
        settings.pyaiot = Pyaiot { address: settings.pyaiot.address, ..pyaiot };
        settings.mqtt_anonymous = filters.iter().map(|filter| TopicFilter::parse(filter).unwrap()).collect();
        Self::at(Served::start(settings).await, clock, data, None).await
    }

    /// What a node of a hub of several is set to, without its store and its bus.
    pub(crate) fn settings(data: &std::path::Path) -> motehub_server::Settings {
        served::settings(data, &Clock::System)
    }

    /// A node of a hub of several, called by `ada`, who is made if she is not there yet; or why it does not start.
    pub(crate) async fn one_of(
        data: tempfile::TempDir,
        settings: motehub_server::Settings,
        ada: Option<&Caller>,
    ) -> Result<Self, String> {
        let clock = settings.clock.clone();
        let served = Served::start_apart(settings).await?;
        let is_first = ada.is_none();
        let mut hub = Self::at(served, clock, data, Some(ada.cloned().unwrap_or_default())).await;
        if is_first {
            hub.set_up(&hub.setup_code.clone()).await;
        }
        Ok(hub)
    }

    /// Makes Ada with a one-time code, and a token for her.
    pub(crate) async fn set_up(&mut self, code: &str) {
        let first = json!({ "code": code, "name": "ada", "password": "correct horse battery" });
        let came = self.call("POST", "/setup", &Caller::default(), Some(&first)).await;
        assert_eq!(came.status, 200, "{came:?}");
        let cookie = came.header("set-cookie").unwrap().strip_prefix("motehub_session=").unwrap();
        let cookie = Some(cookie.split(';').next().unwrap().to_owned());
        let caller = Caller { cookie, csrf: Some(came.string("csrf")), token: None };
        let token =
            self.call("POST", "/tokens", &caller, Some(&json!({ "name": "ada", "role": "admin" }))).await;
        self.ada = Caller::token(token.string("token"));
    }

    /// Ends as a machine that dies.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends in good order.
    pub(crate) async fn end(mut self) {
        self.served.end().await;
    }

    /// The same hub once more, with the same data and other addresses, after its end. It posts to addresses inside of
    /// private networks or it does not.
    pub(crate) async fn again(mut self, private_webhooks: bool) -> Self {
        let began = Instant::now();
        self.served.end().await;
        let ended_in = began.elapsed();
        let mut settings = served::settings(self.data.path(), &self.clock);
        if !private_webhooks {
            settings.webhook_networks.clear();
        }
        let again = Self::at(Served::start(settings).await, self.clock, self.data, Some(self.ada)).await;
        Self { ended_in, ..again }
    }

    async fn at(served: Served, clock: Clock, data: tempfile::TempDir, ada: Option<Caller>) -> Self {
        let ada = match ada {
            Some(ada) => ada,
            None => Caller::token(
                add_token(&servers::store_of(data.path()).parse().unwrap(), "ada", Role::Admin)
                    .await
                    .unwrap(),
            ),
        };
        let addresses = served.addresses;
        Self {
            http: addresses.http,
            mqtt: addresses.mqtt,
            mdash: addresses.mdash.unwrap(),
            aws: addresses.aws.unwrap(),
            pyaiot: addresses.pyaiot.unwrap(),
            pusher: addresses.pusher.plain.unwrap(),
            nodes_ws: addresses.nodes.websocket.unwrap(),
            setup_code: served.setup_code.clone(),
            clock,
            ada,
            data,
            served,
            ended_in: Duration::ZERO,
        }
    }

    /// Its data folder.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.data.path()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &self.ada, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &self.ada, Some(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, &self.ada, Some(&body)).await
    }

    pub(crate) async fn put(&self, path: &str) -> Answer {
        self.call("PUT", path, &self.ada, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &self.ada, None).await
    }

    /// Calls a route of the API.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        caller: &Caller,
        body: Option<&Value>,
    ) -> Answer {
        self.send(method, &format!("/api/v1{path}"), caller, &[], body).await
    }

    /// Calls any path, with further headers.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        caller: &Caller,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let text = body.map(Value::to_string);
        let mut all = headers.to_vec();
        if text.is_some() {
            all.push(("Content-Type", "application/json"));
        }
        self.raw(method, path, caller, &all, text.unwrap_or_default().as_bytes()).await
    }

    /// Sends any bytes as the body.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        caller: &Caller,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let (host, length) = (self.http.to_string(), body.len().to_string());
        let proofs = [
            ("Host", Some(host)),
            ("Content-Length", (!body.is_empty()).then_some(length)),
            ("Cookie", caller.cookie.as_ref().map(|secret| format!("motehub_session={secret}"))),
            ("X-CSRF-Token", caller.csrf.clone()),
            ("Authorization", caller.token.as_ref().map(|token| format!("Bearer {token}"))),
        ];
        let own = proofs.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        for (name, value) in own.chain(headers.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bytes = [head.as_bytes(), b"\r\n", body].concat();
        let answer = self.exchange(&bytes).await;
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        answer
    }

    /// Sends bytes and reads to the end; the hub may answer before it has read everything.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Answer {
        Self::exchange_with(self.http, bytes).await
    }

    /// The same with another listener.
    async fn exchange_with(address: SocketAddr, bytes: &[u8]) -> Answer {
        Self::exchange_over(TcpStream::connect(address).await.unwrap(), bytes).await
    }

    /// The same on a connection.
    async fn exchange_over(stream: impl AsyncRead + AsyncWrite + Send + 'static, bytes: &[u8]) -> Answer {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let bytes = bytes.to_vec();
        let sending = tokio::spawn(async move {
            let _ = writer.write_all(&bytes).await;
            writer
        });
        let mut answer = Vec::new();
        let read = tokio::time::timeout(wait::WAIT_MAX, reader.read_to_end(&mut answer)).await;
        let told = || String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
        assert!(read.is_ok(), "the answer does not end: {:?}", told());
        sending.abort();
        Answer::parse(&answer).unwrap_or_else(|| panic!("no answer: {read:?} {:?}", told()))
    }

    /// Asks until there is what a test waits for.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        fact: impl FnMut() -> F,
    ) -> T {
        wait::until(what, fact).await
    }

    /// The sequence number of the newest change.
    pub(crate) async fn last_seq(&self) -> i64 {
        let newest = self.get("/activity?limit=1").await.json();
        newest["items"][0]["seq"].as_i64().unwrap_or(0)
    }

    /// What is on disk of the password of a user.
    pub(crate) async fn stored_password(&self, name: &str) -> String {
        let store = Store::open(&servers::store_of(self.data.path()).parse().unwrap()).await.unwrap();
        store.user_by_name(name).await.unwrap().unwrap().password_hash
    }

    /// Nothing panicked so far, in any hub of this process, and this one still answers.
    pub(crate) async fn is_well(&self) {
        let metrics = self.send("GET", "/metrics", &Caller::default(), &[], None).await;
        let text = metrics.text();
        let panics = text.lines().find_map(|line| line.strip_prefix("motehub_panics_total "));
        assert_eq!(panics, Some("0"), "{text}");
    }

    /// Registers a board. Returns its id and its credential.
    pub(crate) async fn board(&self, name: &str, chip_id: u32, tags: &[&str]) -> (String, String) {
        let new = json!({ "name": name, "dialect": "nodemcu", "external_id": chip_id.to_string(),
            "tags": tags });
        let made = self.post("/devices", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        (made.string("id"), made.string("credential"))
    }

    /// Makes a script. Returns its id.
    pub(crate) async fn script(&self, name: &str, source: &str) -> String {
        let new = json!({ "name": name, "language": "lua", "source": source });
        let made = self.post("/scripts", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.string("id")
    }

    /// Deploys a version to devices. Returns the deployment's id.
    pub(crate) async fn deploy(&self, script: &str, version: i64, devices: &[&str]) -> String {
        let new = json!({ "script": script, "version": version, "devices": devices });
        let made = self.post("/deployments", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.string("id")
    }

    /// Does what a board does: connects, asks, takes the program in full, starts with it, and goes on for the
    /// health window.
    pub(crate) async fn run_on_board(&self, credential: &str, chip_id: u32, deployment: &str) {
        let _link = mqtt::Publisher::connect(self, &chip_id.to_string(), credential).await.unwrap();
        assert_eq!(self.poll(credential, chip_id).await, "UPDATE", "nothing waits for {chip_id}");
        let program = format!("/d/{credential}/uploads/{chip_id}/boot.lua");
        assert_eq!(self.send("GET", &program, &Caller::default(), &[], None).await.status, 200);
        self.await_task(deployment, chip_id, "Applying").await;
        assert_eq!(self.poll(credential, chip_id).await, "");
        self.clock.advance(Span::seconds(31));
        self.await_task(deployment, chip_id, "Done").await;
    }

    /// Asks as a board does at every start.
    pub(crate) async fn poll(&self, credential: &str, chip_id: u32) -> String {
        let path = format!("/d/{credential}/node.php?id={chip_id}&update");
        self.send("GET", &path, &Caller::default(), &[], None).await.text()
    }

    async fn await_task(&self, deployment: &str, chip_id: u32, state: &str) {
        let found = self.get(&format!("/devices?selector=external_id%3D{chip_id}")).await.json();
        let device = &found["items"][0]["id"];
        let path = format!("/deployments/{deployment}");
        self.until(state, || async {
            let tasks = self.get(&path).await.json()["tasks"].clone();
            tasks
                .as_array()?
                .iter()
                .any(|task| task["device"] == *device && task["state"] == state)
                .then_some(())
        })
        .await;
    }
}

impl std::fmt::Debug for Answer {
    /// The beginning of it, so that a failure can be read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        write!(f, "{} {}", self.status, text.chars().take(1000).collect::<String>())
    }
}

impl Caller {
    pub(crate) fn token(token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..Self::default() }
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Self { status, head, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body)?;
        }
        Some(answer)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn string(&self, key: &str) -> String {
        self.json()[key].as_str().unwrap_or_else(|| panic!("no {key} in {self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The answer is a problem with this status and code, and with a sentence for people.
    pub(crate) fn is(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "expected {code}: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() < 1000), "{problem}");
    }

    /// The answer is a refusal of one field, and the sentence has this part.
    pub(crate) fn refuses(&self, field: &str, part: &str) {
        self.is(400, "invalid");
        let problem = self.json();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "expected {part:?}: {problem}");
    }
}

/// Takes the chunks of a body apart; `None` if it does not end as it should.
fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|part| part == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
