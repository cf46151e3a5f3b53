//! How devices are used: a worker closes each day that is over, and the day that goes on is counted when somebody asks.

use motehub_domain::effects::{Effects, Save};
use motehub_domain::time::{Span, Time};
use motehub_domain::usage::{self, Usage};
use motehub_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::perform::Failure;

/// How often it looks whether a day is over.
const EVERY: Span = Span::minutes(10);
/// How many days that were missed are closed at most, such as after a long time without the hub.
const MISSED_MAX: i64 = 400;
/// How many reports of a day are looked at; a day with more has more switches than are counted.
const REPORTS_MAX: usize = 200_000;

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut next = app.now() + EVERY;
    loop {
        tokio::select! {
            () = app.clock.sleep_until(next) => {}
            () = shutdown.cancelled() => return,
        }
        // Counted from when it began: a day that ends while it works is not missed.
        next = app.now() + EVERY;
        if let Err(error) = app.close_days().await {
            tracing::error!(%error, "how the devices were used could not be counted");
        }
    }
}

impl App {
    /// Counts the days that are over and were not counted yet.
    async fn close_days(&self) -> Result<(), Failure> {
        let today = usage::day_of(self.now());
        let Some(first) = self.store.first_change().await? else { return Ok(()) };
        let last = self.store.last_usage().await?;
        let begin = last.map_or_else(|| usage::day_of(first), |last| last + 1).max(today - MISSED_MAX);
        for day in begin..today {
            let usage = self.usage_of(day).await?;
            let save = vec![Save::Usage(Box::new(usage))];
            self.perform(Effects { save, ..Effects::none() }).await?;
        }
        Ok(())
    }

    /// How the devices were used on a day, as far as it has come.
    pub(crate) async fn usage_of(&self, day: i64) -> Result<Usage, StoreError> {
        let (from, to) = (usage::begin_of(day), self.now().min(usage::begin_of(day + 1)));
        let (online, came) = (self.store.online().await?, self.store.came(from).await?);
        let (active, online) = usage::presence(from, to, &online, &came);
        Ok(Usage {
            day,
            devices: self.store.overview().await?.total,
            active,
            online,
            switches: self.switches(from, to).await?,
            firmware: self.store.firmware_versions().await?,
        })
    }

    async fn switches(&self, from: Time, to: Time) -> Result<i64, StoreError> {
        let reports = self.store.reports_between(from, to, REPORTS_MAX).await?;
        Ok(reports.iter().map(|(before, after)| usage::switches(before, after)).sum())
    }
}
