//! What is known of series, asked of the database. Hot points first, then where there are chunks: what was merged in
//! between is seen twice and not missed.

use std::collections::{BTreeMap, HashMap};

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::Time;

use super::{
    ALL_SERIES, ENDS, HOT, HOT_OF, LAST_ARRIVAL, LATEST, METRIC_NAMES, METRICS, METRICS_OF, ONE_SERIES,
    SERIES, SERIES_OF, SERIES_PER_READ,
};
use crate::StoreError;
use crate::engine::Engine;
use crate::engine::query::contains;
use crate::engine::row::{Columns, Row, Value};
use crate::telemetry::Sample;
use crate::telemetry::chunk::Kept;
use crate::telemetry::known::Look;
use crate::telemetry::own::value_of;
use crate::telemetry::rollup::{Extent, SeriesRow};

pub(in crate::telemetry) async fn look(
    engine: &Engine,
    device: DeviceId,
    metric: Option<&str>,
    from: i64,
    to: i64,
) -> Result<Vec<Look>, StoreError> {
    let id = || Value::id(device);
    let rows = match metric {
        None => engine.read(HOT, [id(), from.into(), to.into()]).await?,
        Some(metric) => engine.read(HOT_OF, [id(), from.into(), to.into(), metric.into()]).await?,
    };
    let mut hot: HashMap<i64, Vec<Kept>> = HashMap::new();
    for row in rows {
        let (series, kept) = point(row)?;
        hot.entry(series).or_default().push(kept);
    }
    let rows = match metric {
        None => engine.read(SERIES, [id()]).await?,
        Some(metric) => engine.read(SERIES_OF, [id(), metric.into()]).await?,
    };
    let mut looks = Vec::with_capacity(rows.len());
    for row in rows {
        let SeriesRow { id, metric, extent, .. } = SeriesRow::read(row)?;
        looks.push(Look { id, metric, extent, hot: hot.remove(&id).unwrap_or_default() });
    }
    Ok(looks)
}

/// A row of the hot table: its series and the point.
pub(super) fn point(row: Row) -> Result<(i64, Kept), StoreError> {
    let mut columns = Columns::of("points", row);
    let (series, time, arrived) = (columns.integer()?, columns.integer()?, columns.integer()?);
    let damaged = || StoreError::damaged(format!("a point of series {series} of the newest telemetry"));
    let value = value_of(&mut columns)?.ok_or_else(damaged)?;
    Ok((series, Kept { time, arrived, value }))
}

pub(in crate::telemetry) async fn extent_of(engine: &Engine, id: i64) -> Result<Option<Extent>, StoreError> {
    let row = engine.read_one(ONE_SERIES, [id.into()]).await?;
    row.map(|row| Ok(SeriesRow::read(row)?.extent)).transpose()
}

pub(in crate::telemetry) async fn ends(
    engine: &Engine,
    device: DeviceId,
    metric: &str,
) -> Result<Option<(Extent, Option<(i64, i64)>)>, StoreError> {
    let Some(row) = engine.read_one(SERIES_OF, [Value::id(device), metric.into()]).await? else {
        return Ok(None);
    };
    let SeriesRow { id, .. } = SeriesRow::read(row)?;
    let row = engine.read_one(ENDS, [id.into()]).await?.unwrap_or_default();
    let mut columns = Columns::of("points", row);
    let hot = columns.maybe_integer()?.zip(columns.maybe_integer()?);
    // After the hot points: they may have been merged meanwhile.
    Ok(extent_of(engine, id).await?.map(|extent| (extent, hot)))
}

pub(in crate::telemetry) async fn all_series(engine: &Engine) -> Result<Vec<(i64, Metric)>, StoreError> {
    let mut all: Vec<(i64, Metric)> = Vec::new();
    loop {
        let last = all.last().map_or(i64::MIN, |last| last.0);
        let rows = engine.read(ALL_SERIES, [last.into(), SERIES_PER_READ.into()]).await?;
        let count = rows.len();
        for row in rows {
            let mut columns = Columns::of("series", row);
            all.push((columns.integer()?, metric(&mut columns)?));
        }
        if count < SERIES_PER_READ {
            return Ok(all);
        }
    }
}

pub(in crate::telemetry) async fn latest(
    engine: &Engine,
    device: DeviceId,
) -> Result<Vec<Sample>, StoreError> {
    let sample = |row| {
        let mut columns = Columns::of("latest", row);
        let metric = metric(&mut columns)?;
        let (time, arrived) = (columns.integer()?, columns.integer()?);
        let damaged = || StoreError::damaged(format!("what device {device} measured last"));
        let value = value_of(&mut columns)?.ok_or_else(damaged)?;
        Ok(Sample::of(&metric, Kept { time, arrived, value }))
    };
    engine.read(LATEST, [Value::id(device)]).await?.into_iter().map(sample).collect()
}

pub(in crate::telemetry) async fn metrics_of(
    engine: &Engine,
    device: DeviceId,
) -> Result<Vec<Metric>, StoreError> {
    let rows = engine.read(METRICS_OF, [Value::id(device)]).await?;
    rows.into_iter().map(|row| metric(&mut Columns::of("series", row))).collect()
}

pub(in crate::telemetry) async fn metrics(
    engine: &Engine,
    part: &str,
    limit: usize,
) -> Result<BTreeMap<Metric, usize>, StoreError> {
    let rows = engine.read(METRICS, [contains(part).into(), limit.into()]).await?;
    let count = |row| {
        let mut columns = Columns::of("series", row);
        Ok((metric(&mut columns)?, usize::try_from(columns.integer()?).unwrap_or_default()))
    };
    rows.into_iter().map(count).collect()
}

pub(in crate::telemetry) async fn metric_names(
    engine: &Engine,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let rows = engine.read(METRIC_NAMES, [limit.into()]).await?;
    rows.into_iter().map(|row| Columns::of("latest", row).text()).collect()
}

pub(in crate::telemetry) async fn last_arrival(engine: &Engine) -> Result<Option<Time>, StoreError> {
    let row = engine.read_one(LAST_ARRIVAL, []).await?.unwrap_or_default();
    Columns::of("points", row).maybe_time()
}

fn metric(columns: &mut Columns) -> Result<Metric, StoreError> {
    let name = columns.text()?;
    Metric::parse(&name).map_err(|_| StoreError::damaged("the name of a metric"))
}
