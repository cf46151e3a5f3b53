//! Roll-ups: a summary for each minute, hour and day of a series, beside its chunks and in the same transactions.
//!
//! While the points of an hour are there, its roll-ups follow from them. Once they are gone (see `age`), the
//! roll-ups are what is known, and points that come later are added to them. Summaries lie together: the minutes
//! of an hour, the hours of a day, the days of 32 days. Minutes are written only for hours with many points, and
//! when points go: few points are as quickly read themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::Metric;

use super::NEWEST;
use super::chunk::{CHECKSUM_BYTES, Kept, checksum, pack, unpack as unpack_chunk};
use super::hot::Series;
use super::hours::{HOUR_MS, Hours};
use super::summary::Summary;
use super::varint::{Reader, put};
use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// From so many points on, an hour has summaries of its minutes at once.
const MINUTES_PAY: u64 = 1_800;
/// Most values in one list of a statement.
const LIST_MAX: usize = 256;
/// Milliseconds of a minute.
pub(super) const MINUTE_MS: i64 = 60_000;
/// Hours of a day.
pub(super) const DAY_HOURS: i64 = 24;

const DELETE: &str = "delete from rollups where level = ";
const READ: &str = "select span, series, body from rollups where level = ";

/// How much time a summary is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Level {
    Minute,
    Hour,
    Day,
}

/// Summaries by the number of their period since 1970.
pub(super) type Periods = BTreeMap<i64, Summary>;

/// Summaries by span and series; `None` where what is on disk is damaged.
pub(super) type Spans = HashMap<(i64, i64), Option<Periods>>;

/// A row to write.
pub(super) type RollUpRow = [Value; 4];

impl Level {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Minute => 0,
            Self::Hour => 1,
            Self::Day => 2,
        }
    }

    /// Milliseconds of a period.
    pub(super) fn period_ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_HOURS * HOUR_MS,
        }
    }

    /// The row in which a period lies.
    pub(super) fn span_of(self, period: i64) -> i64 {
        period.div_euclid(match self {
            Self::Minute => 60,
            Self::Hour => DAY_HOURS,
            Self::Day => 32,
        })
    }
}

/// Summaries of points by period; the points are in the order of time.
pub(super) fn summed(points: &[Kept], period_ms: i64) -> Periods {
    let mut periods = Periods::new();
    let mut begun: Option<(i64, Summary)> = None;
    for point in points {
        let period = point.time.div_euclid(period_ms);
        let summary = Summary::of(point);
        match &mut begun {
            Some((of, whole)) if *of == period => whole.join(&summary),
            _ => {
                periods.extend(begun.take());
                begun = Some((period, summary));
            }
        }
    }
    periods.extend(begun);
    periods
}

/// One summary of all.
pub(super) fn whole(periods: &Periods) -> Option<Summary> {
    let mut all = None;
    periods.values().for_each(|summary| Summary::join_into(&mut all, summary));
    all
}

/// The minutes of an hour, if its points are many.
pub(super) fn minutes_of(points: &[Kept]) -> Option<Periods> {
    (points.len() as u64 >= MINUTES_PAY).then(|| summed(points, MINUTE_MS))
}

/// The row of some summaries.
pub(super) fn row(level: Level, span: i64, series: i64, periods: &Periods) -> RollUpRow {
    let mut bytes = Vec::with_capacity(periods.len() * 32 + 16);
    put(&mut bytes, periods.len() as u64);
    let mut before = 0;
    for (period, summary) in periods {
        put(&mut bytes, period.abs_diff(before));
        before = *period;
        summary.pack(&mut bytes, period * level.period_ms());
    }
    let sum = checksum(series, seal(level, span), &bytes);
    bytes.extend(sum);
    [level.number().into(), span.into(), series.into(), bytes.into()]
}

/// So that a row is not taken for that of another level.
fn seal(level: Level, span: i64) -> i64 {
    span.wrapping_mul(3).wrapping_add(level.number())
}

fn unpack(level: Level, span: i64, series: i64, bytes: &[u8]) -> Option<Periods> {
    let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if checksum(series, seal(level, span), bytes) != sum {
        return None;
    }
    let mut reader = Reader(bytes);
    let count = reader.count()?;
    let mut periods = Periods::new();
    let mut period = 0i64;
    for i in 0..count {
        let step = reader.number()?;
        // Only the first may lie before 1970, and the span says whether it does.
        period = match i == 0 && span < 0 {
            true => 0i64.checked_sub_unsigned(step)?,
            false => period.checked_add_unsigned(step)?,
        };
        periods.insert(period, Summary::unpack(&mut reader, period.checked_mul(level.period_ms())?)?);
    }
    Some(periods)
}

/// Fills a list up to a power of two with its last value, so that few different statements are prepared.
pub(super) fn padded(values: &[i64]) -> impl Iterator<Item = Value> {
    let (last, length) = (values.last().copied(), values.len());
    let more = length.next_power_of_two().saturating_sub(length);
    values.iter().copied().chain(last.into_iter().cycle().take(more)).map(Value::Integer)
}

impl Store {
    /// Reads the summaries of some spans of some series.
    pub(super) async fn roll_ups(
        &self,
        level: Level,
        spans: &[i64],
        series: &[i64],
    ) -> Result<Spans, StoreError> {
        let mut found = Spans::new();
        for some in spans.chunks(LIST_MAX) {
            for of in series.chunks(LIST_MAX) {
                let mut query = Query::new(READ);
                query.bind(level.number()).push(" and span").among(padded(some));
                query.push(" and series").among(padded(of));
                for row in self.engine().ask(query).await? {
                    let mut columns = Columns::of("rollups", row);
                    let (span, series) = (columns.integer()?, columns.integer()?);
                    let periods = unpack(level, span, series, &columns.bytes()?);
                    if periods.is_none() {
                        tracing::error!(series, span, level = level.number(), "a damaged roll-up was found");
                    }
                    found.insert((span, series), periods);
                }
            }
        }
        Ok(found)
    }

    /// The rows of hours and days that follow when hours of series get these summaries. `add` joins them to what
    /// is known instead of replacing it. A damaged row is left as it is.
    pub(super) async fn rolled_up(
        &self,
        hours: &BTreeMap<(i64, i64), Summary>,
        add: bool,
    ) -> Result<Vec<RollUpRow>, StoreError> {
        type OfSeries<'s> = BTreeMap<i64, Vec<(i64, &'s Summary)>>;
        let mut by_day: BTreeMap<i64, OfSeries<'_>> = BTreeMap::new();
        for ((hour, series), summary) in hours {
            let day = Level::Hour.span_of(*hour);
            by_day.entry(day).or_default().entry(*series).or_default().push((*hour, summary));
        }
        let mut rows = Vec::new();
        let mut days: BTreeMap<(i64, i64), Vec<(i64, Summary)>> = BTreeMap::new();
        for (day, of_series) in by_day {
            let ids: Vec<i64> = of_series.keys().copied().collect();
            let mut known = self.roll_ups(Level::Hour, &[day], &ids).await?;
            for (series, hours) in of_series {
                let Some(mut periods) = known.remove(&(day, series)).unwrap_or_else(|| Some(Periods::new()))
                else {
                    continue;
                };
                for (hour, summary) in hours {
                    match periods.get_mut(&hour).filter(|_| add) {
                        Some(own) => own.join(summary),
                        None => drop(periods.insert(hour, summary.clone())),
                    }
                }
                rows.push(row(Level::Hour, day, series, &periods));
                if let Some(all) = whole(&periods) {
                    days.entry((Level::Day.span_of(day), series)).or_default().push((day, all));
                }
            }
        }
        rows.extend(self.days_rolled_up(days, false).await?);
        Ok(rows)
    }

    /// The rows of days that get these summaries, by span and series.
    pub(super) async fn days_rolled_up(
        &self,
        days: BTreeMap<(i64, i64), Vec<(i64, Summary)>>,
        add: bool,
    ) -> Result<Vec<RollUpRow>, StoreError> {
        let mut rows = Vec::new();
        let spans: BTreeSet<i64> = days.keys().map(|(span, _)| *span).collect();
        let mut known = Spans::new();
        for span in spans {
            let ids: Vec<i64> = days.keys().filter(|key| key.0 == span).map(|key| key.1).collect();
            known.extend(self.roll_ups(Level::Day, &[span], &ids).await?);
        }
        for ((span, series), summaries) in days {
            let Some(mut periods) = known.remove(&(span, series)).unwrap_or_else(|| Some(Periods::new()))
            else {
                continue;
            };
            for (day, summary) in summaries {
                match periods.get_mut(&day).filter(|_| add) {
                    Some(own) => own.join(&summary),
                    None => drop(periods.insert(day, summary)),
                }
            }
            rows.push(row(Level::Day, span, series, &periods));
        }
        Ok(rows)
    }
}

/// From which hours on the points, minutes and hours of a series are kept; before, only what is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    pub(super) points: i64,
    pub(super) minutes: i64,
    /// The first hour of a day.
    pub(super) hours: i64,
}

impl Default for Horizon {
    fn default() -> Self {
        Self { points: i64::MIN, minutes: i64::MIN, hours: i64::MIN }
    }
}

/// What there is of a series on disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Extent {
    pub(super) hours: Hours,
    pub(super) days: Hours,
    pub(super) horizon: Horizon,
    pub(super) newest: Option<Kept>,
    /// Of a shared database: what tells that nobody wrote its row meanwhile.
    pub(super) version: Option<String>,
}

/// A row of the table of series.
pub(super) struct SeriesRow {
    pub(super) id: i64,
    /// `None` once it is deleted.
    pub(super) device: Option<DeviceId>,
    pub(super) metric: Metric,
    pub(super) extent: Extent,
}

impl SeriesRow {
    pub(super) fn read(row: Row) -> Result<Self, StoreError> {
        let mut columns = Columns::of("series", row);
        let id = columns.integer()?;
        let damaged = || StoreError::damaged(format!("series {id} of the telemetry"));
        let device = columns.maybe_parsed()?;
        let metric = Metric::parse(&columns.text()?).map_err(|_| damaged())?;
        let hours = Hours::from_bytes(&columns.bytes()?).ok_or_else(damaged)?;
        let days = Hours::from_bytes(&columns.bytes()?).ok_or_else(damaged)?;
        let (points, minutes) = (columns.integer()?, columns.integer()?);
        let horizon = Horizon { points, minutes, hours: columns.integer()? };
        let newest = match columns.bytes()? {
            none if none.is_empty() => None,
            bytes => unpack_chunk(id, NEWEST, &bytes).ok_or_else(damaged)?.into_iter().next(),
        };
        let extent = Extent { hours, days, horizon, newest, version: columns.maybe_text()? };
        Ok(Self { id, device, metric, extent })
    }
}

impl Extent {
    pub(super) fn of(series: &Series) -> Self {
        Self {
            hours: series.hours.clone(),
            days: series.days.clone(),
            horizon: series.horizon,
            newest: series.newest.clone(),
            version: None,
        }
    }

    /// It is on disk. The newest point in memory may be newer.
    pub(super) fn tell(self, series: &mut Series) {
        (series.hours, series.days, series.horizon) = (self.hours, self.days, self.horizon);
    }

    /// A chunk of this hour is written.
    pub(super) fn add(&mut self, hour: i64) {
        self.hours.insert(hour);
        self.days.insert(Level::Hour.span_of(hour));
    }

    /// A point is about to be in a chunk.
    pub(super) fn see(&mut self, point: &Kept) {
        if self.newest.as_ref().is_none_or(|newest| newest.time <= point.time) {
            self.newest = Some(point.clone());
        }
    }

    pub(super) fn all_hours(&self) -> Vec<i64> {
        numbers(&self.hours, i64::MIN, i64::MAX)
    }

    pub(super) fn all_days(&self) -> Vec<i64> {
        numbers(&self.days, i64::MIN, i64::MAX)
    }

    /// The parameters of the statement that writes it.
    pub(super) fn values(&self, id: i64) -> [Value; 7] {
        let Horizon { points, minutes, hours } = self.horizon;
        let newest = self.newest.as_ref().map(|kept| pack(id, NEWEST, std::slice::from_ref(kept)));
        [
            id.into(),
            self.hours.to_bytes().into(),
            self.days.to_bytes().into(),
            points.into(),
            minutes.into(),
            hours.into(),
            newest.unwrap_or_default().into(),
        ]
    }
}

/// The numbers of runs in `first..=last`, in order.
pub(super) fn numbers(runs: &Hours, first: i64, last: i64) -> Vec<i64> {
    let mut all: Vec<(i64, i64)> = runs.within(first, last).collect();
    all.reverse();
    all.into_iter().flat_map(|(first, last)| first..=last).collect()
}

/// Removes rows of a series, and returns a row for each.
pub(super) fn deletion(level: Level, spans: &[i64], series: i64) -> Statement {
    let mut query = Query::new(DELETE);
    query.bind(level.number()).push(" and span").among(padded(spans));
    query.push(" and series = ").bind(series).push(" returning span");
    Statement::from(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use motehub_domain::telemetry::PointValue;

    #[test]
    fn rows_survive_and_damage_is_noticed() {
        let kept = |i: i64| Kept { time: i * 47_000, arrived: 0, value: PointValue::Number(i as f64 / 10.0) };
        for (from, span) in [(0, 0), (-300, -4)] {
            let points: Vec<Kept> =
                (from..from + 76).map(kept).filter(|p| p.time.div_euclid(HOUR_MS) == span).collect();
            let periods = summed(&points, MINUTE_MS);
            let [_, _, _, Value::Bytes(bytes)] = row(Level::Minute, span, 7, &periods) else { panic!() };
            assert_eq!(unpack(Level::Minute, span, 7, &bytes), Some(periods), "from {from}");
            assert_eq!(unpack(Level::Hour, span, 7, &bytes), None);
            assert_eq!(unpack(Level::Minute, span, 8, &bytes), None);
            assert_eq!(unpack(Level::Minute, span, 7, &bytes[..9]), None);
        }
    }

    #[test]
    fn lists_are_filled_up() {
        let lengths = [1, 2, 3, 5, 8, 200].map(|n: i64| padded(&(0..n).collect::<Vec<_>>()).count());
        assert_eq!(lengths, [1, 2, 4, 8, 8, 256]);
        assert_eq!(padded(&[]).count(), 0);
    }
}
