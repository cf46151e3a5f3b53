//! Scripts: the library, versions, differences and the syntax check.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::script::{self, Description, Language, Script, ScriptVersion, Source, Syntax};
use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::device_scripts::load_script;
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::random;
use crate::secrets;
use crate::syntax;

/// A named source text with versions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Script)]
pub(crate) struct ScriptDto {
    /// Its id.
    id: String,
    /// A small number, for programs that know scripts by number.
    number: i64,
    /// Unique.
    name: String,
    /// For people.
    description: String,
    /// A free word.
    category: String,
    /// `lua`.
    language: &'static str,
    /// The newest version.
    latest_version: i64,
    /// When it was made.
    created_at: String,
    /// When it or its newest version was last changed.
    updated_at: String,
    /// How many devices have it assigned, run it or await it.
    devices: i64,
}

impl ScriptDto {
    fn new(script: Script, devices: i64) -> Self {
        Self {
            id: script.id.to_string(),
            number: script.number,
            name: script.name,
            description: script.description,
            category: script.category,
            language: script.language.as_str(),
            latest_version: script.latest_version,
            created_at: rfc3339(script.created_at),
            updated_at: rfc3339(script.updated_at),
            devices,
        }
    }
}

/// What the compiler says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Syntax)]
pub(crate) struct SyntaxDto {
    /// Whether it compiles.
    ok: bool,
    /// The line it complains about, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<i64>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<Syntax> for SyntaxDto {
    fn from(syntax: Syntax) -> Self {
        match syntax {
            Syntax::Good => Self { ok: true, line: None, message: None },
            Syntax::Error { line, message } => Self { ok: false, line: Some(line), message: Some(message) },
        }
    }
}

/// One immutable version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct VersionDto {
    /// From 1.
    version: i64,
    /// Who saved it.
    author: String,
    /// When.
    created_at: String,
    /// SHA-256 of the source.
    digest: String,
    /// Size of the source.
    size_bytes: i64,
    /// What changed.
    comment: String,
    /// What the compiler says.
    syntax: SyntaxDto,
    /// The source, where one version is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl VersionDto {
    fn new(version: ScriptVersion, source: Option<String>) -> Self {
        Self {
            version: version.version,
            author: version.author,
            created_at: rfc3339(version.created_at),
            digest: version.digest.to_string(),
            size_bytes: version.size_bytes,
            comment: version.comment,
            syntax: version.syntax.into(),
            source,
        }
    }
}

/// A part of the scripts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptList {
    items: Vec<ScriptDto>,
    /// How many there are in all.
    total: i64,
}

/// Which scripts are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// A part of the name, description or category.
    q: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Scripts, by name.
#[utoipa::path(get, path = "/api/v1/scripts", tag = "scripts", params(ListQuery),
    responses((status = 200, body = ScriptList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<ScriptList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let text = query.q.as_deref().filter(|text| !text.is_empty());
    let (scripts, total) = app.store.scripts(text, page.offset, page.limit).await?;
    let items = scripts.into_iter().map(|(script, devices)| ScriptDto::new(script, devices)).collect();
    Ok(axum::Json(ScriptList { items, total }))
}

/// What makes a script with its first version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewScript {
    /// Unique, 1 to 80 characters.
    name: String,
    /// `lua`.
    language: String,
    /// At most 64 KiB.
    source: String,
    /// For people.
    #[serde(default)]
    description: String,
    /// A free word.
    #[serde(default)]
    category: String,
    /// What this version is.
    #[serde(default)]
    comment: String,
}

/// A script that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedScript {
    /// Its id.
    id: String,
    /// Its first version: 1.
    version: i64,
    /// A small number, for programs that know scripts by number.
    number: i64,
    /// What the compiler says.
    syntax: SyntaxDto,
}

/// Makes a script with its first version. One that does not compile is kept, but cannot be deployed.
#[utoipa::path(post, path = "/api/v1/scripts", tag = "scripts", request_body = NewScript,
    responses((status = 201, body = CreatedScript), (status = 400, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewScript>,
) -> Result<(StatusCode, axum::Json<CreatedScript>), ApiError> {
    let language = Language::parse(&new.language)?;
    let source = examined(language, &new.source, &new.comment).await?;
    let syntax = source.syntax.clone();
    let words = Description { name: new.name, description: new.description, category: new.category };
    let now = app.now();
    let (made, effects) = script::create(random::id(now), &words, language, source, &caller.actor(), now)?;
    app.store.put(new.source.clone().into_bytes()).await?;
    app.perform(effects).await?;
    let number = app.store.script(made.id).await?.map_or(0, |script| script.number);
    let created = CreatedScript { id: made.id.to_string(), version: 1, number, syntax: syntax.into() };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Checks size and syntax of a source text; the compiler runs off the async threads.
async fn examined(language: Language, text: &str, comment: &str) -> Result<Source, ApiError> {
    script::check_source(text)?;
    Ok(Source {
        digest: secrets::digest(text),
        size_bytes: i64::try_from(text.len()).unwrap_or(i64::MAX),
        syntax: compiled(language, text).await,
        comment: comment.to_owned(),
    })
}

async fn compiled(language: Language, text: &str) -> Syntax {
    let text = text.to_owned();
    let checked = tokio::task::spawn_blocking(move || syntax::check(language, &text));
    checked.await.unwrap_or_else(|_| Syntax::Error { line: 1, message: "the compiler gave up".to_owned() })
}

/// A source text to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceText {
    /// `lua`.
    language: String,
    /// At most 64 KiB.
    source: String,
}

/// Whether a source text compiles. Nothing is stored or run.
#[utoipa::path(post, path = "/api/v1/scripts/check", tag = "scripts", request_body = SourceText,
    responses((status = 200, body = SyntaxDto), (status = 413, body = Problem)))]
pub(crate) async fn check(Body(text): Body<SourceText>) -> Result<axum::Json<SyntaxDto>, ApiError> {
    let language = Language::parse(&text.language)?;
    if text.source.len() > script::SOURCE_BYTES_MAX {
        script::check_source(&text.source)?;
    }
    Ok(axum::Json(compiled(language, &text.source).await.into()))
}

/// One script.
#[utoipa::path(get, path = "/api/v1/scripts/{id}", tag = "scripts",
    responses((status = 200, body = ScriptDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<ScriptDto>, ApiError> {
    let script = load_script(&app, id("script", &path)?).await?;
    let devices = app.store.script_used_by(script.id).await?;
    Ok(axum::Json(ScriptDto::new(script, devices)))
}

/// What changes a script's words; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptEdit {
    /// New name.
    name: Option<String>,
    /// New description.
    description: Option<String>,
    /// New category.
    category: Option<String>,
}

/// Changes a script's words.
#[utoipa::path(patch, path = "/api/v1/scripts/{id}", tag = "scripts", request_body = ScriptEdit,
    responses((status = 200, body = ScriptDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<ScriptEdit>,
) -> Result<axum::Json<ScriptDto>, ApiError> {
    let (id, actor) = (id("script", &path)?, caller.actor());
    app.attempt(|| async {
        let script = load_script(&app, id).await?;
        let words = Description {
            name: edit.name.clone().unwrap_or_else(|| script.name.clone()),
            description: edit.description.clone().unwrap_or_else(|| script.description.clone()),
            category: edit.category.clone().unwrap_or_else(|| script.category.clone()),
        };
        Ok(((), script::edit(&script, &words, &actor, app.now())?))
    })
    .await?;
    get(State(app.clone()), Path(path)).await
}

/// Deletes a script that no device needs.
#[utoipa::path(delete, path = "/api/v1/scripts/{id}", tag = "scripts",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let script = load_script(&app, id("script", &path)?).await?;
    let used_by = app.store.script_used_by(script.id).await?;
    app.perform(script::delete(&script, used_by, &caller.actor())?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The versions of a script, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    items: Vec<VersionDto>,
}

/// The versions of a script, newest first, without their sources.
#[utoipa::path(get, path = "/api/v1/scripts/{id}/versions", tag = "scripts",
    responses((status = 200, body = VersionList), (status = 404, body = Problem)))]
pub(crate) async fn versions(
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
    responses((status = 201, body = SavedVersion), (status = 200, body = SavedVersion), (status = 409, body = Problem)))]
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
