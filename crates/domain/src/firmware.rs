//! Firmware: images that whole devices run. Their bytes are artifacts; another version is another firmware.

use serde_json::{Map, Value, json};

use crate::artifact::{Artifact, ArtifactKind, Digest};
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::FirmwareId;
use crate::rejection::Rejection;
use crate::text;
use crate::time::Time;

/// Longest version and build id, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;
/// Longest platform, in bytes.
pub const PLATFORM_BYTES_MAX: usize = 32;
/// Under which name devices report their platform among their attributes.
pub const PLATFORM: &str = "platform";

/// An image that devices can be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Firmware {
    /// Its id.
    pub id: FirmwareId,
    /// What it is and of what.
    pub label: Label,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: i64,
    /// What the manifest in it says, if it has one.
    pub manifest: Option<Map<String, Value>>,
    /// In the words of people; may be empty.
    pub notes: String,
    /// The name of whoever uploaded it.
    pub created_by: String,
    /// When it was uploaded.
    pub created_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// What tells one firmware from another; unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Of the program, such as `smartlight`.
    pub name: String,
    /// Such as `1.2.0`.
    pub version: String,
    /// The hardware that it is for, such as `esp8266`.
    pub platform: String,
    /// Tells builds of one version apart; may be empty.
    pub build: String,
}

impl Label {
    /// A label as it is kept; blanks around are taken off.
    ///
    /// # Errors
    /// `invalid` for a part that is empty, too long or has signs that do not belong there.
    pub fn checked(&self) -> Result<Self, Rejection> {
        Ok(Self {
            name: text::name("name", &self.name)?,
            version: word("version", &self.version, VERSION_BYTES_MAX)?,
            platform: word("platform", &self.platform, PLATFORM_BYTES_MAX)?,
            build: match self.build.trim() {
                "" => String::new(),
                build => build_id(build)?,
            },
        })
    }

    /// Whether a device that reports this platform can run it: `esp32` runs what is for `ESP32`, and a device that
    /// says more exactly what it is, such as `esp8266-4mb`, what is for the family.
    pub fn fits(&self, reported: &str) -> bool {
        let (mine, theirs) = (self.platform.to_ascii_lowercase(), reported.trim().to_ascii_lowercase());
        theirs.strip_prefix(&mine).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    }

    /// Whether a device that says this of itself runs it. A build is compared only if both sides name one.
    pub fn is_run_by(&self, version: &str, build: Option<&str>) -> bool {
        let same_build = build.is_none_or(|build| self.build.is_empty() || build == self.build);
        self.version == version && same_build
    }
}

fn word(field: &str, text: &str, bytes_max: usize) -> Result<String, Rejection> {
    let text = text.trim();
    let is_plain = |c: char| is_sign(c) && c != '/';
    if text.is_empty() || text.len() > bytes_max || !text.chars().all(is_plain) {
        let why = format!("1 to {bytes_max} letters, digits and signs without blanks and slashes");
        return Err(Rejection::invalid(field, why));
    }
    Ok(text.to_owned())
}

/// The build tools of Mongoose OS write a time and a commit: `20180904-113510/0bb1be7@master+`.
fn build_id(text: &str) -> Result<String, Rejection> {
    if text.len() > VERSION_BYTES_MAX || !text.chars().all(is_sign) {
        let why = format!("1 to {VERSION_BYTES_MAX} letters, digits and signs without blanks");
        return Err(Rejection::invalid("build_id", why));
    }
    Ok(text.to_owned())
}

fn is_sign(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '\\' | '"')
}

impl Firmware {
    /// What a device is given of it.
    pub fn artifact(&self) -> Artifact {
        let kind = ArtifactKind::Firmware(self.id);
        Artifact { kind, digest: self.digest, size_bytes: self.size_bytes }
    }
    /// What it is called, such as `smartlight 1.2.0`.
    pub fn title(&self) -> String {
        format!("{} {}", self.label.name, self.label.version)
    }
    /// Why a device that reports this platform is not given it, if it is not.
    pub fn unfit(&self, reported: &str) -> Option<String> {
        let wrong = !self.label.fits(reported);
        wrong.then(|| {
            let platform = text::shown(reported, PLATFORM_BYTES_MAX);
            format!("wrong platform: the firmware is for {}, the device is {platform}", self.label.platform)
        })
    }
}

/// A firmware that was uploaded and whose bytes are kept already.
///
/// # Errors
/// `invalid` for notes that are too long.
pub fn create(firmware: &Firmware, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    let firmware = Firmware {
        label: firmware.label.checked()?,
        notes: text::description("notes", &firmware.notes)?,
        created_by: actor.name().to_owned(),
        created_at: now,
        revision: 1,
        ..firmware.clone()
    };
    let label = &firmware.label;
    let after = json!({
        "version": label.version, "platform": label.platform, "build_id": label.build,
        "digest": firmware.digest.to_string(), "size_bytes": firmware.size_bytes,
    });
    let change = fact(ChangeKind::FirmwareUploaded, &firmware, actor, None, Some(after));
    Ok(Effects { save: vec![Save::Firmware(Box::new(firmware))], changes: vec![change], ..Effects::none() })
}

/// Changes what people say of it.
///
/// # Errors
/// `invalid` for notes that are too long.
pub fn edit(firmware: &Firmware, notes: &str, actor: &Actor) -> Result<Effects, Rejection> {
    let notes = text::description("notes", notes)?;
    if notes == firmware.notes {
        return Ok(Effects::none());
    }
    let edited = Firmware { notes, revision: firmware.revision + 1, ..firmware.clone() };
    let (before, after) = (json!({ "notes": firmware.notes }), json!({ "notes": edited.notes }));
    let change = fact(ChangeKind::FirmwareEdited, &edited, actor, Some(before), Some(after));
    Ok(Effects { save: vec![Save::Firmware(Box::new(edited))], changes: vec![change], ..Effects::none() })
}

/// Deletes a firmware that nothing needs: `used_by` counts devices that run or await it, or return to it.
///
/// # Errors
/// `in_use`.
pub fn delete(firmware: &Firmware, used_by: i64, actor: &Actor) -> Result<Effects, Rejection> {
    if used_by > 0 {
        let sentence = match used_by {
            1 => "one device runs it, awaits it or returns to it: give it another one first".to_owned(),
            _ => format!("{used_by} devices run it, await it or return to it: give them another one first"),
        };
        return Err(Rejection::conflict("in_use", sentence));
    }
    let before = json!({ "version": firmware.label.version, "platform": firmware.label.platform });
    let change = fact(ChangeKind::FirmwareDeleted, firmware, actor, Some(before), None);
    let save = vec![Save::DeleteFirmware(firmware.id, firmware.digest)];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

fn fact(
    kind: ChangeKind,
    firmware: &Firmware,
    actor: &Actor,
    before: Option<Value>,
    after: Option<Value>,
) -> Change {
    let (subject, subject_name) = (firmware.id.to_string(), firmware.title());
    Change { actor: actor.clone(), kind, subject, subject_name, device: None, before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(platform: &str, version: &str, build: &str) -> Label {
        let [name, version, platform, build] = ["light", version, platform, build].map(str::to_owned);
        Label { name, version, platform, build }
    }

    #[test]
    fn a_platform_fits_its_family_and_nothing_else() {
        for (platform, reported, fits) in [
            ("esp8266", "ESP8266", true),
            ("ESP32", " esp32 ", true),
            ("esp8266", "esp8266-4mb", true),
            ("esp32", "esp32s3", false),
            ("esp8266", "esp32", false),
            ("esp8266", "", false),
        ] {
            assert_eq!(label(platform, "1", "").fits(reported), fits, "{platform} on {reported}");
        }
    }

    #[test]
    fn a_version_is_run_if_version_and_build_say_so() {
        for (build, said, runs) in
            [("", Some("b1"), true), ("b1", None, true), ("b1", Some("b1"), true), ("b1", Some("b2"), false)]
        {
            assert_eq!(label("esp32", "1.0", build).is_run_by("1.0", said), runs, "{build} {said:?}");
        }
        assert!(!label("esp32", "1.0", "").is_run_by("1.0.1", None));
    }

    #[test]
    fn labels_are_plain_words() {
        assert!(label("esp32", "1.0", "20180904-113510/0bb1be7@master+").checked().is_ok());
        assert!(label("esp32", "1.0", "a b").checked().is_err(), "a blank");
        assert!(label("esp32", "1/0", "").checked().is_err(), "a slash");
        assert_eq!(label(" esp32 ", "1.0+3", " ").checked(), Ok(label("esp32", "1.0+3", "")));
        for (platform, version) in [("", "1"), ("esp32", ""), ("esp 32", "1"), ("esp32", &"1".repeat(65))] {
            assert!(label(platform, version, "").checked().is_err(), "{platform:?} {version:?}");
        }
    }
}
