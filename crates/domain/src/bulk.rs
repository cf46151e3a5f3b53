//! One deed on many devices: each device is changed by itself, as by hand, with a fact of its own.

use crate::capability;
use crate::change::Actor;
use crate::device::{self, Device, Edit};
use crate::effects::Effects;
use crate::rejection::Rejection;
use crate::text;

/// Most devices of one bulk action.
pub const DEVICES_MAX: usize = 100_000;

/// What is done to each device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It gets these tags besides its own.
    Tag(Vec<String>),
    /// It loses these tags.
    Untag(Vec<String>),
    /// It gets these capabilities assigned besides its own.
    AddCapabilities(Vec<String>),
    /// It loses these assigned capabilities; what it announces stays.
    RemoveCapabilities(Vec<String>),
    /// It is deleted with its telemetry.
    Delete,
}

impl Deed {
    /// Refuses a deed that could be done to no device at all.
    ///
    /// # Errors
    /// `invalid` for tags or capabilities that are none, or if none is given.
    pub fn checked(self) -> Result<Self, Rejection> {
        let some = |field: &str, names: Vec<String>| match names.is_empty() {
            true => Err(Rejection::invalid(field, "name at least one")),
            false => Ok(names),
        };
        Ok(match self {
            Self::Tag(tags) => Self::Tag(some("tags", text::tags(&tags)?)?),
            Self::Untag(tags) => Self::Untag(some("tags", text::tags(&tags)?)?),
            Self::AddCapabilities(names) => {
                Self::AddCapabilities(some("capabilities", capability::names(&names)?)?)
            }
            Self::RemoveCapabilities(names) => {
                Self::RemoveCapabilities(some("capabilities", capability::names(&names)?)?)
            }
            Self::Delete => Self::Delete,
        })
    }

    /// Does it to one device; nothing is written if the device is so already.
    ///
    /// # Errors
    /// What editing the device by hand would be refused for, such as more than 50 tags.
    pub fn apply(&self, device: &Device, actor: &Actor) -> Result<Effects, Rejection> {
        let with = |had: &[String], more: &[String]| [had, more].concat();
        let without = |had: &[String], less: &[String]| {
            had.iter().filter(|name| !less.contains(name)).cloned().collect::<Vec<_>>()
        };
        let edit = match self {
            Self::Tag(tags) => Edit { tags: Some(with(&device.tags, tags)), ..Edit::default() },
            Self::Untag(tags) => Edit { tags: Some(without(&device.tags, tags)), ..Edit::default() },
            Self::AddCapabilities(names) => {
                let mut names = with(&device.capabilities, names);
                names.sort();
                names.dedup();
                Edit { capabilities: Some(names), ..Edit::default() }
            }
            Self::RemoveCapabilities(names) => {
                Edit { capabilities: Some(without(&device.capabilities, names)), ..Edit::default() }
            }
            Self::Delete => return Ok(device::delete(device, actor)),
        };
        device::edit(device, &edit, actor).map(|(_, effects)| effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Dialect;
    use crate::effects::Save;
    use crate::id::DeviceId;
    use crate::time::Time;

    fn device() -> Device {
        Device {
            id: DeviceId::from_parts(0, 1),
            name: "Lamp".into(),
            description: String::new(),
            dialect: Dialect::Native,
            external_id: None,
            tags: vec!["a".into(), "b".into()],
            capabilities: vec!["relay".into()],
            unauthenticated_allowed: false,
            allowed_from: None,
            silence_max: None,
            line: None,
            created_at: Time(0),
            revision: 1,
        }
    }

    fn after(deed: &Deed) -> Option<Device> {
        let effects = deed.apply(&device(), &Actor::System).unwrap();
        assert_eq!(effects.changes.len(), effects.save.len(), "one fact for one record");
        effects.save.into_iter().find_map(|save| match save {
            Save::Device(device) => Some(*device),
            _ => None,
        })
    }

    #[test]
    fn tags_and_capabilities_are_added_and_taken_and_the_others_stay() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(after(&Deed::Tag(names(&["c", "a"]))).unwrap().tags, ["a", "b", "c"]);
        assert_eq!(after(&Deed::Untag(names(&["b", "z"]))).unwrap().tags, ["a"]);
        assert_eq!(
            after(&Deed::AddCapabilities(names(&["bme280"]))).unwrap().capabilities,
            ["bme280", "relay"]
        );
        assert_eq!(after(&Deed::RemoveCapabilities(names(&["relay"]))).unwrap().capabilities.len(), 0);
        assert_eq!(after(&Deed::Tag(names(&["a"]))), None, "it has it already");
        assert_eq!(after(&Deed::Untag(names(&["z"]))), None);
        assert_eq!(after(&Deed::AddCapabilities(names(&["relay"]))), None);
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_and_for_the_device() {
        assert!(Deed::Tag(vec![]).checked().is_err());
        assert!(Deed::Tag(vec!["a b".into()]).checked().is_err());
        assert!(Deed::AddCapabilities(vec!["A".into()]).checked().is_err());
        assert!(Deed::Delete.checked().is_ok());
        let many: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
        let deed = Deed::Tag(many).checked().unwrap();
        assert!(deed.apply(&device(), &Actor::System).unwrap_err().sentence.contains("at most 50 tags"));
    }
}
