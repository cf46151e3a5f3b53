//! A process that appends is killed at any moment: what it was told to be stored is stored.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::Time;
use motehub_store::{ChangeQuery, Measured, Store, StoreUrl};

/// Tells the test binary, started again, that it is the process to be killed, and on which file.
const VICTIM: &str = "MOTEHUB_STORE_CRASH_FILE";
const START: i64 = 1_763_690_400_000;
/// A point per minute: every 60th append begins another hour, so that merges happen all the time.
const MINUTE: i64 = 60_000;

fn lamp() -> DeviceId {
    DeviceId::from_parts(1, 1)
}

async fn append_until_killed(file: &Path) {
    let store = Store::open(&StoreUrl::Sqlite(file.into())).await.unwrap();
    let device = Device {
        id: lamp(),
        name: "lamp".into(),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: None,
        tags: Vec::new(),
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: Time(START),
        revision: 1,
    };
    if store.device(lamp()).await.unwrap().is_none() {
        let save = vec![Save::Device(Box::new(device))];
        store.commit(&Effects { save, ..Effects::none() }, Time(START)).await.unwrap();
    }
    let last = store.latest(lamp()).await.unwrap();
    let mut number = last.first().map_or(0, |sample| (sample.time.0 - START) / MINUTE + 1);
    let merging = store.clone();
    tokio::spawn(async move {
        loop {
            merging.merge(Time(i64::MAX)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    loop {
        let time = Time(START + number * MINUTE);
        let point = Point {
            metric: Metric::parse("t").unwrap(),
            time: When::At(time),
            value: PointValue::Number(number as f64),
        };
        let message =
            Measured { device: lamp(), arrived: time, mark: None, again: false, points: vec![point] };
        let fact = Change {
            actor: Actor::System,
            kind: ChangeKind::DeviceEdited,
            subject: number.to_string(),
            subject_name: String::new(),
            device: None,
            before: None,
            after: None,
        };
        let effects = Effects { changes: vec![fact], ..Effects::none() };
        let (appended, committed) = tokio::join!(store.append(vec![message]), store.commit(&effects, time));
        appended.unwrap();
        committed.unwrap();
        // Written at once: standard output is a pipe, and what is in it survives us.
        let mut out = std::io::stdout().lock();
        writeln!(out, "stored {number}").unwrap();
        out.flush().unwrap();
        number += 1;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(file) = std::env::var_os(VICTIM) {
        append_until_killed(Path::new(&file)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("motehub.db");
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["what_was_acknowledged_survives_a_kill", "--exact", "--nocapture"])
            .env(VICTIM, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let stored = |line: String| line.rsplit_once("stored ").and_then(|(_, n)| n.parse::<i64>().ok());
        let enough = acknowledged.len() + 40 + 17 * round;
        while acknowledged.len() < enough {
            acknowledged.extend(stored(lines.next().unwrap().unwrap()));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(stored));

        let store = Store::open(&StoreUrl::Sqlite(file.clone())).await.unwrap();
        assert_eq!(store.check().await, Ok(()));
        let all = (Time(i64::MIN), Time(i64::MAX));
        let (samples, _) = store.telemetry(lamp(), Some("t"), all.0, all.1, 100_000).await.unwrap();
        let numbers: Vec<i64> = samples.iter().map(|sample| (sample.time.0 - START) / MINUTE).collect();
        let newest = numbers.last().copied().unwrap();
        let last = acknowledged.last().copied().unwrap();
        assert!(newest >= last, "{last} was acknowledged and {newest} is the newest");
        assert_eq!(numbers, (0..=newest).collect::<Vec<_>>(), "each once");
        let query = ChangeQuery { limit: 100_000, newest_first: false, ..ChangeQuery::default() };
        let facts = store.changes(query).await.unwrap();
        let known: std::collections::HashSet<&str> =
            facts.iter().map(|recorded| recorded.change.subject.as_str()).collect();
        assert!(acknowledged.iter().all(|number| known.contains(number.to_string().as_str())));
    }
}
