//! The topics of AWS, which every device may use whatever its dialect: what is asked on them, and who may.

use motehub_domain::job;
use motehub_domain::shadow::Refusal;
use motehub_domain::topic::TopicRights;

use crate::{Identity, jobs, shadow};

/// A request that came on a topic of AWS.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// About a shadow.
    Shadow(shadow::Ask),
    /// About jobs.
    Job(jobs::Ask),
}

impl Ask {
    /// The topic on which it came.
    pub fn topic(&self) -> &str {
        match self {
            Self::Shadow(ask) => &ask.topic,
            Self::Job(ask) => &ask.topic,
        }
    }

    /// The device that it is about, by any of its ids.
    pub fn thing(&self) -> &str {
        match self {
            Self::Shadow(ask) => &ask.thing,
            Self::Job(ask) => &ask.thing,
        }
    }

    /// Nothing is done but to say that too much is asked at once.
    pub fn throttle(&mut self) {
        match self {
            Self::Shadow(ask) => ask.request = Err(Refusal::TooManyRequests),
            Self::Job(ask) => ask.request = Err(job::Refusal::RequestThrottled),
        }
    }
}

/// What a publish asks; `None` if its topic is that of no request.
pub fn ask(topic: &str, payload: &[u8]) -> Option<Ask> {
    let shadow = || shadow::ask(topic, payload).map(Ask::Shadow);
    shadow().or_else(|| jobs::ask(topic, payload).map(Ask::Job))
}

/// The topics of a device's own thing.
pub(crate) fn rights(identity: &Identity) -> TopicRights {
    let mut rights = shadow::rights(identity);
    for filter in shadow::things(identity).filter_map(|thing| jobs::own(&thing)) {
        rights.subscribe.push(filter.clone());
        // Which of them are the hub's alone is seen when something is published there.
        rights.publish.push(filter);
    }
    rights
}
