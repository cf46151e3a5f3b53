//! Buckets against a model: whatever is appended, merged and aged, buckets say what all points would say.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::collections::BTreeMap;

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Ages, Bucket, Measured, Store, StoreUrl};
use proptest::prelude::*;

const START: i64 = 1_763_690_400_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const FOREVER: Ages = Ages { points: None, minutes: None, hours: None };

/// By time and, in the order of the store, by value.
type Model = BTreeMap<(i64, u8), f64>;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(i64, u8)>),
    /// From, to and which width.
    Read(i64, i64, usize),
    Merge,
    Reopen,
}

const WIDTHS: [i64; 8] = [1, 7 * 1000, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, DAY, 5 * DAY];

fn step() -> impl Strategy<Value = Step> {
    let time =
        || prop_oneof![(-40 * DAY..40 * DAY).prop_map(|t| START + t), (0..3 * HOUR).prop_map(|t| START + t)];
    let edge = || prop_oneof![time(), (-50i64..50).prop_map(|n| START - START % DAY + n * 4 * HOUR)];
    prop_oneof![
        6 => proptest::collection::vec((time(), 0u8..40), 1..60).prop_map(Step::Append),
        6 => (edge(), edge(), 0..WIDTHS.len()).prop_map(|(from, to, width)| Step::Read(from, to, width)),
        3 => Just(Step::Merge),
        1 => Just(Step::Reopen),
    ]
}

fn device() -> DeviceId {
    DeviceId::from_parts(1, 1)
}

/// Numbers, and for a metric of states texts.
fn value(value: u8, is_number: bool) -> PointValue {
    if is_number {
        PointValue::Number(number(value))
    } else {
        PointValue::Text(format!("state {:03}", value % 5))
    }
}

fn number(value: u8) -> f64 {
    f64::from(value) / 10.0 - 1.7
}

async fn begin(url: &StoreUrl) -> Store {
    let store = Store::open(url).await.unwrap();
    let lamp = Device {
        id: device(),
        name: "lamp".into(),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: None,
        tags: Vec::new(),
        capabilities: Default::default(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: Time(START),
        revision: 1,
    };
    let save = vec![Save::Device(Box::new(lamp))];
    store.commit(&Effects { save, ..Effects::none() }, Time(START)).await.unwrap();
    store
}

async fn append(store: &Store, now: i64, points: &[(i64, u8)]) {
    for (name, is_number) in [("t", true), ("s", false)] {
        let point = |(time, of): &(i64, u8)| Point {
            metric: Metric::parse(name).unwrap(),
            time: When::At(Time(*time)),
            value: value(*of, is_number),
        };
        let points = points.iter().map(point).collect();
        let measured = Measured { device: device(), arrived: Time(now), mark: None, again: false, points };
        store.append(vec![measured]).await.unwrap();
    }
}

async fn history(store: &Store, metric: &str, from: i64, to: i64, width: i64) -> Vec<Bucket> {
    store.history(device(), metric, Time(from), Time(to), width).await.unwrap()
}

/// Count, first, last, min, max, sum, last value.
type Row = (i64, u64, i64, i64, f64, f64, f64, f64);

fn rows(buckets: &[Bucket]) -> Vec<Row> {
    let row = |bucket: &Bucket| {
        let (summary, numbers) = (&bucket.summary, bucket.summary.numbers.unwrap());
        assert_eq!(numbers.count, summary.count);
        let sum = numbers.sum.value().unwrap();
        assert!((numbers.average() - sum / summary.count as f64).abs() < 1e-12);
        (
            bucket.start.0,
            summary.count,
            summary.first,
            summary.last,
            numbers.min,
            numbers.max,
            sum,
            numbers.last,
        )
    };
    buckets.iter().map(row).collect()
}

fn expected(model: &Model, from: i64, to: i64, width: i64) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for ((time, _), number) in model.range((from.min(to), 0)..(to, 0)) {
        let start = time.div_euclid(width) * width;
        match rows.last_mut().filter(|row| row.0 == start) {
            Some(row) => {
                *row = (
                    start,
                    row.1 + 1,
                    row.2,
                    *time,
                    row.4.min(*number),
                    row.5.max(*number),
                    row.6 + number,
                    *number,
                );
            }
            None => rows.push((start, 1, *time, *time, *number, *number, *number, *number)),
        }
    }
    rows
}

/// Start, count, changes and last of each bucket.
fn expected_states(model: &Model, from: i64, to: i64, width: i64) -> Vec<(i64, u64, u64, PointValue)> {
    let mut rows: Vec<(i64, u64, u64, PointValue)> = Vec::new();
    let mut texts: Vec<(i64, PointValue)> =
        model.keys().map(|(time, of)| (*time, value(*of, false))).collect();
    let order = |text: &PointValue| format!("{text:?}");
    texts.sort_by_key(|(time, text)| (*time, order(text)));
    texts.dedup();
    for (time, text) in texts.into_iter().filter(|(time, _)| *time >= from && *time < to) {
        let start = time.div_euclid(width) * width;
        match rows.last_mut().filter(|row| row.0 == start) {
            Some(row) => *row = (start, row.1 + 1, row.2 + u64::from(row.3 != text), text),
            None => rows.push((start, 1, 0, text)),
        }
    }
    rows
}

fn same(seen: &[Row], wanted: &[Row]) {
    assert_eq!(seen.len(), wanted.len(), "{seen:?}\n{wanted:?}");
    for (one, other) in seen.iter().zip(wanted) {
        assert_eq!((one.0, one.1, one.2, one.3), (other.0, other.1, other.2, other.3));
        assert_eq!((one.4, one.5, one.7), (other.4, other.5, other.7));
        assert!((one.6 - other.6).abs() < 1e-9, "{one:?} {other:?}");
    }
}

async fn check(store: &Store, model: &Model, from: i64, to: i64, width: i64) {
    let buckets = history(store, "t", from, to, width).await;
    same(&rows(&buckets), &expected(model, from, to, width));
    let states = history(store, "s", from, to, width).await.into_iter().map(|bucket| {
        let states = bucket.summary.states.unwrap();
        (bucket.start.0, bucket.summary.count, states.changes, states.last)
    });
    assert_eq!(states.collect::<Vec<_>>(), expected_states(model, from, to, width));
}

async fn run(url: &StoreUrl, steps: Vec<Step>) {
    let mut store = begin(url).await;
    let (mut model, mut now) = (Model::new(), START);
    for step in steps {
        now += 25 * MINUTE;
        match step {
            Step::Append(points) => {
                append(&store, now, &points).await;
                model.extend(points.iter().map(|(time, of)| ((*time, *of), number(*of))));
            }
            Step::Read(from, to, width) => check(&store, &model, from, to, WIDTHS[width]).await,
            Step::Merge => drop(store.merge(Time(now)).await.unwrap()),
            Step::Reopen => {
                drop(store);
                store = Store::open(url).await.unwrap();
            }
        }
    }
    for width in WIDTHS {
        check(&store, &model, i64::MIN, i64::MAX, width).await;
    }
    store.merge(Time(now + 2 * HOUR)).await.unwrap();
    for width in WIDTHS {
        check(&store, &model, i64::MIN, i64::MAX, width).await;
    }
    aged(&store, &model, now + 2 * HOUR).await;
}

/// Everything grows old, step by step; buckets as long as what is left still say the same.
async fn aged(store: &Store, model: &Model, now: i64) {
    let days = |days| Some(Span::days(days));
    let steps = [
        (Ages { points: days(30), ..FOREVER }, vec![MINUTE, 10 * MINUTE, HOUR, DAY]),
        (Ages { points: days(-100), ..FOREVER }, vec![MINUTE, 10 * MINUTE, HOUR, DAY]),
        (Ages { points: days(-100), minutes: days(10), hours: None }, vec![HOUR, 3 * HOUR, DAY]),
        (Ages { points: days(-100), minutes: days(-100), hours: days(5) }, vec![DAY, 5 * DAY]),
        (Ages { points: days(-100), minutes: days(-100), hours: days(-100) }, vec![DAY, 5 * DAY]),
    ];
    for (ages, widths) in steps {
        store.age(Time(now), |_| ages).await.unwrap();
        assert_eq!(store.age(Time(now), |_| ages).await, Ok(Default::default()), "all is done at once");
        for width in widths {
            check(store, model, i64::MIN, i64::MAX, width).await;
        }
    }
    let left = store.telemetry(device(), None, Time(i64::MIN), Time(i64::MAX), 1).await.unwrap();
    assert_eq!(left, (Vec::new(), false));
}

fn run_on(url: &StoreUrl, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(url, steps));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn buckets_say_what_the_points_say(steps in proptest::collection::vec(step(), 1..16)) {
        let folder = tempfile::tempdir().unwrap();
        run_on(&StoreUrl::Sqlite(folder.path().join("motehub.db")), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn on_postgres_too(steps in proptest::collection::vec(step(), 1..16)) {
        run_on(&StoreUrl::parse(&servers::Postgres::database()).unwrap(), steps);
    }
}
