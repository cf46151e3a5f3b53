//! Bodies that come in blocks (Block1), until they are whole.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::super::block::Block;
use super::super::limits::Limits;
use super::super::message::{Code, Method, Request, Wrong};

/// Which body: of one peer, for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    peer: SocketAddr,
    method: Method,
    path: Vec<String>,
    query: Vec<String>,
}

struct Upload {
    body: Vec<u8>,
    touched_ms: u64,
}

/// All of them.
#[derive(Default)]
pub(super) struct Uploads(HashMap<Key, Upload>);

/// What a block came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// More is to come.
    Continue,
    /// This is all of it.
    Whole(Vec<u8>),
}

impl Uploads {
    /// Takes a block.
    pub(super) fn take(
        &mut self,
        peer: SocketAddr,
        request: &Request,
        block: Block,
        size: Option<u32>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Taken, Wrong> {
        let Request { method, path, query, payload, .. } = request;
        let key = Key { peer, method: *method, path: path.clone(), query: query.clone() };
        let is_too_large = |bytes: usize| bytes > limits.body_bytes_max;
        if size.is_some_and(|size| is_too_large(size as usize))
            || is_too_large(block.offset() + payload.len())
        {
            self.0.remove(&key);
            return Err(Wrong(Code::TOO_LARGE, "the body is larger than what is taken here"));
        }
        if block.more && payload.len() != block.size() || payload.len() > block.size() {
            return Err(Wrong(Code::BAD_REQUEST, "a block that is not the last is full"));
        }
        if block.number == 0 {
            if !block.more {
                self.0.remove(&key);
                return Ok(Taken::Whole(payload.clone()));
            }
            self.make_room(&key, limits, now_ms)?;
            self.0.insert(key, Upload { body: payload.clone(), touched_ms: now_ms });
            return Ok(Taken::Continue);
        }
        let upload = self.0.get_mut(&key).filter(|upload| upload.body.len() == block.offset());
        let Some(upload) = upload else {
            return Err(Wrong(Code::INCOMPLETE, "the blocks before this one are missing: begin again"));
        };
        upload.body.extend_from_slice(payload);
        upload.touched_ms = now_ms;
        if block.more {
            return Ok(Taken::Continue);
        }
        Ok(Taken::Whole(self.0.remove(&key).map(|upload| upload.body).unwrap_or_default()))
    }

    fn make_room(&mut self, key: &Key, limits: &Limits, now_ms: u64) -> Result<(), Wrong> {
        if self.0.contains_key(key) {
            return Ok(());
        }
        let of_peer = self.0.iter().filter(|(other, _)| other.peer == key.peer);
        let (count, oldest) =
            of_peer.fold((0, None), |(count, oldest): (usize, Option<(u64, Key)>), (key, upload)| {
                let is_older = oldest.as_ref().is_none_or(|(touched, _)| upload.touched_ms < *touched);
                (count + 1, if is_older { Some((upload.touched_ms, key.clone())) } else { oldest })
            });
        if count >= limits.uploads_per_peer_max
            && let Some((_, oldest)) = oldest
        {
            self.0.remove(&oldest);
        }
        if self.0.len() >= limits.uploads_max {
            self.sweep(now_ms.saturating_sub(limits.upload_idle_ms));
        }
        match self.0.len() < limits.uploads_max {
            true => Ok(()),
            false => Err(Wrong(Code::UNAVAILABLE, "too many bodies come at once: try again later")),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets those of which no block came since.
    pub(super) fn sweep(&mut self, since_ms: u64) {
        self.0.retain(|_, upload| upload.touched_ms > since_ms);
    }
}
