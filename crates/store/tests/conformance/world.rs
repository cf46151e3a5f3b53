//! A store of one engine that can be closed and opened again, and things to put into it.

use motehub_domain::artifact::{Artifact, ArtifactKind, Digest};
use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::deployment::{Cause, Deployment, DeploymentState, Task, TaskState};
use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{DeploymentId, DeviceId, Id};
use motehub_domain::job::{Job, Status};
use motehub_domain::line::{Address, Line};
use motehub_domain::script::{Language, Script, ScriptVersion, Syntax};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Measured, Store, StoreError, StoreUrl};

pub(crate) const NOW: Time = Time(1_763_690_400_000);

/// Has PostgreSQL say what it says when its disk is full.
const FILL: &str = "create function no_space() returns trigger language plpgsql as
    $$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
    do $$ declare name text; begin
        for name in select tablename from pg_tables where schemaname = 'public' and tablename <> 'presence' loop
            execute format('create trigger no_space before insert on %I execute function no_space()', name);
        end loop;
    end $$";

pub(crate) struct World {
    pub(crate) store: Store,
    url: StoreUrl,
    /// Where a file is.
    _folder: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) async fn memory() -> Self {
        Self::at(StoreUrl::Memory, None).await
    }

    pub(crate) async fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(StoreUrl::Sqlite(folder.path().join("motehub.db")), Some(folder)).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::at(StoreUrl::parse(&servers::Postgres::database()).unwrap(), None).await
    }

    async fn at(url: StoreUrl, folder: Option<tempfile::TempDir>) -> Self {
        Self { store: Store::open(&url).await.unwrap(), url, _folder: folder }
    }

    /// Closes and opens again; nothing happens where nothing survives that.
    pub(crate) async fn reopen(&mut self) {
        if self.url != StoreUrl::Memory {
            self.store = Store::open(&StoreUrl::Memory).await.unwrap();
            self.store = Store::open(&self.url).await.unwrap();
        }
    }

    /// Another store on the same database, as another process has it.
    pub(crate) async fn other(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    /// What PostgreSQL says to a statement.
    pub(crate) fn sql(&self, text: &str) -> String {
        match &self.url {
            StoreUrl::Postgres(url) => servers::Postgres::shared_psql(url.database(), text),
            StoreUrl::Sqlite(_) | StoreUrl::Memory => panic!("not on PostgreSQL"),
        }
    }

    /// From now on there is no space, except for presence, which needs none.
    pub(crate) async fn fill_disk(&self) {
        match &self.url {
            StoreUrl::Postgres(url) => {
                servers::Postgres::shared_psql(url.database(), FILL);
            }
            StoreUrl::Sqlite(_) | StoreUrl::Memory => self.store.limit_pages(1).await.unwrap(),
        }
    }

    /// There is space again.
    pub(crate) async fn free_disk(&self) {
        match &self.url {
            StoreUrl::Postgres(url) => {
                servers::Postgres::shared_psql(url.database(), "drop function no_space cascade");
            }
            StoreUrl::Sqlite(_) | StoreUrl::Memory => self.store.limit_pages(1_000_000).await.unwrap(),
        }
    }

    pub(crate) async fn save(&self, save: impl Into<Vec<Save>>) -> Result<(), StoreError> {
        self.save_at(NOW, save).await
    }

    pub(crate) async fn save_at(&self, now: Time, save: impl Into<Vec<Save>>) -> Result<(), StoreError> {
        let effects = Effects { save: save.into(), ..Effects::none() };
        self.store.commit(&effects, now).await.map(drop)
    }

    pub(crate) async fn device(&self, number: u128) -> Device {
        let device = device(number);
        self.save([Save::Device(Box::new(device.clone()))]).await.unwrap();
        device
    }

    pub(crate) async fn script(&self, number: u128) -> Script {
        self.script_of(number, digest(1)).await
    }

    pub(crate) async fn script_of(&self, number: u128, digest: Digest) -> Script {
        let script = script(number);
        let version = ScriptVersion {
            script: script.id,
            version: 1,
            author: "Ada".into(),
            created_at: NOW,
            digest,
            size_bytes: 10,
            comment: "first".into(),
            syntax: Syntax::Good,
        };
        let save = [Save::Script(Box::new(script.clone())), Save::Version(Box::new(version))];
        self.save(save).await.unwrap();
        self.store.script(script.id).await.unwrap().unwrap()
    }

    pub(crate) async fn append(&self, measured: impl Into<Vec<Measured>>) -> motehub_store::Appended {
        self.store.append(measured.into()).await.unwrap()
    }

    /// Stores two batches of which neither is on disk when the other comes. Gives how many points were stored.
    pub(crate) async fn append_both(&self, one: Measured, other: Measured) -> usize {
        let holder = self.store.hold_writer().await.unwrap();
        let (one, other, ()) = tokio::join!(
            self.store.append(vec![one]),
            self.store.append(vec![other]),
            // Asked for last: both are in the queue then.
            async { drop(holder) },
        );
        one.unwrap().stored + other.unwrap().stored
    }

    /// All points of a device as (metric, time, value).
    pub(crate) async fn points(&self, device: DeviceId) -> Vec<(String, i64, PointValue)> {
        let range = (Time(i64::MIN), Time(i64::MAX));
        let (samples, more) = self.store.telemetry(device, None, range.0, range.1, 100_000).await.unwrap();
        assert!(!more);
        let point = |s: motehub_store::Sample| (s.metric.as_str().to_owned(), s.time.0, s.value);
        samples.into_iter().map(point).collect()
    }
}

pub(crate) fn id<Kind>(number: u128) -> Id<Kind> {
    Id::from_parts(1_763_000_000_000 + number as u64, number)
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

pub(crate) fn device(number: u128) -> Device {
    Device {
        id: id(number),
        name: format!("Lamp {number}"),
        description: "in the <b>kitchen</b>".into(),
        dialect: Dialect::Nodemcu,
        external_id: Some((1000 + number).to_string()),
        tags: vec!["kitchen".into()],
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: Address::parse("address", "192.168.1.20").ok().map(|address| Box::new(Line::at(address))),
        created_at: NOW,
        revision: 1,
    }
}

pub(crate) fn script(number: u128) -> Script {
    Script {
        id: id(number),
        number: 0,
        name: format!("Blink {number}"),
        description: "blinks".into(),
        category: "light".into(),
        language: Language::Lua,
        requires: Vec::new(),
        latest_version: 1,
        created_at: NOW,
        updated_at: NOW,
        revision: 1,
    }
}

pub(crate) fn artifact(script: u128, version: i64) -> Artifact {
    Artifact {
        kind: ArtifactKind::Script { script: id(script), version },
        digest: digest(version as u8),
        size_bytes: 10 * version,
    }
}

pub(crate) fn deployment(number: u128, cause: Cause) -> Deployment {
    Deployment {
        id: id(number),
        cause,
        selector: Some("tag=kitchen".into()),
        state: DeploymentState::Running,
        health_window: Span::seconds(30),
        title: "climate v1".into(),
        created_by: "Ada".into(),
        created_at: NOW,
        ended_at: None,
        revision: 1,
    }
}

pub(crate) fn task(deployment: DeploymentId, device: DeviceId, state: TaskState) -> Task {
    Task {
        deployment,
        device,
        artifact: artifact(1, 2),
        previous: Some(artifact(1, 1)),
        state,
        reason: Some("because".into()),
        traceback: Some("init.lua:3: boom".into()),
        tries: 3,
        health_window: Span::seconds(30),
        created_at: NOW,
        updated_at: NOW + Span::seconds(1),
        deadline: state.is_open().then_some(NOW + Span::seconds(20)),
        job: job(state),
        revision: 1,
    }
}

/// Of a task that waits nothing was said yet.
fn job(state: TaskState) -> Job {
    if state == TaskState::Waiting {
        return Job::default();
    }
    Job {
        number: 2,
        version: 7,
        said: Some(Status::InProgress),
        details: [("step".to_owned(), "\"40 %\"".to_owned())].into(),
        started_at: Some(NOW),
        said_at: Some(NOW + Span::seconds(1)),
        step_ends_at: None,
    }
}

pub(crate) fn change(kind: ChangeKind, subject: &str) -> Change {
    Change {
        actor: Actor::User("Ada".into()),
        kind,
        subject: subject.into(),
        subject_name: format!("name of {subject}"),
        device: None,
        before: None,
        after: Some(serde_json::json!({ "a": [1, "<b>"] })),
    }
}

pub(crate) fn point(metric: &str, time: Option<i64>, value: f64) -> Point {
    let time = time.map_or(When::ARRIVAL, |ms| When::At(Time(ms)));
    Point { metric: Metric::parse(metric).unwrap(), time, value: PointValue::Number(value) }
}

pub(crate) fn measured(device: DeviceId, arrived: i64, points: Vec<Point>) -> Measured {
    Measured { device, arrived: Time(arrived), mark: None, again: false, points }
}
