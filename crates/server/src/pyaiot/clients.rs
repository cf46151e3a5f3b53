//! The clients of Pyaiot at `/ws`: its dashboard, and programs. They see the nodes that are there with what they
//! reported, from our own store, and may write to them if their role lets them.
//!
//! Who they are is known by a login's cookie, if the page that opened the connection is ours or was allowed to, by a
//! token as bearer, or by one among the subprotocols behind the label `token`. There is no token in an address:
//! addresses are written down on the way.

mod write;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use motehub_domain::access::Permission;
use motehub_domain::change::ChangeKind;
use motehub_domain::device::Dialect;
use motehub_domain::id::DeviceId;
use motehub_domain::metric::Catalogue;
use motehub_domain::selector::{Field, Known, Operator, Selector, Value as SelectorValue};
use motehub_domain::shadow::Shadow;
use motehub_protocol::pyaiot::{self, FromClient};
use motehub_store::{Recorded, StoreError};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Front;
use crate::api::{self, ApiError, Caller, Proof};
use crate::app::App;
use crate::live::News;
use write::{may_write, write};

/// Largest frame of a client.
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// How long a frame may take to be written; who does not read is cut off.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How often a client is pinged, and its rights are looked at again.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How many of its commands may be on their way; reading pauses then.
const COMMANDS_MAX: usize = 16;
/// Most nodes that are shown.
const NODES_MAX: usize = 10_000;
/// The label of a token among the subprotocols.
const LABEL: &str = "token";

/// `GET /ws`.
pub(super) async fn open(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let caller = match caller(&front.app, &headers).await {
        Ok(caller) => caller,
        Err(error) => {
            metrics::counter!("motehub_pyaiot_clients_refused_total").increment(1);
            return error.into_response();
        }
    };
    let upgrade =
        upgrade.protocols([LABEL]).max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    upgrade.on_upgrade(move |socket| async move {
        let client = Client {
            app: front.app.clone(),
            headers,
            caller,
            socket,
            is_registered: false,
            wants_results: false,
            hasher: RandomState::new(),
            units: Catalogue::default(),
            shown: HashMap::new(),
        };
        client.serve(&front).await;
    })
}

/// Who it is; `None` for anybody, where anybody may look.
async fn caller(app: &App, headers: &HeaderMap) -> Result<Option<Caller>, ApiError> {
    let caller = if let Some(offered) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        let parts = offered.to_str().unwrap_or_default().split(',').map(str::trim).collect::<Vec<_>>();
        let [LABEL, token] = parts[..] else { return Err(ApiError::unauthenticated()) };
        api::by_token(app, token).await?
    } else if headers.contains_key(header::AUTHORIZATION) {
        api::caller(app, &axum::http::Method::GET, headers).await?
    } else {
        let found = match is_allowed_origin(app, headers) {
            true => api::by_cookie(app, headers).await,
            false => Err(ApiError::unauthenticated()),
        };
        match found {
            Err(_) if app.settings.pyaiot.anonymous => return Ok(None),
            found => found?,
        }
    };
    if matches!(caller.proof, Proof::Login { must_change_password: true, .. }) {
        let how = "change the one-time password in the dashboard first";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "password_change_required", how));
    }
    caller.must(Permission::See)?;
    Ok(Some(caller))
}

/// Whether the page that opened the connection is ours, or one of those that may use the login of their visitors.
fn is_allowed_origin(app: &App, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_named = origin.is_some_and(|origin| app.settings.pyaiot.origins.iter().any(|one| one == origin));
    is_named || api::is_same_origin(headers, false)
}

/// A client that is here.
struct Client {
    app: App,
    headers: HeaderMap,
    caller: Option<Caller>,
    socket: WebSocket,
    /// It said new.
    is_registered: bool,
    /// It wants to know what becomes of its commands.
    wants_results: bool,
    hasher: RandomState,
    /// In which units things are measured.
    units: Catalogue,
    /// The nodes that it was shown: their uid, and what they say of each resource, hashed.
    shown: HashMap<DeviceId, (String, HashMap<String, u64>)>,
}

/// The connection is over; the client is told why, if it is told.
struct Over(Option<CloseFrame>);

/// What becomes of a command: of which node and resource, and why it was not done, if it was not.
type Coming = BoxFuture<'static, (String, String, Result<(), String>)>;

impl Client {
    async fn serve(mut self, front: &Front) {
        if let Err(Over(frame)) = self.talk(front).await {
            let _ = timeout(WRITE_MAX, self.socket.send(Message::Close(frame))).await;
        }
    }

    async fn talk(&mut self, front: &Front) -> Result<(), Over> {
        let app = self.app.clone();
        let mut news = app.live.subscribe();
        let _watched = app.live.watch_all();
        let mut coming: FuturesUnordered<Coming> = FuturesUnordered::new();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let may_read = coming.len() < COMMANDS_MAX;
            tokio::select! {
                message = self.socket.recv(), if may_read => match message {
                    Some(Ok(Message::Text(text))) => coming.extend(self.heard(text.as_bytes()).await?),
                    Some(Ok(Message::Binary(bytes))) => coming.extend(self.heard(&bytes).await?),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                },
                Some((uid, endpoint, outcome)) = coming.next(), if !coming.is_empty() => {
                    self.result(&uid, &endpoint, outcome.as_ref().map_err(String::as_str).copied()).await?;
                }
                item = news.recv() => match item {
                    Ok(News::Changes(changes)) => self.changed(&changes).await?,
                    Ok(News::Shadows(shadows)) if self.is_registered => {
                        for shadow in shadows.iter().filter(|shadow| shadow.name.is_none()) {
                            self.show(shadow).await?;
                        }
                    }
                    Ok(
                        News::Shadows(_)
                        | News::Telemetry(_)
                        | News::Inbox(_)
                        | News::Log(_)
                        | News::Flow(..),
                    ) => {}
                    Err(RecvError::Lagged(_)) => {
                        return Err(told(close_code::AGAIN, "this connection is too slow"));
                    }
                    Err(RecvError::Closed) => return Err(Over(None)),
                },
                _ = pings.tick() => {
                    self.is_still_allowed().await?;
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
                () = front.shutdown.cancelled() => return Err(told(close_code::AWAY, "the hub stops")),
            }
        }
    }

    /// Takes a frame. Returns what it sets going, if it does.
    async fn heard(&mut self, frame: &[u8]) -> Result<Option<Coming>, Over> {
        let said = pyaiot::from_client(frame).map_err(|error| {
            metrics::counter!("motehub_pyaiot_client_frames_refused_total").increment(1);
            told(close_code::UNSUPPORTED, &error.0)
        })?;
        match said {
            FromClient::New { results } => {
                (self.is_registered, self.wants_results) = (true, results);
                self.shown.clear();
                self.show_all().await?;
                Ok(None)
            }
            FromClient::Update { uid, endpoint, payload } => {
                match may_write(&self.app, self.caller.clone(), &uid, &endpoint).await {
                    Ok((device, caller)) => {
                        let app = self.app.clone();
                        Ok(Some(Box::pin(write(app, device, caller, uid, endpoint, payload))))
                    }
                    Err(why) => {
                        self.result(&uid, &endpoint, Err(&why)).await?;
                        Ok(None)
                    }
                }
            }
        }
    }

    async fn result(&mut self, uid: &str, endpoint: &str, outcome: Result<(), &str>) -> Result<(), Over> {
        match self.wants_results {
            true => self.say(pyaiot::result(uid, endpoint, outcome)).await,
            false => Ok(()),
        }
    }

    /// Shows all nodes that are there.
    async fn show_all(&mut self) -> Result<(), Over> {
        let riot = Selector::Compare(
            Field::Known(Known::Dialect),
            Operator::Equal,
            SelectorValue::Text(Dialect::Riot.as_str().to_owned()),
        );
        let unavailable = |_: StoreError| told(close_code::AGAIN, "the hub cannot read its store at present");
        let found = self.app.store.select_ids(&riot, self.app.now(), NODES_MAX).await.map_err(unavailable)?;
        let here: Vec<DeviceId> = found.into_iter().filter(|device| self.app.is_online(*device)).collect();
        self.units = self.app.catalogue().await.map_err(unavailable)?;
        let shadows = self.app.store.plain_shadows(&here).await.map_err(unavailable)?;
        for device in here {
            self.came(device).await?;
        }
        for shadow in &shadows {
            self.show(shadow).await?;
        }
        Ok(())
    }

    /// A device is there.
    async fn came(&mut self, id: DeviceId) -> Result<(), Over> {
        let Ok(Some(device)) = self.app.store.device(id).await else { return Ok(()) };
        let (Dialect::Riot, Some(uid)) = (device.dialect, device.external_id) else { return Ok(()) };
        if self.shown.contains_key(&id) {
            return Ok(());
        }
        self.say(pyaiot::new(&uid)).await?;
        self.shown.insert(id, (uid, HashMap::new()));
        Ok(())
    }

    async fn left(&mut self, id: DeviceId) -> Result<(), Over> {
        match self.shown.remove(&id) {
            Some((uid, _)) => self.say(pyaiot::out(&uid)).await,
            None => Ok(()),
        }
    }

    /// Shows what a node says that was not shown yet.
    async fn show(&mut self, shadow: &Shadow) -> Result<(), Over> {
        let Some((uid, resources)) = self.shown.get_mut(&shadow.device) else { return Ok(()) };
        let mut frames = Vec::new();
        if shadow.reported.values.is_empty() && !resources.is_empty() {
            resources.clear();
            frames.push(pyaiot::reset(uid));
        }
        for (resource, value) in &shadow.reported.values {
            let mut text = pyaiot::data_text(value);
            if value.is_number() {
                // Clients cut the unit off again.
                text.push_str(self.units.of(resource).unit.as_deref().unwrap_or_default());
            }
            let hash = self.hasher.hash_one(&text);
            if resources.insert(resource.clone(), hash) != Some(hash) {
                frames.push(pyaiot::update(uid, resource, &text));
            }
        }
        for frame in frames {
            self.say(frame).await?;
        }
        Ok(())
    }

    async fn changed(&mut self, changes: &[Recorded]) -> Result<(), Over> {
        if changes.iter().any(|change| matches!(change.change.kind.noun(), "user" | "token" | "login")) {
            self.is_still_allowed().await?;
        }
        if !self.is_registered {
            return Ok(());
        }
        if changes.iter().any(|change| change.change.kind == ChangeKind::MetricEdited) {
            self.show_all().await?;
        }
        for change in changes {
            let Some(device) = change.change.device else { continue };
            match change.change.kind {
                ChangeKind::DeviceOnline => {
                    self.came(device).await?;
                    if let Ok(Some(shadow)) = self.app.store.shadow(device, None).await {
                        self.show(&shadow).await?;
                    }
                }
                ChangeKind::DeviceOffline | ChangeKind::DeviceDeleted => self.left(device).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A login may have ended and a role changed since it came.
    async fn is_still_allowed(&mut self) -> Result<(), Over> {
        match caller(&self.app, &self.headers).await {
            Ok(caller) if caller.is_some() == self.caller.is_some() => {
                self.caller = caller;
                Ok(())
            }
            Ok(_) | Err(_) => Err(told(close_code::POLICY, "you are not let in any more")),
        }
    }

    async fn say(&mut self, frame: String) -> Result<(), Over> {
        self.send(Message::Text(frame.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(WRITE_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over(None)),
        }
    }
}

fn told(code: u16, why: &str) -> Over {
    Over(Some(CloseFrame { code, reason: why.into() }))
}
