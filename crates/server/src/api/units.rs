//! How a unit is spoken to, as the API shows and takes it.

use motehub_domain::device::Dialect;
use motehub_domain::line::{self, Line, Through};
use motehub_domain::rejection::Rejection;
use motehub_protocol::line::Reader;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::App;

/// How a unit is spoken to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Line)]
pub(crate) struct LineDto {
    /// Where it is, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// From where it is reached: `hub`, `base`, or the id of a gateway.
    through: String,
    /// `read`, `update` or `both`.
    kind: String,
    /// Who begins the connection: `dial` if we do, `listen` if the unit does.
    direction: String,
    /// Where a frame ends: `lines`, `length-1`, `length-2`, `length-4` or `fixed`.
    framing: String,
    /// How long frames are that are `fixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u16>,
    /// What ends its lines: `any`, `cr`, `lf` or `crlf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_in: Option<String>,
    /// What ends our lines: `cr`, `lf` or `crlf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_out: Option<String>,
    /// What its frames mean: `number`, `text`, `json`, `csv` or `regex`.
    parser: String,
    /// The metrics of the columns of `csv`; empty for one that is nobody's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    /// What stands between the columns of `csv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<String>,
    /// The expression of `regex`; its named groups are metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// What it is told: `{value}` is what is desired, `{value.red}` a member of it.
    template: String,
    /// How long its reply is waited for; without it a change is done when it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_ms: Option<i64>,
    /// A regular expression for the whole of its reply; any frame without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_pattern: Option<String>,
    /// Which changes it is told: the `latest`, or `all`.
    queue: String,
    /// After so long a change is not told any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_seconds: Option<i64>,
    /// With which line it begins each connection; it is known by it wherever it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<String>,
}

impl LineDto {
    /// Of settings.
    pub(super) fn of(line: &Line) -> Self {
        serde_json::from_value(line.to_json()).expect("because both have the same members")
    }

    /// Where the unit is.
    pub(super) fn address(&self) -> Option<String> {
        self.address.clone()
    }
}

/// What changes of how a unit is spoken to. What is left out stays as it is; null is as usual.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineEdit {
    /// `hub`, `base`, or the id of a gateway.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    through: Option<Value>,
    /// `read`, `update` or `both`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    kind: Option<Value>,
    /// `dial` or `listen`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    direction: Option<Value>,
    /// `lines`, `length-1`, `length-2`, `length-4` or `fixed`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    framing: Option<Value>,
    /// How long frames are that are `fixed`, 1 to 4096.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u16>)]
    size_bytes: Option<Value>,
    /// `any`, `cr`, `lf` or `crlf`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    end_in: Option<Value>,
    /// `cr`, `lf` or `crlf`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    end_out: Option<Value>,
    /// `number`, `text`, `json`, `csv` or `regex`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    parser: Option<Value>,
    /// The metrics of the columns of `csv`; empty for one that is nobody's.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    columns: Option<Value>,
    /// One sign.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    separator: Option<Value>,
    /// The expression of `regex`; its named groups are metrics.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pattern: Option<Value>,
    /// What it is told: `{value}` is what is desired, `{value.red}` a member of it.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    template: Option<Value>,
    /// How long its reply is waited for, 1 to 60000.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<i64>)]
    reply_ms: Option<Value>,
    /// A regular expression for the whole of its reply.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    reply_pattern: Option<Value>,
    /// `latest` or `all`.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    queue: Option<Value>,
    /// After so long a change is not told any more, 1 second to 30 days.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<i64>)]
    expires_seconds: Option<Value>,
    /// With which line it begins each connection.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    greeting: Option<Value>,
}

/// A member that is there, even if it is null.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl LineEdit {
    fn members(self) -> Map<String, Value> {
        let all = [
            ("through", self.through),
            ("kind", self.kind),
            ("direction", self.direction),
            ("framing", self.framing),
            ("size_bytes", self.size_bytes),
            ("end_in", self.end_in),
            ("end_out", self.end_out),
            ("parser", self.parser),
            ("columns", self.columns),
            ("separator", self.separator),
            ("pattern", self.pattern),
            ("template", self.template),
            ("reply_ms", self.reply_ms),
            ("reply_pattern", self.reply_pattern),
            ("queue", self.queue),
            ("expires_seconds", self.expires_seconds),
            ("greeting", self.greeting),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// What changes of the settings of a unit.
pub(super) fn line_edit(address: Option<String>, settings: Option<LineEdit>) -> Map<String, Value> {
    let mut members = settings.unwrap_or_default().members();
    members.extend(address.map(|address| ("address".to_owned(), Value::from(address))));
    members
}

impl App {
    /// The settings of a device that is registered: those of a unit, or none.
    pub(super) fn new_line(
        &self,
        dialect: Dialect,
        address: Option<String>,
        settings: Option<LineEdit>,
    ) -> Result<Option<Box<Line>>, Rejection> {
        let members = line_edit(address, settings);
        if dialect != Dialect::Line && members.is_empty() {
            return Ok(None);
        }
        let line = Line::from_json(&Value::Object(members))?;
        self.weigh_line(Some(&line))?;
        Ok(Some(Box::new(line)))
    }

    /// Refuses patterns that are none, and an address at which this hub may not call.
    pub(super) fn weigh_line(&self, line: Option<&Line>) -> Result<(), Rejection> {
        let Some(line) = line else { return Ok(()) };
        Reader::new(line)?;
        match (line.through, line.address.as_ref().and_then(line::Address::ip)) {
            (Through::Hub, Some(ip)) => line::is_allowed(ip, &self.settings.line.networks),
            // A name is weighed when it is resolved, and a gateway elsewhere has networks of its own.
            (Through::Hub, None) | (Through::Gateway(_) | Through::Base, _) => Ok(()),
        }
    }
}
