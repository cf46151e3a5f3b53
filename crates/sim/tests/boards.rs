//! Virtual boards from outside: real processes, real sockets, the test firmware, and faults on request.

mod hub;

use std::path::Path;

use hub::{CHIP, Hub, Watched};
use motehub_sim::nodemcu::{BoardConfig, BootReason, Fact, Order};

/// Not a test: what the fleets of the tests start as the process of a group.
#[test]
fn group_process() {
    if std::env::var_os("MOTEHUB_SIM_GROUP").is_some() {
        motehub_sim::nodemcu::run_group().unwrap();
    }
}

fn booted(wanted: BootReason) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Boot { reason, .. } if *reason == wanted)
}

fn flash_file(flash: &Path, name: &str) -> Option<String> {
    std::fs::read(flash.join(CHIP).join(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_factory_board_fetches_compiles_restarts_and_runs() {
    let hub = Hub::start().await;
    hub.deploy("print('fan v1')");
    let mut boards = Watched::start(hub.config());
    boards.wait("compiled", |fact| matches!(fact, Fact::Compiled { file, .. } if file == "boot.lc")).await;
    boards.wait("restart", booted(BootReason::Restart)).await;
    boards.printed("fan v1").await;
    {
        let state = hub.state.lock().unwrap();
        assert_eq!(state.logins[0], (CHIP.to_owned(), CHIP.to_owned(), "s3cret".to_owned()));
        let expected = format!(
            "GET /d/s3cret/node.php?id={CHIP}&update HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             User-Agent: ESP8266\r\n\r\n",
            hub.http
        );
        assert_eq!(state.requests[0], expected);
        assert_eq!(state.endings, ["closed"]);
    }
    let is_masked = |fact: &Fact| matches!(fact, Fact::Http { path, .. } if path.contains("/d/***/uploads/"));
    assert!(boards.seen.iter().any(is_masked), "{:#?}", boards.seen);

    hub.deploy("print('fan v2')");
    hub.publish(CHIP, "/mutation/update", CHIP);
    boards.printed("woken up, the old program is stopped").await;
    boards.printed("fan v2").await;
    boards.fleet.stop().await;
}
