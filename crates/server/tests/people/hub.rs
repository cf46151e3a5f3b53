//! A hub that people come to, and what they say to it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use motehub_domain::time::Time;
use motehub_server::{Clock, Server, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub(crate) const START: Time = Time(1_800_000_000_000);
pub(crate) const PASSWORD: &str = "nine brown horses";

/// A hub that runs until it is dropped.
pub(crate) struct Hub {
    pub(crate) http: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) setup_code: Option<String>,
    pub(crate) data: tempfile::TempDir,
    pub(crate) shutdown: CancellationToken,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

/// How a request proves who sends it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) cookie: Option<String>,
    pub(crate) csrf: Option<String>,
    pub(crate) token: Option<String>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let settings = Settings {
            store: servers::store_of(data.path()).parse().unwrap(),
            clock: clock.clone(),
            ..Settings::in_folder(data.path())
        };
        let server = Server::bind(settings).await.unwrap();
        let http = server.addresses().http;
        let link = server.setup_link();
        let setup_code = link.and_then(|link| link.split_once('#').map(|(_, code)| code.to_owned()));
        let shutdown = CancellationToken::new();
        tokio::spawn(server.run(shutdown.clone()));
        Self { http, clock, setup_code, data, shutdown }
    }

    /// A hub with the administrator Ada, and her login.
    pub(crate) async fn with_ada() -> (Self, Caller) {
        let hub = Self::start().await;
        let ada = hub.set_up("ada").await;
        assert_eq!(ada.status, 200, "{ada:?}");
        (hub, ada.caller())
    }

    pub(crate) async fn set_up(&self, name: &str) -> Answer {
        let code = self.setup_code.clone().unwrap();
        self.post("/setup", &Caller::default(), json!({ "code": code, "name": name, "password": PASSWORD }))
            .await
    }

    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Answer {
        self.post("/login", &Caller::default(), json!({ "name": name, "password": password })).await
    }

    /// Makes a user who has chosen a password already, and logs in.
    pub(crate) async fn person(&self, ada: &Caller, name: &str, role: &str) -> (String, Caller) {
        let made = self.post("/users", ada, json!({ "name": name, "role": role })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let caller = self.log_in(name, made.json()["password"].as_str().unwrap()).await.caller();
        let change = json!({ "current": made.json()["password"], "new": PASSWORD });
        assert_eq!(self.post("/me/password", &caller, change).await.status, 204);
        (made.json()["id"].as_str().unwrap().to_owned(), caller)
    }

    pub(crate) async fn get(&self, path: &str, caller: &Caller) -> Answer {
        self.send("GET", path, caller, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, caller: &Caller, body: Value) -> Answer {
        self.send("POST", path, caller, Some(&body), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, caller: &Caller, body: Value) -> Answer {
        self.send("PATCH", path, caller, Some(&body), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str, caller: &Caller) -> Answer {
        self.send("DELETE", path, caller, None, &[]).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        caller: &Caller,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut text =
            format!("{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.http);
        if !body.is_empty() {
            write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).unwrap();
        }
        let proofs = [
            ("Cookie", caller.cookie.as_ref().map(|secret| format!("a=b; motehub_session={secret}"))),
            ("X-CSRF-Token", caller.csrf.clone()),
            ("Authorization", caller.token.as_ref().map(|token| format!("Bearer {token}"))),
        ];
        let proofs = proofs.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        for (name, value) in proofs.chain(headers.iter().copied()) {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {method} {path}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head: head.to_owned(), text: text.to_owned() }
    }

    /// Every byte that the hub keeps on disk.
    pub(crate) fn bytes_on_disk(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut folders = vec![PathBuf::from(self.data.path())];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    bytes.extend(std::fs::read(path).unwrap());
                }
            }
        }
        if servers::is_postgres() {
            let everything = "select database_to_xml(true, false, '')";
            bytes.extend(
                servers::Postgres::shared_psql(&servers::store_of(self.data.path()), everything).bytes(),
            );
        }
        bytes
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Who came in with this answer.
    pub(crate) fn caller(&self) -> Caller {
        assert_eq!(self.status, 200, "{self:?}");
        let cookie = self.header("set-cookie").and_then(|cookie| cookie.strip_prefix("motehub_session="));
        let secret = cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        Caller { cookie: secret, csrf: self.json()["csrf"].as_str().map(str::to_owned), token: None }
    }

    pub(crate) fn is(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
    }
}

pub(crate) fn nobody() -> Caller {
    Caller::default()
}

pub(crate) fn program(token: &Value) -> Caller {
    Caller { token: token.as_str().map(str::to_owned), ..Caller::default() }
}
