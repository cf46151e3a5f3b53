//! What the MQTT brokers of several nodes keep in one store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use motehub_domain::kept::{
    Batch, Entry, EntryNote, Message, Passed, Principal, Progress, Retained, Session, Subscription,
};
use motehub_store::{Fence, Store, StoreError};

use crate::world::World;

const NOW: u64 = 1_763_690_400_000;

fn session(serial: u64) -> Session {
    let client_id = format!("client-{serial}").into();
    let principal = Principal::Anonymous;
    Session { serial, principal, client_id, expiry_ms: 1000, ends_at: None, will: None }
}

fn passed(session: u64, payload: &str) -> Passed {
    let message = Message::plain("t", payload.as_bytes(), 2, true);
    Passed { session, message, qos: 1, retain: true, ids: vec![7, 8] }
}

fn entry(payload: &str) -> EntryNote {
    let message = Message::plain("t", payload.as_bytes(), 1, false);
    EntryNote::Put(Entry { message, qos: 1, retain: false, ids: vec![], progress: Progress::Waiting })
}

fn with_sessions(serials: &[u64]) -> Batch {
    let mut batch = Batch::default();
    let subscription = Subscription { qos: 1, no_local: false, retain_as_published: false, id: None };
    for serial in serials {
        batch.sessions.insert(*serial, Some(session(*serial)));
        batch.subscriptions.insert((*serial, "t/#".into()), Some(subscription.clone()));
    }
    batch
}

/// Two nodes that run.
async fn started(store: &Store) -> (i64, i64) {
    let (a, _) = store.broker_starts("a", NOW).await.unwrap();
    let (b, _) = store.broker_starts("b", NOW).await.unwrap();
    (a, b)
}

/// Keeps a batch that is another one than all before.
async fn keep(store: &Store, node: &str, fence: i64, batch: &Batch) -> Result<(), StoreError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
    store.keep_as(node, fence, NOW, &Batch { number, ..batch.clone() }).await
}

fn payloads(rows: &[(u64, Passed)]) -> Vec<&str> {
    rows.iter().map(|(_, passed)| std::str::from_utf8(&passed.message.payload).unwrap()).collect()
}

pub(crate) async fn what_is_passed_waits_until_its_node_makes_it_an_entry(world: &mut World) {
    let (a, b) = started(&world.store).await;
    keep(&world.store, "b", b, &with_sessions(&[5, 6])).await.unwrap();
    let mut batch = Batch { passed: vec![passed(5, "1"), passed(6, "2")], ..Batch::default() };
    keep(&world.store, "a", a, &batch).await.unwrap();
    batch.passed = vec![passed(5, "3"), passed(99, "to nobody")];
    keep(&world.store, "a", a, &batch).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.passed_to("a").await, Ok(vec![]));
    let rows = world.store.passed_to("b").await.unwrap();
    assert_eq!(payloads(&rows), ["1", "2", "3"]);
    assert_eq!(rows[0].1, passed(5, "1"));
    let mut batch = Batch::default();
    batch.entries.insert((5, 0), entry("1"));
    batch.taken.insert(rows[0].0, (5, 0));
    keep(&world.store, "b", b, &batch).await.unwrap();
    assert_eq!(payloads(&world.store.passed_to("b").await.unwrap()), ["2", "3"]);
    let moved = world.store.moved("b", 5..=5).await.unwrap();
    assert_eq!((moved.sessions.len(), moved.sessions[0].entries.len()), (1, 1));
    assert_eq!(payloads(&moved.passed), ["3"]);
    world.store.tidy_brokers(0).await.unwrap();
    // A hub that is alone again has what was passed, too.
    let recalled = world.store.recall().await.unwrap();
    assert_eq!((recalled.sessions.len(), payloads(&recalled.passed)), (2, vec!["2", "3"]));
    let mut batch = Batch::default();
    batch.sessions.insert(5, None);
    keep(&world.store, "b", b, &batch).await.unwrap();
    assert_eq!(payloads(&world.store.passed_to("b").await.unwrap()), ["2"]);
}

pub(crate) async fn a_batch_that_is_given_twice_is_written_once(world: &mut World) {
    let (a, b) = started(&world.store).await;
    keep(&world.store, "b", b, &with_sessions(&[5])).await.unwrap();
    let batch = Batch { passed: vec![passed(5, "1")], number: 1, ..Batch::default() };
    world.store.keep_as("a", a, NOW, &batch).await.unwrap();
    let refused = world.store.keep_as("a", a, NOW, &batch).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(payloads(&world.store.passed_to("b").await.unwrap()), ["1"]);
    let fence = world.store.broker_fence("a").await;
    assert_eq!(fence, Ok(Fence { fence: a, batch: 1, batch_fence: a }));
    // In another life the numbers begin again.
    let (a, _) = world.store.broker_starts("a", NOW).await.unwrap();
    world.store.keep_as("a", a, NOW, &batch).await.unwrap();
    assert_eq!(payloads(&world.store.passed_to("b").await.unwrap()), ["1", "1"]);
}

pub(crate) async fn a_node_writes_nothing_of_a_session_that_was_taken_from_it(world: &mut World) {
    let (a, b) = started(&world.store).await;
    keep(&world.store, "a", a, &with_sessions(&[1, 2, 3])).await.unwrap();
    let found =
        |store: Store| async move { store.find_session(&Principal::Anonymous, "client-1").await.unwrap() };
    assert_eq!(found(world.store.clone()).await, Some((1, Some("a".to_owned()))));
    assert_eq!(world.store.take_session(1, "b", "c").await, Ok(false), "b does not have it");
    assert_eq!(world.store.take_session(1, "a", "b").await, Ok(true));
    assert_eq!(found(world.store.clone()).await, Some((1, Some("b".to_owned()))));
    let mut batch = Batch::default();
    batch.entries.extend([((1, 0), entry("for 1")), ((2, 0), entry("for 2"))]);
    let refused = keep(&world.store, "a", a, &batch).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let fence = world.store.broker_fence("a").await.unwrap().fence;
    let lost = world.store.sessions_lost("a", &batch.serials()).await.unwrap();
    assert_eq!(lost, BTreeSet::from([1]));
    batch.lose(&lost);
    keep(&world.store, "a", fence, &batch).await.unwrap();
    assert_eq!(payloads(&world.store.passed_to("b").await.unwrap()), ["for 1"]);
    let (serials, alive_at) = world.store.take_sessions("a", "b").await.unwrap();
    assert_eq!((serials, alive_at), (BTreeSet::from([2, 3]), NOW));
    let moved = world.store.moved("b", 0..=u64::MAX).await.unwrap();
    assert_eq!(moved.sessions.iter().map(|s| s.entries.len()).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(keep(&world.store, "b", b, &batch).await.is_ok(), "nothing was taken from b");
    assert_eq!(world.store.session_owners().await, Ok(vec!["b".to_owned()]));
    // A node that starts again is not its former life.
    let (again, recalled) = world.store.broker_starts("b", NOW).await.unwrap();
    assert_eq!((again, recalled.sessions.len()), (b + 1, 3));
    assert!(keep(&world.store, "b", b, &batch).await.is_err());
}

pub(crate) async fn a_session_is_handed_over_with_the_batch_that_tells_how_it_is(world: &mut World) {
    let (a, b) = started(&world.store).await;
    keep(&world.store, "a", a, &with_sessions(&[1])).await.unwrap();
    let mut batch = Batch::default();
    batch.sessions.insert(1, Some(Session { ends_at: Some(8), ..session(1) }));
    batch.handed.insert(1, "b".into());
    keep(&world.store, "a", a, &batch).await.unwrap();
    let moved = world.store.moved("b", 1..=1).await.unwrap();
    assert_eq!(moved.sessions[0].session.ends_at, Some(8));
    assert!(keep(&world.store, "a", a, &Batch::default()).await.is_ok(), "nobody took anything");
    keep(&world.store, "b", b, &with_sessions(&[1])).await.unwrap();
    let all = world.store.sessions_of_all().await.unwrap();
    assert_eq!((all.len(), all[0].node.as_deref(), all[0].subscriptions.len()), (1, Some("b"), 1));
}

pub(crate) async fn sessions_of_nobody_belong_to_the_first_node_and_numbers_to_one(world: &mut World) {
    world.store.keep(&with_sessions(&[1, 2_500_000])).await.unwrap();
    let first = world.store.session_serials("a").await.unwrap();
    let second = world.store.session_serials("b").await.unwrap();
    assert!(first.start > 2_500_000 && second.start >= first.end, "{first:?} {second:?}");
    let (_, recalled) = world.store.broker_starts("a", NOW).await.unwrap();
    assert_eq!(recalled.sessions.len(), 2);
    let (_, recalled) = world.store.broker_starts("b", NOW).await.unwrap();
    assert_eq!(recalled.sessions.len(), 0);
    let nodes = world.store.broker_nodes().await.unwrap();
    assert_eq!(
        nodes.iter().map(|node| (node.node.as_str(), node.changes)).collect::<Vec<_>>(),
        [("a", 0), ("b", 0)]
    );
}

pub(crate) async fn the_latest_retained_message_stays_whoever_is_late(world: &mut World) {
    let (a, b) = started(&world.store).await;
    let retained = |stamp, payload: Option<&str>| {
        let message = payload.map(|payload| Message::plain("r", payload.as_bytes(), 1, true));
        let mut batch = Batch::default();
        batch.retained.insert("r".into(), Retained { message, stamp });
        batch
    };
    keep(&world.store, "a", a, &retained(20, Some("late"))).await.unwrap();
    keep(&world.store, "b", b, &retained(10, Some("early"))).await.unwrap();
    let found = world.store.retained_since(5).await.unwrap();
    assert_eq!((found.len(), found[0].0, &*found[0].1.payload), (1, 20, &b"late"[..]));
    assert_eq!(world.store.retained_since(20).await, Ok(vec![]));
    keep(&world.store, "b", b, &retained(30, None)).await.unwrap();
    keep(&world.store, "a", a, &retained(25, Some("between"))).await.unwrap();
    let found = world.store.retained_since(20).await.unwrap();
    assert_eq!((found[0].0, found[0].1.payload.len()), (30, 0), "that there is nothing is known");
    let (_, recalled) = world.store.broker_starts("a", NOW).await.unwrap();
    assert_eq!(recalled.retained, []);
    world.store.tidy_brokers(31).await.unwrap();
    assert_eq!(world.store.retained_since(0).await, Ok(vec![]));
}

pub(crate) async fn of_topics_that_were_retained_at_once_all_are_read(world: &mut World) {
    let (a, _) = started(&world.store).await;
    let mut batch = Batch::default();
    for number in 0..6_000_u64 {
        let topic: Box<str> = number.to_string().into();
        let message = Some(Message::plain(&topic, b"x", 1, true));
        batch.retained.insert(topic, Retained { message, stamp: 1 + number / 3 });
    }
    keep(&world.store, "a", a, &batch).await.unwrap();
    let (mut since, mut read) = (0, 0);
    loop {
        let found = world.store.retained_since(since).await.unwrap();
        let Some((last, _)) = found.last() else { break };
        (since, read) = (*last, read + found.len());
    }
    assert_eq!(read, 6_000);
}
