//! A dashboard as people and programs write it: a JSON document. What cannot be meant is refused, with block and field.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::block::{Binding, Block, Deed, Kind, Reading, Series, Statistic};
use super::{BLOCKS_MAX, COLUMNS, DOCUMENT_BYTES_MAX};
use crate::fields::Fields;
use crate::rejection::Rejection;
use crate::selector::Selector;
use crate::telemetry::Metric;
use crate::text;
use crate::time::Span;

/// What a document says it is, without its version.
const FORMAT: &str = "motehub-dashboard/";
/// The newest version that is read.
const VERSION: u32 = 1;
/// Ranges of charts, in seconds.
const RANGE_S: (i64, i64) = (60, 31_622_400);
/// Last row of the grid, and tallest block in rows.
const ROWS: (i64, i64) = (999, 40);
/// Most series of a chart.
const SERIES_MAX: usize = 12;
/// Most columns of a table beside the name.
const CELLS_MAX: usize = 8;
/// Most bands of a gauge.
const BANDS_MAX: usize = 10;
/// Colours of bands.
const COLOURS: [&str; 5] = ["green", "yellow", "red", "blue", "grey"];
/// Longest path, command or unit in bytes.
const WORD_BYTES_MAX: usize = 200;
/// Longest selector in bytes.
const SELECTOR_BYTES_MAX: usize = 2_000;
/// Longest Markdown in bytes.
const MARKDOWN_BYTES_MAX: usize = 16 * 1024;
/// Longest picture as an address with its data, in bytes: 256 KiB of picture.
const PICTURE_BYTES_MAX: usize = 256 * 1024 / 3 * 4 + 64;
/// Kinds of pictures.
const PICTURES: [&str; 4] = ["png", "jpeg", "webp", "gif"];
/// Largest arguments of a command, as JSON in bytes.
const ARGUMENTS_BYTES_MAX: usize = 8 * 1024;
/// Numbers beyond this are no scale of an instrument.
const NUMBERS: (f64, f64) = (-1e15, 1e15);

/// A document that was read without a mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// 1 to 80 characters.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it shows.
    pub blocks: Vec<Block>,
    /// As it was written.
    pub source: Value,
}

impl Document {
    /// The same with another name, which has been checked.
    pub(super) fn renamed(&self, name: String) -> Self {
        let mut renamed = self.clone();
        renamed.source["name"] = json!(name);
        renamed.name = name;
        renamed
    }
}

/// Reads a document.
///
/// # Errors
/// A refusal that names the block and the field, and says what is expected.
pub fn document(source: &Value) -> Result<Document, Rejection> {
    let mut fields = Fields::of(source, "")?;
    check_format(fields.text("format")?)?;
    let name = fields.text("name")?.unwrap_or_default();
    let name = text::name("name", name)?;
    let description = fields.text("description")?.unwrap_or_default();
    let description = text::description("description", description)?;
    let list = fields.list("blocks")?;
    if list.len() > BLOCKS_MAX {
        let why = format!("a dashboard has at most {BLOCKS_MAX}, this one {}: make two of it", list.len());
        return Err(Rejection::too_large("blocks", why));
    }
    let mut blocks = Vec::with_capacity(list.len());
    let mut ids = HashSet::new();
    for (at, value) in list.iter().enumerate() {
        let block = block(value, at)?;
        if !ids.insert(block.id.clone()) {
            let why = format!("there are two blocks with the id {}", block.id);
            return Err(Rejection::invalid(&format!("blocks[{at}].id"), why));
        }
        blocks.push(block);
    }
    fields.end()?;
    let bytes = source.to_string().len();
    if bytes > DOCUMENT_BYTES_MAX {
        let why = format!("at most {DOCUMENT_BYTES_MAX} bytes, these are {bytes}: use smaller pictures");
        return Err(Rejection::too_large("document", why));
    }
    Ok(Document { name, description, blocks, source: source.clone() })
}

fn check_format(said: Option<&str>) -> Result<(), Rejection> {
    let expected = format!("{FORMAT}{VERSION}");
    let Some(said) = said else {
        return Err(Rejection::invalid("format", format!("\"{expected}\" is expected")));
    };
    match said.strip_prefix(FORMAT).and_then(|version| version.parse::<u32>().ok()) {
        Some(VERSION) => Ok(()),
        Some(newer) if newer > VERSION => Err(Rejection::invalid(
            "format",
            format!("this file is of {FORMAT}{newer}, this hub reads up to {VERSION}: update the hub"),
        )),
        _ => Err(Rejection::invalid(
            "format",
            format!("{expected} is expected, not {}: is this a dashboard?", text::shown(said, 40)),
        )),
    }
}

fn block(value: &Value, at: usize) -> Result<Block, Rejection> {
    let mut fields = Fields::of(value, format!("blocks[{at}]"))?;
    let id = fields.needed("id", WORD_BYTES_MAX)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if id.len() > 32 || !id.bytes().all(is_plain) {
        return Err(fields.wrong("id", "1 to 32 letters, digits or the signs - _"));
    }
    if let Some(title) = fields.text("title")?.filter(|title| !title.trim().is_empty()) {
        fields.says("title", text::name("title", title))?;
    }
    let x = needed_whole(&mut fields, "x", (0, COLUMNS - 1))?;
    needed_whole(&mut fields, "y", (0, ROWS.0))?;
    let width = needed_whole(&mut fields, "w", (1, COLUMNS))?;
    needed_whole(&mut fields, "h", (1, ROWS.1))?;
    if x + width > COLUMNS {
        return Err(fields.wrong("w", format!("the grid has {COLUMNS} columns: x and w make {}", x + width)));
    }
    let word = fields.needed("kind", WORD_BYTES_MAX)?;
    let kind = kind(word, &mut fields)?;
    fields.end()?;
    Ok(Block { id: id.to_owned(), kind })
}

fn kind(word: &str, fields: &mut Fields<'_>) -> Result<Kind, Rejection> {
    Ok(match word {
        "value" => {
            let kind = Kind::Value(binding(fields)?, reading(fields)?);
            unit_and_decimals(fields)?;
            kind
        }
        "gauge" => {
            let kind = Kind::Value(binding(fields)?, reading(fields)?);
            unit_and_decimals(fields)?;
            scale(fields)?;
            bands(fields)?;
            kind
        }
        "chart" => {
            fields.text("unit")?;
            Kind::Chart(series(fields)?, range(fields)?)
        }
        "bar" => Kind::Bar(binding(fields)?, metric(fields)?, statistic(fields)?, range(fields)?),
        "timeline" => Kind::Timeline(binding(fields)?, reading(fields)?, range(fields)?),
        "switch" => {
            let (of, path) = (binding(fields)?, path(fields, "path")?);
            let on = fields.member("on").cloned().unwrap_or(json!(true));
            let off = fields.member("off").cloned().unwrap_or(json!(false));
            if on == off || on.is_object() || off.is_object() {
                return Err(fields.wrong("off", "two different values are expected, no objects"));
            }
            Kind::Act(of, path, Deed::Switch(on, off))
        }
        "slider" => {
            let (of, path) = (binding(fields)?, path(fields, "path")?);
            let (min, max) = scale(fields)?;
            fields.number("step", (1e-6, NUMBERS.1))?;
            Kind::Act(of, path, Deed::Slider(min, max))
        }
        "colour" => Kind::Act(binding(fields)?, path(fields, "path")?, Deed::Colour),
        "input" => {
            let (of, path) = (binding(fields)?, path(fields, "path")?);
            let deed = match fields.text("kind_of")?.unwrap_or("text") {
                "text" => Deed::Text,
                "number" => Deed::Number,
                _ => return Err(fields.wrong("kind_of", "text or number is expected")),
            };
            Kind::Act(of, path, deed)
        }
        "button" => button(fields)?,
        "table" => Kind::Table(selector(fields, "selector")?, columns(fields)?),
        "map" => Kind::Map(selector(fields, "selector")?),
        "image" => {
            picture(fields)?;
            Kind::Image
        }
        "text" => {
            fields.needed("markdown", MARKDOWN_BYTES_MAX)?;
            Kind::Text
        }
        "alarms" => {
            let has_selector = fields.text("selector")?.is_some_and(|text| !text.trim().is_empty());
            Kind::Alarms(if has_selector { Some(selector(fields, "selector")?) } else { None })
        }
        "flow" => {
            let id = fields.needed("flow", WORD_BYTES_MAX)?;
            Kind::Flow(fields.says("flow", id.parse())?)
        }
        _ => {
            let kinds = "value, gauge, chart, bar, timeline, switch, slider, button, colour, input, table, map, \
                image, text, alarms and flow";
            return Err(fields.wrong("kind", format!("there are {kinds}, not {}", text::shown(word, 40))));
        }
    })
}

fn needed_whole(fields: &mut Fields<'_>, name: &'static str, range: (i64, i64)) -> Result<i64, Rejection> {
    fields.whole(name, range)?.ok_or_else(|| fields.wrong(name, "is missing"))
}

fn binding(fields: &mut Fields<'_>) -> Result<Binding, Rejection> {
    let value = fields.member("of").ok_or_else(|| fields.wrong("of", "say which: a device or a selector"))?;
    binding_at(value, fields.path("of"))
}

fn binding_at(value: &Value, at: String) -> Result<Binding, Rejection> {
    let mut inner = Fields::of(value, at)?;
    let device = inner.text("device")?;
    let has_selector = inner.text("selector")?.is_some();
    let binding = match (device, has_selector) {
        (Some(id), false) => Binding::Device(inner.says("device", id.parse())?),
        (None, true) => Binding::Selector(selector(&mut inner, "selector")?),
        _ => return Err(inner.wrong("device", "give \"device\" or \"selector\", and not both")),
    };
    inner.end()?;
    Ok(binding)
}

fn selector(fields: &mut Fields<'_>, name: &'static str) -> Result<String, Rejection> {
    let text = fields.needed(name, SELECTOR_BYTES_MAX)?;
    fields.says(name, Selector::parse(text))?;
    Ok(text.trim().to_owned())
}

fn reading(fields: &mut Fields<'_>) -> Result<Reading, Rejection> {
    let value = fields.member("read").ok_or_else(|| fields.wrong("read", "say what is read of a device"))?;
    reading_at(value, fields.path("read"))
}

fn reading_at(value: &Value, at: String) -> Result<Reading, Rejection> {
    let mut inner = Fields::of(value, at)?;
    let reading = if inner.member("metric").is_some() {
        Reading::Metric(metric(&mut inner)?)
    } else if inner.member("reported").is_some() {
        Reading::Reported(path(&mut inner, "reported")?)
    } else if inner.member("desired").is_some() {
        Reading::Desired(path(&mut inner, "desired")?)
    } else if inner.truth("presence")? {
        Reading::Presence
    } else {
        return Err(inner.wrong("metric", "give \"metric\", \"reported\", \"desired\" or \"presence\": true"));
    };
    inner.end()?;
    Ok(reading)
}

fn metric(fields: &mut Fields<'_>) -> Result<Metric, Rejection> {
    let text = fields.needed("metric", WORD_BYTES_MAX)?;
    fields.says("metric", Metric::parse(text))
}

fn path(fields: &mut Fields<'_>, name: &'static str) -> Result<String, Rejection> {
    let text = fields.needed(name, WORD_BYTES_MAX)?;
    match text.split('.').all(|name| !name.is_empty() && name.len() <= 64) {
        true => Ok(text.to_owned()),
        false => Err(fields.wrong(name, "names with dots between them are expected, such as lamp.on")),
    }
}

fn range(fields: &mut Fields<'_>) -> Result<Span, Rejection> {
    needed_whole(fields, "range", RANGE_S).map(Span::seconds)
}

fn scale(fields: &mut Fields<'_>) -> Result<(f64, f64), Rejection> {
    let mut end = |name| fields.number(name, NUMBERS)?.ok_or_else(|| fields.wrong(name, "is missing"));
    let (min, max) = (end("min")?, end("max")?);
    match min < max {
        true => Ok((min, max)),
        false => Err(fields.wrong("max", format!("it has to be greater than min, {min}"))),
    }
}

fn unit_and_decimals(fields: &mut Fields<'_>) -> Result<(), Rejection> {
    if fields.text("unit")?.is_some_and(|unit| unit.len() > 40) {
        return Err(fields.wrong("unit", "at most 40 bytes"));
    }
    fields.whole("decimals", (0, 6)).map(drop)
}

fn bands(fields: &mut Fields<'_>) -> Result<(), Rejection> {
    let list = fields.list("bands")?;
    if list.len() > BANDS_MAX {
        return Err(fields.wrong("bands", format!("at most {BANDS_MAX}")));
    }
    let mut before = f64::NEG_INFINITY;
    for (at, value) in list.iter().enumerate() {
        let mut band = Fields::of(value, format!("{}[{at}]", fields.path("bands")))?;
        let from = band.number("from", NUMBERS)?.ok_or_else(|| band.wrong("from", "is missing"))?;
        if from <= before {
            return Err(band.wrong("from", "each band begins behind the one before it"));
        }
        before = from;
        let colour = band.needed("colour", WORD_BYTES_MAX)?;
        if !COLOURS.contains(&colour) {
            return Err(band.wrong("colour", format!("there are {}", COLOURS.join(", "))));
        }
        band.end()?;
    }
    Ok(())
}

fn series(fields: &mut Fields<'_>) -> Result<Vec<Series>, Rejection> {
    let list = fields.list("series")?;
    if list.is_empty() || list.len() > SERIES_MAX {
        return Err(fields.wrong("series", format!("1 to {SERIES_MAX} are expected")));
    }
    let one = |(at, value): (usize, &Value)| {
        let mut inner = Fields::of(value, format!("{}[{at}]", fields.path("series")))?;
        let of = binding(&mut inner)?;
        let metric = metric(&mut inner)?;
        let label = match inner.text("label")?.filter(|label| !label.trim().is_empty()) {
            Some(label) => Some(inner.says("label", text::name("label", label))?),
            None => None,
        };
        inner.end()?;
        Ok(Series { of, metric, label })
    };
    list.iter().enumerate().map(one).collect()
}

fn statistic(fields: &mut Fields<'_>) -> Result<Statistic, Rejection> {
    Ok(match fields.text("statistic")?.unwrap_or("last") {
        "last" => Statistic::Last,
        "min" => Statistic::Min,
        "max" => Statistic::Max,
        "mean" => Statistic::Mean,
        "sum" => Statistic::Sum,
        _ => return Err(fields.wrong("statistic", "there are last, min, max, mean and sum")),
    })
}

fn button(fields: &mut Fields<'_>) -> Result<Kind, Rejection> {
    let of = binding(fields)?;
    let command = fields.needed("command", 64)?.to_owned();
    let arguments = fields.member("arguments").cloned().unwrap_or(Value::Null);
    if arguments.to_string().len() > ARGUMENTS_BYTES_MAX {
        return Err(fields.wrong("arguments", format!("at most {ARGUMENTS_BYTES_MAX} bytes")));
    }
    if let Some(label) = fields.text("label")?.filter(|label| !label.trim().is_empty()) {
        fields.says("label", text::name("label", label))?;
    }
    fields.truth("confirm")?;
    Ok(Kind::Button(of, command, arguments))
}

fn columns(fields: &mut Fields<'_>) -> Result<Vec<Reading>, Rejection> {
    let list = fields.list("columns")?;
    if list.len() > CELLS_MAX {
        return Err(fields.wrong("columns", format!("at most {CELLS_MAX}")));
    }
    let at = fields.path("columns");
    list.iter().enumerate().map(|(index, value)| reading_at(value, format!("{at}[{index}]"))).collect()
}

fn picture(fields: &mut Fields<'_>) -> Result<(), Rejection> {
    let text = fields.needed("picture", PICTURE_BYTES_MAX)?;
    let data = text.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
    let is_base64 =
        |data: &str| data.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let is_fine = data.is_some_and(|(kind, data)| PICTURES.contains(&kind) && is_base64(data));
    if !is_fine {
        let kinds = PICTURES.join(", ");
        return Err(fields.wrong("picture", format!("data:image/…;base64,… is expected, of {kinds}")));
    }
    match fields.text("alt")?.is_some_and(|alt| alt.len() > WORD_BYTES_MAX) {
        true => Err(fields.wrong("alt", format!("at most {WORD_BYTES_MAX} bytes"))),
        false => Ok(()),
    }
}
