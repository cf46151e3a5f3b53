//! What is known of many points of one series without keeping them: how many, from when to when, and of numbers
//! the least, the greatest, the sum and the last, of other values the last and how often they changed.
//!
//! Summaries of parts are joined in the order of time, and then say what one summary of all points would say.

use motehub_domain::telemetry::PointValue;

use super::chunk::{Kept, as_number, as_whole, kind_of, pack_value, unpack_value};
use super::varint::{Reader, put, put_signed};

/// A text is kept up to this many bytes.
const TEXT_BYTES_MAX: usize = 120;
/// What a sum that would not fit is scaled by, as a power of two.
const SCALE: f64 = 18_446_744_073_709_551_616.0;
const HAS_NUMBERS: u8 = 1;
const HAS_STATES: u8 = 2;
const IS_SCALED: u8 = 4;
const HAS_REST: u8 = 8;
/// Stands where a number is not a whole number of at most four decimals.
const AS_IT_IS: u8 = 9;
const DECIMALS_MAX: i32 = 4;

/// See the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many points.
    pub count: u64,
    /// When the first one was measured, in milliseconds since 1970.
    pub first: i64,
    /// When the last one was measured.
    pub last: i64,
    /// Of those that are numbers.
    pub numbers: Option<Numbers>,
    /// Of those that are not.
    pub states: Option<States>,
}

/// What is known of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// How many.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// All together.
    pub sum: Sum,
    /// The last.
    pub last: f64,
    /// When that was.
    pub last_at: i64,
}

/// What is known of booleans, texts and JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// How often a value differed from the one before it.
    pub changes: u64,
    /// The last; of a long text the beginning.
    pub last: PointValue,
    /// When that was.
    pub last_at: i64,
    first_mark: u64,
    last_mark: u64,
}

/// A sum with twice the digits of a number, so that it hardly depends on the order of adding.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sum {
    high: f64,
    low: f64,
    is_scaled: bool,
}

impl Summary {
    /// Of one point.
    pub(super) fn of(point: &Kept) -> Self {
        let (time, value) = (point.time, &point.value);
        let mut summary = Self { count: 1, first: time, last: time, numbers: None, states: None };
        match value {
            PointValue::Number(number) => {
                summary.numbers = Some(Numbers {
                    count: 1,
                    min: *number,
                    max: *number,
                    sum: Sum::of(*number),
                    last: *number,
                    last_at: time,
                });
            }
            PointValue::Boolean(_) | PointValue::Text(_) | PointValue::Json(_) => {
                let mark = mark_of(value);
                summary.states = Some(States {
                    changes: 0,
                    last: clipped(value),
                    last_at: time,
                    first_mark: mark,
                    last_mark: mark,
                });
            }
        }
        summary
    }

    /// Takes another one in. Of two that overlap in time, changes are counted as if they did not.
    pub(super) fn join(&mut self, other: &Self) {
        let is_later = other.first >= self.first;
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        match (&mut self.numbers, other.numbers) {
            (Some(own), Some(other)) => own.join(other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
        match (&mut self.states, &other.states) {
            (Some(own), Some(other)) => own.join(other, is_later),
            (own @ None, other) => own.clone_from(other),
            (Some(_), None) => {}
        }
    }

    /// Joins into a place that may be empty.
    pub(super) fn join_into(place: &mut Option<Self>, other: &Self) {
        match place {
            Some(own) => own.join(other),
            None => *place = Some(other.clone()),
        }
    }

    /// The newest value.
    pub fn newest(&self) -> PointValue {
        match (&self.numbers, &self.states) {
            (Some(numbers), Some(states)) if numbers.last_at > states.last_at => {
                PointValue::Number(numbers.last)
            }
            (_, Some(states)) => states.last.clone(),
            (Some(numbers), None) => PointValue::Number(numbers.last),
            (None, None) => PointValue::Text(String::new()),
        }
    }

    /// Writes it; times are written as distances from `start`.
    pub(super) fn pack(&self, bytes: &mut Vec<u8>, start: i64) {
        let mut flags = 0;
        if let Some(numbers) = &self.numbers {
            flags |= HAS_NUMBERS;
            flags |= if numbers.sum.is_scaled { IS_SCALED } else { 0 };
            flags |= if numbers.sum.low == 0.0 { 0 } else { HAS_REST };
        }
        flags |= if self.states.is_some() { HAS_STATES } else { 0 };
        bytes.push(flags);
        put(bytes, self.count);
        put_signed(bytes, self.first.wrapping_sub(start));
        put_signed(bytes, self.last.wrapping_sub(self.first));
        let is_mixed = self.numbers.is_some() && self.states.is_some();
        if let Some(numbers) = &self.numbers {
            if is_mixed {
                put(bytes, numbers.count);
                put_signed(bytes, self.last.wrapping_sub(numbers.last_at));
            }
            put_number(bytes, numbers.min);
            if numbers.count > 1 {
                put_number(bytes, numbers.max);
                put_number(bytes, numbers.last);
                bytes.extend(numbers.sum.high.to_bits().to_le_bytes());
                if flags & HAS_REST != 0 {
                    bytes.extend(numbers.sum.low.to_bits().to_le_bytes());
                }
            }
        }
        if let Some(states) = &self.states {
            put_signed(bytes, self.last.wrapping_sub(states.last_at));
            put(bytes, states.changes);
            bytes.extend(states.first_mark.to_le_bytes());
            bytes.extend(states.last_mark.to_le_bytes());
            pack_value(bytes, &states.last);
        }
    }

    /// Reads what [`Summary::pack`] wrote.
    pub(super) fn unpack(reader: &mut Reader<'_>, start: i64) -> Option<Self> {
        let flags = reader.byte()?;
        let count = reader.number()?;
        let first = start.wrapping_add(reader.signed()?);
        let last = first.wrapping_add(reader.signed()?);
        let mut summary = Self { count, first, last, numbers: None, states: None };
        let is_mixed = flags & HAS_NUMBERS != 0 && flags & HAS_STATES != 0;
        if flags & HAS_NUMBERS != 0 {
            let (count, last_at) = match is_mixed {
                true => (reader.number()?, last.wrapping_sub(reader.signed()?)),
                false => (count, last),
            };
            let min = number(reader)?;
            let mut numbers = Numbers { count, min, max: min, sum: Sum::of(min), last: min, last_at };
            if count > 1 {
                numbers.max = number(reader)?;
                numbers.last = number(reader)?;
                numbers.sum = Sum { high: raw(reader)?, low: 0.0, is_scaled: flags & IS_SCALED != 0 };
                numbers.sum.low = if flags & HAS_REST != 0 { raw(reader)? } else { 0.0 };
            }
            summary.numbers = Some(numbers);
        }
        if flags & HAS_STATES != 0 {
            let last_at = last.wrapping_sub(reader.signed()?);
            let changes = reader.number()?;
            let first_mark = u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?);
            let last_mark = u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?);
            let last = unpack_value(reader)?;
            summary.states = Some(States { changes, last, last_at, first_mark, last_mark });
        }
        Some(summary)
    }
}

impl Numbers {
    fn join(&mut self, other: Self) {
        self.count += other.count;
        if other.min.total_cmp(&self.min).is_lt() {
            self.min = other.min;
        }
        if other.max.total_cmp(&self.max).is_gt() {
            self.max = other.max;
        }
        self.sum = self.sum.plus(other.sum);
        if other.last_at >= self.last_at {
            (self.last, self.last_at) = (other.last, other.last_at);
        }
    }

    /// The average.
    pub fn average(&self) -> f64 {
        self.sum.shared_by(self.count).clamp(self.min, self.max)
    }
}

impl States {
    fn join(&mut self, other: &Self, is_later: bool) {
        let (before, after) = if is_later { (&*self, other) } else { (other, &*self) };
        let between = u64::from(before.last_mark != after.first_mark);
        let newest = if after.last_at >= before.last_at { after } else { before };
        *self = Self {
            changes: before.changes + after.changes + between,
            last: newest.last.clone(),
            last_at: newest.last_at,
            first_mark: before.first_mark,
            last_mark: newest.last_mark,
        };
    }
}

impl Sum {
    fn of(number: f64) -> Self {
        Self { high: number, low: 0.0, is_scaled: false }
    }

    fn plus(self, other: Self) -> Self {
        if self.is_scaled == other.is_scaled {
            let sum = self.added(other);
            if sum.high.is_finite() || self.is_scaled {
                return sum;
            }
        }
        self.scaled().added(other.scaled())
    }

    fn added(self, other: Self) -> Self {
        let (high, rest) = exact(self.high, other.high);
        let (low, lost) = exact(self.low, other.low);
        let (high, rest) = exact(high, rest + low);
        let (high, low) = exact(high, rest + lost);
        Self { high, low, is_scaled: self.is_scaled }
    }

    fn scaled(self) -> Self {
        match self.is_scaled {
            true => self,
            false => Self { high: self.high / SCALE, low: self.low / SCALE, is_scaled: true },
        }
    }

    fn shared_by(self, count: u64) -> f64 {
        let share = self.high / count as f64;
        if self.is_scaled { share * SCALE } else { share }
    }

    /// The sum; `None` if it is greater than any number.
    pub fn value(self) -> Option<f64> {
        Some(if self.is_scaled { self.high * SCALE } else { self.high }).filter(|sum| sum.is_finite())
    }
}

/// The sum, and what was lost by rounding it.
fn exact(one: f64, other: f64) -> (f64, f64) {
    let sum = one + other;
    let added = sum - one;
    (sum, (one - (sum - added)) + (other - added))
}

fn clipped(value: &PointValue) -> PointValue {
    match value {
        PointValue::Text(text) | PointValue::Json(text) if text.len() > TEXT_BYTES_MAX => {
            let mut end = TEXT_BYTES_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            PointValue::Text(format!("{}…", &text[..end]))
        }
        PointValue::Text(_) | PointValue::Json(_) | PointValue::Boolean(_) | PointValue::Number(_) => {
            value.clone()
        }
    }
}

/// The same for equal values, almost surely different for others: FNV-1a.
fn mark_of(value: &PointValue) -> u64 {
    let truth = [match value {
        PointValue::Boolean(truth) => u8::from(*truth),
        PointValue::Number(_) | PointValue::Text(_) | PointValue::Json(_) => 0,
    }];
    let bytes = match value {
        PointValue::Text(text) | PointValue::Json(text) => text.as_bytes(),
        PointValue::Boolean(_) | PointValue::Number(_) => &truth,
    };
    let step = |mark: u64, byte: &u8| (mark ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    std::iter::once(&kind_of(value)).chain(bytes).fold(0xcbf2_9ce4_8422_2325, step)
}

fn put_number(bytes: &mut Vec<u8>, number: f64) {
    for decimals in 0..=DECIMALS_MAX {
        if let Some(whole) = as_whole(number, decimals) {
            bytes.push(decimals as u8);
            put_signed(bytes, whole);
            return;
        }
    }
    bytes.push(AS_IT_IS);
    bytes.extend(number.to_bits().to_le_bytes());
}

fn number(reader: &mut Reader<'_>) -> Option<f64> {
    match reader.byte()? {
        AS_IT_IS => raw(reader),
        decimals if i32::from(decimals) <= DECIMALS_MAX => {
            Some(as_number(reader.signed()?, i32::from(decimals)))
        }
        _ => None,
    }
}

fn raw(reader: &mut Reader<'_>) -> Option<f64> {
    Some(f64::from_bits(u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = PointValue> {
        prop_oneof![
            4 => (-1_000_000i32..1_000_000).prop_map(|n| PointValue::Number(f64::from(n) / 1000.0)),
            1 => prop_oneof![Just(1e308), Just(-1e308), Just(5e-324)].prop_map(PointValue::Number),
            1 => any::<bool>().prop_map(PointValue::Boolean),
            1 => ".{0,200}".prop_map(PointValue::Text),
        ]
    }

    fn all(points: &[Kept]) -> Option<Summary> {
        let mut whole = None;
        points.iter().for_each(|point| Summary::join_into(&mut whole, &Summary::of(point)));
        whole
    }

    proptest! {
        #[test]
        fn parts_say_what_the_whole_says(values in proptest::collection::vec(value(), 1..60), at in any::<usize>()) {
            let point = |(time, value): (i64, &PointValue)| Kept { time, arrived: 0, value: value.clone() };
            let points: Vec<Kept> = (0..).zip(&values).map(point).collect();
            let whole = all(&points).unwrap();
            let (one, other) = points.split_at(at % points.len());
            let mut joined = all(one);
            Summary::join_into(&mut joined, &all(other).unwrap());
            let joined = joined.unwrap();
            prop_assert_eq!((joined.count, joined.first, joined.last), (whole.count, whole.first, whole.last));
            prop_assert_eq!(&joined.states, &whole.states);
            if let (Some(joined), Some(whole)) = (joined.numbers, whole.numbers) {
                prop_assert_eq!((joined.min, joined.max, joined.last), (whole.min, whole.max, whole.last));
                let size = joined.min.abs().max(joined.max.abs());
                prop_assert!((joined.average() - whole.average()).abs() <= size * 1e-15);
                prop_assert!(whole.average() >= whole.min && whole.average() <= whole.max);
            }
            let mut bytes = Vec::new();
            whole.pack(&mut bytes, -7);
            prop_assert_eq!(Summary::unpack(&mut Reader(&bytes), -7), Some(whole));
            for end in 0..bytes.len() {
                prop_assert_eq!(Summary::unpack(&mut Reader(&bytes[..end]), -7), None);
            }
        }
    }

    #[test]
    fn a_sum_beyond_all_numbers_still_has_an_average() {
        let point = |time| Kept { time, arrived: 0, value: PointValue::Number(1e308) };
        let numbers = all(&[point(0), point(1), point(2)]).and_then(|all| all.numbers).unwrap();
        assert_eq!(numbers.sum.value(), None);
        assert!((numbers.average() / 1e308 - 1.0).abs() < 1e-15);
    }
}
