//! The section `[mqtt-limits]` of the settings file: one visible table of what can be limited, within which range and
//! what it means. The reference page is printed from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use motehub_gateway::mqtt::{Limits, Told};
use toml::Value;

/// One limit.
struct Limit {
    name: &'static str,
    about: &'static str,
    least: u64,
    most: u64,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const ORDER: &str = "connack-order";
const TOLD: [(&str, Told); 3] = [
    ("receive-maximum", Told::ReceiveMaximum),
    ("maximum-packet-size", Told::MaximumPacketSize),
    ("topic-alias-maximum", Told::TopicAliasMaximum),
];

macro_rules! limits {
    ($($name:literal => $field:ident: $type:ty, $least:expr, $most:expr, $about:literal;)*) => {
        const LIMITS: &[Limit] = &[$(Limit {
            name: $name,
            about: $about,
            least: $least,
            most: $most,
            get: |limits| u64::try_from(limits.$field).unwrap_or(u64::MAX),
            set: |limits, number| limits.$field = <$type>::try_from(number).unwrap_or(<$type>::MAX),
        }),*];
    };
}

limits! {
    "connections" => connections_max: usize, 1, 1_000_000,
        "Connections at once. Further ones are closed.";
    "connections-per-address" => connections_per_address_max: usize, 1, 1_000_000,
        "Connections at once from one address. Further ones are closed.";
    "connects-per-address-per-minute" => connects_per_address_per_minute_max: u32, 1, 10_000_000,
        "Clients that say CONNECT from one address in a minute. Further ones get CONNACK 0x9F (5.0) or 3 (3.1.1).";
    "connect-wait-ms" => connect_wait_ms: u64, 100, 600_000,
        "Milliseconds until a connection has to say CONNECT.";
    "packet-bytes" => packet_bytes_max: usize, KIB, 256 * MIB,
        "Bytes of a packet of a client. 5.0 clients are told; a larger one ends the connection (0x95).";
    "connect-bytes" => connect_bytes_max: usize, 256, MIB,
        "Bytes of a CONNECT, which comes from somebody who is not known yet.";
    "client-id-bytes" => client_id_bytes_max: usize, 23, 65_535,
        "Bytes of a client identifier. A longer one gets CONNACK 0x85 (5.0) or 2 (3.1.1).";
    "topic-bytes" => topic_bytes_max: usize, 1, 1_024,
        "Bytes of a topic or filter. A longer one is refused: 0x90 for topics, 0x8F for filters.";
    "topic-levels" => topic_levels_max: usize, 1, 32,
        "Levels of a topic or filter. A deeper one is refused like a longer one.";
    "keep-alive-s" => keep_alive_max_s: u16, 5, 65_535,
        "Seconds of keep-alive. 5.0 clients that ask for more are told this (Server Keep Alive).";
    "sessions-per-user" => sessions_per_principal_max: usize, 1, 1_000_000,
        "Sessions of one device or token. Further ones get CONNACK 0x97 (5.0) or 3 (3.1.1).";
    "session-expiry-s" => session_expiry_max_s: u32, 0, 4_294_967_295,
        "Seconds a session is kept without a connection. 3.1.1 sessions that are kept get this; 0 keeps none.";
    "subscriptions-per-session" => subscriptions_per_session_max: usize, 1, 100_000,
        "Subscriptions of one session. Further ones are refused in SUBACK: 0x97 (5.0) or 0x80 (3.1.1).";
    "queue-messages" => queue_messages_max: usize, 1, 60_000,
        "Messages that wait for one client. The newest beyond it are dropped and counted.";
    "queue-bytes" => queue_bytes_max: usize, KIB, GIB,
        "Bytes that wait for one client. The newest beyond it are dropped and counted.";
    "waiting-bytes" => waiting_bytes_max: usize, MIB, 1024 * GIB,
        "Bytes that wait for all clients together. Beyond it messages are dropped and counted.";
    "sent-unacknowledged" => sent_unacknowledged_max: u16, 1, 1_024,
        "Messages that are sent to a client before it acknowledges one; a 5.0 client may ask for less.";
    "receive-maximum" => taken_unacknowledged_max: u16, 1, 65_535,
        "Messages of a client that wait for their acknowledgement. 5.0 clients are told; more ends it (0x93).";
    "taken-bytes" => taken_bytes_max: usize, KIB, GIB,
        "Bytes of a client's messages that are not acknowledged. Beyond it the client is not read for a while.";
    "output-bytes" => output_bytes_max: usize, KIB, 256 * MIB,
        "Bytes that wait to be written to one connection. Beyond it messages of QoS 0 to it are dropped and counted.";
    "retained-messages" => retained_messages_max: usize, 0, 10_000_000,
        "Retained messages. Further ones are delivered, not retained, and counted.";
    "retained-bytes" => retained_bytes_max: usize, 0, 64 * GIB,
        "Bytes of all retained messages. Beyond it they are delivered, not retained, and counted.";
    "topic-alias-maximum" => topic_alias_max: u16, 0, 65_535,
        "Topic aliases that a 5.0 client may use, and that are used towards one that allows them.";
}

/// The limits that a settings file asks for; what it does not name stays as usual.
pub(crate) fn limits(section: &BTreeMap<String, Value>) -> anyhow::Result<Limits> {
    let mut limits = Limits::default();
    for (name, value) in section {
        if name == ORDER {
            limits.connack_order = order(value)?;
            continue;
        }
        let Some(limit) = LIMITS.iter().find(|limit| limit.name == name) else {
            let names: Vec<&str> = LIMITS.iter().map(|limit| limit.name).chain([ORDER]).collect();
            bail!("mqtt-limits.{name}: there is no such limit; there are {}", names.join(", "));
        };
        let Limit { least, most, .. } = *limit;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        let number = number
            .with_context(|| format!("mqtt-limits.{name}: {value} is no number from {least} to {most}"))?;
        (limit.set)(&mut limits, number);
    }
    Ok(limits)
}

fn order(value: &Value) -> anyhow::Result<[Told; 3]> {
    let words = value.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str);
    let told: Vec<Told> =
        words.filter_map(|word| TOLD.iter().find(|(name, _)| *name == word).map(|(_, told)| *told)).collect();
    let is_complete = TOLD.iter().all(|(_, each)| told.contains(each));
    match <[Told; 3]>::try_from(told) {
        Ok(told) if is_complete => Ok(told),
        _ => {
            let names = TOLD.map(|(name, _)| format!("{name:?}")).join(", ");
            bail!("mqtt-limits.{ORDER}: {value} does not name each of [{names}] once")
        }
    }
}

/// The reference page of the section, in Markdown.
pub(crate) fn reference() -> String {
    let usual = Limits::default();
    let mut page = "\
<!-- Generated by `make gen` from the program's own table; do not edit. -->
# Limits of the MQTT broker

They stand in the settings file (`motehub serve --config FILE`) in a section of their own; each can be left out:

```toml
data = \"/var/lib/motehub\"

[mqtt-limits]
queue-messages = 5000
packet-bytes = 65536
```

A limit that is wrong is an error that names it, before anything is started.

| Limit | Usual | From | To | What it means |
|---|---:|---:|---:|---|
"
    .to_owned();
    for limit in LIMITS {
        let Limit { name, about, least, most, get, .. } = limit;
        let _ = writeln!(page, "| `{name}` | {} | {least} | {most} | {about} |", get(&usual));
    }
    let names = TOLD.map(|(name, _)| format!("\"{name}\"")).join(", ");
    let _ = writeln!(
        page,
        "\nFor test benches that compare bytes, `{ORDER} = [{names}]` is the order in which CONNACK tells these three \
         limits to 5.0 clients. Each is named once."
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Limits> {
        limits(&toml::from_str(text).expect("it is TOML"))
    }

    #[test]
    fn what_is_named_is_set_and_the_rest_is_as_usual() {
        let read = read("queue-messages = 5\nreceive-maximum = 20\n").expect("it is right");
        let usual = Limits::default();
        assert_eq!((read.queue_messages_max, read.taken_unacknowledged_max), (5, 20));
        assert_eq!(read.connections_max, usual.connections_max);
        assert!(LIMITS.iter().all(|limit| (limit.least..=limit.most).contains(&(limit.get)(&usual))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("queue-mesages = 5", "mqtt-limits.queue-mesages: there is no such limit"),
            ("queue-messages = 0", "mqtt-limits.queue-messages: 0 is no number from 1 to 60000"),
            ("queue-messages = \"many\"", "mqtt-limits.queue-messages: \"many\" is no number"),
            ("topic-levels = -1", "mqtt-limits.topic-levels: -1 is no number"),
            ("connack-order = [\"receive-maximum\"]", "mqtt-limits.connack-order:"),
            ("connack-order = 7", "mqtt-limits.connack-order:"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", read(text).expect_err("it is wrong"));
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_order_of_connack_is_read() {
        let text = "connack-order = [\"topic-alias-maximum\", \"receive-maximum\", \"maximum-packet-size\"]";
        let read = read(text).expect("it is right");
        assert_eq!(
            read.connack_order,
            [Told::TopicAliasMaximum, Told::ReceiveMaximum, Told::MaximumPacketSize]
        );
    }
}
