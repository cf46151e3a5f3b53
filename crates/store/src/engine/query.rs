//! Texts that depend on what is asked: constant fragments put together, every value a parameter.

use super::row::Value;

/// A statement in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query {
    text: String,
    values: Vec<Value>,
}

impl Query {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// A constant statement with its values.
    pub(crate) fn of(text: &'static str, values: impl Into<Vec<Value>>) -> Self {
        Self { text: text.to_owned(), values: values.into() }
    }

    /// A constant text before a condition that was made by itself.
    pub(crate) fn before(text: &'static str, condition: &Self) -> Self {
        Self { text: format!("{text}{}", condition.text), values: condition.values.clone() }
    }

    /// Adds a constant fragment.
    pub(crate) fn push(&mut self, fragment: &'static str) -> &mut Self {
        self.text.push_str(fragment);
        self
    }

    /// Adds a placeholder for a value.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Adds `in (…)` with one placeholder for each value; without values nothing is in it.
    pub(crate) fn among(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        self.push(" in (");
        let before = self.values.len();
        for value in values {
            if self.values.len() > before {
                self.push(", ");
            }
            self.bind(value);
        }
        if self.values.len() == before {
            self.push("null");
        }
        self.push(")")
    }

    /// Adds `in (…)` for any number of values, as one parameter.
    pub(crate) fn among_many(&mut self, texts: &[String]) -> &mut Self {
        self.push(" in {each:").bind(serde_json::Value::from(texts).to_string()).push("}")
    }

    /// Adds ` and ` after a first condition, ` where ` before it.
    pub(crate) fn condition(&mut self, is_first: &mut bool) -> &mut Self {
        self.push(if std::mem::take(is_first) { " where " } else { " and " })
    }

    pub(crate) fn into_parts(self) -> (String, Vec<Value>) {
        (self.text, self.values)
    }
}

/// The pattern of `like … escape '\'` that finds a text anywhere in a column that is in lower case.
pub(crate) fn contains(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
