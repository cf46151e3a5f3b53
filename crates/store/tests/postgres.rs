//! PostgreSQL that is not what it should be, that goes away, or that several processes use at once.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::time::{Duration, Instant};

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::time::Time;
use motehub_store::{ChangeQuery, Store, StoreError, StoreUrl};
use servers::Postgres;

const NOW: Time = Time(1_763_690_400_000);
/// What is done to a server.
type Deed = fn(&Postgres);
/// Longer than anything may take while the server is away.
const HANG_MAX: Duration = Duration::from_secs(20);
/// How long the store may take to find that the server is back, on a busy machine.
const BACK_MAX: Duration = Duration::from_secs(60);

fn url(text: &str) -> StoreUrl {
    StoreUrl::parse(text).unwrap()
}

async fn open(text: &str) -> Store {
    Store::open(&url(text)).await.unwrap()
}

fn note(key: &str) -> Effects {
    Effects { save: vec![Save::Note(key.into(), Some(b"x".to_vec()))], ..Effects::none() }
}

fn fact(subject: &str) -> Effects {
    let change = Change {
        actor: Actor::System,
        kind: ChangeKind::DeviceOnline,
        subject: subject.into(),
        subject_name: String::new(),
        device: None,
        before: None,
        after: None,
    };
    Effects { changes: vec![change], ..Effects::none() }
}

/// What opening says; it has no password in it.
async fn refusal(text: &str) -> String {
    let refused = Store::open(&url(text)).await.expect_err(text).to_string();
    assert!(!refused.contains("s3cret"), "{refused}");
    refused
}

/// The address of a server without its database.
fn server(url: &str) -> &str {
    url.rsplit_once('/').unwrap().0
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said() {
    let ours = Postgres::database();
    let sql = |sql: &str| Postgres::shared_psql(&ours, sql);
    sql("create role locked login password 'other'");
    let port = ours.rsplit(':').next().unwrap().split('/').next().unwrap();
    let name = ours.rsplit('/').next().unwrap();
    let here = server(&ours);
    for (wrong, words) in [
        (format!("postgres://locked:s3cret@127.0.0.1:{port}/{name}"), "refuses the password of user locked"),
        (format!("postgres://locked@127.0.0.1:{port}/{name}"), "asks for a password of user locked"),
        (format!("{here}/nothing"), "has no database nothing"),
        (format!("postgres://ada:s3cret@127.0.0.1:{port}/{name}"), "ada"),
        ("postgres://ada:s3cret@127.0.0.1:1/hub".to_owned(), "nothing listens at 127.0.0.1:1"),
        ("postgres://ada:s3cret@nowhere.invalid/hub?sslmode=disable".to_owned(), "nowhere.invalid"),
        (format!("{ours}?sslmode=require"), "speaks no TLS"),
        (format!("{ours}?sslmode=verify-full&sslrootcert=/nowhere.pem"), "sslrootcert /nowhere.pem"),
    ] {
        let said = refusal(&wrong).await;
        assert!(said.contains(words), "{wrong}: {said}");
    }
    sql("create database ascii encoding 'SQL_ASCII' template template0 locale 'C'");
    assert!(refusal(&format!("{here}/ascii")).await.contains("UTF8"));
    sql("create table migrations (number bigint)");
    assert_eq!(Store::open(&url(&ours)).await.unwrap_err(), StoreError::Foreign);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let ours = Postgres::database();
    drop(open(&ours).await);
    Postgres::shared_psql(&ours, "insert into migrations values (99, 'x')");
    let refused = Store::open(&url(&ours)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
}

#[tokio::test]
async fn another_machine_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (good, bad) = (folder.path().join("good.pem"), folder.path().join("bad.pem"));
    std::fs::write(&good, made.cert.pem()).unwrap();
    std::fs::write(&bad, other.cert.pem()).unwrap();
    let server = Postgres::alone();
    server.put("server.crt", &made.cert.pem());
    server.put("server.key", &made.signing_key.serialize_pem());
    server.psql("postgres", "alter system set ssl = on");
    server.put("reload", "");
    let ours = server.new_database();
    let named = ours.replace("127.0.0.1", "localhost");
    let with = |url: &str, file: &std::path::Path| {
        format!("{url}?sslmode=verify-full&sslrootcert={}", file.display())
    };
    open(&with(&named, &good)).await.check().await.unwrap();
    open(&format!("{ours}?sslmode=require")).await.check().await.unwrap();
    assert!(refusal(&with(&named, &bad)).await.contains("certificate"));
    assert!(refusal(&with(&ours, &good)).await.contains("certificate"), "another name");
}

#[tokio::test]
async fn nodes_that_start_together_migrate_once() {
    let ours = Postgres::database();
    let opened = tokio::join!(open(&ours), open(&ours), open(&ours), open(&ours));
    opened.0.commit(&note("a"), NOW).await.unwrap();
    assert_eq!(opened.3.note("a").await.unwrap().as_deref(), Some(b"x".as_slice()));
    assert!(opened.1.is_shared());
    assert!(opened.2.ahead(Time(0)).await.unwrap().0 > NOW.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_two_nodes_have_one_order_in_which_nothing_appears_late() {
    const EACH: usize = 150;
    let ours = Postgres::database();
    let (one, other, reader) = (open(&ours).await, open(&ours).await, open(&ours).await);
    let mut writers = tokio::task::JoinSet::new();
    for (name, store) in [("one", one), ("other", other)] {
        for part in 0..5 {
            let store = store.clone();
            writers.spawn(async move {
                for number in 0..EACH / 5 {
                    store.commit(&fact(&format!("{name} {part} {number}")), NOW).await.unwrap();
                }
            });
        }
    }
    let mut seen: Vec<i64> = Vec::new();
    while seen.len() < 2 * EACH {
        let after = seen.last().copied();
        let query = ChangeQuery { after, newest_first: false, limit: 1000, ..ChangeQuery::default() };
        seen.extend(reader.changes(query).await.unwrap().iter().map(|recorded| recorded.seq));
        if writers.is_empty() && seen.len() < 2 * EACH {
            panic!("a change appeared late: {} of {}", seen.len(), 2 * EACH);
        }
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn text_is_compared_byte_by_byte_whatever_the_database_thinks() {
    let ours = Postgres::database();
    Postgres::shared_psql(
        &ours,
        "create database german template template0 locale_provider icu icu_locale 'de' locale 'C'",
    );
    let store = open(&format!("{}/german", server(&ours))).await;
    for key in ["b", "B", "a", "Z", "ä", "_"] {
        store.commit(&note(key), NOW).await.unwrap();
    }
    let keys: Vec<String> = store.notes("").await.unwrap().into_iter().map(|note| note.0).collect();
    assert_eq!(keys, ["B", "Z", "_", "a", "b", "ä"]);
}

/// Notes one thing after the other, until it is refused; gives how many were acknowledged and what was said then.
async fn write_until_refused(store: &Store, from: usize) -> (usize, StoreError) {
    for number in from.. {
        let begun = Instant::now();
        if let Err(error) = store.commit(&note(&number.to_string()), NOW).await {
            assert!(begun.elapsed() < HANG_MAX, "nothing hangs: {:?}", begun.elapsed());
            return (number, error);
        }
    }
    unreachable!("it is refused some time")
}

/// Writes again as soon as that can be; gives the number of the next note.
async fn write_again(store: &Store, number: usize) -> usize {
    let begun = Instant::now();
    // A note whose commit was cut off may be there: it is written once more.
    while let Err(error) = store.commit(&note(&number.to_string()), NOW).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(begun.elapsed() < BACK_MAX, "{error}");
        tokio::task::yield_now().await;
    }
    number + 1
}

async fn all_are_there(store: &Store, count: usize) {
    let found = store.notes("").await.unwrap().len();
    assert!(found == count || found == count + 1, "{found} of {count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_hangs_while_the_server_is_away() {
    let server = Postgres::alone();
    let store = open(&server.new_database()).await;
    let mut number = 0;
    let ways: [(Deed, Deed); 3] = [
        (Postgres::stop, Postgres::start),
        (Postgres::kill, Postgres::start),
        (Postgres::freeze, Postgres::thaw),
    ];
    for (end, begin) in ways {
        let writing = {
            let store = store.clone();
            tokio::spawn(async move { write_until_refused(&store, number).await })
        };
        store.commit(&note("begun"), NOW).await.unwrap();
        tokio::task::block_in_place(|| end(&server));
        let (acknowledged, error) = writing.await.unwrap();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        let begun = Instant::now();
        assert!(store.notes("").await.is_err());
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "what is known is said at once: {:?}",
            begun.elapsed()
        );
        tokio::task::block_in_place(|| begin(&server));
        number = write_again(&store, acknowledged).await;
        all_are_there(&store, number + 1).await;
    }
}
