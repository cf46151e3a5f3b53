//! HTTP/1.1 over a bare socket: as a board asks, and as a person asks.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Outcome;
use crate::wait::PATIENCE;

/// What a board was told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An answer; whatever the rules of the firmware find wrong with it stands beside it.
    Status { status: u16, body: Vec<u8>, fault: Option<String> },
    /// The connection ended without a byte.
    Dropped,
    /// The board aborted it.
    Cut,
}

/// What the board does with the connection in the end.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    /// It closes its side when it has read the server's end.
    Close,
    /// It keeps its side open.
    Hold,
    /// It aborts after so many bytes, counted from the end of the answer if negative.
    CutAfter(i64),
}

/// Asks as the NodeMCU firmware does, on a connection of its own. `\xNN` in the text is a byte.
pub(crate) fn device(
    address: SocketAddr,
    text: &str,
    ending: Ending,
) -> Result<(Answer, Option<TcpStream>), String> {
    let (method, path) = text.split_once(' ').ok_or("a method and a path")?;
    let mut request = format!("{method} ").into_bytes();
    let mut pieces = path.split("\\x");
    request.extend(pieces.next().unwrap_or_default().bytes());
    for piece in pieces {
        request.push(u8::from_str_radix(&piece[..2], 16).map_err(|_| "\\x has two hexadecimal digits")?);
        request.extend(piece[2..].bytes());
    }
    let host = format!(" HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nUser-Agent: ESP8266\r\n\r\n");
    request.extend(host.bytes());
    let mut stream = connect(address);
    stream.write_all(&request).map_err(|error| format!("the request could not be sent: {error}"))?;
    let mut said = Vec::new();
    if let Ending::CutAfter(bytes) = ending {
        cut(stream, bytes, &mut said)?;
        return Ok((Answer::Cut, None));
    }
    let answer = match stream.read_to_end(&mut said) {
        Ok(_) if said.is_empty() => Answer::Dropped,
        Err(error) if error.kind() == ErrorKind::ConnectionReset && said.is_empty() => Answer::Dropped,
        Ok(_) => parse(&said, method == "HEAD")?,
        Err(error) => return Err(format!("no end after {said:?}: {error}")),
    };
    Ok((answer, matches!(ending, Ending::Hold).then_some(stream)))
}

/// Reads so many bytes of the answer, counted from its end if negative, then aborts the connection.
fn cut(mut stream: TcpStream, bytes: i64, said: &mut Vec<u8>) -> Outcome {
    let mut wanted = usize::try_from(bytes).ok();
    let mut next = [0u8; 1];
    while wanted.is_none_or(|wanted| said.len() < wanted) {
        stream.read_exact(&mut next).map_err(|error| format!("ended before the cut: {error}"))?;
        said.push(next[0]);
        if wanted.is_none() && said.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(said).to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: i64 = length.and_then(|text| text.parse().ok()).ok_or("no length")?;
            wanted = usize::try_from(said.len() as i64 + length + bytes).ok();
        }
    }
    abort(&stream);
    Ok(())
}

/// The connection ends with a reset instead of a close.
pub(crate) fn abort(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

fn parse(said: &[u8], is_head: bool) -> Result<Answer, String> {
    let text = String::from_utf8_lossy(said);
    let (head, _) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no head in {text:?}"))?;
    let body = said[head.len() + 4..].to_vec();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| format!("no status in {head:?}"))?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let value = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let is_titled =
        |name: &str| name.split('-').all(|word| !word.starts_with(|c: char| c.is_ascii_lowercase()));
    let fault = if let Some((name, _)) = headers.iter().find(|(name, _)| !is_titled(name)) {
        Some(format!("the header {name} begins with a small letter"))
    } else if value("Transfer-Encoding").is_some() || value("Content-Encoding").is_some() {
        Some("it is chunked or compressed".to_owned())
    } else if value("Content-Length") != Some(&body.len().to_string()) && !is_head {
        Some(format!("Content-Length is {:?} of {}", value("Content-Length"), body.len()))
    } else if value("Connection") != Some("close") {
        Some("there is no Connection: close".to_owned())
    } else {
        body.contains(&0).then(|| "there is a NUL in it".to_owned())
    };
    Ok(Answer::Status { status, body, fault: fault.map(|fault| format!("{fault}: {head:?}")) })
}

impl Answer {
    /// Compares with `200 "UPDATE"`, `dropped` or `cut`.
    pub(crate) fn is(self, expected: &str) -> Outcome {
        let got = match &self {
            Self::Status { fault: Some(fault), .. } => return Err(fault.clone()),
            Self::Status { status, body, .. } => {
                format!("{status} {}", serde_json::Value::from(String::from_utf8_lossy(body)))
            }
            Self::Dropped => "dropped".to_owned(),
            Self::Cut => "cut".to_owned(),
        };
        if got == expected { Ok(()) } else { Err(format!("expected {expected}, got {got:.300}")) }
    }
}

/// Asks the API; returns the status and the body.
pub(crate) fn person(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    (kind, body): (&str, &str),
) -> (u16, String) {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(token) = token {
        write!(text, "Authorization: Bearer {token}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(text, "Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()).unwrap();
    }
    let mut stream = connect(address);
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A connection that gives up when it is told nothing for too long.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
