//! Virtual NodeMCU boards: a real Lua 5.1 with the modules of the ESP8266 firmware, a flash folder and a
//! memory limit per board. Boards live in groups; a group is a child process, so that Lua that cannot be
//! stopped takes down only its group. [`spawn`] is the library entry, [`run`] the command line on top of it.

mod cli;
mod fleet;
mod group;
mod order;
mod supervisor;

mod board;
mod machine;

mod console;
mod flash;
mod link;
mod sensor;

mod http_client;
mod mqtt_client;

mod module;

pub use cli::{Options, run};
pub use fleet::{BoardConfig, FleetConfig, FleetHandle, spawn};
pub use group::run_group;
pub use order::{BootReason, Command, Fact, Order};
