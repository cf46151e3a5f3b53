//! Commands and their answers as the native protocol writes them; the same maps in JSON and CBOR.

use motehub_domain::message::{Order, Outcome, Uplink};
use serde_json::{Value, json};

use crate::DecodeError;

/// What a device is asked to do: `{"id","name","args","expires_at","ttl"}`, `expires_at` in milliseconds since
/// 1970, `ttl` in seconds from now, rounded up.
pub fn order(order: &Order) -> Value {
    json!({
        "id": order.id.to_string(),
        "name": order.name,
        "args": order.arguments,
        "expires_at": order.expires_at.0,
        "ttl": (order.ttl.0 + 999).div_euclid(1000).max(1),
    })
}

/// What a device answers: `{"id","ok":true,"result"}` or `{"id","ok":false,"error"}`.
pub fn reply(value: &Value) -> Result<Uplink, DecodeError> {
    let wrong = |what: &str| {
        DecodeError(format!("{what}: a reply is {{\"id\":…,\"ok\":true,\"result\":…}} or with \"error\""))
    };
    let id = value["id"].as_str().ok_or_else(|| wrong("id is missing"))?;
    let command = id.parse().map_err(|_| wrong("id is not the id of a command"))?;
    let outcome = match value["ok"].as_bool().ok_or_else(|| wrong("ok is neither true nor false"))? {
        true => Outcome::Done(value.get("result").filter(|result| !result.is_null()).cloned()),
        false => Outcome::Failed(value["error"].as_str().unwrap_or("the device gave no reason").to_owned()),
    };
    Ok(Uplink::Reply { command, outcome })
}
