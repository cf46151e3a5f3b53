//! Processes that end with the bench.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context;

/// A process that ends with the bench.
pub(crate) struct Running {
    /// The process, with its standard input.
    pub(crate) child: Child,
    /// What it prints.
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        Ok(Self { child, lines })
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        Ok(self.lines.next().context("it ended")??)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes the lines of a process away, for somebody else to read.
pub(crate) fn unread(running: &mut Running) -> anyhow::Result<Lines<BufReader<ChildStdout>>> {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn()?;
    let nothing = child.stdout.take().context("it is piped")?;
    child.wait()?;
    Ok(std::mem::replace(&mut running.lines, BufReader::new(nothing).lines()))
}
