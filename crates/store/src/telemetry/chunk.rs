//! A chunk: the points of one series and hour as compressed columns with a checksum.
//!
//! Layout: form (1 plain, 2 LZ4), for LZ4 the length of what is inside, the columns, and the first 8 bytes
//! of the SHA-256 of series, hour and all that stands before. Columns: count; times as differences; arrivals
//! as differences of (arrival - time); values: numbers with few decimals as differences of whole numbers,
//! other numbers as bytes of equal weight side by side, anything else one by one.

use std::cmp::Ordering;

use motehub_domain::telemetry::PointValue;
use sha2::{Digest as _, Sha256};

use super::varint::{Reader, put, put_signed};

/// Most bytes that a chunk may unpack to.
const UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
pub(super) const CHECKSUM_BYTES: usize = 8;
const PLAIN: u8 = 1;
const LZ4: u8 = 2;
const DECIMALS: u8 = 0;
const PLANES: u8 = 1;
const MIXED: u8 = 2;
/// Most decimals that are stored as a whole number.
const DECIMALS_MAX: i32 = 4;

/// A point of a known series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) time: i64,
    pub(super) arrived: i64,
    pub(super) value: PointValue,
}

impl Kept {
    /// By time, then by value: points that are equal in both are one point.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.time.cmp(&other.time).then_with(|| compare_values(&self.value, &other.value))
    }

    /// Bytes that it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let text = match &self.value {
            PointValue::Text(text) | PointValue::Json(text) => text.len(),
            PointValue::Number(_) | PointValue::Boolean(_) => 0,
        };
        size_of::<Self>() + 3 * size_of::<u64>() + text
    }
}

fn compare_values(one: &PointValue, other: &PointValue) -> Ordering {
    match (one, other) {
        (PointValue::Number(one), PointValue::Number(other)) => one.total_cmp(other),
        (PointValue::Boolean(one), PointValue::Boolean(other)) => one.cmp(other),
        (PointValue::Text(one), PointValue::Text(other))
        | (PointValue::Json(one), PointValue::Json(other)) => one.cmp(other),
        _ => kind_of(one).cmp(&kind_of(other)),
    }
}

/// The kind of a value, in chunks and in the table of points.
pub(super) fn kind_of(value: &PointValue) -> u8 {
    match value {
        PointValue::Number(_) => 0,
        PointValue::Boolean(_) => 1,
        PointValue::Text(_) => 2,
        PointValue::Json(_) => 3,
    }
}

/// Sorts and removes repetitions; of equal points the one that arrived first stays.
pub(super) fn tidy(points: &mut Vec<Kept>) {
    points.sort_by(|one, other| one.compare(other).then(one.arrived.cmp(&other.arrived)));
    points.dedup_by(|next, kept| next.compare(kept) == Ordering::Equal);
}

/// Packs points that are tidy.
pub(super) fn pack(series: i64, hour: i64, points: &[Kept]) -> Vec<u8> {
    let mut columns = Vec::with_capacity(points.len() * 4 + 16);
    put(&mut columns, points.len() as u64);
    let mut before = 0i64;
    for point in points {
        put_signed(&mut columns, point.time.wrapping_sub(before));
        before = point.time;
    }
    before = 0;
    for point in points {
        let delay = point.arrived.wrapping_sub(point.time);
        put_signed(&mut columns, delay.wrapping_sub(before));
        before = delay;
    }
    pack_values(&mut columns, points);
    let compressed = lz4_flex::block::compress(&columns);
    let mut bytes = Vec::with_capacity(columns.len() + 16);
    if compressed.len() + 4 < columns.len() {
        bytes.push(LZ4);
        put(&mut bytes, columns.len() as u64);
        bytes.extend(compressed);
    } else {
        bytes.push(PLAIN);
        bytes.extend(columns);
    }
    let sum = checksum(series, hour, &bytes);
    bytes.extend(sum);
    bytes
}

/// The points of a chunk; `None` if it is damaged.
pub(super) fn unpack(series: i64, hour: i64, bytes: &[u8]) -> Option<Vec<Kept>> {
    let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if checksum(series, hour, bytes) != sum {
        return None;
    }
    let mut reader = Reader(bytes);
    match reader.byte()? {
        PLAIN => unpack_columns(reader.0),
        LZ4 => {
            let size = reader.number().filter(|size| *size <= UNPACKED_BYTES_MAX)?;
            let columns = lz4_flex::block::decompress(reader.0, usize::try_from(size).ok()?).ok()?;
            unpack_columns(&columns)
        }
        _ => None,
    }
}

pub(super) fn checksum(series: i64, hour: i64, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    hash.update(series.to_le_bytes());
    hash.update(hour.to_le_bytes());
    hash.update(bytes);
    let whole = hash.finalize();
    std::array::from_fn(|i| whole[i])
}

fn pack_values(columns: &mut Vec<u8>, points: &[Kept]) {
    let number = |point: &Kept| match point.value {
        PointValue::Number(number) => Some(number),
        PointValue::Boolean(_) | PointValue::Text(_) | PointValue::Json(_) => None,
    };
    let Some(numbers) = points.iter().map(number).collect::<Option<Vec<f64>>>() else {
        columns.push(MIXED);
        for point in points {
            pack_value(columns, &point.value);
        }
        return;
    };
    for decimals in 0..=DECIMALS_MAX {
        let whole = numbers.iter().map(|number| as_whole(*number, decimals)).collect::<Option<Vec<i64>>>();
        if let Some(whole) = whole {
            columns.push(DECIMALS);
            columns.push(decimals as u8);
            let mut before = 0;
            for number in whole {
                put_signed(columns, number - before);
                before = number;
            }
            return;
        }
    }
    columns.push(PLANES);
    for plane in 0..8 {
        let mut before = 0;
        for number in &numbers {
            let bits = number.to_bits();
            columns.push(((bits ^ before) >> (8 * plane)) as u8);
            before = bits;
        }
    }
}

/// The number times a power of ten, if it is exactly that.
pub(super) fn as_whole(number: f64, decimals: i32) -> Option<i64> {
    let scaled = (number * 10f64.powi(decimals)).round();
    let fits = scaled.abs() < 9e15;
    let whole = scaled as i64;
    (fits && as_number(whole, decimals).to_bits() == number.to_bits()).then_some(whole)
}

pub(super) fn as_number(whole: i64, decimals: i32) -> f64 {
    whole as f64 / 10f64.powi(decimals)
}

pub(super) fn pack_value(columns: &mut Vec<u8>, value: &PointValue) {
    columns.push(kind_of(value));
    match value {
        PointValue::Number(number) => columns.extend(number.to_bits().to_le_bytes()),
        PointValue::Boolean(truth) => columns.push(u8::from(*truth)),
        PointValue::Text(text) | PointValue::Json(text) => {
            put(columns, text.len() as u64);
            columns.extend(text.as_bytes());
        }
    }
}

fn unpack_columns(columns: &[u8]) -> Option<Vec<Kept>> {
    let mut reader = Reader(columns);
    let count = reader.count().filter(|count| *count <= columns.len())?;
    let mut points = Vec::with_capacity(count);
    let mut before = 0i64;
    for _ in 0..count {
        before = before.wrapping_add(reader.signed()?);
        points.push(Kept { time: before, arrived: 0, value: PointValue::Boolean(false) });
    }
    before = 0;
    for point in &mut points {
        before = before.wrapping_add(reader.signed()?);
        point.arrived = point.time.wrapping_add(before);
    }
    match reader.byte()? {
        DECIMALS => {
            let decimals = i32::from(reader.byte()?);
            let mut whole = 0i64;
            for point in &mut points {
                whole = whole.wrapping_add(reader.signed()?);
                point.value = PointValue::Number(as_number(whole, decimals));
            }
        }
        PLANES => {
            let planes = reader.bytes(count.checked_mul(8)?)?;
            let mut bits = 0u64;
            for (i, point) in points.iter_mut().enumerate() {
                let mask =
                    (0..8).fold(0, |mask, plane| mask | u64::from(planes[plane * count + i]) << (8 * plane));
                bits ^= mask;
                point.value = PointValue::Number(f64::from_bits(bits));
            }
        }
        MIXED => {
            for point in &mut points {
                point.value = unpack_value(&mut reader)?;
            }
        }
        _ => return None,
    }
    Some(points)
}

pub(super) fn unpack_value(reader: &mut Reader<'_>) -> Option<PointValue> {
    Some(match reader.byte()? {
        0 => PointValue::Number(f64::from_bits(u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?))),
        1 => PointValue::Boolean(reader.byte()? != 0),
        2 => PointValue::Text(unpack_text(reader)?),
        3 => PointValue::Json(unpack_text(reader)?),
        _ => return None,
    })
}

fn unpack_text(reader: &mut Reader<'_>) -> Option<String> {
    let size = reader.count()?;
    String::from_utf8(reader.bytes(size)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = PointValue> {
        prop_oneof![
            proptest::num::f64::NORMAL.prop_map(PointValue::Number),
            (-1000i32..1000).prop_map(|n| PointValue::Number(f64::from(n) / 10.0)),
            any::<bool>().prop_map(PointValue::Boolean),
            ".{0,20}".prop_map(PointValue::Text),
        ]
    }

    fn numbers() -> impl Strategy<Value = PointValue> {
        (-1_000_000i32..1_000_000).prop_map(|n| PointValue::Number(f64::from(n) / 1000.0))
    }

    fn points(value: impl Strategy<Value = PointValue>) -> impl Strategy<Value = Vec<Kept>> {
        let point = (any::<i64>(), any::<i64>(), value);
        proptest::collection::vec(
            point.prop_map(|(time, arrived, value)| Kept { time, arrived, value }),
            0..80,
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(mixed in points(value()), plain in points(numbers()),
            wild in points(any::<f64>().prop_map(PointValue::Number))) {
            for points in [mixed, plain, wild] {
                let unpacked = unpack(7, 9, &pack(7, 9, &points));
                let same = unpacked.as_ref().is_some_and(|unpacked| unpacked.len() == points.len()
                    && unpacked.iter().zip(&points).all(|(one, other)| one.arrived == other.arrived
                        && one.compare(other) == Ordering::Equal));
                prop_assert!(same, "{:?} became {:?}", points, unpacked);
            }
        }

        #[test]
        fn any_damage_is_noticed(points in points(value()), at in any::<usize>(), flip in 1u8..) {
            let mut bytes = pack(7, 9, &points);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_eq!(unpack(7, 9, &bytes), None);
            prop_assert_eq!(unpack(7, 9, &bytes[..at]), None);
        }
    }

    #[test]
    fn a_chunk_of_another_place_is_noticed() {
        let bytes = pack(7, 9, &[]);
        assert_eq!(unpack(7, 9, &bytes), Some(Vec::new()));
        assert_eq!(unpack(8, 9, &bytes), None);
        assert_eq!(unpack(7, 8, &bytes), None);
    }

    #[test]
    fn an_hour_of_a_slow_sensor_is_small() {
        let point = |i: i64| Kept {
            time: 1_700_000_000_000 + i * 60_000,
            arrived: 1_700_000_000_040 + i * 60_000,
            value: PointValue::Number(21.0 + (i % 7) as f64 / 10.0),
        };
        let points: Vec<Kept> = (0..60).map(point).collect();
        let size = pack(1, 1, &points).len();
        assert!(size < 140, "{size} bytes");
    }
}
