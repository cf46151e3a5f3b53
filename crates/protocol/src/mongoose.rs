//! Mongoose OS devices and their cloud, mDash: JSON-RPC in both directions over one WebSocket. A device reports its
//! shadow, its log and its own events by calls without an answer; it is asked by calls of the same form.

mod buffer;
mod frame;
mod heard;

pub use buffer::{BYTES_MAX, Buffer};
pub use frame::{Fault, Frame, call, error, result};
pub use heard::{Heard, heard, introduction, reported};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::message::Downlink;
use motehub_domain::shadow;
use serde_json::{Value, json};

/// Longest frame that every device of this family takes, in bytes.
pub const FRAME_BYTES_MAX: usize = 4096;
/// The method by which a device says what it is.
pub const GET_INFO: &str = "Sys.GetInfo";

/// The method by which a device says whether it keeps the firmware that it runs.
pub const GET_BOOT_STATE: &str = "OTA.GetBootState";
/// The method by which a device is told what is desired of it.
pub const DELTA: &str = "Shadow.Delta";

/// The method by which a device is told to keep the firmware that it runs.
pub const COMMIT: &str = "OTA.Commit";
/// The method by which a device is told to go back to the firmware before that.
pub const REVERT: &str = "OTA.Revert";

/// A piece of a firmware as the parameters of `OTA.Write`.
pub fn piece(bytes: &[u8]) -> Value {
    json!({ "data": BASE64_STANDARD.encode(bytes) })
}

/// A downlink as method and parameters; `None` if it is not said by one call.
pub fn downlink(downlink: &Downlink) -> Option<(String, Value)> {
    match downlink {
        Downlink::Command(order) => Some((order.name.clone(), order.arguments.clone())),
        Downlink::Delta(delta) if delta.shadow.is_none() => {
            let mut document = shadow::delta_document(delta);
            // Devices of this kind are small and know no times of single values.
            document.as_object_mut().and_then(|document| document.remove("metadata"));
            Some((DELTA.to_owned(), document))
        }
        // Named shadows are unknown to it, and what it asks for is answered at once.
        Downlink::Delta(_) | Downlink::Shadow(_) => None,
        Downlink::Commit(_) => Some((COMMIT.to_owned(), Value::Null)),
        Downlink::Revert(_) => Some((REVERT.to_owned(), Value::Null)),
        // Firmware is pushed by many calls; a credential is not changed over the air.
        Downlink::Offer(_) | Downlink::Cancel(_) | Downlink::Credential(_) | Downlink::Passed(_) => None,
    }
}
