//! A gateway as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::hub::binary;

/// A running gateway. Dropping it kills it; its files stay.
pub struct Gateway {
    child: Child,
    kind: String,
    wrapper: Vec<String>,
    words: Vec<String>,
    /// Where it listens.
    pub address: String,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    /// A gateway of a kind, such as `mqtt`, with the join file at `key`; its spool is beside that. `wrapper` is a
    /// program with arguments that runs it.
    pub fn start(kind: &str, key: &Path, wrapper: &[String], arguments: &[&str]) -> Self {
        let key = key.display().to_string();
        let words = ["--key", &key].into_iter().chain(arguments.iter().copied());
        Self::start_at(kind, wrapper, words.map(str::to_owned).collect(), "127.0.0.1:0")
    }

    fn start_at(kind: &str, wrapper: &[String], words: Vec<String>, address: &str) -> Self {
        let mut all = wrapper.to_vec();
        all.extend([binary().display().to_string(), "gateway".to_owned(), kind.to_owned()]);
        let (flag, key) = match kind {
            "tcp" => ("line-listen", "line"),
            kind => (kind, kind),
        };
        all.extend([format!("--{flag}"), address.to_owned()]);
        all.extend(words.iter().cloned());
        let mut child = Command::new(&all[0])
            .args(&all[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", all[0]));
        let log = Arc::new(Mutex::new(String::new()));
        let (mut stderr, kept) = (child.stderr.take().expect("it is piped"), log.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut piece) {
                kept.lock().expect("the log").push_str(&String::from_utf8_lossy(&piece[..n]));
            }
        });
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("the ready line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("no ready line but {line:?}: {error}\n{}", log.lock().expect("the log"))
        });
        let address = ready[key].as_str().expect("where it listens").to_owned();
        Self { child, kind: kind.to_owned(), wrapper: wrapper.to_vec(), words, address, log }
    }

    /// Kills it as a power cut would, and starts it again at the same address on the same disk.
    pub fn again(&mut self) {
        self.kill();
        *self = Self::start_at(&self.kind, &self.wrapper, self.words.clone(), &self.address);
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Everything it said on the standard error since it was last started.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.log());
        }
    }
}

/// The path of a join file beside a hub's data.
pub fn join_file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("gateway.join");
    std::fs::write(&path, text).expect("the join file is written");
    path
}
