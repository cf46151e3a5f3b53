//! Transactions, guards, changes, artifacts, notes.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use motehub_domain::change::{Actor, ChangeKind};
use motehub_domain::device::Device;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::telemetry::{Point, PointValue};
use motehub_store::{ChangeQuery, StoreError};

use crate::world::{NOW, World, change, device, digest, id, measured, point};

pub(crate) async fn every_text_is_prepared(world: &mut World) {
    let count = world.store.prepare_all().await.unwrap();
    assert!(count > 60, "only {count} texts are listed");
}

pub(crate) async fn changes_are_numbered_in_order(world: &mut World) {
    assert_eq!(world.store.last_seq().await, Ok(0));
    let kinds = [ChangeKind::DeviceRegistered, ChangeKind::DeviceEdited];
    let changes = kinds.map(|kind| change(kind, "a")).to_vec();
    let effects = Effects { changes, ..Effects::none() };
    let first = world.store.commit(&effects, NOW).await.unwrap();
    let second = world.store.commit(&effects, NOW).await.unwrap();
    let all: Vec<i64> = first.iter().chain(&second).copied().collect();
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    assert_eq!(world.store.last_seq().await, Ok(all[3]));
    assert_eq!(world.store.commit(&Effects::none(), NOW).await, Ok(Vec::new()));
    world.reopen().await;
    let query = ChangeQuery { newest_first: false, ..ChangeQuery::default() };
    let recorded = world.store.changes(query).await.unwrap();
    assert_eq!(recorded.iter().map(|r| r.seq).collect::<Vec<_>>(), all);
    assert_eq!(recorded[0].change, effects.changes[0]);
    assert_eq!(recorded[0].at, NOW);
}

pub(crate) async fn changes_are_found_by_what_they_tell(world: &mut World) {
    let mut one = change(ChangeKind::DeviceOnline, "lamp");
    one.device = Some(id(1));
    one.actor = Actor::Device("lamp".into());
    let mut other = change(ChangeKind::ScriptCreated, "blink");
    other.before = Some(serde_json::json!("x"));
    let mut third = change(ChangeKind::DeviceEdited, "lamp");
    third.actor = Actor::System;
    let effects = Effects { changes: vec![one, other, third], ..Effects::none() };
    let seqs = world.store.commit(&effects, NOW).await.unwrap();
    let found = async |query: ChangeQuery| -> Vec<i64> {
        world.store.changes(query).await.unwrap().iter().map(|recorded| recorded.seq).collect()
    };
    let all = ChangeQuery::default;
    assert_eq!(found(all()).await, [seqs[2], seqs[1], seqs[0]]);
    assert_eq!(found(ChangeQuery { kind: Some(ChangeKind::DeviceOnline), ..all() }).await, [seqs[0]]);
    assert_eq!(found(ChangeQuery { noun: Some("device".into()), ..all() }).await, [seqs[2], seqs[0]]);
    assert_eq!(found(ChangeQuery { subject: Some("blink".into()), ..all() }).await, [seqs[1]]);
    assert_eq!(found(ChangeQuery { device: Some(id(1)), ..all() }).await, [seqs[0]]);
    assert_eq!(found(ChangeQuery { actor: Some("motehub".into()), ..all() }).await, [seqs[2]]);
    assert_eq!(found(ChangeQuery { after: Some(seqs[0]), before: Some(seqs[2]), ..all() }).await, [seqs[1]]);
    assert_eq!(found(ChangeQuery { limit: 1, newest_first: false, ..all() }).await, [seqs[0]]);
    let strange = ChangeQuery { actor: Some("' or 1 = 1 --".into()), ..all() };
    assert!(found(strange).await.is_empty());
}

pub(crate) async fn a_stale_write_changes_nothing(world: &mut World) {
    let mut lamp = world.device(1).await;
    lamp.revision = 2;
    lamp.name = "Ada's".into();
    let effects = Effects {
        save: vec![Save::Note("a".into(), Some(vec![1])), Save::Device(Box::new(lamp.clone()))],
        changes: vec![change(ChangeKind::DeviceEdited, "lamp")],
        ..Effects::none()
    };
    world.store.commit(&effects, NOW).await.unwrap();
    let mut stale = effects.clone();
    stale.save[0] = Save::Note("a".into(), Some(vec![2]));
    let conflict = Err(StoreError::Conflict { what: "device" });
    assert_eq!(world.store.commit(&stale, NOW).await, conflict);
    assert_eq!(world.store.note("a").await, Ok(Some(vec![1])));
    assert_eq!(world.store.changes(ChangeQuery::default()).await.unwrap().len(), 1);
    lamp.revision = 1;
    assert_eq!(world.save([Save::Device(Box::new(lamp))]).await, conflict.map(drop), "it exists");
    let mut unknown = device(5);
    unknown.revision = 2;
    assert_eq!(
        world.save([Save::Device(Box::new(unknown))]).await,
        Err(StoreError::Conflict { what: "device" })
    );
}

pub(crate) async fn a_failing_transaction_does_not_hurt_its_neighbours(world: &mut World) {
    let lamp = world.device(1).await.id;
    let good = |key: &str| Effects { save: vec![Save::Note(key.into(), Some(vec![1]))], ..Effects::none() };
    let mut bad = good("bad");
    bad.save.push(Save::Device(Box::new(device(1))));
    let (before, after) = (good("before"), good("after"));
    let message = || vec![measured(lamp, NOW.0, vec![point("t", None, 1.0)])];
    let (one, two, three, four) = tokio::join!(
        world.store.commit(&before, NOW),
        world.store.commit(&bad, NOW),
        world.store.append(message()),
        world.store.commit(&after, NOW),
    );
    assert_eq!((one, two), (Ok(Vec::new()), Err(StoreError::Conflict { what: "device" })));
    assert!(three.is_ok() && four.is_ok());
    world.reopen().await;
    let keys: Vec<String> = world.store.notes("").await.unwrap().into_iter().map(|note| note.0).collect();
    assert_eq!(keys, ["after", "before"]);
    assert_eq!(world.points(lamp).await.len(), 1);
}

pub(crate) async fn waiters_share_a_commit(world: &mut World) {
    let lamp = world.device(1).await.id;
    let message = || vec![measured(lamp, NOW.0, vec![point("t", None, 1.0)])];
    // From then on nothing has to be asked before it can be written.
    world.append(message()).await;
    let holder = world.store.hold_writer().await.unwrap();
    let before = world.store.commits();
    let note = Effects { save: vec![Save::Note("a".into(), Some(Vec::new()))], ..Effects::none() };
    let mut append = pin!(world.store.append(message()));
    let mut commit = pin!(world.store.commit(&note, NOW));
    let mut other = pin!(world.store.commit(&note, NOW));
    let wait = poll_fn(|context| {
        let committing = [&mut commit, &mut other].map(|it| it.as_mut().poll(context).is_pending());
        Poll::Ready((append.as_mut().poll(context).is_pending(), committing))
    });
    assert_eq!(wait.await, (true, [true, true]), "all are in the queue");
    drop(holder);
    let (appended, committed, other) = tokio::join!(append, commit, other);
    assert!(appended.is_ok() && committed.is_ok() && other.is_ok());
    // Where several processes write, points wait in a queue of their own.
    assert_eq!(world.store.commits() - before, if world.store.is_shared() { 2 } else { 1 });
}

pub(crate) async fn a_full_disk_is_said_and_overcome(world: &mut World) {
    let lamp = world.device(1).await.id;
    world.fill_disk().await;
    let big = || Effects { save: vec![Save::Note("big".into(), Some(vec![7; 400_000]))], ..Effects::none() };
    let small = Effects { save: vec![Save::Seen(lamp, NOW)], ..Effects::none() };
    let effects = big();
    let (one, two) = tokio::join!(world.store.commit(&effects, NOW), world.store.commit(&small, NOW));
    assert_eq!(one, Err(StoreError::Full));
    assert_eq!(two, Ok(Vec::new()), "who needs no space is not affected");
    assert_eq!(world.store.put(vec![1; 400_000]).await, Err(StoreError::Full));
    let points = (0..1000).map(|i| point(&format!("m{i}"), None, 1.0)).collect();
    assert_eq!(world.store.append(vec![measured(lamp, NOW.0, points)]).await, Err(StoreError::Full));
    assert_eq!(world.points(lamp).await, [], "what was refused is not there");
    assert_eq!(world.store.note("big").await, Ok(None));
    world.free_disk().await;
    world.store.commit(&big(), NOW).await.unwrap();
    let again = vec![point("m1", None, 1.0)];
    assert_eq!(world.append([measured(lamp, NOW.0, again)]).await.stored, 1);
    world.reopen().await;
    assert_eq!(world.points(lamp).await.len(), 1);
    assert_eq!(world.store.note("big").await.unwrap().map(|note| note.len()), Some(400_000));
}

pub(crate) async fn artifacts_come_back_by_digest(world: &mut World) {
    let digest_of_it = world.store.put(b"print('hello')".to_vec()).await.unwrap();
    assert_eq!(world.store.put(b"print('hello')".to_vec()).await, Ok(digest_of_it), "once is enough");
    world.reopen().await;
    assert_eq!(world.store.artifact(digest_of_it).await, Ok(Some(b"print('hello')".to_vec())));
    assert_eq!(world.store.artifact(digest(9)).await, Ok(None));
}

pub(crate) async fn notes_are_kept_replaced_and_removed(world: &mut World) {
    let note = |key: &str, body: Option<&[u8]>| Save::Note(key.into(), body.map(<[u8]>::to_vec));
    world.save([note("a/1", Some(b"x")), note("a/2", Some(b"")), note("A/1", Some(b"y"))]).await.unwrap();
    world.save([note("a/1", Some(b"z")), note("b", Some(b"b"))]).await.unwrap();
    assert_eq!(world.store.note("a/1").await, Ok(Some(b"z".to_vec())));
    let found = world.store.notes("a/").await.unwrap();
    assert_eq!(found, [("a/1".to_owned(), b"z".to_vec()), ("a/2".to_owned(), Vec::new())]);
    world.save([note("a/1", None), note("never", None)]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.note("a/1").await, Ok(None));
    assert_eq!(world.store.notes("").await.unwrap().len(), 3);
}

pub(crate) async fn any_text_comes_back(world: &mut World) {
    for (number, text) in ["", "\0", "a\0b\0", "\u{10FFFF}0", "{each:$1} 'x' \\ %_"].into_iter().enumerate() {
        let lamp = Device { description: text.into(), ..device(number as u128) };
        world.save([Save::Device(Box::new(lamp.clone()))]).await.unwrap();
        let said = PointValue::Text(text.into());
        let said = Point { value: said, ..point("said", Some(NOW.0), 0.0) };
        world.append([measured(lamp.id, NOW.0, vec![said.clone()])]).await;
        world.reopen().await;
        assert_eq!(world.store.device(lamp.id).await, Ok(Some(lamp.clone())), "{text:?}");
        assert_eq!(world.points(lamp.id).await, [("said".to_owned(), NOW.0, said.value)], "{text:?}");
    }
}

pub(crate) async fn the_database_is_sound(world: &mut World) {
    world.device(1).await;
    assert_eq!(world.store.check().await, Ok(()));
}
