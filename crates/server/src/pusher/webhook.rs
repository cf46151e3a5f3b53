//! The webhook of an original base: `PUT .../webhook/update-unit/{ip}/{value}`. It answers when the reading is on disk,
//! and slows nobody down.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use motehub_domain::access::Permission;
use motehub_gateway::hub::{Arrival, Hub, UplinkError};
use motehub_protocol::pusher::channel::UNITS;
use motehub_protocol::pusher::{Channel, frame, signature};
use serde_json::json;

use super::{Front, own};
use crate::api::{self, ApiError};
use crate::app::App;
use crate::secrets;

/// What stands before the address of a unit.
const BEFORE: &str = "/webhook/update-unit/";
/// The name of the event, as Laravel makes it of a class.
const EVENT: &str = "App\\Events\\UnitUpdated";

/// A unit said something. The value is the rest of the address, as the base wrote it there: it escapes nothing.
pub(super) async fn update_unit(State(front): State<Arc<Front>>, headers: HeaderMap, uri: Uri) -> Response {
    let app = &front.app;
    if let Err(error) = is_let_in(app, &headers).await {
        let (status, why) = error.into_parts();
        return answer(status, &why);
    }
    let whole = uri.path_and_query().map_or(uri.path(), |whole| whole.as_str());
    let rest = whole.split_once(BEFORE).and_then(|(_, rest)| rest.split_once('/'));
    let Some((address, value)) = rest else {
        return answer(StatusCode::NOT_FOUND, "the address of the unit and its value are missing");
    };
    let Ok(ip) = signature::decoded(address).parse::<IpAddr>() else {
        return answer(StatusCode::NOT_FOUND, "the unit is not named by its address, such as 192.168.1.20");
    };
    let Some(unit) = app.pusher.units.at(ip.to_canonical()) else {
        let why = format!(
            "no unit behind a base has the address {ip}: add a device of the dialect line with this address, through \
             base"
        );
        return answer(StatusCode::NOT_FOUND, &why);
    };
    let value = signature::decoded(value);
    let said = match unit.reader.read(value.as_bytes()) {
        Ok(said) => said,
        Err(error) => {
            app.refused(unit.device, error.0.clone()).await;
            return answer(StatusCode::UNPROCESSABLE_ENTITY, &error.0);
        }
    };
    if let Some(why) = said.refused {
        app.refused(unit.device, why).await;
    }
    let arrival = Arrival { device: unit.device, uplink: said.uplink, mark: None, again: false };
    for outcome in app.uplink(vec![arrival]).await {
        match outcome {
            Ok(()) => {}
            Err(UplinkError::Refused(why)) => return answer(StatusCode::UNPROCESSABLE_ENTITY, &why),
            Err(error @ UplinkError::Unavailable(_)) => {
                return answer(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
            }
        }
    }
    let data = json!({ "ip": ip.to_string(), "value": value }).to_string();
    let channel = Channel::own_named(UNITS);
    let said = frame::event(channel.as_str(), EVENT, &data, None);
    app.pusher.rooms.publish_all(&channel, &said);
    app.say_on_channel(None, &channel, said);
    Json(json!({ "status": 200 })).into_response()
}

/// The token of a base, or of a program that may operate.
async fn is_let_in(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let token = own::bearer(headers).ok_or_else(ApiError::unauthenticated)?;
    let digest = secrets::digest(token);
    if app.pusher.app(|one| one.base_token == Some(digest)).is_some() {
        return Ok(());
    }
    api::caller(app, &Method::PUT, headers).await?.must(Permission::Operate)
}

fn answer(status: StatusCode, why: &str) -> Response {
    metrics::counter!("motehub_pusher_readings_refused_total").increment(1);
    (status, Json(json!({ "status": status.as_u16(), "message": why }))).into_response()
}
