//! Virtual units: light sensors that say a number for each reading, and lamps that are told a colour, with the timing
//! and the faults of those of the IoT base family. They count what they said and were told, so that others can compare.

mod cli;
mod colour;
mod fleet;
mod lamp;
mod sensor;
mod unit;

pub use cli::{Options, run};
