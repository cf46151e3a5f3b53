//! The package index of `mip`, MicroPython's installer: Motehub's agent, and scripts in Python of the category `mip`.
//! `mip` shows no credential, so whoever reaches the hub may read what is here, and no other script is here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use motehub_domain::artifact::Digest;
use motehub_domain::script::{Language, Script};
use rust_embed::RustEmbed;
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::app::App;
use crate::secrets;

/// The category whose scripts are served.
const CATEGORY: &str = "mip";
const AGENT: &str = "motehub-agent";
/// The version of compiled files that the agent's have; `mip` asks for `py` if it wants sources.
const COMPILED: &str = "6";
/// Longest name of a module in bytes.
const NAME_BYTES_MAX: usize = 64;

#[derive(RustEmbed)]
#[folder = "../../agents/micropython"]
struct Files;

/// A file of the agent: where it lies on a board, and its bytes.
type File = (String, Cow<'static, [u8]>);

struct Agent {
    source: Vec<File>,
    compiled: Vec<File>,
    by_digest: HashMap<String, Cow<'static, [u8]>>,
    version: String,
}

static THE_AGENT: LazyLock<Agent> = LazyLock::new(|| {
    let file = |path: &str| Files::get(path).map(|file| file.data).unwrap_or_default();
    let (mut source, mut compiled) = (Vec::new(), Vec::new());
    for path in Files::iter().filter(|path| !path.ends_with(".md") && *path != "main.py") {
        match path.strip_prefix("compiled/") {
            Some(place) => compiled.push((place.to_owned(), file(&path))),
            None => source.push((path.to_string(), file(&path))),
        }
    }
    // It starts the others, so it comes last: a board that loses power before does not start half an agent.
    for files in [&mut source, &mut compiled] {
        files.push(("main.py".to_owned(), file("main.py")));
    }
    let all = source.iter().chain(&compiled);
    let by_digest = all.map(|(_, bytes)| (secrets::digest(bytes).to_string(), bytes.clone())).collect();
    let text = String::from_utf8_lossy(&file("mh/agent.py")).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("VERSION = \"")?.strip_suffix('"'));
    Agent { version: version.unwrap_or("0").to_owned(), source, compiled, by_digest }
});

/// `/package/<py or a version of compiled files>/<name>/<version or latest>.json` and `/file/<..>/<digest>`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/package/{format}/{name}/{release}", get(package))
        .route("/file/{prefix}/{digest}", get(file))
}

async fn package(
    State(app): State<App>,
    Path((format, name, release)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let Some(release) = release.strip_suffix(".json") else { return Ok(unknown(&name)) };
    if name == AGENT {
        let agent = &*THE_AGENT;
        if release != "latest" && release != agent.version {
            return Ok(unknown(&format!("{AGENT} {release}; there is {}", agent.version)));
        }
        let files = if format == COMPILED { &agent.compiled } else { &agent.source };
        let listed = files.iter().map(|(place, bytes)| (place.clone(), secrets::digest(bytes).to_string()));
        return Ok(listing(&agent.version, listed));
    }
    let Some(script) = app.store.script_by_name(&name).await?.filter(is_served) else {
        return Ok(unknown(&name));
    };
    let wanted = match release {
        "latest" => Some(script.latest_version),
        number => number.parse().ok(),
    };
    let Some(version) = wanted else { return Ok(unknown(&format!("{name} {release}"))) };
    match app.store.version(script.id, version).await? {
        Some(found) => {
            let place = format!("{}.py", script.name.replace('-', "_"));
            Ok(listing(&version.to_string(), [(place, found.digest.to_string())].into_iter()))
        }
        None => Ok(unknown(&format!("{name} {release}"))),
    }
}

fn is_served(script: &Script) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    script.language == Language::Python
        && script.category == CATEGORY
        && script.name.len() <= NAME_BYTES_MAX
        && script.name.bytes().all(is_word)
}

fn listing(version: &str, files: impl Iterator<Item = (String, String)>) -> Response {
    let hashes: Vec<Value> = files.map(|(place, digest)| json!([place, digest])).collect();
    axum::Json(json!({ "v": 1, "version": version, "hashes": hashes, "urls": [], "deps": [] }))
        .into_response()
}

async fn file(
    State(app): State<App>,
    Path((prefix, text)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let bytes = match THE_AGENT.by_digest.get(&text) {
        _ if !text.starts_with(&prefix) => None,
        Some(bytes) => Some(bytes.to_vec()),
        None => of_a_script(&app, &text).await?,
    };
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok(bytes.map_or_else(|| unknown(&text), |bytes| (kind, bytes).into_response()))
}

async fn of_a_script(app: &App, text: &str) -> Result<Option<Vec<u8>>, ApiError> {
    let Ok(digest) = text.parse::<Digest>() else { return Ok(None) };
    let found = app.store.artifact_with(digest).await?.and_then(|artifact| artifact.script());
    let Some((script, _)) = found else { return Ok(None) };
    match app.store.script(script).await?.is_some_and(|script| is_served(&script)) {
        true => Ok(app.store.artifact(digest).await?),
        false => Ok(None),
    }
}

fn unknown(what: &str) -> Response {
    let why = format!(
        "there is no {what} here: {AGENT}, and scripts in Python of the category {CATEGORY} whose names are of \
         letters, digits, - and _\n"
    );
    (StatusCode::NOT_FOUND, why).into_response()
}
