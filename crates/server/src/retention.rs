//! The worker that removes telemetry that has reached its age: points first, then the roll-ups of minutes, then
//! those of hours. Once a day, in short steps; what it removed is a fact in the activity log.
//!
//! A clock that jumps ahead by years must not cost years of telemetry: the worker has its own idea of the day,
//! which follows the clock by at most a week per round and never goes back.

use std::sync::{Mutex, PoisonError};

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::metric::{self, Catalogue, Entry};
use motehub_domain::time::{Span, Time};
use motehub_store::{Aged, Ages};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::perform::Failure;
use crate::settings::Keep;

/// How often it looks for what is too old.
const EVERY: Span = Span::days(1);
/// How far its day follows the clock in one round.
const STEP_MAX: Span = Span::days(7);
/// How long it rests after an error.
const REST: Span = Span::minutes(10);
/// How long after the start it begins: boards that come back have the disk first.
const BEGIN_AFTER: Span = Span::minutes(2);
/// Where its day is kept.
const KEY: &str = "retention/day";

/// How the worker is doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// When it last came to an end.
    pub(crate) ended_at: Option<Time>,
    /// When it looks again.
    pub(crate) next_at: Option<Time>,
    /// Its day: what is too old is counted from here.
    pub(crate) day: Option<Time>,
    /// What the last round removed.
    pub(crate) last: Aged,
    /// Why the last round failed.
    pub(crate) problem: Option<String>,
}

/// What others see of the worker.
#[derive(Default)]
pub(crate) struct Retention(Mutex<Status>);

impl Retention {
    /// How it is doing.
    pub(crate) fn status(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, tell: impl FnOnce(&mut Status)) {
        tell(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut next = app.now() + BEGIN_AFTER;
    loop {
        app.retention.tell(|status| status.next_at = Some(next));
        tokio::select! {
            () = app.clock.sleep_until(next) => {}
            () = shutdown.cancelled() => return,
        }
        let round = tokio::select! {
            round = round(&app) => round,
            // The next start goes on: every step is a transaction of its own.
            () = shutdown.cancelled() => return,
        };
        next = match round {
            Ok(()) => app.now() + EVERY,
            Err(error) => {
                tracing::error!(%error, "telemetry that reached its age could not be removed");
                app.retention.tell(|status| status.problem = Some(error.to_string()));
                app.now() + REST
            }
        };
    }
}

async fn round(app: &App) -> Result<(), Failure> {
    let before = app.store.note(KEY).await?;
    let before = before.and_then(|text| String::from_utf8(text).ok()?.parse().ok()).map(Time);
    let day = day_after(before, app.now());
    // Kept first: whatever happens, the next round does not start further back.
    let save = vec![Save::Note(KEY.to_owned(), Some(day.0.to_string().into_bytes()))];
    app.perform(Effects { save, ..Effects::none() }).await?;
    let catalogue = app.catalogue().await?;
    let aged = app.store.age(day, |metric| ages(&catalogue.of(metric.as_str()), app.settings.keep)).await?;
    if aged != Aged::default() {
        tracing::info!(
            points = aged.points,
            hours_of_minutes = aged.minutes,
            days_of_hours = aged.hours,
            "telemetry reached its age and was removed"
        );
        let change = Change {
            actor: Actor::System,
            kind: ChangeKind::TelemetryAged,
            subject: "telemetry".to_owned(),
            subject_name: "telemetry".to_owned(),
            device: None,
            before: Some(json!({
                "points": aged.points, "hours_of_minutes": aged.minutes, "days_of_hours": aged.hours,
            })),
            after: None,
        };
        app.perform(Effects { changes: vec![change], ..Effects::none() }).await?;
    }
    app.retention.tell(|status| {
        *status =
            Status { ended_at: Some(app.now()), day: Some(day), last: aged, problem: None, ..status.clone() };
    });
    Ok(())
}

/// The worker's day after another round.
fn day_after(before: Option<Time>, now: Time) -> Time {
    before.map_or(now, |before| before.max(now.min(before + STEP_MAX)))
}

/// How long a metric is kept, each level at least as long as the one before.
pub(crate) fn ages(entry: &Entry, usual: Keep) -> Ages {
    let days = |own: Option<u32>, usual: u32| match own.unwrap_or(usual) {
        0 => None,
        days => Some(Span::days(i64::from(days))),
    };
    let longer = |one: Option<Span>, other: Option<Span>| one.zip(other).map(|(one, other)| one.max(other));
    let points = days(entry.points_days, usual.points_days);
    let minutes = longer(points, days(entry.minutes_days, usual.minutes_days));
    let hours = longer(minutes, days(entry.hours_days, usual.hours_days));
    Ages { points, minutes, hours }
}

impl App {
    /// What people say of metrics.
    pub(crate) async fn catalogue(&self) -> Result<Catalogue, motehub_store::StoreError> {
        Ok(Catalogue::from_notes(&self.store.notes(metric::KEY).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_follows_the_clock_slowly_and_never_goes_back() {
        let now = Time(1_763_690_400_000);
        assert_eq!(day_after(None, now), now);
        assert_eq!(day_after(Some(now), now + Span::days(1)), now + Span::days(1));
        assert_eq!(day_after(Some(now), now + Span::days(3_650)), now + Span::days(7));
        assert_eq!(day_after(Some(now), now - Span::days(3_650)), now);
    }

    #[test]
    fn what_is_longer_is_kept_longer() {
        let usual = Keep { points_days: 90, minutes_days: 30, hours_days: 0 };
        let all = ages(&Entry::default(), usual);
        assert_eq!(all, Ages { points: Some(Span::days(90)), minutes: Some(Span::days(90)), hours: None });
        let own = ages(&Entry { points_days: Some(0), hours_days: Some(1), ..Entry::default() }, usual);
        assert_eq!(own, Ages { points: None, minutes: None, hours: None });
    }
}
