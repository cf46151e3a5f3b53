//! A call to a light and what comes of it.

use std::time::Duration;

use serde_json::{Value, json};

/// An error as the firmware answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) message: String,
}

/// What a call gives back.
pub(super) type Answer = Result<Value, Fault>;

/// What comes of a call.
#[derive(Debug)]
pub(super) struct Reaction {
    /// The answer; `None` if it comes later, or never.
    pub(super) answer: Option<Answer>,
    /// What the light says to mDash before it answers: method and parameters.
    pub(super) tells: Vec<(&'static str, Value)>,
    /// What happens behind it.
    pub(super) then: Option<Then>,
}

/// What happens behind a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// The light restarts after a while.
    Restart(Duration),
    /// Somebody pulls the plug; it is put back a while later.
    PowerCut,
    /// The plug is pulled for good.
    Dies,
    /// The connection breaks, and nothing else.
    Disconnects,
    /// It fetches firmware from there, and answers when that is over.
    Fetches { url: String, commit_timeout_s: u64 },
}

impl From<Answer> for Reaction {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), tells: Vec::new(), then: None }
    }
}

impl Reaction {
    /// An answer, and something behind it.
    pub(super) fn then(answer: Value, then: Then) -> Self {
        Self { answer: Some(Ok(answer)), tells: Vec::new(), then: Some(then) }
    }
    /// Something happens and nothing is answered.
    pub(super) fn only(then: Then) -> Self {
        Self { answer: None, tells: Vec::new(), then: Some(then) }
    }
}

/// An error with its code.
pub(super) fn fault<T>(code: i64, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { code, message: message.into() })
}

/// An answer as a message.
pub(super) fn message(id: &Value, answer: &Answer) -> Value {
    match answer {
        Ok(result) => json!({ "id": id, "result": result }),
        Err(fault) => json!({ "id": id, "error": { "code": fault.code, "message": fault.message } }),
    }
}
