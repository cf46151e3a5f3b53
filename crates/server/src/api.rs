//! The HTTP API: every route of the product on one screen, each with what it needs.
//!
//! To add an endpoint: write the handler in the file of its noun, add its line here, run `make gen`.

mod access;
mod extract;
mod positions;
mod problem;

mod activity;
mod alarms;
mod backup;
mod bulk;
mod cameras;
mod capabilities;
mod certificates;
mod claims;
mod commands;
mod connections;
mod credentials;
mod customers;
mod dashboards;
mod deployments;
mod device_scripts;
mod devices;
mod executor;
mod export;
mod firmware;
mod flows;
mod gateways;
mod grants;
mod groups;
mod history;
mod import;
mod inbox;
mod invitations;
mod live;
mod login;
mod mail;
mod metrics;
mod nodes;
mod overview;
mod pusher_apps;
mod pyaiot_keys;
mod reports;
mod rules;
mod scripts;
pub(crate) mod selectors;
mod shadow_history;
mod shadows;
mod shared;
mod shares;
mod system;
mod telemetry;
mod tokens;
mod units;
mod usage;
mod users;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use motehub_domain::access::Permission::{Administer, Build, Operate, See};
use motehub_domain::share::Right::{Control, Owner, View};
use utoipa::OpenApi;
use utoipa::openapi::extensions::Extensions;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::app::App;
use access::Access::{self, Customer, Known, Listed, Needs, Open, Shared};

pub(crate) use access::{Caller, Proof, by_cookie, by_token, caller, is_same_origin, used};
pub(crate) use activity::stream::STREAMS_MAX;
pub(crate) use activity::{ChangeDto, change, line};
pub(crate) use alarms::AlarmDto;
pub(crate) use bulk::AT_ONCE_MAX as BULK_AT_ONCE_MAX;
pub(crate) use connections::Sessions;
pub(crate) use dashboards::public::by_digest as by_public_link;
pub(crate) use extract::rfc3339;
pub(crate) use firmware::{Known as KnownFirmware, UPLOADS_AT_ONCE_MAX, keep as keep_firmware};
pub(crate) use flows::FlowDto;
pub(crate) use login::{Guess, Throttle};
pub(crate) use login::{admit, failed, owner_of_password, succeeded};
pub(crate) use metrics::RetentionDto;
pub(crate) use problem::{ApiError, answers};
pub(crate) use shadows::ShadowDto;

/// Largest request body in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

#[derive(OpenApi)]
#[openapi(info(
    title = "Motehub",
    description = "Runs a fleet of microcontrollers. Errors are problem+json with a stable `code`. \
        Authenticate with `Authorization: Bearer TOKEN`, or with the login cookie and `X-CSRF-Token`.",
    license(name = "MIT OR Apache-2.0")
))]
struct Description;

struct Table {
    app: Option<App>,
    router: OpenApiRouter<App>,
}

impl Table {
    /// One line: the description says what the route needs, the guard holds it.
    fn on(mut self, access: Access, mut route: UtoipaMethodRouter<App>) -> Self {
        for item in route.1.paths.values_mut() {
            let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in methods.into_iter().flatten() {
                let noun = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
                let deed = operation.operation_id.take().unwrap_or_default();
                operation.operation_id = Some(format!("{noun}_{deed}"));
                operation.extensions = Some(Extensions::builder().add("x-access", access.as_str()).build());
            }
        }
        let route = match &self.app {
            Some(app) => route.layer(from_fn_with_state((app.clone(), access), access::guard)),
            None => route,
        };
        self.router = self.router.routes(route);
        self
    }
}

/// The whole table.
fn table(app: Option<App>) -> Table {
    let router = OpenApiRouter::with_openapi(Description::openapi());
    Table { app, router }
        // First run, login
        .on(Open, routes!(login::setup_needed))
        .on(Open, routes!(login::setup))
        .on(Open, routes!(login::login))
        .on(Known, routes!(login::logout))
        .on(Known, routes!(login::logout_everywhere))
        .on(Known, routes!(login::me))
        .on(Known, routes!(login::change_password))
        // Users and tokens
        .on(Needs(Administer), routes!(users::list))
        .on(Needs(Administer), routes!(users::create))
        .on(Needs(Administer), routes!(users::edit))
        .on(Needs(Administer), routes!(users::reset_password))
        .on(Needs(Administer), routes!(users::delete))
        .on(Needs(Administer), routes!(tokens::list))
        .on(Needs(Administer), routes!(tokens::create))
        .on(Needs(Administer), routes!(tokens::delete))
        // Keys of Pyaiot gateways
        .on(Needs(Administer), routes!(pusher_apps::list))
        .on(Needs(Administer), routes!(pusher_apps::create))
        .on(Needs(Administer), routes!(pusher_apps::delete))
        .on(Needs(Administer), routes!(pyaiot_keys::list))
        .on(Needs(Administer), routes!(pyaiot_keys::create))
        .on(Needs(Administer), routes!(pyaiot_keys::delete))
        // Customers and what is shared with them
        .on(Open, routes!(login::sign_up::sign_up))
        .on(Customer, routes!(claims::claim))
        .on(Needs(Build), routes!(claims::claim_code))
        .on(Shared(Owner), routes!(claims::release))
        .on(Shared(Owner), routes!(shares::list))
        .on(Shared(Owner), routes!(shares::give))
        .on(Shared(Owner), routes!(shares::revoke))
        .on(Shared(View), routes!(shares::rename))
        .on(Shared(View), routes!(shares::leave))
        .on(Shared(Owner), routes!(invitations::list_of_device))
        .on(Shared(Owner), routes!(invitations::invite_to_device))
        .on(Shared(Owner), routes!(invitations::withdraw_from_device))
        .on(Needs(Build), routes!(invitations::list))
        .on(Needs(Build), routes!(invitations::invite))
        .on(Needs(Build), routes!(invitations::withdraw))
        .on(Needs(Build), routes!(customers::list))
        // Devices
        .on(Listed, routes!(devices::list::list))
        .on(Needs(Build), routes!(devices::create))
        .on(Needs(Build), routes!(import::import))
        .on(Needs(Administer), routes!(import::mdash::mdash))
        .on(Needs(Build), routes!(import::iot_base::iot_base))
        .on(Needs(Build), routes!(bulk::bulk_preview))
        .on(Needs(Build), routes!(bulk::bulk))
        .on(Shared(View), routes!(devices::get))
        .on(Needs(Build), routes!(devices::edit))
        .on(Needs(Build), routes!(devices::delete))
        .on(Needs(Build), routes!(credentials::issue_credential))
        .on(Needs(Build), routes!(credentials::revoke_credential))
        .on(Needs(Build), routes!(credentials::rotate_credential))
        .on(Needs(Build), routes!(credentials::coap_key))
        .on(Shared(View), routes!(telemetry::metrics))
        .on(Shared(View), routes!(telemetry::range))
        .on(Needs(See), routes!(history::history))
        .on(Needs(See), routes!(export::export))
        .on(Needs(See), routes!(metrics::list))
        .on(Needs(Build), routes!(metrics::edit))
        .on(Needs(Build), routes!(metrics::delete))
        .on(Needs(See), routes!(device_scripts::tasks))
        .on(Needs(See), routes!(device_scripts::assigned))
        .on(Needs(Build), routes!(device_scripts::assign))
        .on(Needs(Build), routes!(device_scripts::unassign))
        .on(Needs(Operate), routes!(device_scripts::activate))
        .on(Needs(Operate), routes!(device_scripts::force))
        .on(Needs(Operate), routes!(device_scripts::cancel))
        .on(Needs(Operate), routes!(device_scripts::rollback))
        // Gateways in processes of their own
        .on(Needs(See), routes!(gateways::list))
        .on(Needs(Administer), routes!(gateways::create))
        .on(Needs(See), routes!(gateways::get))
        .on(Needs(Administer), routes!(gateways::edit))
        .on(Needs(Administer), routes!(gateways::delete))
        .on(Needs(Administer), routes!(gateways::rotate))
        .on(Needs(Administer), routes!(gateways::revoke))
        // Client certificates
        .on(Needs(See), routes!(certificates::authority))
        .on(Needs(Build), routes!(certificates::issue))
        .on(Needs(See), routes!(certificates::list))
        .on(Needs(Build), routes!(certificates::revoke))
        // Shadows
        .on(Shared(View), routes!(shadows::get))
        .on(Shared(Control), routes!(shadows::edit))
        .on(Needs(Operate), routes!(shadows::delete))
        .on(Needs(See), routes!(shadows::list))
        .on(Shared(View), routes!(shadow_history::revisions))
        .on(Needs(See), routes!(shadow_history::at))
        .on(Needs(See), routes!(shadow_history::diff))
        .on(Needs(Operate), routes!(shadow_history::restore))
        // Cameras and positions
        .on(Needs(See), routes!(cameras::get))
        .on(Needs(Build), routes!(cameras::allow))
        .on(Needs(Build), routes!(cameras::forbid))
        .on(Needs(See), routes!(cameras::picture))
        .on(Needs(See), routes!(positions::list))
        // Selectors and groups
        .on(Needs(See), routes!(selectors::words))
        .on(Needs(See), routes!(capabilities::list))
        .on(Needs(Build), routes!(capabilities::describe))
        .on(Needs(Build), routes!(capabilities::delete))
        .on(Needs(See), routes!(groups::list))
        .on(Needs(Build), routes!(groups::create))
        .on(Needs(See), routes!(groups::get))
        .on(Needs(Build), routes!(groups::edit))
        .on(Needs(Build), routes!(groups::delete))
        .on(Needs(See), routes!(groups::members))
        // Unknown devices that knocked
        .on(Needs(See), routes!(inbox::list))
        .on(Needs(Build), routes!(inbox::accept))
        .on(Needs(Build), routes!(inbox::refuse))
        .on(Needs(Build), routes!(inbox::ignore))
        .on(Needs(Build), routes!(inbox::reopen))
        .on(Needs(Build), routes!(inbox::delete))
        .on(Needs(See), routes!(reports::log))
        .on(Needs(Operate), routes!(reports::lift_quarantine))
        // Scripts
        .on(Needs(See), routes!(firmware::list))
        .on(Needs(Build), routes!(firmware::upload).layer(DefaultBodyLimit::disable()))
        .on(Needs(See), routes!(firmware::get))
        .on(Needs(See), routes!(firmware::devices))
        .on(Needs(Build), routes!(firmware::edit))
        .on(Needs(Build), routes!(firmware::delete))
        .on(Needs(Build), routes!(firmware::file))
        // Scripts
        .on(Needs(See), routes!(scripts::list))
        .on(Needs(Build), routes!(scripts::create))
        .on(Needs(See), routes!(scripts::check))
        .on(Needs(See), routes!(scripts::get))
        .on(Needs(Build), routes!(scripts::edit))
        .on(Needs(Build), routes!(scripts::delete))
        .on(Needs(See), routes!(scripts::versions::list_versions))
        .on(Needs(Build), routes!(scripts::versions::save_version))
        .on(Needs(See), routes!(scripts::versions::version))
        .on(Needs(See), routes!(scripts::versions::diff))
        // Deployments
        .on(Needs(See), routes!(deployments::list))
        .on(Needs(Build), routes!(deployments::create))
        .on(Needs(See), routes!(deployments::preview::preview))
        .on(Needs(See), routes!(deployments::get))
        .on(Needs(See), routes!(deployments::tasks))
        .on(Needs(Operate), routes!(deployments::cancel))
        .on(Needs(Operate), routes!(deployments::retry))
        .on(Needs(Operate), routes!(deployments::back::rollback))
        // Dashboards
        .on(Needs(See), routes!(dashboards::list))
        .on(Needs(See), routes!(dashboards::create))
        .on(Needs(See), routes!(dashboards::get))
        .on(Needs(See), routes!(dashboards::save))
        .on(Needs(See), routes!(dashboards::delete))
        .on(Needs(See), routes!(dashboards::copy))
        .on(Needs(See), routes!(dashboards::export))
        .on(Needs(See), routes!(dashboards::view::preview))
        .on(Needs(See), routes!(dashboards::view::data))
        .on(Needs(See), routes!(dashboards::view::history))
        .on(Needs(See), routes!(dashboards::view::follow))
        .on(Needs(Operate), routes!(dashboards::view::act))
        .on(Needs(See), routes!(dashboards::links::list_links))
        .on(Needs(See), routes!(dashboards::links::make_link))
        .on(Needs(See), routes!(dashboards::links::withdraw_link))
        .on(Open, routes!(dashboards::public::dashboard))
        .on(Open, routes!(dashboards::public::data))
        .on(Open, routes!(dashboards::public::history))
        .on(Open, routes!(dashboards::public::follow))
        // Flows
        .on(Needs(See), routes!(flows::list))
        .on(Needs(Build), routes!(flows::create))
        .on(Needs(See), routes!(flows::placement::check))
        .on(Needs(Build), routes!(flows::import::node_red))
        .on(Needs(See), routes!(flows::get))
        .on(Needs(Build), routes!(flows::edit))
        .on(Needs(Build), routes!(flows::delete))
        .on(Needs(See), routes!(flows::versions::list_versions))
        .on(Needs(Build), routes!(flows::versions::save_version))
        .on(Needs(See), routes!(flows::versions::version))
        .on(Needs(See), routes!(flows::placement::dry_run))
        .on(Needs(Build), routes!(flows::placement::deploy))
        .on(Needs(Build), routes!(flows::placement::stop))
        .on(Needs(See), routes!(flows::placement::placement))
        .on(Needs(See), routes!(flows::placement::placements))
        .on(Needs(See), routes!(flows::placement::program))
        // Rules and alarms
        .on(Needs(See), routes!(rules::list))
        .on(Needs(Build), routes!(rules::create))
        .on(Needs(See), routes!(rules::check))
        .on(Needs(See), routes!(rules::replay::try_out))
        .on(Needs(See), routes!(rules::get))
        .on(Needs(Build), routes!(rules::edit))
        .on(Needs(Build), routes!(rules::delete))
        .on(Needs(Build), routes!(rules::enable))
        .on(Needs(Build), routes!(rules::disable))
        .on(Needs(See), routes!(rules::firings))
        .on(Needs(See), routes!(rules::replay::replay))
        .on(Needs(See), routes!(alarms::list))
        .on(Needs(See), routes!(alarms::get))
        .on(Needs(Operate), routes!(alarms::acknowledge))
        .on(Needs(Operate), routes!(alarms::clear))
        // Webhooks
        .on(Needs(Build), routes!(webhooks::list))
        .on(Needs(Build), routes!(webhooks::create))
        .on(Needs(Build), routes!(webhooks::get))
        .on(Needs(Build), routes!(webhooks::edit))
        .on(Needs(Build), routes!(webhooks::delete))
        .on(Needs(Build), routes!(webhooks::rotate))
        .on(Needs(Build), routes!(webhooks::test))
        .on(Needs(Build), routes!(webhooks::deliveries::list_deliveries))
        .on(Needs(Build), routes!(webhooks::deliveries::delivery))
        .on(Needs(Build), routes!(webhooks::deliveries::resend))
        .on(Needs(Build), routes!(webhooks::deliveries::resend_all))
        // Mail
        .on(Needs(Build), routes!(mail::state))
        .on(Needs(Build), routes!(mail::send))
        // Commands
        .on(Needs(See), routes!(commands::list))
        .on(Needs(Operate), routes!(commands::request))
        .on(Needs(See), routes!(commands::get))
        .on(Needs(See), routes!(commands::executions))
        .on(Needs(Operate), routes!(commands::cancel))
        .on(Needs(See), routes!(commands::of_device))
        .on(Needs(Operate), routes!(commands::ask))
        // MQTT connections
        .on(Needs(Build), routes!(connections::list))
        .on(Needs(Build), routes!(connections::get))
        .on(Needs(Build), routes!(connections::disconnect))
        .on(Needs(Build), routes!(connections::delete))
        // Topic grants
        .on(Needs(See), routes!(grants::list))
        .on(Needs(Build), routes!(grants::create))
        .on(Needs(Build), routes!(grants::delete))
        // Activity, overview, live
        .on(Needs(See), routes!(activity::list))
        .on(Needs(See), routes!(activity::export))
        .on(Needs(See), routes!(activity::stream::stream))
        .on(Needs(See), routes!(overview::overview))
        .on(Needs(See), routes!(usage::list))
        .on(Needs(See), routes!(system::system))
        .on(Needs(See), routes!(nodes::list))
        .on(Listed, routes!(live::connect))
        .on(Needs(Administer), routes!(backup::download))
        // The trigger of IoT Executor, for programs that use it
        .on(Needs(Operate), routes!(executor::request))
}

/// The API's router.
pub(crate) fn router(app: &App) -> Router {
    let (router, _) = table(Some(app.clone())).router.split_for_parts();
    router
        .route("/api/v1/openapi.json", axum::routing::get(|| async { axum::Json(openapi()) }))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app.clone())
}

/// The OpenAPI description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut openapi) = table(None).router.split_for_parts();
    openapi.info.version = env!("CARGO_PKG_VERSION").to_owned();
    openapi
}
