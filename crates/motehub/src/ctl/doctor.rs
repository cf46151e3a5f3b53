//! `motehub ctl doctor`: whether the hub is reached, what it lacks, and which devices have a problem.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use serde_json::{Value, json};

use super::print::{cell, clean};
use super::{Caller, find};

/// The clocks may differ by so much.
const SKEW_MAX_MS: i64 = 5000;
/// How long a listener may take to answer.
const REACH_MAX: Duration = Duration::from_secs(3);
/// A disk with less than this part free is nearly full.
const FREE_PERCENT_MIN: u64 = 5;
/// A backup that is older is too old.
const BACKUP_AGE_MAX_MS: i64 = 7 * 24 * 3600 * 1000;

/// One thing that was looked at.
struct Finding {
    /// `ok`, `note` or `bad`.
    mark: &'static str,
    what: &'static str,
    sentence: String,
}

pub(super) fn run(caller: &Caller) -> anyhow::Result<()> {
    let before = now_ms();
    let system = caller.get("/system")?;
    let middle_ms = before.midpoint(now_ms());
    let me = caller.get("/me")?;
    let failing = find::all(caller, "/devices", "&selector=failing")?;
    let mut findings = Vec::new();
    let mut add = |mark, what, sentence: String| findings.push(Finding { mark, what, sentence });

    let hub = &caller.account.hub;
    let (version, own) = (cell(&system["version"]), env!("CARGO_PKG_VERSION"));
    match version == own {
        true => add("ok", "hub", format!("{hub} answers, version {version}")),
        false => add("note", "hub", format!("{hub} answers, version {version}; this program is {own}")),
    }
    if hub.starts_with("http://") && !is_this_machine(hub) {
        add("note", "hub", "your token is sent unencrypted: use https, or a tunnel".to_owned());
    }
    add("ok", "token", format!("{}, role {}", cell(&me["name"]), cell(&me["role"])));
    clock(&system, middle_ms, &mut add);
    disk(&system["disk"], &mut add);
    listeners(caller, &system["listeners"], &mut add);
    if let Some(end) = system["tls_expires_at"].as_str() {
        add("ok", "tls", format!("the certificate of the listeners ends at {end}"));
    }
    match system["last_backup_at"].as_str() {
        None => add("note", "backup", "none was ever taken: motehub ctl backup FILE".to_owned()),
        Some(at) if ms(&system["last_backup_at"]).is_some_and(|ms| ms < middle_ms - BACKUP_AGE_MAX_MS) => {
            add("note", "backup", format!("the last one is of {at}: motehub ctl backup FILE"));
        }
        Some(at) => add("ok", "backup", format!("the last one is of {at}")),
    }
    for weakness in system["weaknesses"].as_array().into_iter().flatten() {
        add("note", "weak", cell(&weakness["sentence"]));
    }
    let devices = failing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for device in devices {
        add("note", "device", format!("{}: {}", cell(&device["name"]), cell(&device["problem"])));
    }
    if devices.is_empty() {
        add("ok", "devices", "none has a problem".to_owned());
    }

    let list: Vec<Value> = findings
        .iter()
        .map(|it| json!({ "mark": it.mark, "what": it.what, "sentence": clean(&it.sentence) }))
        .collect();
    let shown = json!({ "hub": hub, "me": me, "system": system, "failing": devices, "findings": list });
    caller.show(&shown, |_| {
        findings.iter().map(|it| format!("{:<5} {:<8} {}\n", it.mark, it.what, clean(&it.sentence))).collect()
    })?;
    match findings.iter().filter(|finding| finding.mark == "bad").count() {
        0 => Ok(()),
        bad => bail!("{bad} of these must be mended"),
    }
}

fn clock(system: &Value, here_ms: i64, add: &mut impl FnMut(&'static str, &'static str, String)) {
    let Some(there) = ms(&system["time"]) else { return };
    let skew = there - here_ms;
    let seconds = skew.abs().div_euclid(1000);
    let side = if skew > 0 { "ahead of" } else { "behind" };
    match skew.abs() <= SKEW_MAX_MS {
        true => add("ok", "clock", "the hub's clock and this one agree".to_owned()),
        false => {
            let sentence = format!("the hub's clock is {seconds} s {side} this one: which of them is wrong?");
            add("bad", "clock", sentence);
        }
    }
}

fn disk(disk: &Value, add: &mut impl FnMut(&'static str, &'static str, String)) {
    let number = |key: &str| disk[key].as_u64();
    let (Some(free), Some(all), Some(database)) =
        (number("free_bytes"), number("total_bytes"), number("database_bytes"))
    else {
        return;
    };
    let [free_mb, all_mb, database_mb] = [free, all, database].map(|bytes| bytes / 1_000_000);
    let is_low = free < all / 100 * FREE_PERCENT_MIN || free < database;
    let mark = if is_low { "note" } else { "ok" };
    let sentence = format!("{free_mb} MB of {all_mb} MB are free; the database has {database_mb} MB");
    let advice = if is_low { ": that is little, a backup needs as much as the database" } else { "" };
    add(mark, "disk", format!("{sentence}{advice}"));
}

/// Whether the listeners for devices are reached from here, by the name under which the hub is.
fn listeners(caller: &Caller, listeners: &Value, add: &mut impl FnMut(&'static str, &'static str, String)) {
    let host = host(&caller.account.hub);
    for (key, what) in [
        ("mqtt", "mqtt"),
        ("mqtt_tls", "mqtt tls"),
        ("mqtt_ws", "mqtt ws"),
        ("mdash", "mdash"),
        ("aws", "aws"),
    ] {
        let Some(listens) = listeners[key].as_str() else { continue };
        let Some(port) = listens.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()) else {
            continue;
        };
        let reached = (host.as_str(), port).to_socket_addrs().ok().into_iter().flatten();
        let is_reached =
            reached.take(4).any(|address| TcpStream::connect_timeout(&address, REACH_MAX).is_ok());
        match is_reached {
            true => add("ok", what, format!("listens on {listens}, reached as {host}:{port}")),
            false => {
                let sentence = format!("listens on {listens}, not reached from here as {host}:{port}");
                add("note", what, sentence);
            }
        }
    }
}

/// Between `//` and the port.
fn host(hub: &str) -> String {
    let authority = hub.split("//").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default().to_owned(),
        None => authority.split(':').next().unwrap_or_default().to_owned(),
    }
}

fn is_this_machine(hub: &str) -> bool {
    let host = host(hub);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// RFC 3339 as milliseconds since 1970.
fn ms(time: &Value) -> Option<i64> {
    time.as_str()?.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
}

#[expect(clippy::disallowed_methods, reason = "the clock of this machine is what is compared")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_hub_is_found_in_every_form() {
        for (hub, expected, is_here) in [
            ("http://127.0.0.1:8080", "127.0.0.1", true),
            ("https://hub.example", "hub.example", false),
            ("http://[::1]:8080/below", "::1", true),
            ("http://localhost", "localhost", true),
        ] {
            assert_eq!((host(hub).as_str(), is_this_machine(hub)), (expected, is_here), "{hub}");
        }
    }
}
