//! History: a range of one series in buckets, from the longest roll-ups that fit and from points at the edges,
//! where a bucket is short, and where points are not merged yet. It says what all points of the range would say.
//!
//! Where points are gone, a roll-up counts as one whole: it belongs to the bucket of its first point.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use motehub_domain::id::DeviceId;
use motehub_domain::time::Time;

use super::chunk::{Kept, tidy, unpack};
use super::hours::{HOUR_MS, hour_of};
use super::known::Look;
use super::read::damaged_chunk;
use super::rollup::{Extent, Level, MINUTE_MS, Spans, numbers, padded, summed};
use super::summary::Summary;
use crate::engine::query::Query;
use crate::engine::row::Columns;
use crate::{Store, StoreError};

/// Hours of chunks that one statement fetches.
const HOURS_PER_READ: usize = 16;
/// How often a read begins again because points went meanwhile.
const ATTEMPTS_MAX: usize = 3;

const CHUNKS: &str = "select hour, body from chunks where hour";

/// Part of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// When it begins: a multiple of its width since 1970.
    pub start: Time,
    /// What is known of the points in it that lie in the range.
    pub summary: Summary,
}

/// What is known about a range of a series at once.
struct Sight {
    series: i64,
    from: i64,
    to: i64,
    width: i64,
    extent: Extent,
    /// Points of the range that are not merged yet, by hour.
    hot: BTreeMap<i64, Vec<Kept>>,
    /// Hours of which roll-ups do not tell everything.
    unsettled: BTreeSet<i64>,
}

/// What is to be read more closely.
#[derive(Default)]
struct Closer {
    /// Hours by their minutes; `Some` is what to take if there are none.
    minutes: BTreeMap<i64, Option<Summary>>,
    /// Hours by their points.
    points: BTreeSet<i64>,
}

impl Store {
    /// The points of a series with times in `from..to` in buckets of `width_ms` (from 1) that begin at its
    /// multiples, in the order of time; buckets without points are left out. Nothing is known of an unknown series.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names a chunk of the range that is not what was written.
    pub async fn history(
        &self,
        device: DeviceId,
        metric: &str,
        from: Time,
        to: Time,
        width_ms: i64,
    ) -> Result<Vec<Bucket>, StoreError> {
        let mut attempts = 1;
        loop {
            let Some(sight) = self.sight(device, metric, from, to, width_ms.max(1)).await? else {
                return Ok(Vec::new());
            };
            let found = self.read_sight(&sight, device, metric).await;
            let horizon = self.extent_of(sight.series).await?.map(|extent| extent.horizon);
            if attempts >= ATTEMPTS_MAX || horizon.is_none_or(|now| now == sight.extent.horizon) {
                return Ok(sight.buckets(found?));
            }
            attempts += 1;
        }
    }

    /// From when to when a series has points, to the day: the first and the last are not before and not after.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn extent(&self, device: DeviceId, metric: &str) -> Result<Option<(Time, Time)>, StoreError> {
        let Some((extent, hot)) = self.ends(device, metric).await? else { return Ok(None) };
        let day_ms = Level::Day.period_ms();
        let days = extent.days.ends().map(|(first, last)| (first * day_ms, (last + 1) * day_ms - 1));
        let both = hot.into_iter().chain(days);
        let ends = both.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        Ok(ends.map(|(first, last)| (Time(first), Time(last))))
    }

    async fn sight(
        &self,
        device: DeviceId,
        metric: &str,
        from: Time,
        to: Time,
        width: i64,
    ) -> Result<Option<Sight>, StoreError> {
        let (from, to) = (from.0, to.0);
        if from >= to {
            return Ok(None);
        }
        let Some(look) = self.look(device, Some(metric), from, to).await?.pop() else { return Ok(None) };
        let Look { id, extent, hot: points, .. } = look;
        let mut hot: BTreeMap<i64, Vec<Kept>> = BTreeMap::new();
        for kept in points {
            hot.entry(hour_of(kept.time)).or_default().push(kept);
        }
        let (first, last) = (hour_of(from), hour_of(to - 1));
        let late = numbers(&extent.hours, first, last.min(extent.horizon.points.saturating_sub(1)));
        let unsettled = hot.keys().copied().chain(late).collect();
        Ok(Some(Sight { series: id, from, to, width, extent, hot, unsettled }))
    }

    /// The summaries of the range, none of them longer than a bucket unless nothing shorter is known.
    async fn read_sight(
        &self,
        sight: &Sight,
        device: DeviceId,
        metric: &str,
    ) -> Result<Vec<Summary>, StoreError> {
        let mut found = Vec::new();
        let (wanted, mut split) = sight.days();
        let fallback = split.iter().filter(|day| sight.is_hours_gone(**day));
        let mut spans: Vec<i64> = wanted.iter().chain(fallback).map(|day| Level::Day.span_of(*day)).collect();
        spans.sort_unstable();
        spans.dedup();
        let days = self.roll_ups(Level::Day, &spans, &[sight.series]).await?;
        for day in wanted {
            match period(&days, Level::Day, day, sight.series) {
                Some(summary) => found.push(summary.clone()),
                None => split.push(day),
            }
        }
        let mut closer = Closer::default();
        let asked: Vec<i64> = split.iter().copied().filter(|day| sight.needs_hours(*day)).collect();
        let hours = self.roll_ups(Level::Hour, &asked, &[sight.series]).await?;
        for day in split {
            if sight.is_hours_gone(day) {
                let whole = period(&days, Level::Day, day, sight.series);
                found.extend(whole.filter(|whole| sight.has(whole.first)).cloned());
            }
            for hour in sight.hours_of(day) {
                let summary = period(&hours, Level::Hour, hour, sight.series);
                found.extend(sight.look_at(hour, summary, &mut closer));
            }
        }
        self.read_minutes(sight, &mut closer, &mut found).await?;
        self.read_points(sight, &closer, &mut found, device, metric).await?;
        Ok(found)
    }

    async fn read_minutes(
        &self,
        sight: &Sight,
        closer: &mut Closer,
        found: &mut Vec<Summary>,
    ) -> Result<(), StoreError> {
        let hours: Vec<i64> = closer.minutes.keys().copied().collect();
        let mut minutes = self.roll_ups(Level::Minute, &hours, &[sight.series]).await?;
        for (hour, instead) in std::mem::take(&mut closer.minutes) {
            match minutes.remove(&(hour, sight.series)).flatten() {
                Some(periods) => {
                    found.extend(periods.into_values().filter(|minute| sight.has(minute.first)));
                }
                None if hour >= sight.extent.horizon.points => drop(closer.points.insert(hour)),
                None => found.extend(instead.filter(|whole| sight.has(whole.first))),
            }
        }
        Ok(())
    }

    async fn read_points(
        &self,
        sight: &Sight,
        closer: &Closer,
        found: &mut Vec<Summary>,
        device: DeviceId,
        metric: &str,
    ) -> Result<(), StoreError> {
        let hours: Vec<i64> = closer.points.iter().copied().collect();
        for some in hours.chunks(HOURS_PER_READ) {
            let mut query = Query::new(CHUNKS);
            query.among(padded(some)).push(" and series = ").bind(sight.series);
            let mut points: HashMap<i64, Vec<Kept>> = HashMap::new();
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("chunks", row);
                let hour = columns.integer()?;
                let Some(part) = unpack(sight.series, hour, &columns.bytes()?) else {
                    return Err(damaged_chunk(device, metric, hour));
                };
                points.entry(hour).or_default().extend(part);
            }
            for hour in some {
                let mut all = points.remove(hour).unwrap_or_default();
                all.extend(sight.hot.get(hour).into_iter().flatten().cloned());
                tidy(&mut all);
                all.retain(|kept| sight.has(kept.time));
                found.extend(summed(&all, sight.width).into_values());
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Sight {
    fn has(&self, time: i64) -> bool {
        time >= self.from && time < self.to
    }

    fn has_whole(&self, number: i64, length_ms: i64) -> bool {
        let start = number.saturating_mul(length_ms);
        start >= self.from && start.saturating_add(length_ms) <= self.to
    }

    fn is_hours_gone(&self, day: i64) -> bool {
        day.saturating_mul(24) < self.extent.horizon.hours
    }

    /// Days that are read as one, and days that are looked at more closely.
    fn days(&self) -> (Vec<i64>, Vec<i64>) {
        let day_of = |time| Level::Hour.span_of(hour_of(time));
        let mut days = numbers(&self.extent.days, day_of(self.from), day_of(self.to - 1));
        days.extend(self.hot.keys().map(|hour| Level::Hour.span_of(*hour)));
        days.sort_unstable();
        days.dedup();
        let day_ms = Level::Day.period_ms();
        days.into_iter().partition(|day| {
            let is_settled = self.unsettled.range(day * 24..(day + 1) * 24).next().is_none();
            self.width % day_ms == 0 && is_settled && self.has_whole(*day, day_ms)
        })
    }

    /// Whether summaries of hours can help with a day.
    fn needs_hours(&self, day: i64) -> bool {
        let is_gone = day.saturating_mul(24) < self.extent.horizon.points;
        (self.width % HOUR_MS == 0 || is_gone) && !self.is_hours_gone(day)
    }

    fn hours_of(&self, day: i64) -> impl Iterator<Item = i64> {
        (day * 24).max(hour_of(self.from))..=(day * 24 + 23).min(hour_of(self.to - 1))
    }

    /// What is known of an hour at once; what is not is noted to be read.
    fn look_at(&self, hour: i64, summary: Option<&Summary>, closer: &mut Closer) -> Option<Summary> {
        let is_whole = self.has_whole(hour, HOUR_MS);
        let fits = is_whole && self.width % HOUR_MS == 0;
        let is_unsettled = self.unsettled.contains(&hour);
        let horizon = self.extent.horizon;
        if hour < horizon.points {
            if is_unsettled {
                closer.points.insert(hour);
            }
            if !fits && hour >= horizon.minutes {
                closer.minutes.insert(hour, summary.cloned());
                return None;
            }
            return summary.filter(|whole| self.has(whole.first)).cloned();
        }
        match summary {
            Some(summary) if fits && !is_unsettled => return Some(summary.clone()),
            _ if is_unsettled => drop(closer.points.insert(hour)),
            _ if !self.extent.hours.contains(hour) => {}
            _ if is_whole && self.width % MINUTE_MS == 0 => drop(closer.minutes.insert(hour, None)),
            _ => drop(closer.points.insert(hour)),
        }
        None
    }

    fn buckets(&self, mut found: Vec<Summary>) -> Vec<Bucket> {
        found.sort_by_key(|summary| (summary.first, summary.last));
        let mut buckets: Vec<Bucket> = Vec::new();
        for summary in found {
            let start = Time(summary.first.div_euclid(self.width).saturating_mul(self.width));
            match buckets.last_mut() {
                Some(bucket) if bucket.start == start => bucket.summary.join(&summary),
                _ => buckets.push(Bucket { start, summary }),
            }
        }
        buckets
    }
}

fn period(known: &Spans, level: Level, number: i64, series: i64) -> Option<&Summary> {
    known.get(&(level.span_of(number), series))?.as_ref()?.get(&number)
}
