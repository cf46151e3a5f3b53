//! The servers that the hub can use, for tests: real ones, started in a temporary folder on a free port, and stopped and
//! removed when the test process ends, however it ends.

mod nats;

pub use nats::Nats;
