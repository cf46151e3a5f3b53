//! The rules of AWS as data, and what is our own: tags, time limits, pauses.

use serde_json::json;

use super::*;
use crate::device::Dialect;

const NOW: Time = Time(1_763_690_400_000);

fn lamp() -> Device {
    Device {
        id: DeviceId::from_parts(1, 1),
        name: "Lamp".into(),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: Some("lamp-1".into()),
        tags: Vec::new(),
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: NOW,
        revision: 1,
    }
}

fn ada() -> Actor {
    Actor::User("Ada".into())
}

fn own() -> Actor {
    Actor::Device("Lamp".into())
}

/// The only call of the verb.
fn change(before: &Shadow, value: Value, actor: &Actor, now: Time) -> Result<(Shadow, Effects), Refusal> {
    update(&lamp(), before, 0, &Update::of(value)?, actor, now)
}

/// A shadow after these changes by Ada.
fn after(changes: impl IntoIterator<Item = Value>) -> Shadow {
    changes.into_iter().fold(Shadow::none(lamp().id, None), |shadow, value| {
        change(&shadow, value.clone(), &ada(), NOW).unwrap_or_else(|e| panic!("{value}: {e}")).0
    })
}

fn told(effects: &Effects) -> Option<Value> {
    effects.send.iter().find_map(|(_, downlink)| match downlink {
        Downlink::Delta(delta) => Some(Value::Object(delta.state.clone())),
        _ => None,
    })
}

#[test]
fn leaves_are_merged_taken_away_and_replaced() {
    let state =
        |desired: Value, reported: Value| json!({ "state": { "desired": desired, "reported": reported } });
    let cases = [
        (state(json!({ "a": 1 }), json!({})), json!({ "b": 2 }), json!({ "a": 1, "b": 2 })),
        (
            state(json!({ "a": { "x": 1, "y": 2 } }), json!(null)),
            json!({ "a": { "y": 3 } }),
            json!({ "a": { "x": 1, "y": 3 } }),
        ),
        (
            state(json!({ "a": { "x": 1, "y": 2 } }), json!(null)),
            json!({ "a": { "y": null } }),
            json!({ "a": { "x": 1 } }),
        ),
        (state(json!({ "a": 1, "b": 1 }), json!(null)), json!({ "b": null }), json!({ "a": 1 })),
        (state(json!({ "a": 1 }), json!(null)), json!({ "a": null }), json!(null)),
        (state(json!({ "a": { "x": 1 } }), json!(null)), json!({ "a": { "x": null } }), json!(null)),
        (state(json!({ "a": [1, 2, 3] }), json!(null)), json!({ "a": [4] }), json!({ "a": [4] })),
        (state(json!({ "a": 1 }), json!(null)), json!({ "a": { "x": {} } }), json!({ "a": { "x": {} } })),
        (state(json!({ "a": { "x": 1 } }), json!(null)), json!({ "a": {} }), json!({ "a": { "x": 1 } })),
        (state(json!({ "a": { "x": 1 } }), json!(null)), json!({ "a": 5 }), json!({ "a": 5 })),
        (state(json!({ "a": 1 }), json!(null)), json!({ "a": { "x": { "y": null } } }), json!(null)),
    ];
    for (first, patch, expected) in cases {
        let shadow = after([first.clone(), json!({ "state": { "desired": patch } })]);
        let document = document(&shadow, None, NOW);
        assert_eq!(document["state"]["desired"], expected, "{first} and {patch}");
        let times = &document["metadata"]["desired"];
        assert_eq!(times.is_null(), expected.is_null(), "{first} and {patch}: {times}");
    }
}

#[test]
fn a_part_or_all_is_taken_away_by_null() {
    let both = json!({ "state": { "desired": { "a": 1 }, "reported": { "a": 2 } } });
    let state = |change: Value| document(&after([both.clone(), change]), None, NOW)["state"].clone();
    assert_eq!(state(json!({ "state": { "desired": null } })), json!({ "reported": { "a": 2 } }));
    assert_eq!(state(json!({ "state": { "reported": null } }))["delta"], json!({ "a": 1 }));
    let (shadow, effects) = change(&after([both.clone()]), json!({ "state": null }), &ada(), NOW).unwrap();
    let at = NOW.0 / 1000;
    let expected = json!({ "state": null, "metadata": { "timestamp": at }, "version": 2, "timestamp": at });
    assert_eq!(effects.say[0].payload, expected);
    let expected = json!({ "state": {}, "metadata": {}, "version": 2, "timestamp": at });
    assert_eq!(document(&shadow, None, NOW), expected);
}

#[test]
fn the_delta_is_what_is_desired_and_not_reported() {
    let cases = [
        (json!({ "a": 1 }), json!({ "a": 1 }), json!({})),
        (json!({ "a": 1 }), json!({ "a": 1.0 }), json!({})),
        (
            json!({ "a": 9007199254740993_i64 }),
            json!({ "a": 9007199254740992_i64 }),
            json!({ "a": 9007199254740993_i64 }),
        ),
        (json!({ "a": 1 }), json!({ "a": true }), json!({ "a": 1 })),
        (json!({ "a": 1, "b": 2 }), json!({ "a": 1, "c": 3 }), json!({ "b": 2 })),
        (json!({ "a": { "x": 1, "y": 2 } }), json!({ "a": { "x": 1, "y": 3 } }), json!({ "a": { "y": 2 } })),
        (json!({ "a": { "x": 1 } }), json!({ "a": 5 }), json!({ "a": { "x": 1 } })),
        (json!({ "a": { "x": 1 } }), json!({ "a": { "x": 1, "z": 1 } }), json!({})),
        (json!({ "a": [1, 2] }), json!({ "a": [1, 3] }), json!({ "a": [1, 2] })),
        (json!({ "a": [1, { "b": 2 }] }), json!({ "a": [1.0, { "b": 2.0 }] }), json!({})),
        (json!({ "a": {} }), json!({}), json!({ "a": {} })),
        (json!({}), json!({ "a": 1 }), json!({})),
    ];
    for (desired, reported, expected) in cases {
        let objects = (desired.as_object().unwrap(), reported.as_object().unwrap());
        assert_eq!(Value::Object(difference(objects.0, objects.1)), expected, "{desired} and {reported}");
    }
}

#[test]
fn documents_are_those_of_aws() {
    let at = NOW.0 / 1000;
    let later = NOW + Span::seconds(10);
    let first = after([
        json!({ "state": { "desired": { "on": true, "rgb": [1, 2] }, "reported": { "on": false } } }),
    ]);
    let wish =
        json!({ "state": { "desired": { "on": false, "rgb": null } }, "version": 1, "clientToken": "t" });
    let (second, effects) = change(&first, wish, &ada(), later).unwrap();
    let stamp = |seconds: i64| json!({ "timestamp": seconds });
    let accepted = json!({
        "state": { "desired": { "on": false, "rgb": null } },
        "metadata": { "desired": { "on": stamp(at + 10), "rgb": stamp(at + 10) } },
        "version": 2, "timestamp": at + 10, "clientToken": "t",
    });
    let documents = json!({
        "previous": {
            "state": { "desired": { "on": true, "rgb": [1, 2] }, "reported": { "on": false } },
            "metadata": { "desired": { "on": stamp(at), "rgb": [stamp(at), stamp(at)] }, "reported": { "on": stamp(at) } },
            "version": 1,
        },
        "current": {
            "state": { "desired": { "on": false }, "reported": { "on": false } },
            "metadata": { "desired": { "on": stamp(at + 10) }, "reported": { "on": stamp(at) } },
            "version": 2,
        },
        "timestamp": at + 10, "clientToken": "t",
    });
    let said: Vec<(Saying, Value)> =
        effects.say.into_iter().map(|said| (said.saying, said.payload)).collect();
    assert_eq!(said, [(Saying::UpdateAccepted, accepted), (Saying::Documents, documents)]);
    assert_eq!(second.delta(), None);
    let whole = json!({
        "state": { "desired": { "on": true, "rgb": [1, 2] }, "reported": { "on": false },
            "delta": { "on": true, "rgb": [1, 2] } },
        "metadata": {
            "desired": { "on": stamp(at), "rgb": [stamp(at), stamp(at)] }, "reported": { "on": stamp(at) },
            "delta": { "on": stamp(at), "rgb": [stamp(at), stamp(at)] },
        },
        "version": 1, "timestamp": at + 60, "clientToken": "g",
    });
    assert_eq!(document(&first, Some("g"), NOW + Span::seconds(60)), whole);
}

#[test]
fn what_is_wrong_is_refused_in_the_words_of_aws() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |value, _| json!({ "a": value }));
    let desired = |value: Value| json!({ "state": { "desired": value } });
    let cases = [
        (json!([]), 400, "Invalid JSON"),
        (json!({}), 400, "Missing required node: state"),
        (json!({ "state": 1 }), 400, "State node must be an object"),
        (desired(json!([])), 400, "Desired node must be an object"),
        (json!({ "state": { "reported": "x" } }), 400, "Reported node must be an object"),
        (json!({ "state": {}, "version": "1" }), 400, "Invalid version"),
        (json!({ "state": {}, "version": 1.5 }), 400, "Invalid version"),
        (json!({ "state": {}, "version": -1 }), 400, "Invalid version"),
        (json!({ "state": {}, "clientToken": "x".repeat(65) }), 400, "Invalid clientToken"),
        (json!({ "state": {}, "clientToken": 5 }), 400, "Invalid clientToken"),
        (desired(deep(7)), 400, "JSON contains too many levels of nesting; maximum is 6"),
        (json!({ "state": { "wanted": {} } }), 400, "State contains an invalid node: 'wanted'"),
        (json!({ "state": { "delta": {} } }), 400, "State contains an invalid node: 'delta'"),
        (desired(json!({ "a": { "b": [1, [null]] } })), 400, "State contains an invalid node: 'b'"),
        (json!({ "state": {}, "version": 7 }), 409, "Version conflict"),
        (desired(json!({ "a": "x".repeat(9_000) })), 413, "The payload exceeds the maximum size allowed"),
        (json!({ "state": {}, "expires_in_seconds": 0 }), 400, "expires_in_seconds is 1 to 31622400"),
    ];
    let shadow = after([desired(json!({ "a": 1 }))]);
    for (value, code, message) in cases {
        let refusal = change(&shadow, value.clone(), &ada(), NOW).unwrap_err();
        assert_eq!((refusal.code(), refusal.to_string().as_str()), (code, message), "{value}");
    }
    assert!(change(&shadow, desired(deep(6)), &ada(), NOW).is_ok());
    assert!(change(&shadow, json!({ "state": {}, "clientToken": "x".repeat(64) }), &ada(), NOW).is_ok());
    // Each is small enough by itself, together they are not.
    let half = |name: &str| desired(json!({ name: "x".repeat(5_000) }));
    assert_eq!(change(&after([half("a")]), half("b"), &ada(), NOW).unwrap_err(), Refusal::TooLarge);
}

#[test]
fn versions_go_on_after_a_deletion() {
    let shadow = after([json!({ "state": { "desired": { "a": 1 } } }), json!({ "state": {} })]);
    let effects = delete(&lamp(), &shadow, Some("t"), &ada(), NOW).unwrap();
    let [Save::Shadow(deleted, Some(_))] = &effects.save[..] else { panic!("{effects:?}") };
    assert!(!deleted.exists());
    let expected = json!({ "version": 2, "timestamp": NOW.0 / 1000, "clientToken": "t" });
    assert_eq!((effects.say[0].saying, &effects.say[0].payload), (Saying::DeleteAccepted, &expected));
    let again = delete(&lamp(), deleted, None, &ada(), NOW).unwrap_err();
    assert_eq!((again.code(), again.to_string()), (404, "No shadow exists with name: 'lamp-1'".to_owned()));
    let made = change(deleted, json!({ "state": { "reported": { "a": 1 } } }), &own(), NOW).unwrap().0;
    assert_eq!((made.version, made.exists(), made.desired), (3, true, Section::default()));
}

#[test]
fn a_wrong_report_earns_a_delta_and_stubborn_ones_earn_pauses() {
    let mut shadow = after([json!({ "state": { "desired": { "on": true } } })]);
    let mut times = Vec::new();
    // It reports the wrong thing four times a second for an hour.
    for quarter in 1..=4 * 3_600 {
        let now = Time(NOW.0 + quarter * 250);
        let (next, effects) =
            change(&shadow, json!({ "state": { "reported": { "on": false } } }), &own(), now).unwrap();
        times.extend(told(&effects).map(|_| quarter));
        shadow = next;
        if shadow.deadline().is_some_and(|at| at <= now) {
            panic!("what is due was said");
        }
    }
    assert_eq!(times[..5], [1, 2, 6, 14, 30]);
    assert!(times.len() < 25, "{times:?}");
    // A new wish is said at once; when it is done there is nothing more to say.
    let later = NOW + Span::minutes(60);
    let (shadow, effects) =
        change(&shadow, json!({ "state": { "desired": { "on": 5 } } }), &ada(), later).unwrap();
    assert_eq!(told(&effects), Some(json!({ "on": 5 })));
    let (shadow, effects) =
        change(&shadow, json!({ "state": { "reported": { "on": 5 } } }), &own(), later).unwrap();
    assert_eq!((told(&effects), shadow.told, shadow.deadline()), (None, Told::default(), None));
}

#[test]
fn what_was_held_back_is_said_when_its_time_comes() {
    let mut shadow = after([json!({ "state": { "desired": { "on": true } } })]);
    for _ in 0..5 {
        shadow = change(&shadow, json!({ "state": { "reported": { "on": false } } }), &own(), NOW).unwrap().0;
    }
    let due = shadow.deadline().unwrap();
    assert_eq!(due, NOW + Span::seconds(1));
    assert!(elapsed(&lamp(), shadow.clone(), NOW).is_empty());
    let effects = elapsed(&lamp(), shadow.clone(), due);
    assert_eq!(told(&effects), Some(json!({ "on": true })));
    let [Save::Shadow(said, None)] = &effects.save[..] else { panic!("{effects:?}") };
    assert_eq!((said.deadline(), said.version), (None, shadow.version));
    // Whoever begins to listen is told in any case.
    assert_eq!(told(&came(said)), Some(json!({ "on": true })));
}

#[test]
fn desired_values_end_by_their_time_limit() {
    let wish = |desired: Value, seconds: Option<i64>| json!({ "state": { "desired": desired }, "expires_in_seconds": seconds });
    let shadow = after([
        wish(json!({ "a": 1, "b": { "x": 1, "y": [1] }, "c": 1 }), Some(60)),
        wish(json!({ "b": { "x": 2 } }), None),
        wish(json!({ "c": 2 }), Some(120)),
    ]);
    assert_eq!(shadow.deadline(), Some(NOW + Span::seconds(60)));
    let end = |shadow: &Shadow, seconds| {
        let effects = elapsed(&lamp(), shadow.clone(), NOW + Span::seconds(seconds));
        let saved = effects.save.into_iter().find_map(|save| match save {
            Save::Shadow(shadow, kept) => Some((*shadow, kept.map(|kept| kept.actor))),
            _ => None,
        });
        saved.unwrap_or_else(|| (shadow.clone(), None))
    };
    assert_eq!(end(&shadow, 59).0, shadow);
    let (shadow, actor) = end(&shadow, 60);
    assert_eq!(Value::Object(shadow.desired.values.clone()), json!({ "b": { "x": 2 }, "c": 2 }));
    assert_eq!((actor, shadow.version), (Some(Actor::System), 4));
    let (shadow, _) = end(&shadow, 120);
    assert_eq!(Value::Object(shadow.desired.values.clone()), json!({ "b": { "x": 2 } }));
    assert_eq!(shadow.deadline(), None);
}

#[test]
fn a_device_has_no_say_in_tags_and_time_limits() {
    let value = json!({ "state": {}, "tags": { "a": 1 }, "expires_in_seconds": 5 });
    let update = Update::from_device(value.clone()).unwrap();
    assert_eq!((update.tags, update.expires_in), (None, None));
    assert_eq!(after([value]).tags.len(), 1);
}

#[test]
fn what_a_device_reports_is_no_line_of_the_activity_log() {
    let report = json!({ "state": { "reported": { "on": true } } });
    let none = Shadow::none(lamp().id, None);
    let (shadow, effects) = change(&none, report.clone(), &own(), NOW).unwrap();
    assert_eq!((effects.changes.len(), effects.save.len()), (0, 1));
    let kept = |effects: &Effects| matches!(effects.save[..], [Save::Shadow(_, Some(_))]);
    assert!(kept(&effects));
    // Said again it is a new version and nothing new for the history.
    let (again, effects) = change(&shadow, report, &own(), NOW).unwrap();
    assert_eq!((again.version, kept(&effects)), (2, false));
    let (_, effects) =
        change(&again, json!({ "state": { "desired": { "on": false } } }), &ada(), NOW).unwrap();
    assert_eq!(effects.changes[0].kind, ChangeKind::ShadowUpdated);
}

#[test]
fn shadows_have_names_and_a_number() {
    for (text, expected) in [("a", true), ("a-b_c:1", true), ("", false), ("a b", false), ("a/b", false)] {
        assert_eq!(ShadowName::parse(text).is_some(), expected, "{text}");
    }
    assert!(ShadowName::parse(&"x".repeat(65)).is_none());
    let update = Update::of(json!({ "state": {} })).unwrap();
    let none = Shadow::none(lamp().id, ShadowName::parse("a"));
    let refused = super::update(&lamp(), &none, SHADOWS_MAX, &update, &ada(), NOW).unwrap_err();
    assert_eq!(refused, Refusal::TooManyShadows);
}

#[test]
fn what_was_desired_is_desired_again() {
    let wishes = [
        json!({ "on": true, "rgb": [1, 2], "a": { "x": 1, "y": { "z": 1 } } }),
        json!({ "on": false, "a": { "y": { "z": 1 } } }),
        json!({ "on": { "deep": 1 }, "rgb": [1] }),
        json!({ "a": 5 }),
        json!({}),
    ];
    let as_desired = |wish: &Value| after([json!({ "state": { "desired": wish } })]);
    for (now, then) in wishes.iter().flat_map(|now| wishes.iter().map(move |then| (now, then))) {
        let (shadow, then) = (as_desired(now), as_desired(then));
        let update = Update::restoring(&shadow, &then.revision_by(&ada()));
        let restored = super::update(&lamp(), &shadow, 0, &update, &ada(), NOW).unwrap().0;
        assert_eq!(restored.desired.values, then.desired.values, "{now} to {:?}", then.desired.values);
        let is_same = now.as_object() == Some(&then.desired.values);
        assert_eq!(patch(&shadow.desired.values, &then.desired.values).is_empty(), is_same);
    }
}
