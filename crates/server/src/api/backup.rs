//! A backup of the whole hub, for whoever may do everything.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use motehub_store::{BackupError, StoreError};
use tokio::io::AsyncReadExt;

use super::access::Caller;
use super::extract::rfc3339;
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::backup;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// One backup is made at a time: each needs as much space as the database.
static IS_BUSY: AtomicBool = AtomicBool::new(false);

/// Lets the next one begin, whatever happened.
struct Busy;

impl Drop for Busy {
    fn drop(&mut self) {
        IS_BUSY.store(false, Ordering::Release);
    }
}

/// Everything that the hub keeps, as one file for `motehub restore`. It holds all secrets of the hub.
#[utoipa::path(get, path = "/api/v1/backup", tag = "backup", responses(
    (status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 409, body = Problem)))]
pub(crate) async fn download(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    if app.store.is_shared() {
        let detail = "this hub keeps its state in PostgreSQL: copy the database with pg_dump, or with \
            `motehub store copy --from postgres://… --to sqlite:FILE`";
        return Err(ApiError::new(StatusCode::CONFLICT, "not_here", detail));
    }
    if IS_BUSY.swap(true, Ordering::Acquire) {
        let detail = "another backup is being made: try again when it is done";
        return Err(ApiError::new(StatusCode::CONFLICT, "busy", detail));
    }
    let busy = Busy;
    let data = app.settings.data.clone();
    let part = backup::sent_part(&data);
    let copied = tokio::task::spawn_blocking(move || {
        let taken = backup::copy(&data, &part, &mut |_, _| {})?;
        let file = std::fs::File::open(&part);
        // The open file lives on without its name, and goes away with this answer.
        drop(std::fs::remove_file(&part));
        Ok((taken, file.map_err(|why| BackupError::file(&part, why))?))
    });
    let copied = copied.await.unwrap_or_else(|error| {
        Err(BackupError::File { path: "backup".to_owned(), why: std::io::Error::other(error) })
    });
    let (taken, file) = copied.map_err(|error| failed(&error))?;
    app.perform(backup::stated(caller.actor(), &taken)).await?;
    let pieces = futures_util::stream::try_unfold(
        (tokio::fs::File::from_std(file), busy),
        |(mut file, busy)| async move {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match file.read_buf(&mut piece).await? {
                0 => Ok::<_, std::io::Error>(None),
                _ => Ok(Some((Bytes::from(piece), (file, busy)))),
            }
        },
    );
    let day = rfc3339(app.now()).chars().take(10).collect::<String>();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, taken.size_bytes.to_string()),
        // Chunks of telemetry are compressed already.
        (header::CONTENT_ENCODING, "identity".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"motehub-{day}.backup\"")),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn failed(error: &BackupError) -> ApiError {
    match error {
        BackupError::Store(error) => error.clone().into(),
        BackupError::File { why, .. } if why.kind() == ErrorKind::StorageFull => StoreError::Full.into(),
        other => {
            tracing::error!(error = %other, "the backup was not made");
            let detail = "the backup was not made: the log of the hub says why";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unavailable", detail)
        }
    }
}
