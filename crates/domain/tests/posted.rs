//! A board that is posted its script: what it answers and says, and what becomes of its task.

use motehub_domain::artifact::{Artifact, ArtifactKind, Digest};
use motehub_domain::deployment::{Target, Task, TaskState};
use motehub_domain::device::{Device, Dialect, Software, board};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{DeploymentId, DeviceId, ScriptId};
use motehub_domain::job::Job;
use motehub_domain::network::Network;
use motehub_domain::report::{Crash, Progress, TaskReport};
use motehub_domain::rollout::{self, posted};
use motehub_domain::time::{Span, Time};

const WINDOW: Span = Span::seconds(60);

fn artifact(version: u8) -> Artifact {
    let kind = ArtifactKind::Script { script: ScriptId::from_parts(1, 1), version: i64::from(version) };
    Artifact { kind, digest: Digest([version; 32]), size_bytes: 100 }
}

fn device() -> Device {
    Device {
        id: DeviceId::from_parts(1, 7),
        name: "dev1".into(),
        description: String::new(),
        dialect: Dialect::EspFirmware,
        external_id: Some("10.77.0.11".into()),
        tags: Vec::new(),
        capabilities: Vec::new(),
        unauthenticated_allowed: true,
        allowed_from: Network::parse("from", "10.77.0.11").ok(),
        silence_max: None,
        line: None,
        created_at: Time(0),
        revision: 1,
    }
}

/// A board that runs version 1 and is to run version 2.
fn target(state: TaskState) -> Target {
    let device = device();
    let task = Task {
        deployment: DeploymentId::from_parts(1, 1),
        device: device.id,
        artifact: artifact(2),
        previous: Some(artifact(1)),
        state,
        reason: None,
        traceback: None,
        tries: 0,
        health_window: WINDOW,
        created_at: Time(0),
        updated_at: Time(0),
        deadline: None,
        job: Job::default(),
        revision: 1,
    };
    let mut software = Software::none(device.id);
    (software.running, software.good) = (Some(artifact(1)), Some(artifact(1)));
    software.active = Some(artifact(2));
    software.pending = Some((task.deployment, artifact(2)));
    Target { device, software, online: true, open: Some(task), free_memory: None, quarantined: Vec::new() }
}

/// The same with what was written.
fn after(mut target: Target, effects: Effects) -> Target {
    for save in effects.save {
        match save {
            Save::Task(task) => target.open = Some(*task),
            Save::Software(software) => target.software = *software,
            _ => {}
        }
    }
    target
}

fn said(target: Target, version: u8, progress: Progress, now: Time) -> Target {
    let report = TaskReport { digest: artifact(version).digest, progress };
    let effects = posted::reported(target.clone(), &report, now);
    after(target, effects)
}

fn state(target: &Target) -> (TaskState, String) {
    let task = target.open.as_ref().expect("a task");
    (task.state, task.reason.clone().unwrap_or_default())
}

#[test]
fn what_a_board_took_is_done_when_it_is_there_at_the_end_of_the_window() {
    let taken = said(target(TaskState::Fetching), 2, Progress::Applying, Time(1_000));
    assert_eq!(state(&taken).0, TaskState::Applying);
    let task = taken.open.clone().expect("a task");
    assert_eq!(task.deadline, Some(Time(1_000) + WINDOW));
    let early = rollout::elapsed(taken.clone(), &task, Time(2_000));
    assert!(early.is_empty(), "{early:?}");
    let effects = rollout::elapsed(taken.clone(), &task, Time(1_000) + WINDOW);
    let done = after(taken, effects);
    assert_eq!(state(&done).0, TaskState::Done);
    assert_eq!((done.software.good, done.software.running), (Some(artifact(2)), Some(artifact(2))));
}

#[test]
fn one_that_starts_again_and_again_with_it_has_failed() {
    let mut board = target(TaskState::Fetching);
    for second in 1..=3 {
        board = said(board, 2, Progress::Applying, Time(second * 1_000));
    }
    let (state, reason) = state(&board);
    assert_eq!(state, TaskState::Failed);
    assert!(reason.contains("started 2 times"), "{reason}");
}

#[test]
fn out_of_memory_is_about_what_is_given_and_not_about_what_ran_before() {
    for given in [TaskState::Fetching, TaskState::Applying] {
        let board = target(given);
        let failed = after(board.clone(), posted::ran_out_of_memory(board, Time(1_000)));
        let (state, reason) = state(&failed);
        assert_eq!(state, TaskState::Failed);
        assert!(reason.starts_with(posted::OUT_OF_MEMORY), "{reason}");
        assert_eq!(posted::wanted(&failed.software), Some(artifact(1)), "it is not posted again");
        assert_eq!(failed.software.good, Some(artifact(1)));
    }
    let mut idle = target(TaskState::Done);
    idle.software.pending = None;
    idle.software.active = Some(artifact(1));
    let failed = after(idle.clone(), posted::ran_out_of_memory(idle, Time(1_000)));
    assert!(failed.software.problem.is_some_and(|problem| problem.starts_with(posted::OUT_OF_MEMORY)));
    assert_eq!(failed.software.active, Some(artifact(1)), "it had worked, and is given once more");
}

#[test]
fn a_former_version_that_has_no_room_either_is_given_again_and_never_what_failed_before_it() {
    let failed = || Progress::Failed(Crash { reason: posted::OUT_OF_MEMORY.into(), ..Crash::default() });
    let mut board = target(TaskState::Fetching);
    // The recovery from version 2.
    let task = board.open.as_mut().expect("a task");
    (task.artifact, task.previous) = (artifact(1), Some(artifact(2)));
    (board.software.active, board.software.pending) =
        (Some(artifact(1)), Some((task.deployment, artifact(1))));
    // It says so twice: it announces it, and answers so.
    let board = said(said(board, 1, failed(), Time(1_000)), 1, failed(), Time(1_100));
    assert_eq!(state(&board).0, TaskState::Failed);
    assert_eq!(board.software.running, None, "it runs nothing just now");
    assert_eq!(posted::wanted(&board.software), Some(artifact(1)));
    assert_eq!(board.software.good, Some(artifact(1)), "it is what later ones return to");
    assert!(board.software.problem.is_some());
    let board = said(board, 1, Progress::Applying, Time(3_000));
    assert_eq!((board.software.running, board.software.problem), (Some(artifact(1)), None));
}

#[test]
fn a_board_without_a_former_version_has_nothing_to_run_when_the_first_fails() {
    let mut board = target(TaskState::Fetching);
    (board.software.running, board.software.good) = (None, None);
    board.open.as_mut().expect("a task").previous = None;
    let crash = Crash { reason: "the script does not load".into(), ..Crash::default() };
    let failed = said(board, 2, Progress::Failed(crash), Time(1_000));
    assert_eq!(state(&failed).0, TaskState::Failed);
    assert_eq!(posted::wanted(&failed.software), None);
}

#[test]
fn a_board_is_called_only_where_it_may_speak_from_or_somebody_said() {
    let networks: Vec<Network> = Network::parse("networks", "10.88.0.0/16").into_iter().collect();
    let called = |announced: Option<&str>| board::address(&device(), announced, &networks);
    let at = |text: &str| text.parse().ok();
    assert_eq!(called(None), Ok(at("10.77.0.11")));
    assert_eq!(called(Some("10.77.0.11")), Ok(at("10.77.0.11")));
    assert_eq!(called(Some("10.88.3.4")), Ok(at("10.88.3.4")));
    for forged in ["10.77.0.12", "169.254.169.254", "127.0.0.1", "0.0.0.0", "::1", "hub.example", ""] {
        assert!(called(Some(forged)).is_err(), "{forged}");
    }
    let closed = Device { unauthenticated_allowed: false, ..device() };
    assert_eq!(board::address(&closed, None, &networks), Ok(None));
    assert!(board::address(&closed, Some("10.77.0.11"), &networks).is_err());
}
