//! Addresses at which devices fetch firmware by themselves. Nothing but the address proves there who they are, so it is
//! one that nobody can guess, of one firmware, for as long as one transfer.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{FirmwareSignal, Uplink};

use super::Door;
use crate::http::file;
use crate::hub::Arrival;

/// How many characters the last part of an address has.
const NAME_CHARS: usize = 2 * SECRET_BYTES + END.len();
/// How many bytes of chance are in it.
const SECRET_BYTES: usize = 16;
/// How an address ends, for devices that look at that.
const END: &str = ".zip";
/// What is said of a task while its device fetches.
const FETCHES: &str = "the device fetches it by itself";

/// What is behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// To which device it is lent.
    pub device: DeviceId,
    /// Which artifact.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: usize,
}

/// The addresses that are good at present; cheap to clone.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<HashMap<String, Lent>>>);

/// An address; when this is dropped, nothing is behind it any more.
pub(super) struct Link {
    links: Links,
    secret: String,
}

impl Links {
    /// A new address.
    pub(super) fn lend(&self, lent: Lent) -> Link {
        let mut bytes = [0_u8; SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("because the operating system always has random numbers");
        let secret = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        self.table().insert(secret.clone(), lent);
        Link { links: self.clone(), secret }
    }

    /// What is behind an address, by the last part of its path.
    pub fn find(&self, name: &str) -> Option<Lent> {
        self.table().get(name.strip_suffix(END)?).copied()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Lent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// The path of the address.
    pub(super) fn path(&self) -> String {
        format!("/api/v2/firmware/{}{END}", self.secret)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.links.table().remove(&self.secret);
    }
}

/// `GET /api/v2/firmware/<secret>.zip`, in whole or a range of it.
pub(super) async fn fetch(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    // Of several nodes of a hub the device may have come to another one than its connection.
    let lent = match door.links.find(&name) {
        Some(lent) => Some(lent),
        None if name.len() == NAME_CHARS => door.hub.lent(name).await,
        None => None,
    };
    let Some(Lent { device, digest, size }) = lent else {
        return (StatusCode::NOT_FOUND, "nothing is to be fetched here any more\n").into_response();
    };
    let uplink = Uplink::Firmware(FirmwareSignal::Transferring(Some(FETCHES.to_owned())));
    let told = door.hub.uplink(vec![Arrival { device, uplink, mark: None, again: false }]).await;
    if told.iter().any(Result::is_err) {
        return (StatusCode::SERVICE_UNAVAILABLE, "it cannot be noted at present: come back later\n")
            .into_response();
    }
    file::answer(door.hub.clone(), digest, size, &headers)
}
