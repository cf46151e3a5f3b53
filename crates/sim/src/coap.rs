//! Virtual boards that speak the native protocol over CoAP, behind DTLS if they have a key: they announce themselves,
//! measure, do commands, follow what is desired, and are updated in blocks. Thousands run in one process. [`spawn`] is
//! the library entry, [`run`] the command line.

mod board;
mod cli;
mod fleet;
mod line;
mod update;

pub use cli::{Options, run};
pub use fleet::{Command, Deed, Fact, FleetConfig, FleetHandle, Known, spawn};
