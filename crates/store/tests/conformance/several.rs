//! Telemetry where several processes write: two stores on one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::selector::Selector;
use motehub_domain::telemetry::{Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Ages, Appended, Measured, Store};

use crate::world::{NOW, World, measured, point};

const HOUR: i64 = 3_600_000;

async fn numbers(store: &Store, device: DeviceId) -> Vec<(i64, f64)> {
    let all = store.telemetry(device, Some("t"), Time(i64::MIN), Time(i64::MAX), 1_000_000).await.unwrap().0;
    let number = |value| match value {
        PointValue::Number(number) => number,
        other => panic!("{other:?}"),
    };
    all.into_iter().map(|sample| (sample.time.0 - NOW.0, number(sample.value))).collect()
}

async fn count(store: &Store, device: DeviceId) -> u64 {
    let buckets = store.history(device, "t", Time(i64::MIN), Time(i64::MAX), 24 * HOUR).await.unwrap();
    buckets.iter().map(|bucket| bucket.summary.count).sum()
}

pub(crate) async fn both_append_to_the_same_series(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (one, other) = (world.store.clone(), world.other().await);
    let append = |store: Store, from: i64| async move {
        for i in 0..40 {
            let points = (0..5).map(|n| point(&format!("m{n}"), Some(NOW.0 + from + i), 1.0)).collect();
            let appended = store.append(vec![measured(lamp, NOW.0 + i, points)]).await.unwrap();
            assert_eq!(appended.stored, 5);
        }
    };
    tokio::join!(append(one.clone(), 0), append(other.clone(), 1000), append(one.clone(), 2000));
    for store in [&one, &other] {
        let (all, _) = store.telemetry(lamp, None, Time(0), Time(i64::MAX), 10_000).await.unwrap();
        assert_eq!(all.len(), 600);
        let latest = store.latest(lamp).await.unwrap();
        assert!(latest.len() == 5 && latest.iter().all(|sample| sample.time.0 == NOW.0 + 2039));
    }
}

pub(crate) async fn what_one_appends_the_other_reads_at_once(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (one, other) = (world.store.clone(), world.other().await);
    let warm = Selector::parse("t > 20").unwrap();
    for i in 0..20 {
        let store = if i % 2 == 0 { &one } else { &other };
        let value = f64::from(15 + i);
        store
            .append(vec![measured(lamp, NOW.0, vec![point("t", Some(NOW.0 + i64::from(i)), value)])])
            .await
            .unwrap();
        for store in [&one, &other] {
            assert_eq!(numbers(store, lamp).await.len(), i as usize + 1);
            assert_eq!(store.latest(lamp).await.unwrap()[0].value, PointValue::Number(value));
            let found = store.select_ids(&warm, NOW, 10).await.unwrap();
            assert_eq!(found.len(), usize::from(value > 20.0));
            assert_eq!(count(store, lamp).await, i as u64 + 1);
        }
    }
    assert_eq!(other.metrics_of(lamp).await, one.metrics_of(lamp).await);
    assert_eq!(other.last_taken().await.unwrap(), NOW);
}

pub(crate) async fn both_meet_a_new_metric_at_once(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (one, other) = (world.store.clone(), world.other().await);
    for i in 0..20 {
        let message = |value| {
            let points = (0..3).map(|n| point(&format!("m{i}_{n}"), Some(NOW.0 + value), value as f64));
            vec![measured(lamp, NOW.0, points.collect())]
        };
        let both = tokio::join!(one.append(message(1)), other.append(message(2)));
        assert_eq!(both.0.unwrap().stored + both.1.unwrap().stored, 6);
    }
    assert_eq!(one.metrics_of(lamp).await.unwrap().len(), 60);
    let (all, _) = other.telemetry(lamp, None, Time(0), Time(i64::MAX), 1000).await.unwrap();
    assert_eq!(all.len(), 120);
}

pub(crate) async fn one_merges_while_the_other_appends_and_reads(world: &mut World) {
    let lamp = world.device(1).await.id;
    let reader = world.other().await;
    let ended = Arc::new(AtomicBool::new(false));
    let merge = |store: Store| {
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            let mut points = 0;
            while !ended.load(Ordering::Relaxed) {
                // As late as can be: everything is ripe.
                points += store.merge(Time(i64::MAX)).await.unwrap().points;
            }
            points
        })
    };
    // Two at once, although one would be enough: nothing may be lost by that.
    let merging = [merge(world.store.clone()), merge(world.other().await)];
    for i in 0..150 {
        let time = NOW.0 + i * HOUR / 7;
        reader.append(vec![measured(lamp, time, vec![point("t", Some(time), i as f64)])]).await.unwrap();
        let seen = numbers(&reader, lamp).await;
        assert_eq!(seen.len() as i64, i + 1, "{seen:?}");
        assert!(seen.iter().zip(0..).all(|(seen, i)| seen.1 == f64::from(i)));
        assert_eq!(count(&reader, lamp).await as i64, i + 1);
    }
    ended.store(true, Ordering::Relaxed);
    let mut merged = 0;
    for task in merging {
        merged += task.await.unwrap();
    }
    assert!(merged > 0);
    reader.merge(Time(i64::MAX)).await.unwrap();
    assert_eq!((numbers(&reader, lamp).await.len(), count(&reader, lamp).await), (150, 150));
}

pub(crate) async fn equal_points_count_once_wherever_they_come(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (one, other) = (world.store.clone(), world.other().await);
    let message = |arrived| {
        let points = (0..50).map(|i| point("t", Some(NOW.0 + i), i as f64)).collect();
        vec![measured(lamp, NOW.0 + arrived, points)]
    };
    let both = tokio::join!(one.append(message(0)), other.append(message(7)));
    assert!(both.0.is_ok() && both.1.is_ok());
    let check = async |what: &str| {
        for store in [&one, &other] {
            assert_eq!((numbers(store, lamp).await.len(), count(store, lamp).await), (50, 50), "{what}");
        }
    };
    check("hot").await;
    let both = tokio::join!(one.merge(NOW + Span(HOUR)), other.merge(NOW + Span(HOUR)));
    assert!(both.0.is_ok() && both.1.is_ok());
    check("merged by both").await;
    other.append(message(HOUR + 1)).await.unwrap();
    check("hot and in a chunk").await;
    one.merge(NOW + Span(2 * HOUR)).await.unwrap();
    check("merged again").await;
}

pub(crate) async fn a_repetition_is_known_at_another_node(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (one, other) = (world.store.clone(), world.other().await);
    let message = |arrived, again| Measured {
        mark: Some(u64::MAX - 3),
        again,
        ..measured(lamp, NOW.0 + arrived, vec![point("t", None, 1.0), point("t", Some(NOW.0 - 9), 2.0)])
    };
    one.append(vec![message(0, false)]).await.unwrap();
    let again = other.append(vec![message(700, true)]).await.unwrap();
    assert_eq!(again, Appended { stored: 1, repeated: 1, ignored: 0 }, "one has a time of its own");
    assert_eq!(numbers(&one, lamp).await, [(-9, 2.0), (0, 1.0)]);
    // What was not stored is no repetition, whatever the transport says.
    let first = Measured { mark: Some(4), ..message(900, true) };
    assert_eq!(other.append(vec![first]).await.unwrap().stored, 2);
}

pub(crate) async fn a_device_deleted_by_one_is_none_for_the_other(world: &mut World) {
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    let other = world.other().await;
    let message = |i: i64| {
        let both = [lamp, fan].map(|device| measured(device, NOW.0, vec![point("t", Some(NOW.0 + i), 1.0)]));
        both.to_vec()
    };
    assert_eq!(other.append(message(0)).await.unwrap().stored, 2);
    let delete = async {
        tokio::task::yield_now().await;
        world.save([Save::DeleteDevice(lamp)]).await.unwrap();
    };
    let append = async {
        for i in 1..40 {
            let appended = other.append(message(i)).await.unwrap();
            assert_eq!(appended.stored + appended.ignored, 2);
        }
    };
    tokio::join!(append, delete);
    assert_eq!(other.append(message(99)).await.unwrap(), Appended { stored: 1, repeated: 0, ignored: 1 });
    for store in [&world.store, &other] {
        assert_eq!((numbers(store, lamp).await.len(), store.latest(lamp).await.unwrap().len()), (0, 0));
        assert_eq!(numbers(store, fan).await.len(), 41);
    }
    let merged = world.store.merge(NOW + Span(HOUR)).await.unwrap();
    assert_eq!((merged.chunks, merged.series_removed), (1, 1));
    assert_eq!(other.append(message(100)).await.unwrap().ignored, 1);
    assert_eq!(numbers(&other, fan).await.len(), 42);
}

pub(crate) async fn partitions_are_made_ahead_and_dropped(world: &mut World) {
    let lamp = world.device(1).await.id;
    let other = world.other().await;
    let partitions = || {
        let names = world
            .sql("select relname from pg_class where relkind = 'r' and relname like 'points_%' order by 1");
        names.lines().map(|name| name.trim_start_matches("points_").parse().unwrap()).collect::<Vec<i64>>()
    };
    let hour = NOW.0 / HOUR;
    let message = |arrived: i64, time: i64| vec![measured(lamp, arrived, vec![point("t", Some(time), 1.0)])];
    // Times that devices say do not matter, however wrong they are.
    for time in [NOW.0, 0, NOW.0 * 2, -5] {
        world.store.append(message(NOW.0, time)).await.unwrap();
    }
    other.append(message(NOW.0 + HOUR, NOW.0)).await.unwrap();
    assert_eq!(partitions(), [hour, hour + 1]);
    assert_eq!(world.store.merge(NOW + Span(HOUR)).await.unwrap().points, 4);
    assert_eq!(partitions(), [hour + 1, hour + 2], "made ahead, and dropped");
    // The other one still thinks that it is there.
    other.append(message(NOW.0 + HOUR, NOW.0 + 3)).await.unwrap();
    world.store.append(message(NOW.0, NOW.0 + 4)).await.unwrap();
    assert_eq!(partitions(), [hour, hour + 1, hour + 2], "made again for what came late");
    assert_eq!(world.store.merge(NOW + Span(2 * HOUR)).await.unwrap().points, 3);
    assert_eq!(partitions(), [hour + 2, hour + 3]);
    assert_eq!(numbers(&other, lamp).await.len(), 6);
    let ages = Ages { points: Some(Span::days(1)), minutes: None, hours: None };
    let aged = other.age(Time(NOW.0 * 3), |_| ages).await.unwrap();
    assert_eq!((aged.points, numbers(&world.store, lamp).await.len()), (6, 0));
    assert_eq!((world.sql("select count(*) from chunks"), count(&other, lamp).await), ("0".to_owned(), 6));
}

pub(crate) async fn a_closed_partition_takes_nothing(world: &mut World) {
    let lamp = world.device(1).await.id;
    let other = world.other().await;
    let message = |time: i64| vec![measured(lamp, NOW.0, vec![point("t", Some(NOW.0 + time), 1.0)])];
    other.append(message(0)).await.unwrap();
    // A merge begins and is cut off at once.
    world.sql(&format!("select points_close({})", NOW.0 / HOUR));
    let both = tokio::join!(other.append(message(1)), world.store.append(message(2)));
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(numbers(&other, lamp).await.len(), 3);
    let merged = world.store.merge(NOW).await.unwrap();
    assert_eq!(merged.points, 1, "what was begun is ended; the others wait for their hour to be over");
    assert_eq!(numbers(&other, lamp).await.len(), 3);
    assert_eq!(other.merge(NOW + Span(2 * HOUR)).await.unwrap().points, 2);
    assert_eq!((numbers(&other, lamp).await.len(), count(&other, lamp).await), (3, 3));
}

pub(crate) async fn ten_thousand_points_are_one_batch(world: &mut World) {
    let devices = [world.device(1).await.id, world.device(2).await.id];
    let batch = |from: i64| {
        let points = |device: usize| -> Vec<Point> {
            let point = |i: i64| Point {
                time: When::At(Time(NOW.0 + from + i)),
                ..point("t", None, (i + device as i64) as f64)
            };
            (0..5_000).map(point).collect()
        };
        vec![measured(devices[0], NOW.0, points(0)), measured(devices[1], NOW.0, points(1))]
    };
    world.append(batch(0)).await;
    let before = world.store.commits();
    assert_eq!(world.append(batch(5_000)).await.stored, 10_000);
    assert_eq!(world.store.commits() - before, 1);
    let other = world.other().await;
    for device in devices {
        assert_eq!(numbers(&other, device).await.len(), 10_000);
    }
    other.merge(NOW + Span(HOUR)).await.unwrap();
    assert_eq!(
        (numbers(&world.store, devices[0]).await.len(), count(&other, devices[1]).await),
        (10_000, 10_000)
    );
}

pub(crate) async fn what_was_measured_last_is_made_from_what_was_copied(world: &mut World) {
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    let message =
        |device, value| measured(device, NOW.0, vec![point("t", Some(NOW.0), value), point("h", None, 1.0)]);
    world.append([message(lamp, 5.0), message(fan, 6.0)]).await;
    world.store.merge(Time(i64::MAX)).await.unwrap();
    let before = (world.store.latest(lamp).await.unwrap(), world.store.latest(fan).await.unwrap());
    assert_eq!((before.0.len(), &before.1[1].value), (2, &PointValue::Number(6.0)));
    world.sql("delete from latest");
    let other = world.other().await;
    assert_eq!((other.latest(lamp).await.unwrap(), other.latest(fan).await.unwrap()), before);
}

pub(crate) async fn one_ages_while_the_other_merges(world: &mut World) {
    let lamp = world.device(1).await.id;
    let other = world.other().await;
    let t = NOW.0 - NOW.0.rem_euclid(24 * HOUR);
    let ages = Ages { points: Some(Span(0)), minutes: None, hours: None };
    for round in 0..10 {
        let points = (0..30).map(|i| point("t", Some(t + i * HOUR / 3 + round), i as f64)).collect();
        world.append([measured(lamp, t, points)]).await;
        let both =
            tokio::join!(world.store.merge(NOW + Span::days(2)), other.age(NOW + Span::days(2), |_| ages));
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    }
    other.age(NOW + Span::days(2), |_| ages).await.unwrap();
    assert_eq!((numbers(&other, lamp).await.len(), count(&other, lamp).await), (0, 300));
}
