//! Faults on request: power, Wi-Fi, slow links, programs that do not return.

use std::time::{Duration, Instant};

use motehub_sim::nodemcu::{BoardConfig, BootReason, Fact, Order};

use crate::hub::{CHIP, Hub, Watched, booted};

fn is_cut(fact: &Fact) -> bool {
    matches!(fact, Fact::PowerCut { .. })
}

fn is_boot_of(fact: &Fact, chip_id: &str) -> bool {
    matches!(fact, Fact::Boot { board, .. } if board == chip_id)
}

#[tokio::test]
async fn a_power_cut_in_a_download_resets_the_socket_and_leaves_an_empty_file() {
    let program = format!("print('hello') --{}", "x".repeat(3000));
    let cuts = [0, 1, 120, program.len() as u64 - 1, program.len() as u64, 1_000_000];
    let hub = Hub::start().await;
    let flash = tempfile::tempdir().unwrap();
    let mut config = hub.config();
    config.flash = Some(flash.path().to_owned());
    let mut boards = Watched::start(&config);
    let read = |name: &str| std::fs::read(flash.path().join(CHIP).join(name));
    for (index, bytes) in cuts.into_iter().enumerate() {
        boards.wait("boot", |fact| matches!(fact, Fact::Boot { .. })).await;
        boards.order(Order::PowerCutAtByte { bytes }).await;
        hub.deploy(&program);
        boards.wait("power cut", is_cut).await;
        hub.until("the server sees the end", |state| state.endings.len() == index + 1).await;
        assert_eq!(hub.state.lock().unwrap().endings[index], "reset", "{bytes}");
        assert_eq!(read("boot.lua").unwrap(), b"", "{bytes}");
        assert!(read("boot.lc").is_err(), "{bytes}");
        boards.order(Order::PowerOn).await;
    }
    boards.wait("boot", booted(BootReason::PowerOn)).await;
    hub.deploy(&program);
    boards.printed("hello").await;
    boards.fleet.stop().await;
}

#[tokio::test]
async fn a_board_without_power_is_silent_and_starts_from_its_flash() {
    let hub = Hub::start().await;
    hub.deploy("print('running')");
    let mut boards = Watched::start(&hub.config());
    boards.printed("running").await;
    boards.order(Order::PowerCut).await;
    boards.wait("power cut", is_cut).await;
    hub.until("the broker sees a reset", |state| state.resets > 0).await;
    boards.order(Order::Restart).await;
    boards.order(Order::PowerOn).await;
    let next = boards.wait("any fact", |_| true).await;
    assert!(booted(BootReason::PowerOn)(&next), "{next:?}");
    boards.printed("running").await;
    boards.order(Order::Restart).await;
    boards.wait("reset", booted(BootReason::Reset)).await;
    boards.fleet.stop().await;
}

#[tokio::test]
async fn a_slow_link_is_slow() {
    let hub = Hub::start().await;
    let mut boards = Watched::start(&hub.config());
    boards.order(Order::SlowLink { bytes_per_second: 1500 }).await;
    boards.printed("poll: nothing to run").await;
    // Nothing of the download can have come before this.
    let start = Instant::now();
    hub.deploy(&format!("print('slow') --{}", "x".repeat(3000)));
    boards.wait("compiled", |fact| matches!(fact, Fact::Compiled { .. })).await;
    assert!(start.elapsed() > Duration::from_millis(1800), "{:?}", start.elapsed());
    boards.fleet.stop().await;
}

#[tokio::test]
async fn without_wifi_sockets_freeze_and_nothing_new_connects() {
    let hub = Hub::start().await;
    let mut config = hub.config();
    config.firmware = format!(
        "wifi.eventmon.register(wifi.eventmon.STA_DISCONNECTED, function()
           print('gone', wifi.sta.getip())
           http.get('http://{}/', nil, function(code) print('http', code) end)
           m:publish('devices/x', 'late', 1, 0, function() print('acknowledged') end)
         end)
         wifi.eventmon.register(wifi.eventmon.STA_GOT_IP, function(t)
           print('there', t.IP == wifi.sta.getip())
           if m then return end
           m = mqtt.Client('x', 60)
           m:on('offline', function() print('offline') end)
           m:connect('127.0.0.1', {}, false, function() print('connected') end)
         end)
         wifi.sta.config({{ ssid = 'any' }})",
        hub.http,
        hub.mqtt.rsplit_once(':').unwrap().1
    );
    let mut boards = Watched::start(&config);
    boards.printed("connected").await;
    boards.order(Order::WifiOff).await;
    boards.printed("gone\tnil").await;
    boards.printed("http\t-1").await;
    assert!(hub.state.lock().unwrap().published.is_empty());
    boards.order(Order::WifiOn).await;
    boards.printed("acknowledged").await;
    assert_eq!(hub.state.lock().unwrap().published, [("devices/x".to_owned(), "late".to_owned())]);
    let prints = |text: &str| {
        boards
            .seen
            .iter()
            .filter(|fact| matches!(fact, Fact::Print { text: seen, .. } if seen == text))
            .count()
    };
    assert_eq!((prints("offline"), prints("connected")), (0, 1));
    boards.fleet.stop().await;
}

#[tokio::test]
async fn an_endless_loop_is_reset_by_the_watchdog() {
    let hub = Hub::start().await;
    let mut config = hub.config();
    config.firmware = "local function spin() while true do end end
        local at = { 'while', 'coroutine', 'timer', 'pcall' }
        local turn = tonumber(file.getcontents('turn') or '1')
        file.putcontents('turn', tostring(turn + 1))
        print(at[turn] or 'end')
        if turn == 1 then spin() end
        if turn == 2 then coroutine.wrap(spin)() end
        if turn == 3 then tmr.create():alarm(1, tmr.ALARM_SINGLE, spin) end
        if turn == 4 then while true do pcall(spin) end end"
        .into();
    config.watchdog_ms = 1000;
    let mut boards = Watched::start(&config);
    for turn in ["while", "coroutine", "timer", "pcall"] {
        boards.printed(turn).await;
        boards.wait("watchdog", booted(BootReason::Watchdog)).await;
    }
    boards.printed("end").await;
    boards.fleet.stop().await;
}

#[tokio::test]
async fn lua_that_cannot_be_stopped_costs_its_group_a_restart() {
    let hub = Hub::start().await;
    let mut config = hub.config();
    config.boards.push(BoardConfig { chip_id: 7, credential: None, device: None });
    config.boards.push(BoardConfig { chip_id: 8, credential: None, device: None });
    config.firmware = format!(
        "if node.chipid() ~= {CHIP} or file.exists('looped') then
           print('up')
         else
           tmr.create():alarm(50, tmr.ALARM_SINGLE, function()
             file.putcontents('looped', 'yes')
             string.find(('a'):rep(60), ('a*'):rep(40) .. 'b')
           end)
         end"
    );
    config.watchdog_ms = 1000;
    config.group_size = 2;
    let mut boards = Watched::start(&config);
    let reset = boards.wait("group reset", |fact| matches!(fact, Fact::GroupReset { .. })).await;
    assert!(matches!(&reset, Fact::GroupReset { boards, .. } if *boards == [CHIP, "7"]), "{reset:?}");
    boards
        .wait("the fresh board's print", |fact| matches!(fact, Fact::Print { board, .. } if board == CHIP))
        .await;
    boards.wait("its neighbour's boot", |fact| is_boot_of(fact, "7")).await;
    assert_eq!(boards.seen.iter().filter(|fact| is_boot_of(fact, "8")).count(), 1);
    boards.fleet.stop().await;
}
