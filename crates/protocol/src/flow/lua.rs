//! Steps of flows in Lua 5.1, as NodeMCU runs it.

mod expression;

use std::collections::BTreeSet;
use std::fmt::Write;

use motehub_domain::expression::number;
use motehub_domain::flow::{Compare, Kind, Operand, Operator, Rule, Sensor};
use serde_json::Value;

use super::blocks::Blocks;
use super::{FIRST_MS, Here, Name, Wiring};

const HEAD: &str = "-- Steps of flows. Motehub writes this anew whenever they change.";
/// Words that are no names.
const KEYWORDS: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];
/// The longest time that one timer of the firmware is given, in milliseconds; blocks.lua knows it too.
const ALARM_MS_MAX: i64 = 6_000_000;
const FAILURE: &str = "local full = {}\nwhile true do\n  full[#full + 1] = (\"x\"):rep(1024) .. #full\nend";

pub(super) fn program(wiring: &Wiring<'_>, capabilities: &BTreeSet<String>) -> String {
    let span = |here: &Here<'_>| match &here.step.kind {
        Kind::Timer { every, .. } | Kind::Sensor { every, .. } => every.0,
        Kind::Debounce(debounce) => debounce.quiet.0,
        _ => 0,
    };
    let is_long = wiring.steps.iter().any(|here| span(here) > ALARM_MS_MAX);
    let mut wanted = vec![if is_long { "long" } else { "short" }];
    if wiring.may_be_big() {
        wanted.push("big");
    }
    if !wiring.away.is_empty() {
        wanted.push("away");
    }
    let mut all = HEAD.to_owned();
    for flow in 1..=wiring.flows.len() {
        let _ = write!(all, "\nlocal F{flow} = {}", text(&wiring.prefix(flow)));
    }
    let tables = tables(wiring);
    let listens = if wiring.heard.is_empty() { "" } else { "motehub.on_flow(take)" };
    let failure = wiring.failing(capabilities).map_or("", |_| FAILURE);
    let steps: Vec<String> = wiring.steps.iter().filter_map(step).collect();
    // What a person wrote names no block of ours.
    let ours = wiring.steps.iter().map(|here| match here.step.kind {
        Kind::Code { .. } => "code call".to_owned(),
        _ => step(here).unwrap_or_default(),
    });
    let named = if tables.is_empty() { "" } else { "steps" };
    let ours: Vec<String> = ours.chain([named.to_owned(), listens.to_owned()]).collect();
    let blocks = Blocks::of(include_str!("blocks.lua"), " --?").used(&ours.join("\n"), &wanted);
    let end = [tables.as_str(), listens, failure].map(str::to_owned);
    let mut after_short = true;
    for block in blocks.into_iter().chain(steps).chain(end).filter(|block| !block.is_empty()) {
        let is_short = !block.contains('\n');
        all.push_str(if is_short && after_short { "\n" } else { "\n\n" });
        after_short = is_short;
        all.push_str(&block);
    }
    all + "\n"
}

fn tables(wiring: &Wiring<'_>) -> String {
    let mut all = String::new();
    for (from, to) in &wiring.routes {
        let to: Vec<String> = to.iter().map(key).collect();
        let _ = writeln!(all, "routes[{}] = {{ {} }}", key(from), to.join(", "));
    }
    for name in &wiring.away {
        let _ = writeln!(all, "away[{}] = true", key(name));
    }
    for name in &wiring.heard {
        let _ = writeln!(all, "heard[{}] = {{}}", key(name));
    }
    all.trim_end().to_owned()
}

/// The name of a step among all on the board, as an expression.
fn key(name: &Name<'_>) -> String {
    format!("F{} .. {}", name.flow, text(name.id.as_str()))
}

/// A step; none if nothing is to be done for it.
fn step(here: &Here<'_>) -> Option<String> {
    let key = key(&here.name);
    let is = |made: String| Some(format!("steps[{key}] = {made}"));
    let takes = |body: String| Some(format!("steps[{key}] = function(value)\n  {body}\nend"));
    match &here.step.kind {
        Kind::Compare(compare) => takes(comparison(compare)),
        Kind::And => is(format!("gate(true, {})", here.wires)),
        Kind::Or => is("gate(false)".to_owned()),
        Kind::Not => takes("return not truth(value)".to_owned()),
        Kind::Debounce(debounce) => takes(format!("wait({key}, {}, value)", debounce.quiet.0)),
        Kind::Average(average) => {
            let window = average.window.map(|window| format!(", {}", window.0)).unwrap_or_default();
            Some(format!(
                "do\n  local mean = average({}{window})\n  steps[{key}] = function(value)\n    return mean({})\n  \
                 end\nend",
                average.count,
                part(&average.property)
            ))
        }
        Kind::Expression(expression) => takes(format!("return {}", expression::written(expression.root()))),
        Kind::Map { cases, otherwise } => {
            let mut body = String::new();
            for (when, then) in cases {
                let _ = write!(
                    body,
                    "if {} then\n    return {}\n  end\n  ",
                    equals("value", when),
                    literal(then)
                );
            }
            let otherwise = otherwise.as_ref().map(literal).unwrap_or_else(|| "nil".to_owned());
            takes(format!("{body}return {otherwise}"))
        }
        Kind::Pass => takes("return value".to_owned()),
        Kind::Code { source, .. } => {
            let level = (0..).find(|level| !source.contains(&format!("]{}]", "=".repeat(*level))));
            let equals = "=".repeat(level.unwrap_or(0) + 1);
            let source = source.replace('\r', "");
            Some(format!(
                "do\n  local step = code({key}, [{equals}[\n{source}]{equals}])\n  steps[{key}] = function(value)\n    \
                 return call(step, value)\n  end\nend"
            ))
        }
        Kind::Timer { every, value } => {
            let every = every.0;
            Some(format!("every({every}, {every}, {key}, function()\n  return {}\nend)", literal(value)))
        }
        Kind::Sensor { sensor, pin, every } => {
            let first = every.0.min(FIRST_MS);
            Some(format!("every({first}, {}, {key}, function()\n  {}\nend)", every.0, reading(*sensor, *pin)))
        }
        Kind::Failure { .. }
        | Kind::Metric { .. }
        | Kind::Topic { .. }
        | Kind::Switch { .. }
        | Kind::Publish { .. }
        | Kind::Command { .. }
        | Kind::Webhook { .. } => None,
    }
}

fn reading(sensor: Sensor, pin: i64) -> String {
    let dht = |read: &str| {
        format!(
            "local status, temperature, humidity = dht.{read}({pin})\n  if status ~= dht.OK then\n    \
             error(\"the sensor does not answer\", 0)\n  end\n  \
             return {{ temperature = temperature, humidity = humidity }}"
        )
    };
    match sensor {
        Sensor::Dht11 => dht("read11"),
        Sensor::Dht22 => dht("read"),
        Sensor::Adc => format!("return adc.read({pin})"),
        Sensor::Pin => format!("gpio.mode({pin}, gpio.INPUT)\n  return gpio.read({pin}) == 1"),
    }
}

fn part(property: &[String]) -> String {
    match property {
        [] => "value".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(|name| text(name)).collect();
            format!("part(value, {})", names.join(", "))
        }
    }
}

fn comparison(compare: &Compare) -> String {
    let many = compare.rules.len() > 1 && !compare.property.is_empty();
    let of = if many { "this".to_owned() } else { part(&compare.property) };
    let rules: Vec<String> = compare.rules.iter().map(|one| rule(one, &of)).collect();
    let holds = rules.join(" and ");
    let before = if many { format!("local this = {}\n  ", part(&compare.property)) } else { String::new() };
    match compare.passes {
        false => format!("{before}return {holds}"),
        true => format!("{before}if {holds} then\n    return value\n  end"),
    }
}

fn rule(rule: &Rule, of: &str) -> String {
    let ordered = |sign: &str, operand: &Value| {
        let check = if operand.is_string() { "word" } else { "number" };
        format!("{check}({of}) {sign} {}", literal(operand))
    };
    match (rule.operator, &rule.operand) {
        (Operator::True, _) => format!("{of} == true"),
        (Operator::False, _) => format!("{of} == false"),
        (Operator::Null, _) => format!("{of} == null"),
        (Operator::NotNull, _) => format!("{of} ~= null"),
        (Operator::Between, Operand::Range(from, to)) => {
            format!("between({of}, {}, {})", literal(&number(*from)), literal(&number(*to)))
        }
        (Operator::Eq, Operand::One(operand)) => equals(of, operand),
        (Operator::Neq, Operand::One(operand)) => format!("not ({})", equals(of, operand)),
        (Operator::Lt, Operand::One(operand)) => ordered("<", operand),
        (Operator::Lte, Operand::One(operand)) => ordered("<=", operand),
        (Operator::Gt, Operand::One(operand)) => ordered(">", operand),
        (Operator::Gte, Operand::One(operand)) => ordered(">=", operand),
        _ => "false".to_owned(),
    }
}

/// Whether an expression is a fixed value.
fn equals(of: &str, value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => format!("same({of}, {})", literal(value)),
        _ => format!("{of} == {}", literal(value)),
    }
}

/// A value of JSON.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(content) => text(content),
        Value::Array(list) => format!("{{ {} }}", list.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{} = {}", key_of_table(name), literal(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A name in a table.
fn key_of_table(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_plain && !KEYWORDS.contains(&name) { name.to_owned() } else { format!("[{}]", text(name)) }
}

/// A text, with the escapes of Lua.
fn text(content: &str) -> String {
    let mut text = String::from("\"");
    for sign in content.chars() {
        match sign {
            '"' | '\\' => text.extend(['\\', sign]),
            '\n' => text.push_str("\\n"),
            _ if sign.is_ascii_control() => {
                let _ = write!(text, "\\{:03}", u32::from(sign));
            }
            _ => text.push(sign),
        }
    }
    text.push('"');
    text
}
