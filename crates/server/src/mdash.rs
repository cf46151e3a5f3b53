//! The listener for Mongoose OS: its devices at `/api/v2/rpc`, and the REST API that mDash has, for programs that were
//! made for it. It is off unless it is asked for, because what those send is not as safe as our own API wants it.
//!
//! Every route is on one screen, each with what it needs. Customers pass only where the handler asks for the share
//! that they have on the device.

mod answer;
mod caller;

mod calls;
mod devices;
mod keys;
mod notices;
mod shadows;
mod updates;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use motehub_domain::access::Permission::{self, Administer, Build, Operate, See};
use motehub_gateway::http::{self, Pace};
use motehub_gateway::hub::Hub;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use answer::Refusal;
use caller::{Access, Known};

pub(crate) use users::is_let_in;

/// Largest request body in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What the routes share.
pub(crate) struct Front {
    app: App,
    known: Known,
    /// How long who says nothing is listened to.
    pace: Pace,
    /// Connections that only listen end with it.
    shutdown: CancellationToken,
}

/// The routes of mDash.
pub(crate) fn router(app: &App, shutdown: CancellationToken) -> Router {
    let front = Arc::new(Front {
        app: app.clone(),
        known: Known::default(),
        pace: Pace::default(),
        shutdown: shutdown.clone(),
    });
    let hub: Arc<dyn Hub> = Arc::new(app.clone());
    let on = |access: Access, route: MethodRouter<Arc<Front>>| {
        route.layer(from_fn_with_state((front.clone(), access), caller::guard))
    };
    let needs = |permission: Permission, route| on(Access::Needs(permission), route);
    let shared = |permission: Permission, route| on(Access::Shared(permission), route);
    let table = Router::new()
        .route("/api/v2/devices", shared(See, get(devices::list)))
        .route("/api/v2/devices", needs(Build, post(devices::create)))
        .route("/api/v2/devices/{id}", shared(See, get(devices::get)))
        .route(
            "/api/v2/devices/{id}",
            needs(Build, put(devices::change).post(devices::change).delete(devices::delete)),
        );
    let table = table
        .route("/api/v2/devices/{id}/rpc/{method}", needs(Operate, get(calls::call).post(calls::call)))
        .route(
            "/api/v2/devices/{id}/ota",
            needs(Build, post(updates::update).layer(DefaultBodyLimit::disable())),
        )
        .route("/api/v2/devices/{id}/shadow", needs(See, get(shadows::get)))
        .route("/api/v2/devices/{id}/shadow", needs(Operate, post(shadows::change)))
        .route("/api/v2/devices/{id}/data", needs(See, get(shadows::data)))
        .route("/api/v2/devices/data", needs(See, get(shadows::all_data)))
        .route("/api/v2/logs", needs(See, post(notices::stored)))
        // It asks who comes itself: an observer has no other header than the WebSocket's.
        .route("/api/v2/notify", get(notices::open))
        .route("/api/v2/user/add", needs(Administer, post(users::add)))
        .route("/api/v2/keys", needs(Administer, get(keys::list).post(keys::create)))
        .route("/api/v2/keys/{id}", needs(Administer, axum::routing::delete(keys::delete)));
    table
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(front)
        .merge(http::mongoose_routes(hub, Pace::default(), app.lent.clone(), shutdown))
        .fallback(|| async { Refusal::not_found("there is no such address") })
}
