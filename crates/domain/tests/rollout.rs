//! One board's share of deployments, told as stories: what happens on the left, what the product says on the right.

use motehub_domain::artifact::{Artifact, ArtifactKind, Digest};
use motehub_domain::change::Actor;
use motehub_domain::deployment::{
    self, Cause, Deployment, DeploymentState, Request, Target, Task, TaskState,
};
use motehub_domain::device::{Device, Dialect, Software};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{DeploymentId, DeviceId, ScriptId};
use motehub_domain::rollout;
use motehub_domain::time::{Span, Time};

/// A store of one board, which checks the guards like the real one.
struct World {
    now: Time,
    device: Device,
    software: Software,
    online: bool,
    deployments: Vec<Deployment>,
    tasks: Vec<Task>,
    wakes: usize,
}

fn artifact(version: i64) -> Artifact {
    let digest = Digest([u8::try_from(version).expect("a small version"); 32]);
    let kind = ArtifactKind::Script { script: ScriptId::from_parts(1, 1), version };
    Artifact { kind, digest, size_bytes: 100 }
}

impl World {
    fn new() -> Self {
        let id = DeviceId::from_parts(1, 7);
        let device = Device {
            id,
            name: "lamp".into(),
            description: String::new(),
            dialect: Dialect::Nodemcu,
            external_id: Some("10801015".into()),
            tags: Vec::new(),
            capabilities: Vec::new(),
            unauthenticated_allowed: false,
            allowed_from: None,
            silence_max: None,
            line: None,
            created_at: Time(0),
            revision: 1,
        };
        let (deployments, tasks) = (Vec::new(), Vec::new());
        let software = Software::none(id);
        Self { now: Time(1_000_000), device, software, online: true, deployments, tasks, wakes: 0 }
    }

    fn target(&self) -> Target {
        let open = self.tasks.iter().find(|task| task.state.is_open()).cloned();
        Target {
            device: self.device.clone(),
            software: self.software.clone(),
            online: self.online,
            open,
            free_memory: None,
            quarantined: Vec::new(),
        }
    }

    fn apply(&mut self, effects: Effects) {
        self.wakes += effects.send.len();
        for save in effects.save {
            match save {
                Save::Software(next) => {
                    assert_eq!(next.revision, self.software.revision + 1, "the guard of software");
                    self.software = *next;
                }
                Save::Deployment(next) => match self.deployments.iter_mut().find(|d| d.id == next.id) {
                    Some(known) => {
                        assert_eq!(next.revision, known.revision + 1, "the guard of a deployment");
                        *known = *next;
                    }
                    None => self.deployments.push(*next),
                },
                Save::Task(next) => {
                    let known = self.tasks.iter_mut().find(|t| t.deployment == next.deployment);
                    match known {
                        Some(known) => {
                            assert_eq!(next.revision, known.revision + 1, "the guard of a task");
                            *known = *next;
                        }
                        None => self.tasks.push(*next),
                    }
                    let open = self.tasks.iter().filter(|task| task.state.is_open()).count();
                    assert!(open <= 1, "a device has at most one open task");
                }
                Save::Assign(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        self.aftermath();
    }

    /// What the shell decides in the same transaction.
    fn aftermath(&mut self) {
        for task in self.tasks.clone() {
            let Some(of) = self.deployments.iter().find(|d| d.id == task.deployment).cloned() else {
                continue;
            };
            let recovered = self.deployments.iter().any(|d| d.cause == Cause::Recovery(of.id));
            match (task.state, of.cause) {
                (TaskState::Failed, Cause::Asked(_) | Cause::Rollback(_)) if !recovered => {
                    let id = DeploymentId::from_parts(2, u128::from(self.deployments.len() as u64));
                    let mut target = self.target();
                    target.open = None;
                    let more = deployment::recover(id, &of, None, None, target, task.artifact, self.now);
                    if !more.is_empty() {
                        self.apply(more);
                    }
                }
                (TaskState::Done, Cause::Rollback(undone)) => {
                    let undone =
                        self.tasks.iter().find(|t| t.deployment == undone).cloned().expect("it was there");
                    let more = rollout::undone(&self.device, &undone, self.now);
                    if !more.is_empty() {
                        self.apply(more);
                    }
                }
                _ => {}
            }
        }
    }

    fn deploy(&mut self, version: i64) -> DeploymentId {
        self.begin(Cause::Asked(artifact(version)), artifact(version))
    }

    fn begin(&mut self, cause: Cause, artifact: Artifact) -> DeploymentId {
        let id = DeploymentId::from_parts(1, u128::from(self.deployments.len() as u64));
        let request = Request { title: "script v1".into(), cause, selector: None, health_window: None };
        let actor = Actor::User("Ada".into());
        let begun =
            deployment::begin(id, &request, vec![(self.target(), artifact)], Vec::new(), &actor, self.now);
        self.apply(begun.expect("it can begin").1);
        id
    }

    fn polls(&mut self) -> bool {
        let (waits, effects) = rollout::polled(self.target(), self.now);
        self.apply(effects);
        waits
    }

    fn takes(&mut self, version: i64) {
        self.apply(rollout::fetched(self.target(), artifact(version).digest, self.now));
    }

    fn passes(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(due) = self.tasks.iter().filter_map(|t| t.deadline).filter(|at| *at <= end).min() {
            self.now = self.now.max(due);
            let task = self.tasks.iter().find(|t| t.deadline == Some(due)).cloned().expect("it is due");
            self.apply(rollout::elapsed(self.target(), &task, self.now));
        }
        self.now = end;
    }

    fn installs(&mut self, version: i64) {
        assert!(self.polls(), "something waits");
        self.takes(version);
        self.passes(Span::seconds(3));
        assert!(!self.polls(), "it was taken");
    }

    fn state(&self, deployment: DeploymentId) -> TaskState {
        self.task(deployment).state
    }

    fn task(&self, deployment: DeploymentId) -> &Task {
        self.tasks.iter().find(|task| task.deployment == deployment).expect("it has a task")
    }
}

#[test]
fn a_version_is_done_when_the_board_ran_it_for_the_health_window() {
    let mut world = World::new();
    let first = world.deploy(1);
    assert_eq!(world.wakes, 1);
    assert_eq!(world.state(first), TaskState::Offered);
    assert!(world.polls());
    assert_eq!(world.state(first), TaskState::Fetching);
    world.takes(1);
    assert_eq!(world.state(first), TaskState::Applying);
    world.passes(Span::seconds(4));
    assert!(!world.polls());
    assert_eq!(world.software.running, Some(artifact(1)));
    world.passes(Span::seconds(29));
    assert_eq!(world.state(first), TaskState::Applying);
    world.passes(Span::seconds(1));
    assert_eq!(world.state(first), TaskState::Done);
    assert_eq!(world.software.good, Some(artifact(1)));
}

#[test]
fn the_flag_stays_until_the_download_was_taken() {
    let mut world = World::new();
    let first = world.deploy(1);
    for _ in 0..5 {
        assert!(world.polls(), "a power cut in the download: the board asks again");
        world.passes(Span::seconds(2));
    }
    assert_eq!(world.state(first), TaskState::Fetching);
    assert!(world.task(first).reason.as_ref().is_some_and(|why| why.contains("asked 5 times")));
    world.installs(1);
    world.passes(Span::seconds(31));
    assert_eq!(world.state(first), TaskState::Done);
}

#[test]
fn an_offline_board_gets_it_when_it_comes() {
    let mut world = World::new();
    world.online = false;
    let first = world.deploy(1);
    assert_eq!((world.state(first), world.wakes), (TaskState::Waiting, 0));
    world.passes(Span::days(2));
    assert_eq!(world.state(first), TaskState::Waiting);
    world.online = true;
    world.apply(rollout::connected(world.target(), world.now));
    assert_eq!(world.state(first), TaskState::Offered);
    assert_eq!(world.wakes, 0, "it polls by itself: a wake-up would make it run its program twice");
    world.installs(1);
    world.passes(Span::seconds(31));
    assert_eq!(world.state(first), TaskState::Done);
}

#[test]
fn a_board_that_never_comes_is_timed_out() {
    let mut world = World::new();
    world.online = false;
    let first = world.deploy(1);
    world.passes(Span::days(8));
    assert_eq!(world.state(first), TaskState::TimedOut);
    assert_eq!(world.software.pending, None);

    // Tried again, it has its days anew.
    let failed = vec![(world.target(), world.task(first).clone())];
    let again = deployment::retry(&world.deployments[0], failed, &Actor::System, world.now);
    world.apply(again.expect("it ended badly"));
    world.passes(Span::days(2));
    assert_eq!(world.state(first), TaskState::Waiting);
}

#[test]
fn a_boot_loop_fails_and_the_last_good_version_comes_back_by_itself() {
    let mut world = World::new();
    world.deploy(1);
    world.installs(1);
    world.passes(Span::seconds(31));
    let second = world.deploy(2);
    world.installs(2);
    world.passes(Span::seconds(2));
    assert!(!world.polls(), "second start");
    world.passes(Span::seconds(2));
    world.polls();
    assert_eq!(world.state(second), TaskState::Failed);
    assert!(
        world
            .task(second)
            .reason
            .as_ref()
            .is_some_and(|why| why.contains("boot loop: the board started 3 times"))
    );
    let recovery = world.deployments.last().cloned().expect("there is a recovery");
    assert_eq!(recovery.cause, Cause::Recovery(second));
    assert_eq!(world.software.pending, Some((recovery.id, artifact(1))));
    world.installs(1);
    world.passes(Span::seconds(31));
    assert_eq!(world.state(recovery.id), TaskState::Done);
    assert_eq!(world.state(second), TaskState::Failed, "what failed stays failed");
    assert_eq!(world.software.running, Some(artifact(1)));
    assert_eq!(world.software.problem, None);
}

#[test]
fn a_recovery_that_fails_is_not_recovered_again() {
    let mut world = World::new();
    world.deploy(1);
    world.installs(1);
    world.passes(Span::seconds(31));
    world.deploy(2);
    world.installs(2);
    world.polls();
    world.polls();
    let deployments = world.deployments.len();
    world.installs(1);
    world.polls();
    world.polls();
    assert_eq!(world.deployments.len(), deployments);
    assert!(world.tasks.iter().all(|task| !task.state.is_open()));
    assert!(world.software.problem.is_some());
}

#[test]
fn a_factory_board_has_nothing_to_return_to() {
    let mut world = World::new();
    let first = world.deploy(1);
    world.installs(1);
    world.polls();
    world.polls();
    assert_eq!(world.state(first), TaskState::Failed);
    assert_eq!(world.deployments.len(), 1);
    assert_eq!(world.software.pending, None);
}

#[test]
fn a_silent_board_fails() {
    let mut world = World::new();
    let first = world.deploy(1);
    assert!(world.polls());
    world.takes(1);
    world.online = false;
    world.passes(Span::seconds(119));
    assert_eq!(world.state(first), TaskState::Applying);
    world.passes(Span::seconds(2));
    assert_eq!(world.state(first), TaskState::Failed);
    assert!(world.task(first).reason.as_ref().is_some_and(|why| why.contains("silent")));
}

#[test]
fn a_roll_back_returns_to_what_ran_before() {
    let mut world = World::new();
    world.deploy(1);
    world.installs(1);
    world.passes(Span::seconds(31));
    let second = world.deploy(2);
    world.installs(2);
    world.passes(Span::seconds(31));
    let back = deployment::way_back(world.task(second), &world.software).expect("there is a way back");
    assert_eq!(back, artifact(1));
    let rollback = world.begin(Cause::Rollback(second), back);
    assert_eq!(world.state(second), TaskState::Done, "not rolled back before it is");
    world.installs(1);
    world.passes(Span::seconds(31));
    assert_eq!((world.state(rollback), world.state(second)), (TaskState::Done, TaskState::RolledBack));
}

#[test]
fn a_later_deployment_takes_the_place_of_an_earlier() {
    let mut world = World::new();
    world.online = false;
    let (first, second) = (world.deploy(1), world.deploy(2));
    assert_eq!((world.state(first), world.state(second)), (TaskState::Cancelled, TaskState::Waiting));
    world.online = true;
    world.installs(2);
    world.takes(1);
    world.passes(Span::seconds(31));
    assert_eq!(world.state(second), TaskState::Done);
}

#[test]
fn wake_ups_keep_their_distance() {
    let mut world = World::new();
    world.deploy(1);
    world.deploy(2);
    world.deploy(3);
    assert_eq!(world.wakes, 1, "three deployments within a second wake once");
    world.passes(Span::seconds(21));
    assert_eq!(world.wakes, 2, "no answer: once more");
}

#[test]
fn a_loop_that_begins_later_is_seen_and_its_end_too() {
    let mut world = World::new();
    world.deploy(1);
    world.installs(1);
    world.passes(Span::seconds(31));
    for _ in 0..rollout::BOOTS_KEPT {
        world.passes(Span::seconds(5));
        world.polls();
    }
    assert!(world.software.problem.as_ref().is_some_and(|why| why.contains("boot loop")));
    world.passes(Span::minutes(10));
    world.polls();
    assert_eq!(world.software.problem, None);
}

#[test]
fn cancelling_takes_back_what_no_board_has_yet() {
    let mut world = World::new();
    world.online = false;
    let first = world.deploy(1);
    let task = world.task(first).clone();
    let deployment = world.deployments[0].clone();
    let actor = Actor::User("Ada".into());
    let effects = deployment::cancel(&deployment, vec![(world.target(), task)], &actor, world.now);
    world.apply(effects.expect("it can be cancelled"));
    assert_eq!(world.state(first), TaskState::Cancelled);
    assert_eq!(world.deployments[0].state, DeploymentState::Cancelled);
    assert_eq!(world.software.pending, None);
    assert!(!world.polls());
}
