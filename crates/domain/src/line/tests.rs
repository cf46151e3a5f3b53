//! Settings of units as people give them, and what is refused of them.

use serde_json::{Value, json};

use super::*;
use crate::network::Network;

fn read(settings: &Value) -> Result<Line, String> {
    Line::from_json(settings).map_err(|rejection| rejection.sentence)
}

#[test]
fn addresses_are_read_and_written() {
    let cases = [
        ("192.168.1.20", Some("192.168.1.20:8888")),
        (" 192.168.1.20:80 ", Some("192.168.1.20:80")),
        ("[fd00::7]:9", Some("[fd00::7]:9")),
        ("fd00::7", Some("[fd00::7]:8888")),
        ("Lamp.local", Some("lamp.local:8888")),
        ("lamp:1", Some("lamp:1")),
        ("::ffff:10.0.0.1", Some("10.0.0.1:8888")),
        ("192.168.1.20:0", None),
        ("192.168.1.20:65536", None),
        ("192.168.1", None),
        ("300.1.1.1:80", None),
        ("http://192.168.1.20", None),
        ("user@host:1", None),
        ("", None),
        ("a b:1", None),
        ("fd00::7:8888]", None),
    ];
    for (text, expected) in cases {
        let read = Address::parse("address", text).ok().map(|address| address.to_string());
        assert_eq!(read.as_deref(), expected, "{text}");
    }
}

#[test]
fn units_are_in_private_networks_unless_it_is_said() {
    let lab = [Network::parse("n", "203.0.113.0/24").unwrap()];
    let cases = [
        ("192.168.1.20", true, false),
        ("127.0.0.1", true, false),
        ("fd00::7", true, false),
        ("203.0.113.9", false, true),
        ("169.254.169.254", false, false),
        ("0.0.0.0", false, false),
        ("224.0.0.1", false, false),
        ("255.255.255.255", false, false),
        ("8.8.8.8", false, false),
    ];
    for (ip, usual, of_lab) in cases {
        let ip = ip.parse().unwrap();
        assert_eq!(is_allowed(ip, &default_networks()).is_ok(), usual, "{ip}");
        assert_eq!(is_allowed(ip, &lab).is_ok(), of_lab, "{ip}");
    }
    let everywhere = [Network::parse("n", "0.0.0.0/0").unwrap()];
    assert!(is_allowed("0.0.0.0".parse().unwrap(), &everywhere).is_err());
}

#[test]
fn templates_are_filled_with_what_is_desired() {
    let cases = [
        ("{value}", json!("#ff8800"), "#ff8800"),
        ("{value}", json!(21.5), "21.5"),
        ("{value}", json!({"a": 1}), r#"{"a":1}"#),
        ("set {value.red},{value.blue.x}!", json!({"red": 1, "blue": {"x": true}}), "set 1,true!"),
        ("{{{value}}}", json!("x"), "{x}"),
        ("on", json!(1), "on"),
    ];
    for (template, value, expected) in cases {
        let read = Template::parse(template).unwrap();
        assert_eq!(read.fill(&value).unwrap(), expected, "{template}");
        assert_eq!(read.to_string(), template);
    }
    assert!(Template::parse("{value.red}").unwrap().fill(&json!("x")).unwrap_err().sentence.contains("red"));
    for (wrong, word, position) in [
        ("a {colour}", "{colour}", Some(3)),
        ("{value", "partner", Some(1)),
        ("ä}", "partner", Some(2)),
        ("{value.}", "{value.}", Some(1)),
        ("a\rb", "control", None),
        ("", "1 to", None),
    ] {
        let rejection = Template::parse(wrong).unwrap_err();
        assert!(rejection.sentence.contains(word), "{wrong}: {rejection}");
        assert_eq!(rejection.position, position, "{wrong}");
    }
}

#[test]
fn settings_are_read_as_they_were_written() {
    let cases = [
        json!({"address": "192.168.1.20"}),
        json!({"address": "a:1", "kind": "update", "framing": "fixed", "size_bytes": 16, "queue": "all"}),
        json!({"address": "a:1", "framing": "length-2", "parser": "csv", "columns": ["t", "", "h"],
            "separator": ";", "expires_seconds": 60}),
        json!({"direction": "listen", "greeting": "unit 7", "parser": "regex", "pattern": "(?<t>.*)"}),
        json!({"address": "a:1", "end_in": "crlf", "end_out": "lf", "reply_ms": 500, "reply_pattern": "OK"}),
        json!({"address": "a:1", "through": "base", "template": "x{value}"}),
    ];
    for settings in cases {
        let line = read(&settings).unwrap_or_else(|error| panic!("{settings}: {error}"));
        assert_eq!(Line::from_json(&line.to_json()).unwrap(), line);
        let written = line.to_json();
        for (name, value) in settings.as_object().unwrap().iter().filter(|(name, _)| *name != "address") {
            assert_eq!(&written[name], value, "{name}");
        }
    }
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    let at = |more: Value| {
        let mut all = json!({"address": "192.168.1.20"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let cases = [
        (json!({}), "address:"),
        (json!({"direction": "listen"}), "address:"),
        (json!([]), "line:"),
        (at(json!({"colour": 1})), "line: \"colour\""),
        (at(json!({"kind": "lamp"})), "kind: one of read, update, both"),
        (at(json!({"framing": "length-3"})), "framing:"),
        (at(json!({"framing": "fixed"})), "size_bytes:"),
        (at(json!({"framing": "fixed", "size_bytes": 5000})), "size_bytes:"),
        (at(json!({"end_out": "any"})), "end_out:"),
        (at(json!({"parser": "xml"})), "parser:"),
        (at(json!({"parser": "csv"})), "columns:"),
        (at(json!({"parser": "csv", "columns": ["t"], "separator": "::"})), "separator:"),
        (at(json!({"parser": "regex"})), "pattern:"),
        (at(json!({"reply_pattern": "OK"})), "reply_ms:"),
        (at(json!({"reply_ms": 0})), "reply_ms:"),
        (at(json!({"expires_seconds": 1.5})), "expires_seconds:"),
        (at(json!({"through": "attic"})), "through:"),
        (at(json!({"through": "base", "direction": "listen"})), "direction:"),
        (at(json!({"template": "{colour}"})), "template:"),
        (at(json!({"greeting": "a\nb"})), "greeting:"),
    ];
    for (settings, beginning) in cases {
        let error = read(&settings).unwrap_err();
        assert!(error.starts_with(beginning), "{settings}: {error}");
    }
}

#[test]
fn another_parser_begins_without_what_belonged_to_the_former() {
    let csv = json!({"address": "a:1", "parser": "csv", "columns": ["t"]});
    let line = read(&csv).unwrap();
    let change = |more: Value| line.with(more.as_object().unwrap());
    assert_eq!(change(json!({"parser": "text"})).unwrap().parser, Parser::Text);
    assert_eq!(change(json!({"kind": "read"})).unwrap().parser, line.parser);
    assert_eq!(change(json!({"parser": null})).unwrap().parser, Parser::Number);
    assert_eq!(change(json!({"address": "b:1"})).unwrap().address.unwrap().to_string(), "b:1");
}
