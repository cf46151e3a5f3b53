//! The words of a selector text, each with its position in characters from 1.

use crate::rejection::Rejection;

/// A word, a quoted text or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Letters and most signs.
    Plain(String),
    /// What stood between double quotes.
    Quoted(String),
    /// An operator, a parenthesis or a comma.
    Sign(&'static str),
}

/// Signs that are words of their own; longer ones first.
const SIGNS: [&str; 10] = ["!=", "<=", ">=", "=", "~", "<", ">", "(", ")", ","];

/// A refusal that names a position.
pub(super) fn refused(position: usize, why: &str) -> Rejection {
    Rejection::invalid("selector", format!("at position {position}: {why}")).at_position(position)
}

/// A text in double quotes, as [`words`] reads it.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Splits a text into its words.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, Rejection> {
    let mut words = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        let start = at;
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let word = if let Some(sign) = sign(&chars[at..]) {
            at += sign.len();
            Word::Sign(sign)
        } else if c == '"' {
            let (value, length) =
                until_quote(&chars[at + 1..]).ok_or_else(|| refused(start + 1, "the quote is not closed"))?;
            at += length + 1;
            Word::Quoted(value)
        } else if c == '!' {
            return Err(refused(start + 1, "expected != or the word not"));
        } else {
            let length = chars[at..].iter().position(|c| !is_plain(*c)).unwrap_or(chars.len() - at);
            at += length;
            Word::Plain(chars[start..at].iter().collect())
        };
        words.push((start + 1, word));
    }
    Ok(words)
}

fn is_plain(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '(' | ')' | ',' | '=' | '~' | '!' | '<' | '>' | '"')
}

fn sign(rest: &[char]) -> Option<&'static str> {
    SIGNS.into_iter().find(|sign| sign.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c)))
}

/// The text up to the closing quote, and how many characters that and the quote are.
fn until_quote(rest: &[char]) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = rest.iter().enumerate();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => value.push(*chars.next()?.1),
            c => value.push(*c),
        }
    }
    None
}
