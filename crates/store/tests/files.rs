//! What the store says of files that are not as it left them, and of other processes that use them.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::path::PathBuf;

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Measured, Store, StoreError, StoreUrl};

const NOW: Time = Time(1_763_690_400_000);
const HOUR: Span = Span::minutes(60);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("motehub.db")
    }

    async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&StoreUrl::Sqlite(self.file())).await
    }

    /// What somebody else does to the file.
    fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

async fn lamp(store: &Store) -> DeviceId {
    let device = Device {
        id: DeviceId::from_parts(1, 1),
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
        created_at: NOW,
        revision: 1,
    };
    let id = device.id;
    store.commit(&saving(Save::Device(Box::new(device))), NOW).await.unwrap();
    id
}

fn saving(save: Save) -> Effects {
    Effects { save: vec![save], ..Effects::none() }
}

fn at(device: DeviceId, time: Time) -> Vec<Measured> {
    let metric = Metric::parse("t").unwrap();
    let point = Point { metric, time: When::At(time), value: PointValue::Number(21.5) };
    vec![Measured { device, arrived: time, mark: None, again: false, points: vec![point] }]
}

#[tokio::test]
async fn a_newer_database_is_refused_with_both_versions() {
    let folder = Folder::new();
    drop(folder.open().await.unwrap());
    folder.tamper("insert into migrations (number, checksum) values (99, 'x')");
    let refused = folder.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused:?}");
    assert!(refused.to_string().contains("99"));
    folder.tamper("delete from migrations where number = 99");
    assert!(folder.open().await.is_ok(), "it was left as it was");
}

#[tokio::test]
async fn an_edited_history_is_refused() {
    let folder = Folder::new();
    drop(folder.open().await.unwrap());
    folder.tamper("update migrations set checksum = 'x' where number = 1");
    assert!(matches!(folder.open().await, Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn files_of_others_are_refused_and_left_alone() {
    let folder = Folder::new();
    folder.tamper("create table theirs (a); insert into theirs values (1)");
    assert_eq!(folder.open().await.unwrap_err(), StoreError::Foreign);
    folder.tamper("update theirs set a = 2");
    std::fs::write(folder.file(), "not a database at all, but a text of some length ".repeat(100)).unwrap();
    assert_eq!(folder.open().await.unwrap_err(), StoreError::Foreign);
    std::fs::remove_file(folder.file()).unwrap();
    std::fs::create_dir(folder.file()).unwrap();
    assert!(matches!(folder.open().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open().await.unwrap();
    lamp(&store).await;
    for name in ["motehub.db", "motehub.db-wal"] {
        let mode = std::fs::metadata(folder.0.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_chunk_is_named_and_the_others_go_on() {
    let folder = Folder::new();
    let store = folder.open().await.unwrap();
    let lamp = lamp(&store).await;
    for hour in 0..3 {
        store.append(at(lamp, NOW + Span(hour * HOUR.0))).await.unwrap();
    }
    store.merge(NOW + Span(9 * HOUR.0)).await.unwrap();
    drop(store);
    folder.tamper(
        "update chunks set body = cast(x'ff' || substr(body, 2) as blob)
        where hour = (select hour from chunks order by hour limit 1 offset 1)",
    );
    let store = folder.open().await.unwrap();
    let hour = |hour: i64| (NOW + Span(hour * HOUR.0), NOW + Span((hour + 1) * HOUR.0));
    let read = async |from: Time, to: Time, limit| store.telemetry(lamp, None, from, to, limit).await;
    let (from, to) = hour(1);
    let damaged = read(from, to, 9).await.unwrap_err();
    let expected = format!("device {lamp}, metric t, hour {}", from.0 / HOUR.0);
    assert!(damaged.to_string().contains(&expected), "{damaged}");
    assert!(matches!(read(NOW, NOW + Span(9 * HOUR.0), 9).await, Err(StoreError::Damaged { .. })));
    for good in [0, 2] {
        let (from, to) = hour(good);
        assert_eq!(read(from, to, 9).await.unwrap().0.len(), 1, "hour {good}");
    }
    assert_eq!(store.latest(lamp).await.unwrap().len(), 1);

    store.append(at(lamp, from + Span(5))).await.unwrap();
    let merged = store.merge(NOW + Span(9 * HOUR.0)).await.unwrap();
    assert_eq!(merged.chunks, 1, "new points of the hour are merged beside it");
    assert!(matches!(read(from, to, 9).await, Err(StoreError::Damaged { .. })), "it is still damaged");
}

#[tokio::test]
async fn a_damaged_artifact_is_never_given_out() {
    let folder = Folder::new();
    let store = folder.open().await.unwrap();
    let digest = store.put(b"print('hello')".to_vec()).await.unwrap();
    let other = store.put(b"other".to_vec()).await.unwrap();
    folder.tamper(&format!("update pieces set body = x'00' where artifact = '{digest}'"));
    let damaged = store.artifact(digest).await.unwrap_err();
    assert!(damaged.to_string().contains(&digest.to_string()), "{damaged}");
    assert!(store.artifact(other).await.is_ok());
}

#[tokio::test]
async fn damaged_pages_are_found() {
    let folder = Folder::new();
    let store = folder.open().await.unwrap();
    let note = saving(Save::Note("a".into(), Some(vec![0xaa; 200_000])));
    store.commit(&note, NOW).await.unwrap();
    assert_eq!(store.check().await, Ok(()));
    drop(store);
    let mut bytes = std::fs::read(folder.file()).unwrap();
    let tables = bytes.windows(4).position(|four| four == [0xaa; 4]).unwrap();
    bytes[4096..tables].fill(0x5a);
    std::fs::write(folder.file(), bytes).unwrap();
    match folder.open().await {
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
        Ok(store) => assert!(matches!(store.check().await, Err(StoreError::Damaged { .. }))),
    }
}

#[tokio::test]
async fn another_process_may_write_meanwhile() {
    let folder = Folder::new();
    let (serve, tool) = (folder.open().await.unwrap(), folder.open().await.unwrap());
    let device = lamp(&tool).await;
    assert_eq!(serve.append(at(device, NOW)).await.unwrap().stored, 1, "its devices are known");
    let notes = async |store: &Store, name: &str| {
        for i in 0..20 {
            let note = Save::Note(format!("{name}{i:02}"), Some(vec![1]));
            store.commit(&saving(note), NOW).await.unwrap();
        }
    };
    tokio::join!(notes(&serve, "serve"), notes(&tool, "tool"));
    assert_eq!(serve.notes("").await.unwrap().len(), 40);
    tool.commit(&saving(Save::DeleteDevice(device)), NOW).await.unwrap();
    assert_eq!(serve.append(at(device, NOW + Span(1))).await.map(|a| a.stored + a.ignored), Ok(1));
}

#[tokio::test]
async fn a_waiter_that_goes_away_does_no_harm() {
    let folder = Folder::new();
    let store = folder.open().await.unwrap();
    let lamp = lamp(&store).await;
    for i in 0..50 {
        let append = store.append(at(lamp, NOW + Span(i)));
        // Polled once: it is in the queue, and nobody waits for it any more.
        let gone = tokio::time::timeout(std::time::Duration::ZERO, append).await;
        drop(gone);
    }
    store.append(at(lamp, NOW + Span(1000))).await.unwrap();
    let all = async |store: &Store| store.telemetry(lamp, None, NOW, NOW + HOUR, 100).await.unwrap().0;
    let before = all(&store).await;
    assert!(before.len() > 1, "what was handed in is there");
    drop(store);
    assert_eq!(all(&folder.open().await.unwrap()).await, before, "memory and disk agree");
}
