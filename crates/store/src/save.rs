//! The door for state: effects become one transaction.

use motehub_domain::effects::{Effects, Save};
use motehub_domain::time::Time;
use tokio::sync::oneshot;

use crate::engine::row::Columns;
use crate::engine::{Outcome, Transaction, gone};
use crate::{
    Held, Store, StoreError, alarm, camera, capability, certificate, change, command, credential, dashboard,
    delivery, deployment, device, firmware, flow, gateway, group, holder, knock, lease, note, person, pusher,
    pyaiot, report, rule, script, shadow, share, task, usage, webhook,
};

impl Store {
    /// Writes everything in `effects.save` and `effects.changes`, or nothing; it is on disk when this
    /// returns. What is in `effects.send` is the caller's. Returns the sequence numbers of the changes, in
    /// order.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a guard fails, [`StoreError::Taken`] for a unique value that exists,
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn commit(&self, effects: &Effects, now: Time) -> Result<Vec<i64>, StoreError> {
        self.commit_under(None, effects, now).await
    }

    /// The same, refused as a conflict if somebody else holds the lease by now.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit_under(
        &self,
        held: Option<&Held>,
        effects: &Effects,
        now: Time,
    ) -> Result<Vec<i64>, StoreError> {
        let mut transaction = Transaction::default();
        for save in &effects.save {
            write(save, &mut transaction, now);
        }
        for change in &effects.changes {
            transaction.push(change::record(change, now));
        }
        if transaction.statements.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(held) = held {
            transaction.statements.insert(0, lease::guard(held));
        }
        let mut appeared = Vec::new();
        let mut vanished = Vec::new();
        for save in &effects.save {
            if let Save::Device(device) = save {
                appeared.push(device.id);
            }
            if let Save::DeleteDevice(id) = save {
                vanished.push(*id);
            }
        }
        let (answer, outcome) = oneshot::channel();
        let telemetry = self.telemetry_state().clone();
        let slot = self.engine().slot().await?;
        slot.write(
            transaction,
            Box::new(move |outcome: Outcome| {
                if outcome.is_ok() {
                    telemetry.devices_changed(&appeared, &vanished);
                }
                drop(answer.send(outcome));
            }),
        );
        let rows = outcome.await.unwrap_or_else(|_| Err(gone()))?;
        rows.into_iter().map(|row| Columns::of("changes", row).integer()).collect()
    }
}

fn write(save: &Save, transaction: &mut Transaction, now: Time) {
    match save {
        Save::Device(device) => device::write(device, transaction),
        Save::DeleteDevice(id) => {
            for statement in
                flow::delete_program(*id).into_iter().chain([rule::forget_device(*id), device::delete(*id)])
            {
                transaction.push(statement);
            }
        }
        Save::Software(software) => transaction.push(device::write_software(software)),
        Save::Credential(id, digest) => credential::write(*id, *digest, transaction),
        Save::Rotation(rotation) => transaction.push(credential::write_rotation(rotation)),
        Save::NextCredential(id, digest, at) => credential::write_next(*id, *digest, *at, transaction),
        Save::CredentialShared(id, at, from) => transaction.push(credential::shared(*id, *at, from)),
        Save::Certificate(certificate) => transaction.push(certificate::write(certificate)),
        Save::RevokeCertificate(digest) => transaction.push(certificate::delete(*digest)),
        Save::Assign(assignment) => transaction.push(device::assign(*assignment)),
        Save::Unassign(assignment) => transaction.push(device::unassign(*assignment)),
        Save::Script(script) => script::write(script, transaction),
        Save::DeleteScript(id) => {
            for statement in script::delete(*id) {
                transaction.push(statement);
            }
        }
        Save::Version(version) => transaction.push(script::write_version(version)),
        Save::Deployment(deployment) => transaction.push(deployment::write(deployment)),
        Save::Task(task) => transaction.push(task::write(task)),
        Save::Command(command) => transaction.push(command::write(command)),
        Save::Execution(execution) => transaction.push(command::write_execution(execution)),
        Save::Shadow(shadow, revision) => shadow::write(shadow, revision.as_deref(), transaction, now),
        Save::Report(said) => transaction.push(report::write(said)),
        Save::Log(device, lines, at) => report::write_log(*device, lines, *at, transaction),
        Save::Quarantine(quarantine) => transaction.push(report::write_quarantine(quarantine)),
        Save::LiftQuarantine(device, digest) => transaction.push(report::lift_quarantine(*device, *digest)),
        Save::User(user) => transaction.push(person::write_user(user)),
        Save::DeleteUser(id) => {
            share::delete_owned(*id, transaction);
            transaction.push(dashboard::delete_kept(*id));
            transaction.push(person::delete_user(*id));
        }
        Save::Share(share) => transaction.push(share::write(share)),
        Save::EndShare(device, user) => transaction.push(share::end(*device, *user)),
        Save::EndSharesOf(device) => share::end_all(*device, transaction),
        Save::Invitation(invitation) => share::write_invitation(invitation, transaction),
        Save::DropInvitation(id) => transaction.push(share::drop_invitation(*id)),
        Save::Login(login) => transaction.push(person::write_login(login)),
        Save::EndLogin(digest) => transaction.push(person::end_login(*digest)),
        Save::EndLoginsOf(user) => transaction.push(person::end_logins_of(*user)),
        Save::EndOtherLoginsOf(user, kept) => transaction.push(person::end_other_logins_of(*user, *kept)),
        Save::LoginSeen(digest, at) => transaction.push(person::login_seen(*digest, *at)),
        Save::Dashboard(one) => transaction.push(dashboard::write(one)),
        Save::DeleteDashboard(id) => transaction.push(dashboard::delete(*id)),
        Save::PublicLink(link) => transaction.push(dashboard::write_link(link)),
        Save::WithdrawPublicLink(id) => transaction.push(dashboard::withdraw_link(*id)),
        Save::PublicLinkUsed(id, at) => transaction.push(dashboard::link_used(*id, *at)),
        Save::Token(token) => transaction.push(person::write_token(token)),
        Save::DeleteToken(id) => transaction.push(person::delete_token(*id)),
        Save::PyaiotKey(key) => transaction.push(pyaiot::write(key)),
        Save::DeletePyaiotKey(id) => transaction.push(pyaiot::delete(*id)),
        Save::PyaiotKeyUsed(id, at) => transaction.push(pyaiot::used(*id, *at)),
        Save::PusherApp(app) => transaction.push(pusher::write(app)),
        Save::DeletePusherApp(id) => transaction.push(pusher::delete(*id)),
        Save::Grant(grant) => transaction.push(person::write_grant(grant)),
        Save::DeleteGrant(id) => transaction.push(person::delete_grant(*id)),
        Save::Flow(one) => transaction.push(flow::write(one)),
        Save::DeleteFlow(id) => transaction.push(flow::delete(*id)),
        Save::FlowVersion(version) => transaction.push(flow::write_version(version)),
        Save::Layout(layout) => flow::write_layout(layout, transaction),
        Save::Limit(limit) => transaction.push(flow::write_limit(limit)),
        Save::ForgetLimits(id) => transaction.push(flow::forget_limits(*id)),
        Save::Program(device, script) => transaction.push(flow::write_program(*device, *script)),
        Save::Firmware(image) => transaction.push(firmware::write(image)),
        Save::DeleteFirmware(id, digest) => firmware::delete(*id, *digest, transaction),
        Save::Group(group) => transaction.push(group::write(group)),
        Save::DeleteGroup(id) => transaction.push(group::delete(*id)),
        Save::Gateway(gateway) => transaction.push(gateway::write(gateway)),
        Save::DeleteGateway(id) => transaction.push(gateway::delete(*id)),
        Save::GatewaySeen(id, at, address) => transaction.push(gateway::seen(*id, *at, address)),
        Save::ShownThrough(id, device) => transaction.push(gateway::shown(*id, *device)),
        Save::Taken(taken) => transaction.push(gateway::taken(taken)),
        Save::TakenUpTo(taken) => transaction.push(gateway::taken_up_to(taken)),
        Save::Camera(device, origin) => transaction.push(camera::write(*device, origin.as_ref())),
        Save::Capability(capability) => transaction.push(capability::write(capability)),
        Save::DeleteCapability(name) => transaction.push(capability::delete(name)),
        Save::Announced(device, names) => capability::write_of(*device, "announced", names, transaction),
        Save::Reported(device, attributes) => capability::write_reported(*device, attributes, transaction),
        Save::Rule(one) => transaction.push(rule::write(one)),
        Save::DeleteRule(id) => transaction.push(rule::delete(*id)),
        Save::RuleState(id, revision, device, state) => {
            transaction.push(rule::write_state(*id, *revision, *device, state));
        }
        Save::NoOpenAlarm(id) => transaction.push(rule::has_no_open_alarm(*id)),
        Save::ForgetRuleStates(id) => transaction.push(rule::forget_states(*id)),
        Save::Firing(record) => rule::write_firing(record, transaction),
        Save::FiringDone(id, problems) => transaction.push(rule::firing_done(*id, problems)),
        Save::FiringEnded(id, device, at) => transaction.push(rule::firing_ended(*id, *device, *at)),
        Save::Alarm(one) => transaction.push(alarm::write(one)),
        Save::Knock(knock) => transaction.push(knock::write(knock)),
        Save::KnockHeard(knock) => transaction.push(knock::hear(knock)),
        Save::DropKnock(id) => transaction.push(knock::delete(*id)),
        Save::Presence(presence) => transaction.push(device::write_presence(presence)),
        Save::Holder(holder) => transaction.push(holder::write(holder)),
        Save::Seen(id, at) => transaction.push(device::seen(*id, *at)),
        Save::TokenUsed(id, at) => transaction.push(person::token_used(*id, *at)),
        Save::Usage(day) => transaction.push(usage::write(day)),
        Save::Webhook(one) => transaction.push(webhook::write(one)),
        Save::DeleteWebhook(id) => transaction.push(webhook::delete(*id)),
        Save::Delivery(one) => delivery::write(one, transaction),
        Save::Note(key, body) => transaction.push(note::write(key, body.as_deref())),
    }
}
