//! Capabilities: what a device can do, such as `relay` or `bme280`.
//!
//! People assign them to devices, devices announce them; a device has those that are one or the other. A script may
//! require some. The library describes them; one that is used without a description is fine too.

use serde_json::json;

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::rejection::Rejection;
use crate::text;

/// Longest name in bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// Most capabilities that a device has assigned, that it announces, or that a script requires.
pub const CAPABILITIES_MAX: usize = 64;
/// Most capabilities in the library.
pub const LIBRARY_MAX: usize = 1000;

/// An entry of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Unique: lower-case letters, digits and `. _ -`.
    pub name: String,
    /// For people.
    pub description: String,
}

/// How much a capability is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// So many devices have it assigned.
    pub assigned: i64,
    /// So many devices announce it.
    pub announced: i64,
    /// So many scripts require it.
    pub required: i64,
}

/// The name of a capability.
///
/// # Errors
/// `invalid` for anything but 1 to 64 lower-case letters, digits and `. _ -`.
pub fn name(text: &str) -> Result<String, Rejection> {
    let text = text.trim();
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > CAPABILITY_BYTES_MAX || !text.bytes().all(is_plain) {
        let why = format!(
            "a capability has 1 to {CAPABILITY_BYTES_MAX} lower-case letters, digits or the signs . _ -"
        );
        return Err(Rejection::invalid("capabilities", why));
    }
    Ok(text.to_owned())
}

/// Several names: sorted, without repetition.
///
/// # Errors
/// As [`name`]; `invalid` for more than [`CAPABILITIES_MAX`].
pub fn names(given: &[String]) -> Result<Vec<String>, Rejection> {
    if given.len() > CAPABILITIES_MAX {
        return Err(Rejection::invalid("capabilities", format!("at most {CAPABILITIES_MAX}")));
    }
    let mut names = given.iter().map(|text| name(text)).collect::<Result<Vec<String>, Rejection>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

/// What of the required a device has not.
pub fn lacking<'a>(required: &'a [String], had: &[String]) -> Vec<&'a str> {
    required.iter().filter(|name| !had.contains(name)).map(String::as_str).collect()
}

/// Why a device that lacks something is not given a script, for people.
pub fn lacks(missing: &[&str]) -> String {
    match missing {
        [one] => format!("the device lacks the capability {one}"),
        many => format!("the device lacks the capabilities {}", many.join(", ")),
    }
}

/// Describes a capability in the library, or describes it anew. `known` is how many the library has.
///
/// # Errors
/// `invalid` for a name that is none, `too_large` for a full library.
pub fn describe(
    given: &str,
    description: &str,
    was: Option<&Capability>,
    known: usize,
    actor: &Actor,
) -> Result<Effects, Rejection> {
    let capability =
        Capability { name: name(given)?, description: text::description("description", description)? };
    if was == Some(&capability) {
        return Ok(Effects::none());
    }
    if was.is_none() && known >= LIBRARY_MAX {
        return Err(Rejection::too_large("capabilities", format!("the library has at most {LIBRARY_MAX}")));
    }
    let before = was.map(|was| json!({ "description": was.description }));
    let after = json!({ "description": capability.description });
    let change = fact(ChangeKind::CapabilityDescribed, &capability.name, actor, before, Some(after));
    Ok(Effects { save: vec![Save::Capability(capability)], changes: vec![change], ..Effects::none() })
}

/// Takes a capability that nobody uses out of the library.
///
/// # Errors
/// `conflict` while a device has it assigned or a script requires it.
pub fn delete(capability: &Capability, usage: Usage, actor: &Actor) -> Result<Effects, Rejection> {
    if usage.assigned > 0 || usage.required > 0 {
        let Usage { assigned, required, .. } = usage;
        let why = format!("it is in use: assigned to {assigned} devices, required by {required} scripts");
        return Err(Rejection::conflict("conflict", why));
    }
    let before = json!({ "description": capability.description });
    let change = fact(ChangeKind::CapabilityDeleted, &capability.name, actor, Some(before), None);
    let save = vec![Save::DeleteCapability(capability.name.clone())];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

fn fact(
    kind: ChangeKind,
    name: &str,
    actor: &Actor,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> Change {
    let (subject, subject_name) = (name.to_owned(), name.to_owned());
    Change { actor: actor.clone(), kind, subject, subject_name, device: None, before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_sorted_and_few() {
        let given = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&given(&["relay", " bme280", "relay"])), Ok(given(&["bme280", "relay"])));
        for bad in ["", "Relay", "a b", "relé", "a/b", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad} was accepted");
        }
        assert!(names(&vec!["x".to_owned(); 10_000]).is_err());
    }

    #[test]
    fn what_is_in_use_stays_in_the_library() {
        let relay = Capability { name: "relay".into(), description: String::new() };
        let delete = |usage| delete(&relay, usage, &Actor::System);
        assert!(delete(Usage { assigned: 1, ..Usage::default() }).is_err());
        assert!(delete(Usage { required: 1, ..Usage::default() }).is_err());
        assert!(delete(Usage { announced: 9, ..Usage::default() }).is_ok());
    }

    #[test]
    fn what_is_lacking_is_named() {
        let (required, had) = (["a", "b", "c"].map(str::to_owned), ["b".to_owned()]);
        assert_eq!(lacks(&lacking(&required, &had)), "the device lacks the capabilities a, c");
        assert_eq!(lacks(&lacking(&required[..1], &had)), "the device lacks the capability a");
        assert!(lacking(&required[1..2], &had).is_empty());
    }
}
