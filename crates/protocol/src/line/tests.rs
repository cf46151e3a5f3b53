//! Frames of units as their settings read and write them.

use serde_json::json;

use super::*;

fn line(settings: &Value) -> Line {
    let mut all = json!({"address": "192.168.1.20"});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    Line::from_json(&all).unwrap()
}

/// What a frame means, as `metric=value` in a row, or the error.
fn read(settings: &Value, frame: &[u8]) -> String {
    match Reader::new(&line(settings)).unwrap().read(frame) {
        Ok(Said { uplink: Uplink::Telemetry(points), .. }) => {
            let words = points.iter().map(|p| format!("{}={}", p.metric.as_str(), p.value.to_json()));
            words.collect::<Vec<_>>().join(" ")
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn frames_are_read_as_the_unit_is_set() {
    let csv = json!({"parser": "csv", "columns": ["t", "", "door"], "separator": ";"});
    let regex = json!({"parser": "regex", "pattern": "T=(?<t>[-0-9.]+)(?: H=(?<h>\\S+))?"});
    let cases: [(Value, &[u8], &str); 21] = [
        (json!({}), b"512", "value=512"),
        (json!({}), b" -1.5e2 ", "value=-150"),
        (json!({}), b"hello", "error: \"hello\" is no number; another parser reads other text"),
        (json!({}), b"inf", "error: \"inf\" is no number; another parser reads other text"),
        (json!({}), b"\x80\x81", "error: no text: byte 1 is 0x80, which is no UTF-8"),
        (json!({}), b"1\x002", "error: no text: sign 2 is a control character"),
        (json!({"parser": "text"}), b" on ", "value=\" on \""),
        (json!({"parser": "json"}), br#"{"t": 21.5, "on": true}"#, "on=true t=21.5"),
        (json!({"parser": "json"}), b"7", "value=7"),
        (json!({"parser": "json"}), b"{}", "error: there is no measurement in it"),
        (csv.clone(), b"21.5; x ;open", "t=21.5 door=\"open\""),
        (csv.clone(), b";;\"shut\";more", "door=\"shut\""),
        (csv.clone(), b"1;2", "error: \"1;2\" has 2 columns, and 3 are wanted"),
        (csv, b";;", "error: \";;\" has no measurement in it"),
        (regex.clone(), b"now T=-3.5 H=wet", "t=-3.5 h=\"wet\""),
        (regex.clone(), b"T=1", "t=1"),
        (regex, b"nothing", "error: \"nothing\" does not fit the pattern of the unit"),
        (json!({"parser": "text"}), "ä".as_bytes(), "value=\"ä\""),
        (json!({"parser": "text"}), b"", "value=\"\""),
        (
            json!({}),
            &[b'x'; 100],
            "error: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" is no number; another \
            parser reads other text",
        ),
        (json!({}), b"", "error: \"\" is no number; another parser reads other text"),
    ];
    for (settings, frame, expected) in cases {
        assert_eq!(read(&settings, frame), expected, "{settings} {frame:?}");
    }
}

#[test]
fn what_is_desired_becomes_the_bytes_of_a_frame() {
    let cases = [
        (json!({}), json!("#ff8800"), Ok("#ff8800\r")),
        (json!({"end_out": "crlf"}), json!(7), Ok("7\r\n")),
        (
            json!({"template": "C {value.r} {value.g}", "end_out": "lf"}),
            json!({"r": 1, "g": 2}),
            Ok("C 1 2\n"),
        ),
        (json!({"framing": "length-2"}), json!("ab\r"), Ok("\0\u{3}ab\r")),
        (json!({"framing": "fixed", "size_bytes": 4}), json!("ab"), Ok("ab  ")),
        (json!({"framing": "fixed", "size_bytes": 1}), json!("ab"), Err("value: 2 bytes, but")),
        (json!({"framing": "length-1"}), json!("x".repeat(256)), Err("value: a length of 1 byte")),
        (json!({}), json!("a\nb"), Err("value: a line has no line break")),
        (json!({}), json!("x".repeat(5000)), Err("value: a unit is told at most 4096 bytes")),
        (json!({}), json!(null), Err("value: {value} is wanted")),
        (json!({"template": "{value.r}"}), json!({"g": 1}), Err("value: {value.r} is wanted")),
    ];
    for (settings, desired, expected) in cases {
        match (told(&line(&settings), &desired), expected) {
            (Ok(bytes), Ok(expected)) => assert_eq!(bytes, expected.as_bytes(), "{settings}"),
            (Err(error), Err(begin)) => assert!(error.sentence.starts_with(begin), "{settings}: {error}"),
            (got, expected) => panic!("{settings}: {got:?}, not {expected:?}"),
        }
    }
}

#[test]
fn patterns_that_are_none_are_refused_by_name() {
    let regex = |pattern: &str| line(&json!({"parser": "regex", "pattern": pattern}));
    for (pattern, word) in [
        ("(?<t>", "pattern: no regular expression: unclosed group"),
        ("T=([0-9]+)", "pattern: name what is a metric"),
        ("(?<t>(\\w{900}){900})", "pattern: it is too large"),
    ] {
        let error = Reader::new(&regex(pattern)).unwrap_err().sentence;
        assert!(error.starts_with(word), "{pattern}: {error}");
    }
    let reply = line(&json!({"reply_ms": 100, "reply_pattern": "["}));
    assert!(Reader::new(&reply).unwrap_err().sentence.starts_with("reply_pattern: no regular expression"));
}

#[test]
fn a_reply_is_what_fits_its_pattern() {
    let reader = |settings| Reader::new(&line(&settings)).unwrap();
    assert!(reader(json!({"reply_ms": 100})).is_reply(b"\x80 anything"));
    let ok = reader(json!({"reply_ms": 100, "reply_pattern": "OK|DONE"}));
    let cases: [(&[u8], bool); 4] = [(b"OK", true), (b" DONE ", true), (b"NOK", false), (b"\x80", false)];
    for (frame, expected) in cases {
        assert_eq!(ok.is_reply(frame), expected, "{frame:?}");
    }
}
