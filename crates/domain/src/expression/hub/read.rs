//! From the parser of CEL to what a rule may say.

use std::cell::RefCell;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};

use super::{Hub, Loop, Moment, Name, Text};
use crate::expression::translate::{Language, Reader};
use crate::expression::{Function, Node};
use crate::rejection::Rejection;

/// The functions of a value.
const METHODS: &str = "size, contains, startsWith, endsWith, all, exists, exists_one, map, filter, getHours, \
    getMinutes, getDayOfWeek";
/// The names that an expression knows.
const NAMES: &str = "value, previous, device, metrics, reported, desired, event, now";

/// Rules, with the variables of the loops around.
#[derive(Default)]
pub(in crate::expression) struct Rules(RefCell<Vec<String>>);

impl Language for Rules {
    type More = Hub;

    fn name(&self, name: &str) -> Result<Node<Hub>, String> {
        if self.0.borrow().iter().any(|variable| variable == name) {
            return Ok(Node::More(Hub::Variable(name.to_owned())));
        }
        let known = match name {
            "value" => return Ok(Node::Input),
            "previous" => Name::Previous,
            "device" => Name::Device,
            "reported" => Name::Reported,
            "desired" => Name::Desired,
            "event" => Name::Event,
            "now" => Name::Now,
            "metrics" => return Err("name one of the metrics, such as metrics.temperature".to_owned()),
            _ => return Err(format!("there is no {name}; there are {NAMES}")),
        };
        Ok(Node::More(Hub::Name(known)))
    }

    fn special(
        reader: &Reader<'_, Self>,
        part: &cel::IdedExpr,
        depth: u16,
    ) -> Result<Option<Node<Hub>>, Rejection> {
        Ok(match &part.expr {
            Expr::Select(select) if is_name(&select.operand, "metrics") => {
                let name = select.field.clone();
                Some(Node::More(if select.test { Hub::HasMetric(name) } else { Hub::Metric(name) }))
            }
            Expr::Comprehension(it) => Some(looped(reader, part, it, depth)?),
            Expr::Call(call) => called(reader, part, call, depth)?,
            _ => None,
        })
    }

    fn unknown(&self) -> &'static str {
        "this part of CEL is not for rules: there are numbers, texts, lists, objects, operators, functions and the \
         loops all, exists, exists_one, map and filter"
    }
}

fn is_name(part: &cel::IdedExpr, name: &str) -> bool {
    matches!(&part.expr, Expr::Ident(other) if other == name)
}

fn literal_text(part: &cel::IdedExpr) -> Option<&str> {
    match &part.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn called(
    reader: &Reader<'_, Rules>,
    part: &cel::IdedExpr,
    call: &CallExpr,
    depth: u16,
) -> Result<Option<Node<Hub>>, Rejection> {
    let of = |part: &cel::IdedExpr| reader.boxed(part, depth);
    let more = match (call.target.as_deref(), call.func_name.as_str(), &call.args[..]) {
        (None, operators::IN, [one, other]) => Hub::In(of(one)?, of(other)?),
        (None, operators::INDEX, [list, at]) if is_name(list, "metrics") => match literal_text(at) {
            Some(name) => Hub::Metric(name.to_owned()),
            None => return Err(reader.wrong(part, "the name of a metric is a text, such as 'free ram'")),
        },
        // Parts of loops, as the parser writes them.
        (None, operators::NOT_STRICTLY_FALSE, [condition]) => return reader.node(condition, depth).map(Some),
        (None, operators::ADD, [so_far, one]) => match (&so_far.expr, &one.expr) {
            (Expr::Ident(name), Expr::List(list))
                if name.starts_with(['@', '_']) && list.elements.len() == 1 =>
            {
                Hub::Append(of(&list.elements[0])?)
            }
            _ => return Ok(None),
        },
        (Some(text), "contains", [other]) => Hub::Text(Text::Contains, of(text)?, of(other)?),
        (Some(text), "startsWith", [other]) => Hub::Text(Text::StartsWith, of(text)?, of(other)?),
        (Some(text), "endsWith", [other]) => Hub::Text(Text::EndsWith, of(text)?, of(other)?),
        (Some(time), "getHours", zone) => Hub::Moment(Moment::Hours, of(time)?, zoned(reader, part, zone)?),
        (Some(time), "getMinutes", zone) => {
            Hub::Moment(Moment::Minutes, of(time)?, zoned(reader, part, zone)?)
        }
        (Some(time), "getDayOfWeek", zone) => {
            Hub::Moment(Moment::DayOfWeek, of(time)?, zoned(reader, part, zone)?)
        }
        (Some(list), "size", []) => {
            return Ok(Some(Node::Call(Function::Size, vec![reader.node(list, depth)?])));
        }
        (Some(_), name, _) => {
            return Err(
                reader.wrong(part, format!("there is no function {name} of a value; there are {METHODS}"))
            );
        }
        _ => return Ok(None),
    };
    Ok(Some(Node::More(more)))
}

fn zoned(reader: &Reader<'_, Rules>, part: &cel::IdedExpr, zone: &[cel::IdedExpr]) -> Result<i64, Rejection> {
    let offset = match zone {
        [] => Some(0),
        [zone] => literal_text(zone).and_then(offset),
        _ => None,
    };
    offset.ok_or_else(|| {
        reader.wrong(part, "the time zone is a text with the distance to UTC, such as '+01:00'")
    })
}

/// Minutes east of Greenwich: `UTC`, `+01:00`, `-03:30`.
pub fn offset(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "Z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let part = |text: &str, max: i64| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| is_plain && *number <= max)
    };
    Some(sign * (part(hours, 14)? * 60 + part(minutes, 59)?))
}

fn looped(
    reader: &Reader<'_, Rules>,
    part: &cel::IdedExpr,
    it: &ComprehensionExpr,
    depth: u16,
) -> Result<Node<Hub>, Rejection> {
    if it.iter_var2.is_some() {
        return Err(reader.wrong(part, "a loop has one variable"));
    }
    let (list, first) = (reader.node(&it.iter_range, depth)?, reader.node(&it.accu_init, depth)?);
    let variables = &reader.language.0;
    let before = variables.borrow().len();
    variables.borrow_mut().extend([it.iter_var.clone(), it.accu_var.clone()]);
    let inner = |part| reader.node(part, depth);
    let inner = (inner(&it.loop_cond)?, inner(&it.loop_step)?, inner(&it.result)?);
    variables.borrow_mut().truncate(before);
    let (condition, step, result) = inner;
    let (element, so_far) = (it.iter_var.clone(), it.accu_var.clone());
    Ok(Node::More(Hub::Loop(Box::new(Loop { list, element, so_far, first, condition, step, result }))))
}
