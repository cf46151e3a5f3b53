//! Telemetry against a model: whatever is appended, in any order, with repetitions, merges and restarts in
//! between, what is read is what a sorted set would hold.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::collections::BTreeMap;

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Measured, Sample, Store, StoreUrl};
use proptest::prelude::*;

const START: i64 = 1_763_690_400_000;
const HOUR: i64 = 3_600_000;
const DEVICES: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Points of (device, metric, minutes from the start, value), in one append.
    Append(Vec<(u8, u8, i64, u8)>),
    /// The newest points of a device, of one metric or of all, in a range of minutes.
    Read(u8, Option<u8>, i64, i64, usize),
    Merge,
    Reopen,
}

/// Device, metric, time, value: of equal points the first arrival counts.
type Model = BTreeMap<(u8, i64, u8, u8), i64>;

fn step() -> impl Strategy<Value = Step> {
    let minutes = || -30i64..400;
    let points = proptest::collection::vec((0..DEVICES, 0u8..3, minutes(), 0u8..4), 1..30);
    prop_oneof![
        6 => points.prop_map(Step::Append),
        4 => (0..DEVICES, proptest::option::of(0u8..3), minutes(), minutes(), 0usize..60)
            .prop_map(|(device, metric, from, to, limit)| Step::Read(device, metric, from, to, limit)),
        2 => Just(Step::Merge),
        1 => Just(Step::Reopen),
    ]
}

fn id(device: u8) -> DeviceId {
    DeviceId::from_parts(1, u128::from(device))
}

fn value(value: u8) -> PointValue {
    match value {
        0 => PointValue::Boolean(true),
        1 => PointValue::Text("on".into()),
        more => PointValue::Number(f64::from(more) / 10.0),
    }
}

fn time(minutes: i64) -> i64 {
    START + minutes * 60_000
}

async fn register(store: &Store) {
    let device = |number| Device {
        id: id(number),
        name: format!("lamp {number}"),
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
    let save = (0..DEVICES).map(|number| Save::Device(Box::new(device(number)))).collect();
    store.commit(&Effects { save, ..Effects::none() }, Time(START)).await.unwrap();
}

fn measured(now: i64, point: &(u8, u8, i64, u8)) -> Measured {
    let metric = Metric::parse(&format!("m{}", point.1)).unwrap();
    let point_of = Point { metric, time: When::At(Time(time(point.2))), value: value(point.3) };
    Measured { device: id(point.0), arrived: Time(now), mark: None, again: false, points: vec![point_of] }
}

/// What the model holds of a device, oldest first, in an order that does not depend on arrival.
fn expected(model: &Model, device: u8, metric: Option<u8>, from: i64, to: i64) -> Vec<(i64, u8, u8, i64)> {
    let all = model.iter().filter(|((d, t, m, _), _)| {
        *d == device && *t >= from && *t < to && metric.is_none_or(|metric| metric == *m)
    });
    all.map(|((_, t, m, v), arrived)| (*t, *m, *v, *arrived)).collect()
}

fn seen(samples: &[Sample]) -> Vec<(i64, u8, u8, i64)> {
    let number = |sample: &Sample| (0..4).find(|n| value(*n) == sample.value).unwrap();
    let metric = |sample: &Sample| sample.metric.as_str()[1..].parse().unwrap();
    let read = |sample: &Sample| (sample.time.0, metric(sample), number(sample), sample.arrived.0);
    let mut seen: Vec<_> = samples.iter().map(read).collect();
    assert!(seen.is_sorted_by_key(|point| point.0), "not in the order of time: {seen:?}");
    seen.sort_unstable();
    seen
}

async fn check_read(
    store: &Store,
    model: &Model,
    device: u8,
    metric: Option<u8>,
    range: (i64, i64),
    limit: usize,
) {
    let all = expected(model, device, metric, range.0, range.1);
    let name = metric.map(|metric| format!("m{metric}"));
    let (from, to) = (Time(range.0), Time(range.1));
    let (samples, more) = store.telemetry(id(device), name.as_deref(), from, to, limit).await.unwrap();
    assert_eq!(samples.len(), all.len().min(limit));
    assert_eq!(more, all.len() > limit, "{} of {limit}", all.len());
    let seen = seen(&samples);
    if limit >= all.len() {
        assert_eq!(seen, all);
    } else if let Some(oldest) = seen.first() {
        // Among points of the oldest time any may be left out.
        let newer: Vec<_> = all.iter().filter(|point| point.0 > oldest.0).copied().collect();
        assert_eq!(seen.iter().filter(|point| point.0 > oldest.0).copied().collect::<Vec<_>>(), newer);
        assert!(seen.iter().all(|point| all.contains(point)));
    }
}

async fn check_latest(store: &Store, model: &Model, device: u8) {
    let mut newest: BTreeMap<u8, i64> = BTreeMap::new();
    for (d, t, m, _) in model.keys().filter(|key| key.0 == device) {
        assert_eq!(*d, device);
        newest.entry(*m).and_modify(|time| *time = (*time).max(*t)).or_insert(*t);
    }
    let latest = store.latest(id(device)).await.unwrap();
    let times = latest.iter().map(|s| (s.metric.as_str()[1..].parse().unwrap(), s.time.0)).collect();
    assert_eq!(newest, times);
}

async fn run(url: &StoreUrl, steps: Vec<Step>) {
    let mut store = Store::open(url).await.unwrap();
    register(&store).await;
    let mut model = Model::new();
    let mut now = START;
    for step in steps {
        now += 10 * 60_000;
        match step {
            Step::Append(points) => {
                let measured = points.iter().map(|point| measured(now, point)).collect();
                assert_eq!(store.append(measured).await.unwrap().stored, points.len());
                for (device, metric, minutes, value) in points {
                    model.entry((device, time(minutes), metric, value)).or_insert(now);
                }
            }
            Step::Read(device, metric, from, to, limit) => {
                check_read(&store, &model, device, metric, (time(from), time(to)), limit).await;
                check_latest(&store, &model, device).await;
            }
            Step::Merge => drop(store.merge(Time(now)).await.unwrap()),
            Step::Reopen => {
                drop(store);
                store = Store::open(url).await.unwrap();
            }
        }
    }
    store.merge(Time(now) + Span(2 * HOUR)).await.unwrap();
    for device in 0..DEVICES {
        check_read(&store, &model, device, None, (i64::MIN, i64::MAX), usize::MAX).await;
        check_latest(&store, &model, device).await;
    }
}

fn run_on(url: &StoreUrl, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(url, steps));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn telemetry_is_a_sorted_set(steps in proptest::collection::vec(step(), 1..25)) {
        let folder = tempfile::tempdir().unwrap();
        run_on(&StoreUrl::Sqlite(folder.path().join("motehub.db")), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn on_postgres_too(steps in proptest::collection::vec(step(), 1..25)) {
        run_on(&StoreUrl::parse(&servers::Postgres::database()).unwrap(), steps);
    }
}
