//! How many files, sockets among them, the system lets the hub open. Each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open besides connections: the database and its readers, listeners, backups.
const OTHERS: u64 = 256;

/// Raises the soft limit of this process to the hard one, and says so in the log if that is too few for so many
/// connections.
pub(crate) fn raise(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let open_max = if raised.is_ok() { maximum } else { current };
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    // No limit at all is `None`.
    if let Some(open_max) = open_max.filter(|open_max| *open_max < needed) {
        tracing::warn!(
            open_max,
            needed,
            "the system lets the hub open fewer files than its limits of connections need: raise the hard limit \
             (LimitNOFILE= of systemd, ulimit -Hn), or lower connections in [mqtt-limits]"
        );
    }
}
