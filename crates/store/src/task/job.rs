//! What is kept of a task for the topics of AWS: one text of JSON, none for a task of which no device spoke there.

use motehub_domain::job::{Job, Status};
use motehub_domain::time::Time;
use serde_json::{Value, json};

pub(super) fn text(job: &Job) -> Option<String> {
    let Job { number, version, said, details, started_at, said_at, step_ends_at } = job;
    let row = json!({
        "number": number,
        "version": version,
        "said": said.map(Status::as_str),
        "details": details,
        "started_at": started_at.map(|at| at.0),
        "said_at": said_at.map(|at| at.0),
        "step_ends_at": step_ends_at.map(|at| at.0),
    });
    (*job != Job::default()).then(|| row.to_string())
}

/// `None` if it is not what [`text`] writes.
pub(super) fn read(row: Option<Value>) -> Option<Job> {
    let Some(row) = row else { return Some(Job::default()) };
    let time = |name: &str| row[name].as_i64().map(Time);
    let said = match &row["said"] {
        Value::Null => None,
        said => Some(Status::parse(said.as_str()?)?),
    };
    let details = row["details"].as_object()?.iter();
    Some(Job {
        number: row["number"].as_i64()?,
        version: row["version"].as_i64()?,
        said,
        details: details
            .map(|(name, it)| Some((name.clone(), it.as_str()?.to_owned())))
            .collect::<Option<_>>()?,
        started_at: time("started_at"),
        said_at: time("said_at"),
        step_ends_at: time("step_ends_at"),
    })
}
