//! What is kept for rules, while they are read and written.

use motehub_domain::change::Actor;
use motehub_domain::id::{DeviceId, RuleId};
use motehub_domain::rule::{self, Words};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};

use super::*;

const NOW: Time = Time(1_800_000_000_000);

/// A rule that looks at a metric.
fn looking_at(metric: &str) -> Rule {
    let document = json!({ "when": { "metric": metric },
        "actions": [{ "publish": { "topic": "t", "payload": 1 } }] });
    let words = Words { name: metric.to_owned(), description: String::new(), enabled: true, document };
    rule::create(RuleId::from_parts(1, 1), &words, 0, &Actor::System, NOW).unwrap().0
}

fn wants(metric: &str) -> Option<Wants> {
    Some(looking_at(metric).meaning.wants)
}

/// Rules of a worker that looks for the first time.
fn begun() -> Rules {
    let rules = Rules::join(NOW);
    rules.take(NOW, &[]);
    rules
}

fn written(rules: &Rules, metric: &str) {
    let save = vec![Save::Rule(Box::new(looking_at(metric)))];
    rules.tell(&rules.stamp(NOW), &Effects { save, ..Effects::none() });
}

fn measured(rules: &Rules, metric: &str) {
    let point =
        Point { metric: Metric::parse(metric).unwrap(), time: When::At(NOW), value: PointValue::Number(1.0) };
    let device = DeviceId::from_parts(1, 7);
    let said = Measured { device, arrived: NOW, mark: None, again: false, points: vec![point] };
    rules.measured(&rules.stamp(NOW), &[said], &[Some(NOW)]);
}

/// The metrics of the points that the worker is given.
fn taken(rules: &Rules) -> Vec<String> {
    let signals = rules.take(NOW + Span::seconds(1), &[]).signals;
    let metric = |(_, signal): Told| match signal.said {
        Said::Point { metric, .. } => metric.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    signals.into_iter().map(metric).collect()
}

#[test]
fn what_a_rule_wants_that_is_written_while_rules_are_read_is_kept() {
    for before in [None, wants("t")] {
        let rules = begun();
        written(&rules, "h");
        // The worker has read the rules before.
        rules.want(before);
        measured(&rules, "h");
        assert_eq!(taken(&rules), ["h"]);
        rules.want(wants("t"));
        measured(&rules, "h");
        assert!(taken(&rules).is_empty(), "it is gone again");
    }
}

#[test]
fn what_another_node_wrote_is_more_than_was_kept() {
    let rules = begun();
    assert!(!rules.want(None));
    assert!(rules.want(Some(Wants::default())), "events are kept from now on");
    assert!(rules.want(wants("t")));
    assert!(!rules.want(wants("t")));
    written(&rules, "h");
    rules.take(NOW, &[]);
    assert!(!rules.want(wants("h")), "it was kept since it was written here");
}

/// What another node says: how far it is, and when it took points.
fn hears(rules: &Rules, number: u64, until: Time, points: &[Time]) {
    let point = |at: &Time| {
        let said = json!({ "point": { "metric": "t", "time": at.0, "value": 1 } });
        json!({ "device": DeviceId::from_parts(1, 7).to_string(), "at": at.0, "said": said })
    };
    let word = json!({ "node": "two", "instance": "i", "number": number, "until": until.0, "wants": rules.wants(),
        "is_behind": false, "signals": points.iter().map(point).collect::<Vec<_>>() });
    rules.heard_far(word.to_string().as_bytes());
}

#[test]
fn a_node_whose_clock_is_behind_is_heard_when_it_joins() {
    let rules = begun();
    rules.want(wants("t"));
    let at = |seconds| NOW + Span::seconds(seconds);
    rules.take(at(10), &[]);
    hears(&rules, 1, at(7), &[at(6)]);
    hears(&rules, 2, at(8), &[at(7)]);
    let taken = rules.take(at(11), &[at(8)]);
    let times: Vec<Time> = taken.signals.iter().map(|(_, signal)| signal.at).collect();
    assert_eq!((taken.until, times), (at(10), vec![at(7)]), "what was before its first word is in the store");
}

#[test]
fn who_takes_over_waits_for_what_others_have_on_their_way() {
    let rules = begun();
    let at = |seconds| NOW + Span::seconds(seconds);
    rules.want(wants("t"));
    // It told others so far.
    rules.take(at(10), &[]);
    rules.take_over(at(5));
    assert_eq!(rules.take(at(11), &[at(6)]).until, at(6));
    hears(&rules, 1, at(9), &[at(8)]);
    assert_eq!(rules.take(at(11), &[at(9)]).signals.len(), 1);
}

#[test]
fn a_node_whose_clock_is_ahead_is_read_up_to_what_did_not_fit() {
    let rules = begun();
    let at = |seconds| NOW + Span::seconds(seconds);
    rules.want(wants("t"));
    rules.take_over(at(5));
    hears(&rules, 1, at(20), &[at(19)]);
    assert!(rules.take(at(10), &[at(20)]).is_behind);
    let taken = rules.take(at(20), &[at(20)]);
    assert!(taken.is_behind && taken.signals.is_empty(), "it is in the store, and was not read yet");
    assert!(!rules.take(at(21), &[at(21)]).is_behind);
}
