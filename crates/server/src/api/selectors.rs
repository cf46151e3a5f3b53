//! Selectors as requests give them, and the words of which they can be made.

use axum::extract::State;
use motehub_domain::group;
use motehub_domain::selector::{FIELDS, FLAGS, Kind, Selector};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::ApiError;
use crate::app::App;
use crate::perform::Failure;

/// How many names of each sort are offered.
const WORDS_MAX: usize = 500;

/// Reads a selector and puts in the groups that it names.
pub(crate) async fn read(app: &App, text: &str) -> Result<Selector, Failure> {
    put_in(app, &Selector::parse(text)?).await
}

/// A selector with the groups that it names put in.
pub(crate) async fn put_in(app: &App, selector: &Selector) -> Result<Selector, Failure> {
    match group::names_group(selector) {
        true => Ok(group::expand(selector, &app.store.groups().await?)?),
        false => Ok(selector.clone()),
    }
}

/// A word of the language and what it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SelectorWord {
    /// The word.
    word: &'static str,
    /// What it is.
    what: &'static str,
    /// What may stand behind it; empty for a condition by itself.
    operators: Vec<&'static str>,
}

/// Of what selectors can be made on this hub at present.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SelectorWords {
    /// Conditions by themselves, and fields.
    fields: Vec<SelectorWord>,
    /// Tags of devices.
    tags: Vec<String>,
    /// Names of groups.
    groups: Vec<String>,
    /// Capabilities of devices.
    capabilities: Vec<String>,
    /// Names of scripts.
    scripts: Vec<String>,
    /// Metrics that devices measured.
    metrics: Vec<String>,
    /// Attributes that devices reported of themselves.
    attributes: Vec<String>,
}

/// Of what selectors can be made: the fields with their operators, and the names that are in use; at most 500 of each.
#[utoipa::path(get, path = "/api/v1/selectors/words", tag = "selectors",
    responses((status = 200, body = SelectorWords)))]
pub(crate) async fn words(State(app): State<App>) -> Result<axum::Json<SelectorWords>, ApiError> {
    let flags = FLAGS.iter().map(|(word, what)| SelectorWord { word, what, operators: Vec::new() });
    let fields =
        FIELDS.iter().map(|(word, _, kind, what)| SelectorWord { word, what, operators: follows(*kind) });
    let used = app.store.words(WORDS_MAX).await?;
    let groups = app.store.groups().await?.into_iter().map(|group| group.name).collect();
    Ok(axum::Json(SelectorWords {
        fields: flags.chain(fields).collect(),
        tags: used.tags,
        groups,
        capabilities: used.capabilities,
        scripts: used.scripts,
        metrics: used.metrics,
        attributes: used.attributes,
    }))
}

fn follows(kind: Kind) -> Vec<&'static str> {
    let mut words: Vec<&str> = kind.operators().iter().map(|operator| operator.sign()).collect();
    words.extend(kind.has_in().then_some("in"));
    words.extend(kind.has_exists().then_some("exists"));
    words
}
