//! Bytes and what they mean: a dialect maps the addresses and payloads of one firmware family to uplinks and
//! downlinks, for an already identified device. It holds no state and no socket.

pub mod aws;
pub mod coap;
pub mod command;
pub mod dialect;
pub mod esp_firmware;
pub mod flow;
pub mod image;
pub mod jobs;
pub mod line;
pub mod link;
pub mod mongoose;
pub mod mqtt_sn;
pub mod native;
pub mod node_red;
pub mod nodemcu;
pub mod passed;
pub mod payload;
pub mod pusher;
pub mod pyaiot;
pub mod riot;
pub mod shadow;
pub mod telemetry;

pub use dialect::{DecodeError, Identity, MqttMessage, Said};
pub use payload::Encoding;
