//! What is ripe: hot points that are to be merged, a few series at a time, and then leave the hot table.

use std::collections::VecDeque;

use super::Memory;
use super::chunk::Kept;
use super::hot::Hot;
use super::own::DELETE_POINTS;
use super::rollup::Extent;
use super::shared::{self, Progress};
use crate::engine::Statement;
use crate::{Store, StoreError};

/// A step ends with the series that brings it to so many bytes of points.
const STEP_BYTES: usize = 512 * 1024;
/// Most series of a step.
const STEP_SERIES_MAX: usize = 500;
/// Rows that leave the hot table at once.
const STEP_ROWS: i64 = 5_000;

/// Hot points of which none is added any more.
pub(super) enum Ripe {
    /// Of the embedded engine: the rows up to this one, and the series of the steps to come.
    Rows { last: i64, steps: VecDeque<Vec<i64>> },
    /// Of a shared database: a closed partition, and how far it is merged without and with the step that was given.
    Hour { hour: i64, made: i64, before: Progress, after: Progress },
}

impl Ripe {
    /// The step that was given is given again; whether it can be.
    pub(super) fn again(&mut self) -> bool {
        match self {
            Self::Rows { .. } => false,
            Self::Hour { before, after, .. } => {
                *after = *before;
                true
            }
        }
    }
}

/// A series of a step.
pub(super) struct Due {
    pub(super) id: i64,
    pub(super) extent: Extent,
    pub(super) points: Vec<Kept>,
}

impl Store {
    /// What arrived in hours that are over, or everything if it is much.
    pub(super) async fn ripe(&self, now_ms: i64) -> Result<Vec<Ripe>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => {
                let hot = own.hot();
                let rows = |last| Ripe::Rows { last, steps: hot.steps(last) };
                Ok(hot.ripe(now_ms).map(rows).into_iter().collect())
            }
            Memory::Shared(shared) => shared.ripe(self.engine(), now_ms).await,
        }
    }

    /// The series of the next step; none if it was the last.
    pub(super) async fn due(&self, ripe: &mut Ripe) -> Result<Vec<Due>, StoreError> {
        match (&self.telemetry_state().memory, ripe) {
            (Memory::Own(own), Ripe::Rows { last, steps }) => {
                Ok(steps.pop_front().map(|ids| own.hot().due(&ids, *last)).unwrap_or_default())
            }
            (Memory::Shared(shared), Ripe::Hour { hour, before, after, .. }) => {
                let (due, progress) = shared.due(self.engine(), *hour, *after).await?;
                *before = std::mem::replace(after, progress);
                Ok(due)
            }
            (Memory::Own(_), Ripe::Hour { .. }) | (Memory::Shared(_), Ripe::Rows { .. }) => Ok(Vec::new()),
        }
    }

    /// Everything of it is in chunks: it leaves the hot table. Gives how many points that were.
    pub(super) async fn forget(&self, ripe: Ripe) -> Result<usize, StoreError> {
        match (&self.telemetry_state().memory, ripe) {
            (Memory::Own(own), Ripe::Rows { last, .. }) => {
                let first = own.hot().first_row;
                let mut row = first;
                while row <= last {
                    let end = last.min(row + STEP_ROWS - 1);
                    let delete = Statement::new(DELETE_POINTS, [row.into(), end.into()]);
                    self.engine().write_freely(vec![delete].into()).await?;
                    row = end + 1;
                }
                own.hot().forget(last);
                Ok(usize::try_from(last + 1 - first).unwrap_or(0))
            }
            (Memory::Shared(shared), Ripe::Hour { hour, made, after, .. }) => {
                shared.forget(self.engine(), (hour, made), after).await
            }
            (Memory::Own(_), Ripe::Hour { .. }) | (Memory::Shared(_), Ripe::Rows { .. }) => Ok(0),
        }
    }

    /// A series of a deleted device.
    pub(super) async fn dropped(&self) -> Result<Option<(i64, Extent)>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => {
                let hot = own.hot();
                let last = hot.dropped.last().copied();
                Ok(last.map(|id| (id, hot.series.get(&id).map(Extent::of).unwrap_or_default())))
            }
            Memory::Shared(_) => shared::dropped(self.engine()).await,
        }
    }

    /// A series of a deleted device is not on disk any more.
    pub(super) fn forget_dropped(&self, id: i64) {
        match &self.telemetry_state().memory {
            Memory::Own(own) => {
                let mut hot = own.hot();
                hot.dropped.retain(|dropped| *dropped != id);
                hot.series.remove(&id);
            }
            Memory::Shared(_) => {}
        }
    }
}

impl Hot {
    /// The series that have points up to a row, in steps.
    fn steps(&self, last_row: i64) -> VecDeque<Vec<i64>> {
        let mut ids: Vec<(i64, usize)> = Vec::new();
        for (id, series) in &self.series {
            let ripe = series.hot.iter().filter(|point| point.row <= last_row);
            let weight: usize = ripe.map(|point| point.kept.weight()).sum();
            if weight > 0 {
                ids.push((*id, weight));
            }
        }
        ids.sort_unstable();
        let mut steps: VecDeque<Vec<i64>> = VecDeque::new();
        let mut bytes = usize::MAX;
        for (id, weight) in ids {
            match steps.back_mut() {
                Some(step) if bytes < STEP_BYTES && step.len() < STEP_SERIES_MAX => {
                    step.push(id);
                    bytes += weight;
                }
                _ => {
                    steps.push_back(vec![id]);
                    bytes = weight;
                }
            }
        }
        steps
    }

    /// What there is of these series up to a row. One may be gone meanwhile.
    fn due(&self, ids: &[i64], last_row: i64) -> Vec<Due> {
        let due = |id: &i64| {
            let series = self.series.get(id)?;
            let ripe = series.hot.iter().filter(|point| point.row <= last_row);
            let points = ripe.map(|point| point.kept.clone()).collect();
            Some(Due { id: *id, extent: Extent::of(series), points })
        };
        ids.iter().filter_map(due).collect()
    }
}
