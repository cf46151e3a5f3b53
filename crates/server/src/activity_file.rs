//! The activity as a file that other tools read: every change is one line of JSON, appended when it is on disk. After a
//! restart the file goes on where it ended, which is read from its last line.

use std::io::SeekFrom;
use std::path::Path;

use motehub_store::{ChangeQuery, StoreError};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::app::App;

/// How many changes are written at once.
const BATCH_MAX: usize = 1000;
/// How much of the end of the file is read to find its last line.
const TAIL_BYTES: u64 = 256 * 1024;

/// Why the file is not written any more.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs until shutdown; does nothing if no file is set.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let Some(path) = app.settings.activity_file.clone() else { return };
    let ended = tokio::select! {
        ended = follow(&app, &path) => ended,
        () = shutdown.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::error!(%error, path = %path.display(), "the activity file is not written any more: restart the hub");
    }
}

async fn follow(app: &App, path: &Path) -> Result<(), Stopped> {
    let mut news = app.live.subscribe();
    let (mut file, mut last) = open(path).await?;
    loop {
        let query = ChangeQuery {
            after: Some(last),
            limit: BATCH_MAX,
            newest_first: false,
            ..ChangeQuery::default()
        };
        let changes = app.store.changes(query).await?;
        let is_all = changes.len() < BATCH_MAX;
        if let Some(newest) = changes.last() {
            last = newest.seq;
            let lines: String = changes.into_iter().map(api::line).collect();
            file.write_all(lines.as_bytes()).await?;
            file.flush().await?;
        }
        if is_all && matches!(news.recv().await, Err(RecvError::Closed)) {
            return Ok(());
        }
    }
}

/// The file, and the sequence number of the last change in it. A line that was cut off by a power cut is written again.
async fn open(path: &Path) -> std::io::Result<(File, i64)> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path).await?;
    let size = file.metadata().await?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES))).await?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).await?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    file.set_len(size - (tail.len() - whole) as u64).await?;
    let lines = tail[..whole].split(|byte| *byte == b'\n').rev();
    let seq = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).ok()?["seq"].as_i64();
    Ok((file, lines.into_iter().find_map(seq).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("activity.ndjson");
        assert_eq!(open(&path).await.expect("opens").1, 0);
        let text = "{\"seq\":7}\n{\"seq\":9}\n{\"seq\":1";
        std::fs::write(&path, text).expect("writes");
        let (mut file, last) = open(&path).await.expect("opens");
        assert_eq!(last, 9);
        file.write_all(b"{\"seq\":10}\n").await.expect("writes");
        file.flush().await.expect("writes");
        let kept = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(kept, "{\"seq\":7}\n{\"seq\":9}\n{\"seq\":10}\n");
    }
}
