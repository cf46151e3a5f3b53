//! The broker forgets nothing: sessions, what waits for them, and retained messages survive `kill -9` and restarts.

use std::collections::BTreeSet;

use end_to_end::{Hub, Session};

const MESSAGES: u16 = 1_000;
/// How many messages the publisher has in flight.
const IN_FLIGHT: usize = 50;

/// Publishes so many messages and waits until all are acknowledged.
fn publish(hub: &Hub, topic: &str, from: u16, count: u16) {
    let mut publisher =
        Session::connect(&hub.mqtt(), false, "publisher", &hub.api.token).expect("it is let in");
    let mut waiting = BTreeSet::new();
    for number in from..from + count {
        publisher.publish(topic, number + 1, &number.to_string(), false).expect("it is sent");
        waiting.insert(number + 1);
        if waiting.len() >= IN_FLIGHT {
            assert!(waiting.remove(&publisher.acknowledged().expect("it is acknowledged")));
        }
    }
    while !waiting.is_empty() {
        assert!(waiting.remove(&publisher.acknowledged().expect("it is acknowledged")));
    }
}

fn a_thousand_wait(is_v5: bool) {
    let mut hub = Hub::start(&[]);
    let connect =
        |hub: &Hub| Session::connect(&hub.mqtt(), is_v5, "sleeper", &hub.api.token).expect("it is let in");
    let mut sleeper = connect(&hub);
    assert!(!sleeper.is_present);
    sleeper.subscribe("news/#", 1).expect("it is granted");
    drop(sleeper);
    publish(&hub, "news/today", 0, MESSAGES);
    hub.again();
    let mut sleeper = connect(&hub);
    assert!(sleeper.is_present, "the session is there after kill -9");
    // It takes some and is killed with the hub before the rest.
    for number in 0..64 {
        let message = sleeper.delivered().expect("a message");
        assert_eq!(message.payload, number.to_string(), "in the order they were published");
        assert_eq!(message.qos, 1);
        if number < 50 {
            sleeper.acknowledge(message.id).expect("it is sent");
        }
    }
    hub.again();
    let mut sleeper = connect(&hub);
    assert!(sleeper.is_present);
    let mut got = BTreeSet::new();
    while !got.contains(&(MESSAGES - 1)) {
        let message = sleeper.delivered().expect("a message");
        sleeper.acknowledge(message.id).expect("it is sent");
        let number: u16 = message.payload.parse().expect("a number");
        assert!(got.insert(number), "each once on this connection");
    }
    // What it acknowledged just before the kill may come again; nothing of the rest may be missing.
    let missing: Vec<u16> = (50..MESSAGES).filter(|number| !got.contains(number)).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
}

#[test]
fn a_thousand_messages_wait_over_a_kill_3_1_1() {
    a_thousand_wait(false);
}

#[test]
fn a_thousand_messages_wait_over_a_kill_5_0() {
    a_thousand_wait(true);
}

#[test]
fn retained_messages_and_subscriptions_survive_a_kill_and_an_orderly_restart() {
    let mut hub = Hub::start(&[]);
    let connect = |hub: &Hub, client: &str| {
        Session::connect(&hub.mqtt(), true, client, &hub.api.token).expect("it is let in")
    };
    let mut publisher = connect(&hub, "publisher");
    publisher.publish("state/lamp", 1, "on", true).expect("it is sent");
    assert_eq!(publisher.acknowledged().expect("it is acknowledged"), 1);
    hub.again();
    let mut reader = connect(&hub, "reader");
    reader.subscribe("state/+", 1).expect("it is granted");
    let message = reader.delivered().expect("the retained message");
    assert_eq!(message.payload, "on");
    reader.acknowledge(message.id).expect("it is sent");
    let mut publisher = connect(&hub, "publisher");
    assert!(publisher.is_present);
    assert!(hub.terminate().success(), "an orderly end");
    hub.again();
    assert!(publisher.acknowledged().is_err(), "the connection is over");
    let mut reader = connect(&hub, "reader");
    assert!(reader.is_present);
    let mut publisher = connect(&hub, "publisher");
    publisher.publish("state/fan", 2, "off", false).expect("it is sent");
    assert_eq!(publisher.acknowledged().expect("it is acknowledged"), 2);
    let again = reader.delivered().expect("a message");
    // The acknowledgement of the first may have been on its way when the hub ended.
    let message = if again.payload == "on" { reader.delivered().expect("a message") } else { again };
    assert_eq!(message.payload, "off");
}
