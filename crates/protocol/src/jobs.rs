//! Jobs on the wire: the topics `$aws/things/<thing>/jobs/…` of AWS, by which a device learns its share of deployments
//! and says how far it is. What is answered goes to the asker alone, whether it has subscribed or not.

use motehub_domain::artifact::{Artifact, ArtifactKind};
use motehub_domain::firmware::Firmware;
use motehub_domain::id::DeviceId;
use motehub_domain::job::{
    DETAIL_CHARS_MAX, DETAIL_NAME_BYTES_MAX, DETAILS_MAX, Details, JobId, Refusal, Request,
    STEP_MINUTES_RANGE, Status, Step, Update,
};
use motehub_domain::time::Span;
use motehub_domain::topic::TopicFilter;
use serde_json::{Map, Value, json};

use crate::native::said::digest_text;
use crate::payload;

/// Largest request in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest client token in bytes.
const TOKEN_BYTES_MAX: usize = 64;
/// Stands for the next job where the name of one is expected.
const NEXT: &str = "$next";

/// A request that came on a topic of jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The topic; the answer goes to the same with `/accepted` or `/rejected`.
    pub topic: String,
    /// Of which device, by any of its ids.
    pub thing: String,
    /// Comes back in the answer.
    pub token: Option<String>,
    /// What is asked, if it can be understood.
    pub request: Result<Request, Refusal>,
}

/// What a publish on a topic of jobs asks; `None` if the topic is another one, or one on which only the hub speaks.
pub fn ask(topic: &str, payload: &[u8]) -> Option<Ask> {
    let (thing, rest) = topic.strip_prefix("$aws/things/")?.split_once("/jobs/")?;
    let verb = rest.rsplit('/').next().unwrap_or_default();
    if thing.contains('/')
        || matches!(verb, "accepted" | "rejected")
        || matches!(rest, "notify" | "notify-next")
    {
        return None;
    }
    let body = read(payload);
    let token = body.as_ref().ok().and_then(|body| body.get("clientToken")?.as_str());
    let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX).map(str::to_owned);
    let request = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["get"] => body.and_then(checked).map(|_| Request::Pending),
        ["start-next"] => body.and_then(checked).and_then(|body| start_next(&body)),
        [job, "get"] => body.and_then(checked).and_then(|body| describe(job, &body)),
        [job, "update"] => body.and_then(checked).and_then(|body| update(job, &body)),
        _ => Err(Refusal::InvalidTopic),
    };
    Some(Ask { topic: topic.to_owned(), thing: thing.to_owned(), token, request })
}

fn read(payload: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if payload.is_empty() {
        return Ok(Map::new());
    }
    if payload.len() > REQUEST_BYTES_MAX {
        return Err(invalid(format!("a request has at most {REQUEST_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(payload).map_err(|_| Refusal::InvalidJson)?;
    match payload::strict(text).map_err(|_| Refusal::InvalidJson)? {
        Value::Object(members) => Ok(members),
        _ => Err(invalid("a request is an object")),
    }
}

/// What every request may have.
fn checked(body: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    match body.get("clientToken") {
        None | Some(Value::Null) => Ok(body),
        Some(Value::String(token)) if token.len() <= TOKEN_BYTES_MAX => Ok(body),
        Some(_) => Err(invalid(format!("clientToken: a text of at most {TOKEN_BYTES_MAX} bytes"))),
    }
}

fn start_next(body: &Map<String, Value>) -> Result<Request, Refusal> {
    Ok(Request::StartNext { details: details(body)?, step: step(body)? })
}

fn describe(job: &str, body: &Map<String, Value>) -> Result<Request, Refusal> {
    let with_document = truth(body, "includeJobDocument", true)?;
    let number = whole(body, "executionNumber")?;
    let job = (job != NEXT).then(|| named(job, number)).transpose()?;
    Ok(Request::Describe { job, with_document })
}

fn update(job: &str, body: &Map<String, Value>) -> Result<Request, Refusal> {
    let said = body.get("status").and_then(Value::as_str).and_then(Status::parse);
    let status = said.filter(|status| {
        matches!(status, Status::InProgress | Status::Succeeded | Status::Failed | Status::Rejected)
    });
    let update = Update {
        status: status.ok_or_else(|| invalid("status: IN_PROGRESS, SUCCEEDED, FAILED or REJECTED"))?,
        details: details(body)?,
        step: step(body)?,
        expected_version: whole(body, "expectedVersion")?,
        with_state: truth(body, "includeJobExecutionState", false)?,
        with_document: truth(body, "includeJobDocument", false)?,
    };
    Ok(Request::Update(named(job, whole(body, "executionNumber")?)?, Box::new(update)))
}

/// A job by its name, which is the id of a deployment.
fn named(job: &str, number: Option<i64>) -> Result<JobId, Refusal> {
    let is_name = (1..=64).contains(&job.len())
        && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !is_name {
        return Err(invalid("the name of a job is 1 to 64 letters, digits or the signs _ -"));
    }
    Ok(JobId { deployment: job.parse().ok(), number })
}

fn details(body: &Map<String, Value>) -> Result<Option<Details>, Refusal> {
    let members = match body.get("statusDetails") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(members)) if members.len() <= DETAILS_MAX => members,
        Some(_) => return Err(invalid(format!("statusDetails: an object with at most {DETAILS_MAX} texts"))),
    };
    let is_name = |name: &str| {
        (1..=DETAIL_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte))
    };
    let mut details = Details::new();
    for (name, detail) in members {
        let text = detail
            .as_str()
            .filter(|text| text.chars().count() <= DETAIL_CHARS_MAX && !text.chars().any(char::is_control));
        let (true, Some(text)) = (is_name(name), text) else {
            let why = format!(
                "statusDetails: names of 1 to {DETAIL_NAME_BYTES_MAX} letters, digits or the signs : _ - and texts of \
                 at most {DETAIL_CHARS_MAX} characters"
            );
            return Err(invalid(why));
        };
        details.insert(name.clone(), text.to_owned());
    }
    Ok(Some(details))
}

fn step(body: &Map<String, Value>) -> Result<Option<Step>, Refusal> {
    const NAME: &str = "stepTimeoutInMinutes";
    let (shortest, longest) = STEP_MINUTES_RANGE;
    match body.get(NAME).map(|value| value.as_i64()) {
        None => Ok(None),
        Some(Some(-1)) => Ok(Some(Step::Unlimited)),
        Some(Some(minutes)) if (shortest..=longest).contains(&minutes) => {
            Ok(Some(Step::Lasts(Span::minutes(minutes))))
        }
        Some(_) => Err(invalid(format!("{NAME}: {shortest} to {longest}, or -1 for no limit"))),
    }
}

/// A whole number, which the older SDK writes as text.
fn whole(body: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refusal> {
    let number = match body.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    number.filter(|number| *number >= 0).map(Some).ok_or_else(|| invalid(format!("{name}: a whole number")))
}

fn truth(body: &Map<String, Value>, name: &str, otherwise: bool) -> Result<bool, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(Value::Bool(truth)) => Ok(*truth),
        Some(_) => Err(invalid(format!("{name}: true or false"))),
    }
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::InvalidRequest(why.into())
}

/// What to do: to fetch an artifact and run it. `base`: where devices reach the hub by HTTP, if that is known.
pub fn document(
    device: DeviceId,
    artifact: &Artifact,
    name: Option<&str>,
    firmware: Option<&Firmware>,
    health_window: Span,
    base: &str,
) -> Value {
    let digest = digest_text(artifact.digest);
    let mut document = json!({
        "digest": digest,
        "size": artifact.size_bytes,
        "url": format!("{base}/devices/{device}/artifacts/{digest}"),
        "health_window": health_window.0 / 1000,
    });
    match artifact.kind {
        ArtifactKind::Script { version, .. } => {
            document["operation"] = "script".into();
            document["version"] = version.into();
            document["name"] = name.into();
        }
        ArtifactKind::Firmware(_) => document["operation"] = "firmware".into(),
    }
    if let Some(label) = firmware.map(|firmware| &firmware.label) {
        document["name"] = label.name.as_str().into();
        document["version"] = label.version.as_str().into();
        document["platform"] = label.platform.as_str().into();
        if !label.build.is_empty() {
            document["build_id"] = label.build.as_str().into();
        }
    }
    document
}

/// The topics of a thing's notifications, `notify` and `notify-next`.
pub fn notifications(thing: &str) -> [String; 2] {
    ["notify", "notify-next"].map(|what| format!("$aws/things/{thing}/jobs/{what}"))
}

/// The topics that a thing uses, to speak and to hear.
pub(crate) fn own(thing: &str) -> Option<TopicFilter> {
    TopicFilter::parse(&format!("$aws/things/{thing}/jobs/#")).ok()
}

/// The topics by which jobs of every thing are looked at, and with `moves` also moved.
pub fn requests(moves: bool) -> Vec<TopicFilter> {
    let verbs: &[&str] = if moves { &["get", "+/get", "start-next", "+/update"] } else { &["get", "+/get"] };
    verbs.iter().filter_map(|verb| TopicFilter::parse(&format!("$aws/things/+/jobs/{verb}")).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(topic: &str, payload: &str) -> Option<String> {
        let ask = ask(&format!("$aws/things/lamp-1/jobs/{topic}"), payload.as_bytes())?;
        Some(ask.request.map_or_else(|refusal| refusal.code().to_owned(), |_| String::new()))
    }

    #[test]
    fn requests_are_understood_or_refused_in_the_words_of_aws() {
        let long = format!(r#"{{"status":"FAILED","statusDetails":{{"a":"{}"}}}}"#, "x".repeat(1025));
        let many: Details = (0..65).map(|i| (i.to_string(), String::new())).collect();
        let many = json!({ "status": "FAILED", "statusDetails": many }).to_string();
        for (topic, payload, code) in [
            ("get", "", ""),
            ("get", r#"{"clientToken":"a"}"#, ""),
            ("get", "{", "InvalidJson"),
            ("get", r#"{"a":1,"a":2}"#, "InvalidJson"),
            ("get", "[]", "InvalidRequest"),
            ("get", r#"{"clientToken":1}"#, "InvalidRequest"),
            ("start-next", r#"{"statusDetails":{"a":"b"},"stepTimeoutInMinutes":1}"#, ""),
            ("start-next", r#"{"statusDetails":{"a":1}}"#, "InvalidRequest"),
            ("start-next", r#"{"statusDetails":{"a b":"c"}}"#, "InvalidRequest"),
            ("start-next", r#"{"stepTimeoutInMinutes":0}"#, "InvalidRequest"),
            ("start-next", r#"{"stepTimeoutInMinutes":10081}"#, "InvalidRequest"),
            ("start-next", r#"{"stepTimeoutInMinutes":-1}"#, ""),
            ("$next/get", r#"{"includeJobDocument":false}"#, ""),
            ("$next/get", r#"{"includeJobDocument":"no"}"#, "InvalidRequest"),
            ("a.b/get", "", "InvalidRequest"),
            ("1/update", r#"{"status":"IN_PROGRESS","expectedVersion":"2","executionNumber":1}"#, ""),
            ("1/update", r#"{"status":"IN_PROGRESS","expectedVersion":"two"}"#, "InvalidRequest"),
            ("1/update", r#"{"status":"QUEUED"}"#, "InvalidRequest"),
            ("1/update", "{}", "InvalidRequest"),
            ("1/update", &long, "InvalidRequest"),
            ("1/update", &many, "InvalidRequest"),
            ("$next/update", r#"{"status":"FAILED"}"#, "InvalidRequest"),
            ("1/delete", "", "InvalidTopic"),
            ("start", "", "InvalidTopic"),
            ("1/2/get", "", "InvalidTopic"),
        ] {
            assert_eq!(refusal(topic, payload).as_deref(), Some(code), "{topic} {payload:.60}");
        }
    }

    #[test]
    fn on_some_topics_only_the_hub_speaks() {
        for topic in ["notify", "notify-next", "get/accepted", "get/rejected", "1/update/accepted"] {
            assert_eq!(refusal(topic, "{}"), None, "{topic}");
        }
        assert_eq!(ask("$aws/things/a/b/jobs/get", b""), None, "a thing is one level");
        assert_eq!(ask("$aws/things/a/shadow/get", b""), None, "another service");
    }
}
