//! Names of channels: what they mean for who may subscribe, and those that are the hub's own.

use motehub_domain::id::DeviceId;

use crate::DecodeError;

/// Most bytes of a name.
pub const NAME_BYTES_MAX: usize = 200;
/// The hub's own channel for what happens to all devices.
pub const DEVICES: &str = "private-devices";
/// What the hub's own channel of one device begins with.
pub const DEVICE_PREFIX: &str = "private-device-";
/// The channel on which an original base is told what to give to its units.
pub const REQUESTS: &str = "private-requests";
/// The channel on which readings of units behind an original base are told.
pub const UNITS: &str = "private-units";

/// The name of a channel: 1 to 200 letters, digits and `_-=@,.;`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(String);

/// Who may subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anybody with the key of the app.
    Public,
    /// Who has a signature.
    Private,
    /// The same; what is published is encrypted for its readers, so that these say nothing themselves.
    Encrypted,
    /// Who has a signature and says who they are; they see each other.
    Presence,
}

/// A channel that the hub fills itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// What happens to all devices.
    Devices,
    /// What happens to one.
    Device(DeviceId),
    /// What an original base is to give to its units.
    Requests,
    /// What units behind an original base said.
    Units,
}

impl Channel {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
        match (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_known) {
            true => Ok(Self(text.to_owned())),
            false => Err(DecodeError(format!(
                "channel: a name has 1 to {NAME_BYTES_MAX} letters, digits and the signs _ - = @ , . ;"
            ))),
        }
    }

    /// The channel of one device.
    pub fn of_device(device: DeviceId) -> Self {
        Self(format!("{DEVICE_PREFIX}{device}"))
    }

    /// One of the hub's own by its name.
    pub fn own_named(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who may subscribe.
    pub fn kind(&self) -> Kind {
        if self.0.starts_with("private-encrypted-") {
            Kind::Encrypted
        } else if self.0.starts_with("private-") {
            Kind::Private
        } else if self.0.starts_with("presence-") {
            Kind::Presence
        } else {
            Kind::Public
        }
    }

    /// Whether the name is the hub's, also if nothing is published there: nobody else may.
    pub fn is_reserved(&self) -> bool {
        matches!(self.as_str(), DEVICES | REQUESTS | UNITS) || self.0.starts_with(DEVICE_PREFIX)
    }

    /// Which of the hub's own channels it is. The id of a device is written in one way only.
    pub fn own(&self) -> Option<Own> {
        match self.as_str() {
            DEVICES => Some(Own::Devices),
            REQUESTS => Some(Own::Requests),
            UNITS => Some(Own::Units),
            name => {
                let text = name.strip_prefix(DEVICE_PREFIX)?;
                let id: DeviceId = text.parse().ok()?;
                id.is_written(text).then_some(Own::Device(id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_may_subscribe() {
        let kind = |name: &str| Channel::parse(name).map(|channel| channel.kind());
        assert_eq!(kind("news"), Ok(Kind::Public));
        assert_eq!(kind("private-room"), Ok(Kind::Private));
        assert_eq!(kind("presence-room"), Ok(Kind::Presence));
        assert_eq!(kind("private-encrypted-room"), Ok(Kind::Encrypted));
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "two words", "a/b", "\u{e4}", "#server-to-user-1", "a:b", long.as_str()] {
            assert!(kind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_hubs_own_channels_are_reserved_in_any_writing() {
        let id = DeviceId::from_parts(0xabcd, 0xef);
        let own = |name: String| Channel::parse(&name).unwrap().own();
        assert_eq!(own(format!("private-device-{id}")), Some(Own::Device(id)));
        assert_eq!(own(format!("private-device-{}", id.to_string().to_uppercase())), None);
        assert_eq!(own("private-devices".into()), Some(Own::Devices));
        assert_eq!(own("private-requests".into()), Some(Own::Requests));
        assert_eq!(own("private-units".into()), Some(Own::Units));
        for reserved in ["private-device-", "private-device-x", "private-devices", "private-units"] {
            assert!(Channel::parse(reserved).unwrap().is_reserved(), "{reserved}");
        }
        for free in ["private-devices-2", "private-room", "presence-devices", "private-unit"] {
            assert!(!Channel::parse(free).unwrap().is_reserved(), "{free}");
        }
    }
}
