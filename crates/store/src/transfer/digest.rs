//! What is compared: a digest over rows, whatever engine they come from.

use motehub_domain::artifact::Digest;
use sha2::{Digest as _, Sha256};

use crate::engine::row::Value;

/// How many rows there are, and the digest of them all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summed {
    pub(super) rows: i64,
    pub(super) digest: String,
}

/// Rows that are being summed up.
#[derive(Default)]
pub(super) struct Sum {
    rows: i64,
    hash: Sha256,
}

impl Sum {
    /// Adds a row: of each value its kind, its length and its bytes.
    pub(super) fn add(&mut self, row: &[Value]) {
        self.rows += 1;
        for value in row {
            match value {
                Value::Null => self.put(0, &[]),
                Value::Integer(number) => self.put(1, &number.to_be_bytes()),
                Value::Real(number) => self.put(2, &number.to_be_bytes()),
                Value::Text(text) => self.put(3, text.as_bytes()),
                Value::Bytes(bytes) => self.put(4, bytes),
            }
        }
    }

    fn put(&mut self, kind: u8, bytes: &[u8]) {
        self.hash.update([kind]);
        self.hash.update((bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes);
    }

    pub(super) fn rows(&self) -> i64 {
        self.rows
    }

    pub(super) fn end(self) -> Summed {
        Summed { rows: self.rows, digest: Digest(self.hash.finalize().into()).to_string() }
    }
}
