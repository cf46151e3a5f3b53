//! The tokens with which Pyaiot gateways prove that they have a key: Fernet, which is AES-128-CBC under an HMAC, around
//! the secret of the key file. And that file itself.

use aes::Aes128;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use motehub_domain::pyaiot::{Fernet, Key};
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use sha2::Sha256;

use crate::random;
use crate::secrets;

/// Longest token that is looked at; those of a usual key file have 140 characters.
const TOKEN_BYTES_MAX: usize = 1024;
/// Version, time and initialisation vector before the ciphertext, and the HMAC behind it.
const HEAD_BYTES: usize = 1 + 8 + 16;
const HMAC_BYTES: usize = 32;
const VERSION: u8 = 0x80;
/// Largest key file in bytes.
const FILE_BYTES_MAX: usize = 4096;
/// How long the secret of a key file is, at least and at most.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// When a token was made, if it was made with this key by somebody who has its secret.
pub(super) fn opened(token: &str, key: &Key) -> Option<Time> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(HMAC_BYTES)?)?;
    let (head, ciphertext) = signed.split_at_checked(HEAD_BYTES)?;
    let (signing, encryption) = key.fernet.0.split_at(16);
    let mut mac = Hmac::<Sha256>::new_from_slice(signing).ok()?;
    mac.update(signed);
    mac.verify_slice(tag).ok()?;
    if head[0] != VERSION {
        return None;
    }
    let mut buffer = ciphertext.to_vec();
    let cipher = cbc::Decryptor::<Aes128>::new_from_slices(encryption, &head[9..]).ok()?;
    let secret = cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?;
    // Digests are compared, so how long that takes tells nothing of the secret.
    let is_it = secrets::digest(secret) == key.secret;
    let seconds = u64::from_be_bytes(head[1..9].try_into().ok()?);
    let made_at = Time(i64::try_from(seconds).ok()?.checked_mul(1000)?);
    is_it.then_some(made_at)
}

/// What a key file has in it.
pub(crate) struct KeyFile {
    secret: String,
    private: [u8; 32],
}

impl KeyFile {
    /// A new one.
    pub(crate) fn generate() -> Self {
        Self { secret: random::secret(), private: random::bytes() }
    }

    /// Reads the file that `aiot-generate-keys` makes: INI with `secret` and `private` in the section `keys`.
    pub(crate) fn parse(text: &str) -> Result<Self, Rejection> {
        let wrong =
            |why: &str| Rejection::invalid("file", format!("{why}: give the file ~/.pyaiot/keys as it is"));
        if text.len() > FILE_BYTES_MAX {
            return Err(wrong("a key file is far shorter"));
        }
        let (mut secret, mut private, mut is_keys) = (None, None, false);
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                is_keys = section == "keys";
            } else if let Some((name, value)) = line.split_once(['=', ':']).filter(|_| is_keys) {
                // In such a file a percent sign is doubled.
                let value = value.trim().replace("%%", "%");
                match name.trim().to_ascii_lowercase().as_str() {
                    "secret" => secret = Some(value),
                    "private" => private = Some(value),
                    _ => {}
                }
            }
        }
        let secret = secret.filter(|secret| SECRET_BYTES.contains(&secret.len()) && secret.is_ascii());
        let secret = secret.ok_or_else(|| wrong("secret is missing in the section [keys], or too short"))?;
        let private = private.and_then(|text| BASE64_URL_SAFE.decode(text).ok()?.try_into().ok());
        let private =
            private.ok_or_else(|| wrong("private is missing in [keys], or not 32 bytes in base64"))?;
        Ok(Self { secret, private })
    }

    /// The file, for a gateway.
    pub(crate) fn text(&self) -> String {
        format!("[keys]\nsecret = {}\nprivate = {}\n", self.secret, BASE64_URL_SAFE.encode(self.private))
    }

    /// What of it is kept.
    pub(crate) fn kept(&self) -> (Fernet, motehub_domain::artifact::Digest) {
        (Fernet(self.private), secrets::digest(&self.secret))
    }
}

#[cfg(test)]
mod tests {
    use motehub_domain::id::PyaiotKeyId;

    use super::*;

    /// A key that was thrown away, and a token that an original gateway made with it.
    const FILE: &str = "[keys]\nSecret = VVAS0TNIVaLfcSDDlqiLJYcVEe5vyjY8\nprivate = \
        RMmN18U2PHnF9QoOjvgCWqeJ9q8lNi-pe2fVKkiTFoE=\n";
    const TOKEN: &str = "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD4ETFwqDGJTIQZqz3fGbrc5KvKjEKzzeS2FBXT-EIU6B8_ExU0zDQLIB\
        fLlFX8CPlIocOMAOCTZZN2N3BraYgDyf_oW02H9WOxvIWSyCL1tm";

    fn key(file: &KeyFile) -> Key {
        let (fernet, secret) = file.kept();
        Key {
            id: PyaiotKeyId::from_parts(1, 1),
            name: "lab".to_owned(),
            fernet,
            secret,
            devices: None,
            token_age_max: None,
            created_at: Time(0),
            last_used_at: None,
        }
    }

    #[test]
    fn a_token_of_an_original_gateway_is_opened_and_nothing_near_it() {
        let lab = key(&KeyFile::parse(FILE).expect("is read"));
        assert_eq!(opened(TOKEN, &lab), Some(Time(1_700_000_000_000)));
        assert_eq!(opened(&format!("{TOKEN}=="), &lab), Some(Time(1_700_000_000_000)), "with padding");
        let other = key(&KeyFile::generate());
        assert_eq!(opened(TOKEN, &other), None, "of another key");
        let other_secret = Key { secret: other.secret, ..lab.clone() };
        assert_eq!(opened(TOKEN, &other_secret), None, "of the key, with another secret in it");
        let long = "A".repeat(5000);
        for bad in ["", "token", "gAAAAA", &TOKEN[1..], &TOKEN[..TOKEN.len() - 4], "\u{e4}", long.as_str()] {
            assert_eq!(opened(bad, &lab), None, "{bad}");
        }
        for at in 0..TOKEN.len() {
            let mut bytes = TOKEN.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let flipped = String::from_utf8(bytes).expect("is ASCII");
            assert_eq!(opened(&flipped, &lab), None, "character {at} changed");
        }
    }

    #[test]
    fn a_key_file_is_read_as_it_is_written() {
        let made = KeyFile::generate();
        let read = KeyFile::parse(&made.text()).expect("is read");
        assert_eq!(read.kept(), made.kept());
        assert_eq!(made.text().lines().nth(2).map(str::len), Some("private = ".len() + 44));
        for bad in [
            "",
            "secret = VVAS0TNIVaLfcSDDlqiLJYcVEe5vyjY8\n",
            "[keys]\nsecret = VVAS0TNIVaLfcSDDlqiLJYcVEe5vyjY8\n",
            "[keys]\nsecret = short\nprivate = RMmN18U2PHnF9QoOjvgCWqeJ9q8lNi-pe2fVKkiTFoE=\n",
            "[keys]\nsecret = VVAS0TNIVaLfcSDDlqiLJYcVEe5vyjY8\nprivate = AAAA\n",
        ] {
            assert!(KeyFile::parse(bad).is_err(), "{bad:?}");
        }
        assert!(KeyFile::parse(&format!("{FILE}{}", "#".repeat(5000))).is_err());
    }
}
