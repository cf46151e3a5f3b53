//! The light's own HTTP server: `/rpc/<Method>` for the phone that sets it up. Any page may call it, without asking
//! first: that is how the original behaves, and what its app relies on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::call::{Fault, Then};
use super::life::Life;

/// Longest request in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long one may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// What a phone asks.
struct Request {
    path: String,
    body: String,
}

/// Serves until all is stopped; a light without power answers nothing.
pub(super) async fn serve(listener: TcpListener, life: Life, mut stopped: watch::Receiver<bool>) {
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let life = life.clone();
                if life.has_power() {
                    requests.spawn(async move { timeout(REQUEST_MAX, one(stream, &life)).await });
                }
            }
            Some(_) = requests.join_next() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

async fn one(mut stream: TcpStream, life: &Life) -> anyhow::Result<()> {
    let request = read(&mut stream).await?;
    let (status, kind, body, then) = answer(life, &request).await;
    let head = format!(
        "HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    if let Some(then) = then {
        life.happens(then).await;
    }
    Ok(())
}

async fn answer(life: &Life, request: &Request) -> (u16, &'static str, String, Option<Then>) {
    let Some(method) = request.path.strip_prefix("/rpc/") else {
        let page = life.light().page();
        return match (request.path.as_str(), page) {
            ("/" | "/index.html", Ok(page)) => (200, "text/html", page["data"].to_string(), None),
            _ => (404, "text/plain", "Not Found".to_owned(), None),
        };
    };
    let params = match request.body.trim() {
        "" => Value::Null,
        text => match serde_json::from_str(text) {
            Ok(params) => params,
            Err(_) => return failed(&Fault { code: 400, message: "the body is no JSON".to_owned() }),
        },
    };
    let reaction = life.call(method, &params).await;
    match (reaction.answer, reaction.then) {
        (Some(Ok(result)), then) => (200, "application/json", result.to_string(), then),
        (Some(Err(fault)), _) => failed(&fault),
        (None, Some(Then::Fetches { .. }) | None) => {
            failed(&Fault { code: 500, message: "only over the cloud".to_owned() })
        }
        (None, then) => (500, "application/json", String::new(), then),
    }
}

fn failed(fault: &Fault) -> (u16, &'static str, String, Option<Then>) {
    let status = match fault.code {
        403 => 403,
        404 => 404,
        _ => 500,
    };
    (status, "application/json", json!({ "code": fault.code, "message": fault.message }).to_string(), None)
}

async fn read(stream: &mut TcpStream) -> anyhow::Result<Request> {
    let mut said = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let end = said.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&said[..end]).into_owned();
            let lower = head.to_lowercase();
            let length = lower.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if said.len() >= end + 4 + length {
                let path = head.split(' ').nth(1).unwrap_or_default();
                let path = path.split('?').next().unwrap_or_default().to_owned();
                let body = String::from_utf8_lossy(&said[end + 4..end + 4 + length]).into_owned();
                return Ok(Request { path, body });
            }
        }
        anyhow::ensure!(said.len() <= REQUEST_BYTES_MAX, "the request is too long");
        let count = stream.read(&mut chunk).await?;
        anyhow::ensure!(count > 0, "the request ends too early");
        said.extend(&chunk[..count]);
    }
}
