//! The main job: a script reaches a board, runs, is replaced, is rolled back; every state is right at each step.

use end_to_end::{Api, Fleet, Hub, Nodes, until};
use serde_json::{Value, json};

/// Tells a story of a hub alone, and of one of two nodes on PostgreSQL and NATS: people are at the first, boards at the
/// second.
fn on_both(story: fn(&Api, &Hub)) {
    let hub = Hub::start(&[]);
    story(&hub.api, &hub);
    drop(hub);
    let hub = Nodes::start(2);
    story(&hub.nodes[0].api, &hub.nodes[1]);
}

/// A script that reports a metric twice a second over the board's own connection.
fn reporting(version: i64) -> String {
    format!(
        r#"print("running version {version}")
tmr.create():alarm(500, tmr.ALARM_AUTO, function()
  m:publish("devices/" .. node.chipid() .. "/telemetry", sjson.encode({{ version = {version} }}), 1, 0)
end)"#
    )
}

fn await_task(api: &Api, deployment: &str, state: &str) -> String {
    let mut seen = Vec::new();
    until(&format!("task {state}"), || {
        let (now, reason) = api.task(deployment);
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        let ended = ["Done", "Failed", "TimedOut", "Cancelled"].contains(&now.as_str());
        assert!(now == state || !ended, "{now} ({reason}) instead of {state}");
        (now == state).then_some(reason)
    })
}

fn await_online(api: &Api, device: &str) {
    until("the board is online", || (api.get(&format!("/devices/{device}"))["online"] == true).then_some(()));
}

fn running_version(api: &Api, device: &str) -> Value {
    api.get(&format!("/devices/{device}"))["running"]["version"].clone()
}

fn latest(api: &Api, device: &str, metric: &str) -> Option<Value> {
    let metrics = api.get(&format!("/devices/{device}/metrics"));
    metrics["items"]
        .as_array()?
        .iter()
        .find(|item| item["metric"] == metric)
        .map(|item| item["value"].clone())
}

fn task_states(api: &Api, deployment: &str) -> Vec<String> {
    let facts = api.get(&format!("/activity?kind=task_moved&subject={deployment}&limit=100"));
    let mut states: Vec<String> = facts["items"]
        .as_array()
        .expect("facts")
        .iter()
        .map(|fact| fact["after"]["state"].as_str().unwrap_or_default().to_owned())
        .collect();
    states.reverse();
    states
}

#[test]
fn a_script_is_deployed_replaced_and_rolled_back() {
    on_both(|api, hub| {
        let (device, credential) = api.board("Greenhouse", 10_801_015);
        let mut fleet = Fleet::start(hub, &[(10_801_015, &credential)]);
        await_online(api, &device);
        assert_eq!(api.get(&format!("/devices/{device}"))["state"], "waiting_for_script");

        let script = api.script("climate", &reporting(1));
        let first = api.deploy(&script, 1, &device);
        fleet.await_print("running version 1");
        await_task(api, &first, "Done");
        assert_eq!(running_version(api, &device), 1);
        until("telemetry of version 1", || (latest(api, &device, "version")? == 1).then_some(()));
        let states = task_states(api, &first);
        assert!(states.ends_with(&["Fetching".into(), "Applying".into(), "Done".into()]), "{states:?}");

        let saved = api.post(
            &format!("/scripts/{script}/versions"),
            &json!({ "source": reporting(2), "comment": "two" }),
        );
        assert_eq!(saved["version"], 2);
        let second = api.deploy(&script, 2, &device);
        fleet.await_print("running version 2");
        await_task(api, &second, "Done");
        assert_eq!(running_version(api, &device), 2);
        until("telemetry of version 2", || (latest(api, &device, "version")? == 2).then_some(()));

        let back = api.post(&format!("/deployments/{second}/rollback"), &json!({}));
        let back = back["id"].as_str().expect("an id").to_owned();
        fleet.await_print("running version 1");
        await_task(api, &back, "Done");
        assert_eq!(running_version(api, &device), 1);
        until("the second is rolled back", || (api.task(&second).0 == "RolledBack").then_some(()));
        until("telemetry of version 1", || (latest(api, &device, "version")? == 1).then_some(()));
        until("the deployment says so", || {
            (api.get(&format!("/deployments/{second}"))["state"] == "RolledBack").then_some(())
        });
    });
}

#[test]
fn a_board_that_was_off_gets_it_when_it_comes() {
    on_both(|api, hub| {
        let (device, credential) = api.board("Cellar", 10_801_016);
        let script = api.script("climate", &reporting(1));
        let first = api.deploy(&script, 1, &device);
        assert_eq!(api.task(&first).0, "Waiting");
        let mut fleet = Fleet::start(hub, &[(10_801_016, &credential)]);
        fleet.await_print("running version 1");
        await_task(api, &first, "Done");

        fleet.order(&json!({ "board": "10801016", "do": "power_cut" }));
        until("it is offline", || (api.get(&format!("/devices/{device}"))["online"] == false).then_some(()));
        api.post(&format!("/scripts/{script}/versions"), &json!({ "source": reporting(2) }));
        let second = api.deploy(&script, 2, &device);
        assert_eq!(api.task(&second).0, "Waiting");
        fleet.order(&json!({ "board": "10801016", "do": "power_on" }));
        fleet.await_print("running version 2");
        await_task(api, &second, "Done");
        assert_eq!(running_version(api, &device), 2);
    });
}

#[test]
fn a_script_that_crashes_at_start_fails_and_the_last_good_one_runs_again() {
    on_both(|api, hub| {
        let (device, credential) = api.board("Porch", 10_801_017);
        let mut fleet = Fleet::start(hub, &[(10_801_017, &credential)]);
        let script = api.script("climate", &reporting(1));
        let first = api.deploy(&script, 1, &device);
        await_task(api, &first, "Done");
        let crash = json!({ "source": "print('about to crash')\nerror('out of order')" });
        api.post(&format!("/scripts/{script}/versions"), &crash);
        let second = api.deploy(&script, 2, &device);
        fleet.await_print("about to crash");
        let reason = await_task(api, &second, "Failed");
        assert!(reason.contains("boot loop: the board started 3 times"), "{reason}");
        fleet.await_print("running version 1");
        let recovery = until("a recovery", || {
            let all = api.get(&format!("/deployments?device={device}"));
            let found = all["items"].as_array()?.iter().find(|d| d["cause"] == "recovery")?;
            assert_eq!(found["of"], second.as_str());
            found["id"].as_str().map(str::to_owned)
        });
        await_task(api, &recovery, "Done");
        assert_eq!(api.task(&second).0, "Failed");
        assert_eq!(running_version(api, &device), 1);
        let device = api.get(&format!("/devices/{device}"));
        assert_eq!((&device["state"], &device["problem"]), (&json!("ok"), &Value::Null));
    });
}

#[test]
fn a_power_cut_in_the_download_is_no_update() {
    on_both(|api, hub| {
        let (device, credential) = api.board("Shed", 10_801_018);
        let mut fleet = Fleet::start(hub, &[(10_801_018, &credential)]);
        let script = api.script("climate", &reporting(1));
        await_task(api, &api.deploy(&script, 1, &device), "Done");
        let long = format!("{}\n{}", reporting(2), "-- padding to make the download longer\n".repeat(50));
        api.post(&format!("/scripts/{script}/versions"), &json!({ "source": long }));
        fleet.order(&json!({ "board": "10801018", "do": "power_cut_at_byte", "bytes": 700 }));
        let second = api.deploy(&script, 2, &device);
        fleet.await_fact("power_cut", |_| true);
        until("it is offline", || (api.get(&format!("/devices/{device}"))["online"] == false).then_some(()));
        let (state, _) = api.task(&second);
        assert_ne!(state, "Applying", "half a download is none");
        fleet.order(&json!({ "board": "10801018", "do": "power_on" }));
        fleet.await_print("running version 2");
        await_task(api, &second, "Done");
    });
}

#[test]
fn a_script_with_a_syntax_error_is_kept_but_not_deployed() {
    on_both(|api, _| {
        let (device, _) = api.board("Desk", 10_801_019);
        let script = api.script("broken", "print(1)\nlocal x = = 2\n");
        let deployment = json!({ "script": script, "version": 1, "devices": [device] });
        let (status, problem) = api.call("POST", "/deployments", Some(&deployment));
        assert_eq!(
            (status, &problem["code"], &problem["line"]),
            (422, &json!("script_syntax"), &json!(2)),
            "{problem}"
        );
    });
}

#[test]
fn the_trigger_of_iot_executor_works_with_a_token() {
    on_both(|api, hub| {
        let (device, credential) = api.board("Hall", 10_801_020);
        let mut fleet = Fleet::start(hub, &[(10_801_020, &credential)]);
        let script = api.script("climate", &reporting(1));
        let number = api.get(&format!("/scripts/{script}"))["number"].clone();
        let request = json!({ "mutationid": number, "nodeid": "10801020" }).to_string();
        let (status, answer) = api.call_raw("POST", "/request.php", Some(&request));
        assert_eq!(status, 404, "it is not assigned yet: {answer}");
        let (status, _) = api.call("PUT", &format!("/devices/{device}/scripts/{script}"), None);
        assert_eq!(status, 204);
        let (status, answer) = api.call_raw("POST", "/request.php", Some(&request));
        let expected =
            json!({ "status": 200, "status_message": "Sent instruction for update on node 10801020" });
        assert_eq!((status, answer), (200, expected));
        fleet.await_print("running version 1");
        let nobody = Api { token: "wrong".into(), ..api.clone() };
        assert_eq!(nobody.call_raw("POST", "/request.php", Some(&request)).0, 401);
    });
}
