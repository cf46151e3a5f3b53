//! The HTTP data plane of AWS IoT, for programs and devices that were made for it: shadows of things, over TLS, on a
//! listener of its own. A thing is a device by its id with the hub or by its own.
//!
//! Devices come by a client certificate and reach their own thing only; programs sign with the access key of an API
//! token (SigV4) and may what the token's role may.

mod answer;
mod caller;
mod shadows;
mod signature;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get};
use motehub_domain::access::Permission::{self, Operate, See};

use crate::api::Throttle;
use crate::app::App;
use answer::Refusal;

/// What the routes share.
pub(crate) struct Front {
    app: App,
    /// Slows down whoever tries signatures. It is not that of people, so that a program with a wrong secret keeps
    /// nobody at its address from logging in.
    throttle: Throttle,
}

/// The routes, each with what a program needs.
pub(crate) fn router(app: &App) -> Router {
    let front = Arc::new(Front { app: app.clone(), throttle: Throttle::default() });
    let needs = |permission: Permission, route: MethodRouter<Arc<Front>>| {
        route.layer(from_fn_with_state((front.clone(), permission), caller::guard))
    };
    let shadow = "/things/{thing}/shadow";
    Router::new()
        .route(shadow, needs(See, get(shadows::get)))
        .route(shadow, needs(Operate, axum::routing::post(shadows::update).delete(shadows::delete)))
        .route("/api/things/shadow/ListNamedShadowsForThing/{thing}", needs(See, get(shadows::list)))
        .method_not_allowed_fallback(|| async { Refusal::method_not_allowed() })
        .fallback(|| async { Refusal::unknown_operation() })
        .with_state(front)
}
