//! What devices say of themselves: the announcement after connecting, log lines, events and the state of a task.
//! Text from devices is cut and cleaned here, so that it can be shown anywhere.

use serde_json::{Map, Value, json};

use crate::artifact::Digest;
use crate::change::{Actor, Change, ChangeKind};
use crate::device::{self, Device};
use crate::effects::{Effects, Save};
use crate::id::DeviceId;
use crate::message::FirmwareSignal;
use crate::rejection::Rejection;
use crate::telemetry::PointValue;
use crate::time::Time;

/// Most capabilities of one announcement.
pub const CAPABILITIES_MAX: usize = 64;
/// Longest capability in bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// Most attributes of one announcement.
pub const ATTRIBUTES_MAX: usize = 32;
/// Longest attribute name, and longest model, firmware, version and cause of a reset, in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// Longest text of an attribute in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;
/// Largest announcement in bytes of JSON.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 8 * 1024;
/// Most log lines of one message.
pub const LOG_LINES_PER_MESSAGE_MAX: usize = 100;
/// Longest log line in characters; what is longer is cut.
pub const LOG_CHARS_MAX: usize = 1_000;
/// How many log lines of a device are kept.
pub const LOG_LINES_KEPT: usize = 1_000;
/// Longest reason of a failed task in characters; what is longer is cut.
pub const REASON_CHARS_MAX: usize = 500;
/// Longest traceback in characters; what is longer is cut.
pub const TRACEBACK_CHARS_MAX: usize = 4_000;
/// Largest data of an event in bytes of JSON.
pub const EVENT_BYTES_MAX: usize = 8 * 1024;

/// What a device says of itself right after it connected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Announcement {
    /// What kind of board it is.
    pub model: Option<String>,
    /// Which firmware it has.
    pub firmware: Option<String>,
    /// Which version of the firmware.
    pub version: Option<String>,
    /// Why it last started.
    pub reset: Option<String>,
    /// What it can do: sorted, without repetition.
    pub capabilities: Vec<String>,
    /// Free memory in bytes.
    pub free_memory: Option<i64>,
    /// What it runs, if it said so.
    pub running: Option<Running>,
    /// Whether it keeps its script stopped because the script crashed again and again.
    pub safe_mode: bool,
    /// Anything else it says: text, numbers and booleans.
    pub attributes: Map<String, Value>,
}

impl Announcement {
    /// What it says of the firmware that it runs, if it says a version. Build and commitment are among the attributes
    /// that have a meaning, as is the platform.
    pub fn started(&self) -> Option<FirmwareSignal> {
        let text = |name: &str| self.attributes.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(FirmwareSignal::Started {
            name: self.firmware.clone(),
            version: self.version.clone()?,
            build: text("build"),
            committed: self.attributes.get("committed").and_then(Value::as_bool),
        })
    }
}

/// What a device says that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// No script.
    Nothing,
    /// The artifact with this digest.
    Artifact(Digest),
}

/// The last announcement of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Whose.
    pub device: DeviceId,
    /// What it said.
    pub announcement: Announcement,
    /// When it arrived.
    pub at: Time,
}

/// A discrete occurrence that a device reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub name: String,
    /// Anything about it; null for nothing.
    pub data: Value,
    /// When, by the device's clock, if it said so.
    pub time: Option<Time>,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks for a defect.
    Debug,
    /// What `print` says.
    Info,
    /// Something is odd.
    Warn,
    /// Something went wrong.
    Error,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The name in messages, in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
    /// A level by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// One line of a device's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says: at most [`LOG_CHARS_MAX`] characters, no control characters but line breaks and tabs.
    pub text: String,
    /// When, by the device's clock, if it said so.
    pub time: Option<Time>,
}

/// How far a device is with an artifact, in its own words.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskReport {
    /// Of the artifact.
    pub digest: Digest,
    /// How far.
    pub progress: Progress,
}

/// How far a device is with an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It fetches; perhaps with a remark such as how far it is.
    Fetching(Option<String>),
    /// It has all of it and tries it out.
    Applying,
    /// It ran for the health window without trouble.
    Done,
    /// It does not run.
    Failed(Crash),
}

impl Progress {
    /// The same about a firmware.
    pub fn signal(&self) -> FirmwareSignal {
        match self {
            Self::Fetching(remark) => FirmwareSignal::Transferring(remark.clone()),
            Self::Applying => FirmwareSignal::Transferred,
            Self::Done => FirmwareSignal::Committed,
            Self::Failed(crash) => FirmwareSignal::Failed(crash.reason.clone()),
        }
    }
}

/// Why something does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crash {
    /// In a sentence.
    pub reason: String,
    /// The traceback, if there is one.
    pub traceback: Option<String>,
    /// How often it crashed.
    pub crashes: Option<i64>,
    /// Whether the device keeps it stopped from now on.
    pub safe_mode: bool,
}

/// A version that a device is not given again until a person says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// On which device.
    pub device: DeviceId,
    /// Which artifact.
    pub digest: Digest,
    /// Why, in a sentence.
    pub reason: String,
    /// The traceback, if there is one.
    pub traceback: Option<String>,
    /// Since when.
    pub at: Time,
}

/// The device said what it is. A fact is stated if it differs from what it said before, free memory aside.
pub fn announced(device: &Device, was: Option<&Report>, is: &Report) -> Effects {
    let mut effects = Effects::none();
    effects.save.push(Save::Report(Box::new(is.clone())));
    effects.save.push(Save::Announced(device.id, is.announcement.capabilities.clone()));
    effects.save.push(Save::Reported(device.id, selectable(&is.announcement)));
    let before = was.map(|was| described(&was.announcement));
    let after = described(&is.announcement);
    if before.as_ref() != Some(&after) {
        let (before, after) = match before {
            Some(before) => device::difference(&before, &after),
            None => (Map::new(), after),
        };
        let actor = Actor::Device(device.name.clone());
        let before = was.map(|_| before.into());
        effects.changes.push(device::fact(
            ChangeKind::DeviceAnnounced,
            device,
            &actor,
            before,
            Some(after.into()),
        ));
    }
    effects
}

/// What selectors find of it, by name.
fn selectable(said: &Announcement) -> Vec<(String, PointValue)> {
    let texts = [
        ("model", &said.model),
        ("firmware", &said.firmware),
        ("version", &said.version),
        ("reset", &said.reset),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, PointValue::Text(text.clone()?))));
    let memory = said.free_memory.map(|bytes| ("free_memory", PointValue::Number(bytes as f64)));
    let own = texts.chain(memory).chain([("safe_mode", PointValue::Boolean(said.safe_mode))]);
    let attributes = said.attributes.iter().filter_map(|(name, value)| {
        let value = PointValue::from_json(value).ok().flatten()?;
        Some((name.clone(), value))
    });
    own.map(|(name, value)| (name.to_owned(), value)).chain(attributes).collect()
}

fn described(said: &Announcement) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("model".into(), json!(said.model));
    map.insert("firmware".into(), json!(said.firmware));
    map.insert("version".into(), json!(said.version));
    map.insert("capabilities".into(), json!(said.capabilities));
    map.insert("safe_mode".into(), json!(said.safe_mode));
    map.insert("attributes".into(), said.attributes.clone().into());
    map
}

/// A device reported an occurrence.
pub fn happened(device: &Device, event: &Event) -> Effects {
    let actor = Actor::Device(device.name.clone());
    let after = json!({ "name": event.name, "data": event.data, "time": event.time.map(|time| time.0) });
    let change = device::fact(ChangeKind::DeviceEvent, device, &actor, None, Some(after));
    Effects { changes: vec![change], ..Effects::none() }
}

/// The clock of a device is wrong; its measurements were given times by ours.
pub fn clock_wrong(device: &Device, why: &str) -> Effects {
    let after = Some(json!({ "why": why }));
    let change = device::fact(ChangeKind::ClockWrong, device, &Actor::System, None, after);
    Effects { changes: vec![change], ..Effects::none() }
}

/// A person lets a device have a version again that crashed on it.
pub fn lift(device: &Device, quarantine: &Quarantine, actor: &Actor) -> Effects {
    let before = json!({ "digest": quarantine.digest.to_string(), "reason": quarantine.reason });
    let change = device::fact(ChangeKind::QuarantineLifted, device, actor, Some(before), None);
    let save = vec![Save::LiftQuarantine(device.id, quarantine.digest)];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// A version is not given to a device again.
pub(crate) fn quarantine(device: &Device, quarantine: Quarantine) -> Effects {
    let after = json!({ "digest": quarantine.digest.to_string(), "reason": quarantine.reason });
    let change: Change =
        device::fact(ChangeKind::VersionQuarantined, device, &Actor::System, None, Some(after));
    Effects { save: vec![Save::Quarantine(Box::new(quarantine))], changes: vec![change], ..Effects::none() }
}

/// Refuses too many capabilities.
pub fn count_capabilities(count: usize) -> Result<(), Rejection> {
    if count > CAPABILITIES_MAX {
        let why = format!("{count} were given; at most {CAPABILITIES_MAX} are taken");
        return Err(Rejection::too_large("capabilities", why));
    }
    Ok(())
}

/// Capabilities as they are kept: sorted, without repetition; each of small letters, digits and `. _ -`.
pub fn capabilities(given: &[String]) -> Result<Vec<String>, Rejection> {
    count_capabilities(given.len())?;
    let is_plain = |c: &str| {
        c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
    };
    if let Some(bad) = given.iter().find(|c| c.is_empty() || c.len() > CAPABILITY_BYTES_MAX || !is_plain(c)) {
        return Err(Rejection::invalid(
            "capabilities",
            format!(
                "{:?}: 1 to {CAPABILITY_BYTES_MAX} small letters, digits or the signs . _ - such as bme280",
                cut(bad, WORD_BYTES_MAX)
            ),
        ));
    }
    let mut capabilities = given.to_vec();
    capabilities.sort();
    capabilities.dedup();
    Ok(capabilities)
}

/// Attributes: at most [`ATTRIBUTES_MAX`] texts, numbers and booleans; null says nothing.
pub fn attributes(given: Map<String, Value>) -> Result<Map<String, Value>, Rejection> {
    let refused = |name: &str, why: &str| {
        Err(Rejection::invalid("attributes", format!("{:?}: {why}", cut(name, WORD_BYTES_MAX))))
    };
    if given.len() > ATTRIBUTES_MAX {
        let why = format!("{} were given; at most {ATTRIBUTES_MAX} are taken", given.len());
        return Err(Rejection::too_large("attributes", why));
    }
    let mut attributes = Map::new();
    for (name, value) in given {
        if name.is_empty() || name.len() > WORD_BYTES_MAX || name.chars().any(char::is_control) {
            return refused(&name, "a name has 1 to 64 bytes without control characters");
        }
        match value {
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => drop(attributes.insert(name, value)),
            Value::String(text) if text.len() <= ATTRIBUTE_BYTES_MAX => {
                attributes.insert(name, clean(&text, ATTRIBUTE_BYTES_MAX).into());
            }
            Value::String(_) => return refused(&name, "a text has at most 256 bytes"),
            Value::Array(_) | Value::Object(_) => return refused(&name, "a text, a number or a boolean"),
        }
    }
    Ok(attributes)
}

/// Text of a device as it may be shown: cut, and without control characters other than line breaks and tabs.
pub fn clean(text: &str, chars_max: usize) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    let mut cleaned: String = text.chars().filter(|c| *c != '\r').take(chars_max).map(shown).collect();
    if text.chars().filter(|c| *c != '\r').nth(chars_max).is_some() {
        cleaned.push('…');
    }
    cleaned
}

fn cut(text: &str, chars_max: usize) -> String {
    clean(text, chars_max).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_few_plain_words() {
        let given = |list: &[&str]| capabilities(&list.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        assert_eq!(given(&["relay", "bme280", "relay"]), Ok(vec!["bme280".to_owned(), "relay".to_owned()]));
        for bad in ["", "Relay", "a b", "a/b", &"x".repeat(65)] {
            assert!(given(&[bad]).is_err(), "{bad:?} was accepted");
        }
        let many: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
        let refusal = capabilities(&many).unwrap_err();
        assert!(refusal.sentence.contains("10000 were given; at most 64"), "{refusal}");
    }

    #[test]
    fn text_of_a_device_is_cut_and_cleaned() {
        assert_eq!(clean("a\u{0}b\r\n\tc\u{1b}[31m", 100), "a\u{fffd}b\n\tc\u{fffd}[31m");
        assert_eq!(clean("äöü", 2), "äö…");
        assert_eq!(clean("äöü", 3), "äöü");
    }

    #[test]
    fn attributes_are_plain_values() {
        let given = |json: Value| attributes(json.as_object().unwrap().clone());
        let kept = given(json!({ "board": "d1 mini", "rssi": -60, "x": null, "on": true })).unwrap();
        assert_eq!(Value::from(kept), json!({ "board": "d1 mini", "rssi": -60, "on": true }));
        for bad in [json!({ "a": [] }), json!({ "a": {} }), json!({ "": 1 }), json!({ "a": "x".repeat(257) })]
        {
            assert!(given(bad.clone()).is_err(), "{bad} was accepted");
        }
    }
}
