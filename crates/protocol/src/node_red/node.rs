//! A node as Node-RED exports it.

use motehub_domain::rejection::Rejection;
use motehub_domain::text;
use serde_json::{Map, Value};

use super::Warning;

/// Longest id or type in bytes.
const ID_BYTES_MAX: usize = 100;
/// How much of a name is shown.
const SHOWN_CHARS_MAX: usize = 40;
/// How far from the corner of its tab a node may be drawn, in pixels.
const AT_MAX: f64 = 100_000.0;

/// A node whose outer shape was checked.
pub(super) struct Node<'a> {
    pub(super) id: &'a str,
    /// Its `type`.
    pub(super) kind: &'a str,
    /// In pixels. Only what is drawn on a tab has a place.
    pub(super) at: Option<(i64, i64)>,
    /// The ids of the nodes to which each output leads.
    pub(super) wires: Vec<Vec<&'a str>>,
    members: &'a Map<String, Value>,
}

impl<'a> Node<'a> {
    /// Reads the node that stands at a place in the list, from 0.
    pub(super) fn read(value: &'a Value, at: usize) -> Result<Self, Rejection> {
        let nth = |why: &str| Rejection::invalid(&format!("nodes[{at}]"), why);
        let members = value.as_object().ok_or_else(|| nth("an object is expected"))?;
        let word = |name: &str| {
            let text = members.get(name).and_then(Value::as_str);
            text.filter(|text| (1..=ID_BYTES_MAX).contains(&text.len()))
        };
        let id = word("id").ok_or_else(|| nth("a node has an id, a text of 1 to 100 bytes"))?;
        let mut node = Self { id, kind: "", at: None, wires: Vec::new(), members };
        node.kind = word("type").ok_or_else(|| node.wrong("type", "a text of 1 to 100 bytes is expected"))?;
        node.at = node.place()?;
        node.wires = node.read_wires()?;
        Ok(node)
    }

    fn place(&self) -> Result<Option<(i64, i64)>, Rejection> {
        let pixels = |name| match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(pixels) => Ok(Some(pixels.clamp(-AT_MAX, AT_MAX).round() as i64)),
                None => Err(self.wrong(name, "a number is expected")),
            },
        };
        Ok(pixels("x")?.zip(pixels("y")?))
    }

    fn read_wires(&self) -> Result<Vec<Vec<&'a str>>, Rejection> {
        let outputs = match self.members.get("wires") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(value) => value.as_array(),
        };
        let targets = |output: &'a Value| output.as_array()?.iter().map(Value::as_str).collect();
        outputs
            .and_then(|outputs| outputs.iter().map(targets).collect())
            .ok_or_else(|| self.wrong("wires", "a list of lists of ids is expected"))
    }

    /// Whether it is drawn on a tab, and is no frame or remark there. All others only configure.
    pub(super) fn is_drawn(&self) -> bool {
        self.at.is_some() && !matches!(self.kind, "comment" | "group" | "tab" | "subflow")
    }
    /// A member.
    pub(super) fn member(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name)
    }
    /// A member that is a text; empty if it is not.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.member(name).and_then(Value::as_str).unwrap_or_default()
    }
    /// A member that is true, however it is written.
    pub(super) fn truth(&self, name: &str) -> bool {
        self.member(name).is_some_and(|value| value == true || value == "true")
    }
    /// A member that is a number, or a text with one.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.member(name).and_then(number)
    }
    /// The words of a member that is a text with blanks, or a list of texts. `None` if it is not there.
    pub(super) fn words(&self, name: &str) -> Option<Vec<&'a str>> {
        match self.member(name)? {
            Value::String(text) => {
                Some(text.split([' ', ',', '\t', '\n']).filter(|w| !w.is_empty()).collect())
            }
            Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect()),
            _ => None,
        }
    }
    /// Its name, as it may be shown.
    pub(super) fn name(&self) -> String {
        text::shown(self.text("name").trim(), text::NAME_CHARS_MAX).trim().to_owned()
    }
    /// A refusal of one of its members.
    pub(super) fn wrong(&self, name: &str, why: &str) -> Rejection {
        let id = text::shown(self.id, SHOWN_CHARS_MAX);
        Rejection::invalid(&format!("node {id}: {name}"), why)
    }
    /// Something that a person should know of it.
    pub(super) fn warning(&self, why: impl AsRef<str>) -> Warning {
        let kind = text::shown(self.kind, SHOWN_CHARS_MAX);
        let name = [self.text("name"), self.text("label")].into_iter().find(|name| !name.trim().is_empty());
        let name = name.map(|name| format!(" {:?}", text::shown(name.trim(), SHOWN_CHARS_MAX)));
        let message = format!("{kind}{}: {}", name.unwrap_or_default(), why.as_ref());
        Warning { node: text::shown(self.id, ID_BYTES_MAX), message }
    }
}

/// A number, or a text that is one.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}
