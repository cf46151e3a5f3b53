//! From the parser of CEL to what an expression may say.

use cel::common::ast::{EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use cel::parser::Parser;
use serde_json::Value;

use super::{Binary, Function, Node, number};
use crate::rejection::Rejection;

/// Most arguments of a function.
const ARGUMENTS_MAX: usize = 8;

/// Who says something, and what only they can say.
pub(super) trait Language: Sized {
    /// What the others cannot say.
    type More;
    /// What a name stands for, or why it stands for nothing.
    fn name(&self, name: &str) -> Result<Node<Self::More>, String>;
    /// A part that the others cannot say, if it is one.
    fn special(
        reader: &Reader<'_, Self>,
        part: &cel::IdedExpr,
        depth: u16,
    ) -> Result<Option<Node<Self::More>>, Rejection>;
    /// What to say of a part that nobody here can say.
    fn unknown(&self) -> &'static str;
}

/// Flows, which run on boards too.
pub(super) struct Boards;

impl Language for Boards {
    type More = std::convert::Infallible;
    fn name(&self, name: &str) -> Result<Node, String> {
        match name {
            "value" => Ok(Node::Input),
            _ => Err(format!("there is no {name}; what came is called value")),
        }
    }
    fn special(_: &Reader<'_, Self>, _: &cel::IdedExpr, _: u16) -> Result<Option<Node>, Rejection> {
        Ok(None)
    }
    fn unknown(&self) -> &'static str {
        "this part of CEL is not for flows: there are numbers, texts, lists, objects, operators and functions"
    }
}

/// Reads a text.
pub(super) fn read<L: Language>(
    text: &str,
    depth_max: u16,
    language: &L,
) -> Result<Node<L::More>, Rejection> {
    // The parser calls itself for each parenthesis, before it counts depth.
    let opened = text.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count();
    if opened > usize::from(depth_max) * 2 {
        return Err(wrong(format!("at most {} parentheses", depth_max * 2)));
    }
    let parser = Parser::new().max_recursion_depth(depth_max).error_recovery_limit(1);
    let (root, info) = parser.parse_with_source_info(text).map_err(|errors| match errors.errors.first() {
        Some(error) => {
            let said: String =
                error.msg.split(" expecting ").next().unwrap_or_default().chars().take(200).collect();
            let column = usize::try_from(error.pos.1).unwrap_or(0);
            wrong(format!("it is no expression: {said}")).at_position(column.max(1))
        }
        None => wrong("it is no expression".to_owned()),
    })?;
    let reader = Reader { info, depth_max, language };
    reader.node(&root, 0)
}

fn wrong(why: String) -> Rejection {
    Rejection::invalid("expression", why)
}

/// What was parsed, on its way to what it means.
pub(super) struct Reader<'a, L> {
    info: SourceInfo,
    depth_max: u16,
    pub(super) language: &'a L,
}

impl<L: Language> Reader<'_, L> {
    pub(super) fn wrong(&self, part: &cel::IdedExpr, why: impl Into<String>) -> Rejection {
        let rejection = wrong(why.into());
        match self.info.offset_for(part.id) {
            Some((start, _)) => rejection.at_position(start as usize + 1),
            None => rejection,
        }
    }

    pub(super) fn boxed(&self, part: &cel::IdedExpr, depth: u16) -> Result<Box<Node<L::More>>, Rejection> {
        Ok(Box::new(self.node(part, depth)?))
    }

    pub(super) fn node(&self, part: &cel::IdedExpr, depth: u16) -> Result<Node<L::More>, Rejection> {
        if depth > self.depth_max {
            return Err(self.wrong(part, format!("at most {} levels: use two steps", self.depth_max)));
        }
        let deeper = depth + 1;
        if let Some(special) = L::special(self, part, deeper)? {
            return Ok(special);
        }
        Ok(match &part.expr {
            Expr::Literal(literal) => Node::Literal(self.literal(part, literal)?),
            Expr::Ident(name) => self.language.name(name).map_err(|why| self.wrong(part, why))?,
            Expr::Select(select) => {
                let object = self.boxed(&select.operand, deeper)?;
                match select.test {
                    true => Node::Has(object, select.field.clone()),
                    false => Node::Member(object, select.field.clone()),
                }
            }
            Expr::List(list) => Node::List(
                list.elements.iter().map(|part| self.node(part, deeper)).collect::<Result<_, _>>()?,
            ),
            Expr::Map(map) => {
                let mut members = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err(self.unknown(part)) };
                    let Expr::Literal(LiteralValue::String(name)) = &entry.key.expr else {
                        return Err(self.wrong(&entry.key, "the names of an object are texts"));
                    };
                    members.push((name.inner().to_owned(), self.node(&entry.value, deeper)?));
                }
                Node::Object(members)
            }
            Expr::Call(call) if call.target.is_none() => {
                self.call(part, &call.func_name, &call.args, deeper)?
            }
            _ => return Err(self.unknown(part)),
        })
    }

    fn unknown(&self, part: &cel::IdedExpr) -> Rejection {
        self.wrong(part, self.language.unknown())
    }

    fn literal(&self, part: &cel::IdedExpr, literal: &LiteralValue) -> Result<Value, Rejection> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of flows are floating")]
        Ok(match literal {
            LiteralValue::Boolean(truth) => Value::Bool(*truth.inner()),
            LiteralValue::Double(float) => number(*float.inner()),
            LiteralValue::Int(whole) => number(*whole.inner() as f64),
            LiteralValue::UInt(whole) => number(*whole.inner() as f64),
            LiteralValue::Null => Value::Null,
            LiteralValue::String(text) => Value::String(text.inner().to_owned()),
            LiteralValue::Bytes(_) => return Err(self.unknown(part)),
        })
    }

    fn call(
        &self,
        part: &cel::IdedExpr,
        name: &str,
        arguments: &[cel::IdedExpr],
        depth: u16,
    ) -> Result<Node<L::More>, Rejection> {
        let of = |at: usize| self.boxed(&arguments[at], depth);
        let binary = match name {
            operators::ADD => Some(Binary::Add),
            operators::SUBSTRACT => Some(Binary::Subtract),
            operators::MULTIPLY => Some(Binary::Multiply),
            operators::DIVIDE => Some(Binary::Divide),
            operators::MODULO => Some(Binary::Remainder),
            operators::EQUALS => Some(Binary::Equal),
            operators::NOT_EQUALS => Some(Binary::NotEqual),
            operators::LESS => Some(Binary::Less),
            operators::LESS_EQUALS => Some(Binary::LessEqual),
            operators::GREATER => Some(Binary::Greater),
            operators::GREATER_EQUALS => Some(Binary::GreaterEqual),
            operators::LOGICAL_AND => Some(Binary::And),
            operators::LOGICAL_OR => Some(Binary::Or),
            _ => None,
        };
        match (binary, name, arguments.len()) {
            (Some(operator), _, 2) => return Ok(Node::Binary(operator, of(0)?, of(1)?)),
            (None, operators::LOGICAL_NOT, 1) => return Ok(Node::Not(of(0)?)),
            (None, operators::NEGATE, 1) => return Ok(Node::Negate(of(0)?)),
            (None, operators::CONDITIONAL, 3) => return Ok(Node::If(of(0)?, of(1)?, of(2)?)),
            (None, operators::INDEX, 2) => return Ok(Node::Index(of(0)?, of(1)?)),
            _ => {}
        }
        let Some(function) = Function::ALL.into_iter().find(|function| function.as_str() == name) else {
            let names = Function::ALL.map(Function::as_str).join(", ");
            return Err(self.wrong(part, format!("there is no function {name}; there are {names}, has")));
        };
        let several = matches!(function, Function::Min | Function::Max);
        match arguments.len() {
            1 => {}
            2..=ARGUMENTS_MAX if several => {}
            _ => {
                let count = if several { "1 to 8 arguments" } else { "1 argument" };
                return Err(self.wrong(part, format!("{name} takes {count}, not {}", arguments.len())));
            }
        }
        let arguments = arguments.iter().map(|part| self.node(part, depth)).collect::<Result<_, _>>()?;
        Ok(Node::Call(function, arguments))
    }
}
