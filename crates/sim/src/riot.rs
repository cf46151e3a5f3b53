//! Virtual RIOT nodes: they announce themselves, post what they measure and have their resources read and written, with
//! the ways of the firmware in the field. Thousands run in one process, each at an address of its own on the loopback
//! network; some may share one. [`spawn`] is the library entry, [`run`] the command line.

mod cli;
mod firmware;
mod fleet;
mod node;
pub mod websocket;

pub use cli::{Options, run};
pub use firmware::Firmware;
pub use fleet::{Command, Deed, Fact, FleetConfig, FleetHandle, spawn};
pub(crate) use node::Numbers;
