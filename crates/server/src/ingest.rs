//! What devices say becomes stored state: one match from uplink to verb.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use motehub_domain::device;
use motehub_domain::effects::Effects;
use motehub_domain::gateway::Taken;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Uplink;
use motehub_domain::rejection::Rejection;
use motehub_domain::rollout;
use motehub_domain::telemetry;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::{Arrival, UplinkError};
use motehub_gateway::link::Stamped;
use motehub_store::{Measured, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::live::News;
use crate::perform::Failure;
use crate::shadows::Places;

/// How many arrivals that need no acknowledgement may wait; further ones are dropped and counted.
const OFFERED_MAX: usize = 10_000;
/// How many of them are stored at once.
const OFFERED_BATCH_MAX: usize = 1_000;
/// How long an append is tried again before the device is told that it cannot be stored.
const APPEND_TRIES: u32 = 10;
/// The pause between two tries.
const APPEND_PAUSE: Duration = Duration::from_millis(300);
/// At most one refusal per device and span is stated as a fact; all are counted.
const REFUSALS_EVERY: Span = Span::minutes(1);
/// That the clock of a device is wrong is stated at most this often.
const CLOCKS_EVERY: Span = Span::minutes(60);
/// For how many devices the last refusal is remembered.
const REFUSALS_KEPT: usize = 10_000;

/// The queue of arrivals that need no acknowledgement.
pub(crate) struct Intake {
    queue: mpsc::Sender<Arrival>,
    refused: Mutex<HashMap<DeviceId, Time>>,
    clocks: Mutex<HashMap<DeviceId, Time>>,
}

impl Intake {
    /// A queue, and its end for [`run`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Arrival>) {
        let (queue, end) = mpsc::channel(OFFERED_MAX);
        (Self { queue, refused: Mutex::default(), clocks: Mutex::default() }, end)
    }

    /// Queues arrivals, or drops and counts them.
    pub(crate) fn offer(&self, batch: Vec<Arrival>) {
        for arrival in batch {
            if self.queue.try_send(arrival).is_err() {
                metrics::counter!("motehub_uplinks_dropped_total", "reason" => "queue_full").increment(1);
            }
        }
    }

    fn may_state_refusal(&self, device: DeviceId, now: Time) -> bool {
        may_state(&self.refused, device, now, REFUSALS_EVERY)
    }

    /// Whether it is time to say again that the clock of a device is wrong.
    pub(crate) fn may_state_clock(&self, device: DeviceId, now: Time) -> bool {
        may_state(&self.clocks, device, now, CLOCKS_EVERY)
    }
}

fn may_state(stated: &Mutex<HashMap<DeviceId, Time>>, device: DeviceId, now: Time, every: Span) -> bool {
    let mut stated = stated.lock().unwrap_or_else(PoisonError::into_inner);
    if stated.get(&device).is_some_and(|at| now - *at < every) {
        return false;
    }
    if stated.len() >= REFUSALS_KEPT {
        stated.clear();
    }
    stated.insert(device, now);
    true
}

/// How many points were taken during the last minute, in six slices of ten seconds.
#[derive(Default)]
pub(crate) struct Rate(Mutex<[(i64, usize); 6]>);

impl Rate {
    /// So many more.
    fn count(&self, points: usize, now: Time) {
        let slice = now.0.div_euclid(10_000);
        let mut slices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut slices[usize::try_from(slice.rem_euclid(6)).unwrap_or(0)];
        if place.0 != slice {
            *place = (slice, 0);
        }
        place.1 += points;
    }

    /// So many in all.
    pub(crate) fn per_minute(&self, now: Time) -> usize {
        let slice = now.0.div_euclid(10_000);
        let slices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slices.iter().filter(|(of, _)| slice - of < 6).map(|(_, points)| points).sum()
    }
}

/// The worker that stores what was offered, until shutdown and then the rest.
pub(crate) async fn run(app: App, mut queue: mpsc::Receiver<Arrival>, shutdown: CancellationToken) {
    let mut batch = Vec::with_capacity(OFFERED_BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            _ = queue.recv_many(&mut batch, OFFERED_BATCH_MAX) => {}
            () = shutdown.cancelled() => return,
        }
        let batch = std::mem::take(&mut batch);
        let places = app.line_up(&batch);
        let outcomes = app.take(batch, places).await;
        let lost = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        metrics::counter!("motehub_uplinks_dropped_total", "reason" => "not_stored").increment(lost as u64);
    }
}

/// What a device is answered.
pub(crate) fn outcome(done: Result<(), Failure>) -> Result<(), UplinkError> {
    done.map_err(|failure| match failure {
        Failure::Rejected(rejection) => UplinkError::Refused(rejection.sentence),
        Failure::Store(error) => UplinkError::Unavailable(error.to_string()),
    })
}

impl App {
    /// Takes places for those of a batch that want something of a shadow.
    pub(crate) fn line_up(&self, batch: &[Arrival]) -> Places {
        let of_shadows = batch.iter().filter(|arrival| matches!(arrival.uplink, Uplink::Shadow(_)));
        self.shadows.line_up_all(of_shadows.map(|arrival| arrival.device))
    }

    /// Takes a batch of arrivals that come now; resolves when every `Ok` is durable. `turns`: the places in the rows of
    /// the devices that want something of their shadow.
    pub(crate) async fn take(&self, batch: Vec<Arrival>, turns: Places) -> Vec<Result<(), UplinkError>> {
        let at = self.now();
        self.take_in_turn(batch.into_iter().map(|arrival| Stamped { arrival, at }).collect(), turns, None)
            .await
    }

    /// The same for what a gateway elsewhere heard, when it heard it. Places are taken when this is called.
    pub(crate) fn take_stamped(
        &self,
        batch: Vec<Stamped>,
    ) -> impl Future<Output = Vec<Result<(), UplinkError>>> + Send {
        let of_shadows = batch.iter().filter(|said| matches!(said.arrival.uplink, Uplink::Shadow(_)));
        let turns = self.shadows.line_up_all(of_shadows.map(|said| said.arrival.device));
        self.take_in_turn(batch, turns, None)
    }

    /// The same for measurements that waited for the link of a gateway: that they were taken is written with them.
    pub(crate) async fn take_measured(
        &self,
        batch: Vec<Stamped>,
        taken: &Taken,
    ) -> Vec<Result<(), UplinkError>> {
        self.take_in_turn(batch, Places::default(), Some(taken)).await
    }

    async fn take_in_turn(
        &self,
        batch: Vec<Stamped>,
        mut turns: Places,
        taken: Option<&Taken>,
    ) -> Vec<Result<(), UplinkError>> {
        let now = self.now();
        self.connections.heard(batch.iter().map(|said| said.arrival.device));
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut measured = Vec::new();
        let mut places = Vec::new();
        let mut logged = Vec::new();
        let mut lines_at = Vec::new();
        for Stamped { arrival, at } in batch {
            let Arrival { device, uplink, mark, again } = arrival;
            // The clock of a gateway may be as wrong as that of a device.
            let arrived = if telemetry::is_plausible(at, now) { at } else { now };
            let outcome = match uplink {
                Uplink::Telemetry(mut points) => match telemetry::mend(&mut points, arrived) {
                    Ok(mended) => {
                        if let Some(why) = mended {
                            self.clock_is_wrong(device, &why).await;
                        }
                        self.board_measured(device, &points);
                        places.push(outcomes.len());
                        measured.push(Measured { device, arrived, mark, again, points });
                        Ok(())
                    }
                    Err(rejection) => Err(self.refused(device, rejection).await),
                },
                Uplink::Unit { metric, unit } => self.unit_said(device, &metric, &unit).await,
                Uplink::Alive => Ok(()),
                Uplink::Polled => self.progress(device, |target| rollout::polled(target, self.now()).1).await,
                Uplink::Fetched { digest } => {
                    self.progress(device, |target| rollout::fetched(target, digest, self.now())).await
                }
                Uplink::Reply { command, outcome } => self.answered(device, command, &outcome).await,
                Uplink::Shadow(request) => {
                    if let Some(turn) = turns.get_mut(&device) {
                        turn.comes().await;
                    }
                    self.shadow_said(device, request).await
                }
                Uplink::Announced(said) => self.announced(device, &said).await,
                Uplink::Event(event) => {
                    self.flows.happened(device, &event, now);
                    self.happened(device, &event, arrived).await
                }
                Uplink::Task(said) => self.task_reported(device, &said).await,
                Uplink::Firmware(signal) => self.firmware_signalled(device, &signal).await,
                Uplink::Passed(passed) => {
                    self.flow_said(device, *passed, at);
                    Ok(())
                }
                Uplink::Log(lines) => {
                    lines_at.push(outcomes.len());
                    logged.push((device, lines));
                    Ok(())
                }
            };
            outcomes.push(outcome);
        }
        if !logged.is_empty()
            && let Err(error) = self.log(logged).await
        {
            lines_at.into_iter().for_each(|at| outcomes[at] = Err(error.clone()));
        }
        if (!measured.is_empty() || taken.is_some())
            && let Err(error) = self.append(measured, taken).await
        {
            for place in places {
                outcomes[place] = Err(UplinkError::Unavailable(error.to_string()));
            }
        }
        outcomes
    }

    async fn append(&self, measured: Vec<Measured>, taken: Option<&Taken>) -> Result<(), StoreError> {
        let points: usize = measured.iter().map(|measured| measured.points.len()).sum();
        let stamp = self.rules.stamp(self.now());
        let mut tries = 1;
        loop {
            match self.store.append_at(measured.clone(), taken, Some(stamp.at)).await {
                Ok((_, times)) => {
                    self.rules.measured(&stamp, &measured, &times);
                    break;
                }
                Err(error) if tries >= APPEND_TRIES => {
                    tracing::error!(%error, "telemetry cannot be stored: nothing is acknowledged");
                    return Err(error);
                }
                Err(_) => tries += 1,
            }
            tokio::time::sleep(APPEND_PAUSE).await;
        }
        drop(stamp);
        self.points.count(points, self.now());
        metrics::counter!("motehub_points_stored_total").increment(points as u64);
        // Only now: whoever began to watch before this is shown it, and who begins later finds it in the store.
        self.show(News::Telemetry(Arc::new(self.live.wanted(&measured))));
        self.flow_measured(&measured);
        Ok(())
    }

    /// Loads a device as deployments see it, lets a verb decide, and performs.
    pub(crate) async fn progress(
        &self,
        device: DeviceId,
        verb: impl Fn(motehub_domain::deployment::Target) -> Effects,
    ) -> Result<(), UplinkError> {
        let done = self.attempt(|| async {
            let Some(mut target) = self.store.target(device).await? else { return Ok(((), Effects::none())) };
            target.online = self.is_online(device);
            Ok(((), verb(target)))
        });
        outcome(done.await)
    }

    async fn refused(&self, id: DeviceId, rejection: Rejection) -> UplinkError {
        self.state_refusal(id, &rejection.sentence).await;
        UplinkError::Refused(rejection.sentence)
    }

    /// Counts a refused message, and states it as a fact if that was not done a moment ago.
    pub(crate) async fn state_refusal(&self, id: DeviceId, why: &str) {
        metrics::counter!("motehub_uplinks_refused_total").increment(1);
        if !self.intake.may_state_refusal(id, self.now()) {
            return;
        }
        if let Ok(Some(device)) = self.store.device(id).await
            && let Err(error) = self.perform(device::uplink_refused(&device, why)).await
        {
            tracing::warn!(%error, "a refused message could not be recorded");
        }
    }
}
