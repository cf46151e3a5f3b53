//! What goes wrong, and that the agent comes back and says what it was.

use motehub_sim::nodemcu::{BoardConfig, Fact, FleetConfig, Order};
use serde_json::Value;

use super::{DEVICE, Rig, SPIN_MAX_MS, digest, install, offer_of};
use crate::hub::{CHIP, Fault, Hub, Watched};

const GOOD: &str = "print('good')";

fn better() -> String {
    format!("print('better') --{}", "x".repeat(2500))
}

#[tokio::test]
async fn a_download_that_fails_says_why_and_the_good_script_runs() {
    let cases = [
        (Fault::Status(404), "the hub answered 404 for the script, after 0 of 2518 bytes"),
        (Fault::Status(403), "the hub answered 403 for the script, after 0 of 2518 bytes"),
        (Fault::Status(503), "the hub answered 503, after 0 of 2518 bytes and 8 attempts"),
        (Fault::Status(200), "wrong size: 2518 bytes were offered, the hub has 27, after 0 of 2518 bytes"),
        (Fault::Truncated(0), "the answer ended early, after 0 of 2518 bytes and 8 attempts"),
        (Fault::Altered(2000), "wrong digest: the hub sent sha256:"),
        (Fault::Total(9), "wrong size: 2518 bytes were offered, the hub has 9, after 0 of 2518 bytes"),
        (Fault::Silent, "no answer from 127.0.0.1:"),
        (Fault::Garbage, "the answer is not HTTP, after 0 of 2518 bytes and 8 attempts"),
    ];
    let mut rigs = tokio::task::JoinSet::new();
    for (fault, said) in cases {
        rigs.spawn(async move {
            let mut rig = Rig::start(Some(GOOD)).await;
            rig.offer(&better(), fault);
            let report: Value = serde_json::from_str(&rig.message("/task", "Failed").await).unwrap();
            assert!(report["reason"].as_str().unwrap().starts_with(said), "{fault:?}: {report}");
            // The next message shows that the board knows that its report has arrived.
            rig.forget();
            rig.message("/telemetry", "free_memory").await;
            rig.restart().await;
            rig.message("/announce", &digest(GOOD)).await;
            rig.printed("good").await;
            // Another try may succeed.
            rig.offer(&better(), Fault::Truncated(700));
            rig.message("/task", "Done").await;
            rig.boards.fleet.stop().await;
        });
    }
    while let Some(ended) = rigs.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_full_flash_is_said_and_the_good_script_runs() {
    let mut rig = Rig::with(Some(GOOD), |config| config.flash_bytes = 160 * 1024).await;
    rig.printed("good").await;
    let folder = rig.flash.path().join(CHIP);
    let used: u64 =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let room = 160 * 1024 - used - 3500;
    std::fs::write(folder.join("big"), vec![0; room as usize]).unwrap();
    rig.offer(&better(), Fault::None);
    let report = rig.message("/task", "Failed").await;
    assert!(report.contains("the flash is full: the script needs 2518 bytes"), "{report}");
    std::fs::remove_file(folder.join("big")).unwrap();
    rig.forget();
    rig.offer(&better(), Fault::None);
    rig.message("/task", "Done").await;
    rig.boards.fleet.stop().await;
}

/// A script, what is said of it, and a part of the traceback.
const CRASHES: [(&str, &str, &str); 8] = [
    ("local t t.x = 1", "mh_slot2.lua:1: attempt to index", "traceback"),
    ("x = = 1", "mh_slot2.lua:1: unexpected symbol", "unexpected symbol"),
    ("assert(loadstring('x = = 1'))", "unexpected symbol", "traceback"),
    ("tmr.create():alarm(100, 0, function() error('late') end)", "late", "traceback"),
    ("local t = {} for i = 1, 1e7 do t[i] = i .. 'x' end", "not enough memory", "memory"),
    ("while true do end", "the watchdog reset the board", ""),
    ("while true do pcall(function() while true do end end) end", "the watchdog reset the board", ""),
    ("tmr.create():alarm(50, 0, node.restart)", "the script restarted the board", ""),
];

#[tokio::test]
async fn three_crashes_lead_to_safe_mode_and_back_to_the_good_script() {
    let mut rigs = tokio::task::JoinSet::new();
    for (script, said, trace) in CRASHES {
        rigs.spawn(async move {
            let change = |config: &mut FleetConfig| {
                if said.contains("watchdog") {
                    config.watchdog_ms = SPIN_MAX_MS;
                }
            };
            let mut rig = Rig::with(Some(GOOD), change).await;
            rig.printed("good").await;
            rig.forget();
            rig.offer(script, Fault::None);
            let report: Value = serde_json::from_str(&rig.message("/task", "Failed").await).unwrap();
            assert!(report["reason"].as_str().unwrap().contains(said), "{script}: {report}");
            assert_eq!((&report["crashes"], &report["safe_mode"]), (&3.into(), &true.into()), "{report}");
            assert!(report["traceback"].as_str().unwrap_or_default().contains(trace), "{script}: {report}");
            rig.printed("good").await;
            rig.message("/announce", r#""safe_mode":true"#).await;
            rig.message("/announce", &digest(GOOD)).await;
            rig.boards.fleet.stop().await;
        });
    }
    while let Some(ended) = rigs.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_script_that_waits_for_its_start_is_not_done() {
    let mut rig = Rig::start(None).await;
    rig.offer(GOOD, Fault::None);
    rig.message("/task", "Done").await;
    rig.forget();
    // Without an acknowledgement the board restarts after five seconds, as long as the health window.
    rig.hub.state.lock().unwrap().deaf_to = Some("Applying");
    rig.offer("error('never good')", Fault::None);
    let report = rig.message("/task", r#""safe_mode":true"#).await;
    assert!(report.contains("never good"), "{report}");
    let state = rig.hub.state.lock().unwrap().published.iter().any(|(_, text)| text.contains("Done"));
    assert!(!state, "it was not Done before it ran");
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn without_a_good_script_safe_mode_stays_until_another_is_offered() {
    let mut rig = Rig::start(None).await;
    rig.offer("error('first')", Fault::None);
    rig.message("/task", r#""safe_mode":true"#).await;
    rig.forget();
    rig.restart().await;
    let announced = rig.message("/announce", r#""safe_mode":true"#).await;
    assert!(announced.contains(r#""running":null"#), "{announced}");
    rig.offer(GOOD, Fault::None);
    rig.message("/task", "Done").await;
    rig.printed("good").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_good_script_that_begins_to_crash_makes_way_for_the_one_before() {
    let turncoat = "if file.exists('turn') then error('turned') end print('fine')";
    let mut rig = Rig::start(Some(GOOD)).await;
    rig.offer(turncoat, Fault::None);
    rig.message("/task", "Done").await;
    std::fs::write(rig.flash.path().join(CHIP).join("turn"), "").unwrap();
    rig.forget();
    rig.restart().await;
    let report = rig.message("/task", "Failed").await;
    assert!(report.contains("turned") && report.contains(&digest(turncoat)), "{report}");
    rig.printed("good").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_script_cannot_hit_the_agent_by_accident() {
    let script =
        "for _, hit in ipairs({ function() file.remove('init.lua') end, function() file.format() end,
          function() file.open('mh_state0.json', 'w') end, function() file.rename('config.json', 'x') end,
          function() file.putcontents('mh_slot1.lua', 'x') end }) do print('refused', not pcall(hit)) end
        file.putcontents('mine', 'x') print('mine', file.getcontents('mine'), file.exists('init.lua'))
        node.setonerror(function() end) sjson, file, mqtt, net, pairs = nil";
    let mut rig = Rig::start(Some(script)).await;
    for _ in 0..5 {
        rig.printed("refused\ttrue").await;
    }
    rig.printed("mine\tx\ttrue").await;
    rig.message("/log", "mine").await;
    rig.offer(GOOD, Fault::None);
    rig.message("/task", "Done").await;
    rig.printed("good").await;
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_script_that_fills_the_flash_is_still_reported() {
    let script = "print('filling') tmr.create():alarm(3000, 0, function()
          local f = file.open('rubbish', 'w') while f:write(('x'):rep(256)) do end
          while f:write('x') do end f:close() error('full up') end)";
    let change = |config: &mut FleetConfig| {
        config.flash_bytes = 160 * 1024;
        // Filling takes its time on the host.
        config.watchdog_ms = 5000;
    };
    let mut rig = Rig::with(Some(GOOD), change).await;
    rig.offer(script, Fault::None);
    let report = rig.message("/task", "Failed").await;
    assert!(report.contains("full up"), "{report}");
    rig.printed("good").await;
    rig.boards.fleet.stop().await;
}

/// Boards that each lose their power once, somewhere between the offer and the end; every one of them has to run
/// the good script or the better one whenever it boots, and to be done in the end.
async fn cut(orders: Vec<Order>) {
    const FIRST: u32 = 7001;
    let hub = Hub::start().await;
    let flash = tempfile::tempdir().unwrap();
    let mut config = hub.config();
    config.boards.clear();
    for chip_id in (FIRST..).take(orders.len()) {
        let device = Some(chip_id.to_string());
        config.boards.push(BoardConfig { chip_id, credential: Some("s3cret".into()), device });
        install(flash.path(), &chip_id.to_string(), GOOD);
    }
    config.flash = Some(flash.path().to_owned());
    config.speed = super::SPEED;
    hub.state.lock().unwrap().artifact = better().into_bytes();
    let mut boards = Watched::start(&config);
    let said = |topic: &str, part: &str, device: &str| {
        let state = hub.state.lock().unwrap();
        let from = format!("devices/{device}/{topic}");
        state.published.iter().filter(|(on, text)| *on == from && text.contains(part)).count()
    };
    let mut offered = vec![0; orders.len()];
    let mut cuts = 0;
    let mut last_runs = vec![String::new(); orders.len()];
    loop {
        let fact = tokio::select! {
            fact = boards.wait("any fact", |_| true) => Some(fact),
            () = hub.changed() => None,
        };
        for (index, order) in orders.iter().enumerate() {
            let device = (FIRST + index as u32).to_string();
            let announced = said("announce", "", &device);
            if announced > offered[index] {
                // As the hub does it: what is open is offered again at each connection.
                if offered[index] == 0 {
                    let command =
                        motehub_sim::nodemcu::Command { board: Some(device.clone()), order: *order };
                    boards.fleet.command(command).await;
                }
                offered[index] = announced;
                hub.publish(&device, &format!("devices/{device}/offer"), &offer_of(&device, &better()));
            }
        }
        match fact {
            Some(Fact::PowerCut { board }) => {
                cuts += 1;
                let command = motehub_sim::nodemcu::Command { board: Some(board), order: Order::PowerOn };
                boards.fleet.command(command).await;
            }
            Some(Fact::Print { board, text }) if text == "good" || text == "better" => {
                last_runs[(board.parse::<u32>().unwrap() - FIRST) as usize] = text;
            }
            Some(Fact::Panic { board, error }) => panic!("{board}: {error}"),
            Some(Fact::Boot { board, .. }) => {
                last_runs[(board.parse::<u32>().unwrap() - FIRST) as usize].clear();
            }
            _ => {}
        }
        if (FIRST..).take(orders.len()).all(|chip| said("task", "Done", &chip.to_string()) > 0) {
            break;
        }
    }
    assert!(cuts > orders.len() * 8 / 10, "{cuts} power cuts");
    assert!(last_runs.iter().all(|text| text == "better"), "{last_runs:?}");
    let failures =
        hub.state.lock().unwrap().published.iter().filter(|(_, text)| text.contains("Failed")).count();
    assert_eq!(failures, 0);
    assert!(hub.state.lock().unwrap().logins.iter().all(|login| login.0 != DEVICE));
    boards.fleet.stop().await;
}

#[tokio::test]
async fn a_power_cut_at_any_byte_of_a_download_is_survived() {
    let size = better().len() as u64;
    cut((0..50).map(|step| Order::PowerCutAtByte { bytes: step * size / 50 }).collect()).await;
}

#[tokio::test]
async fn a_power_cut_at_any_change_of_the_flash_is_survived() {
    cut((0..50).map(|step| Order::PowerCutAtWrite { bytes: step * 80 }).collect()).await;
}
