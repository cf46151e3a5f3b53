//! What a verb wants done. One function in the shell performs it: commit, then publish, then send.

use crate::alarm::Alarm;
use crate::artifact::Digest;
use crate::camera::Origin;
use crate::capability::Capability;
use crate::certificate::Certificate;
use crate::change::Change;
use crate::command::{Command, Execution};
use crate::credential::Rotation;
use crate::dashboard::{Dashboard, PublicLink};
use crate::deployment::{Deployment, Task};
use crate::device::{Assignment, Device, Holder, Presence, Software};
use crate::firmware::Firmware;
use crate::flow::{Flow, FlowVersion, Layout, Limit};
use crate::gateway::{Gateway, Taken};
use crate::group::Group;
use crate::id::{
    DashboardId, DeviceId, FiringId, FirmwareId, FlowId, GatewayId, GrantId, GroupId, InvitationId, KnockId,
    PublicLinkId, PusherAppId, PyaiotKeyId, RuleId, ScriptId, TokenId, UserId, WebhookId,
};
use crate::job;
use crate::knock::Knock;
use crate::message::Downlink;
use crate::person::{Grant, Login, Token, User};
use crate::pusher::PusherApp;
use crate::pyaiot::Key as PyaiotKey;
use crate::report::{LogLine, Quarantine, Report};
use crate::rule::{self, Rule};
use crate::script::{Script, ScriptVersion};
use crate::shadow::{Revision, Shadow, Spoken};
use crate::share::{Invitation, Share};
use crate::telemetry::PointValue;
use crate::time::Time;
use crate::usage::Usage;
use crate::webhook::{Delivery, Webhook};

/// All that a verb may return.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Records to write, in this order, in one transaction. If a guarded record was changed by somebody else
    /// meanwhile, nothing is written.
    pub save: Vec<Save>,
    /// Facts to write in the same transaction.
    pub changes: Vec<Change>,
    /// What to say to devices once that is on disk.
    pub send: Vec<(DeviceId, Downlink)>,
    /// What to publish of shadows once that is on disk, before anything is sent.
    pub say: Vec<Spoken>,
    /// Whom to tell, once that is on disk, that other jobs are pending than before.
    pub jobs: Vec<job::Changed>,
}

/// One record to write.
///
/// Records with a `revision` are guarded: `revision == 1` inserts and conflicts if the id exists; otherwise the
/// stored revision must be one less.
#[derive(Debug, Clone, PartialEq)]
pub enum Save {
    /// Guarded. Unique: (dialect, external id).
    Device(Box<Device>),
    /// With its credential, presence, software, assignments, tasks, grants and telemetry, and the script that was
    /// generated for it.
    DeleteDevice(DeviceId),
    /// Guarded. Written by deployments only, so that edits of a device never collide with them.
    Software(Box<Software>),
    /// Replaces the hash of a device's credential; `None` revokes it. Ends a rotation of it.
    Credential(DeviceId, Option<Digest>),
    /// Begins a rotation of a device's credential, or says how far it is.
    Rotation(Rotation),
    /// A further digest is valid for a device until one of these is used and becomes its credential.
    NextCredential(DeviceId, Digest, Time),
    /// A device's credential was used from these addresses at once.
    CredentialShared(DeviceId, Time, String),
    /// Insert.
    Certificate(Certificate),
    /// Removes a certificate.
    RevokeCertificate(Digest),
    /// Adds an assignment; nothing happens if it exists.
    Assign(Assignment),
    /// Removes an assignment.
    Unassign(Assignment),
    /// Guarded. Unique: name. The store gives it its `number` at insert.
    Script(Box<Script>),
    /// With its versions.
    DeleteScript(ScriptId),
    /// Always an insert; conflicts if that version exists.
    Version(Box<ScriptVersion>),
    /// Guarded.
    Deployment(Box<Deployment>),
    /// Guarded; keyed by (deployment, device).
    Task(Box<Task>),
    /// Always an insert.
    Command(Box<Command>),
    /// Guarded; keyed by (command, device).
    Execution(Box<Execution>),
    /// Guarded; keyed by (device, name). With the revision that goes into its history; old ones make room.
    Shadow(Box<Shadow>, Option<Box<Revision>>),
    /// Replaces what a device last said of itself.
    Report(Box<Report>),
    /// Adds lines to the log of a device, with the time of their arrival; old ones make room.
    Log(DeviceId, Vec<LogLine>, Time),
    /// A device is not given an artifact any more; replaces what was said of the same before.
    Quarantine(Box<Quarantine>),
    /// A device may have an artifact again.
    LiftQuarantine(DeviceId, Digest),
    /// Guarded. Unique: name.
    User(Box<User>),
    /// With its logins and shares, with all shares and invitations of the devices that it owns, and with its dashboards
    /// that are not shared; the others are nobody's then.
    DeleteUser(UserId),
    /// Guarded; keyed by (device, user). A device has one owner: a second one is a conflict.
    Share(Box<Share>),
    /// Ends a share; a conflict if it has ended already.
    EndShare(DeviceId, UserId),
    /// Ends all shares of a device and drops all its invitations, the claim code included.
    EndSharesOf(DeviceId),
    /// Insert. A claim code takes the place of the one that the device had.
    Invitation(Box<Invitation>),
    /// Removes an invitation; a conflict if it is gone already, so that it serves once.
    DropInvitation(InvitationId),
    /// Insert or replace, by the digest of the cookie.
    Login(Login),
    /// Ends one login.
    EndLogin(Digest),
    /// Ends all logins of a user.
    EndLoginsOf(UserId),
    /// Ends all logins of a user but this one, if it is still there.
    EndOtherLoginsOf(UserId, Digest),
    /// The login was used at this time; nothing happens if it has ended meanwhile.
    LoginSeen(Digest, Time),
    /// Guarded.
    Dashboard(Box<Dashboard>),
    /// With its public links.
    DeleteDashboard(DashboardId),
    /// Insert.
    PublicLink(Box<PublicLink>),
    /// Removes a public link; a conflict if it is gone already.
    WithdrawPublicLink(PublicLinkId),
    /// Somebody looked by a public link at this time; nothing happens if it is gone.
    PublicLinkUsed(PublicLinkId, Time),
    /// Insert. Unique: name.
    Token(Token),
    /// Removes a token.
    DeleteToken(TokenId),
    /// Insert. Unique: name.
    PyaiotKey(Box<PyaiotKey>),
    /// Removes a key of Pyaiot gateways.
    DeletePyaiotKey(PyaiotKeyId),
    /// A key of Pyaiot gateways was used at this time.
    PyaiotKeyUsed(PyaiotKeyId, Time),
    /// Insert. Unique: name, number, key, token of a base.
    PusherApp(Box<PusherApp>),
    /// Removes a Pusher app.
    DeletePusherApp(PusherAppId),
    /// Insert.
    Grant(Grant),
    /// Removes a grant.
    DeleteGrant(GrantId),
    /// Guarded. Unique: name.
    Flow(Box<Flow>),
    /// With its versions, layouts and limits.
    DeleteFlow(FlowId),
    /// Always an insert; conflicts if that version exists.
    FlowVersion(Box<FlowVersion>),
    /// Always an insert; conflicts if that number exists. Old ones make room.
    Layout(Box<Layout>),
    /// Replaces what was known of the board and the flow.
    Limit(Box<Limit>),
    /// The script that is generated for a device that runs steps of flows. It is not in the library.
    Program(DeviceId, ScriptId),
    /// Removes the limits of a flow.
    ForgetLimits(FlowId),
    /// Guarded. Unique: label.
    Firmware(Box<Firmware>),
    /// Removes a firmware, and its bytes if nothing else has the same.
    DeleteFirmware(FirmwareId, Digest),
    /// Guarded. Unique: name.
    Group(Box<Group>),
    /// Removes a group.
    DeleteGroup(GroupId),
    /// Guarded. Unique: name.
    Gateway(Box<Gateway>),
    /// Removes a gateway, with what it may speak for.
    DeleteGateway(GatewayId),
    /// A gateway's link was made or lost, from this address.
    GatewaySeen(GatewayId, Time, String),
    /// A device showed its own credential through a gateway; nothing happens if it did before.
    ShownThrough(GatewayId, DeviceId),
    /// What a gateway numbers was taken up to here, with all that is saved; refused if so much was taken before.
    Taken(Taken),
    /// What a gateway numbers was taken at least up to here.
    TakenUpTo(Taken),
    /// From which origin the picture of a device may be fetched; none takes that back.
    Camera(DeviceId, Option<Origin>),
    /// Describes a capability in the library, or describes it anew.
    Capability(Capability),
    /// Takes the description of a capability away, by name.
    DeleteCapability(String),
    /// Replaces the capabilities that a device announced.
    Announced(DeviceId, Vec<String>),
    /// Replaces what a device reported of itself, by the names under which selectors find it: `model`, `firmware`, …
    /// and its own attributes without the `attributes.` in front. Of two with one name the first counts.
    Reported(DeviceId, Vec<(String, PointValue)>),
    /// Guarded. Unique: name.
    Rule(Box<Rule>),
    /// With its states and firings.
    DeleteRule(RuleId),
    /// How a rule of this revision stands with a device; replaces what was there. A conflict if the rule is another by
    /// now, or gone.
    RuleState(RuleId, i64, Option<DeviceId>, Box<rule::engine::State>),
    /// A rule begins anew with all devices.
    ForgetRuleStates(RuleId),
    /// Always an insert; old ones of the rule make room.
    Firing(Box<rule::Record>),
    /// Everything that a firing wants was done or tried; with what could not be done.
    FiringDone(FiringId, Vec<String>),
    /// What a rule last fired for is over.
    FiringEnded(RuleId, Option<DeviceId>, Time),
    /// Guarded. A rule has one alarm at a time for a device that is not cleared: a second one is a conflict.
    Alarm(Box<Alarm>),
    /// A conflict if a rule has an alarm that is not cleared, or is gone.
    NoOpenAlarm(RuleId),
    /// Insert or replace.
    Knock(Box<Knock>),
    /// Insert, or replace but for what was decided of it: only one that is ignored is new again, if it says something
    /// else.
    KnockHeard(Box<Knock>),
    /// Removes a knock.
    DropKnock(KnockId),
    /// Replaces a device's presence.
    Presence(Presence),
    /// Guarded by its fence: a conflict if another node was quicker, or the device is gone.
    Holder(Holder),
    /// The device was heard at this time, if it was not heard later; nothing else changes.
    Seen(DeviceId, Time),
    /// The token was used at this time.
    TokenUsed(TokenId, Time),
    /// How the devices were used on a day; replaces what was said of the day before.
    Usage(Box<Usage>),
    /// Guarded. Unique: name.
    Webhook(Box<Webhook>),
    /// With its deliveries.
    DeleteWebhook(WebhookId),
    /// Guarded. A new one goes behind all others of its recipient, and one that waits again too; where too many wait
    /// already it is a dead letter at once. Nothing happens if its webhook is gone.
    Delivery(Box<Delivery>),
    /// Keeps a small note under a key, or removes it.
    Note(String, Option<Vec<u8>>),
}

impl Effects {
    /// Nothing to do.
    pub fn none() -> Self {
        Self::default()
    }
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { save, changes, send, say, jobs } = self;
        save.is_empty() && changes.is_empty() && send.is_empty() && say.is_empty() && jobs.is_empty()
    }
    /// Adds the effects of another verb behind these.
    pub fn and(mut self, other: Self) -> Self {
        self.save.extend(other.save);
        self.changes.extend(other.changes);
        self.send.extend(other.send);
        self.say.extend(other.say);
        self.jobs.extend(other.jobs);
        self
    }
}
