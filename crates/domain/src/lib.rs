//! What the product knows: pure verbs over devices, scripts, deployments and telemetry.
//!
//! Nothing here does IO, awaits, reads a clock or makes a random number: the time and new ids are arguments.
//! A verb takes state and arguments, then `now`, and returns `Result<Effects, Rejection>`.

pub mod id;
pub mod time;
pub mod rejection;
pub mod topic;
pub mod message;
pub mod telemetry;
pub mod device;
pub mod script;
