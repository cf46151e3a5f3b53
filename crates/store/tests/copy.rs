//! A whole installation is copied from one engine to the other and back.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::sync::{Arc, Mutex};

use motehub_domain::artifact::Digest;
use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{DeviceId, ScriptId};
use motehub_domain::script::{Language, Script, ScriptVersion, Syntax};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{ChangeQuery, Measured, Sample, Store, StoreError, StoreUrl, TransferError, transfer};
use servers::Postgres;

const START: Time = Time(1_763_690_400_000);
const DEVICES: u128 = 20;

fn lamp(number: u128) -> DeviceId {
    DeviceId::from_parts(1, number)
}

fn device(number: u128) -> Device {
    Device {
        id: lamp(number),
        name: format!("Lämp {number}"),
        description: "with \0 and \u{10FFFF}".into(),
        dialect: Dialect::Native,
        external_id: None,
        tags: vec!["kitchen".into()],
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: START,
        revision: 1,
    }
}

fn change(subject: String) -> Change {
    Change {
        actor: Actor::System,
        kind: ChangeKind::DeviceOnline,
        subject,
        subject_name: String::new(),
        device: None,
        before: None,
        after: Some(serde_json::json!({ "a": "\u{0}" })),
    }
}

async fn script(store: &Store) {
    let digest = store.put(b"print(1)".to_vec()).await.unwrap();
    store.put((0..600_000_u32).flat_map(u32::to_be_bytes).collect()).await.unwrap();
    let id = ScriptId::from_parts(1, 1);
    let script = Script {
        id,
        number: 0,
        name: "blink".into(),
        description: String::new(),
        category: String::new(),
        language: Language::Lua,
        requires: Vec::new(),
        latest_version: 1,
        created_at: START,
        updated_at: START,
        revision: 1,
    };
    let version = ScriptVersion {
        script: id,
        version: 1,
        author: "Ada".into(),
        created_at: START,
        digest,
        size_bytes: 8,
        comment: String::new(),
        syntax: Syntax::Good,
    };
    let save = vec![Save::Script(Box::new(script)), Save::Version(Box::new(version))];
    store.commit(&Effects { save, ..Effects::none() }, START).await.unwrap();
}

/// An installation with so many points, most of them numbers.
async fn fill(store: &Store, points: usize) {
    let save = (1..=DEVICES).map(|number| Save::Device(Box::new(device(number)))).collect();
    let changes = (0..2500).map(|number| change(format!("subject {number}"))).collect();
    store.commit(&Effects { save, changes, ..Effects::none() }, START).await.unwrap();
    script(store).await;
    let metrics = ["t", "h", "door", "word"].map(|name| Metric::parse(name).unwrap());
    for first in (0..points).step_by(4000) {
        let message = |i: usize| {
            let value = |m: usize| match m {
                2 => PointValue::Boolean(i.is_multiple_of(3)),
                3 if i.is_multiple_of(40) => PointValue::Text(format!("a\0{i}")),
                _ => PointValue::Number(((i * 7 + m) % 997) as f64 / 10.0),
            };
            let time = When::At(START + Span::seconds(i as i64 / 10));
            let point = |m: usize| Point { metric: metrics[m].clone(), time, value: value(m) };
            let device = lamp(1 + i as u128 % DEVICES);
            Measured { device, arrived: START, mark: None, again: false, points: (0..4).map(point).collect() }
        };
        store.append((first / 4..(first + 4000) / 4).map(message).collect()).await.unwrap();
    }
}

/// All that people can get out of a store, as far as a test goes.
type Everything = (Vec<Sample>, Vec<(i64, String)>, Vec<Device>, Option<Vec<u8>>);

async fn everything(store: &Store) -> Everything {
    let mut samples = Vec::new();
    let mut devices = Vec::new();
    for number in 1..=DEVICES {
        let read = store.telemetry(lamp(number), None, START, START + Span::days(30), 1_000_000).await;
        samples.extend(read.unwrap().0);
        samples.extend(store.latest(lamp(number)).await.unwrap());
        devices.extend(store.device(lamp(number)).await.unwrap());
    }
    let query = ChangeQuery { limit: 10_000, ..ChangeQuery::default() };
    let changes = store.changes(query).await.unwrap();
    let changes = changes.into_iter().map(|it| (it.seq, it.change.subject)).collect();
    let digest =
        store.version(ScriptId::from_parts(1, 1), 1).await.unwrap().map_or(Digest([0; 32]), |it| it.digest);
    (samples, changes, devices, store.artifact(digest).await.unwrap())
}

async fn copy(from: &StoreUrl, to: &StoreUrl) -> Result<usize, TransferError> {
    Ok(transfer(from, to, |_| {}).await?.len())
}

/// Copies there and back; what both hold is the same.
async fn there_and_back(points: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| StoreUrl::Sqlite(folder.path().join(name));
    let (first, between, last) =
        (file("first.db"), StoreUrl::parse(&Postgres::database()).unwrap(), file("last.db"));
    let store = Store::open(&first).await.unwrap();
    fill(&store, points).await;
    let wanted = everything(&store).await;
    assert_eq!(wanted.0.len(), points + 4 * DEVICES as usize);
    drop(store);
    let there = transfer(&first, &between, |_| {}).await.unwrap();
    let store = Store::open(&between).await.unwrap();
    assert!(everything(&store).await == wanted, "it is the same on PostgreSQL");
    drop(store);
    let back = transfer(&between, &last, |_| {}).await.unwrap();
    assert_eq!(there, back);
    let store = Store::open(&last).await.unwrap();
    assert!(everything(&store).await == wanted, "it is the same again");
    // What is counted up goes on behind what was copied.
    let seq = store.commit(&Effects { changes: vec![change("next".into())], ..Effects::none() }, START).await;
    assert_eq!(seq.unwrap(), [wanted.1[0].0 + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_the_same_after_going_there_and_back() {
    there_and_back(40_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_cut_off_goes_on_and_is_not_used_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| StoreUrl::Sqlite(folder.path().join(name));
    let (first, other) = (file("first.db"), file("other.db"));
    let target = StoreUrl::parse(&Postgres::database()).unwrap();
    let store = Store::open(&first).await.unwrap();
    fill(&store, 8000).await;
    drop(store);
    let cut = Arc::new(tokio::sync::Notify::new());
    let (from, to, told) = (first.clone(), target.clone(), Arc::clone(&cut));
    let copying = tokio::spawn(async move {
        let progress = |now: motehub_store::Transferred| {
            if now.table == "changes" {
                told.notify_one();
                // As if the process were killed: nothing behind this is written.
                panic!("it is cut off");
            }
        };
        transfer(&from, &to, progress).await
    });
    cut.notified().await;
    assert!(copying.await.is_err());
    assert_eq!(Store::open(&target).await.unwrap_err(), StoreError::Unfinished);
    drop(Store::open(&other).await.unwrap());
    assert!(matches!(copy(&other, &target).await, Err(TransferError::Other { .. })));
    let said = Mutex::new(Vec::new());
    let went_on = transfer(&first, &target, |now| said.lock().unwrap().push(now)).await.unwrap();
    let devices = said.lock().unwrap().iter().filter(|now| now.table == "devices" && !now.compared).count();
    assert_eq!(devices, 1, "what was there is not copied again");
    assert!(went_on.iter().any(|table| table.table == "changes" && table.rows == 2500));
    Store::open(&target).await.unwrap();
    assert!(matches!(copy(&first, &target).await, Err(TransferError::NotEmpty(_))));
    assert!(matches!(copy(&first, &first).await, Err(TransferError::Same(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_written_meanwhile_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) =
        (StoreUrl::Sqlite(folder.path().join("from.db")), StoreUrl::parse(&Postgres::database()).unwrap());
    let store = Store::open(&from).await.unwrap();
    fill(&store, 4000).await;
    let (begun, begins) = std::sync::mpsc::channel();
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            tokio::task::block_in_place(|| begins.recv().unwrap());
            let effects = Effects { changes: vec![change("late".into())], ..Effects::none() };
            store.commit(&effects, START).await.unwrap();
        })
    };
    let mut writing = Some(writing);
    let progress = |now: motehub_store::Transferred| {
        if now.table == "devices"
            && now.done
            && let Some(writing) = writing.take()
        {
            begun.send(()).unwrap();
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(writing)).unwrap();
        }
    };
    assert_eq!(transfer(&from, &to, progress).await, Err(TransferError::Written(from.to_string())));
    drop(store);
    assert_eq!(copy(&from, &to).await, Err(TransferError::Written(from.to_string())));
    assert_eq!(Store::open(&to).await.unwrap_err(), StoreError::Unfinished);
}
