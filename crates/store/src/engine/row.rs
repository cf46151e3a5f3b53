//! What goes into a statement and what comes out of it, the same for every engine.

use std::fmt::Display;
use std::str::FromStr;

use motehub_domain::artifact::Digest;
use motehub_domain::time::Time;

use crate::StoreError;

/// A parameter or a column. Booleans are the integers 0 and 1; ids, digests and JSON are text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// An id or a digest in its text form.
    pub(crate) fn id(id: impl Display) -> Self {
        Self::Text(id.to_string())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}
impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Integer(i64::from(truth))
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}
impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Integer(time.0)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}
impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row as the engine gave it.
pub(crate) type Row = Vec<Value>;

/// Reads the columns of one row in their order; a column that is not what was written is damage.
pub(crate) struct Columns {
    table: &'static str,
    values: std::vec::IntoIter<Value>,
    next: usize,
}

impl Columns {
    pub(crate) fn of(table: &'static str, row: Row) -> Self {
        Self { table, values: row.into_iter(), next: 0 }
    }

    fn damaged(&self) -> StoreError {
        StoreError::damaged(format!("column {} of a row of table {}", self.next, self.table))
    }

    fn value(&mut self) -> Value {
        self.next += 1;
        self.values.next().unwrap_or(Value::Null)
    }

    pub(crate) fn integer(&mut self) -> Result<i64, StoreError> {
        self.maybe_integer()?.ok_or_else(|| self.damaged())
    }

    pub(crate) fn maybe_integer(&mut self) -> Result<Option<i64>, StoreError> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(number)),
            Value::Real(_) | Value::Text(_) | Value::Bytes(_) => Err(self.damaged()),
        }
    }

    pub(crate) fn maybe_real(&mut self) -> Result<Option<f64>, StoreError> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Real(number) => Ok(Some(number)),
            Value::Integer(_) | Value::Text(_) | Value::Bytes(_) => Err(self.damaged()),
        }
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, StoreError> {
        Ok(self.integer()? != 0)
    }

    pub(crate) fn time(&mut self) -> Result<Time, StoreError> {
        self.integer().map(Time)
    }

    pub(crate) fn maybe_time(&mut self) -> Result<Option<Time>, StoreError> {
        Ok(self.maybe_integer()?.map(Time))
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.maybe_text()?.ok_or_else(|| self.damaged())
    }

    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Integer(_) | Value::Real(_) | Value::Bytes(_) => Err(self.damaged()),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.value() {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Null | Value::Integer(_) | Value::Real(_) | Value::Text(_) => Err(self.damaged()),
        }
    }

    /// An id or digest.
    pub(crate) fn parsed<T: FromStr>(&mut self) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|_| self.damaged())
    }

    pub(crate) fn maybe_parsed<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        self.maybe_text()?.map(|text| text.parse().map_err(|_| self.damaged())).transpose()
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StoreError> {
        self.parsed()
    }

    /// A word of a closed set.
    pub(crate) fn word<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| self.damaged())
    }

    pub(crate) fn json(&mut self) -> Result<serde_json::Value, StoreError> {
        self.maybe_json()?.ok_or_else(|| self.damaged())
    }

    pub(crate) fn maybe_json(&mut self) -> Result<Option<serde_json::Value>, StoreError> {
        self.maybe_text()?.map(|text| serde_json::from_str(&text).map_err(|_| self.damaged())).transpose()
    }
}
