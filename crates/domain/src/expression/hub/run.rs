//! What an expression of a rule is worth, within a bound on the work.

use std::borrow::Cow;

use serde_json::Value;

use super::{Hub, Loop, Moment, STEPS_MAX, Scope, Text};
use crate::expression::evaluate::{self, World, own, truth, weight};
use crate::expression::{Node, number, same};
use crate::fields::what;

/// What an expression is worth.
pub(super) fn run(root: &Node<Hub>, scope: &dyn Scope) -> Result<Value, String> {
    let mut run = Run { scope, steps: 0, variables: Vec::new() };
    evaluate::node(root, &mut run).map(Cow::into_owned)
}

/// One evaluation.
pub(super) struct Run<'a> {
    pub(super) scope: &'a dyn Scope,
    pub(super) steps: usize,
    /// Of the loops around, the innermost last.
    pub(super) variables: Vec<(&'a str, Value)>,
}

impl<'a> World<'a, Hub> for Run<'a> {
    fn input(&mut self) -> Result<Cow<'a, Value>, String> {
        Ok(Cow::Borrowed(self.scope.value()))
    }

    fn charge(&mut self, steps: usize) -> Result<(), String> {
        self.steps += steps;
        match self.steps > STEPS_MAX {
            true => Err(format!("it is too much work: more than {STEPS_MAX} steps")),
            false => Ok(()),
        }
    }

    fn more(&mut self, part: &'a Hub) -> Result<Cow<'a, Value>, String> {
        Ok(Cow::Owned(match part {
            Hub::Name(name) => return Ok(Cow::Borrowed(self.scope.name(*name))),
            Hub::Metric(name) => {
                let found = self.scope.metric(name).map(Cow::Borrowed);
                return found.ok_or_else(|| format!("there is no value of the metric {name} yet"));
            }
            Hub::HasMetric(name) => Value::Bool(self.scope.metric(name).is_some()),
            Hub::Variable(name) => {
                let found = self.variables.iter().rev().find(|(variable, _)| variable == name);
                let found = found.map_or(Value::Null, |(_, value)| value.clone());
                self.charge(weight(&found))?;
                found
            }
            Hub::In(one, list) => {
                let (one, list) = (evaluate::node(one, self)?, evaluate::node(list, self)?);
                self.charge(weight(&list))?;
                Value::Bool(contains(&list, &one)?)
            }
            Hub::Text(question, one, other) => {
                let (one, other) = (evaluate::node(one, self)?, evaluate::node(other, self)?);
                self.charge(weight(&one))?;
                let (Value::String(one), Value::String(other)) = (&*one, &*other) else {
                    return Err(format!("two texts are expected, not {} and {}", what(&one), what(&other)));
                };
                Value::Bool(match question {
                    Text::Contains => one.contains(other.as_str()),
                    Text::StartsWith => one.starts_with(other.as_str()),
                    Text::EndsWith => one.ends_with(other.as_str()),
                })
            }
            Hub::Moment(moment, time, offset) => {
                let time = evaluate::node(time, self)?;
                let Some(ms) = time.as_f64() else {
                    return Err(format!("a time in milliseconds is expected, not {}", what(&time)));
                };
                number(of_moment(*moment, ms + *offset as f64 * 60_000.0))
            }
            Hub::Loop(it) => return self.run(it),
            Hub::Append(_) => return Err("a list grows in a loop only".to_owned()),
        }))
    }
}

impl<'a> Run<'a> {
    fn run(&mut self, it: &'a Loop) -> Result<Cow<'a, Value>, String> {
        let list = evaluate::node(&it.list, self)?;
        let elements: Vec<Value> = match own(list, self)? {
            Value::Array(list) => list,
            Value::Object(members) => members.into_iter().map(|(name, _)| Value::String(name)).collect(),
            other => return Err(format!("a list is expected, not {}", what(&other))),
        };
        let first = evaluate::node(&it.first, self)?.into_owned();
        let at = self.variables.len();
        self.variables.push((&it.so_far, first));
        for element in elements {
            self.variables.push((&it.element, element));
            let goes_on = truth(&*evaluate::node(&it.condition, self)?)?;
            if goes_on {
                self.step(&it.step, &it.so_far, at)?;
            }
            self.variables.truncate(at + 1);
            if !goes_on {
                break;
            }
        }
        let result = evaluate::node(&it.result, self)?.into_owned();
        self.variables.truncate(at);
        Ok(Cow::Owned(result))
    }

    /// What there is so far becomes what there is after one more element, in its place: a list is not copied for each.
    fn step(&mut self, step: &'a Node<Hub>, so_far: &str, at: usize) -> Result<(), String> {
        match step {
            Node::More(Hub::Variable(name)) if name == so_far => Ok(()),
            Node::If(condition, yes, no) => {
                let is_so = truth(&*evaluate::node(condition, self)?)?;
                self.step(if is_so { yes } else { no }, so_far, at)
            }
            Node::More(Hub::Append(one)) => {
                let one = evaluate::node(one, self)?;
                let one = own(one, self)?;
                if let Value::Array(list) = &mut self.variables[at].1 {
                    list.push(one);
                }
                Ok(())
            }
            step => {
                self.variables[at].1 = evaluate::node(step, self)?.into_owned();
                Ok(())
            }
        }
    }
}

fn contains(list: &Value, one: &Value) -> Result<bool, String> {
    match (list, one) {
        (Value::Array(list), one) => Ok(list.iter().any(|part| same(part, one))),
        (Value::Object(members), Value::String(name)) => Ok(members.contains_key(name)),
        (other, _) => Err(format!("something is in a list or an object, not in {}", what(other))),
    }
}

fn of_moment(moment: Moment, ms: f64) -> f64 {
    let hours = (ms / 3_600_000.0).floor();
    match moment {
        Moment::Hours => hours.rem_euclid(24.0),
        Moment::Minutes => (ms / 60_000.0).floor().rem_euclid(60.0),
        // 1970 began on a Thursday.
        Moment::DayOfWeek => ((hours / 24.0).floor() + 4.0).rem_euclid(7.0),
    }
}
