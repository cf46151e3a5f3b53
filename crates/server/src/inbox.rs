//! The inbox of unknown devices: who was not let in is told here; one worker writes what changed, in batches, so
//! that a flood of knocks costs no more than a few writes a second.

use std::net::SocketAddr;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use motehub_domain::artifact::Digest;
use motehub_domain::device::Device;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::KnockId;
use motehub_domain::knock::{Heard, Inbox, Knock, Said, Standing, Via};
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::{self, Credentials};
use motehub_protocol::esp_firmware;
use motehub_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::live::News;
use crate::mirror::Mirror;
use crate::secrets;

/// How many records are written in one transaction.
const BATCH_MAX: usize = 200;
/// How soon a new knock is written and shown, and how long a burst is gathered.
const GATHER: Span = Span::seconds(1);
/// How often counts and times of known knocks are written.
const COUNTS_EVERY: Span = Span::seconds(60);

/// How long another node may take to write what it listed, and how often it is looked for.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The inbox in memory.
pub(crate) struct Knocks {
    inbox: Mirror<Inbox>,
    changed: Notify,
    /// Another node wrote knocks.
    is_stale: AtomicBool,
}

impl Knocks {
    /// The inbox as it was written.
    pub(crate) fn new(knocks: Vec<Knock>) -> Self {
        Self {
            inbox: Mirror::new(Inbox::restored(knocks)),
            changed: Notify::new(),
            is_stale: AtomicBool::new(false),
        }
    }

    /// The inbox, locked: hold it only for a moment.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.look()
    }

    async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        self.inbox.refresh(|| store.knocks(), Inbox::refresh).await
    }

    /// A person decided, and that is on disk.
    pub(crate) fn decided(&self, id: KnockId, standing: Standing) {
        self.inbox.change().decided(id, standing);
        self.changed.notify_one();
    }

    /// A knock is to be listed again when it knocks again.
    pub(crate) fn forget(&self, id: KnockId) {
        self.inbox.change().forget(id);
        self.changed.notify_one();
    }

    /// Whoever is registered now is no stranger any more.
    pub(crate) fn tell(&self, saves: &[Save]) {
        for save in saves {
            if let Save::Device(device) = save
                && device.revision == 1
            {
                self.registered(device);
            }
        }
    }

    /// The same of one device.
    pub(crate) fn registered(&self, device: &Device) {
        self.inbox.change().registered(device);
        self.changed.notify_one();
    }

    /// Another node wrote knocks: they are read again soon.
    pub(crate) fn are_stale(&self) {
        self.is_stale.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }
}

impl App {
    /// Somebody was not let in. If it is nobody known yet it is listed, unless what it calls itself is a secret
    /// of ours: firmware exists that sends its password as its name.
    pub(crate) async fn knocked(&self, knock: &hub::Knock) {
        let Some(said) = said(knock, self.called.are_called()) else { return counted("nameless") };
        let is_known = self.knocks.inbox().knows(&said);
        if !is_known && self.shows_a_secret(&knock.credentials).await {
            return counted("secret");
        }
        self.listed(said);
    }

    /// Who knocked. What another node listed just now is in the store soon.
    pub(crate) async fn knock(&self, id: KnockId) -> Result<Option<Knock>, StoreError> {
        let until = Instant::now() + WRITTEN_WITHIN;
        loop {
            let known = self.knocks.inbox().get(id).cloned();
            if known.is_some() || self.cluster.is_alone() || Instant::now() >= until {
                return Ok(known);
            }
            self.knocks.refresh(&self.store).await?;
            if self.knocks.inbox().get(id).is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// A gateway that was let in speaks for a node that is no device it may speak for.
    pub(crate) fn node_knocked(&self, uid: &str, via: Via, from: SocketAddr) {
        match Said::node(uid, via, from.ip().to_canonical().to_string()) {
            Some(said) => self.listed(said),
            None => counted("nameless"),
        }
    }

    fn listed(&self, said: Said) {
        let heard = self.knocks.inbox().heard(id(&said), said, self.now());
        match heard {
            Heard::Listed => {
                counted("listed");
                self.knocks.changed.notify_one();
            }
            Heard::Again => counted("again"),
            Heard::Limited => counted("limited"),
        }
    }

    async fn shows_a_secret(&self, credentials: &Credentials) -> bool {
        let Credentials::Mqtt { client_id, user, .. } = credentials else { return false };
        for text in [Some(client_id), user.as_ref()].into_iter().flatten() {
            let digest = secrets::digest(text);
            let device = self.store.device_by_credential(digest).await;
            let rotated = self.store.device_by_next_credential(digest).await;
            let token = self.store.token_by_digest(digest).await;
            if !matches!((device, rotated, token), (Ok(None), Ok(None), Ok(None))) {
                return true;
            }
        }
        false
    }
}

/// Who knocks by this name has this id at every node, and when it knocks again.
fn id(said: &Said) -> KnockId {
    let Digest(bytes) = secrets::digest(format!("{} {}", said.dialect.as_str(), said.name));
    let number = u128::from_le_bytes(*bytes.first_chunk().expect("because a digest is longer"));
    KnockId::from_parts((number >> 80) as u64, number)
}

fn said(knock: &hub::Knock, has_boards: bool) -> Option<Said> {
    let address = knock.address.ip().to_canonical().to_string();
    let via = match knock.transport {
        hub::Transport::Mqtt | hub::Transport::MqttNode => Via::Mqtt,
        hub::Transport::WebSocket if matches!(knock.credentials, Credentials::Riot { .. }) => Via::WebSocket,
        hub::Transport::Http | hub::Transport::WebSocket | hub::Transport::Line => Via::Http,
        hub::Transport::Coap => Via::Coap,
    };
    match &knock.credentials {
        Credentials::Mqtt { client_id, user: None, password: None, .. }
            if has_boards && esp_firmware::name_in(client_id).is_some() =>
        {
            Said::board(client_id, address)
        }
        Credentials::Mqtt { client_id, user, password, .. } => {
            let name = user.as_deref().unwrap_or(client_id);
            Said::new(name, Some(client_id), via, address, password.is_some())
        }
        Credentials::Bearer { id, .. } => Said::new(id, None, via, address, true),
        Credentials::Nodemcu { chip_id, secret } => Said::new(chip_id, None, via, address, secret.is_some()),
        Credentials::Riot { uid } => Said::node(uid, via, address),
        // It says no name, only a secret; or who it says to be is what it could not show.
        Credentials::Token { .. } | Credentials::Unproven { .. } | Credentials::Psk { .. } => None,
    }
}

fn counted(outcome: &'static str) {
    metrics::counter!("motehub_knocks_total", "outcome" => outcome).increment(1);
}

/// The worker that writes the inbox and tells open pages how many wait, until shutdown and then once more.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut shown = app.knocks.inbox().waiting();
    let mut counts_at = app.now() + COUNTS_EVERY;
    loop {
        let is_over = tokio::select! {
            () = app.knocks.changed.notified() => false,
            () = app.clock.sleep_until(counts_at) => false,
            () = shutdown.cancelled() => true,
        };
        read_again(&app).await;
        let waiting = app.knocks.inbox().waiting();
        if waiting != shown {
            app.show(News::Inbox(waiting));
            shown = waiting;
        }
        write(&app).await;
        if is_over {
            return;
        }
        counts_at = app.now() + COUNTS_EVERY;
        pause(&app, app.now() + GATHER, &shutdown).await;
    }
}

/// Reads what another node wrote.
async fn read_again(app: &App) {
    if !app.knocks.is_stale.swap(false, Ordering::SeqCst) {
        return;
    }
    if let Err(error) = app.knocks.refresh(&app.store).await {
        tracing::warn!(%error, "the inbox could not be read again; it is tried again later");
        app.knocks.is_stale.store(true, Ordering::SeqCst);
    }
}

async fn pause(app: &App, until: Time, shutdown: &CancellationToken) {
    tokio::select! {
        () = app.clock.sleep_until(until) => {}
        () = shutdown.cancelled() => {}
    }
}

async fn write(app: &App) {
    // What is on its way to the disk is neither among what is unsaved nor in what would be read.
    let _held = app.knocks.inbox.hold().await;
    loop {
        let save = app.knocks.inbox().take_unsaved(BATCH_MAX);
        if save.is_empty() {
            return;
        }
        let effects = Effects { save, ..Effects::none() };
        if let Err(error) = app.store.commit(&effects, app.now()).await {
            tracing::warn!(%error, "the inbox could not be written; it is tried again later");
            return app.knocks.inbox().unsaved_again(&effects.save);
        }
        app.tell_others(&effects.save, false);
    }
}
