//! How a person becomes a customer: with an invitation, or with the claim code of a device.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use motehub_domain::id::UserId;
use motehub_domain::person;
use motehub_domain::text;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{entered, new_login};
use crate::api::Guess;
use crate::api::claims::{admit, invitation, redeemed};
use crate::api::extract::Body;
use crate::api::problem::{ApiError, Problem};
use crate::app::App;
use crate::{random, secrets};

/// What makes a customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignUp {
    /// The code of an invitation or of a device, as it is printed, or the link of its QR code.
    code: String,
    /// 1 to 80 characters, unique without case.
    name: String,
    /// At least 12 characters, or at least 8 that nobody would guess.
    password: String,
}

/// Makes a customer, who is logged in then and has what the code gives.
#[utoipa::path(post, path = "/api/v1/sign-up", tag = "login", request_body = SignUp,
    responses((status = 200, body = super::Me), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 429, body = Problem)))]
pub(crate) async fn sign_up(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(request): Body<SignUp>,
) -> Result<Response, ApiError> {
    let ticket = admit(&app, "", peer)?;
    // The code comes first: without one, nobody learns which names are taken.
    invitation(&app, &request.code).await?;
    app.guessed_right(Guess::Code, ticket);
    let name = text::name("name", &request.name)?;
    secrets::check_password(&request.password, &name)?;
    let hash = app.throttle.hash(request.password).await?;
    let now = app.now();
    let id: UserId = random::id(now);
    let (secret, login) = new_login(id, peer, now);
    let made = app.attempt(|| async {
        let invitation = invitation(&app, &request.code).await?;
        let (user, signed_up) = person::sign_up(id, &name, hash.clone(), login.clone(), now)?;
        let got = redeemed(&app, &invitation, &user).await?;
        Ok((user, signed_up.and(got)))
    });
    let user = made.await?;
    Ok(entered(&app, &user, login.csrf, &secret, &headers))
}
