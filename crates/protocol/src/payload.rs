//! Payloads as values: JSON, or CBOR (RFC 8949) with the same meaning. Depth and number of items are bounded, so
//! that a small message cannot become a large value.

mod strict;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Number, Value};

use crate::DecodeError;

/// Deepest nesting of a payload.
pub const DEPTH_MAX: usize = 32;
/// Most items of a CBOR payload, keys included.
pub const ITEMS_MAX: usize = 20_000;
/// The content type of CBOR, in MQTT 5 and in HTTP.
pub const CBOR: &str = "application/cbor";

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON in UTF-8 (RFC 8259).
    #[default]
    Json,
    /// CBOR (RFC 8949).
    Cbor,
}

impl Encoding {
    /// By a content type; parameters behind `;` do not matter, and what is unknown is JSON.
    pub fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case(CBOR) { Self::Cbor } else { Self::Json }
    }

    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Cbor => CBOR,
        }
    }
}

/// Reads a payload. `what` names it in errors: "telemetry".
pub fn decode(encoding: Encoding, what: &str, payload: &[u8]) -> Result<Value, DecodeError> {
    match encoding {
        Encoding::Json => json(what, payload),
        Encoding::Cbor => {
            let mut decoder = Decoder::new(payload);
            let wrong = |why: String| DecodeError(format!("{what} is CBOR: {why}"));
            let value = read(&mut decoder).map_err(wrong)?;
            match decoder.position() {
                end if end == payload.len() => Ok(value),
                end => Err(wrong(format!("something follows the value, at byte {end}"))),
            }
        }
    }
}

/// Writes a payload.
pub fn encode(encoding: Encoding, value: &Value) -> Vec<u8> {
    match encoding {
        Encoding::Json => value.to_string().into_bytes(),
        Encoding::Cbor => {
            let mut encoder = Encoder::new(Vec::new());
            write(&mut encoder, value);
            encoder.into_writer()
        }
    }
}

/// Reads one value, wherever it stands.
pub(crate) fn read(decoder: &mut Decoder<'_>) -> Result<Value, String> {
    Reader { decoder, items: 0 }.value(0)
}

fn json(what: &str, payload: &[u8]) -> Result<Value, DecodeError> {
    let text = std::str::from_utf8(payload)
        .map_err(|e| DecodeError(format!("{what} is JSON in UTF-8; byte {} is not", e.valid_up_to())))?;
    let value = strict(text).map_err(|e| DecodeError(format!("{what} is JSON: {e}")))?;
    match is_deeper(&value, DEPTH_MAX) {
        true => Err(DecodeError(format!("{what} is JSON of at most {DEPTH_MAX} levels"))),
        false => Ok(value),
    }
}

/// Reads JSON in which no object names a member twice.
pub(crate) fn strict(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).map(|strict::Strict(value)| value)
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|item| is_deeper(item, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

struct Reader<'r, 'a> {
    decoder: &'r mut Decoder<'a>,
    items: usize,
}

impl Reader<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("at most {DEPTH_MAX} levels"));
        }
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(format!("at most {ITEMS_MAX} items"));
        }
        let at = self.decoder.position();
        let wrong = |e: minicbor::decode::Error| format!("byte {at}: {e}");
        let decoder = &mut *self.decoder;
        Ok(match decoder.datatype().map_err(wrong)? {
            Type::Bool => Value::Bool(decoder.bool().map_err(wrong)?),
            Type::Null => {
                decoder.null().map_err(wrong)?;
                Value::Null
            }
            Type::Undefined => {
                decoder.undefined().map_err(wrong)?;
                Value::Null
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64().map_err(wrong)?.into(),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => decoder.i64().map_err(wrong)?.into(),
            Type::F16 | Type::F32 => {
                let number = decoder.f32().or_else(|_| decoder.f16()).map_err(wrong)?;
                // By its shortest text, so that 21.3 does not become 21.299999237060547.
                finite(number.to_string().parse().unwrap_or(f64::NAN), at)?
            }
            Type::F64 => finite(decoder.f64().map_err(wrong)?, at)?,
            Type::String => decoder.str().map_err(wrong)?.into(),
            Type::StringIndef => self.text(at)?.into(),
            Type::Array => {
                let length = decoder.array().map_err(wrong)?;
                self.array(length, depth)?
            }
            Type::ArrayIndef => {
                decoder.array().map_err(wrong)?;
                self.array(None, depth)?
            }
            Type::Map => {
                let length = decoder.map().map_err(wrong)?;
                self.map(length, depth)?
            }
            Type::MapIndef => {
                decoder.map().map_err(wrong)?;
                self.map(None, depth)?
            }
            // A tag says how to read what follows; it is read as it is.
            Type::Tag => {
                decoder.tag().map_err(wrong)?;
                self.value(depth + 1)?
            }
            Type::Bytes | Type::BytesIndef => {
                return Err(format!("byte {at}: byte strings are not used here"));
            }
            Type::Int | Type::Simple | Type::Break | Type::Unknown(_) => {
                return Err(format!("byte {at}: no value that is known here"));
            }
        })
    }

    /// Nothing is reserved for a length that is only claimed.
    fn array(&mut self, length: Option<u64>, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        while !self.is_end(length, items.len())? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: Option<u64>, depth: usize) -> Result<Value, String> {
        let mut members = Map::new();
        let mut read = 0;
        while !self.is_end(length, read)? {
            read += 1;
            let at = self.decoder.position();
            let Value::String(name) = self.value(depth + 1)? else {
                return Err(format!("byte {at}: the names in a map are text"));
            };
            let value = self.value(depth + 1)?;
            if members.contains_key(&name) {
                return Err(format!("byte {at}: {name:?} occurs twice"));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }

    fn text(&mut self, at: usize) -> Result<String, String> {
        let pieces = self.decoder.str_iter().map_err(|e| format!("byte {at}: {e}"))?;
        pieces.collect::<Result<String, _>>().map_err(|e| format!("byte {at}: {e}"))
    }

    fn is_end(&mut self, length: Option<u64>, read: usize) -> Result<bool, String> {
        if let Some(length) = length {
            return Ok(read as u64 == length);
        }
        let at = self.decoder.position();
        let is_break = self.decoder.datatype().map_err(|e| format!("byte {at}: {e}"))? == Type::Break;
        if is_break {
            self.decoder.set_position(at + 1);
        }
        Ok(is_break)
    }
}

fn finite(number: f64, at: usize) -> Result<Value, String> {
    let number = Number::from_f64(number).ok_or_else(|| format!("byte {at}: a number is finite"))?;
    Ok(Value::Number(number))
}

/// Writes one value. Writing to memory does not fail.
pub(crate) fn write(encoder: &mut Encoder<Vec<u8>>, value: &Value) {
    match value {
        Value::Null => drop(encoder.null()),
        Value::Bool(truth) => drop(encoder.bool(*truth)),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => drop(encoder.u64(number)),
            (_, Some(number), _) => drop(encoder.i64(number)),
            (.., number) => drop(encoder.f64(number.unwrap_or_default())),
        },
        Value::String(text) => drop(encoder.str(text)),
        Value::Array(items) => {
            let _ = encoder.array(items.len() as u64);
            items.iter().for_each(|item| write(encoder, item));
        }
        Value::Object(members) => {
            let _ = encoder.map(members.len() as u64);
            for (name, value) in members {
                let _ = encoder.str(name);
                write(encoder, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cbor(bytes: &[u8]) -> String {
        match decode(Encoding::Cbor, "it", bytes) {
            Ok(value) => value.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let value =
            json!({ "a": [1, -2, 2.5, true, null, "ä"], "b": { "c": u64::MAX, "d": i64::MIN }, "e": {} });
        for encoding in [Encoding::Json, Encoding::Cbor] {
            let bytes = encode(encoding, &value);
            assert_eq!(decode(encoding, "it", &bytes), Ok(value.clone()), "{encoding:?}");
        }
    }

    #[test]
    fn examples_of_the_standard_are_read() {
        let cases: [(&[u8], &str); 12] = [
            (b"\x00", "0"),
            (b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff", "-9223372036854775808"),
            (b"\xf9\x3c\x00", "1.0"),
            (b"\xfa\x41\xaa\x66\x66", "21.3"),
            (b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", "1.1"),
            (b"\xf7", "null"),
            (b"\x62\xc3\xbc", "\"ü\""),
            (b"\x7f\x65strea\x64ming\xff", "\"streaming\""),
            (b"\x9f\x01\x82\x02\x03\xff", "[1,[2,3]]"),
            (b"\xbf\x61a\x01\xff", "{\"a\":1}"),
            (b"\xa1\x61t\xf9\x4d\x40", "{\"t\":21.0}"),
            (b"\xc1\x1a\x51\x4b\x67\xb0", "1363896240"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(cbor(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_place() {
        let deep = [vec![0x81; 100_000], vec![0]].concat();
        let tags = [vec![0xc1; 100_000], vec![0]].concat();
        let many = [b"\x99\xff\xff".to_vec(), vec![0; 65_535]].concat();
        let cases: [(&[u8], &str); 14] = [
            (b"", "byte 0"),
            (b"\xa1\x61t", "byte 3"),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x00", "byte 10"),
            (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "byte 9"),
            (b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff\x61", "byte 0"),
            (b"\x42\x00\x01", "byte strings"),
            (b"\xf9\x7e\x00", "finite"),
            (b"\xa1\x01\x02", "names in a map"),
            (b"\x01\x02", "byte 1"),
            (b"\x9f\x01", "byte 2"),
            (&deep, "32 levels"),
            (&tags, "32 levels"),
            (&many, "20000 items"),
            (b"\xa2\x61a\x01\x61a\x02", "\"a\" occurs twice"),
        ];
        for (bytes, expected) in cases {
            let got = cbor(bytes);
            assert!(got.starts_with("error") && got.contains(expected), "{bytes:.20x?}: {got}");
        }
    }

    #[test]
    fn json_that_names_something_twice_is_refused() {
        let cases = [(r#"{"a":1,"b":{"a":2}}"#, None), (r#"{"a":1,"a":1}"#, Some("\"a\" occurs twice"))];
        let more = [(r#"[{"x":{"a":1,"\u0061":2}}]"#, Some("\"a\" occurs twice")), ("NaN", Some("expected"))];
        for (text, expected) in cases.into_iter().chain(more) {
            let got = decode(Encoding::Json, "it", text.as_bytes());
            match expected {
                None => assert_eq!(got, Ok(serde_json::from_str(text).unwrap())),
                Some(why) => assert!(got.as_ref().is_err_and(|e| e.0.contains(why)), "{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn deep_json_is_refused() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let read = |levels| decode(Encoding::Json, "it", nested(levels).as_bytes());
        assert!(read(DEPTH_MAX).is_ok());
        assert!(read(DEPTH_MAX + 1).unwrap_err().0.contains("32 levels"));
        assert!(read(100_000).is_err());
    }
}
