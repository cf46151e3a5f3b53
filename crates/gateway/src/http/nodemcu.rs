//! The HTTP rules of boards with the IoT Executor firmware: poll and download.
//!
//! Such a board ignores the status, looks for the word `UPDATE` anywhere in the answer to a poll, and compiles
//! whatever the download gives it. So a poll never gets an error body, and a download that cannot be served is
//! dropped without an answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use motehub_domain::message::Uplink;
use motehub_protocol::Identity;

use super::Drop;
use super::connection::Receipt;
use crate::hub::{Arrival, Credentials, Hub, Knock, Transport, UplinkError};

/// Longest chip id that is looked at: the largest 32-bit number has ten digits.
const CHIP_ID_DIGITS_MAX: usize = 10;

/// The routes, with and without the secret path prefix `/d/<credential>`. Everything below `/d` and `/uploads` is
/// taken, so that a path that is only nearly right is not answered with a page of the dashboard.
pub fn routes(hub: Arc<dyn Hub>) -> Router {
    let paths = ["/node.php", "/d", "/d/", "/d/{*rest}", "/uploads", "/uploads/", "/uploads/{*rest}"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(board))).with_state(hub)
}

/// What a board comes for. Credentials and chip ids are plain, so the path is read as it was sent.
enum Errand<'a> {
    Poll { secret: Option<&'a str> },
    Download { secret: Option<&'a str>, chip_id: &'a str },
}

impl<'a> Errand<'a> {
    fn read(path: &'a str) -> Option<Self> {
        let (secret, rest) = match path.strip_prefix("/d/") {
            Some(behind) => {
                let (secret, rest) = behind.split_once('/')?;
                (Some(secret), rest)
            }
            None => (None, path.strip_prefix('/')?),
        };
        if rest == "node.php" {
            return Some(Self::Poll { secret });
        }
        let chip_id = rest.strip_prefix("uploads/")?.strip_suffix("/boot.lua")?;
        Some(Self::Download { secret, chip_id })
    }
}

async fn board(
    State(hub): State<Arc<dyn Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(receipt): Extension<Receipt>,
    method: Method,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    match Errand::read(uri.path()) {
        Some(Errand::Poll { secret }) => poll(&*hub, peer, &method, secret.map(str::to_owned), query).await,
        Some(Errand::Download { secret, chip_id }) if method == Method::GET => {
            download(&*hub, peer, &receipt, secret.map(str::to_owned), chip_id.to_owned()).await
        }
        None if uri.path().ends_with("/node.php") => {
            refused("malformed");
            plain(StatusCode::OK, Bytes::new())
        }
        Some(Errand::Download { .. }) | None => {
            refused("malformed");
            dropped()
        }
    }
}

/// What a poll asks for: only the presence of the key counts.
enum Question {
    Update,
    List,
    Alive,
}

async fn poll(
    hub: &dyn Hub,
    peer: SocketAddr,
    method: &Method,
    secret: Option<String>,
    query: &str,
) -> Response {
    if method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
    }
    let answer = match asked(query) {
        Some((chip_id, question)) => answer(hub, peer, secret, chip_id, question).await.unwrap_or_default(),
        None => {
            refused("malformed");
            ""
        }
    };
    plain(StatusCode::OK, Bytes::from_static(answer.as_bytes()))
}

async fn answer(
    hub: &dyn Hub,
    peer: SocketAddr,
    secret: Option<String>,
    chip_id: String,
    question: Question,
) -> Option<&'static str> {
    let board = admitted(hub, peer, secret, chip_id).await?;
    let uplink = match question {
        Question::Update => Uplink::Polled,
        Question::List | Question::Alive => Uplink::Alive,
    };
    let arrival = Arrival { device: board.device, uplink, mark: None, again: false };
    if let Some(error) = hub.uplink(vec![arrival]).await.into_iter().find_map(Result::err) {
        tracing::warn!(device = %board.device, %error, "a poll could not be recorded");
        return None;
    }
    let waits = reported(&board, hub.pending(board.device).await)?.is_some();
    Some(match question {
        Question::Update | Question::Alive if waits => "UPDATE",
        Question::List if waits => "boot.lua\n",
        Question::Update | Question::Alive | Question::List => "",
    })
}

async fn download(
    hub: &dyn Hub,
    peer: SocketAddr,
    receipt: &Receipt,
    secret: Option<String>,
    chip_id: String,
) -> Response {
    match program(hub, peer, receipt, secret, chip_id).await {
        Some(bytes) => plain(StatusCode::OK, bytes),
        None => dropped(),
    }
}

/// An error page would be taken for a program.
fn dropped() -> Response {
    let mut response = StatusCode::NOT_FOUND.into_response();
    response.extensions_mut().insert(Drop);
    response
}

async fn program(
    hub: &dyn Hub,
    peer: SocketAddr,
    receipt: &Receipt,
    secret: Option<String>,
    chip_id: String,
) -> Option<Bytes> {
    let board = admitted(hub, peer, secret, chip_id).await?;
    let offer = reported(&board, hub.current(board.device).await)?;
    let Some(offer) = offer else {
        refused("nothing_to_download");
        return None;
    };
    let bytes = reported(&board, hub.artifact(offer.digest).await)??;
    receipt.gives(board.device, offer.digest);
    Some(bytes)
}

async fn admitted(
    hub: &dyn Hub,
    address: SocketAddr,
    secret: Option<String>,
    chip_id: String,
) -> Option<Identity> {
    if chip_id.is_empty()
        || chip_id.len() > CHIP_ID_DIGITS_MAX
        || !chip_id.bytes().all(|b| b.is_ascii_digit())
    {
        refused("malformed");
        return None;
    }
    let credentials = Credentials::Nodemcu { chip_id, secret };
    match hub.authenticate(Knock { address, transport: Transport::Http, credentials }).await {
        Ok(client) => client.device,
        Err(_) => {
            refused("not_admitted");
            None
        }
    }
}

fn reported<T>(board: &Identity, outcome: Result<T, UplinkError>) -> Option<T> {
    outcome
        .inspect_err(|error| tracing::warn!(device = %board.device, %error, "a board could not be answered"))
        .ok()
}

fn refused(reason: &'static str) {
    metrics::counter!("motehub_http_device_refused_total", "reason" => reason).increment(1);
}

/// Reads `id=N&update`, where `update` may have a value or none and the order does not matter.
fn asked(query: &str) -> Option<(String, Question)> {
    let mut chip_id = None;
    let mut question = None;
    for pair in query.split('&') {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("id", id) => chip_id = Some(id.to_owned()),
            ("update", _) => question = Some(Question::Update),
            ("list", _) if question.is_none() => question = Some(Question::List),
            ("alive", _) if question.is_none() => question = Some(Question::Alive),
            _ => {}
        }
    }
    Some((chip_id?, question?))
}

/// The board reads until the connection closes; `Content-Length` comes from the body's known size.
fn plain(status: StatusCode, body: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONNECTION, "close")];
    (status, headers, Body::from(body)).into_response()
}
