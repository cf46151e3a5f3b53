//! Jobs as AWS writes them. Times are in whole seconds, as its SDKs read them.

use serde_json::{Map, Value, json};

use super::{Refusal, Status, is_pending, status};
use crate::deployment::Task;
use crate::time::Time;

/// A job in a list.
pub fn listed(task: &Task) -> Value {
    let job = &task.job;
    let mut listed = json!({
        "jobId": task.deployment.to_string(),
        "queuedAt": seconds(task.created_at),
        "lastUpdatedAt": seconds(job.said_at.map_or(task.updated_at, |at| at.max(task.updated_at))),
        "versionNumber": job.version,
        "executionNumber": job.number,
    });
    if let Some(at) = job.started_at {
        listed["startedAt"] = seconds(at).into();
    }
    listed
}

/// A job in whole; with `document`, what to do.
pub fn execution(task: &Task, thing: &str, document: Option<Value>) -> Value {
    let mut execution = listed(task);
    if let (Some(members), Value::Object(state)) = (execution.as_object_mut(), state(task)) {
        members.extend(state);
    }
    execution["thingName"] = thing.into();
    if let Some(document) = document {
        execution["jobDocument"] = document;
    }
    execution
}

/// How a job stands.
pub fn state(task: &Task) -> Value {
    let mut state = json!({ "status": status(task).as_str(), "versionNumber": task.job.version });
    if !task.job.details.is_empty() {
        state["statusDetails"] = json!(task.job.details);
    }
    state
}

/// The answer to the question which jobs are pending. `task`: the open one of the device.
pub fn pending(task: Option<&Task>) -> Value {
    let of = |wanted: Status| task.filter(|task| status(task) == wanted).map(listed);
    let list = |wanted| of(wanted).into_iter().collect::<Vec<Value>>();
    json!({ "inProgressJobs": list(Status::InProgress), "queuedJobs": list(Status::Queued) })
}

/// Says that other jobs are pending than before.
pub fn changed(task: Option<&Task>, now: Time) -> Value {
    let pending = task.filter(|task| is_pending(task));
    let lists = pending.map(|task| (status(task).as_str().to_owned(), json!([listed(task)])));
    accepted(json!({ "jobs": lists.into_iter().collect::<Map<String, Value>>() }), None, now)
}

/// Says that another job is the next: `next` as [`execution`] writes it.
pub fn next_changed(next: Option<Value>, now: Time) -> Value {
    let members = next.map(|next| ("execution".to_owned(), next));
    accepted(Value::Object(members.into_iter().collect()), None, now)
}

/// An answer.
pub fn accepted(mut answer: Value, token: Option<&str>, now: Time) -> Value {
    answer["timestamp"] = seconds(now).into();
    if let Some(token) = token {
        answer["clientToken"] = token.into();
    }
    answer
}

/// The answer to what is not done.
pub fn rejected(refusal: &Refusal, token: Option<&str>, now: Time) -> Value {
    let mut answer = json!({ "code": refusal.code(), "message": refusal.to_string() });
    if let Some(task) = refusal.task() {
        answer["executionState"] = state(task);
    }
    accepted(answer, token, now)
}

fn seconds(at: Time) -> i64 {
    at.0.div_euclid(1000)
}
