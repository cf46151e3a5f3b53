//! What end-to-end tests need: a hub, a caller of its API, a fleet of virtual boards and a plain MQTT publisher.
//! Nothing here knows the product from inside.

mod fleet;
mod hub;
mod publisher;
mod wait;

pub use fleet::Fleet;
pub use hub::{Api, Hub, add_token, binary};
pub use publisher::Publisher;
pub use wait::{WAIT_MAX, until, until_within};
