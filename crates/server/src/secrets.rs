//! What is stored of secrets: SHA-256 of random ones, Argon2id of passwords, and bcrypt of those that people bring from
//! mDash until they come in with it for the first time.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use bcrypt::HashParts;
use motehub_domain::artifact::Digest;
use motehub_domain::rejection::Rejection;
use sha2::{Digest as _, Sha256};

/// Longest password in bytes: more would only cost time to hash.
const PASSWORD_BYTES_MAX: usize = 256;
/// A user name of fewer characters may be part of the password: almost every text has it.
const NAME_CHARS_MIN: usize = 3;

/// The costs of bcrypt that are taken; each step doubles the time of a login.
const BCRYPT_COSTS: RangeInclusive<u32> = 4..=14;

/// A hash of nobody's password, so that an unknown name takes as long as a wrong password.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hash("nobody has this password").unwrap_or_default());

/// SHA-256. Enough for secrets of 128 random bits and more: they cannot be guessed, so need not be slow.
pub(crate) fn digest(secret: impl AsRef<[u8]>) -> Digest {
    Digest(Sha256::digest(secret.as_ref()).into())
}

/// Hashes a password with Argon2id (m = 19 MiB, t = 2, p = 1), off the async threads.
pub(crate) async fn hash_password(password: String) -> Result<String, Rejection> {
    let hashed = tokio::task::spawn_blocking(move || hash(&password)).await.ok().flatten();
    hashed.ok_or_else(|| Rejection::invalid("password", "it cannot be hashed"))
}

/// Whether a password is the one that was hashed; with no hash it takes as long and is false.
pub(crate) async fn verify_password(password: String, hash: Option<String>) -> bool {
    if password.len() > PASSWORD_BYTES_MAX {
        return false;
    }
    let verified = tokio::task::spawn_blocking(move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS.clone());
        known && fits(&password, &hash)
    });
    verified.await.unwrap_or(false)
}

/// Whether a hash is bcrypt, of a cost that we take.
pub(crate) fn is_bcrypt(hash: &str) -> bool {
    hash.parse::<HashParts>().is_ok_and(|parts| BCRYPT_COSTS.contains(&parts.get_cost()))
}

/// Refuses a password that is too short, too long or among the first that anybody would try.
pub(crate) fn check_password(password: &str, user_name: &str) -> Result<(), Rejection> {
    let length = password.chars().count();
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Rejection::invalid("password", format!("at most {PASSWORD_BYTES_MAX} bytes")));
    }
    if length < 8 {
        return Err(Rejection::invalid(
            "password",
            "at least 12 characters, or at least 8 that nobody would guess",
        ));
    }
    let plain = password.to_lowercase();
    let distinct = plain.chars().collect::<std::collections::HashSet<_>>().len();
    let is_common = COMMON
        .lines()
        .any(|word| plain == word || plain.trim_end_matches(|c: char| !c.is_alphabetic()) == word);
    let name = user_name.to_lowercase();
    let has_name = name.chars().count() >= NAME_CHARS_MIN && plain.contains(&name);
    if is_common || distinct < 4 || has_name {
        return Err(Rejection::invalid(
            "password",
            "it is among the first that anybody would try: choose another",
        ));
    }
    if length < 12 && plain.chars().all(|c| c.is_ascii_digit()) {
        return Err(Rejection::invalid("password", "digits alone need at least 12: choose another"));
    }
    Ok(())
}

/// The passwords that are tried first; with digits and signs behind them they are refused too.
const COMMON: &str = include_str!("secrets/common-passwords.txt");

fn fits(password: &str, hash: &str) -> bool {
    if is_bcrypt(hash) {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn hash(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_anybody_would_try_are_refused() {
        for password in ["", "short", "password", "Password123!", "aaaaaaaaaaaa", "12345678", "ada-is-best"] {
            assert!(check_password(password, "ada").is_err(), "{password} was accepted");
        }
        for password in ["correct horse battery", "k7Qz-m2Xp", "lampe im garten"] {
            assert!(check_password(password, "ada").is_ok(), "{password} was refused");
        }
        for short in ["", "a", "bo"] {
            assert!(check_password("a green bottle", short).is_ok(), "{short:?} was found in it");
        }
    }

    #[tokio::test]
    async fn a_password_is_stored_as_argon2id_and_verified() {
        let hash = hash_password("correct horse".to_owned()).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456"), "{hash}");
        assert!(verify_password("correct horse".to_owned(), Some(hash.clone())).await);
        assert!(!verify_password("wrong horse".to_owned(), Some(hash)).await);
        assert!(!verify_password("nobody has this password".to_owned(), None).await);
    }
}
