//! Alarms, one open at a time for a rule and a device.

use motehub_domain::alarm::{Alarm, AlarmState, Severity};
use motehub_domain::change::Actor;
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::rule::engine::State;
use motehub_domain::rule::{self, Rule, Words};
use motehub_domain::selector::Selector;
use motehub_domain::time::Span;
use motehub_store::{AlarmQuery, StoreError};
use serde_json::json;

use crate::world::{NOW, World, id};

fn alarm(number: u128, rule: u128, device: Option<DeviceId>) -> Alarm {
    Alarm {
        id: id(number),
        rule: id(rule),
        rule_name: "Frost".into(),
        device,
        severity: Severity::Critical,
        message: "<b>cold</b>".into(),
        value: Some(json!({ "t": -1.5 })),
        state: AlarmState::Raised,
        raised_at: NOW + Span(number as i64),
        acknowledged_at: None,
        acknowledged_by: None,
        cleared_at: None,
        cleared_by: None,
        revision: 1,
    }
}

fn save(alarm: &Alarm) -> [Save; 1] {
    [Save::Alarm(Box::new(alarm.clone()))]
}

pub(crate) async fn a_rule_has_one_open_alarm_for_a_device(world: &mut World) {
    let lamp = world.device(1).await;
    let first = alarm(10, 7, Some(lamp.id));
    world.save(save(&first)).await.unwrap();
    let second = world.save(save(&alarm(11, 7, Some(lamp.id)))).await;
    assert!(matches!(second, Err(StoreError::Conflict { .. })), "{second:?}");
    world.save(save(&alarm(12, 7, None))).await.unwrap();
    let second = world.save(save(&alarm(13, 7, None))).await;
    assert!(matches!(second, Err(StoreError::Conflict { .. })), "one of no device counts too: {second:?}");
    let cleared = Alarm {
        state: AlarmState::Cleared,
        cleared_at: Some(NOW + Span(50)),
        cleared_by: Some("Ada".into()),
        revision: 2,
        ..first
    };
    world.save(save(&cleared)).await.unwrap();
    world.save(save(&alarm(14, 7, Some(lamp.id)))).await.unwrap();
    let stale = world.save(save(&cleared)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    world.reopen().await;
    let found = world.store.alarm(cleared.id).await.unwrap().unwrap();
    assert_eq!((found.alarm, found.device_name), (cleared, Some(lamp.name)));
    let open = world.store.open_alarms().await.unwrap();
    assert_eq!(open, [(AlarmState::Raised, Severity::Critical, 2)]);
}

fn frost(revision: i64) -> Rule {
    let document = json!({ "when": { "metric": "t" }, "condition": "value < 0",
        "actions": [{ "alarm": { "severity": "critical", "message": "cold" } }] });
    let words = Words { name: "Frost".into(), description: String::new(), enabled: true, document };
    let (made, _) = rule::create(id(7), &words, 0, &Actor::System, NOW).unwrap();
    Rule { revision, ..made }
}

pub(crate) async fn what_is_decided_by_a_rule_as_it_was_is_refused(world: &mut World) {
    let lamp = world.device(1).await.id;
    let told = |revision| [Save::RuleState(id(7), revision, Some(lamp), Box::new(State::new(NOW)))];
    let conflict = |what| Err(StoreError::Conflict { what });
    assert_eq!(world.save(told(1)).await, conflict("rule"), "there is none");
    world.save([Save::Rule(Box::new(frost(1)))]).await.unwrap();
    world.save(told(1)).await.unwrap();
    world.save(told(1)).await.unwrap();
    world.save([Save::Rule(Box::new(frost(2))), Save::ForgetRuleStates(id(7))]).await.unwrap();
    assert_eq!(world.save(told(1)).await, conflict("rule"), "it is another");
    assert!(world.store.rule_states().await.unwrap().is_empty());
    // An alarm that was raised meanwhile is not left behind.
    let raised = alarm(10, 7, Some(lamp));
    let gone = || [Save::NoOpenAlarm(id(7)), Save::DeleteRule(id(7))];
    world.save(save(&raised)).await.unwrap();
    world.save(save(&alarm(11, 8, Some(lamp)))).await.unwrap();
    assert_eq!(world.save(gone()).await, conflict("alarm"));
    assert!(world.store.rule(id(7)).await.unwrap().is_some());
    let cleared = Alarm { state: AlarmState::Cleared, revision: 2, ..raised };
    world.save(save(&cleared)).await.unwrap();
    world.save(gone()).await.unwrap();
    assert_eq!(world.store.rule(id(7)).await, Ok(None));
}

pub(crate) async fn alarms_are_found_by_state_device_rule_and_selector(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    for one in [alarm(10, 7, Some(lamp.id)), alarm(11, 8, Some(fan.id)), alarm(12, 9, None)] {
        world.save(save(&one)).await.unwrap();
    }
    let all = AlarmQuery { now: NOW, limit: 10, ..AlarmQuery::default() };
    let selector = Selector::parse("name=\"Lamp 2\"").unwrap();
    let cases = [
        (all.clone(), vec![12, 11, 10]),
        (AlarmQuery { offset: 1, limit: 1, ..all.clone() }, vec![11]),
        (AlarmQuery { device: Some(lamp.id), ..all.clone() }, vec![10]),
        (AlarmQuery { rule: Some(id(9)), ..all.clone() }, vec![12]),
        (AlarmQuery { devices: Some(selector), ..all.clone() }, vec![11]),
        (AlarmQuery { states: vec![AlarmState::Cleared, AlarmState::Acknowledged], ..all.clone() }, vec![]),
    ];
    for (wanted, expected) in cases {
        let (found, total) = world.store.alarms(&wanted).await.unwrap();
        let ids: Vec<_> = found.iter().map(|view| view.alarm.id).collect();
        assert_eq!(ids, expected.iter().map(|number| id(*number)).collect::<Vec<_>>(), "{wanted:?}");
        assert!(total >= i64::try_from(ids.len()).unwrap(), "{wanted:?}");
    }
}
