//! Virtual MicroPython boards: each is a process of the real interpreter with a heap of its own size and a folder as
//! its flash, on which Motehub's agent lies as on a chip. What only chips have (`machine`, `dht`) lies beside it.

mod agent;
pub(crate) mod board;
pub(crate) mod cli;

pub use cli::{Options, run};
