//! Why something asked about jobs is not done, with the codes of AWS.

use thiserror::Error;

use super::status;
use crate::deployment::Task;

/// Why something asked about jobs is not done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The topic is that of no request.
    #[error("the topic is none of get, start-next, <job>/get and <job>/update")]
    InvalidTopic,
    /// It is no JSON in UTF-8, or names something twice.
    #[error("the payload is not JSON in UTF-8")]
    InvalidJson,
    /// Something in it cannot be taken; the sentence says what and why.
    #[error("{0}")]
    InvalidRequest(String),
    /// The job has ended already.
    #[error("the job execution is {} already", status(.0).as_str())]
    InvalidStateTransition(Box<Task>),
    /// There is no such job for this device.
    #[error("there is no such job execution")]
    ResourceNotFound,
    /// The version is another one.
    #[error("the version is {}", .0.job.version)]
    VersionMismatch(Box<Task>),
    /// It cannot be stored at present.
    #[error("it cannot be read or stored at present: try again later")]
    InternalError,
    /// Too much is asked at once.
    #[error("too many requests at once: wait for answers")]
    RequestThrottled,
    /// Only jobs that have not ended are described.
    #[error("the job execution is {} already", status(.0).as_str())]
    TerminalStateReached(Box<Task>),
}

impl Refusal {
    /// The code of AWS.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidTopic => "InvalidTopic",
            Self::InvalidJson => "InvalidJson",
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::InvalidStateTransition(_) => "InvalidStateTransition",
            Self::ResourceNotFound => "ResourceNotFound",
            Self::VersionMismatch(_) => "VersionMismatch",
            Self::InternalError => "InternalError",
            Self::RequestThrottled => "RequestThrottled",
            Self::TerminalStateReached(_) => "TerminalStateReached",
        }
    }

    /// The task whose state the answer tells, if it does.
    pub(super) fn task(&self) -> Option<&Task> {
        match self {
            Self::InvalidStateTransition(task) | Self::VersionMismatch(task) => Some(task),
            Self::InvalidTopic
            | Self::InvalidJson
            | Self::InvalidRequest(_)
            | Self::ResourceNotFound
            | Self::InternalError
            | Self::RequestThrottled
            | Self::TerminalStateReached(_) => None,
        }
    }
}
