//! How a gateway proves who it is: it signs what the hub made up for this one connection, together with both names
//! and the version. What was signed once is of no use on another connection, to another hub or for another gateway.

use motehub_domain::id::GatewayId;
use motehub_protocol::link::VERSION;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// What stands before everything that is signed, so that it can be taken for nothing else.
const PURPOSE: &[u8] = b"motehub gateway link\0";
/// The purpose of the key of marks.
const MARKS: &[u8] = b"motehub gateway marks";
/// How many random bytes a challenge has.
const NONCE_BYTES: usize = 32;

/// A key pair that was just made.
pub struct NewKey {
    /// PKCS #8; for the gateway only.
    pub private: Vec<u8>,
    /// Ed25519; for the hub.
    pub public: [u8; 32],
}

/// Makes a key pair; `None` if the system has no random numbers.
pub fn new_key() -> Option<NewKey> {
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).ok()?;
    let public = pair.public_key().as_ref().try_into().ok()?;
    Some(NewKey { private: private.as_ref().to_vec(), public })
}

/// A private key, out of a join file.
pub struct PrivateKey {
    pair: Ed25519KeyPair,
    /// For marks.
    hash: hmac::Key,
}

impl PrivateKey {
    /// Reads PKCS #8; `None` if it is something else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).ok()?;
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), MARKS);
        Some(Self { pair, hash: hmac::Key::new(hmac::HMAC_SHA256, seed.as_ref()) })
    }

    /// By which something secret is known again on this gateway: 64 hexadecimal digits that say nothing about it.
    pub(super) fn mark(&self, secret: &[u8]) -> String {
        hmac::sign(&self.hash, secret).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Signs the challenge of a hub.
    pub(super) fn sign(&self, hub: &str, gateway: GatewayId, nonce: &[u8]) -> Vec<u8> {
        self.pair.sign(&statement(hub, gateway, nonce)).as_ref().to_vec()
    }
}

/// A challenge for one connection; `None` if the system has no random numbers.
pub fn challenge() -> Option<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).ok()?;
    Some(nonce)
}

/// Whether the holder of a key signed the challenge.
pub fn is_proven(public: &[u8; 32], hub: &str, gateway: GatewayId, nonce: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(&statement(hub, gateway, nonce), signature).is_ok()
}

fn statement(hub: &str, gateway: GatewayId, nonce: &[u8]) -> Vec<u8> {
    let hub_bytes = hub.len() as u64;
    let parts: [&[u8]; 6] = [
        PURPOSE,
        &VERSION.to_be_bytes(),
        &hub_bytes.to_be_bytes(),
        hub.as_bytes(),
        &gateway.to_u128().to_be_bytes(),
        nonce,
    ];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_one_connection_of_one_gateway_to_one_hub() {
        let gateway = GatewayId::from_parts(1, 2);
        let key = new_key().unwrap();
        let private = PrivateKey::read(&key.private).unwrap();
        let nonce = challenge().unwrap();
        let signature = private.sign("hub", gateway, &nonce);
        let proven = |public: &[u8; 32], hub: &str, gateway, nonce: &[u8], signature: &[u8]| {
            is_proven(public, hub, gateway, nonce, signature)
        };
        assert!(proven(&key.public, "hub", gateway, &nonce, &signature));
        let other = new_key().unwrap().public;
        let bent: Vec<u8> = signature.iter().map(|byte| byte ^ 1).collect();
        assert!(!proven(&other, "hub", gateway, &nonce, &signature), "another key");
        assert!(!proven(&key.public, "hut", gateway, &nonce, &signature), "another hub");
        assert!(!proven(&key.public, "hub", GatewayId::from_parts(1, 3), &nonce, &signature), "another name");
        assert!(!proven(&key.public, "hub", gateway, &challenge().unwrap(), &signature), "replayed");
        assert!(!proven(&key.public, "hub", gateway, &nonce, &bent), "another signature");
        assert!(!proven(&key.public, "hub", gateway, &nonce, b""), "no signature");
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        assert!(PrivateKey::read(b"").is_none());
        assert!(PrivateKey::read(&[7; 85]).is_none());
    }
}
