//! Standard input and output of virtual devices: commands come as lines, facts go as lines.

use std::io::{BufRead, Write};

use anyhow::Context;
use tokio::sync::mpsc;

/// Lines of standard input that wait.
const LINES_MAX: usize = 64;

/// The lines of standard input that are not blank. It has no cancellable read, so a thread that ends with the process
/// does it.
pub(crate) fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A line on standard output, at once.
///
/// # Errors
/// When its reader went away: that ends the devices.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("writing facts to standard output")
}
