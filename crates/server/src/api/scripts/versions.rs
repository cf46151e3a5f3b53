//! The versions of a script: list, save, read, compare.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::script::{self, Script, ScriptVersion};
use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};
use utoipa::{IntoParams, ToSchema};

use super::super::access::Caller;
use super::super::device_scripts::load_script;
use super::super::extract::{Body, Query, id};
use super::super::problem::{ApiError, Problem};
use super::{SyntaxDto, VersionDto, examined};
use crate::app::App;

/// The versions of a script, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    items: Vec<VersionDto>,
}

/// The versions of a script, newest first, without their sources.
#[utoipa::path(get, path = "/api/v1/scripts/{id}/versions", tag = "scripts",
    responses((status = 200, body = VersionList), (status = 404, body = Problem)))]
pub(crate) async fn list_versions(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<VersionList>, ApiError> {
    let script = load_script(&app, id("script", &path)?).await?;
    let mut versions = app.store.versions(script.id).await?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    Ok(axum::Json(VersionList {
        items: versions.into_iter().map(|version| VersionDto::new(version, None)).collect(),
    }))
}

/// What makes a new version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewVersion {
    /// At most 64 KiB.
    source: String,
    /// What changed.
    #[serde(default)]
    comment: String,
    /// The version it was made from; 409 if a newer one was saved meanwhile.
    based_on: Option<i64>,
}

/// A version that was saved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SavedVersion {
    /// Its number.
    version: i64,
    /// What the compiler says.
    syntax: SyntaxDto,
}

/// Saves a new version. The same source as the newest version answers with that one and saves nothing.
#[utoipa::path(post, path = "/api/v1/scripts/{id}/versions", tag = "scripts", request_body = NewVersion,
    responses((status = 201, body = SavedVersion), (status = 200, body = SavedVersion),
        (status = 409, body = Problem)))]
pub(crate) async fn save_version(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(new): Body<NewVersion>,
) -> Result<(StatusCode, axum::Json<SavedVersion>), ApiError> {
    let (id, actor) = (id("script", &path)?, caller.actor());
    let script = load_script(&app, id).await?;
    let source = examined(script.language, &new.source, &new.comment).await?;
    let syntax = source.syntax.clone();
    let latest = app.store.version(id, script.latest_version).await?;
    if latest.is_some_and(|latest| latest.digest == source.digest) {
        let saved = SavedVersion { version: script.latest_version, syntax: syntax.into() };
        return Ok((StatusCode::OK, axum::Json(saved)));
    }
    app.store.put(new.source.clone().into_bytes()).await?;
    let version = app
        .attempt(|| async {
            let script = load_script(&app, id).await?;
            Ok(script::save_version(&script, source.clone(), new.based_on, &actor, app.now())?)
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(SavedVersion { version, syntax: syntax.into() })))
}

/// One version with its source.
#[utoipa::path(get, path = "/api/v1/scripts/{id}/versions/{version}", tag = "scripts",
    responses((status = 200, body = VersionDto), (status = 404, body = Problem)))]
pub(crate) async fn version(
    State(app): State<App>,
    Path((path, number)): Path<(String, String)>,
) -> Result<axum::Json<VersionDto>, ApiError> {
    let script = load_script(&app, id("script", &path)?).await?;
    let number = number.parse().map_err(|_| ApiError::not_found("version", &number))?;
    let (version, source) = source_of(&app, &script, number).await?;
    Ok(axum::Json(VersionDto::new(version, Some(source))))
}

/// Which versions are compared.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffQuery {
    /// The older one.
    from: i64,
    /// The newer one.
    to: i64,
}

/// A line of a comparison.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiffLine {
    /// A blank for a line of both, `-` of the first only, `+` of the second only.
    op: &'static str,
    /// Its number in the first.
    old: Option<usize>,
    /// Its number in the second.
    new: Option<usize>,
    /// The line without its end.
    text: String,
}

/// How two versions differ.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Diff {
    lines: Vec<DiffLine>,
}

/// How two versions differ, line by line.
#[utoipa::path(get, path = "/api/v1/scripts/{id}/diff", tag = "scripts", params(DiffQuery),
    responses((status = 200, body = Diff), (status = 404, body = Problem)))]
pub(crate) async fn diff(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<axum::Json<Diff>, ApiError> {
    let script = load_script(&app, id("script", &path)?).await?;
    let (_, old) = source_of(&app, &script, query.from).await?;
    let (_, new) = source_of(&app, &script, query.to).await?;
    let compared = tokio::task::spawn_blocking(move || compare(&old, &new)).await;
    let lines = compared.map_err(|_| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the versions cannot be compared")
    })?;
    Ok(axum::Json(Diff { lines }))
}

fn compare(old: &str, new: &str) -> Vec<DiffLine> {
    let (old, new) = (lines_of(old), lines_of(new));
    let diff = TextDiff::from_slices(&old, &new);
    let lines = diff.iter_all_changes().map(|change| DiffLine {
        op: match change.tag() {
            ChangeTag::Equal => " ",
            ChangeTag::Delete => "-",
            ChangeTag::Insert => "+",
        },
        old: change.old_index().map(|index| index + 1),
        new: change.new_index().map(|index| index + 1),
        text: change.value().trim_end_matches('\r').to_owned(),
    });
    lines.collect()
}

/// The lines without their line feeds, so that it makes no difference whether the last one has one.
fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').map(|line| line.trim_end_matches('\n')).collect()
}

async fn source_of(app: &App, script: &Script, number: i64) -> Result<(ScriptVersion, String), ApiError> {
    let version = app.store.version(script.id, number).await?;
    let version = version.ok_or_else(|| ApiError::not_found("version", number))?;
    let bytes = app.store.artifact(version.digest).await?.unwrap_or_default();
    Ok((version, String::from_utf8_lossy(&bytes).into_owned()))
}
