//! The heartbeat: every two seconds a node says that it lives and how much it has to do, renews its leases, and learns
//! who else lives. It notices here that the store is away.

use std::time::Duration;

use motehub_domain::time::{Span, Time};
use motehub_store::{Node, StoreError};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::begin::{self, APART_MAX};
use super::leases::TTL;
use crate::app::App;

/// How often.
const EVERY: Duration = Duration::from_secs(2);
/// How long the store may take to answer before it counts as away.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How often leases are looked at that may have ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A node that was not seen for so long is forgotten.
const FORGET_AFTER: Span = Span::days(1);

/// Whether a node was seen lately; `now` is the time of the database.
pub(crate) fn is_alive(node: &Node, now: Time) -> bool {
    node.seen_at + TTL >= now
}

/// Runs until shutdown. A hub on a file only counts.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let (mut beats, mut looks) = (interval(EVERY), interval(LOOK_EVERY));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The others look who lives now, and not only with their next beat.
    app.cluster.bus().publish("work.upkeep", "free");
    loop {
        let is_beat = tokio::select! {
            _ = beats.tick() => true,
            () = app.cluster.leases().freed() => true,
            _ = looks.tick() => false,
            () = shutdown.cancelled() => return,
        };
        if is_beat {
            let messages = app.mqtt.get().map_or(0, |mqtt| mqtt.counters().messages_in);
            app.cluster.counted(messages);
        }
        if is_beat && app.store.is_shared() {
            // Leases are looked at while the store does not answer, too.
            let beat = timeout(ANSWER_MAX, beat(&app));
            tokio::pin!(beat);
            let done = loop {
                tokio::select! {
                    done = &mut beat => break done,
                    _ = looks.tick() => app.cluster.leases().expire(),
                }
            };
            let why = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("it did not answer within {} s", ANSWER_MAX.as_secs())),
            };
            app.cluster.store_is(why, app.now());
        }
        app.cluster.leases().expire();
    }
}

/// Gives everything back and says that this node leaves.
pub(crate) async fn end(app: &App) {
    if !app.store.is_shared() {
        return;
    }
    let ended = async {
        app.cluster.leases().release(&app.store).await;
        let me = app.cluster.me();
        app.store.leave(&me.name, &me.instance).await?;
        for work in super::Work::ALL {
            app.cluster.bus().publish(&format!("work.{}", work.as_str()), "free");
        }
        let _ = app.cluster.bus().flushed().await;
        Ok::<_, StoreError>(())
    };
    if !matches!(timeout(ANSWER_MAX, ended).await, Ok(Ok(()))) {
        tracing::warn!("this node could not say that it leaves; others notice in some seconds");
    }
}

async fn beat(app: &App) -> Result<(), StoreError> {
    let ahead = begin::ahead(&app.settings, &app.store).await?;
    let now = app.now() + ahead;
    let mut me = app.cluster.me();
    (me.seen_at, me.figures) = (now, figures(app).await?);
    if let Some(addresses) = app.bound.get() {
        me.address = addresses.http.to_string();
    }
    if !app.store.beat(&me, now - TTL).await? {
        tracing::error!(name = me.name, "another node has the name of this one: give each a name of its own");
    }
    if !app.cluster.is_draining() {
        app.cluster.leases().keep(&app.store, &me.instance, &me.name, now).await?;
    }
    let (alive, gone): (Vec<Node>, Vec<Node>) =
        app.store.nodes().await?.into_iter().partition(|node| is_alive(node, now));
    for node in gone.iter().filter(|node| node.started_at + FORGET_AFTER < now) {
        if node.seen_at + FORGET_AFTER < now {
            app.store.forget_node(&node.name, now - FORGET_AFTER).await?;
        }
    }
    app.cluster.saw(alive.into_iter().chain(gone).collect(), ahead, app.now());
    if ahead.0.abs() > APART_MAX.0 {
        tracing::error!(
            ahead_ms = ahead.0,
            "the clocks of this machine and of the database are apart: set both by NTP"
        );
    }
    Ok(())
}

/// How much this node has to do.
pub(crate) async fn figures(app: &App) -> Result<Value, StoreError> {
    let connections = app.mqtt.get().map(|mqtt| mqtt.totals().connections);
    let lag = app.store.last_seq().await? - app.live.last_seq();
    let (load, memory) = (load(), memory_bytes());
    Ok(json!({
        "is_alone": app.cluster.is_alone(),
        "is_draining": app.cluster.is_draining(),
        "connections": connections,
        "messages_per_second": app.cluster.messages_per_second(),
        "points_per_minute": app.points.per_minute(app.now()),
        "load": load,
        "memory_bytes": memory,
        "lag_changes": lag.max(0),
        "rules_until": app.rules.until().0,
    }))
}

/// The load of the machine in the last minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// What this process has of the memory.
fn memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
