//! The hours in which a series has chunks: a few runs of hours. It may name hours that have none, never miss
//! one.

use super::varint::{Reader, put, put_signed};

/// Milliseconds of an hour.
pub(super) const HOUR_MS: i64 = 3_600_000;
/// Most runs; beyond it the two that are closest become one.
const RUNS_MAX: usize = 200;

/// The hour of a time, from 1970.
pub(super) fn hour_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(HOUR_MS)
}

/// Runs of hours, first and last, in order and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hours(Vec<(i64, i64)>);

impl Hours {
    pub(super) fn contains(&self, hour: i64) -> bool {
        let next = self.0.partition_point(|run| run.1 < hour);
        self.0.get(next).is_some_and(|run| run.0 <= hour)
    }

    pub(super) fn insert(&mut self, hour: i64) {
        let next = self.0.partition_point(|run| run.1 < hour);
        if self.0.get(next).is_some_and(|run| run.0 <= hour) {
            return;
        }
        self.0.insert(next, (hour, hour));
        self.join_neighbours(next, 1);
        while self.0.len() > RUNS_MAX {
            let gap = |i: &usize| self.0[i + 1].0 - self.0[*i].1;
            let Some(closest) = (0..self.0.len() - 1).min_by_key(gap) else { return };
            self.0[closest].1 = self.0[closest + 1].1;
            self.0.remove(closest + 1);
        }
    }

    fn join_neighbours(&mut self, at: usize, apart: i64) {
        if self.0.get(at + 1).is_some_and(|after| after.0 - self.0[at].1 <= apart) {
            self.0[at].1 = self.0[at + 1].1;
            self.0.remove(at + 1);
        }
        if at > 0 && self.0[at].0 - self.0[at - 1].1 <= apart {
            self.0[at - 1].1 = self.0[at].1;
            self.0.remove(at);
        }
    }

    /// Forgets everything up to this hour.
    pub(super) fn remove_through(&mut self, last: i64) {
        self.0.retain(|run| run.1 > last);
        if let Some(first) = self.0.first_mut() {
            first.0 = first.0.max(last + 1);
        }
    }

    /// The first and the last hour.
    pub(super) fn ends(&self) -> Option<(i64, i64)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }

    /// The runs that lie in `first..=last`, cut to it, newest first.
    pub(super) fn within(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, i64)> {
        let cut = move |run: &(i64, i64)| (run.0.max(first), run.1.min(last));
        self.0.iter().rev().map(cut).filter(|run| run.0 <= run.1)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut before = 0;
        for (first, last) in &self.0 {
            put_signed(&mut bytes, first - before);
            put(&mut bytes, (last - first).unsigned_abs());
            before = *last;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut runs: Vec<(i64, i64)> = Vec::new();
        let mut before = 0i64;
        while !reader.0.is_empty() {
            let first = before.checked_add(reader.signed()?)?;
            let last = first.checked_add_unsigned(reader.number()?)?;
            if runs.last().is_some_and(|run| run.1 >= first) {
                return None;
            }
            runs.push((first, last));
            before = last;
        }
        Some(Self(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_touch_are_one_run() {
        let mut hours = Hours::default();
        for hour in [5, 3, 4, 9, -2, 4] {
            hours.insert(hour);
        }
        assert_eq!(hours, Hours(vec![(-2, -2), (3, 5), (9, 9)]));
        assert_eq!(hours.within(4, 100).collect::<Vec<_>>(), [(9, 9), (4, 5)]);
        assert!(hours.contains(4) && hours.contains(-2) && !hours.contains(6));
        assert_eq!(Hours::from_bytes(&hours.to_bytes()), Some(hours.clone()));
        hours.remove_through(4);
        assert_eq!((hours.ends(), hours.contains(4)), (Some((5, 9)), false));
        hours.remove_through(9);
        assert_eq!(hours.ends(), None);
    }

    #[test]
    fn many_runs_become_few_and_none_is_missed() {
        let mut hours = Hours::default();
        for hour in 0..1000 {
            hours.insert(hour * hour % 7919);
        }
        assert!(hours.0.len() <= RUNS_MAX);
        assert!((0..1000).all(|hour| hours.contains(hour * hour % 7919)));
        assert_eq!(hour_of(-1), -1);
    }
}
