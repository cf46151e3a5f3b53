//! The fleet at a glance.

use axum::extract::State;
use motehub_store::ChangeQuery;
use serde::Serialize;
use utoipa::ToSchema;

use super::activity::ChangeDto;
use super::problem::ApiError;
use crate::app::App;

/// How many of the last changes the overview shows.
const ACTIVITY_SHOWN: usize = 100;

/// How many devices there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceCounts {
    /// In all.
    total: i64,
    /// With a live connection.
    online: i64,
    /// Without.
    offline: i64,
    /// With a problem.
    failing: i64,
    /// For which something waits.
    pending: i64,
    /// That may speak without a credential.
    unauthenticated: i64,
}

/// How many deployments there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentCounts {
    /// That run.
    running: i64,
}

/// The fleet at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Overview)]
pub(crate) struct OverviewDto {
    devices: DeviceCounts,
    deployments: DeploymentCounts,
    /// Points stored during the last minute.
    points_per_minute: usize,
    /// The last changes, newest first.
    activity: Vec<ChangeDto>,
}

/// The fleet at a glance.
#[utoipa::path(get, path = "/api/v1/overview", tag = "overview", responses((status = 200, body = OverviewDto)))]
pub(crate) async fn overview(State(app): State<App>) -> Result<axum::Json<OverviewDto>, ApiError> {
    let counted = app.store.overview().await?;
    let query = ChangeQuery { limit: ACTIVITY_SHOWN, newest_first: true, ..ChangeQuery::default() };
    let activity = app.store.changes(query).await?.into_iter().map(ChangeDto::from).collect();
    Ok(axum::Json(OverviewDto {
        devices: DeviceCounts {
            total: counted.total,
            online: counted.online,
            offline: counted.total - counted.online,
            failing: counted.failing,
            pending: counted.pending,
            unauthenticated: counted.unauthenticated,
        },
        deployments: DeploymentCounts { running: counted.running_deployments },
        points_per_minute: app.points.per_minute(app.now()) + app.cluster.points_elsewhere(),
        activity,
    }))
}
