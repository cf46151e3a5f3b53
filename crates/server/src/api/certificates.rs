//! Client certificates of devices: issued by the hub's own authority, listed, revoked.

use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use motehub_domain::certificate::{self, Certificate};
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::devices::{disconnect, load};
use super::extract::{id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::{secrets, tls};

/// What a certificate is issued for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateWanted {
    /// A request for a certificate (PKCS #10, PEM), if the device made its key itself. It has to be signed with that
    /// key; whom it names does not matter. Left out, the hub makes the key.
    csr: Option<String>,
}

/// A new certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewCertificate {
    /// SHA-256 of the certificate.
    fingerprint: String,
    /// The certificate, PEM.
    certificate: String,
    /// Its key, PEM, which is shown only now; null if the device has it.
    private_key: Option<String>,
    /// The authority by which the device knows the hub, PEM.
    authority: String,
    expires_at: String,
}

/// A certificate in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateEntry {
    /// SHA-256 of the certificate.
    fingerprint: String,
    issued_at: String,
    expires_at: String,
}

/// The certificates of a device, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateList {
    items: Vec<CertificateEntry>,
}

/// Issues a certificate with which a device proves who it is in TLS, beside those it has. The body may be left out, or
/// be the request for the certificate itself, in PEM.
#[utoipa::path(post, path = "/api/v1/devices/{id}/certificate", tag = "certificates",
    params(("id" = String, Path)), request_body = Option<CertificateWanted>,
    responses((status = 201, body = NewCertificate), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn issue(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, axum::Json<NewCertificate>), ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let own = request_in(&body)?.map(|pem| tls::requested_key(&pem)).transpose()?;
    let known = app.store.certificates(device.id).await?.len();
    let made = tls::issue(&app.settings, device.id, own.as_ref(), app.now()).map_err(|e| unusable(&*e))?;
    let certificate = Certificate {
        digest: secrets::digest(&made.der),
        device: device.id,
        issued_at: app.now(),
        expires_at: made.expires_at,
    };
    let answer = NewCertificate {
        fingerprint: certificate.digest.to_string(),
        certificate: made.certificate,
        private_key: made.private_key,
        authority: tls::authority_pem(&app.settings).map_err(|e| unusable(&e))?,
        expires_at: rfc3339(made.expires_at),
    };
    app.perform(certificate::issue(&device, certificate, known, &caller.actor())?).await?;
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

/// The request for a certificate in a body, PEM.
fn request_in(body: &[u8]) -> Result<Option<String>, ApiError> {
    let invalid = |why: String| ApiError::from(Rejection::invalid("csr", why));
    let text = std::str::from_utf8(body).map_err(|_| invalid("it is no text".to_owned()))?.trim();
    match text.as_bytes() {
        [] => Ok(None),
        [b'-', ..] => Ok(Some(text.to_owned())),
        _ => {
            let wanted = serde_json::from_str::<CertificateWanted>(text);
            wanted.map(|wanted| wanted.csr).map_err(|error| invalid(error.to_string()))
        }
    }
}

fn unusable(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "the authority of this hub cannot be used");
    let detail =
        "the authority of this hub cannot be used: see its log and the folder tls in the data folder";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
}

/// The certificate of the hub's own authority, by which devices know the hub, PEM.
#[utoipa::path(get, path = "/api/v1/authority", tag = "certificates",
    responses((status = 200, body = String, content_type = "application/x-pem-file")))]
pub(crate) async fn authority(State(app): State<App>) -> Result<Response, ApiError> {
    let pem = tls::authority_pem(&app.settings).map_err(|e| unusable(&e))?;
    let file = "attachment; filename=\"authority.pem\"";
    let headers = [(header::CONTENT_TYPE, "application/x-pem-file"), (header::CONTENT_DISPOSITION, file)];
    Ok((headers, pem).into_response())
}

/// The certificates of a device.
#[utoipa::path(get, path = "/api/v1/devices/{id}/certificates", tag = "certificates",
    params(("id" = String, Path)),
    responses((status = 200, body = CertificateList), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<CertificateList>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let entry = |known: Certificate| CertificateEntry {
        fingerprint: known.digest.to_string(),
        issued_at: rfc3339(known.issued_at),
        expires_at: rfc3339(known.expires_at),
    };
    let items = app.store.certificates(device.id).await?.into_iter().map(entry).collect();
    Ok(axum::Json(CertificateList { items }))
}

/// Revokes a certificate and disconnects the device.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/certificates/{fingerprint}", tag = "certificates",
    params(("id" = String, Path), ("fingerprint" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, fingerprint)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let known = app.store.certificates(device.id).await?;
    let found = known.iter().find(|known| known.digest.to_string() == fingerprint);
    let missing = || ApiError::not_found("certificate", fingerprint.chars().take(64).collect::<String>());
    let found = found.ok_or_else(missing)?;
    app.perform(certificate::revoke(&device, found, &caller.actor())).await?;
    disconnect(&app, device.id);
    Ok(StatusCode::NO_CONTENT)
}
