//! What can be compared: the fields of a device, what it measured, and what it reported of itself.

use std::fmt;

use super::lexer::quoted;
use super::value::Operator;

/// What can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A field that every device may have, from the table [`FIELDS`].
    Known(Known),
    /// The latest value of a metric.
    Telemetry(String),
    /// An attribute that the device reported of itself.
    Reported(String),
    /// The latest value of the metric of this name; for a device that never measured it, the attribute of this name.
    Either(String),
}

/// Fields that every device may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table FIELDS says what each is")]
pub enum Known {
    Tag,
    Group,
    Capability,
    Name,
    Id,
    ExternalId,
    Dialect,
    Script,
    Version,
    State,
    Problem,
    Address,
    Seen,
    Registered,
}

/// What kind of values a field has; decides which operators it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Texts; a device may have several.
    Texts,
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A span of time since something.
    Age,
    /// The name of a group.
    Group,
    /// A number, true or false, or a text: as it was measured or reported.
    Any,
}

/// The known fields: the word, what it is, what kind of values it has.
pub const FIELDS: &[(&str, Known, Kind, &str)] = &[
    ("tag", Known::Tag, Kind::Texts, "any of its tags"),
    ("group", Known::Group, Kind::Group, "a group that it is a member of"),
    ("capability", Known::Capability, Kind::Texts, "any of its capabilities, assigned or announced"),
    ("name", Known::Name, Kind::Text, "its name"),
    ("id", Known::Id, Kind::Text, "its id with the hub"),
    ("external_id", Known::ExternalId, Kind::Text, "its own id, such as a chip id"),
    (
        "dialect",
        Known::Dialect,
        Kind::Text,
        "how it speaks: native, nodemcu, mongoose, riot, esp-firmware or line",
    ),
    ("script", Known::Script, Kind::Text, "the name of the script that it runs"),
    ("version", Known::Version, Kind::Number, "the version of that script"),
    ("state", Known::State, Kind::Text, "ok, pending, failing or waiting_for_script"),
    ("problem", Known::Problem, Kind::Text, "what is wrong with it, in words"),
    ("address", Known::Address, Kind::Text, "the address from which it was last heard"),
    ("seen", Known::Seen, Kind::Age, "how long ago it was last heard; 0 while it is online"),
    ("registered", Known::Registered, Kind::Age, "how long ago it was registered"),
];

/// The words that are conditions by themselves.
pub const FLAGS: &[(&str, &str)] = &[
    ("all", "every device"),
    ("online", "it has a live connection"),
    ("failing", "something is wrong with it"),
    ("pending", "a deployment waits for it or is being applied"),
    ("unauthenticated", "it may speak without a credential"),
];

impl Kind {
    /// The operators that a field of this kind takes, besides `in` and `exists`.
    pub fn operators(self) -> &'static [Operator] {
        use Operator::{Contains, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Unequal};
        match self {
            Self::Texts | Self::Text => &[Equal, Unequal, Contains],
            Self::Number => &[Equal, Unequal, Less, LessOrEqual, Greater, GreaterOrEqual],
            Self::Age => &[Less, LessOrEqual, Greater, GreaterOrEqual],
            Self::Group => &[Equal, Unequal],
            Self::Any => &[Equal, Unequal, Contains, Less, LessOrEqual, Greater, GreaterOrEqual],
        }
    }

    /// Whether a field of this kind can be `in` a list.
    pub fn has_in(self) -> bool {
        self != Self::Age
    }

    /// Whether a device may have no value of this kind.
    pub fn has_exists(self) -> bool {
        self != Self::Group
    }

    /// Everything that may follow a field of this kind, for people.
    pub fn expectation(self) -> String {
        let mut words: Vec<&str> = self.operators().iter().map(|operator| operator.sign()).collect();
        words.extend(self.has_in().then_some("in"));
        words.extend(self.has_exists().then_some("exists"));
        let last = words.pop().unwrap_or_default();
        format!("{} or {last}", words.join(", "))
    }
}

impl Field {
    /// What kind of values it has.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Known(known) => known.entry().2,
            Self::Telemetry(_) | Self::Reported(_) | Self::Either(_) => Kind::Any,
        }
    }

    /// The known field that a word means, in any case.
    pub(super) fn known(word: &str) -> Option<Self> {
        let entry = FIELDS.iter().find(|entry| entry.0.eq_ignore_ascii_case(word))?;
        Some(Self::Known(entry.1))
    }
}

impl Known {
    fn entry(self) -> &'static (&'static str, Known, Kind, &'static str) {
        FIELDS.iter().find(|entry| entry.1 == self).unwrap_or(&FIELDS[0])
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(known) => f.write_str(known.entry().0),
            Self::Telemetry(name) => write!(f, "telemetry.{}", plain_or_quoted(name)),
            Self::Reported(name) => write!(f, "reported.{}", plain_or_quoted(name)),
            Self::Either(name) if is_taken(name) => f.write_str(&quoted(name)),
            Self::Either(name) => f.write_str(&plain_or_quoted(name)),
        }
    }
}

fn plain_or_quoted(name: &str) -> String {
    let mut chars = name.chars();
    let is_plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'));
    if is_plain { name.to_owned() } else { quoted(name) }
}

/// Whether a bare word of this text would mean something else than a metric or attribute.
fn is_taken(word: &str) -> bool {
    let is = |known: &str| word.eq_ignore_ascii_case(known);
    FIELDS.iter().any(|entry| is(entry.0))
        || FLAGS.iter().any(|(flag, _)| is(flag))
        || ["and", "or", "not", "in", "exists"].into_iter().any(is)
        || word.starts_with("telemetry.")
        || word.starts_with("reported.")
}
