//! What the MQTT broker keeps.

use std::sync::Arc;

use motehub_domain::id::{DeviceId, TokenId};
use motehub_domain::kept::{
    Batch, Entry, EntryNote, Message, Principal, Progress, Recalled, RecalledSession, Retained, Session,
    Subscription, Will,
};
use motehub_store::StoreError;

use crate::world::World;

fn message(topic: &str, payload: &[u8]) -> Arc<Message> {
    Message::plain(topic, payload, 1, false)
}

fn session(serial: u64) -> Session {
    let principal = Principal::Device(DeviceId::from_parts(0, u128::from(serial)));
    let client_id = format!("client-{serial}").into();
    Session { serial, principal, client_id, expiry_ms: 1000, ends_at: None, will: None }
}

fn entry(topic: &str) -> Entry {
    let message = message(topic, b"x");
    Entry { message, qos: 1, retain: false, ids: Vec::new(), progress: Progress::Waiting }
}

fn kept(stamp: u64, message: Option<Arc<Message>>) -> Retained {
    Retained { message, stamp }
}

fn subscription(qos: u8) -> Subscription {
    Subscription { qos, no_local: false, retain_as_published: true, id: None }
}

pub(crate) async fn sessions_come_back_with_all_that_waits(world: &mut World) {
    assert_eq!(world.store.recall().await, Ok(Recalled::default()));
    let will_message = Message {
        topic: "gone".into(),
        payload: vec![0, 255].into(),
        qos: 2,
        retain: true,
        properties: vec![3, 0, 1, 97].into(),
        expires_at: None,
    };
    let will = Will {
        message: Arc::new(will_message),
        delay_ms: 5,
        expiry_ms: Some(7),
        due_at: Some(1_763_690_400_000),
    };
    let one = Session {
        principal: Principal::Token(TokenId::from_parts(0, 9)),
        ends_at: Some(1_763_690_500_000),
        will: Some(will),
        ..session(1)
    };
    let two = Session { principal: Principal::Anonymous, ..session(2) };
    let last = Message { expires_at: Some(77), ..(*message("t/2", b"")).clone() };
    let put = Entry {
        message: Arc::new(last),
        qos: 2,
        ids: vec![1, 268_435_455],
        progress: Progress::Released,
        ..entry("t/2")
    };
    let retained = Arc::new(Message {
        properties: vec![1, 1].into(),
        expires_at: Some(5),
        retain: true,
        ..(*message("r/1", b"on")).clone()
    });
    let all = Subscription { qos: 2, no_local: true, retain_as_published: false, id: Some(7) };
    let mut batch = Batch { alive_at: Some(42), ..Batch::default() };
    batch.sessions.extend([(1, Some(one.clone())), (2, Some(two.clone()))]);
    batch.subscriptions.insert((1, "$share/g/t/#".into()), Some(all.clone()));
    batch.subscriptions.insert((1, "t/#".into()), Some(subscription(0)));
    batch.entries.insert((1, 70_000), EntryNote::Put(put.clone()));
    batch.entries.insert((1, 3), EntryNote::Put(entry("t/1")));
    batch.received.extend([((2, 65_535), true), ((2, 1), true)]);
    batch.retained.insert("r/1".into(), kept(9, Some(retained.clone())));
    world.store.keep(&batch).await.unwrap();
    world.reopen().await;
    let recalled = world.store.recall().await.unwrap();
    let subscriptions = vec![("$share/g/t/#".into(), all), ("t/#".into(), subscription(0))];
    let entries = vec![(3, entry("t/1")), (70_000, put)];
    let expected = Recalled {
        sessions: vec![
            RecalledSession { session: one, subscriptions, entries, received: Vec::new() },
            RecalledSession {
                session: two,
                subscriptions: vec![],
                entries: vec![],
                received: vec![1, 65_535],
            },
        ],
        retained: vec![(9, retained)],
        passed: Vec::new(),
        alive_at: Some(42),
    };
    assert_eq!(recalled, expected);
}

pub(crate) async fn the_last_word_about_each_thing_counts(world: &mut World) {
    let mut batch = Batch::default();
    for serial in 1..=2 {
        batch.sessions.insert(serial, Some(session(serial)));
        batch.subscriptions.insert((serial, "a".into()), Some(subscription(0)));
        batch.subscriptions.insert((serial, "b".into()), Some(subscription(0)));
        batch.entries.extend((0..3).map(|number| ((serial, number), EntryNote::Put(entry("a")))));
        batch.received.insert((serial, 5), true);
    }
    batch.retained.insert("a".into(), kept(1, Some(message("a", b"1"))));
    batch.retained.insert("b".into(), kept(1, Some(message("b", b"1"))));
    world.store.keep(&batch).await.unwrap();
    let mut batch = Batch::default();
    batch.sessions.insert(1, None);
    batch.sessions.insert(2, Some(Session { ends_at: Some(8), ..session(2) }));
    batch.subscriptions.insert((2, "a".into()), None);
    batch.subscriptions.insert((2, "b".into()), Some(subscription(1)));
    batch.entries.insert((2, 0), EntryNote::Done);
    batch.entries.insert((2, 1), EntryNote::Progress(Progress::Sent));
    batch.received.insert((2, 5), false);
    batch.retained.insert("a".into(), kept(2, None));
    batch.retained.insert("b".into(), kept(2, Some(message("b", b"2"))));
    world.store.keep(&batch).await.unwrap();
    world.store.keep(&batch).await.expect("because the same batch may come again");
    world.reopen().await;
    let recalled = world.store.recall().await.unwrap();
    let [left] = recalled.sessions.as_slice() else { panic!("{recalled:?}") };
    assert_eq!(left.session.ends_at, Some(8));
    assert_eq!(left.subscriptions, [("b".into(), subscription(1))]);
    let progress: Vec<_> = left.entries.iter().map(|(number, entry)| (*number, entry.progress)).collect();
    assert_eq!(progress, [(1, Progress::Sent), (2, Progress::Waiting)]);
    assert_eq!((left.received.len(), recalled.retained.len()), (0, 1));
    assert_eq!(&*recalled.retained[0].1.payload, b"2");
}

pub(crate) async fn more_than_a_page_comes_back(world: &mut World) {
    let mut batch = Batch::default();
    for serial in 1..=3 {
        batch.sessions.insert(serial, Some(session(serial)));
        batch.entries.extend((0..4_001).map(|number| ((serial, number), EntryNote::Put(entry("a")))));
        let filters = (0..2_001).map(|i| ((serial, format!("f/{i}").into()), Some(subscription(0))));
        batch.subscriptions.extend(filters);
    }
    batch.retained.extend(
        (0..5_001).map(|i| (format!("r/{i}").into(), kept(1, Some(message(&format!("r/{i}"), b"1"))))),
    );
    world.store.keep(&batch).await.unwrap();
    let recalled = world.store.recall().await.unwrap();
    for session in &recalled.sessions {
        assert_eq!((session.entries.len(), session.subscriptions.len()), (4_001, 2_001));
        assert!(session.entries.is_sorted_by_key(|(number, _)| *number));
    }
    assert_eq!((recalled.sessions.len(), recalled.retained.len()), (3, 5_001));
}

pub(crate) async fn a_full_disk_keeps_nothing_of_a_batch(world: &mut World) {
    world.fill_disk().await;
    let mut batch = Batch::default();
    batch.sessions.insert(1, Some(session(1)));
    let large = Entry { message: message("a", &vec![7; 400_000]), ..entry("a") };
    batch.entries.insert((1, 0), EntryNote::Put(large));
    assert_eq!(world.store.keep(&batch).await, Err(StoreError::Full));
    assert_eq!(world.store.recall().await, Ok(Recalled::default()));
    world.free_disk().await;
    world.store.keep(&batch).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.recall().await.unwrap().sessions.len(), 1);
}
