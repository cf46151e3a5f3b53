//! Selectors: textual conditions that pick devices, such as `tag=kitchen and not online`.
//!
//! `or` binds weakest, then `and`, then `not`; parentheses group. Keywords are written in any case; values with
//! blanks or other signs stand in double quotes. The store turns the tree into one query.

use crate::rejection::Rejection;

/// Longest selector text in bytes.
pub const SELECTOR_BYTES_MAX: usize = 2000;
/// Most comparisons, and deepest nesting, in one selector.
pub const SELECTOR_TERMS_MAX: usize = 50;

/// A condition on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Every device.
    All,
    /// Those that have a live connection.
    Online,
    /// Those with a problem.
    Failing,
    /// Those for which something waits or is being applied.
    Pending,
    /// Those that may speak without a credential.
    Unauthenticated,
    /// A comparison of a field with a text.
    Is(Field, Operator, String),
    /// Those that do not satisfy it.
    Not(Box<Selector>),
    /// Those that satisfy both.
    And(Box<Selector>, Box<Selector>),
    /// Those that satisfy at least one.
    Or(Box<Selector>, Box<Selector>),
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Any of its tags.
    Tag,
    /// Its name.
    Name,
    /// Its id with us.
    Id,
    /// Its own id.
    ExternalId,
    /// Its dialect.
    Dialect,
    /// The name of the script that it runs.
    Script,
    /// The version that it runs.
    Version,
}

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `~`: contains, without case.
    Contains,
}

impl Selector {
    /// Reads a selector. The refusal names the position, from 1, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(Rejection::invalid("selector", format!("at most {SELECTOR_BYTES_MAX} bytes")));
        }
        let mut parser = Parser { words: words(text)?, next: 0, terms: 0, end: text.chars().count() + 1 };
        let selector = parser.or(0)?;
        match parser.words.get(parser.next) {
            None => Ok(selector),
            Some(_) => Err(parser.expected("and, or, or the end")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Plain(String),
    Quoted(String),
    Sign(&'static str),
}

struct Parser {
    words: Vec<(usize, Word)>,
    next: usize,
    terms: usize,
    end: usize,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Selector, Rejection> {
        let mut left = self.and(depth)?;
        while self.takes("or") {
            left = Selector::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Selector, Rejection> {
        let mut left = self.not(depth)?;
        while self.takes("and") {
            left = Selector::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Selector, Rejection> {
        self.terms += 1;
        if self.terms > SELECTOR_TERMS_MAX || depth > SELECTOR_TERMS_MAX {
            return Err(Rejection::invalid("selector", format!("at most {SELECTOR_TERMS_MAX} terms")));
        }
        if self.takes("not") {
            return Ok(Selector::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.takes_sign("(") {
            let inner = self.or(depth + 1)?;
            return if self.takes_sign(")") {
                Ok(inner)
            } else {
                Err(self.expected("a closing parenthesis"))
            };
        }
        self.term()
    }

    fn term(&mut self) -> Result<Selector, Rejection> {
        const EXPECTED: &str = "a condition: all, online, failing, pending, unauthenticated, or one of \
            tag, name, id, external_id, dialect, script, version followed by =, != or ~";
        let Some((_, Word::Plain(word))) = self.words.get(self.next).cloned() else {
            return Err(self.expected(EXPECTED));
        };
        let field = match word.to_ascii_lowercase().as_str() {
            "all" => return self.done(Selector::All),
            "online" => return self.done(Selector::Online),
            "failing" => return self.done(Selector::Failing),
            "pending" => return self.done(Selector::Pending),
            "unauthenticated" => return self.done(Selector::Unauthenticated),
            "tag" => Field::Tag,
            "name" => Field::Name,
            "id" => Field::Id,
            "external_id" => Field::ExternalId,
            "dialect" => Field::Dialect,
            "script" => Field::Script,
            "version" => Field::Version,
            _ => return Err(self.expected(EXPECTED)),
        };
        self.next += 1;
        let operator = [("=", Operator::Equal), ("!=", Operator::Unequal), ("~", Operator::Contains)]
            .into_iter()
            .find(|(sign, _)| self.takes_sign(sign))
            .map(|(_, operator)| operator)
            .ok_or_else(|| self.expected("=, != or ~"))?;
        let value = match self.words.get(self.next) {
            Some((_, Word::Plain(value) | Word::Quoted(value))) => value.clone(),
            Some((_, Word::Sign(_))) | None => {
                return Err(self.expected("a value, in double quotes if it has blanks"));
            }
        };
        if field == Field::Version && value.parse::<i64>().is_err() {
            return Err(self.expected("a version number"));
        }
        self.done(Selector::Is(field, operator, value))
    }

    fn done(&mut self, selector: Selector) -> Result<Selector, Rejection> {
        self.next += 1;
        Ok(selector)
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let is_it =
            matches!(self.words.get(self.next), Some((_, Word::Plain(w))) if w.eq_ignore_ascii_case(keyword));
        self.next += usize::from(is_it);
        is_it
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.words.get(self.next), Some((_, Word::Sign(s))) if *s == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn expected(&self, what: &str) -> Rejection {
        let position = self.words.get(self.next).map_or(self.end, |(position, _)| *position);
        Rejection::invalid("selector", format!("at position {position}: expected {what}"))
    }
}

fn words(text: &str) -> Result<Vec<(usize, Word)>, Rejection> {
    let mut words = Vec::new();
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        let word = match c {
            c if c.is_whitespace() => continue,
            '(' => Word::Sign("("),
            ')' => Word::Sign(")"),
            '=' => Word::Sign("="),
            '~' => Word::Sign("~"),
            '!' if chars.next_if(|(_, c)| *c == '=').is_some() => Word::Sign("!="),
            '"' => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => value.extend(chars.next().map(|(_, c)| c)),
                        Some((_, c)) => value.push(c),
                        None => {
                            let why = format!("at position {}: the quote is not closed", at + 1);
                            return Err(Rejection::invalid("selector", why));
                        }
                    }
                }
                Word::Quoted(value)
            }
            '!' => {
                let why = format!("at position {}: expected != or the word not", at + 1);
                return Err(Rejection::invalid("selector", why));
            }
            c => {
                let mut value = String::from(c);
                let is_plain =
                    |c: char| !c.is_whitespace() && !matches!(c, '(' | ')' | '=' | '~' | '!' | '"');
                while let Some((_, c)) = chars.next_if(|(_, c)| is_plain(*c)) {
                    value.push(c);
                }
                Word::Plain(value)
            }
        };
        words.push((at + 1, word));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(field: Field, operator: Operator, value: &str) -> Selector {
        Selector::Is(field, operator, value.to_owned())
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let tag = |value| Box::new(is(Field::Tag, Operator::Equal, value));
        let expected = Selector::Or(
            tag("a"),
            Box::new(Selector::And(tag("b"), Box::new(Selector::Not(Box::new(Selector::Online))))),
        );
        assert_eq!(Selector::parse("tag=a or tag = b AND not online"), Ok(expected));
    }

    #[test]
    fn quoted_values_may_hold_anything() {
        let text = r#"name = "my (\"best\") lamp""#;
        assert_eq!(Selector::parse(text), Ok(is(Field::Name, Operator::Equal, r#"my ("best") lamp"#)));
    }

    #[test]
    fn errors_name_the_position_and_what_was_expected() {
        let cases = [
            ("", "position 1"),
            ("tag", "position 4: expected =, != or ~"),
            ("tag=", "position 5: expected a value"),
            ("online and", "position 11"),
            ("(online", "closing parenthesis"),
            ("online online", "position 8: expected and, or, or the end"),
            ("colour=red", "position 1: expected a condition"),
            ("version=two", "a version number"),
            ("name=\"x", "not closed"),
            ("!online", "position 1"),
        ];
        for (text, expected) in cases {
            let error = Selector::parse(text).expect_err(text).sentence;
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Selector::parse(&"(".repeat(500)).is_err());
        assert!(Selector::parse(&"not ".repeat(400)).is_err());
    }
}
