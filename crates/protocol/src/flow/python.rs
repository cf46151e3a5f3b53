//! Steps of flows in Python, as MicroPython runs it.

mod expression;

use std::collections::BTreeSet;
use std::fmt::Write;

use motehub_domain::expression::number;
use motehub_domain::flow::{Compare, Kind, Operand, Operator, Rule, Sensor};
use serde_json::Value;

use super::blocks::{Blocks, chosen, words};
use super::{FIRST_MS, Here, Name, Shell, Wiring, nodes_of};

const HEAD: &str = "# Steps of flows. Motehub writes this anew whenever they change.";
/// Modules that may be used, and what ESP-FIRMWARE has instead.
const MODULES: [(&str, &str); 5] = [
    ("asyncio", "import uasyncio as asyncio"),
    ("json", "import ujson as json"),
    ("motehub", ""),
    ("os", ""),
    ("time", "import utime as time"),
];

pub(super) fn program(wiring: &Wiring<'_>, capabilities: &BTreeSet<String>, shell: Shell<'_>) -> String {
    let is_esp = matches!(shell, Shell::EspFirmware { .. });
    let mut wanted = vec![if is_esp { "esp" } else { "motehub" }];
    if wiring.may_be_big() {
        wanted.push("big");
    }
    if !wiring.away.is_empty() {
        wanted.push("away");
    }
    let mut names = String::new();
    for flow in 1..=wiring.flows.len() {
        line(&mut names, &format!("F{flow} = {}", text(&wiring.prefix(flow))));
    }
    let (tables, has_sources) = tables(wiring);
    let failure = wiring
        .failing(capabilities)
        .map(|here| format!("raise MemoryError({})", text(&format!("the step {} fails here", here.name.id))));
    let end = match shell {
        Shell::EspFirmware { key } => {
            for way in ["in", "out"] {
                line(&mut names, &format!("{way}_topic = {}", text(&format!("flows/{key}/{way}"))));
            }
            line(&mut names, &format!("nodes = {}", text(&nodes_of(wiring))));
            esp_end(wiring, has_sources, failure)
        }
        Shell::Python | Shell::Lua => own_end(wiring, has_sources, failure),
    };
    // What a person wrote names no block of ours.
    let ours = wiring.steps.iter().map(|here| match here.step.kind {
        Kind::Code { .. } => "code call".to_owned(),
        _ => step(here).unwrap_or_default(),
    });
    let ours: Vec<String> = ours.chain([tables.clone(), end.clone()]).collect();
    let blocks = Blocks::of(include_str!("blocks.py"), "  #?").used(&ours.join("\n"), &wanted);
    let used: BTreeSet<String> = blocks.iter().chain(&ours).flat_map(|text| words(text)).collect();
    let mut head = HEAD.to_owned();
    for (module, instead) in MODULES.iter().filter(|(module, _)| used.contains(*module)) {
        match is_esp {
            true => line(&mut head, instead),
            false => line(&mut head, &format!("import {module}")),
        }
    }
    if !names.is_empty() {
        head.push_str("\n\n");
        head.push_str(&names);
    }
    let steps = wiring.steps.iter().filter_map(step);
    join(std::iter::once(head).chain(blocks).chain(steps).chain([tables, end]))
}

/// Blocks with two empty lines between them; variables one below the other.
fn join(blocks: impl Iterator<Item = String>) -> String {
    let mut all = String::new();
    let mut after_short = false;
    for block in blocks.filter(|block| !block.is_empty()) {
        let is_short = !block.contains('\n');
        if !all.is_empty() {
            all.push_str(if is_short && after_short { "\n" } else { "\n\n\n" });
        }
        after_short = is_short;
        all.push_str(&block);
    }
    all + "\n"
}

/// What `steps`, `routes` and so on are, as far as they are needed, and whether something here emits by itself.
fn tables(wiring: &Wiring<'_>) -> (String, bool) {
    let mut all = String::new();
    let row = |name: &Name<'_>, value: String| format!("    {}: {value},\n", key(name));
    let table = |all: &mut String, name: &str, rows: Vec<String>| {
        let _ = writeln!(all, "{name} = {{\n{}}}", rows.concat());
    };
    if !wiring.routes.is_empty() {
        let takes = wiring.steps.iter().filter(|here| here.step.kind.has_input());
        table(&mut all, "steps", takes.map(|here| row(&here.name, function(&here.name))).collect());
    }
    if !wiring.steps.is_empty() {
        let route = |(from, to): &(Name<'_>, Vec<Name<'_>>)| {
            let only = if to.len() == 1 { "," } else { "" };
            row(from, format!("({}{only})", keys(to)))
        };
        table(&mut all, "routes", wiring.routes.iter().map(route).collect());
        if wiring.routes.is_empty() {
            all.push_str("steps = {}\n");
        }
    }
    if !wiring.away.is_empty() {
        let _ = writeln!(all, "away = {{{}}}", keys(&wiring.away));
    }
    if !wiring.heard.is_empty() {
        table(&mut all, "heard", wiring.heard.iter().map(|name| row(name, "[]".to_owned())).collect());
    }
    let sources: Vec<String> = wiring.steps.iter().filter_map(source).collect();
    if !sources.is_empty() {
        let _ = writeln!(all, "sources = (\n{})", sources.concat());
    }
    (all.trim_end().to_owned(), !sources.is_empty())
}

/// A row for what emits by itself.
fn source(here: &Here<'_>) -> Option<String> {
    let (first, pause, read) = match &here.step.kind {
        Kind::Timer { every, value } => (every.0, every.0, format!("lambda: {}", literal(value))),
        Kind::Sensor { every, .. } => (every.0.min(FIRST_MS), every.0, function(&here.name)),
        _ => return None,
    };
    Some(format!("    ({}, {first}, {pause}, {read}),\n", key(&here.name)))
}

fn own_end(wiring: &Wiring<'_>, has_sources: bool, failure: Option<String>) -> String {
    let listens = (!wiring.heard.is_empty()).then(|| "motehub.on_flow(take)".to_owned());
    let starts = has_sources.then(|| "start()".to_owned());
    [listens, starts, failure].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn esp_end(wiring: &Wiring<'_>, has_sources: bool, failure: Option<String>) -> String {
    let shell = include_str!("esp_firmware.py").trim_end();
    let wanted = [if wiring.heard.is_empty() { "deaf" } else { "heard" }];
    let mut end = chosen(shell, "  #?", &wanted);
    if has_sources {
        end.push_str("\n    start()");
    }
    if let Some(failure) = failure {
        let _ = write!(end, "\n    {failure}");
    }
    end
}

fn line(all: &mut String, text: &str) {
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    all.push_str(text);
}

/// The name of a step among all on the board, as an expression.
fn key(name: &Name<'_>) -> String {
    format!("F{} + {}", name.flow, text(name.id.as_str()))
}

fn keys(names: &[Name<'_>]) -> String {
    names.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// The function of a step.
fn function(name: &Name<'_>) -> String {
    format!("f{}_{}", name.flow, name.id)
}

/// A step as a function; none if it needs none.
fn step(here: &Here<'_>) -> Option<String> {
    let name = function(&here.name);
    let takes = |body: String| Some(format!("def {name}(value, source):\n    {body}"));
    let remembers =
        |what: &str, body: String| Some(format!("def {name}(value, source, last={what}):\n    {body}"));
    match &here.step.kind {
        Kind::Compare(compare) => takes(comparison(compare)),
        Kind::And => remembers(
            "{}",
            format!(
                "last[source] = truth(value)\n    return all(last.values()) if len(last) == {} else nothing",
                here.wires
            ),
        ),
        Kind::Or => remembers("{}", "last[source] = truth(value)\n    return any(last.values())".to_owned()),
        Kind::Not => takes("return not truth(value)".to_owned()),
        Kind::Debounce(debounce) => {
            takes(format!("return wait({}, {}, value)", key(&here.name), debounce.quiet.0))
        }
        Kind::Average(average) => {
            let window = average.window.map_or(0, |window| window.0);
            let of = part(&average.property);
            remembers("[]", format!("return average(last, {}, {window}, {of})", average.count))
        }
        Kind::Expression(expression) => takes(format!("return {}", expression::written(expression.root()))),
        Kind::Map { cases, otherwise } => {
            let mut body = String::new();
            for (when, then) in cases {
                let _ = write!(body, "if {}:\n        return {}\n    ", is(when, "value"), literal(then));
            }
            takes(format!(
                "{body}return {}",
                otherwise.as_ref().map_or_else(|| "nothing".to_owned(), literal)
            ))
        }
        Kind::Pass => takes("return value".to_owned()),
        Kind::Code { source, .. } => {
            let source = source.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\"").replace('\r', "");
            let source = if source.ends_with('"') { source + "\n" } else { source };
            let key = key(&here.name);
            Some(format!(
                "{name}_code = code({key}, \"\"\"{source}\"\"\")\n\n\ndef {name}(value, source):\n    \
                 return call({name}_code, value)"
            ))
        }
        Kind::Sensor { sensor, pin, .. } => Some(reading(&name, *sensor, *pin)),
        Kind::Timer { .. }
        | Kind::Failure { .. }
        | Kind::Metric { .. }
        | Kind::Topic { .. }
        | Kind::Switch { .. }
        | Kind::Publish { .. }
        | Kind::Command { .. }
        | Kind::Webhook { .. } => None,
    }
}

fn reading(name: &str, sensor: Sensor, pin: i64) -> String {
    let dht = |class: &str| {
        format!(
            "def {name}():\n    import dht\n\n    sensor = dht.{class}(pin({pin}))\n    sensor.measure()\n    \
             return {{\"temperature\": sensor.temperature(), \"humidity\": sensor.humidity()}}"
        )
    };
    match sensor {
        Sensor::Dht11 => dht("DHT11"),
        Sensor::Dht22 => dht("DHT22"),
        Sensor::Adc => {
            // The one input of an ESP8266 is no pin.
            let input = if pin == 0 { "0".to_owned() } else { format!("pin({pin})") };
            format!("def {name}():\n    import machine\n\n    return machine.ADC({input}).read_u16()")
        }
        Sensor::Pin => format!("def {name}():\n    return pin({pin}).value() == 1"),
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
    let before = if many { format!("this = {}\n    ", part(&compare.property)) } else { String::new() };
    match compare.passes {
        false => format!("{before}return {holds}"),
        true => format!("{before}return value if {holds} else nothing"),
    }
}

fn rule(rule: &Rule, of: &str) -> String {
    let ordered = |sign: &str, operand: &Value| match operand {
        Value::String(_) => format!("word({of}) {sign} {}", literal(operand)),
        _ => format!("number({of}) {sign} {}", literal(operand)),
    };
    match (rule.operator, &rule.operand) {
        (Operator::True, _) => format!("{of} is True"),
        (Operator::False, _) => format!("{of} is False"),
        (Operator::Null, _) => format!("{of} is None"),
        (Operator::NotNull, _) => format!("{of} is not None"),
        (Operator::Between, Operand::Range(from, to)) => {
            format!("{} <= number({of}) <= {}", literal(&number(*from)), literal(&number(*to)))
        }
        (Operator::Eq, Operand::One(operand)) => is(operand, of),
        (Operator::Neq, Operand::One(operand)) => format!("not {}", is(operand, of)),
        (Operator::Lt, Operand::One(operand)) => ordered("<", operand),
        (Operator::Lte, Operand::One(operand)) => ordered("<=", operand),
        (Operator::Gt, Operand::One(operand)) => ordered(">", operand),
        (Operator::Gte, Operand::One(operand)) => ordered(">=", operand),
        _ => "False".to_owned(),
    }
}

/// Whether an expression is a fixed value.
fn is(value: &Value, of: &str) -> String {
    match value {
        Value::Null | Value::Bool(_) => format!("({of} is {})", literal(value)),
        Value::String(_) => format!("({of} == {})", literal(value)),
        _ => format!("same({of}, {})", literal(value)),
    }
}

/// A value of JSON.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(content) => text(content),
        Value::Array(list) => format!("[{}]", list.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", text(name), literal(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text; the escapes of JSON are ones of Python too.
fn text(content: &str) -> String {
    Value::from(content).to_string()
}
