//! Values that go from a step of a flow to steps elsewhere, in every dialect whose boards run steps:
//! `{"w":"<flow>/<step>","i":7,"v":21.5}`.

use motehub_domain::flow::{Passed, VALUE_BYTES_MAX, read_wire_name, wire_name};
use serde_json::{Value, json};

use crate::DecodeError;

/// As it is written.
pub fn write(passed: &Passed) -> Value {
    json!({ "w": wire_name(passed.flow, &passed.from), "i": passed.id, "v": passed.value })
}

/// Reads one.
///
/// # Errors
/// What is missing or wrong.
pub fn read(mut value: Value) -> Result<Passed, DecodeError> {
    let wrong = |why: &str| DecodeError(format!("{why}: a value of a flow is {{\"w\":…,\"i\":…,\"v\":…}}"));
    let wire = value["w"].as_str().and_then(read_wire_name);
    let (flow, from) = wire.ok_or_else(|| wrong("w is no <flow>/<step>"))?;
    let id = value["i"].as_i64().ok_or_else(|| wrong("i is no whole number"))?;
    let value = value.get_mut("v").ok_or_else(|| wrong("v is missing"))?.take();
    if value.to_string().len() > VALUE_BYTES_MAX {
        return Err(DecodeError(format!("v has more than {VALUE_BYTES_MAX} bytes")));
    }
    Ok(Passed { flow, from, id, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let id = "01j9zv2k3m4n5p6q7r8s9t0v1w";
        let said = json!({"w": format!("{id}/warm"), "i": -3, "v": {"t": 21.5}});
        let passed = read(said.clone()).expect("a value");
        assert_eq!((passed.from.as_str(), passed.id), ("warm", -3));
        assert_eq!(write(&passed), said);
        for wrong in [
            json!({"w": "warm", "i": 1, "v": 1}),
            json!({"w": format!("{id}/a b"), "i": 1, "v": 1}),
            json!({"w": format!("{id}/warm"), "i": "1", "v": 1}),
            json!({"w": format!("{id}/warm"), "i": 1}),
            json!({"w": format!("{id}/warm"), "i": 1, "v": "x".repeat(2000)}),
            json!([]),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
