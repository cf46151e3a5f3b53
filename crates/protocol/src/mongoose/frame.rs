//! One message: a call, or the answer to one (JSON-RPC 2.0 without its version member). Members that the protocol
//! does not name, such as `src`, are ignored.

use serde_json::{Value, json};

use crate::DecodeError;

/// The code of an answer that says nothing of its own: what Mongoose OS uses for any failure.
const CODE_UNKNOWN: i64 = 500;

/// A message of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// It asks if there is an id, it tells if there is none.
    Call {
        /// To be given back as it is.
        id: Option<Value>,
        /// What.
        method: String,
        /// With what; null for nothing.
        params: Value,
    },
    /// It answers.
    Answer {
        /// Of our call.
        id: Value,
        /// How it went.
        outcome: Result<Value, Fault>,
    },
}

/// An error as this protocol says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// As in HTTP, or negative.
    pub code: i64,
    /// For people.
    pub message: String,
}

impl Fault {
    /// A code with its sentence.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Whether the device has no such method: so say Mongoose OS and, in the codes of JSON-RPC, others.
    pub fn is_unknown_method(&self) -> bool {
        matches!(self.code, 404 | -32601)
    }
}

impl Frame {
    /// Reads a message.
    pub fn read(value: Value) -> Result<Self, DecodeError> {
        let Value::Object(mut members) = value else {
            return Err(DecodeError(
                "a message is an object with a method, or with an id and a result".to_owned(),
            ));
        };
        let id = members.remove("id").filter(|id| !id.is_null());
        if !id.as_ref().is_none_or(|id| id.is_string() || id.is_i64() || id.is_u64()) {
            return Err(DecodeError("id: a whole number or a text".to_owned()));
        }
        match (members.remove("method"), id) {
            (Some(Value::String(method)), id) if !method.is_empty() => {
                let params = members.remove("params").or_else(|| members.remove("args")).unwrap_or_default();
                Ok(Self::Call { id, method, params })
            }
            (Some(_), _) => Err(DecodeError("method: a text".to_owned())),
            (None, Some(id)) => match (members.remove("error"), members.remove("result")) {
                (Some(error), _) if !error.is_null() => Ok(Self::Answer { id, outcome: Err(fault(&error)) }),
                (_, result) => Ok(Self::Answer { id, outcome: Ok(result.unwrap_or_default()) }),
            },
            (None, None) => Err(DecodeError("a message has a method, or an id and a result".to_owned())),
        }
    }
}

/// The message may be any JSON: a device that wants a password says so in an object.
fn fault(error: &Value) -> Fault {
    let message = match &error["message"] {
        Value::String(text) => text.clone(),
        Value::Null => "the device gave no reason".to_owned(),
        other => other.to_string(),
    };
    Fault { code: error["code"].as_i64().unwrap_or(CODE_UNKNOWN), message }
}

/// A call to a device. Its ids are numbers: firmware of 2017 knows no others.
pub fn call(id: u64, method: &str, params: &Value) -> String {
    match params {
        Value::Null => json!({ "id": id, "method": method }).to_string(),
        params => json!({ "id": id, "method": method, "params": params }).to_string(),
    }
}

/// An answer to a device.
pub fn result(id: &Value, result: &Value) -> String {
    json!({ "id": id, "result": result }).to_string()
}

/// An answer that says that it was not done.
pub fn error(id: &Value, fault: &Fault) -> String {
    json!({ "id": id, "error": { "code": fault.code, "message": fault.message } }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Frame, DecodeError> {
        Frame::read(serde_json::from_str(text).expect("is JSON"))
    }

    #[test]
    fn what_devices_send_is_read() {
        let cases = [
            (r#"{"id":17,"method":"A","params":{"x":1},"src":"esp","tag":"t"}"#, "17 A {\"x\":1}"),
            (r#"{"id":"x-1","method":"A","args":[1]}"#, "\"x-1\" A [1]"),
            (r#"{"method":"Log"}"#, "- Log null"),
            (r#"{"id":18446744073709551615,"method":"A"}"#, "18446744073709551615 A null"),
            (r#"{"id":3,"result":null}"#, "3 = null"),
            (r#"{"id":3,"result":{"on":true},"jsonrpc":"2.0"}"#, "3 = {\"on\":true}"),
            (r#"{"id":3,"error":{"code":404,"message":"No handler for X"}}"#, "3 ! 404 No handler for X"),
            (r#"{"id":3,"error":{"code":-32601}}"#, "3 ! -32601 the device gave no reason"),
            (r#"{"id":3,"error":{"code":401,"message":{"auth":1}}}"#, "3 ! 401 {\"auth\":1}"),
            (r#"{"id":3,"error":"no"}"#, "3 ! 500 the device gave no reason"),
        ];
        for (text, expected) in cases {
            let got = match read(text) {
                Ok(Frame::Call { id, method, params }) => {
                    format!("{} {method} {params}", id.map_or("-".to_owned(), |id| id.to_string()))
                }
                Ok(Frame::Answer { id, outcome: Ok(result) }) => format!("{id} = {result}"),
                Ok(Frame::Answer { id, outcome: Err(fault) }) => {
                    format!("{id} ! {} {}", fault.code, fault.message)
                }
                Err(error) => panic!("{text}: {error}"),
            };
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in
            ["1", "[]", "{}", r#"{"id":1.5,"method":"A"}"#, r#"{"id":{},"result":1}"#, r#"{"method":7}"#]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_is_given_back_as_it_came() {
        for id in ["17", "4294967295", "-3", "\"a\\\"b\"", "\"17\"", "18446744073709551615"] {
            let value: Value = serde_json::from_str(id).expect("is JSON");
            assert_eq!(result(&value, &Value::Bool(true)), format!("{{\"id\":{id},\"result\":true}}"));
        }
    }
}
