//! What goes well, and what people do: a script, commands, lines, a new credential, a wrong setting.

use motehub_sim::nodemcu::{Fact, Order};
use serde_json::Value;

use super::{DEVICE, Rig, SPIN_MAX_MS, digest};
use crate::hub::{CHIP, Fault};

#[tokio::test]
async fn an_offered_script_is_fetched_started_and_done() {
    let mut rig = Rig::start(None).await;
    let announced: Value = serde_json::from_str(&rig.message("/announce", "").await).unwrap();
    assert_eq!(announced["running"], Value::Null);
    assert_eq!((&announced["safe_mode"], &announced["reset"]), (&false.into(), &"power on".into()));
    assert!(announced["free_memory"].as_u64().unwrap() > 16 * 1024, "{announced}");
    let topics = ["cancel", "command", "credential", "flow-in", "offer"]
        .map(|kind| format!("devices/{DEVICE}/{kind}"));
    let mut subscribed = rig.hub.state.lock().unwrap().subscribed.clone();
    subscribed.sort();
    assert_eq!(subscribed, topics);

    let script =
        format!("print('hello', node.heap()) motehub.telemetry{{ t = 21.5 }} --{}", "x".repeat(3000));
    rig.forget();
    rig.offer(&script, Fault::None);
    rig.said("hello\t").await;
    rig.message("/task", "Done").await;
    rig.message("/telemetry", r#"{"t":21.5}"#).await;
    let announced: Value = serde_json::from_str(&rig.message("/announce", "").await).unwrap();
    assert_eq!(announced["running"], digest(&script));
    let states: Vec<String> = {
        let state = rig.hub.state.lock().unwrap();
        let tasks = state.published.iter().filter(|(topic, _)| topic.ends_with("/task"));
        tasks.map(|(_, text)| serde_json::from_str::<Value>(text).unwrap()["state"].to_string()).collect()
    };
    assert_eq!(states, [r#""Fetching""#, r#""Applying""#, r#""Done""#]);
    // The pieces are small, and each is asked for with the credential.
    let state = rig.hub.state.lock().unwrap().requests.clone();
    assert_eq!(state.len(), 3);
    assert!(state.iter().all(|request| request.contains("Authorization: Bearer s3cret\r\n")), "{state:?}");

    // Offered again, it is Done already; nothing is fetched.
    rig.forget();
    rig.offer(&script, Fault::Silent);
    rig.message("/task", "Done").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn what_ran_before_comes_back_without_a_download() {
    let mut rig = Rig::start(Some("print('first')")).await;
    rig.offer("print('second')", Fault::None);
    rig.message("/task", "Done").await;
    rig.forget();
    rig.offer("print('first')", Fault::Silent);
    rig.message("/task", "Done").await;
    rig.message("/announce", &digest("print('first')")).await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn commands_run_once_and_are_answered() {
    let script = "runs = 0
        motehub.on_command('led', function(args) runs = runs + 1 return { on = args.on, runs = runs } end)
        motehub.on_command('fail', function() error('no lamp') end)
        motehub.on_command('long', function() return ('x'):rep(5000) end)
        motehub.on_command('odd', function() return print end)
        motehub.on_command('hang', function() while true do end end)";
    let mut rig = Rig::with(Some(script), |config| config.watchdog_ms = SPIN_MAX_MS).await;
    assert!(rig.message("/announce", "").await.contains("led"), "the announce lists commands");
    let cases = [
        (r#"{"id":"a1","name":"led","args":{"on":true},"ttl":30}"#, r#""runs":1"#),
        (r#"{"id":"a1","name":"led","args":{"on":true},"ttl":30}"#, r#""runs":1"#),
        (r#"{"id":"a2","name":"led","args":{"on":false}}"#, r#""runs":2"#),
        (r#"{"id":"a3","name":"fail"}"#, "no lamp"),
        (r#"{"id":"a4","name":"lamp"}"#, "no such command; the script has "),
        (r#"{"id":"a5","name":"led","ttl":0}"#, "too late"),
        (r#"{"id":"a6","name":"long"}"#, "longer than 900 bytes"),
        (r#"{"id":"a7","name":"odd"}"#, "cannot be said in JSON"),
    ];
    for (command, answer) in cases {
        rig.forget();
        rig.say("command", command);
        let reply = rig.message("/reply", "").await;
        assert!(reply.contains(answer), "{command}: {reply}");
    }
    rig.forget();
    rig.say("command", r#"{"id":"b1","name":"files"}"#);
    assert!(rig.message("/reply", "b1").await.contains("init.lua"), "a command of the agent itself");
    rig.say("command", r#"{"id":"b2","name":"remove_file","args":"init.lua"}"#);
    assert!(rig.message("/reply", "b2").await.contains("belongs to the agent"), "and what it refuses");
    // A command that is not answered because of a restart is not run again.
    rig.forget();
    rig.say("command", r#"{"id":"a8","name":"hang"}"#);
    rig.message("/announce", "").await;
    rig.say("command", r#"{"id":"a8","name":"hang"}"#);
    assert!(rig.message("/reply", "a8").await.contains("restarted while"), "told as it is");
    // The last ones are remembered over a restart.
    rig.forget();
    rig.restart().await;
    rig.message("/announce", "").await;
    rig.say("command", r#"{"id":"a2","name":"led"}"#);
    assert!(rig.message("/reply", "a2").await.contains(r#""runs":2"#), "the same answer as before");
    for garbage in ["{", "[1]", "7", r#"{"id":7}"#, r#"{"id":"a/b","name":"led"}"#, r#"{"name":"led"}"#] {
        rig.say("command", garbage);
    }
    rig.say("command", r#"{"id":"last","name":"led","args":{}}"#);
    rig.message("/reply", "last").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_flow_goes_through_a_board_and_an_error_costs_one_message() {
    let script = "motehub.on_flow(function(wire, id, value)
        motehub.flow(wire .. '-back', id, { twice = value.n * 2 })
    end)";
    let mut rig = Rig::start(Some(script)).await;
    rig.say("flow-in", r#"{"w":"w1","i":7,"v":{"n":4}}"#);
    let said: Value = serde_json::from_str(&rig.message("/flow-out", "w1-back").await).unwrap();
    assert_eq!(said, serde_json::json!({ "w": "w1-back", "i": 7, "v": { "twice": 8 } }));
    rig.forget();
    rig.say("flow-in", r#"{"w":"w1","i":8,"v":"text"}"#);
    rig.say("flow-in", "{}");
    rig.message("/log", "attempt to").await;
    rig.message("/log", "stack traceback").await;
    rig.say("flow-in", r#"{"w":"w1","i":9,"v":{"n":5}}"#);
    assert!(rig.message("/flow-out", "w1-back").await.contains(r#""i":9"#), "the next one as before");
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn prints_reach_the_hub_but_not_all_of_a_flood() {
    let script = r"print('one', 2, nil) print('bad \255 byte, good ä')
        motehub.log('warn', 'careful') motehub.event('button', { pin = 3 })
        tmr.create():alarm(5000, 0, function() for i = 1, 500 do print('flood', i) end end)";
    let mut rig = Rig::start(Some(script)).await;
    rig.message("/log", r"one\t2\tnil").await;
    rig.message("/log", "bad ? byte, good ä").await;
    rig.message("/log", r#""level":"warn""#).await;
    rig.message("/event", r#""pin":3"#).await;
    rig.message("/log", "messages left out").await;
    let lines =
        rig.hub.state.lock().unwrap().published.iter().filter(|(topic, _)| topic.ends_with("/log")).count();
    assert!(lines < 20, "{lines} messages");
    rig.message("/telemetry", "free_memory").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_new_credential_is_used_and_a_refused_one_is_not() {
    let mut rig = Rig::start(None).await;
    rig.say("credential", r#"{"secret":"n3w"}"#);
    rig.hub
        .until("a login with the new one", |state| state.logins.iter().any(|login| login.2 == "n3w"))
        .await;
    rig.forget();
    rig.message("/announce", "").await;
    // The next one is refused by the hub: the board comes back with the one before.
    rig.hub.state.lock().unwrap().refused.push("bad".into());
    rig.say("credential", r#"{"secret":"bad"}"#);
    rig.hub
        .until("a login after the refusal", |state| {
            state.logins.iter().rev().take_while(|login| login.2 != "bad").any(|login| login.2 == "n3w")
                && state.logins.iter().any(|login| login.2 == "bad")
        })
        .await;
    rig.said("the old one works").await;
    rig.forget();
    rig.boards.order(Order::Restart).await;
    rig.message("/announce", "").await;
    let logins = rig.hub.state.lock().unwrap().logins.clone();
    assert_eq!((logins[0].2.as_str(), logins.last().unwrap().2.as_str()), ("s3cret", "n3w"));
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let mut rig = Rig::start(None).await;
    rig.boards.order(Order::WifiOff).await;
    rig.said("no Wi-Fi").await;
    // Sockets freeze; the next message of the board gets no acknowledgement.
    rig.said("the hub does not acknowledge").await;
    rig.forget();
    rig.boards.order(Order::WifiOn).await;
    rig.message("/announce", "").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_named_on_the_console() {
    let cases = [
        ("{", "config.json is not JSON"),
        ("[]", "wifi.ssid is missing"),
        (r#"{"wifi":{"ssid":"a"}}"#, "hub.host is missing"),
        (
            r#"{"wifi":{"ssid":"a"},"hub":{"host":"http://h"},"device":"d","credential":"c"}"#,
            "without http://",
        ),
        (
            r#"{"wifi":{"ssid":"a"},"hub":{"host":"h","mqtt":"x"},"device":"d","credential":"c"}"#,
            "hub.mqtt is a port",
        ),
        (
            r#"{"wifi":{"ssid":"a"},"hub":{"host":"h"},"device":"d/e","credential":"c"}"#,
            "device has a character",
        ),
        (r#"{"wifi":{"ssid":"a"},"hub":{"host":"h"},"device":"d"}"#, "credential is missing"),
    ];
    let mut rig = Rig::start(Some("print('runs anyway')")).await;
    for (settings, said) in cases {
        std::fs::write(rig.flash.path().join(CHIP).join("config.json"), settings).unwrap();
        rig.restart().await;
        rig.said(said).await;
        rig.printed("runs anyway").await;
    }
    assert!(!rig.boards.seen.iter().any(|fact| matches!(fact, Fact::Panic { .. })), "{:#?}", rig.boards.seen);
    rig.boards.fleet.stop().await;
}
