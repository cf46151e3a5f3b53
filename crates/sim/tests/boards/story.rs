//! The firmware story: poll, download, compile, restart, run, wake-up, and what goes wrong in it.

use std::path::Path;

use motehub_sim::nodemcu::{BootReason, Fact};

use crate::hub::{CHIP, Hub, Watched, booted};

fn flash_file(flash: &Path, name: &str) -> Option<Vec<u8>> {
    std::fs::read(flash.join(CHIP).join(name)).ok()
}

#[tokio::test]
async fn a_factory_board_fetches_compiles_restarts_and_runs() {
    let hub = Hub::start().await;
    hub.deploy("print('fan v1')");
    let mut boards = Watched::start(&hub.config());
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

#[tokio::test]
async fn a_factory_board_without_an_update_keeps_restarting() {
    let hub = Hub::start().await;
    let mut boards = Watched::start(&hub.config());
    for _ in 0..2 {
        boards.printed("poll: nothing to run").await;
        boards.wait("restart", booted(BootReason::Restart)).await;
    }
    boards.fleet.stop().await;
}

#[tokio::test]
async fn a_needless_wake_up_runs_the_program_twice_and_foreign_ones_do_nothing() {
    let hub = Hub::start().await;
    hub.deploy("runs = (runs or 0) + 1; print('run ' .. runs)");
    let mut boards = Watched::start(&hub.config());
    boards.printed("run 1").await;
    for foreign in ["10801016", "", "UPDATE", "10801015x"] {
        hub.publish(CHIP, "/mutation/update", foreign);
    }
    hub.publish(CHIP, "/mutation/update", " 0xa4cf77 ");
    boards.printed("run 2").await;
    let wakes = |fact: &&Fact| matches!(fact, Fact::Print { text, .. } if text.starts_with("woken"));
    assert_eq!(boards.seen.iter().filter(wakes).count(), 1);
    boards.fleet.stop().await;
}

#[tokio::test]
async fn a_syntax_error_is_a_panic_and_the_old_program_runs_again() {
    let hub = Hub::start().await;
    let flash = tempfile::tempdir().unwrap();
    let mut config = hub.config();
    config.flash = Some(flash.path().to_owned());
    hub.deploy("print('good')");
    let mut boards = Watched::start(&config);
    boards.printed("good").await;
    let (compiled, settings) = (flash_file(flash.path(), "boot.lc"), flash_file(flash.path(), "config.txt"));
    assert!(compiled.is_some());
    hub.deploy("print('bad'\nx = = 1");
    hub.publish(CHIP, "/mutation/update", CHIP);
    let panic = boards.wait("panic", |fact| matches!(fact, Fact::Panic { .. })).await;
    assert!(matches!(&panic, Fact::Panic { error, .. } if error.contains("boot.lua:2:")), "{panic:?}");
    boards.wait("boot", booted(BootReason::Panic)).await;
    boards.printed("good").await;
    assert_eq!(flash_file(flash.path(), "boot.lc"), compiled);
    assert_eq!(flash_file(flash.path(), "config.txt"), settings);
    boards.fleet.stop().await;
}

#[tokio::test]
async fn a_program_that_crashes_at_start_loops() {
    let hub = Hub::start().await;
    hub.deploy("local t; t.x = 1");
    let mut boards = Watched::start(&hub.config());
    for _ in 0..2 {
        let panic = boards.wait("panic", |fact| matches!(fact, Fact::Panic { .. })).await;
        assert!(matches!(&panic, Fact::Panic { error, .. } if error.contains("boot.lua:1:")), "{panic:?}");
        boards.wait("boot", booted(BootReason::Panic)).await;
    }
    boards.fleet.stop().await;
}

#[tokio::test]
async fn files_that_are_on_the_flash_stay() {
    let hub = Hub::start().await;
    let flash = tempfile::tempdir().unwrap();
    let folder = flash.path().join(CHIP);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("init.lua"), "print('own firmware', file.getcontents('config.txt'))").unwrap();
    std::fs::write(folder.join("config.txt"), "mine").unwrap();
    let mut config = hub.config();
    config.flash = Some(flash.path().to_owned());
    let mut boards = Watched::start(&config);
    boards.printed("own firmware\tmine").await;
    boards.fleet.stop().await;
}
