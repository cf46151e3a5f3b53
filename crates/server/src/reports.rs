//! What devices say of themselves becomes stored state: announcements, events, log lines and the state of tasks.
//! And what they are told when they begin to listen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use motehub_domain::change::Actor;
use motehub_domain::deployment::Target;
use motehub_domain::device::Dialect;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::firmware::PLATFORM;
use motehub_domain::id::DeviceId;
use motehub_domain::message::FirmwareSignal;
use motehub_domain::metric;
use motehub_domain::report::{self, Announcement, Event, LogLine, Report, Running, TaskReport};
use motehub_domain::rollout;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::UplinkError;

use crate::app::App;
use crate::ingest::outcome;
use crate::live::News;
use crate::perform::Failure;

/// How many events a device may report within a minute: each is a line of the activity log, which is kept.
const EVENTS_MAX: u32 = 60;
const EVENTS_SPAN: Span = Span::minutes(1);
/// Of how many devices the events are counted.
const COUNTED_MAX: usize = 10_000;

/// How many events devices reported lately.
#[derive(Default)]
pub(crate) struct Events(Mutex<HashMap<DeviceId, (Time, u32)>>);

impl Events {
    fn may_state(&self, device: DeviceId, now: Time) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= COUNTED_MAX && !counted.contains_key(&device) {
            counted.clear();
        }
        let (since, count) = counted.entry(device).or_insert((now, 0));
        if now - *since >= EVENTS_SPAN {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= EVENTS_MAX
    }
}

impl App {
    /// The device said what it is and what it runs.
    pub(crate) async fn announced(&self, id: DeviceId, said: &Announcement) -> Result<(), UplinkError> {
        self.weigh_board(id, said).await?;
        let done = self.attempt(|| async {
            let Some(mut target) = self.store.target(id).await? else { return Ok(((), Effects::none())) };
            target.online = self.is_online(id);
            let now = self.now();
            let was = self.store.report(id).await?;
            let is = Report { device: id, announcement: said.clone(), at: now };
            let effects = report::announced(&target.device, was.as_ref(), &is);
            let found = match said.running {
                Some(Running::Artifact(digest)) => self.store.artifact_with(digest).await?,
                Some(Running::Nothing) | None => None,
            };
            Ok(((), effects.and(rollout::native::announced(target, said.running, found, now))))
        });
        outcome(done.await)?;
        self.board_announced(id, said).await?;
        match said.started() {
            Some(started) => self.firmware_signalled(id, &started).await,
            None => Ok(()),
        }
    }

    /// The device said something about its firmware.
    pub(crate) async fn firmware_signalled(
        &self,
        id: DeviceId,
        signal: &FirmwareSignal,
    ) -> Result<(), UplinkError> {
        let done = self.attempt(|| async {
            let Some(target) = self.store.target(id).await? else { return Ok(((), Effects::none())) };
            Ok(((), self.judge_firmware(target, signal).await?))
        });
        outcome(done.await)
    }

    /// Loads what the verb needs beside the device, and lets it decide.
    async fn judge_firmware(&self, mut target: Target, signal: &FirmwareSignal) -> Result<Effects, Failure> {
        target.online = self.is_online(target.device.id);
        let of = match target.open.as_ref().and_then(|task| task.artifact.firmware()) {
            Some(firmware) => self.store.firmware(firmware).await?,
            None => None,
        };
        let found = match signal {
            FirmwareSignal::Started { name, version, build, .. } => {
                let reported = self.store.reported_words(&[target.device.id], PLATFORM).await?;
                let platform = reported.first().map(|(_, platform)| platform.as_str());
                self.store.firmware_said(name.as_deref(), version, build.as_deref(), platform).await?
            }
            FirmwareSignal::Transferring(_)
            | FirmwareSignal::Transferred
            | FirmwareSignal::Committed
            | FirmwareSignal::Failed(_) => None,
        };
        Ok(rollout::firmware::signalled(target, of.as_ref(), found, signal, self.now()))
    }

    /// The device said how far it is with an artifact.
    pub(crate) async fn task_reported(&self, id: DeviceId, said: &TaskReport) -> Result<(), UplinkError> {
        let done = self.attempt(|| async {
            let Some(mut target) = self.store.target(id).await? else { return Ok(((), Effects::none())) };
            target.online = self.is_online(id);
            let brings = target.open.as_ref().map(|task| task.artifact);
            let is_firmware = brings.is_some_and(|it| it.digest == said.digest && it.firmware().is_some());
            Ok((
                (),
                match is_firmware {
                    true => self.judge_firmware(target, &said.progress.signal()).await?,
                    false if target.device.dialect == Dialect::EspFirmware => {
                        rollout::posted::reported(target, said, self.now())
                    }
                    false => rollout::native::reported(target, said, self.now()),
                },
            ))
        });
        outcome(done.await)
    }

    /// Something happened at the device; it was heard `at` this time, here or by a gateway.
    pub(crate) async fn happened(&self, id: DeviceId, event: &Event, at: Time) -> Result<(), UplinkError> {
        if !self.events.may_state(id, at) {
            metrics::counter!("motehub_uplinks_refused_total").increment(1);
            let why =
                format!("more than {EVENTS_MAX} events within a minute: send measurements as telemetry");
            return Err(UplinkError::Refused(why));
        }
        let done = self.attempt(|| async {
            let device = self.store.device(id).await?;
            Ok(((), device.map_or_else(Effects::none, |device| report::happened(&device, event))))
        });
        outcome(done.await)?;
        self.pressed(id, &event.name).await;
        Ok(())
    }

    /// Keeps the log lines of a batch at once.
    pub(crate) async fn log(&self, logged: Vec<(DeviceId, Vec<LogLine>)>) -> Result<(), UplinkError> {
        let now = self.now();
        let shown = self.live.wanted_lines(&logged, now);
        let save = logged.into_iter().map(|(device, lines)| Save::Log(device, lines, now)).collect();
        outcome(self.perform(Effects { save, ..Effects::none() }).await)?;
        self.show(News::Log(Arc::new(shown)));
        Ok(())
    }

    /// A device hears downlinks from now on: it is told what waits for it.
    pub(crate) async fn tell_waiting(&self, id: DeviceId) {
        let told = self.attempt(|| async {
            let Some(mut target) = self.store.target(id).await? else { return Ok(((), Effects::none())) };
            target.online = self.is_online(id);
            match (target.device.dialect, target.online) {
                (Dialect::Native | Dialect::Micropython | Dialect::Mongoose | Dialect::EspFirmware, true) => {
                    Ok(((), rollout::connected(target, self.now())))
                }
                (
                    Dialect::Native | Dialect::Micropython | Dialect::Mongoose | Dialect::EspFirmware,
                    false,
                )
                | (Dialect::Nodemcu | Dialect::Riot | Dialect::Line, _) => Ok(((), Effects::none())),
            }
        });
        if let Err(error) = told.await {
            tracing::warn!(device = %id, %error, "a device could not be offered what waits for it");
        }
        if self.is_online(id)
            && let Err(error) = self.say_commands(&[id]).await
        {
            tracing::warn!(device = %id, %error, "a device could not be told its commands");
        }
        self.tell_rotations(&[id]).await;
        self.tell_shadows(id).await;
    }

    /// A device says in which unit it measures something.
    pub(crate) async fn unit_said(
        &self,
        id: DeviceId,
        metric: &Metric,
        unit: &str,
    ) -> Result<(), UplinkError> {
        let learned = async {
            let Some(device) = self.store.device(id).await? else { return Ok(()) };
            let catalogue = self.catalogue().await?;
            self.perform(metric::learned(metric, unit, &catalogue, &Actor::Device(device.name))).await
        };
        outcome(learned.await)
    }

    /// The clock of a device was found wrong: stated once in a while.
    pub(crate) async fn clock_is_wrong(&self, id: DeviceId, why: &str) {
        if !self.intake.may_state_clock(id, self.now()) {
            return;
        }
        let stated = async {
            let Some(device) = self.store.device(id).await? else { return Ok::<_, Failure>(()) };
            self.perform(report::clock_wrong(&device, why)).await
        };
        if let Err(error) = stated.await {
            tracing::warn!(device = %id, %error, "that the clock of a device is wrong could not be recorded");
        }
    }
}
