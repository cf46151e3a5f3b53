//! Artifacts for devices that fetch them in blocks. A block is small and the way to the hub may be long, so a piece of
//! many blocks is fetched at once and kept for the next requests.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_protocol::coap::{Block, Body, Code, Response, format};

use super::core::unavailable;
use super::native::no_artifact;
use crate::hub::{Hub, UplinkError};

/// Bytes that are fetched at once.
const PIECE_BYTES: usize = 32 * 1024;
/// Pieces that are kept; the oldest makes room.
const PIECES_MAX: usize = 512;
/// Bytes of the digest that tell artifacts apart in an answer.
const ETAG_BYTES: usize = 8;

type Key = (DeviceId, Digest);

#[derive(Clone)]
struct Piece {
    size: usize,
    start: usize,
    bytes: Bytes,
}

/// The pieces that devices fetch from now.
#[derive(Default)]
pub(super) struct Pieces(Mutex<(HashMap<Key, Piece>, VecDeque<Key>)>);

impl Pieces {
    fn get(&self, key: &Key, offset: usize) -> Option<Piece> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0
            .get(key)
            .filter(|piece| piece.start <= offset && offset < piece.start + piece.bytes.len())
            .cloned()
    }

    fn put(&self, key: Key, piece: Piece) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (pieces, order) = &mut *kept;
        if pieces.insert(key, piece).is_none() {
            order.push_back(key);
        }
        if pieces.len() > PIECES_MAX
            && let Some(oldest) = order.pop_front()
        {
            pieces.remove(&oldest);
        }
    }
}

/// A block of an artifact, for a device that may have it.
pub(super) async fn part(
    hub: Arc<dyn Hub>,
    pieces: Arc<Pieces>,
    device: DeviceId,
    digest: Digest,
    block: Block,
) -> Response {
    let offset = block.offset();
    let piece = match pieces.get(&(device, digest), offset) {
        Some(piece) => Ok(Some(piece)),
        None => fetch(&*hub, &pieces, device, digest, offset).await,
    };
    match piece {
        Ok(Some(piece)) if offset < piece.size || offset == 0 => {
            let from = offset.saturating_sub(piece.start).min(piece.bytes.len());
            let to = (from + block.size()).min(piece.bytes.len());
            let bytes = piece.bytes[from..to].to_vec();
            let body = Body::Part { offset, bytes, size: piece.size };
            let etag = Some(digest.0[..ETAG_BYTES].to_vec());
            Response { etag, format: Some(format::BYTES), body, ..Response::new(Code::CONTENT) }
        }
        Ok(Some(_)) => Response::text(Code::BAD_REQUEST, "the artifact has no such block"),
        Ok(None) => no_artifact(),
        Err(_) => unavailable(),
    }
}

async fn fetch(
    hub: &dyn Hub,
    pieces: &Pieces,
    device: DeviceId,
    digest: Digest,
    offset: usize,
) -> Result<Option<Piece>, UplinkError> {
    let Some(size) = hub.artifact_size(device, digest).await? else { return Ok(None) };
    let start = offset - offset % PIECE_BYTES;
    if start >= size {
        return Ok(Some(Piece { size, start, bytes: Bytes::new() }));
    }
    let bytes = hub.artifact_part(digest, start..(start + PIECE_BYTES).min(size)).await?;
    let piece = Piece { size, start, bytes };
    pieces.put((device, digest), piece.clone());
    Ok(Some(piece))
}
