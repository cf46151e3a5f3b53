//! Artifacts: immutable bytes, kept under their digest and checked against it whenever they are read.

use motehub_domain::script::Digest;
use sha2::{Digest as _, Sha256};

use crate::engine::Statement;
use crate::engine::row::{Columns, Value};
use crate::{Store, StoreError};

sql! {
    INSERT = "insert into artifacts (digest, body) values ($1, $2) on conflict (digest) do nothing";
    ONE = "select body from artifacts where digest = $1";
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

impl Store {
    /// Keeps bytes and returns their digest; they are on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn put(&self, bytes: Vec<u8>) -> Result<Digest, StoreError> {
        let digest = digest_of(&bytes);
        let insert = Statement::new(INSERT, [Value::id(digest), Value::Bytes(bytes)]);
        self.engine().write(vec![insert].into()).await?;
        Ok(digest)
    }

    /// The bytes with this digest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the bytes on disk have another digest now.
    pub async fn artifact(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(row) = self.engine().read_one(ONE, [Value::id(digest)]).await? else { return Ok(None) };
        let bytes = Columns::of("artifacts", row).bytes()?;
        if digest_of(&bytes) != digest {
            return Err(StoreError::damaged(format!("artifact {digest}")));
        }
        Ok(Some(bytes))
    }
}
