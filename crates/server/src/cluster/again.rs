//! What is read from the store again when the bus is back: what was said meanwhile was not heard.

use std::collections::BTreeSet;
use std::time::Duration;

use motehub_domain::change::{Change, ChangeKind};
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::time::{Span, Time};
use motehub_gateway::link::Order;
use motehub_store::{ChangeQuery, Recorded, StoreError};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::begin;
use super::bus::BusState;
use super::words::Word;
use crate::app::App;
use crate::presence;

/// How long a bus may have been away before that is noticed.
const UNNOTICED_MAX: Span = Span::minutes(5);
/// How often it is read what is cheap to read, in case a word was lost.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How many of the newest changes are looked at.
const CHANGES_MAX: usize = 10_000;
/// How far the clocks of two nodes are apart, if all is well.
const APART: Span = Span::seconds(1);
/// How far they are apart at most: both are that far from the clock of the database.
const APART_MAX: Span = Span(2 * begin::APART_MAX.0);

/// Whether connections that a device had before end by a fact.
fn ends(change: &Change) -> bool {
    match change.kind {
        ChangeKind::CredentialIssued | ChangeKind::CredentialRevoked | ChangeKind::CertificateRevoked => true,
        ChangeKind::DeviceEdited => change.after.as_ref().is_some_and(|after| {
            let has = |key: &str| after.get(key).is_some();
            let is_closed = after.get("unauthenticated_allowed") == Some(&Value::Bool(false));
            is_closed || has("allowed_from") || has("silence_max_ms") || has("external_id")
        }),
        _ => false,
    }
}

/// Waits for the bus to come back, until shutdown.
pub(super) async fn run(app: &App, shutdown: &CancellationToken) {
    let mut state = app.cluster.bus().state();
    let mut away_since = None;
    loop {
        let is_here = match &*state.borrow_and_update() {
            BusState::Away { since, .. } => {
                away_since = Some(*since);
                false
            }
            BusState::Here => true,
        };
        if is_here && let Some(since) = away_since {
            let _ = app.cluster.bus().flushed().await;
            match app.caught_up(since - UNNOTICED_MAX).await {
                Ok(()) => away_since = None,
                Err(error) => {
                    tracing::warn!(%error, "what other nodes did while the bus was away could not be read");
                    app.clock.sleep_until(app.now() + Span::seconds(1)).await;
                    continue;
                }
            }
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => if let Err(error) = app.read_often().await {
                tracing::warn!(%error, "what other nodes wrote could not be read");
            },
            () = shutdown.cancelled() => return,
        }
    }
}

impl App {
    /// Facts that end connections were stated, at whatever node: this holds also while the bus is away.
    pub(crate) async fn heed(&self, changes: &[Recorded]) {
        if self.cluster.is_alone() {
            return;
        }
        // While the bus is here, it has said who is cut off: most who are here came again.
        let is_here = *self.cluster.bus().state().borrow() == BusState::Here;
        let apart = if is_here { APART } else { APART_MAX };
        let mut edited = Vec::new();
        for Recorded { change, at, .. } in changes {
            // Who connected since has shown what is good now.
            if let Some(device) = change.device.filter(|_| ends(change)) {
                if self.connections.is_since_before(device, *at + apart) {
                    self.connections.disconnect(device);
                    self.order_here(&Order::Disconnect(device));
                } else {
                    // It may be about to be let in by what was good before.
                    self.connections.count_ending();
                    if let Some(mqtt) = self.mqtt.get() {
                        mqtt.changed(Principal::Device(device));
                    }
                }
            }
            match change.kind {
                ChangeKind::DeviceEdited => edited.extend(change.device),
                kind if kind.noun() == "grant" => edited.extend(self.connections.all_here()),
                ChangeKind::TokenRevoked => {
                    if let Ok(token) = change.subject.parse() {
                        self.order_here(&Order::Forget(Principal::Token(token)));
                    }
                }
                ChangeKind::DeviceDeleted => {
                    if let Ok(device) = change.subject.parse() {
                        self.connections.disconnect(device);
                        self.order_here(&Order::Forget(Principal::Device(device)));
                        self.tell(&[Save::DeleteDevice(device)], self.now()).await;
                    }
                }
                ChangeKind::GatewayDeleted | ChangeKind::GatewayRevoked => {
                    if let Ok(gateway) = change.subject.parse() {
                        self.gateways.cut(gateway, "its key was revoked");
                    }
                }
                _ => {}
            }
        }
        // Else the bus says that, and once.
        if !is_here {
            edited.sort_unstable();
            edited.dedup();
            self.rights_changed_here(&edited).await;
        }
    }

    /// Everything that may have changed since a moment without being heard is read again.
    async fn caught_up(&self, since: Time) -> Result<(), StoreError> {
        self.live.wake();
        self.read_again().await?;
        self.say_to_all(&Word::Hello);
        self.say_watch();
        self.say_all_heard();
        let wanted = ChangeQuery { limit: CHANGES_MAX, ..ChangeQuery::default() };
        let mut changes = self.store.changes(wanted).await?;
        changes.retain(|recorded| recorded.at >= since);
        let of = |kind: ChangeKind| -> BTreeSet<DeviceId> {
            let some = changes.iter().filter(|recorded| recorded.change.kind == kind);
            some.filter_map(|recorded| recorded.change.device).collect()
        };
        let edited: Vec<DeviceId> = of(ChangeKind::DeviceEdited).into_iter().collect();
        let grants = changes.iter().any(|recorded| recorded.change.kind.noun() == "grant");
        let here = self.connections.all_here();
        self.rights_changed_here(if grants { &here } else { &edited }).await;
        presence::tell_all_anew(self, &here, &of(ChangeKind::ShadowUpdated)).await;
        Ok(())
    }

    /// Reads again the part of what is in memory that is one question each.
    async fn read_often(&self) -> Result<(), StoreError> {
        self.refresh_elsewhere().await?;
        self.pyaiot.refresh(&self.store).await?;
        self.pusher.refresh(&self.store).await?;
        self.knocks.are_stale();
        Ok(())
    }

    /// Reads again what is in memory.
    pub(super) async fn read_again(&self) -> Result<(), StoreError> {
        self.read_often().await?;
        self.know_boards().await?;
        self.know_units().await?;
        self.know_units_of_bases().await?;
        self.flows.members_changed(self.now());
        Ok(())
    }
}
