//! An original base that is there: its units count as there, and it is told what they are to be given.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::pusher::{self, PusherApp};
use motehub_domain::shadow::{Deed, Delta, Part, Patch, Request, Update};
use motehub_gateway::hub::{Arrival, Connection, ConnectionId, Hub, Transport};
use motehub_protocol::line::{DESIRED, words_for};
use motehub_protocol::pusher::channel::REQUESTS;
use motehub_protocol::pusher::{Channel, frame};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::units::Unit;
use crate::app::App;

/// The name of the event.
const EVENT: &str = "update.request";
/// How many downlinks wait for a unit; further ones are dropped and said again later.
const DOWNLINKS_MAX: usize = 16;

/// What is said to a unit; `None` when there will be nothing more.
type Said = (ConnectionId, Option<Downlink>);

/// A base, from when it hears `private-requests` until it does not any more.
pub(super) async fn serve(app: App, of: PusherApp, address: SocketAddr, gone: CancellationToken) {
    let from = address.ip().to_canonical().to_string();
    state(&app, pusher::base_connected(&of, &from)).await;
    let mut base = Base { app, of, address, there: HashMap::new(), said: SelectAll::new() };
    let mut changes = base.app.pusher.units.changes();
    base.look().await;
    loop {
        tokio::select! {
            () = gone.cancelled() => break,
            Ok(()) = changes.changed() => base.look().await,
            Some((connection, said)) = base.said.next() => base.tell(connection, said).await,
        }
    }
    for connection in base.there.into_keys() {
        base.app.detach(connection).await;
    }
    state(&base.app, pusher::base_disconnected(&base.of, &from)).await;
}

/// States a fact about a base; that it cannot be written now is no reason to turn it away.
async fn state(app: &App, effects: motehub_domain::effects::Effects) {
    if let Err(error) = app.perform(effects).await {
        tracing::warn!(%error, "the coming or going of a base could not be recorded");
    }
}

struct Base {
    app: App,
    of: PusherApp,
    address: SocketAddr,
    there: HashMap<ConnectionId, Arc<Unit>>,
    said: SelectAll<BoxStream<'static, Said>>,
}

impl Base {
    /// Units came, went or changed.
    async fn look(&mut self) {
        let now: HashMap<DeviceId, Arc<Unit>> =
            self.app.pusher.units.told().into_iter().map(|unit| (unit.device, unit)).collect();
        let gone: Vec<ConnectionId> = self
            .there
            .iter()
            .filter(|(_, unit)| !now.get(&unit.device).is_some_and(|it| Arc::ptr_eq(it, unit)))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in gone {
            self.there.remove(&connection);
            self.app.detach(connection).await;
        }
        for unit in now.into_values() {
            if self.there.values().any(|known| known.device == unit.device) {
                continue;
            }
            let (id, device) = (self.app.pusher.units.next_connection(), unit.device);
            let (sender, queue) = mpsc::channel(DOWNLINKS_MAX);
            let connection = Connection {
                id,
                device,
                address: self.address,
                transport: Transport::Line,
                silence_max: None,
            };
            self.app.attach(connection, sender).await;
            let said = stream::unfold(queue, move |mut queue| async move {
                let downlink = queue.recv().await?;
                Some(((id, Some(downlink)), queue))
            });
            let end = stream::once(std::future::ready((id, None)));
            self.said.push(said.chain(end).boxed());
            self.there.insert(id, unit);
            self.app.listens(device).await;
        }
    }

    /// The hub says something to a unit.
    async fn tell(&mut self, connection: ConnectionId, said: Option<Downlink>) {
        let Some(downlink) = said else {
            self.there.remove(&connection);
            return;
        };
        let Some(unit) = self.there.get(&connection).cloned() else { return };
        let delta = match downlink {
            Downlink::Delta(delta) if delta.shadow.is_none() && unit.line.updates() => delta,
            // A unit has nothing that could take these.
            Downlink::Delta(_)
            | Downlink::Offer(_)
            | Downlink::Cancel(_)
            | Downlink::Passed(_)
            | Downlink::Credential(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Command(_)
            | Downlink::Shadow(_) => return,
        };
        let Some(value) = self.wanted(&unit, &delta).await else { return };
        let payload = match words_for(&unit.line, &value) {
            Ok(text) if text.contains(['\r', '\n']) => Err("a line has no line break".to_owned()),
            Ok(text) => Ok(text),
            Err(rejection) => Err(rejection.sentence),
        };
        match payload {
            Ok(payload) => {
                let data = json!({ "ip": unit.address.to_string(), "payload": payload }).to_string();
                let channel = Channel::own_named(REQUESTS);
                let said = frame::event(channel.as_str(), EVENT, &data, None);
                self.app.pusher.rooms.publish(self.of.id, &channel, &said, None);
                self.report(unit.device, value).await;
            }
            Err(why) => self.app.refused(unit.device, why).await,
        }
    }

    /// What is desired. Of an object only what differs is said, so all of it is looked up.
    async fn wanted(&mut self, unit: &Unit, delta: &Delta) -> Option<Value> {
        let value = delta.state.get(DESIRED)?;
        if !value.is_object() {
            return Some(value.clone());
        }
        let request = Request { shadow: None, deed: Deed::Get(None) };
        match self.app.shadow(unit.device, request).await {
            Ok(Ok(shadow)) => shadow.desired.values.get(DESIRED).cloned(),
            Ok(Err(_)) | Err(_) => Some(value.clone()),
        }
    }

    /// The base was told: the unit is as desired now, as far as anybody will know.
    async fn report(&mut self, device: DeviceId, value: Value) {
        let reported = Map::from_iter([(DESIRED.to_owned(), value)]);
        let update = Update {
            state: Patch::Parts { desired: Part::Untouched, reported: Part::Merged(reported) },
            tags: None,
            version: None,
            token: None,
            expires_in: None,
        };
        let uplink = Uplink::Shadow(Request { shadow: None, deed: Deed::Update(Box::new(update)) });
        for outcome in self.app.uplink(vec![Arrival { device, uplink, mark: None, again: false }]).await {
            if let Err(error) = outcome {
                tracing::warn!(%device, %error, "what a unit was told could not be reported");
            }
        }
    }
}
