//! Scripts, deployments and tasks.

use motehub_domain::command::{Command, Execution, ExecutionState};
use motehub_domain::deployment::{Cause, Counts, DeploymentState, TaskState};
use motehub_domain::device::{Assignment, Presence, Reach, Software};
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::script::{Script, ScriptVersion, Syntax};
use motehub_domain::time::{Span, Time};
use motehub_store::{DeploymentFilter, ExecutionView, Overview, StoreError};

use crate::devices::software;
use crate::world::{NOW, World, artifact, deployment, digest, id, script, task};

pub(crate) async fn scripts_get_numbers_and_versions(world: &mut World) {
    let (one, two) = (world.script(1).await, world.script(2).await);
    assert_eq!((one.number, two.number), (1, 2));
    assert_eq!(world.store.script_by_number(2).await, Ok(Some(two.clone())));
    assert_eq!(world.store.script_by_number(3).await, Ok(None));
    let taken = Script { name: one.name.clone(), ..script(3) };
    let refused = world.save([Save::Script(Box::new(taken))]).await;
    assert_eq!(refused, Err(StoreError::Taken { field: "name" }));
    let renamed = Script { name: two.name.clone(), revision: 2, ..one.clone() };
    let refused = world.save([Save::Script(Box::new(renamed))]).await;
    assert_eq!(refused, Err(StoreError::Taken { field: "name" }));

    let second = ScriptVersion {
        version: 2,
        digest: digest(2),
        comment: "broken".into(),
        syntax: Syntax::Error { line: 3, message: "'end' expected".into() },
        ..world.store.version(one.id, 1).await.unwrap().unwrap()
    };
    let edited = Script { latest_version: 2, revision: 2, ..one.clone() };
    let save = [Save::Script(Box::new(edited.clone())), Save::Version(Box::new(second.clone()))];
    world.save(save.clone()).await.unwrap();
    assert_eq!(world.save(save).await, Err(StoreError::Conflict { what: "script" }));
    let again = world.save([Save::Version(Box::new(second.clone()))]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "version" }));
    world.reopen().await;
    assert_eq!(world.store.script(one.id).await, Ok(Some(edited)), "it keeps its number");
    assert_eq!(world.store.version(one.id, 2).await, Ok(Some(second)));
    let versions = world.store.versions(one.id).await.unwrap();
    assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [2, 1]);
    world.save([Save::DeleteScript(one.id)]).await.unwrap();
    assert_eq!(world.store.versions(one.id).await, Ok(Vec::new()));
    assert_eq!(world.store.script(one.id).await, Ok(None));
    world.save([Save::DeleteScript(two.id)]).await.unwrap();
    assert_eq!(world.script(4).await.number, 3, "the number of a deleted script is not given out again");
}

pub(crate) async fn a_script_in_use_is_counted_once_per_device(world: &mut World) {
    let (one, two) = (world.script(1).await, world.script(2).await);
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    world
        .save([
            Save::Assign(Assignment { device: lamp, script: one.id }),
            Save::Software(Box::new(software(lamp))),
            Save::Assign(Assignment { device: fan, script: one.id }),
        ])
        .await
        .unwrap();
    assert_eq!(world.store.script_used_by(one.id).await, Ok(2));
    assert_eq!(world.store.script_used_by(two.id).await, Ok(0), "the last good one is not in use");
    let (page, total) = world.store.scripts(None, 0, 10).await.unwrap();
    assert_eq!((page, total), (vec![(one.clone(), 2), (two.clone(), 0)], 2));
    assert_eq!(world.store.scripts(None, 1, 10).await, Ok((vec![(two.clone(), 0)], 2)));
    assert_eq!(world.store.scripts(Some("BLINK 2"), 0, 10).await, Ok((vec![(two, 0)], 1)));
    assert_eq!(world.store.scripts(Some("light"), 0, 10).await.unwrap().1, 2);
    assert_eq!(world.store.scripts(Some("no such"), 0, 10).await, Ok((Vec::new(), 0)));
}

pub(crate) async fn a_deployment_is_written_found_and_counted(world: &mut World) {
    for number in 1..=3 {
        world.device(number).await;
    }
    let asked = deployment(1, Cause::Asked(artifact(1, 2)));
    let mut rollback = deployment(2, Cause::Rollback(asked.id));
    rollback.selector = None;
    let recovery = deployment(3, Cause::Recovery(asked.id));
    let save = |deployment: &_| Save::Deployment(Box::new(Clone::clone(deployment)));
    world.save([save(&asked), save(&rollback), save(&recovery)]).await.unwrap();
    let states = [TaskState::Waiting, TaskState::Done, TaskState::Done];
    for (number, state) in (1..).zip(states) {
        world.save([Save::Task(Box::new(task(asked.id, id(number), state)))]).await.unwrap();
    }
    let mut other = task(rollback.id, id(3), TaskState::Failed);
    other.artifact = artifact(2, 1);
    world.save([Save::Task(Box::new(other.clone()))]).await.unwrap();

    for deployment in [&asked, &rollback, &recovery] {
        assert_eq!(world.store.deployment(deployment.id).await, Ok(Some(deployment.clone())));
    }
    assert_eq!(world.store.recovery_of(asked.id).await, Ok(Some(recovery.clone())));
    assert_eq!(world.store.recovery_of(rollback.id).await, Ok(None));
    assert_eq!(world.store.counts(asked.id).await, Ok(Counts([1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0])));
    assert_eq!(world.store.counts(recovery.id).await, Ok(Counts::default()));
    asked_again_conflicts(world).await;

    let list = async |filter: DeploymentFilter| -> (Vec<i64>, i64) {
        let (items, total) = world.store.deployments(filter, 0, 10).await.unwrap();
        (items.iter().map(|(d, _)| (d.id.to_u128() & 0xff) as i64).collect(), total)
    };
    let all = DeploymentFilter::default();
    assert_eq!(list(all).await, (vec![3, 2, 1], 3));
    assert_eq!(list(DeploymentFilter { script: Some(id(2)), ..all }).await, (vec![2], 1));
    assert_eq!(list(DeploymentFilter { device: Some(id(3)), ..all }).await, (vec![2, 1], 2));
    assert_eq!(list(DeploymentFilter { state: Some(DeploymentState::Done), ..all }).await, (vec![], 0));
    let (page, total) = world.store.deployments(all, 2, 10).await.unwrap();
    assert_eq!((page[0].1.total(), total), (3, 3));

    let (done, total) =
        world.store.tasks(asked.id, &[TaskState::Done, TaskState::Failed], 1, 5).await.unwrap();
    let expected = (task(asked.id, id(3), TaskState::Done), "Lamp 3".to_owned());
    assert_eq!((done, total), (vec![expected], 2));
    assert_eq!(world.store.tasks(asked.id, &[], 0, 2).await.unwrap().1, 3);
    assert_eq!(world.store.task(rollback.id, id(3)).await, Ok(Some(other.clone())));
    let of_third = world.store.tasks_of(id(3), 10).await.unwrap();
    assert_eq!(of_third, [other, task(asked.id, id(3), TaskState::Done)]);
    world.save([Save::DeleteDevice(id(3))]).await.unwrap();
    assert_eq!(world.store.counts(asked.id).await.unwrap().total(), 2);
}

async fn asked_again_conflicts(world: &World) {
    let asked = deployment(1, Cause::Asked(artifact(1, 2)));
    let again = world.save([Save::Deployment(Box::new(asked))]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "deployment" }));
}

pub(crate) async fn a_device_has_one_open_task(world: &mut World) {
    world.device(1).await;
    for number in [1, 2] {
        let deployment = deployment(number, Cause::Asked(artifact(1, 2)));
        world.save([Save::Deployment(Box::new(deployment))]).await.unwrap();
    }
    let mut first = task(id(1), id(1), TaskState::Waiting);
    let second = task(id(2), id(1), TaskState::Waiting);
    let save = |task: &_| Save::Task(Box::new(Clone::clone(task)));
    world.save([save(&first)]).await.unwrap();
    let conflict = Err(StoreError::Conflict { what: "task" });
    assert_eq!(world.save([save(&second)]).await, conflict);
    assert_eq!(world.save([save(&first)]).await, conflict);
    first.state = TaskState::Cancelled;
    first.deadline = None;
    first.previous = None;
    first.reason = None;
    first.revision = 2;
    world.save([save(&first), save(&second)]).await.unwrap();
    assert_eq!(world.store.task(id(1), id(1)).await, Ok(Some(first)));
    assert_eq!(world.store.target(id(1)).await.unwrap().unwrap().open, Some(second));
    let orphan = task(id(9), id(1), TaskState::Done);
    assert!(matches!(world.save([save(&orphan)]).await, Err(StoreError::Conflict { .. })));
}

pub(crate) async fn targets_come_in_the_order_asked(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    let presence = here(lamp.id);
    world.save([Save::Presence(presence), Save::Software(Box::new(software(lamp.id)))]).await.unwrap();
    let targets = world.store.targets(&[fan.id, id(77), lamp.id]).await.unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!((&targets[0].device, &targets[0].software), (&fan, &Software::none(fan.id)));
    assert!(!targets[0].online && targets[0].open.is_none());
    assert_eq!((&targets[1].device, &targets[1].software), (&lamp, &software(lamp.id)));
    assert!(targets[1].online);
    assert!(world.store.targets(&[]).await.unwrap().is_empty());
    assert!(world.store.target(id(77)).await.unwrap().is_none());
}

pub(crate) async fn tasks_are_due_by_their_deadline(world: &mut World) {
    let asked = deployment(1, Cause::Asked(artifact(1, 2)));
    world.save([Save::Deployment(Box::new(asked))]).await.unwrap();
    assert_eq!(world.store.next_deadline().await, Ok(None));
    for (number, deadline) in [(1, Some(NOW + Span(5))), (2, Some(NOW)), (3, None)] {
        world.device(number).await;
        let mut task = task(id(1), id(number), TaskState::Offered);
        task.deadline = deadline;
        world.save([Save::Task(Box::new(task))]).await.unwrap();
    }
    let due = async |now: Time, limit| -> Vec<u128> {
        let tasks = world.store.due_tasks(now, limit).await.unwrap();
        tasks.iter().map(|task| task.device.to_u128() & 0xff).collect()
    };
    assert_eq!(due(NOW - Span(1), 9).await, [0u128; 0]);
    assert_eq!(due(NOW, 9).await, [2]);
    assert_eq!(due(NOW + Span(5), 9).await, [2, 1]);
    assert_eq!(due(NOW + Span(5), 1).await, [2]);
    assert_eq!(world.store.next_deadline().await, Ok(Some(NOW)));
}

pub(crate) async fn the_overview_counts(world: &mut World) {
    assert_eq!(world.store.overview().await, Ok(Overview::default()));
    let lamp = world.device(1).await;
    world.device(2).await;
    let mut open = world.device(3).await;
    open.unauthenticated_allowed = true;
    open.revision = 2;
    let asked = deployment(1, Cause::Asked(artifact(1, 2)));
    world
        .save([
            Save::Device(Box::new(open)),
            Save::Presence(here(lamp.id)),
            Save::Software(Box::new(software(lamp.id))),
            Save::Deployment(Box::new(asked)),
            Save::Task(Box::new(task(id(1), id(2), TaskState::Applying))),
        ])
        .await
        .unwrap();
    let expected =
        Overview { total: 3, online: 1, failing: 1, pending: 2, unauthenticated: 1, running_deployments: 1 };
    assert_eq!(world.store.overview().await, Ok(expected));
}

pub(crate) async fn commands_wait_are_due_and_end_with_their_device(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    let command = |number: u128| Command {
        id: id(number),
        name: "relay".into(),
        arguments: serde_json::json!({ "on": [true, null] }),
        selector: Some("all".into()),
        devices: 2,
        created_by: "Ada".into(),
        created_at: NOW + Span(number as i64),
        expires_at: NOW + Span::minutes(5),
    };
    let (one, two) = (command(1), command(2));
    let execution = |command: &Command, device| Execution {
        command: command.id,
        device,
        state: ExecutionState::Queued,
        tries: 0,
        result: None,
        reason: None,
        updated_at: NOW,
        deadline: Some(NOW + Span::seconds(20)),
        revision: 1,
    };
    let save = |it: &Execution| Save::Execution(Box::new(it.clone()));
    let (of_lamp, of_fan) = (execution(&one, lamp.id), execution(&one, fan.id));
    let asked = |it: &Command| Save::Command(Box::new(it.clone()));
    world.save([asked(&one), asked(&two), save(&of_lamp), save(&of_fan)]).await.unwrap();
    assert_eq!(world.store.next_execution_deadline().await, Ok(of_lamp.deadline));
    assert_eq!(world.store.due_executions(NOW, 10).await, Ok(Vec::new()));
    assert_eq!(world.store.due_executions(NOW + Span::seconds(20), 10).await.unwrap().len(), 2);
    let done = Execution {
        state: ExecutionState::Done,
        tries: 1,
        result: Some(serde_json::json!({ "a": 1.5 })),
        reason: Some("late".into()),
        deadline: None,
        revision: 2,
        ..of_lamp.clone()
    };
    world.save([save(&done)]).await.unwrap();
    let stale = world.save([save(&done)]).await;
    assert_eq!(stale, Err(StoreError::Conflict { what: "command execution" }));
    world.reopen().await;
    let view = ExecutionView { command: one.clone(), device: lamp.clone(), execution: done };
    assert_eq!(world.store.execution(one.id, lamp.id).await, Ok(Some(view.clone())));
    assert_eq!(world.store.executions_of(lamp.id, 0, 10).await, Ok((vec![view], 1)));
    let open = world.store.open_executions(&[lamp.id, fan.id], 10).await.unwrap();
    assert_eq!(open.iter().map(|view| view.device.id).collect::<Vec<_>>(), [fan.id]);
    assert_eq!(world.store.queued_executions(one.id).await, Ok(open));
    assert_eq!(world.store.executions(one.id, &[ExecutionState::Sent], 0, 10).await, Ok((Vec::new(), 0)));
    let (page, total) = world.store.executions(one.id, &[], 1, 1).await.unwrap();
    assert_eq!((page[0].device.id, page.len(), total), (fan.id, 1, 2));
    let view = world.store.command(one.id).await.unwrap().unwrap();
    assert_eq!((view.command, view.counts), (one.clone(), [1, 0, 1, 0, 0]));
    let (newest, total) = world.store.commands(0, 1).await.unwrap();
    assert_eq!((newest[0].command.id, total), (two.id, 2));
    world.save([Save::DeleteDevice(fan.id)]).await.unwrap();
    assert_eq!(world.store.command(one.id).await.unwrap().unwrap().counts, [0, 0, 1, 0, 0]);
    assert_eq!(world.store.sweep_commands(NOW + Span(2), 10).await, Ok(1));
    assert_eq!(world.store.command(one.id).await, Ok(None));
    assert_eq!(world.store.execution(one.id, lamp.id).await, Ok(None));
}

fn here(device: DeviceId) -> Presence {
    Presence { device, reach: Reach::Online, gateway: None, seen_at: NOW, address: String::new() }
}
