//! The settings of a unit as a JSON document: as they are kept, sent to gateways, and shown.

use serde_json::{Map, Value, json};

use super::{
    Address, COLUMNS_MAX, Direction, EXPIRY_RANGE, End, EndIn, FRAME_BYTES_MAX, Framing, Kind, Line, Parser,
    Queue, REPLY_RANGE, Reply, TEXT_BYTES_MAX, Template, Through,
};
use crate::rejection::Rejection;
use crate::telemetry::Metric;
use crate::time::Span;

const KINDS: [(&str, Kind); 3] = [("read", Kind::Read), ("update", Kind::Update), ("both", Kind::Both)];
const DIRECTIONS: [(&str, Direction); 2] = [("dial", Direction::Dial), ("listen", Direction::Listen)];
const QUEUES: [(&str, Queue); 2] = [("latest", Queue::Latest), ("all", Queue::All)];
const ENDS: [(&str, End); 3] = [("cr", End::Cr), ("lf", End::Lf), ("crlf", End::CrLf)];
const LENGTHS: [(&str, u8); 3] = [("length-1", 1), ("length-2", 2), ("length-4", 4)];
const PARSERS: [&str; 5] = ["number", "text", "json", "csv", "regex"];
/// Every member of a document.
const MEMBERS: [&str; 17] = [
    "address",
    "through",
    "kind",
    "direction",
    "framing",
    "size_bytes",
    "end_in",
    "end_out",
    "parser",
    "columns",
    "separator",
    "pattern",
    "template",
    "reply_ms",
    "reply_pattern",
    "queue",
    "expires_seconds",
];

impl Line {
    /// The settings as an object; what is not said is left out.
    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "address": self.address.as_ref().map(ToString::to_string),
            "through": self.through.to_string(),
            "kind": word(&KINDS, &self.kind),
            "direction": word(&DIRECTIONS, &self.direction),
            "template": self.template.to_string(),
            "reply_ms": self.reply.as_ref().map(|reply| reply.within.0),
            "reply_pattern": self.reply.as_ref().and_then(|reply| reply.pattern.clone()),
            "queue": word(&QUEUES, &self.queue),
            "expires_seconds": self.expiry.map(|expiry| expiry.0 / 1000),
            "greeting": self.greeting,
        });
        match &self.framing {
            Framing::Lines(end_in, end_out) => {
                all["framing"] = json!("lines");
                all["end_in"] = json!(match end_in {
                    EndIn::Any => "any",
                    EndIn::Only(end) => word(&ENDS, end),
                });
                all["end_out"] = json!(word(&ENDS, end_out));
            }
            Framing::Length(bytes) => all["framing"] = json!(word(&LENGTHS, bytes)),
            Framing::Fixed(bytes) => {
                all["framing"] = json!("fixed");
                all["size_bytes"] = json!(bytes);
            }
        }
        match &self.parser {
            Parser::Number => all["parser"] = json!("number"),
            Parser::Text => all["parser"] = json!("text"),
            Parser::Json => all["parser"] = json!("json"),
            Parser::Csv(columns, separator) => {
                let name = |column: &Option<Metric>| column.as_ref().map_or("", Metric::as_str).to_owned();
                all["parser"] = json!("csv");
                all["columns"] = json!(columns.iter().map(name).collect::<Vec<_>>());
                all["separator"] = json!(separator.to_string());
            }
            Parser::Regex(pattern) => {
                all["parser"] = json!("regex");
                all["pattern"] = json!(pattern);
            }
        }
        if let Some(members) = all.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        all
    }

    /// Reads settings; what is left out or null is as usual.
    ///
    /// # Errors
    /// For a member that is not known or means nothing, by its name.
    pub fn from_json(document: &Value) -> Result<Self, Rejection> {
        let members =
            document.as_object().ok_or_else(|| Rejection::invalid("line", "an object of settings"))?;
        let is_known = |name: &String| name == "greeting" || MEMBERS.contains(&name.as_str());
        if let Some(name) = members.keys().find(|name| !is_known(name)) {
            return Err(Rejection::invalid("line", format!("{name:?} is no setting of a unit")));
        }
        let settings = Settings(members);
        let address = settings.text("address")?.map(|text| Address::parse("address", text)).transpose()?;
        let line = Self {
            address,
            through: settings.text("through")?.map(Through::parse).transpose()?.unwrap_or_default(),
            kind: settings.one_of("kind", &KINDS)?.unwrap_or_default(),
            direction: settings.one_of("direction", &DIRECTIONS)?.unwrap_or_default(),
            framing: settings.framing()?,
            parser: settings.parser()?,
            template: settings.text("template")?.map(Template::parse).transpose()?.unwrap_or_default(),
            reply: settings.reply()?,
            queue: settings.one_of("queue", &QUEUES)?.unwrap_or_default(),
            expiry: settings.span("expires_seconds", 1000, EXPIRY_RANGE)?,
            greeting: settings.plain("greeting")?,
        };
        line.checked()
    }

    /// The settings with some of them changed; null is as usual.
    ///
    /// # Errors
    /// As for [`Line::from_json`].
    pub fn with(&self, changes: &Map<String, Value>) -> Result<Self, Rejection> {
        let mut all = self.to_json();
        if let Some(members) = all.as_object_mut() {
            // Another framing or parser begins without what belonged to the former one.
            for (of, own) in [
                ("framing", &["size_bytes", "end_in", "end_out"][..]),
                ("parser", &["columns", "separator", "pattern"][..]),
                ("reply_ms", &["reply_pattern"][..]),
            ] {
                if changes.get(of).is_some_and(|value| members.get(of) != Some(value)) {
                    own.iter().for_each(|name| drop(members.remove(*name)));
                }
            }
            members.extend(changes.clone());
        }
        Self::from_json(&all)
    }
}

/// Members of a document that are read by name.
struct Settings<'a>(&'a Map<String, Value>);

impl<'a> Settings<'a> {
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Rejection> {
        let wrong = || Rejection::invalid(name, "a text");
        self.given(name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    fn plain(&self, name: &str) -> Result<Option<String>, Rejection> {
        let Some(text) = self.text(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        match text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control) {
            true => Ok(Some(text.to_owned())),
            false => {
                let why = format!("at most {TEXT_BYTES_MAX} bytes without control characters");
                Err(Rejection::invalid(name, why))
            }
        }
    }

    fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Rejection> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Rejection::invalid(name, format!("one of {}", known.join(", ")))
        })
    }

    fn number(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Rejection> {
        let Some(value) = self.given(name) else { return Ok(None) };
        let number = value.as_i64().filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| Rejection::invalid(name, format!("a number from {least} to {most}")))
    }

    fn span(&self, name: &str, each_ms: i64, range: (Span, Span)) -> Result<Option<Span>, Rejection> {
        let number = self.number(name, range.0.0 / each_ms, range.1.0 / each_ms)?;
        Ok(number.map(|number| Span(number * each_ms)))
    }

    fn framing(&self) -> Result<Framing, Rejection> {
        match self.text("framing")?.unwrap_or("lines") {
            "lines" => {
                let any = self.text("end_in")? == Some("any");
                let end_in = if any { None } else { self.one_of("end_in", &ENDS)?.map(EndIn::Only) };
                let end_out = self.one_of("end_out", &ENDS)?.unwrap_or_default();
                Ok(Framing::Lines(end_in.unwrap_or_default(), end_out))
            }
            "fixed" => {
                let most = i64::try_from(FRAME_BYTES_MAX).unwrap_or(i64::MAX);
                let size = self.number("size_bytes", 1, most)?.and_then(|size| u16::try_from(size).ok());
                let say = || Rejection::invalid("size_bytes", "say how many bytes each frame has");
                Ok(Framing::Fixed(size.ok_or_else(say)?))
            }
            _ => match self.one_of("framing", &LENGTHS) {
                Ok(bytes) => Ok(Framing::Length(bytes.unwrap_or(1))),
                Err(_) => {
                    Err(Rejection::invalid("framing", "one of lines, length-1, length-2, length-4, fixed"))
                }
            },
        }
    }

    fn parser(&self) -> Result<Parser, Rejection> {
        match self.text("parser")?.unwrap_or("number") {
            "number" => Ok(Parser::Number),
            "text" => Ok(Parser::Text),
            "json" => Ok(Parser::Json),
            "csv" => Ok(Parser::Csv(self.columns()?, self.separator()?)),
            "regex" => {
                let say =
                    || Rejection::invalid("pattern", "say the regular expression, such as T=(?<t>[0-9.]+)");
                Ok(Parser::Regex(self.plain("pattern")?.ok_or_else(say)?))
            }
            _ => Err(Rejection::invalid("parser", format!("one of {}", PARSERS.join(", ")))),
        }
    }

    fn columns(&self) -> Result<Vec<Option<Metric>>, Rejection> {
        let wrong = || {
            let why = format!("the metrics of 1 to {COLUMNS_MAX} columns, empty for one that is nobody's");
            Rejection::invalid("columns", why)
        };
        let columns = self.given("columns").and_then(Value::as_array).ok_or_else(wrong)?;
        if columns.is_empty() || columns.len() > COLUMNS_MAX {
            return Err(wrong());
        }
        let column = |name: &Value| match name.as_str().ok_or_else(wrong)?.trim() {
            "" => Ok(None),
            name => Metric::parse(name).map(Some),
        };
        columns.iter().map(column).collect()
    }

    fn separator(&self) -> Result<char, Rejection> {
        let mut signs = self.text("separator")?.unwrap_or(",").chars();
        match (signs.next(), signs.next()) {
            (Some(sign), None) if !matches!(sign, '\r' | '\n') => Ok(sign),
            _ => Err(Rejection::invalid("separator", "one sign, such as , or ;")),
        }
    }

    fn reply(&self) -> Result<Option<Reply>, Rejection> {
        let pattern = self.plain("reply_pattern")?;
        match (self.span("reply_ms", 1, REPLY_RANGE)?, pattern) {
            (Some(within), pattern) => Ok(Some(Reply { within, pattern })),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(Rejection::invalid("reply_ms", "say how long a reply is waited for, in milliseconds"))
            }
        }
    }
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| *word)
}

impl Through {
    /// `hub`, `base`, or the id of a gateway.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        match text {
            "hub" => Ok(Self::Hub),
            "base" => Ok(Self::Base),
            id => id.parse().map(Self::Gateway).map_err(|_| {
                Rejection::invalid("through", "hub, base, or the id of a gateway that is registered here")
            }),
        }
    }
}

impl std::fmt::Display for Through {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Base => f.write_str("base"),
            Self::Gateway(id) => write!(f, "{id}"),
        }
    }
}
