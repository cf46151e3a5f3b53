//! Rules by examples, and that a replay of random rules and signals fires as the live engine.

use proptest::prelude::*;
use serde_json::json;

use super::engine::{State, state_from_json, state_to_json};
use super::*;
use crate::change::Actor;
use crate::effects::Save;
use crate::time::Time;

/// A Monday at 00:00 UTC.
const DAY: Time = Time(1_796_000_400_000 / 86_400_000 * 86_400_000);

fn device() -> DeviceId {
    DeviceId::from_parts(1, 7)
}

fn rule(document: &Value) -> Meaning {
    meaning(document).unwrap_or_else(|wrong| panic!("{document}: {wrong}"))
}

fn at(seconds: i64) -> Time {
    DAY + Span::seconds(seconds)
}

fn point(seconds: i64, value: impl Into<Value>) -> Signal {
    late(seconds, seconds, value)
}

/// Measured and taken.
fn late(measured: i64, taken: i64, value: impl Into<Value>) -> Signal {
    let metric = Metric::parse("t").unwrap();
    Signal { at: at(taken), said: Said::Point { metric, time: at(measured), value: value.into() } }
}

fn reach(seconds: i64, reach: Reach) -> Signal {
    Signal { at: at(seconds), said: Said::Presence(reach) }
}

fn shadow(seconds: i64, reported: Value) -> Signal {
    Signal { at: at(seconds), said: Said::Shadow { desired: Value::Null, reported, by_device: true } }
}

fn event(seconds: i64, name: &str) -> Signal {
    Signal { at: at(seconds), said: Said::Event { name: name.to_owned(), data: json!({ "n": seconds }) } }
}

#[test]
fn a_rule_that_is_changed_leaves_no_alarm_behind() {
    let words = Words {
        name: "Hot".into(),
        description: String::new(),
        enabled: true,
        document: json!({ "when": { "metric": "t" }, "actions": [{ "publish": { "topic": "t", "payload": 1 } }] }),
    };
    let (rule, _) = create(RuleId::from_parts(1, 1), &words, 0, &Actor::System, DAY).unwrap();
    let edited = |words: &Words| edit(&rule, words, &[], &Actor::System, at(1)).unwrap().1.save;
    let looks = |save: &[Save]| save.contains(&Save::NoOpenAlarm(rule.id));
    assert!(looks(&edited(&Words { enabled: false, ..words.clone() })));
    assert!(!looks(&edited(&Words { name: "Warm".into(), ..words })), "it does the same");
    let deleted = delete(&rule, &[], &Actor::System, at(1)).save;
    assert_eq!(deleted, [Save::NoOpenAlarm(rule.id), Save::DeleteRule(rule.id)]);
}

type Done = Vec<(Time, engine::Outcome)>;

/// A rule that is on since the day began is told signals in their order, until a time.
fn replayed(meaning: &Meaning, mut signals: Vec<Signal>, off: &[(i64, i64)], until: i64) -> Done {
    signals.sort_by(Signal::order);
    let pair = Pair { meaning, device: Some(device()) };
    let off = off.iter().map(|(since, up)| (at(*since), at(*up)));
    let mut runner = Runner::new(State::new(DAY), off, DAY);
    let mut known = Known { device: json!({ "name": "Lamp" }), ..Known::default() };
    let mut done = Vec::new();
    for signal in &signals {
        done.extend(runner.advance(pair, &known, signal.at));
        if let Some(fresh) = known.take(signal) {
            done.push((signal.at, runner.take(pair, &known, &fresh, signal.at)));
        }
    }
    done.extend(runner.advance(pair, &known, at(until) - Span(1)));
    done.retain(|(_, outcome)| *outcome != engine::Outcome::default());
    done
}

/// `+12` for fired after 12 s, `-20` for over after 20 s, `!5` for an error after 5 s.
fn told(done: &Done) -> String {
    let mut words = Vec::new();
    for (time, outcome) in done {
        let seconds = (*time - DAY).0 / 1000;
        words.extend(outcome.firing.iter().map(|_| format!("+{seconds}")));
        words.extend(outcome.ended.then(|| format!("-{seconds}")));
        words.extend(outcome.error.iter().map(|_| format!("!{seconds}")));
    }
    words.join(" ")
}

fn warm(more: Value) -> Value {
    let mut document = json!({
        "when": { "metric": "t" }, "condition": "value > 30",
        "actions": [{ "alarm": { "message": "{{ device.name }}: {{ value }} after {{ previous }}" } }],
    });
    let Value::Object(more) = more else { panic!("no members") };
    document.as_object_mut().unwrap().extend(more);
    document
}

fn of(when: Value) -> Value {
    let mut document = json!({ "actions": [{ "publish": { "topic": "alarm", "payload": "{{ event }}" } }] });
    document["when"] = when;
    document
}

#[test]
fn a_rule_fires_when_people_expect_it() {
    let ups_and_downs =
        || [(10, 20), (20, 31), (30, 32), (40, 29), (50, 35)].map(|(s, v)| point(s, v)).to_vec();
    let cases: Vec<(&str, Value, Vec<Signal>, &str)> = vec![
        ("it fires once until it is over", warm(json!({})), ups_and_downs(), "+20 -40 +50"),
        ("it holds long enough", warm(json!({ "for_s": 5 })), ups_and_downs(), "+25 -40 +55"),
        ("it does not hold long enough", warm(json!({ "for_s": 15 })), ups_and_downs(), "+35 -40 +65"),
        ("it is over by another condition", warm(json!({ "until": "value < 25" })), ups_and_downs(), "+20"),
        ("it is quiet", warm(json!({ "quiet_s": 60 })), ups_and_downs(), "+20 -40 +80"),
        (
            "without a condition each point counts",
            of(json!({ "metric": "t" })),
            ups_and_downs(),
            "+10 +20 +30 +40 +50",
        ),
        (
            "an older point, and the same again, are no news",
            of(json!({ "metric": "t" })),
            vec![point(10, 1), late(5, 11, 2), late(10, 12, 1), late(10, 13, 3)],
            "+10 +13",
        ),
        (
            "points that come late hold by their own clock",
            warm(json!({ "for_s": 60 })),
            vec![late(100, 3600, 31), late(130, 3600, 20), late(140, 3600, 31), late(210, 3600, 32)],
            "+3600",
        ),
        (
            "nothing is said for a while",
            of(json!({ "absence": { "metric": "t", "for_s": 60 } })),
            vec![point(10, 1), point(60, 1), point(200, 1), event(230, "x")],
            "+120 -200 +260",
        ),
        (
            "nothing at all is said for a while",
            of(json!({ "absence": { "for_s": 60 } })),
            vec![point(10, 1), event(60, "x"), reach(90, Reach::Offline), shadow(110, json!({ "on": true }))],
            "+170",
        ),
        (
            "it is away for long enough",
            json!({ "when": { "presence": "offline" }, "for_s": 60,
                "actions": [{ "desired": { "path": "on", "value": false } }] }),
            vec![
                reach(1, Reach::Online),
                reach(5, Reach::Offline),
                reach(30, Reach::Online),
                reach(40, Reach::Offline),
            ],
            "+100",
        ),
        (
            "a state becomes another",
            of(json!({ "state": "reported.door" })),
            vec![
                shadow(1, json!({ "door": "open" })),
                shadow(2, json!({ "door": "open", "on": true })),
                shadow(3, json!({})),
            ],
            "+1 +3",
        ),
        (
            "an event with a condition",
            json!({ "when": { "event": "button" }, "condition": "event.data.n > 5",
                "actions": [{ "command": { "name": "blink", "arguments": { "times": "{{ event.data.n }}" } } }] }),
            vec![event(1, "button"), event(6, "door"), event(7, "button"), event(8, "button")],
            "+7 +8",
        ),
        ("by a schedule", of(json!({ "schedule": { "cron": "*/2 * * * *" } })), vec![], "+0 +120 +240"),
        (
            "a mistake is told and changes nothing",
            json!({ "when": { "metric": "t" }, "condition": "value > 30 && device.x",
                "actions": [{ "alarm": { "message": "hot" } }] }),
            vec![point(10, 1), point(20, 31)],
            "!20",
        ),
    ];
    for (why, document, signals, expected) in cases {
        let until = if document["when"]["schedule"].is_object() { 300 } else { 4_000 };
        assert_eq!(told(&replayed(&rule(&document), signals, &[], until)), expected, "{why}");
    }
}

#[test]
fn what_nobody_heard_while_the_hub_was_off_is_no_silence() {
    let absence = rule(&of(json!({ "absence": { "metric": "t", "for_s": 60 } })));
    assert_eq!(told(&replayed(&absence, vec![point(10, 1)], &[(30, 1000)], 1100)), "+1060");
    let schedule = rule(&of(json!({ "schedule": { "cron": "*/5 * * * *" } })));
    assert_eq!(told(&replayed(&schedule, vec![], &[(10, 1000)], 1300)), "+0 +1200");
    let holds = rule(&warm(json!({ "for_s": 60 })));
    assert_eq!(told(&replayed(&holds, vec![point(10, 31)], &[(30, 1000)], 1100)), "+1000");
}

#[test]
fn a_rule_that_sets_off_itself_is_held_up() {
    let each = rule(&of(json!({ "metric": "t" })));
    let signals = (0..100).map(|n| Signal {
        at: DAY + Span(n * 100),
        said: Said::Point { metric: Metric::parse("t").unwrap(), time: DAY + Span(n * 100), value: json!(n) },
    });
    let done = replayed(&each, signals.collect(), &[], 100);
    let firings = done.iter().filter(|(_, outcome)| outcome.firing.is_some()).count();
    assert_eq!(firings, FIRINGS_PER_MINUTE_MAX as usize);
    let why = done.iter().find_map(|(_, outcome)| outcome.error.clone()).unwrap();
    assert!(why.contains("set off itself"), "{why}");
}

#[test]
fn a_trace_says_why() {
    let done = replayed(&rule(&warm(json!({ "for_s": 10 }))), vec![point(10, 20), point(20, 31.5)], &[], 100);
    let firing = done[0].1.firing.as_ref().unwrap();
    assert_eq!(
        firing.trace["came"],
        json!({ "kind": "point", "metric": "t", "time": at(20).0, "value": 31.5 })
    );
    assert_eq!(firing.trace["since"], json!(at(20).0));
    assert_eq!(firing.trace["metrics"], json!({ "t": 31.5 }));
    let message = "Lamp: 31.5 after 20".to_owned();
    assert_eq!(firing.deeds, [Deed::Alarm { severity: Severity::Warning, message }]);
    assert_eq!(Deed::from_json(&firing.trace["actions"][0]).as_ref(), firing.deeds.first());
}

#[test]
fn what_cannot_be_meant_is_refused_in_its_place() {
    let cases = [
        (json!({}), "when: is missing"),
        (warm(json!({ "when": { "metric": "t", "event": "x" } })), "when: exactly one"),
        (warm(json!({ "condition": "value >" })), "condition: column 8"),
        (warm(json!({ "condition": "valu > 1" })), "condition: column 1: there is no valu"),
        (warm(json!({ "devices": "tag=" })), "devices: column"),
        (warm(json!({ "devices": "online" })), "devices: a rule's devices"),
        (warm(json!({ "until": "value <" })), "until: column"),
        (warm(json!({ "for_s": -1 })), "for_s: a whole number"),
        (warm(json!({ "actions": [] })), "actions: a rule has 1 to 10"),
        (warm(json!({ "actions": [{ "dance": {} }] })), "actions[0]: desired, command"),
        (
            warm(json!({ "actions": [{ "alarm": { "message": "{{ x }}" } }] })),
            "actions[0].alarm.message: column 4",
        ),
        (warm(json!({ "actions": [{ "alarm": { "message": "{{ value" } }] })), "{{ without }}"),
        (
            warm(json!({ "actions": [{ "alarm": { "message": "x", "colour": 1 } }] })),
            "alarm.colour: there is no such",
        ),
        (of(json!({ "schedule": { "cron": "* * *" } })), "when.schedule.cron: five fields"),
        (of(json!({ "state": "lamp.on" })), "when.state: a path begins"),
        (
            json!({ "when": { "event": "x" }, "for_s": 5, "actions": [{ "alarm": { "message": "m" } }] }),
            "for_s: nothing lasts",
        ),
        (
            json!({ "when": { "schedule": { "every_s": 60 } }, "actions": [{ "desired": { "path": "on", "value": 1 } }] }),
            "actions[0].desired.devices: a schedule",
        ),
    ];
    for (document, expected) in cases {
        let wrong = meaning(&document).expect_err(expected);
        assert!(wrong.sentence.contains(expected), "{wrong} is not {expected}");
    }
}

fn documents() -> Vec<Value> {
    vec![
        warm(json!({})),
        warm(json!({ "for_s": 30 })),
        warm(json!({ "for_s": 30, "until": "value < 20", "quiet_s": 90 })),
        warm(json!({ "condition": "value > 30 && has(metrics.t) && reported.door == 'open'" })),
        of(json!({ "metric": "t" })),
        of(json!({ "absence": { "metric": "t", "for_s": 40 } })),
        of(json!({ "absence": { "for_s": 40 } })),
        json!({ "when": { "presence": "offline" }, "for_s": 20, "actions": [{ "alarm": { "message": "away" } }] }),
        of(json!({ "state": "reported.door" })),
        json!({ "when": { "state": "reported.door" }, "condition": "value == 'open'", "for_s": 25,
            "actions": [{ "alarm": { "message": "open" } }] }),
        of(json!({ "schedule": { "every_s": 45 } })),
        of(json!({ "event": "*" })),
    ]
}

fn signals() -> impl Strategy<Value = Vec<Signal>> {
    let one = prop_oneof![
        6 => (0i64..600, 0i64..100, 10i64..45).prop_map(|(taken, lag, value)| late(taken - lag, taken, value)),
        1 => (0i64..600, any::<bool>()).prop_map(|(s, on)| reach(s, Reach::of(on))),
        1 => (0i64..600, any::<bool>()).prop_map(|(s, open)| {
            shadow(s, json!({ "door": if open { "open" } else { "shut" } }))
        }),
        1 => (0i64..600).prop_map(|s| event(s, "button")),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    /// Live, signals come in rounds of any size, the worker looks at what is due whenever it likes, and the hub is
    /// stopped and begins again from what is on disk. It fires as in a replay.
    #[test]
    fn a_replay_fires_as_the_live_engine(
        which in 0usize..12, signals in signals(), rounds in proptest::collection::vec(1i64..90, 1..30),
        restart in 0usize..20,
    ) {
        let meaning = rule(&documents()[which]);
        let expected = replayed(&meaning, signals.clone(), &[], 900);
        let pair = Pair { meaning: &meaning, device: Some(device()) };
        let mut runner = Runner::new(State::new(DAY), [], DAY);
        let mut known = Known { device: json!({ "name": "Lamp" }), ..Known::default() };
        let mut waiting = signals;
        let mut done = Done::new();
        let mut now = 0;
        for (number, span) in rounds.into_iter().cycle().enumerate() {
            now = (now + span).min(900);
            // What the hub took before now, in the order in which it happened to come.
            let (mut ripe, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|signal| signal.at < at(now));
            waiting = rest;
            ripe.sort_by(Signal::order);
            for signal in &ripe {
                done.extend(runner.advance(pair, &known, signal.at));
                if let Some(fresh) = known.take(signal) {
                    done.push((signal.at, runner.take(pair, &known, &fresh, signal.at)));
                }
            }
            done.extend(runner.advance(pair, &known, at(now) - Span(1)));
            if number == restart {
                let kept = state_to_json(&runner.state);
                runner = Runner::new(state_from_json(&kept).unwrap(), [], DAY);
            }
            if now == 900 {
                break;
            }
        }
        done.retain(|(_, outcome)| *outcome != engine::Outcome::default());
        prop_assert_eq!(done, expected);
    }
}
