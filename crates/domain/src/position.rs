//! Where a device says that it is.

use serde_json::Value;

/// The resource, and so the member of what is reported, that says it.
pub const REPORTED_AS: &str = "position";
/// Longest text in which a position is looked for, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A place on earth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Degrees to the north, -90 to 90.
    pub latitude: f64,
    /// Degrees to the east, -180 to 180.
    pub longitude: f64,
}

impl Position {
    /// Reads `{"lat":48.7,"lng":2.2}`, as JSON or as its text; `None` if it is no place on earth.
    pub fn read(said: &Value) -> Option<Self> {
        if let Value::String(text) = said {
            let json = Some(text).filter(|text| text.len() <= TEXT_BYTES_MAX)?;
            let read: Value = serde_json::from_str(json).ok()?;
            return Some(read).filter(Value::is_object).and_then(|read| Self::read(&read));
        }
        let degrees = |name: &str, most: f64| {
            let degrees = match said.get(name)? {
                Value::String(text) => text.trim().parse().ok()?,
                number => number.as_f64()?,
            };
            Some(degrees).filter(|degrees: &f64| degrees.abs() <= most)
        };
        Some(Self { latitude: degrees("lat", 90.0)?, longitude: degrees("lng", 180.0)? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_position_is_read_if_it_is_on_earth() {
        let read = |said: Value| Position::read(&said).map(|at| (at.latitude, at.longitude));
        assert_eq!(read(json!({ "lat": 48.7, "lng": -2 })), Some((48.7, -2.0)));
        assert_eq!(read(json!(r#"{"lat":"48.7","lng":2.2}"#)), Some((48.7, 2.2)));
        let wrong = [
            json!(null),
            json!("here"),
            json!([1, 2]),
            json!({ "lat": 48.7 }),
            json!({ "lat": 90.1, "lng": 0 }),
            json!({ "lat": "NaN", "lng": 0 }),
            json!({ "lat": 0, "lng": "inf" }),
            json!({ "lat": 0, "lng": -181 }),
            json!("\"{}\""),
        ];
        for said in wrong {
            assert_eq!(read(said.clone()), None, "{said}");
        }
    }
}
