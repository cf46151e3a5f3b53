//! Schedules: every so often, or by an expression of cron in a zone at a fixed distance from UTC.

use std::collections::BTreeSet;

use crate::expression::hub::offset;
use crate::time::{Span, Time};

/// The shortest and the longest time between two moments of `every_s`, in seconds.
const EVERY_S: (i64, i64) = (10, 366 * 86_400);
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// How far the next moment is searched: 29 February comes at least every eight years.
const DAYS_MAX: i64 = 8 * 366 + 1;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 8] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Moments in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At all multiples of this since 1970 began.
    Every(Span),
    /// By an expression of cron.
    Cron(Box<Cron>),
}

/// The five fields of cron, in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: BTreeSet<i64>,
    hours: BTreeSet<i64>,
    days: BTreeSet<i64>,
    months: BTreeSet<i64>,
    weekdays: BTreeSet<i64>,
    /// As cron has it: if both days and weekdays are said, one of them is enough.
    either_day: bool,
    zone: Span,
}

impl Schedule {
    /// Every so many seconds.
    ///
    /// # Errors
    /// Which numbers it may be.
    pub fn every(seconds: i64) -> Result<Self, String> {
        match (EVERY_S.0..=EVERY_S.1).contains(&seconds) {
            true => Ok(Self::Every(Span::seconds(seconds))),
            false => Err(format!("a whole number from {} to {} is expected", EVERY_S.0, EVERY_S.1)),
        }
    }

    /// By minute, hour, day of the month, month and day of the week, with `*`, lists, ranges, steps and English names.
    ///
    /// # Errors
    /// Which field is wrong and what it may be.
    pub fn cron(text: &str, zone: &str) -> Result<Self, String> {
        let zone = offset(zone).ok_or("the zone is UTC or the distance to it, such as +01:00")?;
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(format!(
                "five fields are expected: minute, hour, day, month, day of the week; there are {}",
                parts.len()
            ));
        };
        let mut weekdays = field("day of the week", weekday, (0, 7), &WEEKDAYS)?;
        if weekdays.remove(&7) {
            weekdays.insert(0);
        }
        let cron = Cron {
            minutes: field("minute", minute, (0, 59), &[])?,
            hours: field("hour", hour, (0, 23), &[])?,
            days: field("day", day, (1, 31), &[])?,
            months: field("month", month, (1, 12), &MONTHS)?,
            weekdays,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            zone: Span::minutes(zone),
        };
        match cron.after(Time(0)) {
            Some(_) => Ok(Self::Cron(Box::new(cron))),
            None => Err("there is no such day".to_owned()),
        }
    }

    /// The first moment behind a time.
    pub fn after(&self, time: Time) -> Option<Time> {
        match self {
            Self::Every(span) => Some(Time((time.0.div_euclid(span.0) + 1).saturating_mul(span.0))),
            Self::Cron(cron) => cron.after(time),
        }
    }
}

impl Cron {
    fn after(&self, time: Time) -> Option<Time> {
        let local = (time + self.zone).0;
        let (first, minute) = (local.div_euclid(DAY_MS), local.rem_euclid(DAY_MS) / MINUTE_MS);
        for day in first..first + DAYS_MAX {
            if !self.has_day(day) {
                continue;
            }
            let times = self.hours.iter().flat_map(|hour| self.minutes.iter().map(move |m| hour * 60 + m));
            let mut times = times.filter(|at| day > first || *at > minute);
            if let Some(at) = times.next() {
                return Some(Time(day * DAY_MS + at * MINUTE_MS) - self.zone);
            }
        }
        None
    }

    /// Whether a day since 1970 is one of those.
    fn has_day(&self, number: i64) -> bool {
        let (month, day) = civil(number);
        // 1970 began on a Thursday.
        let weekday = (number + 4).rem_euclid(7);
        let (is_day, is_weekday) = (self.days.contains(&day), self.weekdays.contains(&weekday));
        let fits = if self.either_day { is_day || is_weekday } else { is_day && is_weekday };
        self.months.contains(&month) && fits
    }
}

/// Month and day of a day since 1970, by the calendar of Gregory (after Howard Hinnant's `civil_from_days`).
fn civil(number: i64) -> (i64, i64) {
    let day_of_era = (number + 719_468).rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day)
}

fn field(noun: &str, text: &str, range: (i64, i64), names: &[&str]) -> Result<BTreeSet<i64>, String> {
    let wrong =
        || format!("{noun}: * or numbers from {} to {}, such as 1,5 or 10-20 or */2", range.0, range.1);
    let number = |word: &str| {
        let word = word.to_ascii_lowercase();
        let named = names.iter().position(|name| *name == word).and_then(|at| i64::try_from(at).ok());
        let first = if range.0 == 1 { 1 } else { 0 };
        let is_plain = !word.is_empty() && word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_digit());
        let number = named.map(|at| at + first).or_else(|| word.parse().ok().filter(|_| is_plain));
        number.filter(|number| (range.0..=range.1).contains(number)).ok_or_else(wrong)
    };
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(step.parse::<i64>().ok().filter(|n| (1..=59).contains(n)))),
            None => (part, None),
        };
        let step_by = match step {
            None => 1,
            Some(Some(step)) => step,
            Some(None) => return Err(wrong()),
        };
        let (from, to) = match (span, span.split_once('-')) {
            ("*", _) => range,
            (_, Some((from, to))) => (number(from)?, number(to)?),
            (one, None) => (number(one)?, if step.is_some() { range.1 } else { number(one)? }),
        };
        if from > to {
            return Err(wrong());
        }
        found.extend((from..=to).step_by(usize::try_from(step_by).unwrap_or(1)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday 2026-11-30 at 04:50:07 UTC.
    const NOW: Time = Time(1_796_014_207_000);

    fn next(text: &str, zone: &str) -> i64 {
        let next =
            Schedule::cron(text, zone).unwrap_or_else(|why| panic!("{text}: {why}")).after(NOW).unwrap();
        (next.0 - (NOW.0 - 7_000)) / MINUTE_MS
    }

    #[test]
    fn the_next_moment_is_found() {
        let day = 24 * 60;
        let cases = [
            ("* * * * *", "UTC", 1),
            ("50 4 * * *", "UTC", day),
            ("0 7 * * *", "UTC", 130),
            ("0 7 * * *", "+02:00", 10),
            ("0 22 * * *", "-06:30", day - 20),
            ("*/15 * * * *", "UTC", 10),
            ("0 0 1 * *", "UTC", day - 290),
            ("0 0 * * sun", "UTC", 6 * day - 290),
            ("0 0 * * 7", "UTC", 6 * day - 290),
            ("0 0 1 jan *", "UTC", 32 * day - 290),
            ("0 0 15 * tue", "UTC", day - 290),
            ("5-10/5,52 4 * * 1-5", "UTC", 2),
            ("0 0 29 2 *", "UTC", 456 * day - 290),
        ];
        for (text, zone, minutes) in cases {
            assert_eq!(next(text, zone), minutes, "{text} in {zone}");
        }
        let every = Schedule::every(3600).unwrap();
        assert_eq!(every.after(NOW), Some(Time(1_796_014_800_000)));
        assert_eq!(every.after(Time(1_796_014_800_000)), Some(Time(1_796_018_400_000)));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let cases = [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 30 2 *",
            "a * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "1- * * * *",
            ", * * * *",
            "* * * * 8",
            "-1 * * * *",
        ];
        for text in cases {
            assert!(Schedule::cron(text, "UTC").is_err(), "{text} was taken");
        }
        assert!(Schedule::cron("* * * * *", "Europe/Berlin").is_err());
        assert!(Schedule::every(9).is_err());
    }
}
