//! One device's way from one firmware to another, told as stories: what happens, and how the task stands then.

use motehub_domain::artifact::{Artifact, Digest};
use motehub_domain::change::Actor;
use motehub_domain::deployment::{self, Cause, DEADLINE, Request, Target, Task, TaskState};
use motehub_domain::device::{Device, Dialect, Software};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::firmware::{Firmware, Label};
use motehub_domain::id::{DeploymentId, DeviceId, FirmwareId};
use motehub_domain::message::{Downlink, FirmwareSignal};
use motehub_domain::rollout::{self, firmware};
use motehub_domain::time::{Span, Time};

/// What happens in a story.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The device begins to take the bytes, or goes on.
    Transfers,
    /// It has all of them and starts anew.
    HasAll,
    /// It starts with this version.
    Starts(&'static str),
    /// It starts with this version on trial.
    StartsOnTrial(&'static str),
    /// It starts with this version, which stays.
    StartsForGood(&'static str),
    /// It says that it keeps what it runs.
    Commits,
    /// It says that it does not take it, or does not go back.
    Fails,
    /// A person wants it back on what it ran before.
    AskedBack,
    /// It comes online.
    Comes,
    /// It goes away.
    Goes,
    /// The power is cut while it takes the bytes; then it starts with 1.1 as before.
    IsCutOff,
    /// So many seconds pass.
    Passes(i64),
}
use Event::{
    AskedBack, Comes, Commits, Fails, Goes, HasAll, IsCutOff, Passes, Starts, StartsForGood, StartsOnTrial,
    Transfers,
};

struct World {
    now: Time,
    device: Device,
    software: Software,
    online: bool,
    tasks: Vec<Task>,
    said: Vec<&'static str>,
}

fn image(number: u8) -> Firmware {
    let [name, version, platform] = ["light".to_owned(), format!("1.{number}"), "esp32".to_owned()];
    Firmware {
        id: FirmwareId::from_parts(1, u128::from(number)),
        label: Label { name, version, platform, build: String::new() },
        digest: Digest([number; 32]),
        size_bytes: 1000,
        manifest: None,
        notes: String::new(),
        created_by: "Ada".to_owned(),
        created_at: Time(0),
        revision: 1,
    }
}

impl World {
    fn new() -> Self {
        let id = DeviceId::from_parts(1, 7);
        let device = Device {
            id,
            name: "light".into(),
            description: String::new(),
            dialect: Dialect::Native,
            external_id: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            unauthenticated_allowed: false,
            allowed_from: None,
            silence_max: None,
            line: None,
            created_at: Time(0),
            revision: 1,
        };
        let software = Software { firmware: Some(image(1).artifact()), ..Software::none(id) };
        Self { now: Time(1_000_000), device, software, online: true, tasks: Vec::new(), said: Vec::new() }
    }

    fn target(&self) -> Target {
        Target {
            device: self.device.clone(),
            software: self.software.clone(),
            online: self.online,
            open: self.tasks.iter().find(|task| task.state.is_open()).cloned(),
            free_memory: None,
            quarantined: Vec::new(),
        }
    }

    fn apply(&mut self, effects: Effects) {
        self.said.extend(effects.send.iter().map(|(_, downlink)| match downlink {
            Downlink::Offer(_) => "offer",
            Downlink::Commit(_) => "commit",
            Downlink::Revert(_) => "revert",
            Downlink::Cancel(_) => "cancel",
            Downlink::Credential(_)
            | Downlink::Command(_)
            | Downlink::Delta(_)
            | Downlink::Passed(_)
            | Downlink::Shadow(_) => "something else",
        }));
        for save in effects.save {
            match save {
                Save::Software(next) => {
                    assert_eq!(next.revision, self.software.revision + 1, "the guard of software");
                    self.software = *next;
                }
                Save::Task(next) => match self.tasks.iter_mut().find(|t| t.deployment == next.deployment) {
                    Some(known) => {
                        assert_eq!(next.revision, known.revision + 1, "the guard of a task");
                        *known = *next;
                    }
                    None => self.tasks.push(*next),
                },
                Save::Deployment(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn deploy(&mut self, number: u8) {
        let artifact = image(number).artifact();
        let id = DeploymentId::from_parts(1, u128::from(number));
        let (title, cause) = (image(number).title(), Cause::Asked(artifact));
        let request = Request { title, cause, selector: None, health_window: None };
        let (targets, actor) = (vec![(self.target(), artifact)], Actor::User("Ada".into()));
        let begun = deployment::begin(id, &request, targets, Vec::new(), &actor, self.now);
        self.apply(begun.expect("it can begin").1);
    }

    fn signal(&mut self, signal: &FirmwareSignal) {
        let target = self.target();
        let number = |artifact: Artifact| artifact.digest.0[0];
        let of = target.open.as_ref().map(|task| image(number(task.artifact)));
        let found = match signal {
            FirmwareSignal::Started { version, .. } => {
                (1..9).map(image).find(|image| image.label.version == *version).map(|image| image.artifact())
            }
            _ => None,
        };
        let effects = firmware::signalled(target, of.as_ref(), found, signal, self.now);
        self.apply(effects);
    }

    fn happens(&mut self, event: Event) {
        let started = |version: &str, committed| FirmwareSignal::Started {
            name: Some("light".to_owned()),
            version: version.to_owned(),
            build: None,
            committed,
        };
        match event {
            Transfers => self.signal(&FirmwareSignal::Transferring(None)),
            HasAll => self.signal(&FirmwareSignal::Transferred),
            Starts(version) => self.signal(&started(version, None)),
            StartsOnTrial(version) => self.signal(&started(version, Some(false))),
            StartsForGood(version) => self.signal(&started(version, Some(true))),
            Commits => self.signal(&FirmwareSignal::Committed),
            Fails => self.signal(&FirmwareSignal::Failed("wrong platform".to_owned())),
            AskedBack => {
                let asked = firmware::revert(self.target(), &Actor::User("Ada".into()), self.now);
                self.apply(asked.expect("it is on trial"));
            }
            Comes => {
                self.online = true;
                self.apply(rollout::connected(self.target(), self.now));
            }
            Goes => self.online = false,
            IsCutOff => {
                for event in [Transfers, Goes, Comes, Starts("1.1")] {
                    self.happens(event);
                }
            }
            Passes(seconds) => {
                let end = self.now + Span::seconds(seconds);
                while let Some(due) =
                    self.tasks.iter().filter_map(|t| t.deadline).filter(|at| *at <= end).min()
                {
                    self.now = self.now.max(due);
                    let task =
                        self.tasks.iter().find(|t| t.deadline == Some(due)).cloned().expect("it is due");
                    self.apply(rollout::elapsed(self.target(), &task, self.now));
                }
                self.now = end;
            }
        }
    }
}

/// What happens after 1.2 was deployed to a device that runs 1.1, and how it ends: state, what was said, which
/// firmware it has, a part of the reason.
type Story = (&'static str, &'static [Event], TaskState, &'static [&'static str], u8, &'static str);

#[test]
fn a_task_ends_as_what_the_device_shows_that_it_is() {
    use TaskState::{
        Applying, Confirming, Done, Failed, Fetching, Offered, Reverted, RolledBack, TimedOut, Waiting,
    };
    const MINUTE: i64 = 60;
    const WEEK: i64 = DEADLINE.0 / 1000;
    const STORIES: &[Story] = &[
        ("it is offered", &[], Offered, &["offer"], 1, ""),
        (
            "it is offered again, less and less often",
            &[Passes(10 * MINUTE)],
            Offered,
            &["offer"; 5],
            1,
            "did not begin",
        ),
        ("it takes it", &[Transfers, Transfers], Fetching, &["offer"], 1, ""),
        ("it has it", &[Transfers, HasAll, Goes], Applying, &["offer"], 1, ""),
        (
            "a word of success without a start is none",
            &[Transfers, HasAll, Commits],
            Applying,
            &["offer"],
            1,
            "",
        ),
        ("it runs it", &[Transfers, HasAll, Goes, Comes, Starts("1.2")], Confirming, &["offer"], 2, ""),
        ("and stays", &[Transfers, HasAll, Goes, Comes, Starts("1.2"), Passes(30)], Done, &["offer"], 2, ""),
        (
            "it is on trial: told to commit, and does",
            &[Transfers, HasAll, Goes, Comes, StartsOnTrial("1.2"), Passes(30), Commits],
            Done,
            &["offer", "commit"],
            2,
            "",
        ),
        (
            "it commits by itself within the window",
            &[Transfers, HasAll, Goes, Comes, StartsOnTrial("1.2"), Passes(5), Commits],
            Done,
            &["offer"],
            2,
            "",
        ),
        (
            "on trial, it is wanted back, and goes",
            &[Transfers, HasAll, Goes, Comes, StartsOnTrial("1.2"), AskedBack, Goes, Comes, Starts("1.1")],
            RolledBack,
            &["offer", "revert"],
            1,
            "",
        ),
        (
            "it starts with it once more: it is told again, and its word that it keeps it is none",
            &[
                Transfers,
                HasAll,
                StartsOnTrial("1.2"),
                AskedBack,
                Goes,
                Comes,
                StartsOnTrial("1.2"),
                Commits,
                Passes(MINUTE),
                StartsForGood("1.1"),
            ],
            RolledBack,
            &["offer", "revert", "revert", "revert"],
            1,
            "",
        ),
        (
            "it does not go back, however often it is told",
            &[Transfers, HasAll, StartsOnTrial("1.2"), AskedBack, Passes(5 * MINUTE)],
            Failed,
            &["offer", "revert", "revert", "revert"],
            2,
            "told to go back and did not",
        ),
        (
            "it says that it does not go back",
            &[Transfers, HasAll, StartsOnTrial("1.2"), AskedBack, Fails],
            Failed,
            &["offer", "revert"],
            2,
            "",
        ),
        (
            "the commit is lost: it is told again, and then not for ever",
            &[Transfers, HasAll, Goes, Comes, StartsOnTrial("1.2"), Passes(5 * MINUTE)],
            TimedOut,
            &["offer", "commit", "commit", "commit"],
            2,
            "did not answer that it keeps it",
        ),
        (
            "it tries it and goes back",
            &[Transfers, HasAll, Goes, Comes, StartsOnTrial("1.2"), Passes(5), Goes, Comes, Starts("1.1")],
            Reverted,
            &["offer"],
            1,
            "is back on 1.1",
        ),
        (
            "it never reached us with it and goes back",
            &[Transfers, HasAll, Goes, Passes(6 * MINUTE), Comes, Starts("1.1"), Passes(MINUTE)],
            Reverted,
            &["offer"],
            1,
            "back on its former version",
        ),
        (
            "it connects once more before it starts anew",
            &[
                Transfers,
                HasAll,
                Goes,
                Comes,
                Starts("1.1"),
                Goes,
                Passes(MINUTE),
                Comes,
                Starts("1.2"),
                Passes(30),
            ],
            Done,
            &["offer"],
            2,
            "",
        ),
        (
            "it is silent after it",
            &[Transfers, HasAll, Goes, Passes(16 * MINUTE)],
            TimedOut,
            &["offer"],
            1,
            "silent since",
        ),
        (
            "it starts with it and is gone",
            &[Transfers, HasAll, Goes, Comes, Starts("1.2"), Goes, Passes(20 * MINUTE)],
            TimedOut,
            &["offer"],
            2,
            "gone since",
        ),
        (
            "the power is cut while it takes it",
            &[Transfers, Goes, Passes(MINUTE), Comes, Starts("1.1")],
            Offered,
            &["offer", "offer"],
            1,
            "",
        ),
        (
            "and again and again",
            &[IsCutOff, IsCutOff, IsCutOff],
            Failed,
            &["offer"; 3],
            1,
            "needs attention: it was cut off 3 times",
        ),
        (
            "it is back in the middle and does not say what it runs",
            &[Transfers, Goes, Comes, Passes(MINUTE)],
            Offered,
            &["offer", "offer"],
            1,
            "",
        ),
        (
            "it was away for long in the middle",
            &[Transfers, Goes, Passes(10 * MINUTE), Comes, Starts("1.1")],
            Offered,
            &["offer", "offer"],
            1,
            "cut off",
        ),
        (
            "that it has all of it was lost: it is not offered to one that runs it",
            &[IsCutOff, IsCutOff, Transfers, Goes, Comes, Starts("1.2")],
            Confirming,
            &["offer"; 3],
            2,
            "",
        ),
        (
            "the answer to the commit is lost with the connection",
            &[
                Transfers,
                HasAll,
                Goes,
                Comes,
                StartsOnTrial("1.2"),
                Passes(30),
                Goes,
                Comes,
                StartsForGood("1.2"),
            ],
            Done,
            &["offer", "commit"],
            2,
            "",
        ),
        (
            "it stays away in the middle",
            &[Transfers, Goes, Passes(10 * MINUTE)],
            Waiting,
            &["offer"],
            1,
            "offered again when it is back",
        ),
        (
            "it falls silent in the middle and is there",
            &[Transfers, Passes(5 * MINUTE)],
            Offered,
            &["offer", "offer"],
            1,
            "fell silent",
        ),
        ("it refuses it", &[Transfers, Fails], Failed, &["offer"], 1, "wrong platform"),
        ("it never comes", &[Goes, Passes(WEEK)], TimedOut, &["offer"], 1, "within 7 days"),
        (
            "it starts again and again with it",
            &[Transfers, HasAll, Starts("1.2"), Starts("1.2"), Starts("1.2"), Starts("1.2")],
            Failed,
            &["offer"],
            2,
            "needs attention: it started 4 times",
        ),
        ("it has it already", &[Starts("1.2"), Passes(30)], Done, &["offer"], 2, ""),
        ("another version of its own", &[Starts("0.9")], Offered, &["offer"], 0, ""),
    ];
    for (story, events, state, said, runs, why) in STORIES {
        let mut world = World::new();
        world.deploy(2);
        for event in *events {
            world.happens(*event);
        }
        let task = &world.tasks[0];
        assert_eq!(task.state, *state, "{story}: {:?}", task.reason);
        assert_eq!(world.said, *said, "{story}");
        let reason = task.reason.clone().unwrap_or_default();
        assert!(reason.contains(why), "{story}: {reason:?}");
        let firmware = world.software.firmware.map_or(0, |artifact| artifact.digest.0[0]);
        assert_eq!(firmware, *runs, "{story}: what it runs");
        let is_good = state.is_open() || [Done, RolledBack].contains(state);
        assert_eq!(world.software.problem.is_none(), is_good, "{story}: {:?}", world.software.problem);
        assert_eq!(task.deadline.is_some(), state.is_open(), "{story}: a task that ended has no deadline");
    }
}

#[test]
fn the_way_back_leads_to_the_former_firmware() {
    let mut world = World::new();
    world.deploy(2);
    [Transfers, HasAll, Starts("1.2"), Passes(30)].into_iter().for_each(|event| world.happens(event));
    let task = world.tasks[0].clone();
    assert_eq!(deployment::way_back(&task, &world.software), Some(image(1).artifact()));
    assert_eq!((world.software.running, world.software.active), (None, None), "scripts are another matter");
}

#[test]
fn boards_that_are_flashed_by_cable_are_given_no_firmware() {
    let mut world = World::new();
    world.device.dialect = Dialect::Nodemcu;
    world.deploy(2);
    let task = &world.tasks[0];
    assert_eq!((task.state, world.said.len()), (TaskState::Failed, 0));
    assert!(task.reason.as_deref().unwrap_or_default().contains("flashed by cable"), "{:?}", task.reason);
}

#[test]
fn a_firmware_that_is_on_trial_is_not_cancelled() {
    let mut world = World::new();
    world.deploy(2);
    [Transfers, HasAll].into_iter().for_each(|event| world.happens(event));
    for event in [Starts("1.2"), Passes(1)] {
        let task = world.tasks[0].clone();
        let actor = Actor::User("Ada".into());
        let refused = deployment::cancel_task(world.target(), &task, &actor, world.now).unwrap_err();
        assert!(refused.sentence.contains("roll it back instead"), "{refused}");
        world.happens(event);
    }
}

#[test]
fn only_what_is_on_trial_can_be_told_to_go_back() {
    let asks = |events: &[Event]| {
        let mut world = World::new();
        world.deploy(2);
        events.iter().for_each(|event| world.happens(*event));
        firmware::revert(world.target(), &Actor::User("Ada".into()), world.now)
            .map_err(|refused| refused.code)
    };
    for events in [&[] as &[Event], &[Transfers, HasAll], &[Starts("1.2")], &[Starts("1.2"), Passes(30)]] {
        assert_eq!(asks(events), Err("conflict"), "{events:?}");
    }
    let effects = asks(&[StartsOnTrial("1.2")]).expect("it is on trial");
    let who: Vec<&str> = effects.changes.iter().map(|change| change.actor.name()).collect();
    assert_eq!(who, ["Ada"], "the activity says who wanted that");
}
