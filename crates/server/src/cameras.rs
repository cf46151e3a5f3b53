//! Pictures of cameras, fetched from where a person allowed it. Nothing else of the answer is passed on, no redirect is
//! followed, and what is no picture is refused: so the browser talks with the hub alone, and a device can have nothing
//! fetched that was not allowed.

use std::sync::OnceLock;
use std::time::Duration;

use motehub_domain::camera::Address;
use tokio::sync::Semaphore;

/// Largest picture in bytes.
const PICTURE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long a camera may take for all of it.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Pictures that are fetched at once; further ones are refused.
const AT_ONCE_MAX: usize = 8;
/// What is a picture. SVG is none: it can hold programs.
const KINDS: [&str; 5] = ["image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"];

static AT_ONCE: Semaphore = Semaphore::const_new(AT_ONCE_MAX);
static AGENT: OnceLock<ureq::Agent> = OnceLock::new();

/// A picture.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Its media type.
    pub(crate) kind: &'static str,
    /// Itself.
    pub(crate) bytes: Vec<u8>,
}

/// Fetches a picture.
///
/// # Errors
/// A sentence if there is none.
pub(crate) async fn fetch(address: Address) -> Result<Picture, String> {
    let Ok(permit) = AT_ONCE.try_acquire() else {
        return Err(format!("{AT_ONCE_MAX} pictures are being fetched already: try again in a moment"));
    };
    let fetched = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        ask(&address)
    });
    fetched.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn ask(address: &Address) -> Result<Picture, String> {
    let origin = address.origin.as_str();
    let request = AGENT.get_or_init(agent).get(address.text()).header("Accept", "image/*");
    let mut answer =
        request.call().map_err(|error| format!("the camera at {origin} could not be asked: {error}"))?;
    let status = answer.status();
    if status != 200 {
        return Err(format!("the camera at {origin} answered {status}: a picture comes with 200"));
    }
    let said = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("nothing");
    let media_type = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(kind) = KINDS.into_iter().find(|kind| *kind == media_type) else {
        let said: String = said.chars().take(80).collect();
        return Err(format!(
            "what the camera at {origin} sent is {said:?}; a picture is one of {}",
            KINDS.join(", ")
        ));
    };
    let bytes = answer.body_mut().with_config().limit(PICTURE_BYTES_MAX).read_to_vec();
    let bytes = bytes.map_err(|error| {
        format!("the picture of the camera at {origin} could not be read ({PICTURE_BYTES_MAX} bytes at most): {error}")
    })?;
    Ok(Picture { kind, bytes })
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(WAIT_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .tls_config(crate::authorities::tls())
        .build()
        .new_agent()
}
