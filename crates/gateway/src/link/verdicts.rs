//! Who was let in before: while the link is cut, devices come in with what the hub let them in with when it was there.
//!
//! What they showed is not kept, only its keyed hash. A verdict holds for a week; it ends when the hub says otherwise
//! while the link stands. When the link is back, all who are here are asked for again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use motehub_domain::kept::Principal;
use motehub_domain::time::{Span, Time};
use motehub_protocol::link::{decode, encode};

use super::proof::PrivateKey;
use super::{Notes, Order};
use crate::hub::{Client, Credentials, Knock, Refusal};

/// How long a verdict holds while the hub cannot be asked.
const HOLDS: Span = Span::minutes(7 * 24 * 60);
/// A verdict is written again after this long.
const WRITTEN_EVERY: Span = Span::minutes(60);
/// How many of those who are here are remembered with what they showed; while the link is cut, no more are let in.
const KNOCKS_MAX: usize = 20_000;

/// Verdicts of the hub.
#[derive(Default)]
pub(super) struct Verdicts {
    /// What those who are here showed.
    knocks: Mutex<HashMap<Principal, Knock>>,
    /// When each verdict was last written.
    written: Mutex<HashMap<String, Time>>,
    /// Keys for DTLS, by identity. In memory only: they are secrets.
    keys: Mutex<HashMap<String, Vec<String>>>,
    /// How often the hub ended somebody.
    endings: AtomicU64,
}

impl Verdicts {
    /// The hub has decided.
    pub(super) async fn heard(
        &self,
        notes: &dyn Notes,
        key: &PrivateKey,
        knock: &Knock,
        verdict: &Result<Client, Refusal>,
        now: Time,
    ) {
        let name = name(key, knock);
        let was_written = self.written().get(&name).is_some_and(|at| now - *at < WRITTEN_EVERY);
        let body = match verdict {
            Ok(client) => {
                let mut knocks = self.knocks();
                if knocks.len() < KNOCKS_MAX {
                    knocks.insert(principal(client), knock.clone());
                }
                (!was_written).then(|| Some(encode(&(now, client.clone())).to_vec()))
            }
            Err(Refusal::Unavailable) => None,
            // Nothing is written for strangers who try.
            Err(Refusal::BadCredentials | Refusal::NotAllowed) => {
                self.written().remove(&name);
                matches!(notes.note(&name).await, Ok(Some(_))).then_some(None)
            }
        };
        let Some(body) = body else { return };
        let is_kept = body.is_some();
        match notes.set_note(&name, body).await {
            Ok(()) if is_kept => {
                let mut written = self.written();
                if written.len() >= KNOCKS_MAX {
                    written.clear();
                }
                written.insert(name, now);
            }
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "a verdict of the hub cannot be kept"),
        }
    }

    /// What the hub decided when it was there; the link is cut now.
    pub(super) async fn remembered(
        &self,
        notes: &dyn Notes,
        key: &PrivateKey,
        knock: &Knock,
        now: Time,
    ) -> Result<Client, Refusal> {
        let kept = notes.note(&name(key, knock)).await.map_err(|_| Refusal::Unavailable)?;
        let verdict = kept.and_then(|bytes| decode::<(Time, Client)>(&bytes).ok());
        let Some((at, client)) = verdict.filter(|(at, _)| now - *at < HOLDS) else {
            return Err(Refusal::Unavailable);
        };
        let ended = notes.note(&end_name(&principal(&client))).await.map_err(|_| Refusal::Unavailable)?;
        let ended = ended.and_then(|bytes| decode::<Time>(&bytes).ok());
        let is_over = client.until.is_some_and(|until| until <= now);
        if is_over || ended.is_some_and(|ended| at <= ended) {
            return Err(Refusal::Unavailable);
        }
        let mut knocks = self.knocks();
        if knocks.len() >= KNOCKS_MAX {
            return Err(Refusal::Unavailable);
        }
        knocks.insert(principal(&client), knock.clone());
        Ok(client)
    }

    /// The hub gave the keys of somebody.
    pub(super) fn keys_heard(&self, identity: String, keys: Vec<String>) -> Vec<String> {
        let mut known = self.keys();
        if keys.is_empty() {
            known.remove(&identity);
        } else if known.len() < KNOCKS_MAX || known.contains_key(&identity) {
            known.insert(identity, keys.clone());
        }
        keys
    }

    /// The keys that the hub gave when it was there; the link is cut now.
    pub(super) fn keys_remembered(&self, identity: &str) -> Option<Vec<String>> {
        self.keys().get(identity).cloned()
    }

    /// The hub ends somebody: verdicts from before are over.
    pub(super) async fn obey(&self, notes: &dyn Notes, order: &Order, now: Time) {
        let who = match order {
            Order::Disconnect(device) => Principal::Device(*device),
            Order::Forget(principal) => *principal,
            Order::Rights(..) | Order::Publish { .. } | Order::Units(_) => return,
        };
        self.endings.fetch_add(1, Ordering::SeqCst);
        self.knocks().remove(&who);
        self.written().clear();
        self.keys().clear();
        if let Err(error) = notes.set_note(&end_name(&who), Some(encode(&now).to_vec())).await {
            tracing::warn!(%error, "that somebody is not let in any more cannot be kept");
        }
    }

    /// How often the hub ended somebody.
    pub(super) fn endings(&self) -> u64 {
        self.endings.load(Ordering::SeqCst)
    }

    /// Those who are here, with what they showed; devices only if `is_here`.
    pub(super) fn all(&self, is_here: impl Fn(&Principal) -> bool) -> Vec<(Principal, Knock)> {
        let mut knocks = self.knocks();
        knocks.retain(|who, _| is_here(who));
        knocks.iter().map(|(who, knock)| (*who, knock.clone())).collect()
    }

    fn knocks(&self) -> MutexGuard<'_, HashMap<Principal, Knock>> {
        self.knocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, HashMap<String, Time>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn principal(client: &Client) -> Principal {
    match (&client.device, client.token) {
        (Some(identity), _) => Principal::Device(identity.device),
        (None, Some(token)) => Principal::Token(token),
        (None, None) => Principal::Anonymous,
    }
}

/// Under which name a verdict is kept: nobody who reads it learns what was shown.
fn name(key: &PrivateKey, knock: &Knock) -> String {
    let shown = match &knock.credentials {
        // Those are known by where they speak from, too.
        Credentials::Riot { .. } | Credentials::Unproven { .. } => {
            (knock.address.ip().to_string(), knock.credentials.clone())
        }
        credentials => (String::new(), credentials.clone()),
    };
    format!("verdict/{}", key.mark(&encode(&shown)))
}

fn end_name(who: &Principal) -> String {
    match who {
        Principal::Device(device) => format!("end/device/{device}"),
        Principal::Token(token) => format!("end/token/{token}"),
        Principal::Anonymous => "end/anonymous".to_owned(),
    }
}
