//! The worker that writes who is there, and tells those that came what waits for them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use motehub_domain::deployment::Target;
use motehub_domain::device::{self, Dialect, Presence, Reach, holder};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::rollout;
use motehub_domain::time::Span;
use motehub_store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BATCH_MAX, Dirty, From};
use crate::app::App;
use crate::perform::Failure;

/// How often "last seen" of devices that go on talking is written.
const SEEN_EVERY: Span = Span::seconds(30);
/// How long after a device went from a node of several that is written, if it is not at another one by then.
const LEAVE_AFTER: Duration = Duration::from_secs(2);

/// Devices that went, and when that is written.
type Leaving = HashMap<DeviceId, Instant>;

/// The worker that writes presence, until shutdown and then once more.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut write_seen_at = app.now() + SEEN_EVERY;
    let mut leaving = HashMap::new();
    loop {
        let is_over = tokio::select! {
            () = app.connections.changed.notified() => false,
            () = app.clock.sleep_until(write_seen_at) => false,
            () = shutdown.cancelled() => true,
        };
        write_changed(&app, &mut leaving, is_over).await;
        if is_over || app.now() >= write_seen_at {
            write_seen(&app).await;
            for (device, addresses) in app.connections.at_several_addresses(app.now()) {
                app.used_by_several(device, &addresses).await;
            }
            write_seen_at = app.now() + SEEN_EVERY;
        }
        if is_over {
            return;
        }
    }
}

async fn write_changed(app: &App, leaving: &mut Leaving, is_over: bool) {
    let mut batch = app.connections.take_dirty();
    if !app.cluster.is_alone() && !is_over {
        hold_back(app, &mut batch, leaving);
    }
    if app.cluster.is_draining() && !app.cluster.others().is_empty() {
        // They come back at another node, which counts those as gone that do not.
        batch.retain(|dirty| dirty.reach == Reach::Online);
    }
    if batch.is_empty() {
        return;
    }
    let devices: Vec<DeviceId> = batch.iter().map(|dirty| dirty.device).collect();
    match write(app, batch).await {
        Ok(()) => came_back(app, &devices).await,
        // Another node was quicker with one of them: what it wrote is looked at.
        Err(Failure::Store(StoreError::Conflict { .. })) => app.connections.look_again(devices.into_iter()),
        Err(error) => retry_later(app, devices.into_iter(), &error).await,
    }
}

/// That a device went is written a moment later: when it moves, its old connection may end before the new one begins.
fn hold_back(app: &App, batch: &mut Vec<Dirty>, leaving: &mut Leaving) {
    let now = Instant::now();
    let mut held_back = Vec::new();
    batch.retain(|dirty| {
        if dirty.reach != Reach::Offline || !matches!(dirty.from, From::Here) {
            leaving.remove(&dirty.device);
            return true;
        }
        let until = *leaving.entry(dirty.device).or_insert_with(|| {
            held_back.push(dirty.device);
            now + LEAVE_AFTER
        });
        let is_gone = until <= now;
        if is_gone {
            leaving.remove(&dirty.device);
        }
        is_gone
    });
    if !held_back.is_empty() {
        let app = app.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(now + LEAVE_AFTER).await;
            app.connections.look_again(held_back.into_iter());
        });
    }
}

async fn write(app: &App, batch: Vec<Dirty>) -> Result<(), Failure> {
    let effects = effects(app, batch).await?;
    app.perform(effects).await
}

/// What is to be written of devices that came or went here. Another node that has a device now knows better.
pub(super) async fn effects(app: &App, batch: Vec<Dirty>) -> Result<Effects, Failure> {
    let ids: Vec<DeviceId> = batch.iter().map(|dirty| dirty.device).collect();
    let mut known: HashMap<DeviceId, _> = app
        .store
        .presences(&ids)
        .await?
        .into_iter()
        .map(|(device, was)| (device.id, (device, was)))
        .collect();
    let holders = match app.cluster.is_alone() {
        true => HashMap::new(),
        false => app.store.holders(&ids).await?,
    };
    let mut effects = Effects::none();
    for Dirty { device: id, address, mut reach, gateway, from } in batch {
        let Some((device, was)) = known.remove(&id) else { continue };
        let behind = was.as_ref().and_then(|was| was.gateway);
        if !app.cluster.is_alone() {
            let holder = holders.get(&id);
            let own = app.cluster.node();
            let node = match &from {
                From::Here => own,
                From::Node(gone) => gone,
                From::Gateway(gateway) if behind == Some(*gateway) => {
                    holder.and_then(|holder| holder.node.as_deref()).unwrap_or(own)
                }
                From::Gateway(_) => own,
            };
            let moved = match reach {
                Reach::Online => Some(holder::held(id, holder, node)),
                Reach::Offline | Reach::Unreachable => holder::given_up(id, holder, node),
            };
            let Some(moved) = moved else { continue };
            effects = effects.and(moved);
        }
        if matches!(from, From::Node(_)) && behind.is_some() {
            // Nobody knows how it is until its gateway is linked again.
            reach = Reach::Unreachable;
        }
        let known = was.as_ref().map(|was| was.address.clone());
        let address =
            address.map(|address| address.ip().to_canonical().to_string()).or(known).unwrap_or_default();
        let gateway = gateway.unwrap_or(behind);
        // Nothing was heard of one that cannot be reached.
        let heard_at = was.as_ref().filter(|_| reach == Reach::Unreachable).map(|was| was.seen_at);
        let is = Presence { device: id, reach, gateway, seen_at: heard_at.unwrap_or(app.now()), address };
        effects = effects.and(device::presence(&device, was.as_ref(), is));
    }
    Ok(effects)
}

/// Of devices that were away when something was decided for them, those that came before it was stored found
/// nothing waiting; they are told now, by the node that has them.
pub(crate) async fn tell_who_came(app: &App, away: &[DeviceId]) {
    app.look_anew_elsewhere(away).await;
    tell_anew(app, away).await;
}

/// Devices that are here are told once more what waits for them.
pub(crate) async fn tell_anew(app: &App, devices: &[DeviceId]) {
    let here: Vec<DeviceId> =
        devices.iter().copied().filter(|device| app.connections.is_here(*device)).collect();
    if here.is_empty() {
        return;
    }
    came_back(app, &here).await;
    for device in here {
        app.tell_waiting(device).await;
    }
}

/// The same for all devices that are here, a batch at a time, and for those whose shadows were written meanwhile.
pub(crate) async fn tell_all_anew(app: &App, here: &[DeviceId], shadows: &BTreeSet<DeviceId>) {
    for some in here.chunks(BATCH_MAX) {
        came_back(app, some).await;
        if let Err(error) = app.say_commands(some).await {
            tracing::warn!(%error, "devices could not be told their commands");
        }
        let targets = app.store.targets(some).await.unwrap_or_default();
        for target in targets.iter().filter(|target| target.open.is_some()) {
            app.tell_waiting(target.device.id).await;
        }
        app.tell_rotations(some).await;
        for device in some.iter().filter(|device| shadows.contains(device)) {
            app.tell_shadows(*device).await;
        }
    }
}

/// Devices for which something waits are told when they come.
async fn came_back(app: &App, devices: &[DeviceId]) {
    let here: Vec<DeviceId> =
        devices.iter().copied().filter(|device| app.connections.is_here(*device)).collect();
    let targets = match app.store.targets(&here).await {
        Ok(targets) => targets,
        Err(error) => return tracing::warn!(%error, "what waits for devices could not be looked up"),
    };
    // Native devices are told when they begin to listen.
    let asks = |target: &Target| target.open.is_some() && target.device.dialect == Dialect::Nodemcu;
    for target in targets.into_iter().filter(asks) {
        let device = target.device.id;
        let connected = app.attempt(|| async {
            let target = app.store.target(device).await?;
            Ok(((), target.map_or_else(Effects::none, |target| rollout::connected(target, app.now()))))
        });
        if let Err(error) = connected.await {
            tracing::warn!(%device, %error, "a device that came back could not be offered what waits for it");
        }
    }
}

async fn retry_later(app: &App, devices: impl Iterator<Item = DeviceId>, error: &Failure) {
    tracing::warn!(%error, "presence could not be written; trying again");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    app.connections.look_again(devices);
}

async fn write_seen(app: &App) {
    let heard = std::mem::take(&mut app.connections.table().heard);
    let now = app.now();
    let save = heard.into_iter().map(|device| Save::Seen(device, now)).collect();
    if let Err(error) = app.perform(Effects { save, ..Effects::none() }).await {
        tracing::warn!(%error, "the time devices were last seen could not be written");
    }
}
