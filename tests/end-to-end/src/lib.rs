//! What end-to-end tests need: a hub, a caller of its API, a fleet of virtual boards and plain MQTT clients.
//! Nothing here knows the product from inside.

mod boards;
mod cable;
mod fleet;
mod front;
mod gateway;
mod hub;
mod nodes;
mod proxy;
mod publisher;
mod session;
mod swarm;
mod traffic;
mod wait;

pub use boards::{flow_over_two, own_address};
pub use cable::Cable;
pub use fleet::Fleet;
pub use front::Front;
pub use gateway::{Gateway, join_file};
pub use hub::{Api, Hub, NAME, PASSWORD, add_token, binary};
pub use nodes::Nodes;
pub use proxy::{Fault, Proxy};
pub use publisher::Publisher;
pub use session::{Delivered, Session};
pub use swarm::{Device, FIRST_MS, Swarm};
pub use traffic::{Heard, Traffic};
pub use wait::{WAIT_MAX, until, until_within, waited};
