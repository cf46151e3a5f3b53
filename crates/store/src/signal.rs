//! What rules are told, out of what is stored: in the order in which the hub took it.
//!
//! A point is found by when it was measured and told by when it arrived. Points that were longer than
//! [`LATE_MAX`] on their way are no signals, so each arrival is found near its time.

use motehub_domain::change::{Actor, ChangeKind};
use motehub_domain::device::Reach;
use motehub_domain::id::DeviceId;
use motehub_domain::rule::{Known, LATE_MAX, Said, Signal, Wants};
use motehub_domain::telemetry::Metric;
use motehub_domain::time::{Span, Time};
use serde_json::Value as Json;

use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// How far ahead of its arrival a point may have been measured, by a clock that is wrong.
const AHEAD_MAX: Span = Span::days(1);
/// Before a moment, a newest point is looked for in the last day first, and then in all that there is.
const NEAR: Span = Span::days(1);

sql! {
    SHADOWS = "select at, desired, reported, actor_kind, is_deleted from shadow_revisions
        where device = $1 and name = '' and at >= $2 and at < $3 order by revision";
    SHADOW_BEFORE = "select at, desired, reported, actor_kind, is_deleted from shadow_revisions
        where device = $1 and name = '' and at < $2 order by revision desc limit 1";
    OLDEST_SHADOW = "select min(at) from shadow_revisions where device = $1 and name = '' and revision > 1
        and not exists (select 1 from shadow_revisions f where f.device = $1 and f.name = '' and f.revision = 1)";
    FACTS = "select at, kind, after_json from changes where device = $1 and at >= $2 and at < $3
        and kind in ('device_online', 'device_offline', 'device_unreachable', 'device_event') order by seq";
    REACH_BEFORE = "select at, kind, after_json from changes where device = $1 and at < $2
        and kind in ('device_online', 'device_offline', 'device_unreachable') order by seq desc limit 1";
    HEARD_BEFORE = "select max(at) from (
        select max(at) as at from changes where device = $1 and at < $2 and kind in ('device_online', 'device_event')
        union all select max(at) as at from shadow_revisions
        where device = $1 and name = '' and at < $2 and actor_kind = 'device') as heard";
    STARTS = "select at, after_json from changes where kind = 'hub_started' and at >= $1 and at < $2 order by seq";
    LAST_FACT = "select max(at) from (select coalesce(max(at), 0) as at from changes
        union all select coalesce(max(at), 0) as at from shadow_revisions) as facts";
}

fn shadow_of(row: Row) -> Result<Signal, StoreError> {
    let mut columns = Columns::of("shadow_revisions", row);
    let at = columns.time()?;
    let (desired, reported) = (columns.json()?, columns.json()?);
    let by_device = Actor::from_parts(&columns.text()?, "").is_some_and(|actor| actor.kind() == "device");
    let is_deleted = columns.boolean()?;
    let said = match is_deleted {
        true => Said::Shadow { desired: Json::Null, reported: Json::Null, by_device },
        false => Said::Shadow { desired, reported, by_device },
    };
    Ok(Signal { at, said })
}

fn fact_of(row: Row) -> Result<Option<Signal>, StoreError> {
    let mut columns = Columns::of("changes", row);
    let at = columns.time()?;
    let (kind, after) = (columns.word(ChangeKind::parse)?, columns.maybe_json()?);
    Ok(said_by(kind, after.as_ref()).map(|said| Signal { at, said }))
}

/// What rules are told of a fact about a device.
pub fn said_by(kind: ChangeKind, after: Option<&Json>) -> Option<Said> {
    Some(match kind {
        ChangeKind::DeviceOnline => Said::Presence(Reach::Online),
        ChangeKind::DeviceOffline => Said::Presence(Reach::Offline),
        ChangeKind::DeviceUnreachable => Said::Presence(Reach::Unreachable),
        ChangeKind::DeviceEvent => {
            let after = after?;
            Said::Event { name: after["name"].as_str()?.to_owned(), data: after["data"].clone() }
        }
        _ => return None,
    })
}

impl Store {
    /// What rules are told of a device that the hub took in `from..to`, in its order; and how many points that were.
    ///
    /// # Errors
    /// If the database cannot be read, or a chunk of telemetry is damaged.
    pub async fn signals(
        &self,
        device: DeviceId,
        wants: &Wants,
        from: Time,
        to: Time,
    ) -> Result<(Vec<Signal>, usize), StoreError> {
        let range = [Value::id(device), from.into(), to.into()];
        let mut signals = Vec::new();
        for row in self.engine().read(FACTS, range.clone()).await? {
            signals.extend(fact_of(row)?);
        }
        if wants.shadow {
            for row in self.engine().read(SHADOWS, range).await? {
                signals.push(shadow_of(row)?);
            }
        }
        let mut points = 0;
        for metric in self.wanted_metrics(device, wants).await? {
            let before = signals.len();
            self.points(device, &metric, (from - LATE_MAX, to + AHEAD_MAX), (from, to), &mut signals).await?;
            points += signals.len() - before;
        }
        signals.sort_by(Signal::order);
        Ok((signals, points))
    }

    async fn wanted_metrics(&self, device: DeviceId, wants: &Wants) -> Result<Vec<Metric>, StoreError> {
        match wants.all_points {
            true => self.metrics_of(device).await,
            false => Ok(wants.metrics.iter().cloned().collect()),
        }
    }

    /// The points of a series that were measured and taken in these ranges.
    async fn points(
        &self,
        device: DeviceId,
        metric: &Metric,
        measured: (Time, Time),
        taken: (Time, Time),
        signals: &mut Vec<Signal>,
    ) -> Result<(), StoreError> {
        let mut next = Some(measured.0);
        while let Some(from) = next {
            let (part, more) = self.telemetry_part(device, metric, from, measured.1).await?;
            let taken = part.into_iter().filter(|it| it.arrived >= taken.0 && it.arrived < taken.1);
            signals.extend(taken.map(|it| Signal {
                at: it.arrived,
                said: Said::Point { metric: it.metric, time: it.time, value: it.value.to_json() },
            }));
            next = more;
        }
        Ok(())
    }

    /// What is known of a device from what the hub took before a moment; `device` as conditions see it.
    ///
    /// # Errors
    /// As [`Store::signals`].
    pub async fn known_before(
        &self,
        id: DeviceId,
        device: (Json, Time),
        wants: &Wants,
        at: Time,
    ) -> Result<Known, StoreError> {
        let mut known = Known { device: device.0, created_at: device.1, ..Known::default() };
        let mut signals = Vec::new();
        if let Some(row) = self.engine().read_one(REACH_BEFORE, [Value::id(id), at.into()]).await? {
            signals.extend(fact_of(row)?);
        }
        if wants.shadow
            && let Some(row) = self.engine().read_one(SHADOW_BEFORE, [Value::id(id), at.into()]).await?
        {
            signals.push(shadow_of(row)?);
        }
        for metric in self.wanted_metrics(id, wants).await? {
            self.newest_before(id, &metric, at, &mut signals).await?;
        }
        signals.sort_by(Signal::order);
        for signal in &signals {
            known.take(signal);
        }
        if wants.all_points
            && let Some(row) = self.engine().read_one(HEARD_BEFORE, [Value::id(id), at.into()]).await?
        {
            known.heard_at = known.heard_at.max(Columns::of("changes", row).maybe_time()?);
        }
        Ok(known)
    }

    /// The points of the last day, or else the newest that there is with the day before it.
    async fn newest_before(
        &self,
        device: DeviceId,
        metric: &Metric,
        at: Time,
        signals: &mut Vec<Signal>,
    ) -> Result<(), StoreError> {
        let before = signals.len();
        let taken = (Time(i64::MIN), at);
        self.points(device, metric, (at - NEAR, at + AHEAD_MAX), taken, signals).await?;
        if signals.len() > before {
            return Ok(());
        }
        let (newest, _) = self.telemetry(device, Some(metric.as_str()), Time(i64::MIN), at - NEAR, 1).await?;
        let Some(newest) = newest.first() else { return Ok(()) };
        self.points(device, metric, (newest.time - NEAR, at - NEAR), taken, signals).await
    }

    /// Whether the history of a device's shadow does not reach back to a moment, and how far it does.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shadow_history_from(&self, device: DeviceId) -> Result<Option<Time>, StoreError> {
        let row = self.engine().read_one(OLDEST_SHADOW, [Value::id(device)]).await?;
        row.map_or(Ok(None), |row| Columns::of("shadow_revisions", row).maybe_time())
    }

    /// When the hub started in `from..to`, and since when it was off then.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn starts(&self, from: Time, to: Time) -> Result<Vec<(Time, Time)>, StoreError> {
        let mut starts = Vec::new();
        for row in self.engine().read(STARTS, [from.into(), to.into()]).await? {
            let mut columns = Columns::of("changes", row);
            let (at, after) = (columns.time()?, columns.maybe_json()?);
            let since = after.and_then(|after| after["off_since"].as_i64()).map_or(at, Time);
            starts.push((since, at));
        }
        Ok(starts)
    }

    /// The last moment at which something was stored that rules are told.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_taken(&self) -> Result<Time, StoreError> {
        let row = self.engine().read_one(LAST_FACT, []).await?;
        let fact = row.map_or(Ok(Time(0)), |row| Columns::of("changes", row).time())?;
        let hot = self.last_arrival().await?;
        Ok(fact.max(hot.unwrap_or(Time(0))))
    }
}
