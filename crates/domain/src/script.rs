//! Scripts: named source texts whose every save is a new, immutable version.

use serde_json::json;

use crate::artifact::{Artifact, ArtifactKind, Digest};
use crate::capability;
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::ScriptId;
use crate::rejection::Rejection;
use crate::text;
use crate::time::Time;

/// Largest source text in bytes: what an ESP8266 can be given.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Longest category, in characters.
pub const CATEGORY_CHARS_MAX: usize = 40;

/// The languages scripts are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Lua 5.1, as NodeMCU boards run it.
    Lua,
    /// Python, as MicroPython boards run it.
    Python,
}

impl Language {
    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Python => "python",
        }
    }
    /// What a device must be able to do to be offered a script in it, if nobody said more. Boards with Lua do not say
    /// that they have it: those with the firmware of IoT Executor say nothing at all.
    fn requires(self) -> Vec<String> {
        match self {
            Self::Lua => Vec::new(),
            Self::Python => vec!["micropython".to_owned()],
        }
    }
    /// A language by its name.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        match text {
            "lua" => Ok(Self::Lua),
            "python" => Ok(Self::Python),
            _ => Err(Rejection::invalid("language", "the language is \"lua\" or \"python\"")),
        }
    }
}

/// A named source text with versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its id.
    pub id: ScriptId,
    /// A small number, given by the store at insert, for programs that know scripts by number; 0 before.
    pub number: i64,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// A free word to sort by; may be empty.
    pub category: String,
    /// Of all its versions.
    pub language: Language,
    /// Capabilities that a device must have to be offered it, sorted.
    pub requires: Vec<String>,
    /// The newest version, from 1.
    pub latest_version: i64,
    /// When it was made.
    pub created_at: Time,
    /// When it or its newest version was last changed.
    pub updated_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// One immutable version of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptVersion {
    /// Of which script.
    pub script: ScriptId,
    /// From 1, without gaps.
    pub version: i64,
    /// The name of whoever saved it.
    pub author: String,
    /// When it was saved.
    pub created_at: Time,
    /// SHA-256 of the source; the bytes are an artifact in the store.
    pub digest: Digest,
    /// Size of the source.
    pub size_bytes: i64,
    /// What changed, in the author's words; may be empty.
    pub comment: String,
    /// What the compiler says; a version with an error cannot be deployed.
    pub syntax: Syntax,
}

/// What the compiler of the language says of a source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syntax {
    /// It compiles.
    Good,
    /// It does not.
    Error {
        /// From 1.
        line: i64,
        /// What the compiler says.
        message: String,
    },
}

impl ScriptVersion {
    /// What a device is given of this version; refused if it does not compile.
    pub fn artifact(&self) -> Result<Artifact, Rejection> {
        match &self.syntax {
            Syntax::Good => Ok(Artifact {
                kind: ArtifactKind::Script { script: self.script, version: self.version },
                digest: self.digest,
                size_bytes: self.size_bytes,
            }),
            Syntax::Error { line, message } => Err(Rejection::conflict(
                "script_syntax",
                format!("version {} does not compile: line {line}: {message}", self.version),
            )),
        }
    }
}

/// A source text that was checked for size and NUL; its digest and syntax are found out by the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// SHA-256 of the text.
    pub digest: Digest,
    /// Size of the text.
    pub size_bytes: i64,
    /// What the compiler says.
    pub syntax: Syntax,
    /// What changed, in the author's words.
    pub comment: String,
}

/// Refuses a source text that is too large or has bytes that no board can take.
pub fn check_source(source: &str) -> Result<(), Rejection> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(Rejection::too_large("source", format!("a script has at most {SOURCE_BYTES_MAX} bytes")));
    }
    if source.contains('\0') {
        return Err(Rejection::invalid("source", "a script has no NUL character: boards read text up to it"));
    }
    if source.trim().is_empty() {
        return Err(Rejection::invalid("source", "a script is not empty"));
    }
    Ok(())
}

/// What a person says of a script besides its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Unique name.
    pub name: String,
    /// For people.
    pub description: String,
    /// A free word.
    pub category: String,
}

impl Description {
    fn checked(&self) -> Result<Self, Rejection> {
        if self.category.chars().count() > CATEGORY_CHARS_MAX || self.category.chars().any(char::is_control) {
            return Err(Rejection::invalid("category", format!("at most {CATEGORY_CHARS_MAX} characters")));
        }
        Ok(Self {
            name: text::name("name", &self.name)?,
            description: text::description("description", &self.description)?,
            category: self.category.trim().to_owned(),
        })
    }
}

/// A new script with its first version.
pub fn create(
    id: ScriptId,
    words: &Description,
    language: Language,
    source: Source,
    actor: &Actor,
    now: Time,
) -> Result<(Script, Effects), Rejection> {
    let words = words.checked()?;
    let script = Script {
        id,
        number: 0,
        name: words.name,
        description: words.description,
        category: words.category,
        language,
        requires: language.requires(),
        latest_version: 1,
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let version = first_or_next(&script, source, actor, now)?;
    let after = json!({ "language": language.as_str(), "version": 1, "digest": version.digest.to_string() });
    let change = fact(ChangeKind::ScriptCreated, &script, actor, None, Some(after));
    let save = vec![Save::Script(Box::new(script.clone())), Save::Version(Box::new(version))];
    Ok((script, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// Changes a script's words.
pub fn edit(script: &Script, words: &Description, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    let words = words.checked()?;
    let mut edited = script.clone();
    let mut before = serde_json::Map::new();
    let mut after = serde_json::Map::new();
    let fields = [
        ("name", &mut edited.name, words.name),
        ("description", &mut edited.description, words.description),
        ("category", &mut edited.category, words.category),
    ];
    for (field, old, new) in fields {
        if *old != new {
            before.insert(field.to_owned(), json!(old));
            after.insert(field.to_owned(), json!(new));
            *old = new;
        }
    }
    if after.is_empty() {
        return Ok(Effects::none());
    }
    edited.revision += 1;
    edited.updated_at = now;
    let change = fact(ChangeKind::ScriptEdited, &edited, actor, Some(before.into()), Some(after.into()));
    Ok(Effects { save: vec![Save::Script(Box::new(edited))], changes: vec![change], ..Effects::none() })
}

/// Says which capabilities a device must have to be offered the script. What runs goes on running.
///
/// # Errors
/// `invalid` for a name that is none, or too many.
pub fn require(
    script: &Script,
    capabilities: &[String],
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    let mut edited = script.clone();
    edited.requires = capability::names(capabilities)?;
    if edited.requires == script.requires {
        return Ok(Effects::none());
    }
    edited.revision += 1;
    edited.updated_at = now;
    let (before, after) = (json!({ "requires": script.requires }), json!({ "requires": edited.requires }));
    let change = fact(ChangeKind::ScriptEdited, &edited, actor, Some(before), Some(after));
    Ok(Effects { save: vec![Save::Script(Box::new(edited))], changes: vec![change], ..Effects::none() })
}

/// Saves a new version behind the newest one. Returns its number.
pub fn save_version(
    script: &Script,
    source: Source,
    based_on: Option<i64>,
    actor: &Actor,
    now: Time,
) -> Result<(i64, Effects), Rejection> {
    if let Some(based_on) = based_on
        && based_on != script.latest_version
    {
        return Err(Rejection::conflict(
            "stale",
            format!("version {} was saved meanwhile: compare with it and save again", script.latest_version),
        ));
    }
    let mut script = script.clone();
    script.latest_version += 1;
    script.revision += 1;
    script.updated_at = now;
    let version = first_or_next(&script, source, actor, now)?;
    let number = version.version;
    let before = json!({ "version": number - 1 });
    let after = json!({
        "version": number, "digest": version.digest.to_string(), "size_bytes": version.size_bytes,
        "comment": version.comment,
    });
    let change = fact(ChangeKind::VersionSaved, &script, actor, Some(before), Some(after));
    let save = vec![Save::Script(Box::new(script)), Save::Version(Box::new(version))];
    Ok((number, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// Deletes a script that nothing needs: `used_by` counts devices that are assigned it, run it or await it.
pub fn delete(script: &Script, used_by: i64, actor: &Actor) -> Result<Effects, Rejection> {
    if used_by > 0 {
        let sentence =
            format!("{used_by} devices have it assigned, run it or await it: give them another script first");
        return Err(Rejection::conflict("in_use", sentence));
    }
    let before = json!({ "name": script.name, "version": script.latest_version });
    let change = fact(ChangeKind::ScriptDeleted, script, actor, Some(before), None);
    Ok(Effects { save: vec![Save::DeleteScript(script.id)], changes: vec![change], ..Effects::none() })
}

fn first_or_next(
    script: &Script,
    source: Source,
    actor: &Actor,
    now: Time,
) -> Result<ScriptVersion, Rejection> {
    Ok(ScriptVersion {
        script: script.id,
        version: script.latest_version,
        author: actor.name().to_owned(),
        created_at: now,
        digest: source.digest,
        size_bytes: source.size_bytes,
        comment: text::description("comment", &source.comment)?,
        syntax: source.syntax,
    })
}

fn fact(
    kind: ChangeKind,
    script: &Script,
    actor: &Actor,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: script.id.to_string(),
        subject_name: script.name.clone(),
        device: None,
        before,
        after,
    }
}
