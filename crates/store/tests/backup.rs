//! Copies of a store that is in use, and what is said of copies that are not whole.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::fs;
use std::path::PathBuf;

use motehub_domain::effects::{Effects, Save};
use motehub_store::{
    Attached, BackupError, BackupFacts, Store, StoreError, StoreUrl, take_backup, unpack_backup,
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn open(&self, name: &str) -> Store {
        Store::open(&StoreUrl::Sqlite(self.at(name))).await.unwrap()
    }

    fn take(&self, attached: &[Attached]) -> Result<BackupFacts, BackupError> {
        take_backup(&self.at("motehub.db"), attached, &self.at("copy"), &mut |_, _| {})
    }

    fn unpack(&self) -> Result<Vec<Attached>, BackupError> {
        unpack_backup(&self.at("copy"), &self.at("back.db")).map(|(_, attached)| attached)
    }

    /// What the restored store says.
    async fn back(&self) -> Store {
        self.unpack().unwrap();
        self.open("back.db").await
    }
}

async fn note(store: &Store, key: &str, body: &[u8]) {
    let save = vec![Save::Note(key.to_owned(), Some(body.to_vec()))];
    let effects = Effects { save, ..Effects::none() };
    store.commit(&effects, motehub_domain::time::Time(1)).await.unwrap();
}

fn key_file() -> Vec<Attached> {
    vec![Attached { path: "tls/ca.key".into(), mode: 0o600, body: b"secret".to_vec() }]
}

#[tokio::test]
async fn a_copy_is_of_one_moment_while_others_write() {
    let folder = Folder::new();
    let store = folder.open("motehub.db").await;
    for n in 0..200 {
        note(&store, &format!("n{n:04}"), &[7; 20_000]).await;
    }
    note(&store, "when", b"before").await;
    // The first word about the progress comes in the middle: what is written then is not in the copy.
    let (database, copy) = (folder.at("motehub.db"), folder.at("copy"));
    let handle = tokio::runtime::Handle::current();
    let writer = store.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let mut steps = 0;
        let facts = take_backup(&database, &key_file(), &copy, &mut |done, all| {
            steps += 1;
            assert!(done <= all);
            handle.block_on(note(&writer, "when", b"meanwhile"));
            handle.block_on(note(&writer, &format!("n{steps:04}"), &[8; 20_000]));
        });
        facts.map(|facts| (facts, steps))
    });
    let (facts, steps) = taken.await.unwrap().unwrap();
    assert!(steps > 0);
    assert_eq!(facts.size_bytes, fs::metadata(folder.at("copy")).unwrap().len());
    assert_eq!(store.note("when").await.unwrap().as_deref(), Some(&b"meanwhile"[..]));
    assert_eq!(folder.unpack().unwrap(), key_file());
    let back = folder.open("back.db").await;
    assert_eq!(back.note("when").await.unwrap().as_deref(), Some(&b"before"[..]));
    assert_eq!(back.note("n0001").await.unwrap().as_deref(), Some(&[7; 20_000][..]));
    back.check().await.unwrap();
    note(&back, "when", b"afterwards").await;
}

#[tokio::test]
async fn a_copy_is_private_and_never_replaces_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let _store = folder.open("motehub.db").await;
    folder.take(&[]).unwrap();
    assert_eq!(fs::metadata(folder.at("copy")).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(folder.at("copy")).unwrap();
    assert!(matches!(folder.take(&[]), Err(BackupError::File { .. })));
    assert_eq!(fs::read(folder.at("copy")).unwrap(), before);
    folder.back().await;
    assert_eq!(fs::metadata(folder.at("back.db")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn whatever_byte_is_wrong_or_missing_nothing_is_restored() {
    let folder = Folder::new();
    let store = folder.open("motehub.db").await;
    note(&store, "name", b"lamp").await;
    folder.take(&key_file()).unwrap();
    let good = fs::read(folder.at("copy")).unwrap();
    let end = good.len();
    let refused = |bytes: &[u8]| {
        fs::write(folder.at("copy"), bytes).unwrap();
        let error = folder.unpack().expect_err("it is not whole");
        assert!(!folder.at("back.db").exists(), "{error}");
        error
    };
    for position in (0..end).step_by(end / 50).chain(end - 90..end) {
        let mut bytes = good.clone();
        bytes[position] ^= 1;
        let error = refused(&bytes);
        assert!(matches!(error, BackupError::Damaged(_) | BackupError::Incomplete(_)), "{position}: {error}");
    }
    for length in [0, 1, 88, 89, 4096, end / 2, end - 1] {
        assert!(matches!(refused(&good[..length]), BackupError::Incomplete(_)), "{length}");
    }
    assert!(matches!(refused(&[&good[..], b"\n"].concat()), BackupError::Incomplete(_)));
    fs::write(folder.at("copy"), &good).unwrap();
    assert_eq!(folder.back().await.note("name").await.unwrap().as_deref(), Some(&b"lamp"[..]));
}

#[tokio::test]
async fn a_copy_of_a_newer_database_is_refused_and_so_are_other_files() {
    let folder = Folder::new();
    drop(folder.open("motehub.db").await);
    let tamper = |sql: &str| rusqlite::Connection::open(folder.at("motehub.db")).unwrap().execute_batch(sql);
    tamper("insert into migrations (number, checksum) values (99, 'x')").unwrap();
    let newer = folder.take(&[]).unwrap_err();
    assert!(matches!(newer, BackupError::Store(StoreError::Newer { found: 99, .. })), "{newer}");
    assert!(!folder.at("copy").exists(), "nothing is left of it");
    fs::write(folder.at("motehub.db"), "").unwrap();
    assert!(matches!(folder.take(&[]), Err(BackupError::Store(StoreError::Foreign))));
    fs::remove_file(folder.at("motehub.db")).unwrap();
    assert!(folder.take(&[]).unwrap_err().to_string().contains("motehub.db"));
}

#[tokio::test]
async fn a_file_beside_the_database_that_is_none_is_named() {
    let folder = Folder::new();
    let _store = folder.open("motehub.db").await;
    let attached = |path: &str, size| vec![Attached { path: path.into(), mode: 0o600, body: vec![0; size] }];
    for (path, size) in [("../x", 1), ("large", 1024 * 1024 + 1)] {
        let error = folder.take(&attached(path, size)).unwrap_err();
        assert!(error.to_string().starts_with(path), "{error}");
        assert!(!folder.at("copy").exists());
    }
}
