//! Commands and their answers as the native protocol writes them; the same maps in JSON and CBOR.

use motehub_domain::message::{Order, Outcome, Uplink};
use serde::Deserialize;
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
pub fn reply(value: Value) -> Result<Uplink, DecodeError> {
    #[derive(Deserialize)]
    struct Reply {
        id: String,
        ok: bool,
        result: Option<Value>,
        error: Option<String>,
    }
    let reply: Reply = serde_json::from_value(value).map_err(|error| {
        DecodeError(format!("a reply is {{\"id\":…,\"ok\":true,\"result\":…}} or with \"error\": {error}"))
    })?;
    let command = reply.id.parse().map_err(|_| DecodeError("id: not the id of a command".to_owned()))?;
    let outcome = match reply.ok {
        true => Outcome::Done(reply.result),
        false => Outcome::Failed(reply.error.unwrap_or_else(|| "the device gave no reason".to_owned())),
    };
    Ok(Uplink::Reply { command, outcome })
}
