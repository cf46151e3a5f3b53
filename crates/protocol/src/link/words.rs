//! The table: everything of the domain that passes over a link, field by field.

use std::net::SocketAddr;

use motehub_domain::artifact::{ArtifactKind, Digest};
use motehub_domain::device::Dialect;
use motehub_domain::flow::{Passed, StepId};
use motehub_domain::id::Id;
use motehub_domain::job;
use motehub_domain::kept::{self, Principal};
use motehub_domain::line::Line;
use motehub_domain::message::{Downlink, FirmwareSignal, Offer, Order, Outcome, Secret, Uplink};
use motehub_domain::report::{Announcement, Crash, Event, Level, LogLine, Progress, Running, TaskReport};
use motehub_domain::shadow::{
    Deed, Delta, Expiry, Part, Patch, Refusal, Request, Section, Shadow, ShadowName, Told, Update,
};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::{TopicFilter, TopicRights};
use serde_json::{Map, Value};

use super::{Reader, Wire, Writer};
use crate::aws::Ask;
use crate::{DecodeError, Identity, MqttMessage, jobs, payload, shadow};

crate::wire! {
    struct Secret { credential, coap_key }
    struct Identity { device, external_id, dialect }
    struct Passed { flow, from, id, value }
    struct TopicRights { publish, subscribe }
    struct Point { metric, time, value }
    struct Announcement {
        model, firmware, version, reset, capabilities, free_memory, running, safe_mode, attributes
    }
    struct Event { name, data, time }
    struct LogLine { level, text, time }
    struct TaskReport { digest, progress }
    struct Crash { reason, traceback, crashes, safe_mode }
    struct Request { shadow, deed }
    struct Update { state, tags, version, token, expires_in }
    struct shadow::Ask { topic, thing, token, request }
    struct jobs::Ask { topic, thing, token, request }
    struct job::JobId { deployment, number }
    struct job::Update { status, details, step, expected_version, with_state, with_document }
    struct MqttMessage { topic, payload, qos }
    struct kept::Message { topic, payload, qos, retain, properties, expires_at }
    struct kept::Subscription { qos, no_local, retain_as_published, id }
    struct Shadow {
        device, name, desired, reported, tags, version, updated_at, is_deleted, expiry, told, revision
    }
    struct Section { values, times }
    struct Told { times, at, again_at }
    struct Delta { shadow, version, at, state, times, is_again }
    struct Order { id, name, arguments, expires_at, ttl }
    struct Offer { kind, digest, size_bytes, health_window }
}

crate::wire! {
    enum Uplink {
        0 = Telemetry(points),
        1 = Alive,
        2 = Polled,
        3 = Fetched { digest },
        4 = Announced(said),
        5 = Event(event),
        6 = Log(lines),
        7 = Task(report),
        8 = Firmware(signal),
        9 = Shadow(request),
        10 = Reply { command, outcome },
        11 = Unit { metric, unit },
        12 = Passed(passed),
    }
    enum Downlink {
        0 = Credential(secret),
        1 = Offer(offer),
        2 = Cancel(digest),
        3 = Commit(digest),
        4 = Command(order),
        5 = Delta(delta),
        6 = Shadow(shadow),
        7 = Revert(digest),
        8 = Passed(passed),
    }
    enum PointValue { 0 = Number(number), 1 = Boolean(truth), 2 = Text(text), 3 = Json(text) }
    enum When { 0 = At(time), 1 = Before(span) }
    enum Running { 0 = Nothing, 1 = Artifact(digest) }
    enum Progress { 0 = Fetching(remark), 1 = Applying, 2 = Done, 3 = Failed(crash) }
    enum FirmwareSignal {
        0 = Transferring(remark),
        1 = Transferred,
        2 = Started { name, version, build, committed },
        3 = Committed,
        4 = Failed(why),
    }
    enum Outcome { 0 = Done(result), 1 = Failed(why), 2 = Refused { code, message } }
    enum ArtifactKind { 0 = Script { script, version }, 1 = Firmware(firmware) }
    enum Deed { 0 = Get(token), 1 = Update(update), 2 = Delete(token) }
    enum Patch { 0 = Clear, 1 = Parts { desired, reported } }
    enum Part { 0 = Untouched, 1 = Removed, 2 = Merged(members) }
    enum Principal { 0 = Device(device), 1 = Token(token), 2 = Anonymous }
    enum Ask { 0 = Shadow(ask), 1 = Job(ask) }
    enum job::Request {
        0 = Pending,
        1 = StartNext { details, step },
        2 = Describe { job, with_document },
        3 = Update(job, update),
    }
    enum job::Step { 0 = Lasts(span), 1 = Unlimited }
    enum Refusal {
        0 = InvalidJson,
        1 = MissingState,
        2 = StateNotObject,
        3 = DesiredNotObject,
        4 = ReportedNotObject,
        5 = InvalidVersion,
        6 = InvalidToken,
        7 = TooDeep,
        8 = InvalidNode(name),
        9 = InvalidExpiry,
        10 = TagsNotObject,
        11 = InvalidName,
        12 = Unauthorized,
        13 = Forbidden,
        14 = NoThing,
        15 = NoShadow(name),
        16 = VersionConflict,
        17 = TooLarge,
        18 = Encoding,
        19 = TooManyShadows,
        20 = TooManyRequests,
        21 = Internal,
    }
}

/// Things that are one other thing in disguise.
macro_rules! disguised {
    ($($name:ty as $inner:ty: $out:expr, $into:expr;)*) => {$(
        impl Wire for $name {
            fn put(&self, writer: &mut Writer) {
                let out: fn(&$name) -> $inner = $out;
                out(self).put(writer);
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let into: fn($inner) -> Option<$name> = $into;
                let inner = <$inner as Wire>::get(reader)?;
                into(inner).ok_or_else(|| reader.wrong(concat!("no ", stringify!($name))))
            }
        }
    )*};
}

disguised! {
    Time as i64: |time| time.0, |ms| Some(Time(ms));
    Span as i64: |span| span.0, |ms| Some(Span(ms));
    SocketAddr as String: |address| address.to_string(), |text| text.parse().ok();
    Expiry as Map<String, Value>: |expiry| expiry.0.clone(), |times| Some(Expiry(times));
    Metric as String: |metric| metric.as_str().to_owned(), |text| Metric::parse(&text).ok();
    StepId as String: |id| id.as_str().to_owned(), |text| StepId::parse(&text).ok();
    ShadowName as String: |name| name.as_str().to_owned(), |text| ShadowName::parse(&text);
    TopicFilter as String: |filter| filter.as_str().to_owned(), |text| TopicFilter::parse(&text).ok();
    Dialect as String: |dialect| dialect.as_str().to_owned(), |text| Dialect::parse(&text).ok();
    job::Status as String: |status| status.as_str().to_owned(), |text| job::Status::parse(&text);
    job::Details as Vec<(String, String)>: |details| details.clone().into_iter().collect(),
        |pairs| Some(pairs.into_iter().collect());
    Level as String: |level| level.as_str().to_owned(), |text| Level::parse(&text);
}

/// Why a request cannot be understood; the hub has more reasons, which it answers itself.
enum NoRequest {
    InvalidTopic,
    InvalidJson,
    InvalidRequest(String),
    RequestThrottled,
    Other,
}

crate::wire! {
    enum NoRequest {
        0 = InvalidTopic,
        1 = InvalidJson,
        2 = InvalidRequest(why),
        3 = RequestThrottled,
        4 = Other,
    }
}

impl Wire for job::Refusal {
    fn put(&self, writer: &mut Writer) {
        let refusal = match self {
            Self::InvalidTopic => NoRequest::InvalidTopic,
            Self::InvalidJson => NoRequest::InvalidJson,
            Self::InvalidRequest(why) => NoRequest::InvalidRequest(why.clone()),
            Self::RequestThrottled => NoRequest::RequestThrottled,
            Self::InvalidStateTransition(_)
            | Self::ResourceNotFound
            | Self::VersionMismatch(_)
            | Self::InternalError
            | Self::TerminalStateReached(_) => NoRequest::Other,
        };
        refusal.put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match NoRequest::get(reader)? {
            NoRequest::InvalidTopic => Self::InvalidTopic,
            NoRequest::InvalidJson => Self::InvalidJson,
            NoRequest::InvalidRequest(why) => Self::InvalidRequest(why),
            NoRequest::RequestThrottled => Self::RequestThrottled,
            NoRequest::Other => Self::InternalError,
        })
    }
}

impl<Kind> Wire for Id<Kind> {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(&self.to_u128().to_be_bytes());
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes()?.try_into().map_err(|_| reader.wrong("an id has 16 bytes"))?;
        let number = u128::from_be_bytes(bytes);
        // The upper 48 bits are a time, so they fit.
        Ok(Self::from_parts((number >> 80) as u64, number & ((1 << 80) - 1)))
    }
}

impl Wire for Digest {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes()?.try_into();
        bytes.map(Self).map_err(|_| reader.wrong("a digest has 32 bytes"))
    }
}

impl Wire for Line {
    fn put(&self, writer: &mut Writer) {
        self.to_json().put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let document = <Value as Wire>::get(reader)?;
        Self::from_json(&document).map_err(|rejection| DecodeError(rejection.sentence))
    }
}

impl Wire for Value {
    fn put(&self, writer: &mut Writer) {
        payload::write(&mut writer.0, self);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        payload::read(&mut reader.0).map_err(|why| reader.wrong(why))
    }
}

impl Wire for Map<String, Value> {
    fn put(&self, writer: &mut Writer) {
        payload::write(&mut writer.0, &Value::Object(self.clone()));
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match <Value as Wire>::get(reader)? {
            Value::Object(members) => Ok(members),
            _ => Err(reader.wrong("no object")),
        }
    }
}
