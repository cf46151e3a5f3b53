//! How tasks look by the topics of AWS, and what follows from what is said there.

use super::*;
use crate::artifact::Digest;
use crate::device::{Dialect, Software};
use crate::firmware::Label;
use crate::id::{DeploymentId, FirmwareId};

const NOW: Time = Time(1_800_000_000_000);

fn image() -> Firmware {
    let [name, version, platform, build] = ["light", "1.3", "esp32", "b7"].map(str::to_owned);
    Firmware {
        id: FirmwareId::from_parts(1, 1),
        label: Label { name, version, platform, build },
        digest: Digest([1; 32]),
        size_bytes: 1000,
        manifest: None,
        notes: String::new(),
        created_by: "Ada".to_owned(),
        created_at: Time(0),
        revision: 1,
    }
}

fn target(task: &Task) -> Target {
    let device = Device {
        id: task.device,
        name: "lamp".to_owned(),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: Some("lamp-1".to_owned()),
        tags: Vec::new(),
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: NOW,
        revision: 1,
    };
    let open = Some(task.clone()).filter(|task| task.state.is_open());
    Target {
        software: Software::none(device.id),
        device,
        online: true,
        open,
        free_memory: None,
        quarantined: Vec::new(),
    }
}

fn task(state: TaskState, said: Option<Status>) -> Task {
    Task {
        deployment: DeploymentId::from_parts(1, 1),
        device: DeviceId::from_parts(1, 1),
        artifact: image().artifact(),
        previous: None,
        state,
        reason: None,
        traceback: None,
        tries: 0,
        health_window: Span::seconds(30),
        created_at: NOW,
        updated_at: NOW,
        deadline: state.is_open().then_some(NOW + Span::seconds(60)),
        job: Job { said, ..Job::default() },
        revision: 1,
    }
}

/// The device says this of the task; without details if they are empty.
fn say(
    task: &Task,
    status: Status,
    details: &[(&str, &str)],
    step: Option<Step>,
) -> Result<(Task, Effects), Refusal> {
    let details: Details = details.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned())).collect();
    let update = Update {
        status,
        details: Some(details).filter(|details| !details.is_empty()),
        step,
        expected_version: None,
        with_state: false,
        with_document: false,
    };
    super::update(target(task), task, Some(&image()), &update, NOW + Span::seconds(5))
}

#[test]
fn the_status_is_what_the_device_said_last_or_follows_from_the_task() {
    let in_progress = Some(Status::InProgress);
    for (state, said, expected) in [
        (TaskState::Waiting, None, Status::Queued),
        (TaskState::Offered, None, Status::Queued),
        (TaskState::Waiting, in_progress, Status::InProgress),
        (TaskState::Fetching, None, Status::InProgress),
        (TaskState::Applying, in_progress, Status::InProgress),
        (TaskState::Applying, Some(Status::Succeeded), Status::Succeeded),
        (TaskState::Confirming, None, Status::InProgress),
        (TaskState::Done, in_progress, Status::Succeeded),
        (TaskState::Failed, in_progress, Status::Failed),
        (TaskState::Failed, Some(Status::Rejected), Status::Rejected),
        (TaskState::TimedOut, in_progress, Status::TimedOut),
        (TaskState::TimedOut, Some(Status::Succeeded), Status::Succeeded),
        (TaskState::Reverted, None, Status::Failed),
        (TaskState::RolledBack, None, Status::Removed),
        (TaskState::Cancelled, in_progress, Status::Canceled),
    ] {
        assert_eq!(status(&task(state, said)), expected, "{state:?} {said:?}");
    }
}

#[test]
fn what_a_device_says_moves_its_task_and_firmware_is_done_by_the_version_that_runs() {
    let it = [(RUNNING_VERSION, "1.3"), (RUNNING_BUILD, "b7")];
    let former = [(RUNNING_VERSION, "1.2")];
    let other_build = [(RUNNING_VERSION, "1.3"), (RUNNING_BUILD, "b6")];
    for (before, said, details, after, is_told) in [
        (TaskState::Offered, Status::InProgress, &[][..], TaskState::Fetching, false),
        (TaskState::Offered, Status::InProgress, &it[..], TaskState::Confirming, false),
        (TaskState::Fetching, Status::InProgress, &former, TaskState::Fetching, false),
        (TaskState::Offered, Status::Succeeded, &[], TaskState::Applying, true),
        (TaskState::Fetching, Status::Succeeded, &it, TaskState::Confirming, true),
        (TaskState::Fetching, Status::Succeeded, &former, TaskState::Applying, true),
        (TaskState::Fetching, Status::Succeeded, &other_build, TaskState::Applying, true),
        (TaskState::Confirming, Status::Succeeded, &it, TaskState::Confirming, true),
        (TaskState::Confirming, Status::InProgress, &it, TaskState::Confirming, false),
        (TaskState::Fetching, Status::Failed, &it, TaskState::Failed, true),
        (TaskState::Waiting, Status::Rejected, &[], TaskState::Failed, true),
        (TaskState::Done, Status::Succeeded, &[], TaskState::Done, false),
    ] {
        let task = task(before, None);
        let (next, effects) = say(&task, said, details, None).expect("it may be said");
        assert_eq!((next.state, next.job.version), (after, 2), "{before:?} {said:?} {details:?}");
        assert_eq!((next.job.said, next.revision), (Some(said), 2), "{before:?} {said:?}");
        assert_eq!(effects.jobs.len(), usize::from(is_told), "{before:?} {said:?}: whether the list changed");
        let saved = effects.save.iter().filter(|save| matches!(save, Save::Task(saved) if **saved == next));
        assert_eq!(saved.count(), 1, "{before:?} {said:?}: what is answered is what is saved");
    }
}

#[test]
fn what_has_ended_stays_so() {
    for (state, said, refused) in [
        (TaskState::Cancelled, None, Status::Succeeded),
        (TaskState::Done, None, Status::Failed),
        (TaskState::Done, Some(Status::Succeeded), Status::Succeeded),
        (TaskState::Applying, Some(Status::Succeeded), Status::Failed),
        (TaskState::TimedOut, Some(Status::InProgress), Status::InProgress),
    ] {
        let task = task(state, said);
        let expected = Refusal::InvalidStateTransition(Box::new(task.clone()));
        assert_eq!(say(&task, refused, &[], None), Err(expected), "{state:?} {said:?} {refused:?}");
    }
}

#[test]
fn a_step_ends_when_the_device_said_and_no_later_than_its_task() {
    let minute = Some(Step::Lasts(Span::minutes(1)));
    let (at_work, _) =
        say(&task(TaskState::Offered, None), Status::InProgress, &[], minute).expect("may be said");
    let end = NOW + Span::seconds(65);
    assert_eq!(at_work.deadline, Some(end));
    let elapsed = |task: &Task, now| rollout::elapsed(target(task), task, now);
    assert!(elapsed(&at_work, end - Span(1)).is_empty());
    let late = elapsed(&at_work, end);
    let state = late.save.iter().find_map(|save| match save {
        Save::Task(task) => Some(task.state),
        _ => None,
    });
    assert_eq!((state, late.jobs.len()), (Some(TaskState::TimedOut), 1));
    let (free, _) = say(&at_work, Status::InProgress, &[], Some(Step::Unlimited)).expect("may be said");
    assert_eq!(free.deadline, Some(NOW + crate::deployment::DEADLINE));
    let (ended, _) = say(&at_work, Status::Succeeded, &[], None).expect("may be said");
    assert_eq!(ended.job.step_ends_at, None, "what has ended is in no step");
}
