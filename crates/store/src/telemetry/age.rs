//! Ageing: what is older than its metric's times says goes, the most detailed first. Points leave a summary of
//! each minute, minutes and hours leave what was written with them long before; days stay.
//!
//! One transaction takes the chunks of some hours away and writes what they leave, so that nothing is counted
//! twice or not at all, whenever it is cut off.

use std::collections::{BTreeMap, HashMap};

use motehub_domain::telemetry::Metric;
use motehub_domain::time::{Span, Time};

use super::chunk::{Kept, tidy, unpack};
use super::hours::hour_of;
use super::rollup::{self, Extent, Level, MINUTE_MS, RollUpRow, numbers, padded, summed, whole};
use super::summary::Summary;
use super::{WRITE_ROLLUP, read::damaged_chunk};
use crate::engine::query::Query;
use crate::engine::row::Columns;
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// Hours or days that go in one step.
const STEP: usize = 48;

/// How often a series is begun again because somebody else wrote it.
const CONFLICTS_MAX: usize = 100;

const CHUNKS: &str = "select hour, body from chunks where series = ";
const DELETE_CHUNKS: &str = "delete from chunks where series = ";

/// How long the points, minutes and hours of a metric are kept; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// The points themselves.
    pub points: Option<Span>,
    /// Summaries of minutes.
    pub minutes: Option<Span>,
    /// Summaries of hours.
    pub hours: Option<Span>,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aged {
    /// Points.
    pub points: u64,
    /// Hours of series that have no summaries of minutes any more.
    pub minutes: u64,
    /// Days of series that have no summaries of hours any more.
    pub hours: u64,
}

impl Store {
    /// Removes what is older than its times, in short steps between which others write.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`]: the next call goes on.
    pub async fn age(&self, now: Time, ages: impl Fn(&Metric) -> Ages) -> Result<Aged, StoreError> {
        let mut aged = Aged::default();
        for (id, metric) in self.all_series().await? {
            let ages = ages(&metric);
            // One series at a time: merging goes on in between.
            let _one_at_a_time = self.telemetry_state().merging.lock().await;
            let mut conflicts = 0;
            while let Err(error) = self.age_series(id, now, ages, &mut aged).await {
                let is_conflict = matches!(error, StoreError::Conflict { .. });
                if !is_conflict || conflicts >= CONFLICTS_MAX {
                    return Err(error);
                }
                conflicts += 1;
            }
        }
        Ok(aged)
    }

    async fn age_series(&self, id: i64, now: Time, ages: Ages, aged: &mut Aged) -> Result<(), StoreError> {
        let before = |age: Option<Span>| age.map_or(i64::MIN, |age| hour_of((now - age).0));
        while self.age_points(id, before(ages.points), aged).await? {}
        while self.age_minutes(id, before(ages.minutes), aged).await? {}
        let first_day = Level::Hour.span_of(before(ages.hours));
        while self.age_hours(id, first_day, aged).await? {}
        Ok(())
    }

    /// Folds the oldest hours of points; whether there may be more.
    async fn age_points(&self, id: i64, before: i64, aged: &mut Aged) -> Result<bool, StoreError> {
        let Some(mut extent) = self.extent_of(id).await? else { return Ok(false) };
        let mut hours = numbers(&extent.hours, i64::MIN, before.saturating_sub(1));
        hours.truncate(STEP);
        let Some(last) = hours.last().copied() else { return Ok(false) };
        // What comes for an hour before this one will be late.
        let horizon = if hours.len() < STEP { before } else { last + 1 };
        let (fresh, late) = self.points_of(id, &hours, extent.horizon.points, aged).await?;
        let mut rows: Vec<RollUpRow> = Vec::new();
        for (hour, points) in &fresh {
            rows.push(rollup::row(Level::Minute, *hour, id, &summed(points, MINUTE_MS)));
        }
        rows.extend(self.folded(id, &extent, &late).await?);
        extent.hours.remove_through(last);
        extent.horizon.points = extent.horizon.points.max(horizon);
        let mut delete = Query::new(DELETE_CHUNKS);
        delete.bind(id).push(" and hour").among(padded(&hours));
        let mut transaction = Transaction::from(vec![Statement::from(delete)]);
        if !rows.is_empty() {
            let values = rows.into_iter().flatten().collect();
            transaction.push(Statement::many(WRITE_ROLLUP, 4, values).distinct());
        }
        self.write_telemetry(transaction, HashMap::from([(id, extent)])).await?;
        Ok(true)
    }

    /// The points of some hours: those whose roll-ups follow from them, and those that came too late for that.
    async fn points_of(
        &self,
        id: i64,
        hours: &[i64],
        horizon: i64,
        aged: &mut Aged,
    ) -> Result<(Hourly, Hourly), StoreError> {
        let mut query = Query::new(CHUNKS);
        query.bind(id).push(" and hour").among(padded(hours));
        let mut all = Hourly::new();
        for row in self.engine().ask(query).await? {
            let mut columns = Columns::of("chunks", row);
            let hour = columns.integer()?;
            match unpack(id, hour, &columns.bytes()?) {
                Some(points) => all.entry(hour).or_default().extend(points),
                None => {
                    let error = damaged_chunk("of series", &id.to_string(), hour);
                    tracing::error!(%error, "a damaged chunk of telemetry reached its age and is removed");
                }
            }
        }
        for points in all.values_mut() {
            tidy(points);
            aged.points += points.len() as u64;
        }
        let fresh = all.split_off(&horizon);
        Ok((fresh, all))
    }

    /// The roll-ups of hours whose points had gone, with points that came later.
    async fn folded(&self, id: i64, extent: &Extent, late: &Hourly) -> Result<Vec<RollUpRow>, StoreError> {
        let mut rows = Vec::new();
        let mut hours: BTreeMap<(i64, i64), Summary> = BTreeMap::new();
        let mut days: BTreeMap<(i64, i64), Vec<(i64, Summary)>> = BTreeMap::new();
        for (hour, points) in late {
            let minutes = summed(points, MINUTE_MS);
            let Some(sum) = whole(&minutes) else { continue };
            let day = Level::Hour.span_of(*hour);
            if *hour >= extent.horizon.hours {
                hours.insert((*hour, id), sum);
            } else {
                days.entry((Level::Day.span_of(day), id)).or_default().push((day, sum));
            }
            if *hour >= extent.horizon.minutes {
                let known = self.roll_ups(Level::Minute, &[*hour], &[id]).await?.remove(&(*hour, id));
                let Some(mut periods) = known.unwrap_or_else(|| Some(rollup::Periods::new())) else {
                    continue;
                };
                for (minute, summary) in minutes {
                    match periods.get_mut(&minute) {
                        Some(own) => own.join(&summary),
                        None => drop(periods.insert(minute, summary)),
                    }
                }
                rows.push(rollup::row(Level::Minute, *hour, id, &periods));
            }
        }
        rows.extend(self.rolled_up(&hours, true).await?);
        rows.extend(self.days_rolled_up(days, true).await?);
        Ok(rows)
    }

    async fn age_minutes(&self, id: i64, before: i64, aged: &mut Aged) -> Result<bool, StoreError> {
        let Some(mut extent) = self.extent_of(id).await? else { return Ok(false) };
        // Where points are, their minutes stay with them.
        let end = before.min(extent.horizon.points);
        let first_day = Level::Hour.span_of(extent.horizon.minutes);
        let last_day = Level::Hour.span_of(end.saturating_sub(1));
        let days = numbers(&extent.days, first_day, last_day);
        let hours = days.into_iter().flat_map(|day| day * 24..(day + 1) * 24);
        let hours = hours.filter(|hour| *hour >= extent.horizon.minutes && *hour < end).take(STEP);
        let hours: Vec<i64> = hours.collect();
        let Some(last) = hours.last() else { return Ok(false) };
        extent.horizon.minutes = last + 1;
        let transaction = vec![rollup::deletion(Level::Minute, &hours, id)].into();
        let gone = self.write_telemetry(transaction, HashMap::from([(id, extent)])).await?;
        aged.minutes += gone.len() as u64;
        Ok(true)
    }

    async fn age_hours(&self, id: i64, before: i64, aged: &mut Aged) -> Result<bool, StoreError> {
        let Some(mut extent) = self.extent_of(id).await? else { return Ok(false) };
        let horizon = extent.horizon;
        let end = before.min(Level::Hour.span_of(horizon.points.min(horizon.minutes)));
        let first = Level::Hour.span_of(horizon.hours);
        let mut days = numbers(&extent.days, first, end.saturating_sub(1));
        days.truncate(STEP);
        let Some(last) = days.last() else { return Ok(false) };
        extent.horizon.hours = (last + 1) * 24;
        let transaction = vec![rollup::deletion(Level::Hour, &days, id)].into();
        let gone = self.write_telemetry(transaction, HashMap::from([(id, extent)])).await?;
        aged.hours += gone.len() as u64;
        Ok(true)
    }
}

/// Points by hour.
type Hourly = BTreeMap<i64, Vec<Kept>>;
