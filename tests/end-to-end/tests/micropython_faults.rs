//! MicroPython boards with a heap of 40 kB and a flash that is full when it is full, and scripts that are not for them.
//! The interpreter runs with `-X heapsize=40960w`: as much as 40 kB are on a chip, where objects are half as large.

use end_to_end::{Api, Fleet, Hub, until};
use serde_json::{Value, json};

const GOOD: &str = "import asyncio\n\n\nasync def main():\n    print('good')\n    while True:\n        await asyncio.sleep(1)\n";
/// Fills the flash until it is full.
const FILLS: &str = "with open('big', 'w') as file:\n    while True:\n        file.write('x' * 512)\n";
/// The agent and its state need about 110 kB of it: each file is 4 kB or more.
const FLASH_BYTES: usize = 144 * 1024;

fn ended(api: &Api, deployment: &str) -> Value {
    until("the deployment has ended", || {
        let deployment = api.get(&format!("/deployments/{deployment}"));
        (deployment["state"] != "Running").then(|| deployment["tasks"][0].clone())
    })
}

fn deployed(api: &Api, name: &str, source: &str, device: &str) -> Value {
    ended(api, &api.deploy(&api.script_in("python", name, source), 1, device))
}

fn runs(api: &Api, device: &str, name: &str) {
    until("the last good script runs", || {
        let device = api.get(&format!("/devices/{device}"));
        (device["running"]["name"] == name && device["online"] == true).then_some(())
    });
}

#[test]
fn a_full_flash_is_said_and_the_good_script_runs() {
    let hub = Hub::start(&[]);
    let board = hub.api.micropython("board", "python");
    let device = board.0.clone();
    let mut fleet = Fleet::micropython_on(&hub, FLASH_BYTES, &[board], &["--heap", "40k"]);
    let task = deployed(&hub.api, "good", GOOD, &device);
    assert_eq!(task["state"], "Done", "{task}");
    fleet.await_print("good");

    // A script that does not fit.
    let large = format!("print('large')\n#{}\n", "x".repeat(65_000));
    let task = deployed(&hub.api, "large", &large, &device);
    assert_eq!(task["state"], "Failed", "{task}");
    let reason = task["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("the flash is full: the script needs 650"), "{task}");
    runs(&hub.api, &device, "good");

    // A script that fills it: what happened is known all the same.
    let task = deployed(&hub.api, "fills", FILLS, &device);
    assert_eq!(task["state"], "Failed", "{task}");
    assert!(task["reason"].as_str().unwrap_or_default().contains("28"), "ENOSPC: {task}");
    assert!(task["traceback"].as_str().unwrap_or_default().contains("line 3"), "{task}");
    runs(&hub.api, &device, "good");

    // A person makes room, and the next one comes.
    let asked = json!({ "name": "remove_file", "args": "mh/agent.mpy", "device": device });
    assert_eq!(answered(&hub.api, &asked)["state"], "Failed", "the agent's own files stay");
    let asked = json!({ "name": "remove_file", "args": "big", "device": device });
    assert_eq!(answered(&hub.api, &asked)["state"], "Done");
    assert_eq!(deployed(&hub.api, "better", &GOOD.replace("good", "better"), &device)["state"], "Done");
    fleet.await_print("better");
}

fn answered(api: &Api, command: &Value) -> Value {
    let command = api.post("/commands", command)["id"].as_str().expect("an id").to_owned();
    until("it answers", || {
        let one = api.get(&format!("/commands/{command}/executions"))["items"][0].clone();
        ["Done", "Failed"].iter().any(|state| one["state"] == *state).then_some(one)
    })
}

#[test]
fn without_a_good_script_a_board_is_stopped_for_good_until_another_comes() {
    let hub = Hub::start(&[]);
    let board = hub.api.micropython("board", "python");
    let device = board.0.clone();
    let mut fleet = Fleet::micropython(&hub, &[board], &["--heap", "40k"]);
    let task = deployed(&hub.api, "bad", "print('bad')\nraise ValueError('boom')\n", &device);
    assert_eq!(task["state"], "Failed", "{task}");
    assert!(task["reason"].as_str().unwrap_or_default().contains("boom"), "{task}");
    let is_safe = || {
        let device = hub.api.get(&format!("/devices/{device}"));
        (device["report"]["safe_mode"] == true && device["online"] == true).then_some(device)
    };
    until("it is in safe mode", is_safe);
    // Nor does it run after the power was off.
    fleet.order(&json!({ "board": device, "do": "power_cut" }));
    until("it is gone", || (hub.api.get(&format!("/devices/{device}"))["online"] == false).then_some(()));
    fleet.order(&json!({ "board": device, "do": "power_on" }));
    fleet.await_fact("boot", |fact| fact["reason"] == "power_on");
    let fact = fleet.await_fact("print", |_| true);
    assert!(fact["text"].to_string().contains("connected"), "nothing of the script: {fact}");
    let known = until("it is in safe mode", is_safe);
    assert_eq!(known["running"], Value::Null, "{known}");
    let task = deployed(&hub.api, "good", GOOD, &device);
    assert_eq!(task["state"], "Done", "{task}");
    fleet.await_print("good");
}

#[test]
fn what_a_board_cannot_run_is_not_sent_to_it() {
    let hub = Hub::start(&[]);
    let board = hub.api.micropython("board", "python");
    let device = board.0.clone();
    let mut fleet = Fleet::micropython(&hub, &[board], &["--heap", "36k"]);
    until("its free memory is known", || {
        hub.api.get(&format!("/devices/{device}"))["report"]["free_memory"].as_i64().filter(|free| *free > 0)
    });
    let task = deployed(&hub.api, "large", &format!("'''{}'''\n", "x".repeat(64_000)), &device);
    assert_eq!(task["state"], "Failed", "{task}");
    let reason = task["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("too large: the script has 64007 bytes, the device has "), "{task}");

    // A megabyte is no script for anybody; tabs and spaces that are mixed are no Python.
    let megabyte = json!({ "name": "megabyte", "language": "python", "source": "x".repeat(1_000_000) });
    let (status, said) = hub.api.call("POST", "/scripts", Some(&megabyte));
    assert_eq!((status, &said["field"]), (413, &json!("source")), "{said}");
    let mixed = json!({ "name": "mixed", "language": "python", "source": "if 1:\n\tx = 1\n        y = 2\n" });
    let made = hub.api.post("/scripts", &mixed);
    assert_eq!((&made["syntax"]["ok"], &made["syntax"]["line"]), (&json!(false), &json!(3)), "{made}");
    let (status, said) =
        hub.api.call("POST", "/deployments", Some(&json!({ "script": made["id"], "devices": [device] })));
    assert!((400..500).contains(&status), "{said}");

    // Whatever came before, it was told of none of it.
    let task = deployed(&hub.api, "good", GOOD, &device);
    assert_eq!(task["state"], "Done", "{task}");
    let fact = fleet.await_fact("print", |fact| fact["text"].to_string().contains("Fetching"));
    let digest = hub.api.get("/scripts")["items"].to_string();
    assert!(!digest.is_empty() && !fact["text"].to_string().contains("withdrawn"), "{fact}");
}
