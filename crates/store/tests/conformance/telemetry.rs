//! Points: appended, merged, read.

use motehub_domain::effects::Save;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Aged, Ages, Appended, Measured, Summary};

use crate::world::{NOW, World, device, id, measured, point};

const HOUR: i64 = 3_600_000;

fn number(metric: &str, time: i64, value: f64) -> (String, i64, PointValue) {
    (metric.to_owned(), time, PointValue::Number(value))
}

pub(crate) async fn points_come_back_in_time_order(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0;
    let points = vec![point("t", Some(t + 5), 1.5), point("h", Some(t + 3), 60.0), point("t", None, 2.5)];
    let appended = world.append([measured(lamp, t, points)]).await;
    assert_eq!(appended, Appended { stored: 3, repeated: 0, ignored: 0 });
    let expected = [number("t", t, 2.5), number("h", t + 3, 60.0), number("t", t + 5, 1.5)];
    assert_eq!(world.points(lamp).await, expected);
    world.reopen().await;
    assert_eq!(world.points(lamp).await, expected, "after opening again");
    let merged = world.store.merge(NOW + Span::minutes(60)).await.unwrap();
    assert_eq!((merged.points, merged.chunks), (3, 2));
    assert_eq!(world.points(lamp).await, expected, "after merging");
    world.reopen().await;
    assert_eq!(world.points(lamp).await, expected, "after both");
    let (samples, _) = world.store.telemetry(lamp, Some("t"), NOW, NOW + Span(6), 10).await.unwrap();
    let seen: Vec<_> = samples.iter().map(|s| (s.metric.as_str(), s.time.0, s.arrived.0)).collect();
    assert_eq!(seen, [("t", t, t), ("t", t + 5, t)]);
}

pub(crate) async fn the_newest_points_of_a_range_are_given(world: &mut World) {
    let lamp = world.device(1).await.id;
    for hour in 0..6 {
        let at = NOW.0 + hour * HOUR;
        let points = (0..10).map(|i| point("t", Some(at + i), (hour * 10 + i) as f64)).collect();
        world.append([measured(lamp, at, points)]).await;
        if hour == 3 {
            world.store.merge(NOW + Span(hour * HOUR)).await.unwrap();
        }
    }
    let read = async |from: i64, to: i64, limit| {
        let (from, to) = (Time(NOW.0 + from), Time(NOW.0 + to));
        let (samples, more) = world.store.telemetry(lamp, Some("t"), from, to, limit).await.unwrap();
        let values = samples.iter().map(|s| match s.value {
            PointValue::Number(n) => n as i64,
            _ => panic!("not a number"),
        });
        (values.collect::<Vec<_>>(), more)
    };
    assert_eq!(read(0, 6 * HOUR, 12).await, ((48..60).collect(), true));
    assert_eq!(read(0, 6 * HOUR, 60).await, ((0..60).collect(), false));
    assert_eq!(read(0, HOUR, 3).await, (vec![7, 8, 9], true));
    assert_eq!(read(5, HOUR + 1, 100).await, (vec![5, 6, 7, 8, 9, 10], false), "the end is left out");
    assert_eq!(read(5, 5, 100).await, (vec![], false));
    assert_eq!(read(6, 5, 100).await, (vec![], false));
    assert_eq!(read(0, HOUR, 0).await, (vec![], true));
}

pub(crate) async fn a_repeated_point_is_stored_once(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0;
    let same = || measured(lamp, t, vec![point("t", Some(t), 1.0), point("t", Some(t), 2.0)]);
    world.append([same(), same()]).await;
    let expected = [number("t", t, 1.0), number("t", t, 2.0)];
    assert_eq!(world.points(lamp).await, expected);
    world.store.merge(NOW + Span::minutes(60)).await.unwrap();
    world.append([measured(lamp, t + 7, vec![point("t", Some(t), 1.0)])]).await;
    assert_eq!(world.points(lamp).await, expected, "in a chunk and hot");
    world.store.merge(NOW + Span::minutes(120)).await.unwrap();
    assert_eq!(world.points(lamp).await, expected, "merged again");
    let (samples, _) = world.store.telemetry(lamp, None, NOW, NOW + Span(1), 9).await.unwrap();
    assert!(samples.iter().all(|sample| sample.arrived == NOW), "the first arrival stays");
}

pub(crate) async fn a_repeated_message_is_known_by_its_mark(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0;
    let message = |arrived, mark, again, value| Measured {
        mark: Some(mark),
        again,
        ..measured(lamp, arrived, vec![point("t", None, value), point("t", None, value + 0.5)])
    };
    world.append([message(t, u64::MAX, false, 1.0)]).await;
    world.reopen().await;
    let appended = world.append([message(t + 9, u64::MAX, true, 1.0)]).await;
    assert_eq!(appended, Appended { stored: 0, repeated: 2, ignored: 0 });
    world.append([message(t + 10, 8, true, 2.0), message(t + 11, u64::MAX, false, 3.0)]).await;
    let times: Vec<_> = world.points(lamp).await.iter().map(|p| p.1 - t).collect();
    assert_eq!(times, [0, 0, 10, 10, 11, 11], "another mark, or not said to be a repetition: it is new");
    let stored = world.append_both(message(t + 20, 9, false, 4.0), message(t + 21, 9, true, 4.0)).await;
    assert_eq!(stored, 4, "both are on their way");
    assert_eq!(world.points(lamp).await.len(), 8, "and are the same points");
}

pub(crate) async fn a_repeated_message_with_mended_times_is_stored_once(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0;
    let ago = |ms, value| Point { time: When::Before(Span(ms)), ..point("t", None, value) };
    let message = |arrived, again| Measured {
        mark: Some(7),
        again,
        ..measured(lamp, arrived, vec![ago(60_000, 1.0), ago(0, 2.0), point("t", Some(t - 5), 3.0)])
    };
    let expected = [number("t", t - 60_000, 1.0), number("t", t - 5, 3.0), number("t", t, 2.0)];
    let stored = world.append_both(message(t, false), message(t + 2_000, true)).await;
    assert_eq!(stored, 6, "both are on their way");
    assert_eq!(world.points(lamp).await, expected, "and are the same points");
    world.reopen().await;
    let again = world.append([message(t + 9_000, true)]).await;
    assert_eq!(again, Appended { stored: 1, repeated: 2, ignored: 0 }, "one has a time of its own");
    assert_eq!(world.points(lamp).await, expected);
}

pub(crate) async fn late_points_join_their_hour(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0;
    world.append([measured(lamp, t, vec![point("t", Some(t + 10), 1.0)])]).await;
    world.store.merge(NOW + Span(HOUR)).await.unwrap();
    let late = vec![point("t", Some(t + 5), 2.0), point("t", Some(t - 500 * HOUR), 3.0)];
    world.append([measured(lamp, t + HOUR, late)]).await;
    let expected = [number("t", t - 500 * HOUR, 3.0), number("t", t + 5, 2.0), number("t", t + 10, 1.0)];
    assert_eq!(world.points(lamp).await, expected);
    assert_eq!(world.store.merge(NOW + Span(HOUR)).await.unwrap().points, 0, "its hour is not over");
    assert_eq!(world.store.merge(NOW + Span(2 * HOUR)).await.unwrap().points, 2);
    world.reopen().await;
    assert_eq!(world.points(lamp).await, expected);
}

pub(crate) async fn the_latest_of_each_metric_is_known(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0;
    let points = vec![point("t", Some(t + 10), 1.0), point("t", Some(t + 5), 2.0), point("h", None, 60.0)];
    world.append([measured(lamp, t, points)]).await;
    let latest = async |world: &World| {
        let samples = world.store.latest(lamp).await.unwrap();
        samples.into_iter().map(|s| (s.metric.as_str().to_owned(), s.time.0, s.value)).collect::<Vec<_>>()
    };
    let expected = [number("h", t, 60.0), number("t", t + 10, 1.0)];
    assert_eq!(latest(world).await, expected);
    world.store.merge(NOW + Span(HOUR)).await.unwrap();
    assert_eq!(latest(world).await, expected, "merged");
    world.reopen().await;
    world.append([measured(lamp, t + HOUR, vec![point("t", Some(t), 9.0)])]).await;
    assert_eq!(latest(world).await, expected, "a late point is not the newest");
    world.append([measured(lamp, t + HOUR, vec![point("t", Some(t + HOUR), 8.0)])]).await;
    assert_eq!(latest(world).await[1], number("t", t + HOUR, 8.0));
}

pub(crate) async fn unknown_devices_and_too_many_metrics_are_ignored(world: &mut World) {
    let lamp = world.device(1).await.id;
    let stranger = device(77).id;
    let many = (0..1001).map(|i| point(&format!("m{i}"), None, 1.0)).collect();
    let appended = world
        .append([measured(stranger, NOW.0, vec![point("t", None, 1.0)]), measured(lamp, NOW.0, many)])
        .await;
    assert_eq!(appended, Appended { stored: 1000, repeated: 0, ignored: 2 });
    assert_eq!(world.points(stranger).await, []);
    assert_eq!(world.points(lamp).await.len(), 1000);
    assert_eq!(world.store.append(Vec::new()).await, Ok(Appended::default()));
}

pub(crate) async fn a_deleted_device_leaves_nothing(world: &mut World) {
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    for hour in [0, 1] {
        let at = NOW.0 + hour * HOUR;
        let message =
            |device| measured(device, at, vec![point("t", Some(at), 1.0), point("h", Some(at), 2.0)]);
        world.append([message(lamp), message(fan)]).await;
        world.store.merge(Time(at)).await.unwrap();
    }
    world.save([Save::DeleteDevice(lamp)]).await.unwrap();
    assert_eq!(world.points(lamp).await, []);
    assert_eq!(world.store.latest(lamp).await, Ok(Vec::new()));
    world.reopen().await;
    let merged = world.store.merge(NOW + Span(3 * HOUR)).await.unwrap();
    assert_eq!(merged.series_removed, 2);
    world.reopen().await;
    assert_eq!(world.store.merge(NOW + Span(4 * HOUR)).await.unwrap().series_removed, 0);
    assert_eq!(world.points(fan).await.len(), 4, "others keep theirs");
    assert_eq!(world.append([measured(lamp, NOW.0, vec![point("t", None, 1.0)])]).await.ignored, 1);
    let other = world.device(3).await.id;
    world.append([measured(other, NOW.0, vec![point("t", None, 5.0)])]).await;
    assert_eq!(world.points(other).await, [number("t", NOW.0, 5.0)]);
}

pub(crate) async fn every_kind_of_value_comes_back(world: &mut World) {
    let lamp = world.device(1).await.id;
    let values = [
        PointValue::Number(-0.1),
        PointValue::Number(f64::MAX),
        PointValue::Number(0.1 + 0.2),
        PointValue::Boolean(true),
        PointValue::Boolean(false),
        PointValue::Text("<script>ä\n\u{1f600}".into()),
        PointValue::Text(String::new()),
        PointValue::Json(r#"{"a":[1,null]}"#.into()),
    ];
    let metric = Metric::parse("any ' thing").unwrap();
    let point = |(i, value): (usize, &PointValue)| Point {
        metric: metric.clone(),
        time: When::At(Time(NOW.0 + i as i64)),
        value: value.clone(),
    };
    world.append([measured(lamp, NOW.0, values.iter().enumerate().map(point).collect())]).await;
    let read = async |world: &World| -> Vec<PointValue> {
        world.points(lamp).await.into_iter().map(|point| point.2).collect()
    };
    assert_eq!(read(world).await, values);
    world.reopen().await;
    assert_eq!(read(world).await, values);
    world.store.merge(NOW + Span(HOUR)).await.unwrap();
    world.reopen().await;
    assert_eq!(read(world).await, values);
    assert_eq!(world.store.telemetry(id(99), None, NOW, NOW, 1).await, Ok((Vec::new(), false)));
}

pub(crate) async fn an_hour_of_very_many_points_has_parts(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (t, count) = (NOW.0, 40_000);
    // In an order that is not that of time, and every tenth twice.
    let order = |i: i64| t + (i * 7919) % count;
    let all: Vec<Measured> = (0..count)
        .chain((0..count).step_by(10))
        .map(|i| measured(lamp, t, vec![point("t", Some(order(i)), order(i) as f64)]))
        .collect();
    for some in all.chunks(11_000) {
        world.append(some).await;
        world.store.merge(NOW + Span(HOUR)).await.unwrap();
    }
    world.reopen().await;
    let points = world.points(lamp).await;
    assert_eq!(points.len() as i64, count);
    assert!(points.iter().zip(t..).all(|(point, time)| *point == number("t", time, time as f64)));
    let (newest, more) = world.store.telemetry(lamp, Some("t"), NOW, NOW + Span(HOUR), 3).await.unwrap();
    assert_eq!(
        newest.iter().map(|s| s.time.0).collect::<Vec<_>>(),
        [t + count - 3, t + count - 2, t + count - 1]
    );
    assert!(more);
}

pub(crate) async fn much_telemetry_is_merged_before_its_time(world: &mut World) {
    let lamp = world.device(1).await.id;
    // Texts that cannot be compressed.
    let text = |i: i64| {
        let mut state = i as u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:08x}", state >> 32)
        };
        PointValue::Text((0..512).map(|_| word()).collect())
    };
    world.store.limit_hot(12 * 1024 * 1024);
    let metric = Metric::parse("log").unwrap();
    let wanted = world.store.clone();
    let wanted = tokio::spawn(async move { wanted.merge_wanted().await });
    let mut count = 0;
    while !wanted.is_finished() {
        assert!(count < 20_000, "nobody asks for a merge");
        let point = |i| Point { metric: metric.clone(), time: When::At(Time(NOW.0 + i)), value: text(i) };
        world.append([measured(lamp, NOW.0, (count..count + 500).map(point).collect())]).await;
        count += 500;
        tokio::task::yield_now().await;
    }
    let merged = world.store.merge(NOW).await.unwrap();
    assert_eq!(merged.points as i64, count);
    assert!(merged.chunks > 4, "{merged:?}");
    world.reopen().await;
    let points = world.points(lamp).await;
    assert_eq!(points.len() as i64, count);
    assert!(points.iter().zip(0..).all(|(point, i)| point.2 == text(i)));
}

pub(crate) async fn readers_miss_nothing_while_points_are_merged(world: &mut World) {
    let lamp = world.device(1).await.id;
    let store = world.store.clone();
    let merging = tokio::spawn(async move {
        loop {
            // As late as can be: everything is ripe.
            store.merge(Time(i64::MAX)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for i in 0..150 {
        let time = NOW.0 + i * HOUR / 7;
        world.append([measured(lamp, time, vec![point("t", Some(time), i as f64)])]).await;
        let points = world.points(lamp).await;
        assert!(points.iter().zip(0..).all(|(point, i)| point.2 == PointValue::Number(f64::from(i))));
        assert_eq!(points.len() as i64, i + 1);
    }
    merging.abort();
    assert!(merging.await.unwrap_err().is_cancelled());
}

async fn day_of(world: &World, device: motehub_domain::id::DeviceId) -> Summary {
    let buckets = world.store.history(device, "t", Time(i64::MIN), Time(i64::MAX), 24 * HOUR).await.unwrap();
    assert_eq!(buckets.len(), 1);
    buckets[0].summary.clone()
}

pub(crate) async fn points_that_come_after_their_age_are_added_to_roll_ups(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0 - NOW.0.rem_euclid(24 * HOUR);
    let all = |time: &[i64]| time.iter().map(|i| point("t", Some(t + i), *i as f64)).collect();
    world.append([measured(lamp, t, all(&[10, 20, 30]))]).await;
    world.store.merge(NOW + Span::days(2)).await.unwrap();
    let day = Some(Span::days(1));
    let ages = Ages { points: day, minutes: day, hours: None };
    let later = NOW + Span::days(5);
    let aged = world.store.age(later, |_| ages).await.unwrap();
    assert_eq!(aged, Aged { points: 3, minutes: 1, hours: 0 });
    assert_eq!(world.points(lamp).await, []);
    let expected = |count, sum: f64, summary: &Summary| {
        let numbers = summary.numbers.unwrap();
        assert_eq!(
            (summary.count, numbers.sum.value(), numbers.min, numbers.max),
            (count, Some(sum), 10.0, 30.0)
        );
    };
    expected(3, 60.0, &day_of(world, lamp).await);
    let latest = world.store.latest(lamp).await.unwrap();
    assert_eq!(
        (latest[0].time, &latest[0].value),
        (Time(t + 30), &PointValue::Number(30.0)),
        "it is still known"
    );
    world.append([measured(lamp, later.0, all(&[25]))]).await;
    expected(4, 85.0, &day_of(world, lamp).await);
    world.store.merge(later + Span(HOUR)).await.unwrap();
    expected(4, 85.0, &day_of(world, lamp).await);
    world.reopen().await;
    expected(4, 85.0, &day_of(world, lamp).await);
    assert_eq!(world.store.age(later, |_| ages).await.unwrap().points, 1);
    expected(4, 85.0, &day_of(world, lamp).await);
    assert_eq!(world.store.age(later, |_| ages).await, Ok(Aged::default()));
    let hours = Ages { hours: day, ..ages };
    assert_eq!(world.store.age(later, |_| hours).await, Ok(Aged { hours: 1, ..Aged::default() }));
    expected(4, 85.0, &day_of(world, lamp).await);
    world.save([Save::DeleteDevice(lamp)]).await.unwrap();
    world.store.merge(later).await.unwrap();
    world.device(1).await;
    assert!(world.store.history(lamp, "t", Time(0), later, HOUR).await.unwrap().is_empty());
}

pub(crate) async fn what_is_younger_than_its_age_stays(world: &mut World) {
    let lamp = world.device(1).await.id;
    let t = NOW.0 - NOW.0.rem_euclid(HOUR);
    let hours = |range: std::ops::Range<i64>| {
        range.map(|hour| point("t", Some(t + hour * HOUR), hour as f64)).collect::<Vec<_>>()
    };
    world.append([measured(lamp, t, hours(0..100))]).await;
    world.store.merge(Time(t + 101 * HOUR)).await.unwrap();
    let ages = |hours| Ages { points: Some(Span(hours * HOUR)), minutes: None, hours: None };
    let now = Time(t + 100 * HOUR);
    assert_eq!(world.store.age(now, |_| ages(100)).await, Ok(Aged::default()));
    assert_eq!(
        world.store.age(Time(t - 500 * HOUR), |_| ages(1)).await,
        Ok(Aged::default()),
        "a clock gone back"
    );
    assert_eq!(world.store.age(now, |_| ages(40)).await.unwrap().points, 60);
    let left: Vec<i64> = world.points(lamp).await.iter().map(|point| (point.1 - t) / HOUR).collect();
    assert_eq!(left, (60..100).collect::<Vec<_>>());
    let buckets = world.store.history(lamp, "t", Time(t), now, HOUR).await.unwrap();
    assert_eq!(buckets.len(), 100);
    assert!(buckets.iter().zip(0..).all(|(bucket, i)| bucket.summary.numbers.unwrap().last == f64::from(i)));
}

pub(crate) async fn an_export_reads_on_where_it_was(world: &mut World) {
    let lamp = world.device(1).await.id;
    let metric = Metric::parse("t").unwrap();
    let all: Vec<Point> = (0..30_000).map(|i| point("t", Some(NOW.0 + i * 1_000), i as f64)).collect();
    for (step, some) in (0..).zip(all.chunks(7_000)) {
        world.append([measured(lamp, NOW.0, some.to_vec())]).await;
        if step == 2 {
            world.store.merge(NOW + Span(HOUR)).await.unwrap();
        }
    }
    let (mut from, to) = (NOW + Span(5_000), NOW + Span(29_990_001));
    let (mut times, mut parts) = (Vec::new(), 0);
    loop {
        let (samples, next) = world.store.telemetry_part(lamp, &metric, from, to).await.unwrap();
        times.extend(samples.iter().map(|sample| (sample.time.0 - NOW.0) / 1_000));
        parts += 1;
        let Some(next) = next else { break };
        from = next;
    }
    assert_eq!(times, (5..=29_990).collect::<Vec<_>>());
    assert!(parts > 3, "{parts}");
    assert_eq!(world.store.telemetry_part(lamp, &metric, to, from).await, Ok((Vec::new(), None)));
    let known = world.store.metrics("", 10).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [(metric, 1)]);
    assert!(world.store.metrics("x", 10).await.unwrap().is_empty());
}
