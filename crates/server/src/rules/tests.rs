//! What is kept for rules, while they are read and written.

use motehub_domain::id::{DeviceId, RuleId};
use motehub_domain::rule;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};

use super::*;

const NOW: Time = Time(1_800_000_000_000);

/// A rule that looks at a metric.
fn looking_at(metric: &str) -> Rule {
    let document = json!({ "when": { "metric": metric },
        "actions": [{ "publish": { "topic": "t", "payload": 1 } }] });
    Rule {
        id: RuleId::from_parts(1, 1),
        name: metric.to_owned(),
        description: String::new(),
        enabled_at: Some(NOW),
        meaning: rule::meaning(&document).unwrap(),
        document,
        created_at: NOW,
        updated_at: NOW,
        revision: 1,
    }
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
