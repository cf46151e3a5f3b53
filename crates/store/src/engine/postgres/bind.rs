//! Values on their way to PostgreSQL and back.
//!
//! PostgreSQL's text cannot hold U+0000, which devices may well send. It is written as U+10FFFF and a digit, which no
//! text of people has in it, and U+10FFFF itself as itself and another: both engines give back what they were given.

use std::borrow::Cow;
use std::error::Error;

use futures_util::TryStreamExt;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{RowStream, Statement};

use crate::engine::row::{Row, Value};

/// Stands before what stands for a character that cannot be written, or is this one.
const ESCAPE: char = '\u{10FFFF}';

type Problem = Box<dyn Error + Sync + Send>;

/// A parameter.
#[derive(Debug)]
pub(super) struct Bound<'a>(pub(super) &'a Value);

/// A column of a row.
struct Read(Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Problem> {
        match (self.0, kind) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::INT8) => number.to_sql(kind, out),
            #[expect(clippy::cast_precision_loss, reason = "as SQLite does in a column of such numbers")]
            (Value::Integer(number), &Type::FLOAT8) => (*number as f64).to_sql(kind, out),
            (Value::Real(number), &Type::FLOAT8) => number.to_sql(kind, out),
            (Value::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(kind, out),
            (Value::Text(text), &Type::TEXT_ARRAY) => {
                let texts: Vec<String> = serde_json::from_str(text)?;
                texts.iter().map(|text| escaped(text)).collect::<Vec<_>>().to_sql(kind, out)
            }
            (Value::Text(text), &Type::TEXT) => escaped(text).to_sql(kind, out),
            (value, kind) => Err(format!("{value:?} for a parameter of type {kind}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Read {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        Ok(Self(match *kind {
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Value::Integer(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::TEXT => Value::Text(unescaped(<&str>::from_sql(kind, raw)?)),
            _ => return Err(format!("a column of type {kind}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Problem> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Of which type a statement needs its parameters, if that is not as PostgreSQL thinks: all our numbers are of 64 bits.
pub(super) fn wider(statement: &Statement) -> Option<Vec<Type>> {
    let is_narrow = |kind: &Type| matches!(*kind, Type::INT2 | Type::INT4 | Type::FLOAT4);
    statement.params().iter().any(is_narrow).then(|| {
        let wide = |kind: &Type| match *kind {
            Type::INT2 | Type::INT4 => Type::INT8,
            Type::FLOAT4 => Type::FLOAT8,
            _ => kind.clone(),
        };
        statement.params().iter().map(wide).collect()
    })
}

/// What of a statement cannot be bound or read, if anything.
pub(super) fn unknown(statement: &Statement) -> Option<&Type> {
    let bound = |kind: &&Type| {
        !matches!(**kind, Type::INT8 | Type::FLOAT8 | Type::BYTEA | Type::TEXT | Type::TEXT_ARRAY)
    };
    let read = |kind: &&Type| {
        !matches!(**kind, Type::INT8 | Type::INT4 | Type::BOOL | Type::FLOAT8 | Type::BYTEA | Type::TEXT)
    };
    let columns = statement.columns().iter().map(tokio_postgres::Column::type_);
    statement.params().iter().find(bound).or_else(|| columns.into_iter().find(read))
}

/// All rows of an answer, and how many rows the statement touched.
pub(super) async fn collect(stream: RowStream) -> Result<(Vec<Row>, u64), tokio_postgres::Error> {
    let mut stream = std::pin::pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(
            (0..row.len())
                .map(|i| row.try_get::<_, Read>(i).map(|Read(value)| value))
                .collect::<Result<_, _>>()?,
        );
    }
    Ok((rows, stream.rows_affected().unwrap_or(0)))
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => written.extend([ESCAPE, '0']),
            ESCAPE => written.extend([ESCAPE, '1']),
            c => written.push(c),
        }
    }
    Cow::Owned(written)
}

fn unescaped(text: &str) -> String {
    if !text.contains(ESCAPE) {
        return text.to_owned();
    }
    let mut read = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        read.push(match c {
            ESCAPE if chars.next() == Some('0') => '\0',
            c => c,
        });
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in ["", "plain", "\0", "a\0b\0", "\u{10FFFF}", "\u{10FFFF}0\0\u{10FFFF}\u{10FFFF}1"] {
            assert_eq!(unescaped(&escaped(text)), text);
            assert!(!escaped(text).contains('\0'));
        }
    }
}
