//! The Pusher protocol with the libraries that everybody uses, unmodified: pusher-js and pusher from npm, pusher and
//! Pysher from PyPI, against the real hub.

use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::Hub;
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a program with the address of the Pusher listener and an app.
fn with_app(mut command: Command) {
    let hub = Hub::start(&["--pusher", "127.0.0.1:0"]);
    let made = hub.api.post("/pusher-apps", &json!({ "name": "interop" }));
    let (host, port) =
        hub.ready["pusher"].as_str().and_then(|address| address.rsplit_once(':')).expect("an address");
    command.args([host, port]);
    command.args(["app_id", "key", "secret"].map(|name| made[name].as_str().expect("a text")));
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; run xtask/setup.sh test"));
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
fn pusher_js_and_pusher_of_npm_work() {
    let mut node = Command::new("node");
    node.arg(root().join("tests/interop/pusher/libraries.mjs"));
    with_app(node);
}

#[test]
fn pusher_and_pysher_of_pypi_work() {
    let python: Option<PathBuf> = std::env::var_os("PYTHON").map(Into::into);
    let mut python = Command::new(python.unwrap_or_else(|| root().join(".tools/venv/bin/python")));
    python.arg(root().join("tests/interop/pusher_libraries.py"));
    with_app(python);
}
