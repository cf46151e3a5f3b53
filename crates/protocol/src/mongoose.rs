//! Mongoose OS devices and their cloud, mDash: JSON-RPC in both directions over one WebSocket. A device reports its
//! shadow, its log and its own events by calls without an answer; it is asked by calls of the same form.

mod buffer;
mod frame;
mod heard;

pub use buffer::{BYTES_MAX, Buffer};
pub use frame::{Fault, Frame, call, error, result};
pub use heard::{Heard, heard, introduction};

use motehub_domain::message::Downlink;
use serde_json::Value;

/// Longest frame that every device of this family takes, in bytes.
pub const FRAME_BYTES_MAX: usize = 4096;
/// The method by which a device says what it is.
pub const GET_INFO: &str = "Sys.GetInfo";

/// A downlink as method and parameters; `None` if it is not said by one call.
pub fn downlink(downlink: &Downlink) -> Option<(String, Value)> {
    match downlink {
        Downlink::Command(order) => Some((order.name.clone(), order.arguments.clone())),
        // Firmware is pushed by many calls; a credential is not changed over the air.
        Downlink::Offer(_) | Downlink::Cancel(_) | Downlink::Credential(_) => None,
        Downlink::Delta(_) | Downlink::Shadow(_) => None,
    }
}
