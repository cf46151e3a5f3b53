//! The upload of a firmware: read with a limit, checked, kept.

use std::time::Duration;

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use motehub_domain::change::Actor;
use motehub_domain::firmware::{self, Firmware, Label};
use motehub_domain::rejection::Rejection;
use motehub_protocol::DecodeError;
use motehub_protocol::image;
use utoipa::ToSchema;

use super::super::access::Caller;
use super::super::extract::{MIB, THROWN_AWAY_MAX};
use super::super::problem::{ApiError, Problem};
use super::FirmwareDto;
use crate::app::App;
use crate::{random, secrets};

/// How many files are received at once: each is in memory until it is kept.
pub(crate) const AT_ONCE_MAX: u32 = 2;
/// Largest field beside the file, in bytes.
const WORDS_BYTES_MAX: usize = 16 * 1024;
/// How much larger than the file a request may be.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// How long a file may take to arrive.
const ARRIVE_MAX: Duration = Duration::from_secs(600);

/// A firmware to be kept. A zip of Mongoose OS says its name, version, platform and build itself.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form, which is read field by field")]
pub(crate) struct NewFirmware {
    /// The image: a zip of Mongoose OS, or a plain image.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Of the program.
    name: Option<String>,
    /// Such as `1.2.0`.
    version: Option<String>,
    /// The hardware that it is for, such as `esp32`.
    platform: Option<String>,
    /// Tells builds of one version apart.
    build_id: Option<String>,
    /// In the words of people.
    notes: Option<String>,
}

/// Keeps a firmware.
#[utoipa::path(post, path = "/api/v1/firmware", tag = "firmware",
    request_body(content = NewFirmware, content_type = "multipart/form-data"),
    responses((status = 201, body = FirmwareDto), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn upload(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, axum::Json<FirmwareDto>), ApiError> {
    let firmware = keep(&app, request, &caller.actor(), Known::Refused).await?;
    Ok((StatusCode::CREATED, axum::Json(FirmwareDto::new(firmware, 0))))
}

/// What becomes of a firmware that is here already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is refused.
    Refused,
    /// The one that is here is meant, if it is the same to the last byte.
    Meant,
}

/// Keeps the firmware that comes with a request.
pub(crate) async fn keep(
    app: &App,
    request: Request,
    actor: &Actor,
    known: Known,
) -> Result<Firmware, ApiError> {
    let bytes_max = app.settings.firmware_bytes_max;
    refuse_early(&request, bytes_max)?;
    let _place = app.uploads.try_acquire().map_err(|_| {
        let detail = "other files are being uploaded: try again when they are there";
        ApiError::new(StatusCode::CONFLICT, "busy", detail)
    })?;
    let form = Multipart::from_request(request, app).await.map_err(|_| {
        let detail = "send the file as multipart/form-data, in the field \"file\"";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", detail)
    })?;
    let arriving = tokio::time::timeout(ARRIVE_MAX, Form::read(form, bytes_max)).await;
    let form = arriving.map_err(|_| {
        let detail = "the file did not arrive within ten minutes";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid", detail)
    })??;
    let file = form.file.clone();
    let looked = tokio::task::spawn_blocking(move || image::manifest(&file)).await;
    let looked = looked.map_err(|_| refused(&DecodeError("the file cannot be read".to_owned())))?;
    let manifest = looked.map_err(|error| refused(&error))?;
    let label = form.label(manifest.as_ref())?.checked()?;
    if manifest.is_none() {
        image::check_plain(&label.platform, &form.file).map_err(|error| refused(&error))?;
    }
    if let Some(there) = app.store.firmware_labelled(&label).await? {
        let found = app.store.firmware(there).await?.filter(|_| known == Known::Meant);
        if let Some(same) = found.filter(|found| found.digest == secrets::digest(&form.file)) {
            return Ok(same);
        }
        let detail = format!("{} for {} is there already, as {there}", label.version, label.platform);
        return Err(Rejection::conflict("name_taken", format!("{} {detail}", label.name)).into());
    }
    let now = app.now();
    let size_bytes = i64::try_from(form.file.len()).unwrap_or(i64::MAX);
    let mut firmware = Firmware {
        id: random::id(now),
        label,
        digest: motehub_domain::artifact::Digest([0; 32]),
        size_bytes,
        manifest: manifest.map(|manifest| manifest.json),
        notes: form.notes,
        created_by: actor.name().to_owned(),
        created_at: now,
        revision: 1,
    };
    firmware.digest = app.store.put(form.file.into()).await?;
    app.perform(firmware::create(&firmware, actor, now)?).await?;
    Ok(firmware)
}

/// One that is too large is refused at once if the sender waits to be told so, or sends very much.
fn refuse_early(request: &Request, bytes_max: usize) -> Result<(), ApiError> {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: usize = length.and_then(|value| value.parse().ok()).unwrap_or(0);
    let waits = headers.contains_key(header::EXPECT);
    match length > bytes_max + FORM_BYTES_MAX && (waits || length > THROWN_AWAY_MAX) {
        true => Err(too_large(bytes_max)),
        false => Ok(()),
    }
}

fn too_large(bytes_max: usize) -> ApiError {
    let detail = format!("file: a firmware has at most {} MiB here (firmware-max-mib)", bytes_max / MIB);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

fn refused(error: &DecodeError) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "firmware_refused", format!("file: {}", error.0))
}

/// The form as it arrived.
#[derive(Default)]
struct Form {
    file: bytes::Bytes,
    name: Option<String>,
    version: Option<String>,
    platform: Option<String>,
    build: Option<String>,
    notes: String,
}

impl Form {
    async fn read(mut parts: Multipart, bytes_max: usize) -> Result<Self, ApiError> {
        let mut form = Self::default();
        let mut has_file = false;
        while let Some(field) = parts.next_field().await.map_err(broken)? {
            let name = field.name().unwrap_or_default().to_owned();
            if name == "file" {
                let file = taken(field, bytes_max).await?.ok_or_else(|| too_large(bytes_max))?;
                (form.file, has_file) = (file.into(), true);
                continue;
            }
            let words = taken(field, WORDS_BYTES_MAX).await?;
            let words = words.and_then(|words| String::from_utf8(words).ok()).ok_or_else(|| {
                Rejection::invalid(&name, format!("at most {WORDS_BYTES_MAX} bytes of text in UTF-8"))
            })?;
            let given = (!words.trim().is_empty()).then(|| words.clone());
            match name.as_str() {
                "name" => form.name = given,
                "version" => form.version = given,
                "platform" => form.platform = given,
                "build_id" => form.build = given,
                "notes" => form.notes = words,
                _ => {
                    let known = "the fields are file, name, version, platform, build_id and notes";
                    return Err(Rejection::invalid("form", known).into());
                }
            }
        }
        match has_file {
            true => Ok(form),
            false => Err(Rejection::invalid("file", "there is no file in the form").into()),
        }
    }

    /// What the manifest says, which the fields must not contradict, or else what the fields say.
    fn label(&self, manifest: Option<&image::Manifest>) -> Result<Label, ApiError> {
        let Some(manifest) = manifest else {
            let needed = |field: &str, given: &Option<String>| {
                let why = "say it: the file is no zip of Mongoose OS, which would say it itself";
                given.clone().ok_or_else(|| Rejection::invalid(field, why))
            };
            return Ok(Label {
                name: needed("name", &self.name)?,
                version: needed("version", &self.version)?,
                platform: needed("platform", &self.platform)?,
                build: self.build.clone().unwrap_or_default(),
            });
        };
        let fields = [
            ("name", &self.name, &manifest.name),
            ("version", &self.version, &manifest.version),
            ("platform", &self.platform, &manifest.platform),
            ("build_id", &self.build, &manifest.build),
        ];
        for (field, given, said) in fields {
            if given.as_ref().is_some_and(|given| !given.trim().eq_ignore_ascii_case(said.trim())) {
                let why =
                    format!("the manifest in the zip says {said:?}: leave it out, or upload another file");
                return Err(Rejection::invalid(field, why).into());
            }
        }
        let manifest = manifest.clone();
        let (name, version) = (manifest.name, manifest.version);
        Ok(Label { name, version, platform: manifest.platform, build: manifest.build })
    }
}

/// The bytes of a field; `None` if it is too large. Then it is read a little further, so that the sender sees the
/// answer.
async fn taken(mut field: Field<'_>, bytes_max: usize) -> Result<Option<Vec<u8>>, ApiError> {
    let (mut bytes, mut size) = (Vec::new(), 0);
    while size <= THROWN_AWAY_MAX
        && let Some(chunk) = field.chunk().await.map_err(broken)?
    {
        size += chunk.len();
        if size <= bytes_max {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
        }
    }
    Ok((size <= bytes_max).then_some(bytes))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn broken(error: MultipartError) -> ApiError {
    let detail = format!("the form is not complete: {}; send it again", error.body_text());
    ApiError::new(StatusCode::BAD_REQUEST, "invalid", detail)
}
