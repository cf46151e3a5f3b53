//! Virtual boards from outside: real processes, real sockets, the test firmware, and faults on request.
#![expect(clippy::unwrap_used, reason = "tests may")]

mod agent;
mod faults;
mod hub;
mod modules;
mod story;

/// Not a test: what the fleets of the tests start as the process of a group.
#[test]
fn group_process() {
    if std::env::var_os("MOTEHUB_SIM_GROUP").is_some() {
        motehub_sim::nodemcu::run_group().unwrap();
    }
}
