//! What was kept is there, in its order, after whatever end; bounds hold, and what they cost is counted.

use std::fs;
use std::sync::atomic::AtomicI64;

use motehub_domain::id::Id;
use motehub_domain::report::Event;
use motehub_domain::telemetry::{Point, PointValue, When};
use motehub_domain::time::Time;
use proptest::prelude::*;

use super::*;
use crate::hub::Arrival;

const HUB: &str = "hub";

/// A folder and a clock that moves by hand.
struct World {
    folder: tempfile::TempDir,
    now: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("motehub-spool-").tempdir().unwrap();
        Self { folder, now: Arc::new(AtomicI64::new(1_000)) }
    }

    fn opened(&self, bytes_max: u64, full: Full) -> Result<Spool, String> {
        self.open_for(HUB, bytes_max, full)
    }

    fn open_for(&self, hub: &str, bytes_max: u64, full: Full) -> Result<Spool, String> {
        let folder = self.folder.path().to_owned();
        let settings = SpoolSettings { folder, bytes_max, age_max: Some(Span::minutes(10)), full };
        let now = self.now.clone();
        Spool::open(settings, hub, Arc::new(move || Time(now.load(Ordering::SeqCst))))
    }

    fn open(&self) -> Spool {
        // Whoever held the lock has ended when its thread has.
        self.opened(BYTES_MIN, Full::DropOldest).unwrap()
    }

    fn pass(&self, span: Span) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
    }

    fn files(&self, lane: Lane) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.folder.path().join(lane.as_str()))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    fn measured(&self, value: f64) -> Stamped {
        let point = Point {
            metric: Metric::parse("t").unwrap(),
            time: When::ARRIVAL,
            value: PointValue::Number(value),
        };
        let device = Id::from_parts(1, 1);
        let arrival = Arrival { device, uplink: Uplink::Telemetry(vec![point]), mark: None, again: false };
        Stamped { arrival, at: Time(self.now.load(Ordering::SeqCst)) }
    }
}

fn value(said: &Stamped) -> f64 {
    match &said.arrival.uplink {
        Uplink::Telemetry(points) => match points[0].value {
            PointValue::Number(number) => number,
            _ => panic!("no number"),
        },
        _ => panic!("no telemetry"),
    }
}

/// What waits, without taking it.
async fn values(spool: &Spool) -> Vec<f64> {
    let rows = spool.read(Lane::Measured, 100_000, u64::MAX).await;
    rows.iter().map(|row| value(&decode(&row.body).unwrap())).collect()
}

/// Takes all that waits.
async fn drain(spool: &Spool) -> Vec<f64> {
    let mut all = Vec::new();
    while spool.counts().of(Lane::Measured) > 0 {
        let rows = spool.read(Lane::Measured, 7, u64::MAX).await;
        assert!(rows.windows(2).all(|pair| pair[0].number < pair[1].number));
        all.extend(rows.iter().map(|row| value(&decode(&row.body).unwrap())));
        spool.delivered(Lane::Measured, rows.last().unwrap().number).await;
    }
    all
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_new_start_and_numbers_never_come_again() {
    let world = World::new();
    let spool = world.open();
    let id = spool.id();
    spool.keep_measured(&[world.measured(1.0), world.measured(2.0)]).await.unwrap();
    let first = spool.numbered(&[world.measured(0.0)])[0].number;
    drop(spool);
    let spool = world.open();
    assert_eq!((spool.id(), spool.counts().rows), (id, [0, 2]));
    assert!(spool.numbered(&[world.measured(0.0)])[0].number > first);
    spool.keep_measured(&[world.measured(3.0)]).await.unwrap();
    assert_eq!(drain(&spool).await, [1.0, 2.0, 3.0]);
    assert_eq!(spool.counts(), Counts::default());
    assert!(world.files(Lane::Measured).is_empty(), "what was delivered takes no room");
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_everything_before_it_stays() {
    let world = World::new();
    let spool = world.open();
    for number in 0..5 {
        spool.keep_measured(&[world.measured(f64::from(number))]).await.unwrap();
    }
    drop(spool);
    let file = &world.files(Lane::Measured)[0];
    let whole = fs::read(file).unwrap();
    let row = whole.len() / 5;
    for torn in [whole.len() - 1, whole.len() - row + 1, 4 * row + 9, row + 3, 1] {
        fs::write(file, &whole[..torn]).unwrap();
        let spool = world.open();
        let expected: Vec<f64> = (0..torn / row).map(|number| number as f64).collect();
        assert_eq!(values(&spool).await, expected, "torn at {torn}");
        spool.keep_measured(&[world.measured(9.0)]).await.unwrap();
        assert_eq!(drain(&spool).await.last(), Some(&9.0), "it goes on");
    }
}

#[tokio::test]
async fn a_bit_that_turned_loses_no_other_file() {
    let world = World::new();
    let spool = world.open();
    spool.keep_measured(&[world.measured(1.0)]).await.unwrap();
    drop(spool);
    let spool = world.open();
    spool.keep_measured(&[world.measured(2.0)]).await.unwrap();
    let file = &world.files(Lane::Measured)[0];
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
    assert_eq!(drain(&spool).await, [2.0]);
    assert_eq!(spool.counts().dropped, 1, "and it is counted");
}

#[tokio::test]
async fn a_full_spool_drops_its_oldest_or_takes_no_more() {
    let world = World::new();
    let spool = world.open();
    let some: Vec<Stamped> = (0..100).map(|_| world.measured(1.0)).collect();
    let mut kept = 0;
    while spool.counts().dropped == 0 {
        spool.keep_measured(&some).await.unwrap();
        kept += some.len() as u64;
    }
    let counts = spool.counts();
    assert!(counts.bytes <= BYTES_MIN, "{counts:?}");
    assert_eq!(counts.of(Lane::Measured) + counts.dropped, kept, "all is accounted for");
    drop(spool);

    let world = World::new();
    let spool = world.opened(BYTES_MIN, Full::RefuseNewest).unwrap();
    let mut kept = 0;
    while spool.keep_measured(&some).await.is_ok() {
        kept += some.len() as u64;
    }
    let counts = spool.counts();
    assert_eq!((counts.of(Lane::Measured), counts.dropped), (kept, some.len() as u64));
    let said = spool.numbered(&[world.measured(0.0)]);
    assert_eq!(spool.keep(Lane::Said, said).await, Ok(()), "measurements take no room from the rest");
}

#[tokio::test]
async fn what_is_too_old_is_dropped_and_counted() {
    let world = World::new();
    let spool = world.open();
    spool.keep_measured(&[world.measured(1.0)]).await.unwrap();
    world.pass(Span::minutes(9));
    assert_eq!(values(&spool).await, [1.0]);
    world.pass(Span::minutes(2));
    assert_eq!(values(&spool).await, Vec::<f64>::new());
    assert_eq!((spool.counts().of(Lane::Measured), spool.counts().dropped), (0, 1));
}

#[tokio::test]
async fn the_newest_of_each_series_is_known_after_a_new_start() {
    let world = World::new();
    let spool = world.open();
    spool.keep_measured(&[world.measured(1.0), world.measured(2.0)]).await.unwrap();
    drop(spool);
    let spool = world.open();
    let newest: Vec<f64> = spool.take_newest().iter().map(value).collect();
    assert_eq!(newest, [2.0]);
    assert!(spool.take_newest().is_empty());
}

#[tokio::test]
async fn a_folder_has_one_gateway_of_one_hub() {
    let world = World::new();
    let spool = world.open();
    let second = world.opened(BYTES_MIN, Full::DropOldest).err().unwrap();
    assert!(second.contains("another gateway uses it"), "{second}");
    spool.keep_measured(&[world.measured(1.0)]).await.unwrap();
    drop(spool);
    let other = world.open_for("hut", BYTES_MIN, Full::DropOldest).err().unwrap();
    assert!(other.contains("for another hub"), "{other}");
    fs::write(world.folder.path().join("spool"), "99 1 1 hub\n").unwrap();
    let newer = world.opened(BYTES_MIN, Full::DropOldest).err().unwrap();
    assert!(newer.contains("another release"), "{newer}");
    fs::write(world.folder.path().join("spool"), "?").unwrap();
    let damaged = world.opened(BYTES_MIN, Full::DropOldest).err().unwrap();
    assert!(damaged.contains("damaged"), "{damaged}");
    fs::remove_dir_all(world.folder.path().join("measured")).unwrap();
    assert!(world.opened(BYTES_MIN, Full::DropOldest).is_ok(), "nothing waits in it");
}

#[tokio::test]
async fn two_lanes_do_not_know_of_each_other() {
    let world = World::new();
    let spool = world.open();
    let event = Event { name: "door".to_owned(), data: serde_json::Value::Null, time: None };
    let device = Id::from_parts(1, 1);
    let arrival = Arrival { device, uplink: Uplink::Event(event), mark: None, again: false };
    let rows = spool.numbered(&[Stamped { arrival, at: Time(5) }]);
    spool.keep(Lane::Said, rows.clone()).await.unwrap();
    spool.keep_measured(&[world.measured(1.0)]).await.unwrap();
    assert_eq!(spool.counts().rows, [1, 1]);
    assert_eq!(spool.read(Lane::Said, 10, 1).await, rows, "one at least, however large");
    spool.delivered(Lane::Said, rows[0].number).await;
    assert_eq!(spool.counts().rows, [0, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_is_done_each_row_comes_out_once_in_its_order(steps in proptest::collection::vec(0..4u8, 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let mut spool = Some(world.open());
            let (mut given, mut taken) = (0, Vec::new());
            for step in steps {
                let open = spool.as_ref().unwrap();
                match step {
                    0 | 1 => {
                        let some: Vec<_> = (0..3).map(|n| world.measured(f64::from(given + n))).collect();
                        given += 3;
                        open.keep_measured(&some).await.unwrap();
                    }
                    2 => {
                        let rows = open.read(Lane::Measured, 2, u64::MAX).await;
                        if let Some(last) = rows.last() {
                            open.delivered(Lane::Measured, last.number).await;
                        }
                        taken.extend(rows.iter().map(|row| value(&decode(&row.body).unwrap())));
                    }
                    // Rows of a file that was not delivered whole come again, and the hub knows their numbers.
                    _ => {
                        drop(spool.take());
                        spool = Some(world.open());
                    }
                }
            }
            taken.extend(drain(spool.as_ref().unwrap()).await);
            taken.sort_by(f64::total_cmp);
            taken.dedup();
            let expected: Vec<f64> = (0..given).map(f64::from).collect();
            assert_eq!(taken, expected);
        });
    }
}
