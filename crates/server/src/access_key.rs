//! Access keys: with one a program signs its requests, as AWS has it, instead of sending a secret. To verify that, the
//! hub has to have the secret again. It stores none: each is derived from the token that it belongs to and a secret of
//! this install, which lies in a file of its own, so that a copy of the database alone is of no use (ADR 0014).

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, PusherAppId, WebhookId};
use motehub_domain::person::Token;
use ring::hmac;

use crate::{backup, random};

/// The secret of this install, in its data folder.
pub(crate) const FILE: &str = "access-keys.secret";
/// What is derived, so that nothing else that may be derived one day is the same.
const PURPOSE: &[u8] = b"motehub access key 1";
const WEBHOOK_PURPOSE: &[u8] = b"motehub webhook 1";
const COAP_PURPOSE: &[u8] = b"motehub coap key 1";
const PUSHER_PURPOSE: &[u8] = b"motehub pusher app 1";
const OWN_PURPOSE: &[u8] = b"motehub pusher own channels 1";
/// What a key for DTLS has of it, before it is written.
const COAP_KEY_BYTES: usize = 12;

/// The secret of this install, from which those of all access keys and Pusher apps are derived, and the keys of devices
/// for DTLS.
pub(crate) struct Origin(hmac::Key);

impl Origin {
    /// Reads it from a data folder; makes it if there is none.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path)?,
            read => read?,
        };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| {
            let how =
                "it has to have 32 bytes: put it back from a backup, or delete it to end all access keys";
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {how}", path.display()))
        })?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The secret access key of a token.
    pub(crate) fn secret_of(&self, token: &Token) -> String {
        let parts: [&[u8]; 3] = [PURPOSE, &token.id.to_u128().to_be_bytes(), &token.digest.0];
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &parts.concat()))
    }

    /// The secret of a Pusher app.
    pub(crate) fn pusher_secret_of(&self, app: PusherAppId) -> String {
        let parts: [&[u8]; 2] = [PUSHER_PURPOSE, &app.to_u128().to_be_bytes()];
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &parts.concat()))
    }

    /// With what the hub signs for its own channels: who has the secret of an app cannot.
    pub(crate) fn own_channels_of(&self, app: PusherAppId) -> hmac::Key {
        let parts: [&[u8]; 2] = [OWN_PURPOSE, &app.to_u128().to_be_bytes()];
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.0, &parts.concat()).as_ref())
    }

    /// The secret by which a webhook's posts are signed, by its number.
    pub(crate) fn webhook_secret_of(&self, webhook: WebhookId, number: i64) -> [u8; 32] {
        let parts: [&[u8]; 3] = [WEBHOOK_PURPOSE, &webhook.to_u128().to_be_bytes(), &number.to_be_bytes()];
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&self.0, &parts.concat()).as_ref());
        secret
    }

    /// The key of a device for DTLS: another for each of its credentials, by the digest of that (ADR 0019). 16 letters,
    /// with 96 bits of chance: tinydtls, as RIOT and Contiki have it, takes no longer one.
    pub(crate) fn coap_key_of(&self, device: DeviceId, credential: Digest) -> String {
        let parts: [&[u8]; 3] = [COAP_PURPOSE, &device.to_u128().to_be_bytes(), &credential.0];
        BASE64_URL_SAFE_NO_PAD.encode(&hmac::sign(&self.0, &parts.concat()).as_ref()[..COAP_KEY_BYTES])
    }
}

/// Whole or not at all, and on disk before anybody is given a key of it.
fn make(path: &Path) -> io::Result<Vec<u8>> {
    let (bytes, part) = (random::bytes::<32>(), backup::part_of(path));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use motehub_domain::access::Role;
    use motehub_domain::id::TokenId;
    use motehub_domain::time::Time;

    use super::*;

    #[test]
    fn a_secret_depends_on_the_install_and_on_the_whole_token_and_outlives_a_restart() {
        let token = |id: u64, digest: u8| Token {
            id: TokenId::from_parts(id, 1),
            name: "ci".to_owned(),
            role: Role::Viewer,
            digest: Digest([digest; 32]),
            has_access_key: true,
            created_at: Time(0),
            expires_at: None,
            last_used_at: None,
        };
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = |at: usize| Origin::open(folders[at].path()).unwrap();
        let secret = open(0).secret_of(&token(1, 1));
        assert_eq!(open(0).secret_of(&token(1, 1)), secret);
        for other in [
            open(1).secret_of(&token(1, 1)),
            open(0).secret_of(&token(2, 1)),
            open(0).secret_of(&token(1, 2)),
        ] {
            assert_ne!(other, secret);
        }
        let (device, other) = (DeviceId::from_parts(1, 1), DeviceId::from_parts(2, 1));
        let key = open(0).coap_key_of(device, Digest([1; 32]));
        assert_eq!((key.len(), open(0).coap_key_of(device, Digest([1; 32]))), (16, key.clone()));
        for foreign in [
            open(1).coap_key_of(device, Digest([1; 32])),
            open(0).coap_key_of(other, Digest([1; 32])),
            open(0).coap_key_of(device, Digest([2; 32])),
        ] {
            assert_ne!(foreign, key);
        }
        fs::write(folders[0].path().join(FILE), "short").unwrap();
        assert!(Origin::open(folders[0].path()).is_err_and(|error| error.to_string().contains(FILE)));
    }
}
