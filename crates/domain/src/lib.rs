//! What the product knows: pure verbs over devices, scripts, deployments and telemetry.
//!
//! Nothing here does IO, awaits, reads a clock or makes a random number: the time and new ids are arguments.
//! A verb takes state and arguments, then `now`, and returns `Result<Effects, Rejection>`.

pub mod access;
pub mod alarm;
pub mod artifact;
pub mod bulk;
pub mod camera;
pub mod capability;
pub mod certificate;
pub mod change;
pub mod command;
pub mod credential;
pub mod dashboard;
pub mod deployment;
pub mod device;
pub mod effects;
pub mod expression;
mod fields;
pub mod firmware;
pub mod flow;
pub mod gateway;
pub mod group;
pub mod id;
pub mod job;
pub mod kept;
pub mod knock;
pub mod line;
pub mod message;
pub mod metric;
pub mod network;
pub mod person;
pub mod placement;
pub mod position;
pub mod pusher;
pub mod pyaiot;
pub mod rejection;
pub mod report;
pub mod rollout;
pub mod rule;
pub mod script;
pub mod selector;
pub mod shadow;
pub mod share;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod topic;
pub mod usage;
pub mod webhook;
