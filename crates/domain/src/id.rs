//! Identifiers: 128-bit, sortable by the time they were made, written as 26 lower-case letters and digits (ULID).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use ulid::Ulid;

use crate::rejection::Rejection;

/// An identifier of one kind of thing; ids of different kinds do not mix.
pub struct Id<Kind>(Ulid, PhantomData<fn() -> Kind>);

/// The kinds of things that have ids; only used as type parameters.
pub mod kind {
    /// A registered thing with an identity and credentials.
    pub enum Device {}
    /// A named source text with versions.
    pub enum Script {}
    /// A firmware image.
    pub enum Firmware {}
    /// The intention that devices run an artifact.
    pub enum Deployment {}
    /// A request to devices.
    pub enum Command {}
    /// A person who logs in.
    pub enum User {}
    /// A token with which a program calls the API.
    pub enum Token {}
    /// A permission of devices on MQTT topics.
    pub enum Grant {}
    /// A selector with a name.
    pub enum Group {}
    /// Somebody unknown who asked to be let in.
    pub enum Knock {}
    /// A gateway in a process of its own.
    pub enum Gateway {}
    /// A code by which a person becomes a customer or gets a device.
    pub enum Invitation {}
    /// A graph of steps that run on devices.
    pub enum Flow {}
    /// A page made of blocks.
    pub enum Dashboard {}
    /// A link by which anybody sees a dashboard.
    pub enum PublicLink {}
    /// If something happens, then something is done.
    pub enum Rule {}
    /// That a rule fired.
    pub enum Firing {}
    /// What a rule raised.
    pub enum Alarm {}
    /// A key with which Pyaiot gateways prove who they are.
    pub enum PyaiotKey {}
    /// An address outside that changes are posted to.
    pub enum Webhook {}
    /// One thing to be posted or mailed.
    pub enum Delivery {}
    /// What programs and pages use to speak the Pusher protocol.
    pub enum PusherApp {}
}

/// Id of a device.
pub type DeviceId = Id<kind::Device>;
/// Id of a script.
pub type ScriptId = Id<kind::Script>;
/// Id of a firmware.
pub type FirmwareId = Id<kind::Firmware>;
/// Id of a deployment.
pub type DeploymentId = Id<kind::Deployment>;
/// Id of a command.
pub type CommandId = Id<kind::Command>;
/// Id of a user.
pub type UserId = Id<kind::User>;
/// Id of an API token.
pub type TokenId = Id<kind::Token>;
/// Id of a topic grant.
pub type GrantId = Id<kind::Grant>;
/// Id of a group.
pub type GroupId = Id<kind::Group>;
/// Id of a knock.
pub type KnockId = Id<kind::Knock>;
/// Id of a gateway.
pub type GatewayId = Id<kind::Gateway>;
/// Id of an invitation.
pub type InvitationId = Id<kind::Invitation>;
/// Id of a flow.
pub type FlowId = Id<kind::Flow>;
/// Id of a dashboard.
pub type DashboardId = Id<kind::Dashboard>;
/// Id of a public link.
pub type PublicLinkId = Id<kind::PublicLink>;
/// Id of a rule.
pub type RuleId = Id<kind::Rule>;
/// Id of a firing.
pub type FiringId = Id<kind::Firing>;
/// Id of an alarm.
pub type AlarmId = Id<kind::Alarm>;
/// Id of a key of Pyaiot gateways.
pub type PyaiotKeyId = Id<kind::PyaiotKey>;
/// Id of a webhook.
pub type WebhookId = Id<kind::Webhook>;
/// Id of a delivery.
pub type DeliveryId = Id<kind::Delivery>;
/// Id of a Pusher app.
pub type PusherAppId = Id<kind::PusherApp>;

impl<Kind> Id<Kind> {
    /// An id made of a time (milliseconds since 1970) and 80 random bits, both given by the caller.
    pub fn from_parts(time_ms: u64, random: u128) -> Self {
        Self(Ulid::from_parts(time_ms, random), PhantomData)
    }

    /// The id as a number, for compact keys.
    pub fn to_u128(self) -> u128 {
        self.0.into()
    }

    /// Whether this is the id's text: what `self.to_string() == text` says, without making that text.
    pub fn is_written(self, text: &str) -> bool {
        self.write(&mut [0; ulid::ULID_LEN]) == text
    }

    fn write(self, buffer: &mut [u8; ulid::ULID_LEN]) -> &str {
        let text = self.0.array_to_str(buffer);
        text.make_ascii_lowercase();
        text
    }
}

impl<Kind> fmt::Display for Id<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; ulid::ULID_LEN]))
    }
}

impl<Kind> fmt::Debug for Id<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<Kind> FromStr for Id<Kind> {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Rejection> {
        match Ulid::from_string(text) {
            Ok(ulid) => Ok(Self(ulid, PhantomData)),
            Err(_) => Err(Rejection::invalid("id", "an id is 26 letters and digits")),
        }
    }
}

impl<Kind> Clone for Id<Kind> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Kind> Copy for Id<Kind> {}
impl<Kind> PartialEq for Id<Kind> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<Kind> Eq for Id<Kind> {}
impl<Kind> PartialOrd for Id<Kind> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<Kind> Ord for Id<Kind> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<Kind> std::hash::Hash for Id<Kind> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form_in_either_case() {
        let id = DeviceId::from_parts(1_700_000_000_000, 0xabcdef);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(text, text.to_lowercase());
        assert_eq!(text.parse::<DeviceId>(), Ok(id));
        assert!(id.is_written(&text) && !id.is_written(&text.to_uppercase()) && !id.is_written(""));
        assert_eq!(text.to_uppercase().parse::<DeviceId>(), Ok(id));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "1", "../../etc/passwd", "ilou", "zzzzzzzzzzzzzzzzzzzzzzzzzzz", "ÄÄÄÄÄÄÄÄÄÄÄÄÄ"]
        {
            assert!(text.parse::<DeviceId>().is_err(), "{text} was taken for an id");
        }
    }
}
