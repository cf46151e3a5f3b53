//! Scripts: the library and the syntax check.

pub(crate) mod versions;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::capability;
use motehub_domain::script::{self, Description, Language, Script, ScriptVersion, Source, Syntax};
use serde::{Deserialize, Serialize};
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
    /// Capabilities that a device must have to be offered it.
    requires: Vec<String>,
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
            requires: script.requires,
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
    /// `lua` or `python`. A script in Python requires the capability `micropython`, unless that is changed.
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
    /// `lua` or `python`.
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
    /// New capabilities that a device must have to be offered it, all of them.
    requires: Option<Vec<String>>,
}

/// Changes a script's words and what it requires.
#[utoipa::path(patch, path = "/api/v1/scripts/{id}", tag = "scripts", request_body = ScriptEdit,
    responses((status = 200, body = ScriptDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<ScriptEdit>,
) -> Result<axum::Json<ScriptDto>, ApiError> {
    let (id, actor) = (id("script", &path)?, caller.actor());
    if let Some(requires) = &edit.requires {
        capability::names(requires)?;
    }
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
    if let Some(requires) = &edit.requires {
        app.attempt(|| async {
            let script = load_script(&app, id).await?;
            Ok(((), script::require(&script, requires, &actor, app.now())?))
        })
        .await?;
    }
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
