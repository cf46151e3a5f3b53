//! The listeners of the Pusher protocol: the socket at `/app/{key}` and the HTTP API below `/apps/{id}`, as unmodified
//! client and server libraries expect them. They are off unless they are asked for.
//!
//! An app is a key and a secret. The secret is derived, as those of access keys are, and serves for the app's own
//! channels. Those that the hub fills itself are signed with another one, which nobody has.

pub(crate) mod elsewhere;
pub(crate) mod feed;
mod http;
mod own;
mod place;
mod requests;
mod rooms;
mod socket;
mod units;
mod webhook;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use motehub_domain::effects::Save;
use motehub_domain::id::PusherAppId;
use motehub_domain::pusher::PusherApp;
use motehub_gateway::balancer::{Balancers, Listener};
use motehub_gateway::hub::Hub;
use motehub_protocol::pusher::Channel;
use motehub_store::{Store, StoreError};
use ring::hmac;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::cluster::words::Word;
use crate::mirror::Mirror;
use crate::server::{listen, panicked};
use crate::settings::Settings;
use crate::tls;

pub(crate) use place::LetIn;
pub(crate) use rooms::{Rooms, SocketView};

/// Largest request body in bytes: ten events of 10 KiB, with what JSON adds.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The apps, and who is here by them. Apps are in memory: each connection and each request asks for one.
pub(crate) struct Pusher {
    apps: Mirror<Vec<PusherApp>>,
    pub(crate) rooms: Rooms,
    units: units::Units,
}

impl Pusher {
    /// With the apps that are kept.
    pub(crate) fn new(apps: Vec<PusherApp>) -> Self {
        Self { apps: Mirror::new(apps), rooms: Rooms::default(), units: units::Units::default() }
    }

    /// Another node has something said on a channel.
    pub(crate) fn hear(&self, app: Option<PusherAppId>, channel: &str, said: &str) {
        let Ok(channel) = Channel::parse(channel) else { return };
        match app {
            Some(app) => self.rooms.publish(app, &channel, said, None),
            None => self.rooms.publish_all(&channel, said),
        }
    }

    /// Reads all apps again. Who is here by another one is cut off.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let before = self.apps.refresh(|| store.pusher_apps(), std::mem::replace).await?;
        for gone in before.into_iter().filter(|app| self.app(|known| known.id == app.id).is_none()) {
            self.rooms.close_all(gone.id);
        }
        Ok(())
    }

    /// These records were written.
    pub(crate) fn tell(&self, saved: &[Save]) {
        for save in saved {
            self.units.tell(save);
            match save {
                Save::PusherApp(app) => {
                    let mut apps = self.apps.change();
                    apps.retain(|known| known.id != app.id);
                    apps.push((**app).clone());
                }
                Save::DeletePusherApp(id) => {
                    self.apps.change().retain(|app| app.id != *id);
                    self.rooms.close_all(*id);
                }
                _ => {}
            }
        }
    }

    /// An app, by anything of it.
    fn app(&self, is_it: impl Fn(&PusherApp) -> bool) -> Option<PusherApp> {
        self.apps.look().iter().find(|app| is_it(app)).cloned()
    }
}

impl App {
    /// Has other nodes say something on a channel of an app, or on one of the hub's own, to those who hear it there.
    fn say_on_channel(&self, app: Option<PusherAppId>, channel: &Channel, said: String) {
        self.say_to_all(&Word::Channel(app, channel.as_str().to_owned(), said));
    }

    /// With what an app signs.
    fn pusher_key(&self, app: &PusherApp) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.access_keys.pusher_secret_of(app.id).as_bytes())
    }
}

/// The sockets, as far as they are bound.
pub(crate) struct Listeners {
    plain: Option<TcpListener>,
    tls: Option<(TcpListener, Arc<ServerConfig>)>,
}

/// Where the Pusher protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// Without TLS.
    pub plain: Option<SocketAddr>,
    /// Over TLS.
    pub tls: Option<SocketAddr>,
}

impl Listeners {
    pub(crate) async fn bind(settings: &Settings) -> io::Result<Self> {
        let plain = listen::tcp_if("--pusher", settings.pusher.address).await?;
        let tls = match settings.pusher.tls {
            Some(address) => {
                Some((listen::tcp("--pusher-tls", address).await?, tls::server_config(settings)?))
            }
            None => None,
        };
        Ok(Self { plain, tls })
    }

    pub(crate) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            plain: self.plain.as_ref().map(TcpListener::local_addr).transpose()?,
            tls: self.tls.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?,
        })
    }

    /// Serves what is bound, until `shutdown`.
    pub(crate) fn serve(
        self,
        app: &App,
        hub: &Arc<dyn Hub>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        let before = |tcp| Listener { tcp, balancers: Balancers::within(&app.settings.balancers) };
        let router = || router(app, shutdown.clone()).layer(CatchPanicLayer::custom(panicked));
        if let Some(listener) = self.plain {
            tasks.spawn(motehub_gateway::http::serve(
                before(listener),
                router(),
                hub.clone(),
                shutdown.clone(),
            ));
        }
        if let Some((listener, tls)) = self.tls {
            tasks.spawn(motehub_gateway::http::serve_tls(
                before(listener),
                tls,
                router(),
                hub.clone(),
                shutdown.clone(),
            ));
        }
    }
}

/// What the routes share.
struct Front {
    app: App,
    shutdown: CancellationToken,
}

fn router(app: &App, shutdown: CancellationToken) -> Router {
    let front = Arc::new(Front { app: app.clone(), shutdown });
    let authorise = || post(own::authorise).options(own::preflight);
    let update_unit = || put(webhook::update_unit);
    Router::new()
        // An original base puts its own address together, and not always right: all that comes of it is taken.
        .route("/broadcasting/auth", authorise())
        .route("/api/broadcasting/auth", authorise())
        .route("/api/api/broadcasting/auth", authorise())
        .route("/webhook/update-unit/{*unit}", update_unit())
        .route("/api/webhook/update-unit/{*unit}", update_unit())
        .route("/app/{key}", get(socket::open))
        .route("/apps/{id}/events", post(http::events))
        .route("/apps/{id}/batch_events", post(http::batch_events))
        .route("/apps/{id}/channels", get(http::channels))
        .route("/apps/{id}/channels/{name}", get(http::channel))
        .route("/apps/{id}/channels/{name}/users", get(http::users))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(front)
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "here are /app/KEY for clients and /apps/ID/... for programs (Pusher protocol)\n",
            )
        })
}
