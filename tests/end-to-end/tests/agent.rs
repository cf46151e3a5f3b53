//! Boards with Motehub's agent and a hub: whatever happens to a download or is in a script, the board comes back, the
//! last good script runs, and the hub knows why.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use end_to_end::{Api, Fault, Fleet, Hub, Proxy, until, until_within};
use serde_json::{Value, json};

/// How long a fleet of 200 boards may take on a busy machine.
const FLEET_MAX: Duration = Duration::from_secs(180);
/// Boards live faster than the test, by turns of so many in one process.
const QUICK: [&str; 8] =
    ["--speed", "10", "--boot-delay-ms", "20", "--wifi-join-ms", "20", "--group-size", "50"];
/// Boards that have a process each, because an endless loop stops all that share one for a while.
const ALONE: [&str; 8] =
    ["--speed", "10", "--boot-delay-ms", "20", "--wifi-join-ms", "20", "--group-size", "1"];
const GOOD: &str = "print('good')";

fn better() -> String {
    format!("print('better') --{}", "x".repeat(2500))
}

/// Registers boards with the agent.
fn boards(api: &Api, tag: &str, count: u32) -> Vec<(u32, String, String)> {
    let board = |number: u32| {
        let (device, credential) = api.native(&format!("{tag} {number}"), tag);
        (7000 + number, device, credential)
    };
    (0..count).map(board).collect()
}

fn deploy(api: &Api, script: &str, tag: &str) -> String {
    let request = json!({ "script": script, "selector": format!("tag={tag}"), "health_window_seconds": 5 });
    api.post("/deployments", &request)["id"].as_str().expect("an id").to_owned()
}

fn has_ended(api: &Api, deployment: &str) -> bool {
    api.get(&format!("/deployments/{deployment}"))["state"] != "Running"
}

fn tasks(api: &Api, deployment: &str) -> Vec<Value> {
    api.get(&format!("/deployments/{deployment}"))["tasks"].as_array().expect("tasks").clone()
}

/// A hub with boards that run the good script.
fn with_good(
    tag: &str,
    count: u32,
    arguments: &[&str],
    through: impl FnOnce(&Hub) -> String,
) -> (Hub, Fleet, Vec<(u32, String, String)>) {
    let hub = Hub::start(&[]);
    let boards = boards(&hub.api, tag, count);
    let fleet = Fleet::agents(&hub, &through(&hub), &boards, arguments);
    let good = hub.api.script("good", GOOD);
    let first = deploy(&hub.api, &good, tag);
    until_within(FLEET_MAX, "the good script is everywhere", || has_ended(&hub.api, &first).then_some(()));
    for task in tasks(&hub.api, &first) {
        assert_eq!(task["state"], "Done", "{task}");
    }
    (hub, fleet, boards)
}

#[test]
fn power_cuts_at_200_bytes_of_a_download_cost_nothing() {
    const BOARDS: u32 = 200;
    let (hub, mut fleet, boards) = with_good("cut", BOARDS, &QUICK, Hub::http);
    let size = better().len() as u32;
    for (index, (chip_id, ..)) in boards.iter().enumerate() {
        let bytes = index as u32 * size / BOARDS;
        fleet.order(&json!({ "board": chip_id.to_string(), "do": "power_cut_at_byte", "bytes": bytes }));
    }
    let script = hub.api.script("better", &better());
    let second = deploy(&hub.api, &script, "cut");
    // Of each board: what it ran, from the power cut on.
    let mut ran: HashMap<String, Vec<String>> = HashMap::new();
    let (start, mut looked) = (Instant::now(), Instant::now());
    loop {
        let fact = fleet.next_fact(Duration::from_millis(200)).unwrap_or_default();
        let board = fact["board"].as_str().unwrap_or_default().to_owned();
        match (fact["fact"].as_str(), fact["text"].as_str()) {
            (Some("power_cut"), _) => {
                fleet.order(&json!({ "board": board, "do": "power_on" }));
                assert!(ran.insert(board, Vec::new()).is_none(), "one power cut per board");
            }
            (Some("print"), Some(text @ ("good" | "better"))) => {
                if let Some(scripts) = ran.get_mut(&board) {
                    scripts.push(text.to_owned());
                }
            }
            (Some("panic"), _) => panic!("{fact}"),
            _ => {}
        }
        if looked.elapsed() > Duration::from_secs(1) {
            looked = Instant::now();
            if has_ended(&hub.api, &second) {
                break;
            }
        }
        assert!(start.elapsed() < FLEET_MAX, "{:?}", tasks(&hub.api, &second));
    }
    assert_eq!(ran.len(), BOARDS as usize, "every board lost its power");
    for (board, scripts) in &ran {
        assert_eq!(scripts, &["good", "better"], "board {board}");
    }
    for task in tasks(&hub.api, &second) {
        assert_eq!(task["state"], "Done", "{task}");
    }
    // The tasks said what happened: all boards but those that were cut at the first byte went on where they were.
    let facts = hub.api.get(&format!("/activity?kind=task_moved&subject={second}&limit=1000"));
    let goes_on = |fact: &&Value| {
        fact["after"]["reason"].as_str().is_some_and(|text| text.starts_with("goes on at byte"))
    };
    let count = facts["items"].as_array().expect("facts").iter().filter(goes_on).count();
    assert!(count > 190, "{count} boards said where they went on");
}

#[test]
fn a_download_that_fails_is_explained_and_the_good_script_runs() {
    let mut proxy = None;
    let (hub, mut fleet, boards) = with_good("spoilt", 1, &ALONE, |hub| {
        let started = Proxy::start(&hub.http());
        let address = started.address.clone();
        proxy = Some(started);
        address
    });
    let (proxy, api) = (proxy.expect("it is started"), &hub.api);
    let (chip_id, device, _) = &boards[0];
    let script = api.script("better", &better());
    let size = better().len();
    let cases = [
        (Fault::NotFound, format!("the hub answered 404 for the script, after 0 of {size} bytes")),
        (Fault::Altered, "wrong digest: the hub sent sha256:".to_owned()),
        (Fault::Cut, format!("the answer ended early, after 0 of {size} bytes and 8 attempts")),
        (
            Fault::Size,
            format!("wrong size: {size} bytes were offered, the hub has 1, after 0 of {size} bytes"),
        ),
    ];
    for (fault, reason) in cases {
        proxy.set(fault);
        fails(api, &script, &reason);
        runs_good(&mut fleet, api, *chip_id, device);
    }
    proxy.set(Fault::None);
    // All but 5,000 bytes, which is less than the script and what the board keeps free for its state.
    let folder = fleet.flash.join(chip_id.to_string());
    let files = std::fs::read_dir(&folder).expect("the flash").flatten();
    let used: u64 = files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum();
    let big = folder.join("big");
    let size_bytes = 2 * 1024 * 1024 - used - 5000;
    std::fs::write(&big, vec![0; size_bytes as usize]).expect("the flash is filled");
    fails(api, &script, &format!("the flash is full: the script needs {size} bytes"));
    runs_good(&mut fleet, api, *chip_id, device);
    std::fs::remove_file(&big).expect("it is there");
    let last = deploy(api, &script, "spoilt");
    until("the last one is Done", || (api.task(&last).0 == "Done").then_some(()));
}

fn fails(api: &Api, script: &str, reason: &str) {
    let deployment = deploy(api, script, "spoilt");
    until(reason, || has_ended(api, &deployment).then_some(()));
    let (state, said) = api.task(&deployment);
    assert!(state == "Failed" && said.starts_with(reason), "{state}: {said} instead of {reason}");
}

/// What the board keeps as its state: the newer of two files.
fn state(fleet: &Fleet, board: &str) -> Value {
    let read = |number: u32| {
        let text = std::fs::read_to_string(fleet.flash.join(board).join(format!("mh_state{number}.json")));
        serde_json::from_str::<Value>(&text.unwrap_or_default()).unwrap_or_default()
    };
    let (one, other) = (read(0), read(1));
    if one["number"].as_f64() > other["number"].as_f64() { one } else { other }
}

/// The good script runs, also after a restart.
fn runs_good(fleet: &mut Fleet, api: &Api, chip_id: u32, device: &str) {
    let board = chip_id.to_string();
    // It knows that its report has arrived; until then it takes no offer of the same script.
    until("the report is acknowledged", || state(fleet, &board)["report"].is_null().then_some(()));
    fleet.order(&json!({ "board": board, "do": "restart" }));
    fleet.await_fact("boot", |fact| fact["board"] == board.as_str() && fact["reason"] == "reset");
    fleet.await_fact("print", |fact| fact["board"] == board.as_str() && fact["text"] == "good");
    until("the hub knows", || {
        (api.get(&format!("/devices/{device}"))["running"]["name"] == "good").then_some(())
    });
}

/// A script that crashes, what is said of it, and a part of its traceback.
const CRASHES: [(&str, &str, &str); 5] = [
    ("print('one') local t t.x = 1", "attempt to index local 't'", "stack traceback"),
    ("local t = {} for i = 1, 1e7 do t[i] = i .. 'x' end", "not enough memory", "not enough memory"),
    ("assert(loadstring('x = = 1'))", "unexpected symbol near '='", "stack traceback"),
    ("tmr.create():alarm(1500, tmr.ALARM_SINGLE, function() error('late') end)", "late", "stack traceback"),
    ("while true do end", "the watchdog reset the board", ""),
];

#[test]
fn scripts_that_crash_end_in_safe_mode_and_quarantine() {
    let (hub, mut fleet, boards) = with_good("crash", CRASHES.len() as u32, &ALONE, Hub::http);
    let api = &hub.api;
    let deployments: Vec<String> = CRASHES
        .iter()
        .zip(&boards)
        .enumerate()
        .map(|(index, ((source, ..), (_, device, _)))| {
            api.deploy(&api.script(&format!("bad {index}"), source), 1, device)
        })
        .collect();
    for ((source, reason, trace), (deployment, (chip_id, device, _))) in
        CRASHES.iter().zip(deployments.iter().zip(&boards))
    {
        until(source, || has_ended(api, deployment).then_some(()));
        let task = tasks(api, deployment)[0].clone();
        assert_eq!(task["state"], "Failed", "{source}: {task}");
        assert!(task["reason"].as_str().unwrap_or_default().contains(reason), "{source}: {task}");
        assert!(task["traceback"].as_str().unwrap_or_default().contains(trace), "{source}: {task}");
        let seen = api.get(&format!("/devices/{device}"));
        let quarantined = &seen["quarantined"][0];
        assert!(quarantined["reason"].as_str().unwrap_or_default().contains(reason), "{source}: {seen}");
        // It was safe mode only until the hub knew.
        until("safe mode is over", || {
            (api.get(&format!("/devices/{device}"))["report"]["safe_mode"] == false).then_some(())
        });
        runs_good(&mut fleet, api, *chip_id, device);
    }
    // A person deploys it again: it is kept away, until a person lifts the quarantine.
    let (_, device, _) = &boards[0];
    let script = tasks(api, &deployments[0])[0]["script"].as_str().expect("a script").to_owned();
    let again = api.deploy(&script, 1, device);
    let (state, reason) = api.task(&again);
    assert!(state == "Failed" && reason.starts_with("quarantined: "), "{state}: {reason}");
    let digest =
        api.get(&format!("/devices/{device}"))["quarantined"][0]["digest"].as_str().expect("it").to_owned();
    assert_eq!(api.call("DELETE", &format!("/devices/{device}/quarantine/{digest}"), None).0, 204);
    let third = api.deploy(&script, 1, device);
    until("it crashes once more", || (api.task(&third).0 == "Failed").then_some(()));
    assert!(api.task(&third).1.contains("attempt to index"), "{:?}", api.task(&third));
}

#[test]
fn a_board_without_a_good_script_waits_in_safe_mode() {
    let hub = Hub::start(&[]);
    let api = &hub.api;
    let boards = boards(api, "empty", 1);
    let mut fleet = Fleet::agents(&hub, &hub.http(), &boards, &QUICK);
    let (chip_id, device, _) = &boards[0];
    let bad = api.deploy(&api.script("bad", "error('no')"), 1, device);
    until("it fails", || has_ended(api, &bad).then_some(()));
    let safe = || api.get(&format!("/devices/{device}"))["report"]["safe_mode"] == true;
    until("it says that it is in safe mode", || safe().then_some(()));
    // A restart changes nothing.
    fleet.order(&json!({ "board": chip_id.to_string(), "do": "restart" }));
    fleet.await_print("safe mode, no script runs");
    let log = |part: &str| {
        let lines = api.get(&format!("/devices/{device}/log"));
        lines["items"]
            .as_array()
            .expect("lines")
            .iter()
            .any(|line| line["text"].as_str().is_some_and(|text| text.contains(part)))
    };
    let good = api.deploy(&api.script("good", "print('out of it')"), 1, device);
    until("the next script is Done", || (api.task(&good).0 == "Done").then_some(()));
    until("the log has what it printed", || log("out of it").then_some(()));
    until("safe mode is over", || (!safe()).then_some(()));
}

#[test]
fn commands_and_a_new_credential_reach_a_board() {
    let (hub, mut fleet, boards) = with_good("talk", 1, &ALONE, Hub::http);
    let api = &hub.api;
    let (chip_id, device, _) = &boards[0];
    let source = "runs = 0 motehub.on_command('led', function(args) runs = runs + 1 \
        return { on = args, runs = runs } end)";
    let script = api.deploy(&api.script("led", source), 1, device);
    until("the script is Done", || (api.task(&script).0 == "Done").then_some(()));
    let ask = |name: &str, args: Value| {
        let made = api.post("/commands", &json!({ "name": name, "device": device, "args": args }));
        let command = made["id"].as_str().expect("an id").to_owned();
        until("the command is answered", || {
            let executions = api.get(&format!("/commands/{command}/executions"));
            let execution = executions["items"][0].clone();
            ["Done", "Failed"].iter().any(|state| execution["state"] == *state).then_some(execution)
        })
    };
    let answer = ask("led", json!(true));
    assert_eq!(
        (&answer["state"], &answer["result"]),
        (&json!("Done"), &json!({ "on": true, "runs": 1 })),
        "{answer}"
    );
    let unknown = ask("lamp", Value::Null);
    assert_eq!(unknown["state"], "Failed", "{unknown}");
    assert!(unknown["reason"].as_str().unwrap_or_default().contains("the script has led"), "{unknown}");

    api.post(&format!("/devices/{device}/credential/rotate"), &json!({}));
    fleet.await_print("the new credential works");
    // It is the one that counts from now on, also after a restart.
    fleet.order(&json!({ "board": chip_id.to_string(), "do": "restart" }));
    fleet.await_fact("boot", |fact| fact["reason"] == "reset");
    fleet.await_fact("mqtt_connected", |_| true);
    assert_eq!(ask("led", json!(false))["state"], "Done");
}
