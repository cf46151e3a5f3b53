//! Units: what their frames mean, and which bytes they are told. The settings are the domain's
//! ([`motehub_domain::line`]); [`frames`] cuts what comes from a socket.

pub mod frames;

use motehub_domain::line::{FRAME_BYTES_MAX, Framing, Line, Parser};
use motehub_domain::message::Uplink;
use motehub_domain::rejection::Rejection;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::text;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::{DecodeError, Encoding, Said, payload, telemetry};

/// The metric of a reading that has no name.
pub const VALUE: &str = "value";
/// The member of the shadow that units are told.
pub const DESIRED: &str = "value";
/// Largest regular expression once it is compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// How much of a reading an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// Reads the frames of one unit.
#[derive(Debug, Clone)]
pub struct Reader {
    parser: Parser,
    pattern: Option<Regex>,
    reply: Option<Regex>,
}

impl Reader {
    /// For a unit with these settings.
    ///
    /// # Errors
    /// For a regular expression that is none, is too large, or has no named group.
    pub fn new(line: &Line) -> Result<Self, Rejection> {
        let pattern = match &line.parser {
            Parser::Regex(pattern) => {
                let compiled = compiled("pattern", pattern)?;
                for name in compiled.capture_names().flatten() {
                    Metric::parse(name)
                        .map_err(|rejection| Rejection::invalid("pattern", rejection.sentence))?;
                }
                if compiled.capture_names().flatten().next().is_none() {
                    let why = "name what is a metric, such as T=(?<t>[0-9.]+)";
                    return Err(Rejection::invalid("pattern", why));
                }
                Some(compiled)
            }
            Parser::Number | Parser::Text | Parser::Json | Parser::Csv(..) => None,
        };
        let reply = line.reply.as_ref().and_then(|reply| reply.pattern.as_deref());
        let reply =
            reply.map(|pattern| compiled("reply_pattern", &format!("^(?:{pattern})$"))).transpose()?;
        Ok(Self { parser: line.parser.clone(), pattern, reply })
    }

    /// What a frame means. What is not understood of it is named.
    ///
    /// # Errors
    /// If nothing is.
    pub fn read(&self, frame: &[u8]) -> Result<Said, DecodeError> {
        if let Parser::Json = self.parser {
            return telemetry::decode(&payload::decode(Encoding::Json, "a reading", frame)?);
        }
        let said = readable(frame)?;
        let points = match &self.parser {
            Parser::Number => vec![point(VALUE, PointValue::Number(number(said)?))?],
            Parser::Text => vec![point(VALUE, words(said)?)?],
            Parser::Csv(columns, separator) => row(columns, *separator, said)?,
            Parser::Regex(_) | Parser::Json => self.groups(said)?,
        };
        match points.is_empty() {
            true => Err(DecodeError(format!("{} has no measurement in it", shown(said)))),
            false => Ok(Uplink::Telemetry(points).into()),
        }
    }

    /// Whether a frame is the reply to what the unit was told.
    pub fn is_reply(&self, frame: &[u8]) -> bool {
        match (&self.reply, std::str::from_utf8(frame)) {
            (None, _) => true,
            (Some(pattern), Ok(said)) => pattern.is_match(said.trim()),
            (Some(_), Err(_)) => false,
        }
    }

    fn groups(&self, said: &str) -> Result<Vec<Point>, DecodeError> {
        let Some(pattern) = &self.pattern else { return Ok(Vec::new()) };
        let Some(found) = pattern.captures(said) else {
            return Err(DecodeError(format!("{} does not fit the pattern of the unit", shown(said))));
        };
        let named = pattern.capture_names().flatten();
        let named = named.filter_map(|name| found.name(name).map(|group| (name, group.as_str())));
        named.map(|(name, group)| point(name, number_or_text(group)?)).collect()
    }
}

/// The bytes that a unit is told for a desired value, with what ends them.
///
/// # Errors
/// If the template wants what is not desired, or the text does not fit into a frame.
pub fn told(line: &Line, desired: &Value) -> Result<Vec<u8>, Rejection> {
    let text = words_for(line, desired)?;
    let refuse = |why: String| Err(Rejection::invalid(DESIRED, why));
    let mut bytes = text.into_bytes();
    if bytes.len() > FRAME_BYTES_MAX {
        return refuse(format!("a unit is told at most {FRAME_BYTES_MAX} bytes at once"));
    }
    match line.framing {
        Framing::Lines(_, end) => {
            if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                return refuse("a line has no line break: the unit would take it for two".to_owned());
            }
            bytes.extend(end.bytes());
            Ok(bytes)
        }
        Framing::Length(size) => {
            let length = bytes.len().to_be_bytes();
            let (high, low) = length.split_at(length.len() - usize::from(size));
            match high.iter().all(|byte| *byte == 0) {
                true => Ok([low, &bytes].concat()),
                false => refuse(format!("a length of {size} byte cannot say {} bytes", bytes.len())),
            }
        }
        Framing::Fixed(size) => match bytes.len() <= usize::from(size) {
            true => {
                bytes.resize(usize::from(size), b' ');
                Ok(bytes)
            }
            false => refuse(format!("{} bytes, but a frame of the unit has {size}", bytes.len())),
        },
    }
}

/// The text that a unit is told for a desired value, without what ends it: what a base sends by itself.
///
/// # Errors
/// If the template wants what is not desired.
pub fn words_for(line: &Line, desired: &Value) -> Result<String, Rejection> {
    line.template.fill(desired)
}

fn compiled(field: &str, pattern: &str) -> Result<Regex, Rejection> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Rejection::invalid(field, "it is too large: repeat less"),
        error => {
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            Rejection::invalid(field, format!("no regular expression: {last}"))
        }
    })
}

fn readable(frame: &[u8]) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(frame).map_err(|error| {
        let at = error.valid_up_to();
        DecodeError(format!("no text: byte {} is {:#04x}, which is no UTF-8", at + 1, frame[at]))
    })?;
    match text.chars().position(|c| c.is_control() && c != '\t') {
        Some(at) => Err(DecodeError(format!("no text: sign {} is a control character", at + 1))),
        None => Ok(text),
    }
}

fn row(columns: &[Option<Metric>], separator: char, said: &str) -> Result<Vec<Point>, DecodeError> {
    let fields: Vec<&str> = said.split(separator).map(str::trim).collect();
    if fields.len() < columns.len() {
        let why = format!("{} has {} columns, and {} are wanted", shown(said), fields.len(), columns.len());
        return Err(DecodeError(why));
    }
    let named = columns.iter().zip(fields).filter_map(|(column, field)| Some((column.as_ref()?, field)));
    let filled = named.filter(|(_, field)| !field.is_empty());
    filled.map(|(column, field)| point(column.as_str(), number_or_text(field)?)).collect()
}

fn number(said: &str) -> Result<f64, DecodeError> {
    let number = said.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .ok_or_else(|| DecodeError(format!("{} is no number; another parser reads other text", shown(said))))
}

fn number_or_text(field: &str) -> Result<PointValue, DecodeError> {
    let field = field.trim();
    match field.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(PointValue::Number(number)),
        _ => words(field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)),
    }
}

fn words(text: &str) -> Result<PointValue, DecodeError> {
    let value =
        PointValue::from_json(&Value::from(text)).map_err(|rejection| DecodeError(rejection.sentence))?;
    value.ok_or_else(|| DecodeError("null is no measurement".to_owned()))
}

fn point(metric: &str, value: PointValue) -> Result<Point, DecodeError> {
    let metric = Metric::parse(metric).map_err(|rejection| DecodeError(rejection.sentence))?;
    Ok(Point { metric, time: When::ARRIVAL, value })
}

fn shown(said: &str) -> String {
    let dots = if said.chars().count() > SHOWN_CHARS_MAX { "…" } else { "" };
    format!("{:?}", text::shown(said, SHOWN_CHARS_MAX) + dots)
}

#[cfg(test)]
mod tests;
