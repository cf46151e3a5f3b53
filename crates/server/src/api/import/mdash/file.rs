//! The file in which mDash keeps everything, `db.json`, read entry by entry: what is wrong with the file as a whole,
//! and what with each entry. Entries are called by names that are no secrets; their keys in the file are.

use jiff::Timestamp;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::Update;
use motehub_domain::text;
use motehub_domain::time::Time;
use motehub_protocol::payload::{self, Encoding};
use serde_json::{Map, Value, json};

use crate::secrets;

/// Most entries of one file.
const ENTRIES_MAX: usize = 20_000;
/// What may be a token or a key, in bytes: fewer can be guessed.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=200;
/// How much of a name is shown.
const NAME_CHARS_MAX: usize = 60;

/// What is imported of the file; billings are not.
pub(super) struct File {
    pub(super) users: Vec<Entry<User>>,
    pub(super) keys: Vec<Entry<Key>>,
    pub(super) devices: Vec<Entry<Device>>,
}

/// An entry, or what is wrong with it.
pub(super) struct Entry<T> {
    /// What it is called.
    pub(super) name: String,
    pub(super) read: Result<T, String>,
}

/// Somebody with a password.
pub(super) struct User {
    /// How the rest of the file calls them.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bcrypt: String,
}

/// An API key.
pub(super) struct Key {
    pub(super) secret: String,
    /// Of whom.
    pub(super) user: String,
}

/// A device.
pub(super) struct Device {
    pub(super) token: String,
    pub(super) id: String,
    pub(super) name: String,
    /// Whose it is, and then with whom it is shared.
    pub(super) users: Vec<String>,
    pub(super) shadow: Option<Shadow>,
    pub(super) created_at: Option<Time>,
}

/// The shadow of a device.
pub(super) struct Shadow {
    pub(super) update: Update,
    pub(super) version: Option<i64>,
    pub(super) at: Option<Time>,
}

/// Reads the file.
///
/// # Errors
/// If it as a whole is no such file.
pub(super) fn read(bytes: &[u8]) -> Result<File, Rejection> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let file = payload::decode(Encoding::Json, "the file", bytes);
    let file = file.map_err(|error| Rejection::invalid("file", error.to_string()))?;
    let [users, keys, devices] = ["users", "apikeys", "devices"].map(|name| section(&file, name));
    let (users, keys, devices) = (users?, keys?, devices?);
    if users.is_empty() && devices.is_empty() {
        let why = "this is no db.json of mDash: an object with users, apikeys and devices";
        return Err(Rejection::invalid("file", why));
    }
    if users.len() + keys.len() + devices.len() > ENTRIES_MAX {
        return Err(Rejection::too_large("file", format!("at most {ENTRIES_MAX} entries: split it")));
    }
    Ok(File {
        users: users.into_iter().map(|(id, value)| user(id, value)).collect(),
        keys: keys.into_iter().map(|(secret, value)| key(secret, value)).collect(),
        devices: devices.into_iter().map(|(token, value)| device(token, value)).collect(),
    })
}

/// The entries of a part of the file, each with what it is kept under.
fn section<'a>(file: &'a Value, name: &str) -> Result<Vec<(&'a String, &'a Value)>, Rejection> {
    match file.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(entries)) => Ok(entries.iter().collect()),
        Some(_) => Err(Rejection::invalid("file", format!("{name} is an object"))),
    }
}

fn user(id: &str, value: &Value) -> Entry<User> {
    let name = value["name"].as_str().unwrap_or(id);
    let bcrypt = value["token"].as_str().filter(|hash| secrets::is_bcrypt(hash));
    let read = match (text::name("name", name), bcrypt) {
        (Err(rejection), _) => Err(rejection.sentence),
        (_, None) => Err("token: the password as bcrypt, of a cost from 4 to 14".to_owned()),
        (Ok(name), Some(hash)) => Ok(User { id: id.to_owned(), name, bcrypt: hash.to_owned() }),
    };
    Entry { name: shown(name), read }
}

fn key(secret: &str, value: &Value) -> Entry<Key> {
    let read = match value["user_id"].as_str() {
        _ if !is_secret(secret) => Err(unfit("a key")),
        None => Err("user_id: whose key it is".to_owned()),
        Some(user) => Ok(Key { secret: secret.to_owned(), user: user.to_owned() }),
    };
    // It has no name there. A few digits of its digest are the same at every import and no help to guess it.
    Entry { name: format!("mDash key {}", &secrets::digest(secret).to_string()[..8]), read }
}

fn device(token: &str, value: &Value) -> Entry<Device> {
    let id = value["id"].as_str().unwrap_or_default();
    let read = read_device(token, id, value);
    let name = if id.is_empty() { "a device without an id" } else { id };
    Entry { name: shown(name), read }
}

fn read_device(token: &str, id: &str, value: &Value) -> Result<Device, String> {
    if id.is_empty() {
        return Err("id: the id of the device".to_owned());
    }
    if !is_secret(token) {
        return Err(unfit("a token"));
    }
    if value.get("token").is_some_and(|own| own != token) {
        return Err("token: it is another one than the device is kept under".to_owned());
    }
    let name = value["name"].as_str().map(str::trim).filter(|name| !name.is_empty());
    let shared_with = value["shared_with"].as_str().unwrap_or_default();
    let users = value["user_id"].as_str().into_iter().chain(shared_with.split(','));
    Ok(Device {
        token: token.to_owned(),
        id: id.to_owned(),
        name: name.unwrap_or(id).to_owned(),
        users: users.map(str::trim).filter(|user| !user.is_empty()).map(str::to_owned).collect(),
        shadow: shadow(&value["shadow"])?,
        created_at: value["created_at"].as_str().and_then(time),
    })
}

/// What is desired, reported and noted; that which follows from it is not read.
fn shadow(value: &Value) -> Result<Option<Shadow>, String> {
    let mut state = Map::new();
    for part in ["desired", "reported"] {
        match &value["state"][part] {
            Value::Null => {}
            Value::Object(values) if values.is_empty() => {}
            values => drop(state.insert(part.to_owned(), values.clone())),
        }
    }
    let tags = value.get("tags").filter(|tags| !tags.is_null() && **tags != json!({}));
    if state.is_empty() && tags.is_none() {
        return Ok(None);
    }
    let mut document = json!({ "state": state });
    if let Some(tags) = tags {
        document["tags"] = tags.clone();
    }
    let update = Update::of(document).map_err(|refusal| format!("shadow: {refusal}"))?;
    let at = value["timestamp"].as_i64().and_then(|seconds| seconds.checked_mul(1000));
    Ok(Some(Shadow {
        update,
        version: value["version"].as_i64().filter(|version| *version > 0),
        at: at.filter(|at| *at > 0).map(Time),
    }))
}

fn is_secret(text: &str) -> bool {
    SECRET_BYTES.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn unfit(what: &str) -> String {
    let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
    format!("{what} has {least} to {most} letters, digits and signs")
}

fn time(text: &str) -> Option<Time> {
    let at = text.parse::<Timestamp>().ok()?.as_millisecond();
    (at > 0).then_some(Time(at))
}

fn shown(name: &str) -> String {
    text::shown(name, NAME_CHARS_MAX)
}
