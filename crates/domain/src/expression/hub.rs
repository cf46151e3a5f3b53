//! What rules may say beyond flows, and what it is worth on the hub within a bound on the work.

mod read;
mod run;

use serde_json::Value;

use super::evaluate::truth;
use super::{DEPTH_MAX, Expression, Node, translate};
use crate::rejection::Rejection;

pub use read::offset;

/// Longest expression in bytes.
pub const BYTES_MAX: usize = 2_000;
/// Most steps of one evaluation: parts looked at, and what is copied or compared, by its size. It takes about a
/// millisecond, and so much memory at most as 10,000 small values take.
pub const STEPS_MAX: usize = 10_000;

/// What only the hub can say.
#[derive(Debug, Clone, PartialEq)]
pub enum Hub {
    /// A name other than `value`.
    Name(Name),
    /// The last value of a metric of the device.
    Metric(String),
    /// Whether there is one.
    HasMetric(String),
    /// What a loop calls an element, or what it has so far.
    Variable(String),
    /// Whether a list has an element, or an object a member.
    In(Box<Node<Hub>>, Box<Node<Hub>>),
    /// A question about two texts.
    Text(Text, Box<Node<Hub>>, Box<Node<Hub>>),
    /// A part of a moment, so many minutes east of Greenwich.
    Moment(Moment, Box<Node<Hub>>, i64),
    /// `all`, `exists`, `exists_one`, `map` or `filter`.
    Loop(Box<Loop>),
    /// What a loop has so far, and one element more.
    Append(Box<Node<Hub>>),
}

/// Names other than `value` and `metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// The value before.
    Previous,
    /// What the device is.
    Device,
    /// What it reports.
    Reported,
    /// What is desired of it.
    Desired,
    /// What happened at it.
    Event,
    /// The time, in milliseconds since 1970.
    Now,
}

/// Questions about texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// One is somewhere in the other.
    Contains,
    /// It begins with the other.
    StartsWith,
    /// It ends with the other.
    EndsWith,
}

/// Parts of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// 0 to 23.
    Hours,
    /// 0 to 59.
    Minutes,
    /// 0 is Sunday.
    DayOfWeek,
}

/// A loop over the elements of a list, or the names of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Loop {
    list: Node<Hub>,
    element: String,
    so_far: String,
    first: Node<Hub>,
    condition: Node<Hub>,
    step: Node<Hub>,
    result: Node<Hub>,
}

/// What an expression of the hub is about.
pub trait Scope {
    /// What came; null for nothing.
    fn value(&self) -> &Value;
    /// What a name stands for; null for nothing.
    fn name(&self, name: Name) -> &Value;
    /// The last value of a metric, if there is one.
    fn metric(&self, name: &str) -> Option<&Value>;
}

impl Expression<Hub> {
    /// Reads an expression of a rule.
    ///
    /// # Errors
    /// What is wrong and where, in characters from 1.
    pub fn parse_hub(text: &str) -> Result<Self, Rejection> {
        if text.len() > BYTES_MAX {
            return Err(Rejection::too_large("expression", format!("at most {BYTES_MAX} bytes")));
        }
        let root = translate::read(text, DEPTH_MAX, &read::Rules::default())?;
        Ok(Self { text: text.to_owned(), root })
    }

    /// What it is worth.
    ///
    /// # Errors
    /// A sentence that says why it has no worth, or that it would be too much work.
    pub fn on(&self, scope: &dyn Scope) -> Result<Value, String> {
        run::run(&self.root, scope)
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// As [`Expression::on`], and if it is neither true nor false.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, String> {
        truth(&self.on(scope)?)
    }

    /// Looks at everything that only the hub can say.
    pub fn visit(&self, look: &mut impl FnMut(&Hub)) {
        visit(&self.root, look);
    }
}

fn visit(part: &Node<Hub>, look: &mut impl FnMut(&Hub)) {
    match part {
        Node::Literal(_) | Node::Input => {}
        Node::Member(one, _) | Node::Has(one, _) | Node::Not(one) | Node::Negate(one) => visit(one, look),
        Node::Index(one, other) | Node::Binary(_, one, other) => {
            visit(one, look);
            visit(other, look);
        }
        Node::If(condition, yes, no) => [condition, yes, no].into_iter().for_each(|part| visit(part, look)),
        Node::Call(_, parts) | Node::List(parts) => parts.iter().for_each(|part| visit(part, look)),
        Node::Object(parts) => parts.iter().for_each(|(_, part)| visit(part, look)),
        Node::More(more) => {
            look(more);
            match more {
                Hub::Name(_) | Hub::Metric(_) | Hub::HasMetric(_) | Hub::Variable(_) => {}
                Hub::In(one, other) | Hub::Text(_, one, other) => {
                    visit(one, look);
                    visit(other, look);
                }
                Hub::Moment(_, one, _) | Hub::Append(one) => visit(one, look),
                Hub::Loop(it) => {
                    let parts = [&it.list, &it.first, &it.condition, &it.step, &it.result];
                    parts.into_iter().for_each(|part| visit(part, look));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
