//! Client certificates of devices: issued by the hub's own authority, known by the digest of their bytes, revoked one
//! by one. Beside the credential, for clients that prove who they are by TLS.

use serde_json::json;

use crate::artifact::Digest;
use crate::change::{Actor, ChangeKind};
use crate::device::{Device, fact};
use crate::effects::{Effects, Save};
use crate::id::DeviceId;
use crate::rejection::Rejection;
use crate::time::Time;

/// How many years a certificate is valid: devices are often out of reach of those who could replace it.
pub const VALID_YEARS: i16 = 10;
/// Most certificates of a device, so that one can replace another without a gap.
pub const CERTIFICATES_MAX: usize = 8;

/// A certificate that proves to be a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its DER.
    pub digest: Digest,
    /// Whose.
    pub device: DeviceId,
    /// Since when.
    pub issued_at: Time,
    /// Until when.
    pub expires_at: Time,
}

/// Gives a device a certificate beside those it has.
pub fn issue(
    device: &Device,
    certificate: Certificate,
    known: usize,
    actor: &Actor,
) -> Result<Effects, Rejection> {
    if known >= CERTIFICATES_MAX {
        let sentence = format!("a device has at most {CERTIFICATES_MAX} certificates: revoke one first");
        return Err(Rejection::conflict("too_many_certificates", sentence));
    }
    let after = json!({ "fingerprint": certificate.digest.to_string() });
    let changes = vec![fact(ChangeKind::CertificateIssued, device, actor, None, Some(after))];
    Ok(Effects { save: vec![Save::Certificate(certificate)], changes, ..Effects::none() })
}

/// Takes a certificate back; whoever shows it is not let in any more.
pub fn revoke(device: &Device, certificate: &Certificate, actor: &Actor) -> Effects {
    let before = json!({ "fingerprint": certificate.digest.to_string() });
    let changes = vec![fact(ChangeKind::CertificateRevoked, device, actor, Some(before), None)];
    Effects { save: vec![Save::RevokeCertificate(certificate.digest)], changes, ..Effects::none() }
}
