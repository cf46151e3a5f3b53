//! `bench storm`: the hub is killed while thousands of devices are connected; when it is back, all come at once.
//! Each is done when a message of QoS 1 is acknowledged. Somebody looks at the list of devices meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::broker::{self, Broker, Kind, Programs};
use crate::load::{all, open_all, payload, topic};
use crate::table;
use crate::wire::{Connection, Login, PUBACK, publish};

/// How long a device waits before it tries again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A device that is back, with the times since the hub was started.
struct Back {
    connected: Duration,
    acknowledged: Duration,
    /// Open until all are back.
    connection: Connection,
}

/// The pages that were asked for meanwhile.
struct Pages {
    count: u32,
    slowest: Duration,
}

/// Measures it once and prints lines of the table.
pub(crate) async fn storm(programs: &Programs, count: usize) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("motehub-bench-").tempdir()?;
    let visitor = crate::program("storm", &broker::add_token(&programs.hub, folder.path(), "storm", &[])?, 0);
    let hub = Broker::start(Kind::Hub, programs, folder.path(), &visitor).await?;
    eprintln!("bench: connecting {count} devices");
    let api = Api::new(hub.http, &visitor.password);
    let devices = api.add_devices(count)?;
    let before = open_all(hub.mqtt, &devices).await?;
    let addresses = (hub.mqtt, hub.http);
    eprintln!("bench: killing the hub");
    drop(hub);
    drop(before);

    let start = Instant::now();
    let hub = Broker::start_at(Kind::Hub, programs, folder.path(), &visitor, addresses).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let pages = {
        let is_over = is_over.clone();
        thread::spawn(move || look(api, count, &is_over))
    };
    let mut tasks = JoinSet::new();
    for device in devices.iter().cloned() {
        tasks.spawn_local(come_back(hub.mqtt, device, start));
    }
    let back = all(tasks).await;
    is_over.store(true, Ordering::SeqCst);
    let (api, pages) = pages.join().map_err(|_| anyhow!("the visitor came to grief"))??;
    let back = back.context("not every device is back")?;
    api.wait_online(count)?;
    print(count, &hub, &back, &pages, start.elapsed());
    back.into_iter().for_each(|back| drop(back.connection));
    Ok(())
}

async fn come_back(address: SocketAddr, device: Login, start: Instant) -> anyhow::Result<Back> {
    let mut connection = loop {
        match Connection::open(address, &device).await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    };
    let connected = start.elapsed();
    let mut packet = Vec::new();
    publish(&mut packet, &topic(&device, "telemetry"), Some(1), &payload(1));
    connection.send(&packet).await?;
    while connection.count(PUBACK).await? == 0 {}
    Ok(Back { connected, acknowledged: start.elapsed(), connection })
}

/// Asks for the first page of devices again and again.
fn look(api: Api, count: usize, is_over: &AtomicBool) -> anyhow::Result<(Api, Pages)> {
    let mut pages = Pages { count: 0, slowest: Duration::ZERO };
    while !is_over.load(Ordering::SeqCst) || pages.count == 0 {
        let took = api.device_page("", count).context("a page while all come back")?;
        pages.slowest = pages.slowest.max(took);
        pages.count += 1;
    }
    Ok((api, pages))
}

fn print(count: usize, hub: &Broker, back: &[Back], pages: &Pages, online: Duration) {
    let slowest = |time: fn(&Back) -> Duration| back.iter().map(time).max().unwrap_or_default().as_secs_f64();
    let row =
        |name: &str, digits, value| table::print_hub(&format!("storm of {count}: {name}"), digits, value);
    row("start to first CONNACK, s", 2, hub.ready_after.as_secs_f64());
    row("start to all connected, s", 2, slowest(|back| back.connected));
    row("start to all acknowledged, s", 2, slowest(|back| back.acknowledged));
    row("start to all shown online, s", 2, online.as_secs_f64());
    row("pages of 50 devices meanwhile", 0, f64::from(pages.count));
    row("slowest of these pages, ms", 0, pages.slowest.as_secs_f64() * 1000.0);
}
