//! Virtual lights with Mongoose OS: the calls of its firmware over the WebSocket of mDash and over the light's own
//! HTTP server, settings with an access list, files, and firmware in two slots that are updated and committed or
//! reverted as on a real one. What goes wrong is drawn from a seed, and what really happened is told as facts, so
//! that what the product believes can be held against it. [`spawn`] is the library entry, [`run`] the command line.

mod cli;
mod fleet;

mod life;
mod link;
mod local;

mod call;
mod config;
mod fault;
mod files;
mod light;
mod slots;
mod update;
mod zip;

pub use cli::{Options, run};
pub use fault::{Fault, Share};
pub use fleet::{Command, Deed, Fact, FleetConfig, FleetHandle, LightConfig, Sender, spawn};
