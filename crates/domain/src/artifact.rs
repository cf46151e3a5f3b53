//! Artifacts: immutable bytes that a device can be given, known by their digest.

use std::fmt;
use std::str::FromStr;

use crate::id::{FirmwareId, ScriptId};
use crate::rejection::Rejection;

/// Bytes that a device can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Artifact {
    /// What they are.
    pub kind: ArtifactKind,
    /// Of the bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: i64,
}

/// What an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactKind {
    /// One version of a script.
    Script {
        /// Of which script.
        script: ScriptId,
        /// Which version.
        version: i64,
    },
    /// A firmware; another version of it is another firmware.
    Firmware(FirmwareId),
}

impl Artifact {
    /// Of which script it is a version, and which.
    pub fn script(&self) -> Option<(ScriptId, i64)> {
        match self.kind {
            ArtifactKind::Script { script, version } => Some((script, version)),
            ArtifactKind::Firmware(_) => None,
        }
    }
    /// Which firmware it is.
    pub fn firmware(&self) -> Option<FirmwareId> {
        match self.kind {
            ArtifactKind::Script { .. } => None,
            ArtifactKind::Firmware(firmware) => Some(firmware),
        }
    }
}

/// SHA-256 of an artifact's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Rejection> {
        let wrong = || Rejection::invalid("digest", "a digest is 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}
