//! Artifacts: immutable bytes, kept in pieces under their digest and checked whenever they are read. Reading a part of
//! a large one reads no more than the pieces it lies in.

use std::ops::Range;

use motehub_domain::artifact::{Artifact, ArtifactKind, Digest};
use sha2::{Digest as _, Sha256};

use crate::engine::row::{Columns, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// Bytes of every piece but the last.
const PIECE_BYTES: usize = 256 * 1024;

sql! {
    INSERT = "insert into artifacts (digest, size_bytes) values ($1, $2) on conflict (digest) do nothing";
    INSERT_PIECE = "insert into pieces (artifact, number, digest, body) values ($1, $2, $3, $4)
        on conflict (artifact, number) do nothing";
    SIZE = "select size_bytes from artifacts where digest = $1";
    PIECES = "select digest, body from pieces where artifact = $1 and number >= $2 and number <= $3
        order by number";
    DROP_UNUSED = "delete from artifacts where digest = $1
        and not exists (select 1 from versions where digest = $1)
        and not exists (select 1 from firmware where digest = $1)";
    SWEEP = "delete from artifacts
        where not exists (select 1 from versions v where v.digest = artifacts.digest)
        and not exists (select 1 from firmware f where f.digest = artifacts.digest) returning digest";
}

/// The four columns of an artifact: the id of a script and the number of its version, or the id of a firmware and no
/// number; then the digest and the size.
pub(crate) fn artifact_values(artifact: Option<&Artifact>) -> [Value; 4] {
    let (id, version) = match artifact.map(|artifact| artifact.kind) {
        None => (None, None),
        Some(ArtifactKind::Script { script, version }) => (Some(Value::id(script)), Some(version)),
        Some(ArtifactKind::Firmware(firmware)) => (Some(Value::id(firmware)), None),
    };
    let digest = artifact.map(|artifact| Value::id(artifact.digest));
    [id.into(), version.into(), digest.into(), artifact.map(|artifact| artifact.size_bytes).into()]
}

/// Reads the four columns of an artifact.
pub(crate) fn artifact_columns(columns: &mut Columns) -> Result<Option<Artifact>, StoreError> {
    let damaged = || StoreError::damaged("an artifact of a row");
    let id = columns.maybe_text()?;
    let version = columns.maybe_integer()?;
    let digest = columns.maybe_parsed()?;
    let size = columns.maybe_integer()?;
    match (id, digest, size) {
        (None, None, None) => Ok(None),
        (Some(id), Some(digest), Some(size_bytes)) => {
            let kind = match version {
                Some(version) => ArtifactKind::Script { script: id.parse().map_err(|_| damaged())?, version },
                None => ArtifactKind::Firmware(id.parse().map_err(|_| damaged())?),
            };
            Ok(Some(Artifact { kind, digest, size_bytes }))
        }
        _ => Err(damaged()),
    }
}

/// Removes the bytes if neither a version nor a firmware has them any more.
pub(crate) fn drop_unused(digest: Digest, transaction: &mut Transaction) {
    transaction.push(Statement::new(DROP_UNUSED, [Value::id(digest)]));
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
        let mut pieces = Vec::new();
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let of_piece = Value::id(digest_of(piece));
            pieces.extend([Value::id(digest), number.into(), of_piece, piece.to_vec().into()]);
        }
        let whole = Statement::new(INSERT, [Value::id(digest), bytes.len().into()]);
        drop(bytes);
        self.engine().write(vec![whole, Statement::many(INSERT_PIECE, 4, pieces)].into()).await?;
        Ok(digest)
    }

    /// Removes bytes of which neither a version nor a firmware tells, because a hub ended before that was written.
    /// Nobody may be between [`Self::put`] and that. Returns how many artifacts they were.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn sweep_artifacts(&self) -> Result<usize, StoreError> {
        let sweep = Statement::new(SWEEP, []);
        Ok(self.engine().write(vec![sweep].into()).await?.len())
    }

    /// The bytes with this digest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the bytes on disk have another digest now.
    pub async fn artifact(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(size) = self.artifact_size(digest).await? else { return Ok(None) };
        let bytes = self.artifact_part(digest, 0..size).await?;
        if digest_of(&bytes) != digest {
            return Err(damaged(digest));
        }
        Ok(Some(bytes))
    }

    /// How many bytes there are with this digest.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn artifact_size(&self, digest: Digest) -> Result<Option<usize>, StoreError> {
        let row = self.engine().read_one(SIZE, [Value::id(digest)]).await?;
        let size = row.map(|row| Columns::of("artifacts", row).integer()).transpose()?;
        size.map(|size| usize::try_from(size).map_err(|_| damaged(digest))).transpose()
    }

    /// A part of the bytes with this digest, which lies within them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a piece on disk is not what was written.
    pub async fn artifact_part(&self, digest: Digest, part: Range<usize>) -> Result<Vec<u8>, StoreError> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let first = part.start / PIECE_BYTES;
        let last = (part.end - 1) / PIECE_BYTES;
        let rows = self.engine().read(PIECES, [Value::id(digest), first.into(), last.into()]).await?;
        let mut bytes = Vec::with_capacity(rows.len() * PIECE_BYTES);
        for row in rows {
            let mut columns = Columns::of("pieces", row);
            let (of_piece, piece) = (columns.digest()?, columns.bytes()?);
            if digest_of(&piece) != of_piece {
                return Err(damaged(digest));
            }
            bytes.extend(piece);
        }
        let offset = first * PIECE_BYTES;
        bytes.truncate(part.end - offset);
        if bytes.len() != part.end - offset {
            return Err(damaged(digest));
        }
        bytes.drain(..part.start - offset);
        Ok(bytes)
    }
}

fn damaged(digest: Digest) -> StoreError {
    StoreError::damaged(format!("artifact {digest}"))
}
