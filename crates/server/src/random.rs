//! Random numbers from the operating system: secrets and ids.

use motehub_domain::id::Id;
use motehub_domain::time::Time;

/// The digits of secrets: no 0/O, 1/l/I, so that a person can read one out.
const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A new id that begins with the time.
pub(crate) fn id<Kind>(now: Time) -> Id<Kind> {
    Id::from_parts(now.0.unsigned_abs(), u128::from_le_bytes(bytes()))
}

/// A secret of 160 bits in 32 digits, for devices, tokens and cookies.
pub(crate) fn secret() -> String {
    digits::<32>()
}

/// 96 bits in 24 hexadecimal digits: as mDash makes the ids and tokens of devices, which firmware has room for.
pub(crate) fn hex24() -> String {
    bytes::<12>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A one-time password of 80 bits that a person can type.
pub(crate) fn one_time_password() -> String {
    let digits = digits::<16>();
    [&digits[..4], &digits[4..8], &digits[8..12], &digits[12..]].join("-")
}

/// 64 bits.
pub(crate) fn number() -> u64 {
    u64::from_le_bytes(bytes())
}

fn digits<const N: usize>() -> String {
    written(&bytes::<N>())
}

/// Bytes as digits of secrets, five bits of each.
pub(crate) fn written(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte & 31)])).collect()
}

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("because the operating system always has random numbers");
    bytes
}
