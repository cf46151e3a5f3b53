//! How long after a failure something is tried again.

use std::time::Duration;

/// The first pause and the longest; each is twice as long as the one before.
const PAUSES_MS: (u64, u64) = (500, 30_000);

/// Pauses of one unit.
#[derive(Debug)]
pub(super) struct Pace {
    failures: u32,
    /// Another row of numbers for each unit, so that those that failed together do not come back together.
    seed: u64,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, seed: seed | 1 }
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed. Returns how long to wait: up to a quarter more or less than twice the last time.
    pub(super) fn next(&mut self) -> Duration {
        let (first, most) = PAUSES_MS;
        let pause = first.checked_shl(self.failures).unwrap_or(most).min(most);
        self.failures = (self.failures + 1).min(16);
        // xorshift: it need not be good, only different.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        Duration::from_millis(pause * 3 / 4 + self.seed % (pause / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let mut pace = Pace::new(7);
        let ms: Vec<u128> = (0..40).map(|_| pace.next().as_millis()).collect();
        for (n, ms) in ms.iter().enumerate() {
            let about = (500_u128 << n.min(7)).min(30_000);
            assert!((about * 3 / 4..=about * 5 / 4).contains(ms), "pause {n}: {ms}");
        }
        pace.reset();
        assert!(pace.next().as_millis() <= 625);
        assert_ne!(Pace::new(1).next(), Pace::new(1 << 40).next());
    }
}
