//! The demo is the first thing that a stranger starts: everything it shows is there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use end_to_end::{Api, binary, until};
use serde_json::Value;

/// The demo, until it is dropped.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_device_of_the_demo_is_online() {
    let folder = tempfile::Builder::new().prefix("motehub-demo-").tempdir().unwrap();
    let mut child = Command::new(binary())
        .args(["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let _demo = Demo(child);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let token = until("the token of the demo", || {
        fs::read_to_string(folder.path().join("demo.token")).ok().filter(|token| !token.is_empty())
    });
    let base = format!("http://{}", ready["http"].as_str().unwrap());
    let api = Api { base, token };
    until("all are online, the lights included", || {
        let devices = api.get("/devices?limit=100");
        let devices = devices["items"].as_array()?;
        let lights = devices.iter().filter(|device| device["dialect"] == "mongoose").count();
        let is_all = devices.iter().all(|device| device["online"] == true);
        (lights == 2 && devices.len() > lights && is_all).then_some(())
    });
}
