//! Devices that ask over HTTP for what waits for them. From its first request on a device counts as connected, and
//! its downlinks wait in a queue of its own; after a while without a request that ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use motehub_domain::time::Span;
use motehub_protocol::Identity;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::{Door, Problem};
use crate::hub::{Connection, ConnectionId, Shown, Transport};

/// How many downlinks wait for one device; further ones are dropped and said again later.
const QUEUE_MAX: usize = 64;
/// How long a device counts as connected after its last request ended.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Most devices that ask over HTTP at once.
const DEVICES_MAX: usize = 20_000;

/// The devices that ask over HTTP.
#[derive(Default)]
pub(super) struct Polls(Mutex<HashMap<DeviceId, Arc<Poll>>>);

struct Poll {
    connection: ConnectionId,
    queue: tokio::sync::Mutex<mpsc::Receiver<Downlink>>,
    asked: Notify,
}

impl Polls {
    fn table(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Poll>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, device: DeviceId, poll: &Arc<Poll>) {
        let mut table = self.table();
        if table.get(&device).is_some_and(|known| Arc::ptr_eq(known, poll)) {
            table.remove(&device);
        }
    }
}

/// What waits for the device; waits for it if there is nothing.
pub(super) async fn wait(
    door: &Arc<Door>,
    address: SocketAddr,
    (identity, shown): (&Identity, Shown),
    patience: Duration,
) -> Result<Vec<Downlink>, Problem> {
    let device = identity.device;
    let poll = poll(door, address, device, shown).await?;
    let Ok(mut queue) = poll.queue.try_lock() else {
        let detail = "another request of this device waits already";
        return Err(Problem(StatusCode::CONFLICT, "conflict", detail.to_owned()));
    };
    poll.asked.notify_one();
    let mut waiting = Vec::new();
    drain(&mut queue, &mut waiting);
    if waiting.is_empty() && !patience.is_zero() {
        let received = tokio::select! {
            received = timeout(patience, queue.recv()) => received,
            () = door.shutdown.cancelled() => Ok(None),
        };
        match received {
            Ok(Some(downlink)) => waiting.push(downlink),
            // The hub ended the connection: the credential is no longer good, or the device is deleted.
            Ok(None) => door.polls.forget(device, &poll),
            Err(_) => {}
        }
        drain(&mut queue, &mut waiting);
    }
    poll.asked.notify_one();
    Ok(waiting)
}

fn drain(queue: &mut mpsc::Receiver<Downlink>, waiting: &mut Vec<Downlink>) {
    while let Ok(downlink) = queue.try_recv() {
        if !waiting.contains(&downlink) {
            waiting.push(downlink);
        }
    }
}

/// The device's queue. A new one is filled with what waits before this returns.
async fn poll(
    door: &Arc<Door>,
    address: SocketAddr,
    device: DeviceId,
    shown: Shown,
) -> Result<Arc<Poll>, Problem> {
    let (poll, sender) = {
        let mut table = door.polls.table();
        let known = table.get(&device).filter(|poll| match poll.queue.try_lock() {
            Ok(queue) => !queue.is_closed(),
            Err(_) => true,
        });
        if let Some(known) = known {
            return Ok(known.clone());
        }
        if table.len() >= DEVICES_MAX {
            return Err(Problem::unavailable("too many devices ask over HTTP"));
        }
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (connection, queue) = (door.next_connection(), tokio::sync::Mutex::new(queue));
        let poll = Arc::new(Poll { connection, queue, asked: Notify::new() });
        table.insert(device, poll.clone());
        (poll, sender)
    };
    let (id, transport) = (poll.connection, Transport::Http);
    let silence_max = Some(Span::seconds(IDLE_MAX.as_secs().cast_signed()));
    let connection = Connection { id, device, address, transport, silence_max };
    shown.attach(&*door.hub, connection, sender).await;
    door.hub.listens(device).await;
    tokio::spawn(watch(door.clone(), device, poll.clone()));
    Ok(poll)
}

/// Ends the connection when the device has not asked for a while. The task lives no longer than the hub.
async fn watch(door: Arc<Door>, device: DeviceId, poll: Arc<Poll>) {
    loop {
        tokio::select! {
            () = poll.asked.notified() => {}
            () = tokio::time::sleep(IDLE_MAX) => {
                // A request that still waits keeps the queue.
                if poll.queue.try_lock().is_ok() {
                    break;
                }
            }
            () = door.shutdown.cancelled() => break,
        }
    }
    door.polls.forget(device, &poll);
    door.hub.detach(poll.connection).await;
}
