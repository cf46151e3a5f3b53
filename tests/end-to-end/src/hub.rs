//! A hub as a process of its own, and a caller of its API.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

/// Who owns a hub of several nodes.
pub const NAME: &str = "ada";
/// Her password.
pub const PASSWORD: &str = "correct horse battery";

/// The program under test: `MOTEHUB`, or the debug build.
pub fn binary() -> PathBuf {
    match std::env::var_os("MOTEHUB") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/motehub"),
    }
}

/// A running hub with an administrator's token. Dropping it kills it and removes its data.
pub struct Hub {
    child: Child,
    folder: Arc<TempDir>,
    wrapper: Vec<String>,
    /// What makes it a node of several.
    as_node: Vec<String>,
    /// What it said when it was ready.
    pub ready: Value,
    /// Everything it said on the standard error.
    pub log: Arc<Mutex<String>>,
    /// A caller with all rights.
    pub api: Api,
}

impl Hub {
    /// A hub on a fresh folder, with more arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a temporary folder");
        Self::start_on(Arc::new(folder), &[], arguments)
    }

    /// The same hub again after its end, at the same addresses, with the same folder and token.
    pub fn again(&mut self) {
        self.again_with(&[]);
    }

    /// The same, with more arguments.
    pub fn again_with(&mut self, arguments: &[&str]) {
        self.kill();
        let (http, mqtt) = (self.http(), self.mqtt());
        let https = self.ready["https"].as_str().map(str::to_owned);
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let mut all = vec!["--http", &http, "--mqtt", &mqtt];
        all.extend(https.iter().flat_map(|https| ["--https", https]));
        all.extend(arguments);
        let as_node = std::mem::take(&mut self.as_node);
        all.extend(as_node.iter().map(String::as_str));
        *self = Self::start_with(self.folder.clone(), &wrapper, &all, Some(self.api.token.clone()));
        self.as_node = as_node;
    }

    /// A hub on a folder; `wrapper` is a program with arguments that runs it, such as strace.
    pub fn start_on(folder: Arc<TempDir>, wrapper: &[&str], arguments: &[&str]) -> Self {
        Self::start_with(folder, wrapper, arguments, None)
    }

    /// A hub on a data folder that exists already (`data` in this folder), with a token of it.
    pub fn start_known(folder: Arc<TempDir>, token: String) -> Self {
        Self::start_with(folder, &[], &[], Some(token))
    }

    fn start_with(folder: Arc<TempDir>, wrapper: &[&str], arguments: &[&str], token: Option<String>) -> Self {
        let data = folder.path().join("data");
        let token = token.unwrap_or_else(|| add_token_with(wrapper, &data, "tests", "admin"));
        let mut words: Vec<String> = wrapper.iter().map(ToString::to_string).collect();
        words.push(binary().display().to_string());
        let fixed = ["serve", "--data", &data.display().to_string()].map(str::to_owned);
        words.extend(fixed);
        let has = |flag: &str| arguments.contains(&flag);
        for flag in ["--http", "--mqtt"] {
            if !has(flag) {
                words.extend([flag.to_owned(), "127.0.0.1:0".to_owned()]);
            }
        }
        words.extend(arguments.iter().map(ToString::to_string));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; build it with cargo build", words[0]));
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().expect("it is piped"), log.clone());
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("the ready line");
        let ready = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("no ready line but {line:?}: {e}\n{}", log.lock().expect("the log")));
        let api = Api { base: format!("http://{}", text(&ready, "http")), token };
        let wrapper = wrapper.iter().map(ToString::to_string).collect();
        Self { child, folder, wrapper, as_node: Vec::new(), ready, log, api }
    }

    /// A node of a hub of several; `arguments` say which, and are said again when it is started again. Without a token it
    /// is the first one: an administrator is made by its one-time link.
    pub fn one_of(folder: Arc<TempDir>, arguments: &[&str], token: Option<&str>) -> Self {
        let mut node = Self::start_with(folder, &[], arguments, Some(token.unwrap_or_default().to_owned()));
        node.as_node = arguments.iter().map(ToString::to_string).collect();
        if token.is_none() {
            let code = crate::until("the one-time link", || {
                let log = node.log.lock().expect("the log");
                let (_, code) = log.split_once("/setup#")?;
                Some(code.split_whitespace().next()?.to_owned()).filter(|_| code.contains('\n'))
            });
            node.api.set_up(&code);
        }
        node
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its HTTP listens.
    pub fn http(&self) -> String {
        text(&self.ready, "http")
    }

    /// Where its MQTT listens.
    pub fn mqtt(&self) -> String {
        text(&self.ready, "mqtt")
    }

    /// Kills it as a power cut would, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Has it do nothing, as a machine that vanishes without a word, until [`Hub::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Asks it to end (SIGTERM) and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        let _ = match self.wrapper.is_empty() {
            true => Command::new("kill").args(["-TERM", &pid]).status(),
            false => Command::new("pkill").args(["-TERM", "-P", &pid]).status(),
        };
        self.ends()
    }

    /// Waits until it has ended, as it was told before.
    pub fn ends(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes a token with the command line.
pub fn add_token(data: &Path, name: &str, role: &str) -> String {
    add_token_with(&[], data, name, role)
}

fn add_token_with(wrapper: &[&str], data: &Path, name: &str, role: &str) -> String {
    let program = binary().display().to_string();
    let mut words: Vec<&str> = wrapper.to_vec();
    words.extend([&*program, "token", "add", name, "--role", role, "--data"]);
    let made = Command::new(words[0]).args(&words[1..]).arg(data).output();
    let made = made.unwrap_or_else(|e| panic!("{program}: {e}; build it with cargo build"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            into.lock().expect("the log").push_str(&String::from_utf8_lossy(&piece[..n]));
        }
    });
}

/// Calls the HTTP API.
#[derive(Clone)]
pub struct Api {
    /// `http://HOST:PORT`.
    pub base: String,
    /// The bearer token.
    pub token: String,
}

impl Api {
    /// Makes the first administrator by a one-time code, and a token with all rights.
    fn set_up(&mut self, code: &str) {
        let first = serde_json::json!({ "code": code, "name": NAME, "password": PASSWORD });
        let post = |path: &str| {
            ureq::post(format!("{}/api/v1{path}", self.base)).header("Content-Type", "application/json")
        };
        let mut came = post("/setup").send(first.to_string()).expect("the code serves");
        let cookie = came.headers()["set-cookie"].to_str().expect("a cookie").to_owned();
        let me: Value =
            serde_json::from_str(&came.body_mut().read_to_string().expect("a text")).expect("JSON");
        let wanted = serde_json::json!({ "name": "tests", "role": "admin" }).to_string();
        let request = post("/tokens").header("Cookie", cookie.split(';').next().unwrap_or_default());
        let made = request.header("X-CSRF-Token", text(&me, "csrf")).send(wanted);
        let made = made.expect("a token").body_mut().read_to_string().expect("a text");
        self.token = text(&serde_json::from_str(&made).expect("JSON"), "token");
    }

    /// Calls a path under `/api/v1`. Gives the status and the answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.call_raw(method, &format!("/api/v1{path}"), body.map(Value::to_string).as_deref())
    }

    /// Calls any path with any body.
    pub fn call_raw(&self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        let (status, text) = self.call_text(method, path, body);
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, json)
    }

    fn call_text(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/json");
        let request = request.body(body.unwrap_or_default().to_owned()).expect("a request");
        let mut answer = agent.run(request).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let text = answer.body_mut().with_config().limit(300 << 20).read_to_string().expect("a text");
        (answer.status().as_u16(), text)
    }

    /// Looks up a text that must be there, byte for byte.
    pub fn text(&self, path: &str) -> String {
        let (status, text) = self.call_text("GET", &format!("/api/v1{path}"), None);
        assert_eq!(status, 200, "GET {path}: {text}");
        text
    }

    /// Looks something up that must be there.
    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, None);
        assert_eq!(status, 200, "GET {path}: {answer}");
        answer
    }

    /// Makes something that must be made.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body));
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    /// Registers a board. Gives its id and credential.
    pub fn board(&self, name: &str, chip_id: u32) -> (String, String) {
        let device = serde_json::json!({ "name": name, "dialect": "nodemcu", "external_id": chip_id.to_string(), "tags": [] });
        let made = self.post("/devices", &device);
        (text(&made, "id"), text(&made, "credential"))
    }

    /// Registers a device of the native protocol. Gives its id and credential.
    pub fn native(&self, name: &str, tag: &str) -> (String, String) {
        let device = serde_json::json!({ "name": name, "dialect": "native", "tags": [tag] });
        let made = self.post("/devices", &device);
        (text(&made, "id"), text(&made, "credential"))
    }

    /// Registers a MicroPython board with the agent. Gives its id and credential.
    pub fn micropython(&self, name: &str, tag: &str) -> (String, String) {
        let device = serde_json::json!({ "name": name, "dialect": "micropython", "tags": [tag] });
        let made = self.post("/devices", &device);
        (text(&made, "id"), text(&made, "credential"))
    }

    /// Uploads a firmware: the file and the fields of the form. Gives its id.
    pub fn firmware(&self, file: &[u8], fields: &[(&str, &str)]) -> String {
        const BOUNDARY: &str = "--------------------------end-to-end";
        let head = |name: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}");
        let texts = fields.iter().map(|(name, text)| format!("{}\"\r\n\r\n{text}\r\n", head(name)));
        let mut form = texts.collect::<String>().into_bytes();
        form.extend(format!("{}\"; filename=\"fw\"\r\n\r\n", head("file")).bytes());
        form.extend(file);
        form.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder()
            .method("POST")
            .uri(format!("{}/api/v1/firmware", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", format!("multipart/form-data; boundary={BOUNDARY}"));
        let mut answer = agent.run(request.body(form).expect("a request")).expect("an answer");
        let said = answer.body_mut().read_to_string().expect("a text");
        assert_eq!(answer.status(), 201, "{said}");
        text(&serde_json::from_str(&said).expect("is JSON"), "id")
    }

    /// Makes a script in Lua. Gives its id.
    pub fn script(&self, name: &str, source: &str) -> String {
        self.script_in("lua", name, source)
    }

    /// Makes a script in a language. Gives its id.
    pub fn script_in(&self, language: &str, name: &str, source: &str) -> String {
        let script = serde_json::json!({ "name": name, "language": language, "source": source });
        text(&self.post("/scripts", &script), "id")
    }

    /// Begins a deployment of a version to a device with a short health window. Gives its id.
    pub fn deploy(&self, script: &str, version: i64, device: &str) -> String {
        let deployment = serde_json::json!({
            "script": script, "version": version, "devices": [device], "health_window_seconds": 5,
        });
        text(&self.post("/deployments", &deployment), "id")
    }

    /// The state and reason of the first task of a deployment.
    pub fn task(&self, deployment: &str) -> (String, String) {
        let task = self.get(&format!("/deployments/{deployment}"))["tasks"][0].clone();
        (text(&task, "state"), text(&task, "reason"))
    }
}

fn text(json: &Value, key: &str) -> String {
    json[key].as_str().unwrap_or_default().to_owned()
}
