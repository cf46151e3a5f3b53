//! Facts about our own state. A change feeds the activity log, the live page and the audit trail; its row is
//! written in the same transaction as the state it tells of.

use serde_json::Value;

use crate::id::DeviceId;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person, by name.
    User(String),
    /// A program with an API token, by the token's name.
    Token(String),
    /// A device, by its name.
    Device(String),
    /// Motehub itself.
    System,
}

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Who did it.
    pub actor: Actor,
    /// What happened.
    pub kind: ChangeKind,
    /// To what, by id (or by name, for a login of nobody known).
    pub subject: String,
    /// The subject's name at that moment, for people.
    pub subject_name: String,
    /// The device concerned, if it is about one.
    pub device: Option<DeviceId>,
    /// What was before; only the fields that changed. Never a secret.
    pub before: Option<Value>,
    /// What is now; only the fields that changed. Never a secret.
    pub after: Option<Value>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $noun:literal;)*) => {
        /// The closed list of facts the product can state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ChangeKind { $($(#[$doc])* $variant),* }

        impl ChangeKind {
            /// Every kind.
            pub const ALL: &'static [ChangeKind] = &[$(ChangeKind::$variant),*];
            /// The name in the API and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
            /// What the fact is about: the subject's noun.
            pub fn noun(self) -> &'static str {
                match self { $(Self::$variant => $noun),* }
            }
            /// A kind by its name.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }
    };
}

kinds! {
    /// A gateway in a process of its own was registered.
    GatewayRegistered = "gateway_registered", "gateway";
    /// A gateway's name changed, or for which devices it may speak.
    GatewayEdited = "gateway_edited", "gateway";
    /// A gateway was deleted.
    GatewayDeleted = "gateway_deleted", "gateway";
    /// A gateway was given a new key.
    GatewayKeyIssued = "gateway_key_issued", "gateway";
    /// A gateway used its new key; the former one stopped.
    GatewayKeyUsed = "gateway_key_used", "gateway";
    /// The keys of a gateway were revoked.
    GatewayRevoked = "gateway_revoked", "gateway";
    /// The link to a gateway was made.
    GatewayLinked = "gateway_linked", "gateway";
    /// The link to a gateway was lost.
    GatewayLost = "gateway_lost", "gateway";
    /// A device was registered.
    DeviceRegistered = "device_registered", "device";
    /// Its name, description, tags, external id or permissions changed.
    DeviceEdited = "device_edited", "device";
    /// A device was deleted with its telemetry.
    DeviceDeleted = "device_deleted", "device";
    /// A device got a new credential; the former one stopped.
    CredentialIssued = "credential_issued", "device";
    /// A device's credential was revoked.
    CredentialRevoked = "credential_revoked", "device";
    /// A device was given a client certificate.
    CertificateIssued = "certificate_issued", "device";
    /// A client certificate of a device was revoked.
    CertificateRevoked = "certificate_revoked", "device";
    /// A device is to be given a new credential over the air.
    RotationStarted = "credential_rotation_started", "device";
    /// A device used its new credential; the former one stopped.
    CredentialRotated = "credential_rotated", "device";
    /// One credential was used from two addresses at once.
    CredentialShared = "credential_shared", "device";
    /// A device came online.
    DeviceOnline = "device_online", "device";
    /// A device went offline.
    DeviceOffline = "device_offline", "device";
    /// The link to the gateway of a device was lost: whether the device is there is not known.
    DeviceUnreachable = "device_unreachable", "device";
    /// A message of a device was refused.
    UplinkRefused = "uplink_refused", "device";
    /// A device said what it is: its model, firmware, capabilities, attributes.
    DeviceAnnounced = "device_announced", "device";
    /// A device reported an occurrence.
    DeviceEvent = "device_event", "device";
    /// Somebody wished for something of a device, or noted something. What a device reports is in the history of its
    /// shadow.
    ShadowUpdated = "shadow_updated", "device";
    /// A shadow of a device was deleted.
    ShadowDeleted = "shadow_deleted", "device";
    /// What a device runs crashed after it had been Done.
    DeviceProblem = "device_problem", "device";
    /// The clock of a device is wrong: its measurements got times by ours.
    ClockWrong = "clock_wrong", "device";
    /// A version crashed again and again on a device and is not given to it any more.
    VersionQuarantined = "version_quarantined", "device";
    /// A person lets a device have a version again.
    QuarantineLifted = "quarantine_lifted", "device";
    /// The picture of a device may be fetched from an origin.
    CameraAllowed = "camera_allowed", "device";
    /// The picture of a device may be fetched no more.
    CameraForbidden = "camera_forbidden", "device";
    /// A script was created with its first version.
    ScriptCreated = "script_created", "script";
    /// A script's name, description or category changed.
    ScriptEdited = "script_edited", "script";
    /// A script was deleted.
    ScriptDeleted = "script_deleted", "script";
    /// A new version of a script was saved.
    VersionSaved = "version_saved", "script";
    /// A firmware was uploaded.
    FirmwareUploaded = "firmware_uploaded", "firmware";
    /// The notes on a firmware changed.
    FirmwareEdited = "firmware_edited", "firmware";
    /// A firmware was deleted.
    FirmwareDeleted = "firmware_deleted", "firmware";
    /// A script was assigned to a device.
    ScriptAssigned = "script_assigned", "device";
    /// A script is no longer assigned to a device.
    ScriptUnassigned = "script_unassigned", "device";
    /// An assigned script became the active one.
    ScriptActivated = "script_activated", "device";
    /// A deployment began.
    DeploymentStarted = "deployment_started", "deployment";
    /// A deployment was cancelled by a person.
    DeploymentCancelled = "deployment_cancelled", "deployment";
    /// The last task of a deployment ended.
    DeploymentEnded = "deployment_ended", "deployment";
    /// A task changed its state.
    TaskMoved = "task_moved", "deployment";
    /// A version of a flow was saved.
    FlowSaved = "flow_saved", "flow";
    /// A flow's name or description changed.
    FlowEdited = "flow_edited", "flow";
    /// A version of a flow runs from now on.
    FlowDeployed = "flow_deployed", "flow";
    /// A flow was stopped.
    FlowStopped = "flow_stopped", "flow";
    /// Steps of a flow run elsewhere.
    FlowPlaced = "flow_placed", "flow";
    /// A flow was deleted.
    FlowDeleted = "flow_deleted", "flow";
    /// A dashboard was made.
    DashboardCreated = "dashboard_created", "dashboard";
    /// A dashboard was saved anew.
    DashboardSaved = "dashboard_saved", "dashboard";
    /// A dashboard was deleted.
    DashboardDeleted = "dashboard_deleted", "dashboard";
    /// A link was made by which anybody sees a dashboard.
    PublicLinkMade = "public_link_made", "dashboard";
    /// Nobody sees a dashboard by a public link any more.
    PublicLinkWithdrawn = "public_link_withdrawn", "dashboard";
    /// A rule was made.
    RuleCreated = "rule_created", "rule";
    /// A rule was changed, turned on or off.
    RuleEdited = "rule_edited", "rule";
    /// A rule was deleted.
    RuleDeleted = "rule_deleted", "rule";
    /// A rule raised an alarm.
    AlarmRaised = "alarm_raised", "alarm";
    /// A person saw an alarm and takes care of it.
    AlarmAcknowledged = "alarm_acknowledged", "alarm";
    /// What an alarm was raised for is over.
    AlarmCleared = "alarm_cleared", "alarm";
    /// A person asked devices to do something.
    CommandRequested = "command_requested", "command";
    /// A command was taken back from the devices that were not told yet.
    CommandCancelled = "command_cancelled", "command";
    /// A command changed its state at a device.
    CommandMoved = "command_moved", "command";
    /// A user was created.
    UserCreated = "user_created", "user";
    /// A user's role changed, or the user was disabled or enabled.
    UserEdited = "user_edited", "user";
    /// A user was deleted.
    UserDeleted = "user_deleted", "user";
    /// A password was changed or reset.
    PasswordChanged = "password_changed", "user";
    /// A person signed up as a customer.
    CustomerSignedUp = "customer_signed_up", "user";
    /// A code was made with which a customer may claim a device; the code before it stopped.
    ClaimCodeMade = "claim_code_made", "share";
    /// A customer claimed a device and is its owner.
    DeviceClaimed = "device_claimed", "share";
    /// A device was given back: all its shares and invitations ended.
    DeviceReleased = "device_released", "share";
    /// A device was shared with a customer, or shared otherwise than before.
    ShareGiven = "share_given", "share";
    /// A share of a device ended before its time.
    ShareRevoked = "share_revoked", "share";
    /// A customer changed the private name of a device or who may see it. The name is not told.
    ShareRenamed = "share_renamed", "share";
    /// A person was invited to become a customer or to have a device shared.
    InvitationMade = "invitation_made", "share";
    /// An invitation was taken back.
    InvitationWithdrawn = "invitation_withdrawn", "share";
    /// An API token was created.
    TokenCreated = "token_created", "token";
    /// An API token was revoked.
    TokenRevoked = "token_revoked", "token";
    /// A key with which Pyaiot gateways come in was added.
    PyaiotKeyAdded = "pyaiot_key_added", "pyaiot_key";
    /// A key of Pyaiot gateways was revoked; those that came in by it were cut off.
    PyaiotKeyRevoked = "pyaiot_key_revoked", "pyaiot_key";
    /// A Pyaiot gateway came in.
    PyaiotGatewayConnected = "pyaiot_gateway_connected", "pyaiot_key";
    /// A Pyaiot gateway is gone.
    PyaiotGatewayDisconnected = "pyaiot_gateway_disconnected", "pyaiot_key";
    /// A Pusher app was added.
    PusherAppAdded = "pusher_app_added", "pusher_app";
    /// A Pusher app was deleted; those that came in by it were cut off.
    PusherAppDeleted = "pusher_app_deleted", "pusher_app";
    /// An original base is there.
    BaseConnected = "base_connected", "pusher_app";
    /// An original base is gone.
    BaseDisconnected = "base_disconnected", "pusher_app";
    /// A person logged in.
    LoginSucceeded = "login_succeeded", "login";
    /// Somebody did not get in.
    LoginFailed = "login_failed", "login";
    /// A person logged out.
    LoggedOut = "logged_out", "login";
    /// A topic grant was added.
    GrantAdded = "grant_added", "grant";
    /// A topic grant was removed.
    GrantRemoved = "grant_removed", "grant";
    /// A group was made.
    GroupCreated = "group_created", "group";
    /// A group's name, selector or description changed.
    GroupEdited = "group_edited", "group";
    /// A group was deleted; its members stay as they are.
    GroupDeleted = "group_deleted", "group";
    /// A webhook was made.
    WebhookCreated = "webhook_created", "webhook";
    /// A webhook's name, address or wishes changed.
    WebhookEdited = "webhook_edited", "webhook";
    /// A webhook is delivered to again.
    WebhookEnabled = "webhook_enabled", "webhook";
    /// A webhook is not delivered to any more: a person said so, or it answered that it is gone.
    WebhookDisabled = "webhook_disabled", "webhook";
    /// A webhook was given a new secret.
    WebhookSecretRotated = "webhook_secret_rotated", "webhook";
    /// A webhook was deleted with its deliveries.
    WebhookDeleted = "webhook_deleted", "webhook";
    /// Dead letters were sent again.
    DeliveriesResent = "deliveries_resent", "webhook";
    /// A capability was described in the library.
    CapabilityDescribed = "capability_described", "capability";
    /// A capability was taken out of the library.
    CapabilityDeleted = "capability_deleted", "capability";
    /// Somebody unknown was refused.
    KnockRefused = "knock_refused", "knock";
    /// Somebody unknown is ignored.
    KnockIgnored = "knock_ignored", "knock";
    /// A refusal or ignoring of somebody unknown was taken back.
    KnockReturned = "knock_returned", "knock";
    /// Somebody unknown was taken out of the inbox.
    KnockDeleted = "knock_deleted", "knock";
    /// What is said of a metric, or of all whose names fit, changed.
    MetricEdited = "metric_edited", "metric";
    /// Telemetry reached its age and was removed.
    TelemetryAged = "telemetry_aged", "metric";
    /// The first administrator was made.
    SetupDone = "setup_done", "user";
    /// The MQTT connection of a client was ended by a person.
    ClientDisconnected = "client_disconnected", "connection";
    /// The MQTT session of a client was forgotten by a person, with all that waited for it.
    SessionForgotten = "session_forgotten", "connection";
    /// The hub started again.
    HubStarted = "hub_started", "hub";
    /// A copy of everything was taken out of the hub.
    BackupTaken = "backup_taken", "hub";
}

impl Actor {
    /// The name that is shown.
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Token(name) | Self::Device(name) => name,
            Self::System => "motehub",
        }
    }
    /// What the actor is, as in the API and the store.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Token(_) => "token",
            Self::Device(_) => "device",
            Self::System => "system",
        }
    }
    /// The actor from its two stored parts.
    pub fn from_parts(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "user" => Some(Self::User(name.to_owned())),
            "token" => Some(Self::Token(name.to_owned())),
            "device" => Some(Self::Device(name.to_owned())),
            "system" => Some(Self::System),
            _ => None,
        }
    }
}
