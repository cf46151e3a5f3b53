//! The binary: serve, sim, demo, user, token.
fn main() {}
