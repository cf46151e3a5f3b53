//! Everything survives the way over a link, and nothing else is read.

use motehub_domain::artifact::{ArtifactKind, Digest};
use motehub_domain::device::Dialect;
use motehub_domain::flow::{Passed, StepId};
use motehub_domain::id::{CommandId, DeviceId, Id};
use motehub_domain::kept::Principal;
use motehub_domain::message::{Downlink, FirmwareSignal, Offer, Order, Outcome, Secret, Uplink};
use motehub_domain::report::{Announcement, Crash, Event, Level, LogLine, Progress, Running, TaskReport};
use motehub_domain::shadow::{
    Deed, Delta, Expiry, Part, Patch, Refusal, Request, Section, Shadow, ShadowName, Told, Update,
};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::{TopicFilter, TopicRights};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{Wire, decode, encode};
use crate::aws::Ask;
use crate::{Identity, MqttMessage, jobs, shadow as shadows};

fn id<Kind>() -> impl Strategy<Value = Id<Kind>> {
    (any::<u64>(), any::<u128>()).prop_map(|(ms, random)| Id::from_parts(ms & ((1 << 48) - 1), random >> 48))
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4).prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

fn members() -> impl Strategy<Value = Map<String, Value>> {
    vec((any::<String>(), json()), 0..4).prop_map(|it| it.into_iter().collect())
}

fn time() -> impl Strategy<Value = Time> {
    any::<i64>().prop_map(Time)
}

fn span() -> impl Strategy<Value = Span> {
    any::<i64>().prop_map(Span)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn name() -> impl Strategy<Value = Option<ShadowName>> {
    option::of("[a-z0-9_:-]{1,64}").prop_map(|text| text.and_then(|text| ShadowName::parse(&text)))
}

fn point() -> impl Strategy<Value = Point> {
    let when = prop_oneof![time().prop_map(When::At), span().prop_map(When::Before)];
    let value = prop_oneof![
        (-1e300..1e300).prop_map(PointValue::Number),
        any::<bool>().prop_map(PointValue::Boolean),
        any::<String>().prop_map(PointValue::Text),
        any::<String>().prop_map(PointValue::Json),
    ];
    ("[a-zä ./]{1,30}", when, value).prop_map(|(metric, time, value)| Point {
        metric: Metric::parse(&metric).expect("it is a name"),
        time,
        value,
    })
}

fn announcement() -> impl Strategy<Value = Announcement> {
    let running = option::of(prop_oneof![Just(Running::Nothing), digest().prop_map(Running::Artifact)]);
    let words = [text().boxed(), text().boxed(), text().boxed(), text().boxed()];
    let rest = (vec(any::<String>(), 0..3), option::of(any::<i64>()), running, any::<bool>(), members());
    (words, rest).prop_map(|([model, firmware, version, reset], rest)| {
        let (capabilities, free_memory, running, safe_mode, attributes) = rest;
        Announcement {
            model,
            firmware,
            version,
            reset,
            capabilities,
            free_memory,
            running,
            safe_mode,
            attributes,
        }
    })
}

fn progress() -> impl Strategy<Value = Progress> {
    let crash = (any::<String>(), text(), option::of(any::<i64>()), any::<bool>());
    prop_oneof![
        text().prop_map(Progress::Fetching),
        Just(Progress::Applying),
        Just(Progress::Done),
        crash.prop_map(|(reason, traceback, crashes, safe_mode)| {
            Progress::Failed(Crash { reason, traceback, crashes, safe_mode })
        }),
    ]
}

fn signal() -> impl Strategy<Value = FirmwareSignal> {
    let started = (text(), any::<String>(), text(), option::of(any::<bool>()));
    prop_oneof![
        text().prop_map(FirmwareSignal::Transferring),
        Just(FirmwareSignal::Transferred),
        started.prop_map(|(name, version, build, committed)| {
            FirmwareSignal::Started { name, version, build, committed }
        }),
        Just(FirmwareSignal::Committed),
        any::<String>().prop_map(FirmwareSignal::Failed),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let part = || prop_oneof![Just(Part::Untouched), Just(Part::Removed), members().prop_map(Part::Merged)];
    let patch = prop_oneof![
        Just(Patch::Clear),
        (part(), part()).prop_map(|(desired, reported)| Patch::Parts { desired, reported }),
    ];
    let update = (patch, option::of(members()), option::of(any::<i64>()), text(), option::of(span()));
    let update = update.prop_map(|(state, tags, version, token, expires_in)| Update {
        state,
        tags,
        version,
        token,
        expires_in,
    });
    let deed = prop_oneof![
        text().prop_map(Deed::Get),
        update.prop_map(|update| Deed::Update(Box::new(update))),
        text().prop_map(Deed::Delete),
    ];
    (name(), deed).prop_map(|(shadow, deed)| Request { shadow, deed })
}

fn uplink() -> impl Strategy<Value = Uplink> {
    let level = proptest::sample::select(Level::ALL.to_vec());
    let line = (level, any::<String>(), option::of(time()));
    let line = line.prop_map(|(level, text, time)| LogLine { level, text, time });
    let event = (any::<String>(), json(), option::of(time()));
    let outcome = prop_oneof![
        option::of(json()).prop_map(Outcome::Done),
        any::<String>().prop_map(Outcome::Failed),
        (any::<i64>(), any::<String>()).prop_map(|(code, message)| Outcome::Refused { code, message }),
    ];
    prop_oneof![
        vec(point(), 0..5).prop_map(Uplink::Telemetry),
        (point(), any::<String>()).prop_map(|(point, unit)| Uplink::Unit { metric: point.metric, unit }),
        Just(Uplink::Alive),
        Just(Uplink::Polled),
        digest().prop_map(|digest| Uplink::Fetched { digest }),
        announcement().prop_map(|said| Uplink::Announced(Box::new(said))),
        event.prop_map(|(name, data, time)| Uplink::Event(Event { name, data, time })),
        vec(line, 0..4).prop_map(Uplink::Log),
        (digest(), progress()).prop_map(|(digest, progress)| Uplink::Task(TaskReport { digest, progress })),
        signal().prop_map(Uplink::Firmware),
        request().prop_map(Uplink::Shadow),
        (id(), outcome).prop_map(|(command, outcome)| Uplink::Reply { command, outcome }),
        passed().prop_map(Uplink::Passed),
    ]
}

fn passed() -> impl Strategy<Value = Box<Passed>> {
    let parts = (id(), "[a-z_]{1,8}", any::<i64>(), json());
    parts.prop_map(|(flow, from, id, value)| {
        Box::new(Passed { flow, from: StepId::parse(&from).expect("an id"), id, value })
    })
}

fn shadow() -> impl Strategy<Value = Shadow> {
    let section = || (members(), members()).prop_map(|(values, times)| Section { values, times });
    let told = (any::<i64>(), time(), option::of(time()));
    let told = told.prop_map(|(times, at, again_at)| Told { times, at, again_at });
    let numbers = (any::<i64>(), time(), any::<bool>(), any::<i64>());
    let parts = (id(), name(), section(), section(), members(), members().prop_map(Expiry), told, numbers);
    parts.prop_map(|(device, name, desired, reported, tags, expiry, told, numbers)| {
        let (version, updated_at, is_deleted, revision) = numbers;
        Shadow {
            device,
            name,
            desired,
            reported,
            tags,
            version,
            updated_at,
            is_deleted,
            expiry,
            told,
            revision,
        }
    })
}

fn downlink() -> impl Strategy<Value = Downlink> {
    let kind = prop_oneof![
        (id(), any::<i64>()).prop_map(|(script, version)| ArtifactKind::Script { script, version }),
        id().prop_map(ArtifactKind::Firmware),
    ];
    let offer =
        (kind, digest(), any::<u64>(), span()).prop_map(|(kind, digest, size_bytes, health_window)| Offer {
            kind,
            digest,
            size_bytes,
            health_window,
        });
    let order = (id::<motehub_domain::id::kind::Command>(), any::<String>(), json(), time(), span());
    let order = order.prop_map(|(id, name, arguments, expires_at, ttl): (CommandId, _, _, _, _)| Order {
        id,
        name,
        arguments,
        expires_at,
        ttl,
    });
    let delta = (name(), any::<i64>(), time(), members(), members(), any::<bool>());
    let delta = delta.prop_map(|(shadow, version, at, state, times, is_again)| Delta {
        shadow,
        version,
        at,
        state,
        times,
        is_again,
    });
    prop_oneof![
        any::<(String, String)>()
            .prop_map(|(credential, coap_key)| Downlink::Credential(Secret { credential, coap_key })),
        offer.prop_map(Downlink::Offer),
        digest().prop_map(Downlink::Cancel),
        digest().prop_map(Downlink::Commit),
        digest().prop_map(Downlink::Revert),
        order.prop_map(Downlink::Command),
        delta.prop_map(|delta| Downlink::Delta(Box::new(delta))),
        shadow().prop_map(|shadow| Downlink::Shadow(Box::new(shadow))),
        passed().prop_map(Downlink::Passed),
    ]
}

fn returns<T: Wire + PartialEq + std::fmt::Debug>(what: &T) {
    let bytes = encode(what);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(what));
    // Neither more nor less.
    assert!(decode::<T>(&[&bytes[..], &[0]].concat()).is_err());
    assert!(decode::<T>(&bytes[..bytes.len() - 1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_devices_say_survives(uplink in uplink()) {
        returns(&uplink);
    }

    #[test]
    fn what_is_said_to_devices_survives(downlink in downlink()) {
        returns(&downlink);
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode::<Uplink>(&bytes);
        let _ = decode::<Vec<Downlink>>(&bytes);
        let _ = decode::<Result<Option<Shadow>, String>>(&bytes);
    }
}

#[test]
fn the_small_things_survive() {
    let device = DeviceId::from_parts(1, 2);
    for dialect in Dialect::ALL {
        returns(&Identity { device, external_id: Some("lamp-1".to_owned()), dialect });
    }
    let filters = ["a/+/#", "$aws/things/x/shadow/get"].map(|text| TopicFilter::parse(text).unwrap());
    returns(&TopicRights { publish: filters.to_vec(), subscribe: Vec::new() });
    returns(&vec![Principal::Device(device), Principal::Token(Id::from_parts(3, 4)), Principal::Anonymous]);
    for refusal in
        [Refusal::InvalidNode("x".to_owned()), Refusal::NoShadow("y".to_owned()), Refusal::Internal]
    {
        let (topic, thing) = ("t".to_owned(), "l".to_owned());
        returns(&Ask::Shadow(shadows::Ask { topic, thing, token: None, request: Err(refusal) }));
    }
    for text in ["get", "start-next", "$next/get", "d1/update", "nonsense"] {
        let full =
            br#"{"status":"FAILED","statusDetails":{"a":"b"},"stepTimeoutInMinutes":5,"clientToken":"c"}"#;
        for payload in [&full[..], b"{}", b"{", br#"{"stepTimeoutInMinutes":-1}"#] {
            returns(&Ask::Job(jobs::ask(&format!("$aws/things/lamp/jobs/{text}"), payload).unwrap()));
        }
    }
    returns(&MqttMessage { topic: "t".to_owned(), payload: vec![0, 255], qos: 1 });
    returns(&std::net::SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7)));
}

#[test]
fn a_length_that_is_only_claimed_makes_nothing() {
    // An array of 2^60 items, and nothing behind it.
    assert!(decode::<Vec<u64>>(b"\x9b\x10\x00\x00\x00\x00\x00\x00\x00").is_err());
    assert!(decode::<bytes::Bytes>(b"\x5b\x10\x00\x00\x00\x00\x00\x00\x00").is_err());
    assert!(decode::<String>(b"\x7b\x10\x00\x00\x00\x00\x00\x00\x00").is_err());
}
