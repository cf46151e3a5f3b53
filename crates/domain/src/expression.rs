//! Expressions: a part of CEL (the Common Expression Language). All numbers are of one kind; `value` is what came.
//!
//! What flows may say means the same on the hub, in Python and in Lua. Rules run on the hub only and may say more
//! ([`hub`]): other names than `value`, `in`, functions of texts and times, and loops over lists, all of it with a
//! bound on the work.

pub(crate) mod evaluate;
pub mod hub;
mod translate;

use std::borrow::Cow;
use std::convert::Infallible;

use serde_json::Value;

use crate::rejection::Rejection;

/// Longest expression of a flow in bytes.
pub const BYTES_MAX: usize = 500;
/// Most levels of parentheses and parts.
const DEPTH_MAX: u16 = 24;

/// An expression that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression<More = Infallible> {
    text: String,
    root: Node<More>,
}

/// A part of an expression, for those who write it in another language. `More` is what only some may say.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<More = Infallible> {
    /// A number, a text, true, false or null.
    Literal(Value),
    /// What came.
    Input,
    /// A member of an object; a mistake if there is none.
    Member(Box<Node<More>>, String),
    /// A member of an object or a list, by name or by number from 0.
    Index(Box<Node<More>>, Box<Node<More>>),
    /// Whether an object has a member.
    Has(Box<Node<More>>, String),
    /// The other truth.
    Not(Box<Node<More>>),
    /// The number below zero.
    Negate(Box<Node<More>>),
    /// Of two.
    Binary(Binary, Box<Node<More>>, Box<Node<More>>),
    /// The second if the first is true, else the third.
    If(Box<Node<More>>, Box<Node<More>>, Box<Node<More>>),
    /// A function.
    Call(Function, Vec<Node<More>>),
    /// A list.
    List(Vec<Node<More>>),
    /// An object.
    Object(Vec<(String, Node<More>)>),
    /// What not every language can say.
    More(More),
}

/// Operators between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// The sum of numbers; texts one after the other.
    Add,
    /// Of numbers.
    Subtract,
    /// Of numbers.
    Multiply,
    /// Of numbers; a mistake if the second is 0.
    Divide,
    /// What is left of a division, with the sign of the first; a mistake if the second is 0.
    Remainder,
    /// The same value.
    Equal,
    /// Another value.
    NotEqual,
    /// Of two numbers or two texts.
    Less,
    /// Of two numbers or two texts.
    LessEqual,
    /// Of two numbers or two texts.
    Greater,
    /// Of two numbers or two texts.
    GreaterEqual,
    /// Both are true; the second is not looked at if the first is false.
    And,
    /// One is true; the second is not looked at if the first is true.
    Or,
}

/// Functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Without its sign.
    Abs,
    /// The smallest of some numbers.
    Min,
    /// The largest of some numbers.
    Max,
    /// The next whole number; halves go up.
    Round,
    /// The next whole number below.
    Floor,
    /// The next whole number above.
    Ceil,
    /// The whole number towards 0, of a number or a text.
    Int,
    /// The number that a text writes.
    Double,
    /// As text.
    String,
    /// How many letters or parts it has.
    Size,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 10] = [
        Self::Abs,
        Self::Min,
        Self::Max,
        Self::Round,
        Self::Floor,
        Self::Ceil,
        Self::Int,
        Self::Double,
        Self::String,
        Self::Size,
    ];
    /// The name in an expression.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Min => "min",
            Self::Max => "max",
            Self::Round => "round",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::Size => "size",
        }
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong and where, in characters from 1.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        if text.len() > BYTES_MAX {
            return Err(Rejection::too_large("expression", format!("at most {BYTES_MAX} bytes")));
        }
        Ok(Self { text: text.to_owned(), root: translate::read(text, DEPTH_MAX, &translate::Boards)? })
    }
    /// What it is worth.
    ///
    /// # Errors
    /// A sentence that says why it has no worth for this value.
    pub fn of(&self, value: &Value) -> Result<Value, String> {
        struct Only<'a>(&'a Value);
        impl<'a> evaluate::World<'a, Infallible> for Only<'a> {
            fn input(&mut self) -> Result<Cow<'a, Value>, String> {
                Ok(Cow::Borrowed(self.0))
            }
            fn more(&mut self, part: &'a Infallible) -> Result<Cow<'a, Value>, String> {
                match *part {}
            }
            // Without loops the work has a bound: the length of the expression.
            fn charge(&mut self, _: usize) -> Result<(), String> {
                Ok(())
            }
        }
        evaluate::node(&self.root, &mut Only(value)).map(Cow::into_owned)
    }
}

impl<More> Expression<More> {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// What it says.
    pub fn root(&self) -> &Node<More> {
        &self.root
    }
}

/// A number of JSON: whole if it is.
pub fn number(number: f64) -> Value {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        return Value::from(number as i64);
    }
    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Whether two values are the same, numbers however they are written.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_worth_what_people_expect() {
        let value = json!({"t": 21.5, "name": "kitchen", "list": [1, 2, 3], "on": true, "n": -7});
        let cases = [
            ("value.t * 2", json!(43)),
            ("value.t + 1", json!(22.5)),
            ("1 + 1.5", json!(2.5)),
            ("value.t > 20 && value.on", json!(true)),
            ("value.on ? 'yes' : 'no'", json!("yes")),
            ("value.name + '!'", json!("kitchen!")),
            ("value['name'] == \"kitchen\"", json!(true)),
            ("value.list[1]", json!(2)),
            ("has(value.t) || has(value.x)", json!(true)),
            ("has(value.x) ? value.x : 0", json!(0)),
            ("value.n % 3", json!(-1)),
            ("-value.n / 2", json!(3.5)),
            ("round(2.5) + round(-2.5)", json!(1)),
            ("min(3, 1, 2) + max(3, 1)", json!(4)),
            ("int('12') + floor(1.9) + ceil(1.1) + abs(-1)", json!(16)),
            ("string(21.0) + string(21.5) + string(true)", json!("2121.5true")),
            ("size(value.name) + size(value.list)", json!(10)),
            ("{'t': value.t, 'hot': value.t > 30}", json!({"t": 21.5, "hot": false})),
            ("[value.t, 1]", json!([21.5, 1])),
            ("!(value.t < 0) && value.name != 'bath'", json!(true)),
            ("value.t >= 21.5 && value.t <= 21.5", json!(true)),
        ];
        for (text, expected) in cases {
            let worth = Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).of(&value);
            assert!(worth.as_ref().is_ok_and(|worth| same(worth, &expected)), "{text}: {worth:?}");
        }
    }

    #[test]
    fn what_has_no_worth_says_why() {
        let value = json!({"t": 21.5, "name": "kitchen"});
        let cases = [
            ("value.x", "there is no x"),
            ("value.t / 0", "divided by 0"),
            ("value.name * 2", "numbers"),
            ("value.t && true", "true or false"),
            ("value.t.u", "is no object"),
            ("value.name < 3", "two numbers or two texts"),
            ("[1][3]", "has no"),
            ("double('x')", "no number"),
        ];
        for (text, expected) in cases {
            let why = Expression::parse(text).expect(text).of(&value).expect_err(text);
            assert!(why.contains(expected), "{text}: {why}");
        }
    }

    #[test]
    fn mistakes_are_shown_in_their_place() {
        let cases = [
            ("value. ", None, "expression"),
            ("valu + 1", Some(1), "value"),
            ("1 + foo(2)", Some(8), "abs, min, max"),
            ("abs(1, 2)", Some(4), "1 argument"),
            ("[1].map(x, x)", None, "part of CEL"),
            ("1 +", Some(4), "expression"),
            ("b'x'", Some(1), "part of CEL"),
        ];
        for (text, position, expected) in cases {
            let wrong = Expression::parse(text).expect_err(text);
            assert!(wrong.sentence.contains(expected), "{text}: {wrong}");
            if position.is_some() {
                assert_eq!(wrong.position, position, "{text}: {wrong}");
            }
        }
        assert!(Expression::parse(&"(".repeat(400)).is_err());
        assert!(Expression::parse(&format!("{}1{}", "(".repeat(240), ")".repeat(240))).is_err());
        assert!(Expression::parse(&format!("1{}", "+1".repeat(240))).is_err());
    }
}
