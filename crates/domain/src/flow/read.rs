//! A flow as people and programs write it: a JSON document. What cannot be meant is refused, with step and field.

use serde_json::Value;

use super::check;
use super::settings::{Average, Compare, Debounce, Operand, Operator, Rule, Sensor};
use super::step::{Kind, Step, StepId, Wanted, Where};
use super::{Graph, STEPS_MAX, VALUE_BYTES_MAX, WIRES_MAX, Wire};
use crate::camera::Address;
use crate::capability;
use crate::expression::Expression;
use crate::fields::{Fields, what};
use crate::placement::Weights;
use crate::rejection::Rejection;
use crate::script::{Language, SOURCE_BYTES_MAX};
use crate::selector::Selector;
use crate::telemetry::Metric;
use crate::text;
use crate::time::Span;
use crate::topic;

/// The shortest and the longest time between two values of a timer or a sensor.
const EVERY: (Span, Span) = (Span(100), Span::days(1));
/// The shortest and the longest silence of a debounce, and window of an average.
const QUIET: (Span, Span) = (Span(10), Span::days(1));
/// Most numbers that are averaged: they are kept in the memory of a board.
const AVERAGE_MAX: i64 = 100;
/// Most rules of a comparison, and cases of a map.
const RULES_MAX: usize = 50;
/// Longest path to a part of a value, in bytes.
const PROPERTY_BYTES_MAX: usize = 200;
/// Longest name or id of a device, topic or address in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// Reads the graph of a flow from the members `steps`, `wires`, `boards`, `take_over` and `weights` of a document.
///
/// # Errors
/// A refusal that names the step and the field, and says what is expected.
pub fn graph(document: &Value) -> Result<Graph, Rejection> {
    let mut fields = Fields::of(document, "")?;
    let steps = fields.list("steps")?;
    if steps.len() > STEPS_MAX {
        return Err(Rejection::too_large(
            "steps",
            format!(
                "a flow has at most {STEPS_MAX} steps, this one {}: make several flows of it",
                steps.len()
            ),
        ));
    }
    let steps = steps.iter().enumerate().map(|(at, value)| step(value, at)).collect::<Result<Vec<_>, _>>()?;
    let wires = fields.list("wires")?;
    if wires.len() > WIRES_MAX {
        return Err(Rejection::too_large("wires", format!("a flow has at most {WIRES_MAX} wires")));
    }
    let wires = wires.iter().enumerate().map(|(at, value)| wire(value, at)).collect::<Result<Vec<_>, _>>()?;
    let boards = fields.text("boards")?.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(selector) = &boards {
        fields.says("boards", Selector::parse(selector))?;
    }
    let take_over = fields.truth("take_over")?;
    let weights = match fields.member("weights") {
        Some(value) => weights(value)?,
        None => Weights::default(),
    };
    fields.end()?;
    let graph = Graph { steps, wires, boards, take_over, weights };
    check::graph(&graph)?;
    Ok(graph)
}

fn weights(value: &Value) -> Result<Weights, Rejection> {
    let mut fields = Fields::of(value, "weights")?;
    let mut weights = Weights::default();
    for (name, weight) in weights.named_mut() {
        match fields.member(name).map(Value::as_f64) {
            None => {}
            Some(Some(number)) if (0.0..=10.0).contains(&number) => *weight = number,
            Some(_) => return Err(fields.wrong(name, "a number from 0 to 10 is expected")),
        }
    }
    fields.end()?;
    Ok(weights)
}

fn wire(value: &Value, at: usize) -> Result<Wire, Rejection> {
    let mut fields = Fields::of(value, format!("wires[{at}]"))?;
    let mut end = |name| {
        let text = fields.needed(name, TEXT_BYTES_MAX)?;
        fields.says(name, StepId::parse(text))
    };
    let wire = Wire { from: end("from")?, to: end("to")? };
    fields.end()?;
    Ok(wire)
}

fn step(value: &Value, at: usize) -> Result<Step, Rejection> {
    let mut fields = Fields::of(value, format!("steps[{at}]"))?;
    let id = fields.needed("id", TEXT_BYTES_MAX)?;
    let id = fields.says("id", StepId::parse(id))?;
    // From here on the step is called by its id: that is what a person sees in the editor.
    let mut fields = Fields::of(value, format!("steps.{id}"))?;
    fields.anything("id");
    let name = match fields.text("name")?.filter(|name| !name.trim().is_empty()) {
        Some(name) => fields.says("name", text::name("name", name))?,
        None => String::new(),
    };
    let word = fields.needed("kind", TEXT_BYTES_MAX)?;
    let kind = kind(word, &mut fields)?;
    let mut capabilities = |name| {
        let given = fields.texts(name)?;
        fields.says(name, capability::names(&given))
    };
    let requires = capabilities("requires")?;
    let prefers = capabilities("prefers")?;
    let runs_on = match fields.text("runs_on")?.map(str::trim).filter(|text| !text.is_empty()) {
        None => None,
        Some("hub") => Some(Wanted::Hub),
        Some(device) => Some(Wanted::Device(device.to_owned())),
    };
    match (kind.runs(), &runs_on) {
        (Where::Boards, Some(Wanted::Hub)) => {
            return Err(fields.wrong("runs_on", format!("a step of the kind {word} runs on boards only")));
        }
        (Where::Hub, Some(Wanted::Device(_))) => {
            return Err(fields.wrong("runs_on", format!("a step of the kind {word} runs on the hub only")));
        }
        (Where::Hub, _) if !requires.is_empty() => {
            let why = format!("a step of the kind {word} runs on the hub and requires nothing of a board");
            return Err(fields.wrong("requires", why));
        }
        _ => {}
    }
    let mut place = |name| fields.whole(name, (-100_000, 100_000)).map(Option::unwrap_or_default);
    let at = (place("x")?, place("y")?);
    fields.end()?;
    Ok(Step { id, name, kind, requires, prefers, runs_on, at })
}

fn kind(word: &str, fields: &mut Fields<'_>) -> Result<Kind, Rejection> {
    let kind = match word {
        "sensor" => Kind::Sensor {
            sensor: one_of(fields, "sensor", &Sensor::ALL, Sensor::as_str)?,
            pin: fields.whole("pin", (0, 255))?.unwrap_or(0),
            every: needed_span(fields, "every_ms", EVERY)?,
        },
        "metric" => {
            let device = fields.needed("device", TEXT_BYTES_MAX)?.to_owned();
            let metric = fields.needed("metric", TEXT_BYTES_MAX)?;
            Kind::Metric { device, metric: fields.says("metric", Metric::parse(metric))? }
        }
        "topic" => Kind::Topic { topic: topic_name(fields)? },
        "timer" => Kind::Timer {
            every: needed_span(fields, "every_ms", EVERY)?,
            value: small(fields, "value")?.unwrap_or(Value::Bool(true)),
        },
        "compare" => Kind::Compare(compare(fields)?),
        "and" => Kind::And,
        "or" => Kind::Or,
        "not" => Kind::Not,
        "debounce" => Kind::Debounce(Debounce { quiet: needed_span(fields, "quiet_ms", QUIET)? }),
        "average" => Kind::Average(Average {
            property: property(fields)?,
            count: fields.whole("count", (1, AVERAGE_MAX))?.unwrap_or(10).unsigned_abs() as usize,
            window: fields.span("window_ms", QUIET)?,
        }),
        "expression" => {
            let text = fields.needed("expression", crate::expression::BYTES_MAX)?;
            Kind::Expression(fields.says("expression", Expression::parse(text))?)
        }
        "map" => Kind::Map { cases: cases(fields)?, otherwise: small(fields, "otherwise")? },
        "pass" => Kind::Pass,
        "code" => {
            let language = fields.needed("language", TEXT_BYTES_MAX)?;
            let language = fields.says("language", Language::parse(language))?;
            Kind::Code { language, source: fields.needed("source", SOURCE_BYTES_MAX)?.to_owned() }
        }
        "failure" => {
            let tags = fields.texts("tags")?;
            Kind::Failure { tags: fields.says("tags", capability::names(&tags))? }
        }
        "switch" => Kind::Switch {
            device: fields.needed("device", TEXT_BYTES_MAX)?.to_owned(),
            path: fields.needed("path", PROPERTY_BYTES_MAX)?.to_owned(),
            value: small(fields, "value")?,
        },
        "publish" => Kind::Publish { topic: topic_name(fields)?, retain: fields.truth("retain")? },
        "command" => Kind::Command {
            device: fields.needed("device", TEXT_BYTES_MAX)?.to_owned(),
            command: fields.needed("command", TEXT_BYTES_MAX)?.to_owned(),
            arguments: small(fields, "arguments")?,
        },
        "webhook" => {
            let url = fields.needed("url", TEXT_BYTES_MAX)?;
            let address = Address::parse(url);
            let address = address.ok_or_else(|| {
                fields.wrong("url", "an address with http:// or https:// and without a password")
            })?;
            Kind::Webhook { url: address.text() }
        }
        _ => {
            let why = format!("there is no kind {word:?}; the kinds are {}", Kind::WORDS.join(", "));
            return Err(fields.wrong("kind", why));
        }
    };
    Ok(kind)
}

fn needed_span(fields: &mut Fields<'_>, name: &'static str, range: (Span, Span)) -> Result<Span, Rejection> {
    let span = fields.span(name, range)?;
    span.ok_or_else(|| {
        fields.wrong(name, format!("is missing: milliseconds, {} to {}", range.0.0, range.1.0))
    })
}

fn one_of<T: Copy>(
    fields: &mut Fields<'_>,
    name: &'static str,
    all: &[T],
    word: fn(T) -> &'static str,
) -> Result<T, Rejection> {
    let text = fields.needed(name, TEXT_BYTES_MAX)?;
    all.iter().copied().find(|one| word(*one) == text).ok_or_else(|| {
        let words: Vec<&str> = all.iter().map(|one| word(*one)).collect();
        fields.wrong(name, format!("one of {} is expected", words.join(", ")))
    })
}

fn topic_name(fields: &mut Fields<'_>) -> Result<String, Rejection> {
    let text = fields.needed("topic", TEXT_BYTES_MAX)?;
    fields.says("topic", topic::check_topic_name(text))?;
    match text.starts_with('$') {
        true => Err(fields.wrong("topic", "topics that begin with $ belong to the broker")),
        false => Ok(text.to_owned()),
    }
}

fn property(fields: &mut Fields<'_>) -> Result<Vec<String>, Rejection> {
    let Some(text) = fields.text("property")?.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    match text.len() <= PROPERTY_BYTES_MAX && parts.iter().all(|part| !part.is_empty()) {
        true => Ok(parts),
        false => Err(fields.wrong("property", "names with dots between them, such as weather.wind")),
    }
}

/// A value that can be told to a board.
fn small(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<Value>, Rejection> {
    let Some(value) = fields.anything(name) else { return Ok(None) };
    match value.to_string().len() <= VALUE_BYTES_MAX {
        true => Ok(Some(value.clone())),
        false => Err(fields.wrong(name, format!("at most {VALUE_BYTES_MAX} bytes as JSON"))),
    }
}

fn cases(fields: &mut Fields<'_>) -> Result<Vec<(Value, Value)>, Rejection> {
    let list = fields.list("cases")?;
    if list.is_empty() || list.len() > RULES_MAX {
        return Err(fields.wrong("cases", format!("1 to {RULES_MAX} objects with \"when\" and \"then\"")));
    }
    let mut cases = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let mut case = Fields::of(value, format!("{}[{at}]", fields.path("cases")))?;
        let mut half = |name| small(&mut case, name)?.ok_or_else(|| case.wrong(name, "is missing"));
        cases.push((half("when")?, half("then")?));
        case.end()?;
    }
    Ok(cases)
}

fn compare(fields: &mut Fields<'_>) -> Result<Compare, Rejection> {
    let property = property(fields)?;
    let emits = fields.text("emits")?.unwrap_or("result");
    let passes = match emits {
        "result" => false,
        "value" => true,
        _ => return Err(fields.wrong("emits", "one of result, value is expected")),
    };
    let list = fields.list("rules")?;
    if list.is_empty() || list.len() > RULES_MAX {
        return Err(
            fields.wrong("rules", format!("1 to {RULES_MAX} objects with \"operator\" and \"value\""))
        );
    }
    let mut rules = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let mut one = Fields::of(value, format!("{}[{at}]", fields.path("rules")))?;
        rules.push(rule(&mut one)?);
        one.end()?;
    }
    Ok(Compare { property, rules, passes })
}

fn rule(fields: &mut Fields<'_>) -> Result<Rule, Rejection> {
    let operator = one_of(fields, "operator", &Operator::ALL, Operator::as_str)?;
    let value = fields.anything("value");
    let to = fields.anything("to").and_then(Value::as_f64);
    let operand = match (operator, value) {
        (Operator::True | Operator::False | Operator::Null | Operator::NotNull, _) => Operand::None,
        (Operator::Between, Some(value)) => match (value.as_f64(), to) {
            (Some(from), Some(to)) => Operand::Range(from.min(to), from.max(to)),
            _ => return Err(fields.wrong("value", "a number, and another one in \"to\"")),
        },
        (_, None) => return Err(fields.wrong("value", "is missing: with what is it compared?")),
        (_, Some(Value::Array(_) | Value::Object(_))) => {
            return Err(fields.wrong("value", "a number, a text, true, false or null is expected"));
        }
        (Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte, Some(value))
            if !value.is_number() && !value.is_string() =>
        {
            let why = format!("{} compares numbers or texts, not {}", operator.as_str(), what(value));
            return Err(fields.wrong("value", why));
        }
        (_, Some(value)) => Operand::One(value.clone()),
    };
    Ok(Rule { operator, operand })
}
