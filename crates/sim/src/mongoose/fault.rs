//! What goes wrong with a light: drawn once for each from the seed of the fleet, so that a run can be repeated.

use std::str::FromStr;

use anyhow::{Context, bail};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power fails once or some times in the middle of an update.
    PowerCut,
    /// The commit of an update is lost on its way, or the answer to it.
    LostCommit,
    /// The light is another board than its neighbours.
    WrongPlatform,
    /// New firmware crashes at its start; the boot loader returns to the former.
    Reverts,
    /// New firmware never comes up.
    Silent,
    /// It reports the opposite of what it was told, for ever.
    Contradicts,
}

const NAMES: [(&str, Fault); 6] = [
    ("power-cut", Fault::PowerCut),
    ("lost-commit", Fault::LostCommit),
    ("wrong-platform", Fault::WrongPlatform),
    ("reverts", Fault::Reverts),
    ("silent", Fault::Silent),
    ("contradicts", Fault::Contradicts),
];

impl Fault {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, fault)| *fault == self).map_or("", |(name, _)| name)
    }
}

/// How many of a hundred lights have a fault.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    fault: Fault,
    percent: u64,
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let names = NAMES.map(|(name, _)| name).join(", ");
        let (name, percent) =
            text.split_once('=').with_context(|| format!("{text:?} is not FAULT=PERCENT"))?;
        let fault = NAMES.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault);
        let fault = fault.with_context(|| format!("{name:?} is no fault; they are {names}"))?;
        match percent.parse() {
            Ok(percent @ 0..=100) => Ok(Self { fault, percent }),
            _ => bail!("{percent:?} is no number of percent from 0 to 100"),
        }
    }
}

/// What a light is in for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    /// At most one fault.
    pub(super) fault: Option<Fault>,
    /// For the particulars of it.
    pub(super) chance: u64,
}

/// Draws the fate of one light.
pub(super) fn fate(seed: u64, light: usize, shares: &[Share]) -> Fate {
    let drawn = mix(seed ^ mix(light as u64));
    let mut place = drawn % 100;
    let mut fault = None;
    for share in shares {
        if place < share.percent {
            fault = Some(share.fault);
            break;
        }
        place -= share.percent;
    }
    Fate { fault, chance: mix(drawn) }
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults_in_their_shares() {
        let shares: Vec<Share> =
            ["power-cut=20", "silent=10"].iter().map(|text| text.parse().expect("is a share")).collect();
        let draw = |seed| (0..1000).map(|light| fate(seed, light, &shares).fault).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let count = |fault| draw(7).iter().filter(|drawn| **drawn == Some(fault)).count();
        assert!((150..250).contains(&count(Fault::PowerCut)), "{}", count(Fault::PowerCut));
        assert!((60..140).contains(&count(Fault::Silent)), "{}", count(Fault::Silent));
        for wrong in ["power-cut", "nonsense=1", "silent=101", "silent=x"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
