//! The HTTP client of the firmware, with its habits: it collects whatever arrives until the peer closes or
//! ten seconds are over, takes a broken answer for a whole one, and treats everything as a C string.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::link::{self, Link, Wire};

/// How long one request may take; what has arrived by then is taken as the answer.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How many redirects are followed.
const REDIRECTS_MAX: usize = 20;
/// Longest host name.
const HOST_MAX_BYTES: usize = 127;
const READ_BYTES: usize = 1460;

/// A request as the Lua module gets it.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Header lines, each with its CR LF.
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Option<Vec<u8>>,
}

/// What a request comes to.
pub(crate) enum Outcome {
    /// A status line was found.
    Response { status: i32, headers: Vec<(String, Vec<u8>)>, body: Vec<u8> },
    /// Everything else; the callback gets -1.
    NoAnswer,
    /// The power went while the body arrived.
    PowerCut,
}

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: Vec<u8>,
}

impl Target {
    /// Parses `http://host[:port][/path]`. `None` is an address for which the firmware never calls back;
    /// `https` is one, because the image has no TLS.
    pub(crate) fn parse(url: &[u8]) -> Option<Self> {
        let rest = url.strip_prefix(b"http://")?;
        let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let authority = std::str::from_utf8(authority).ok()?;
        let (host, port) = match authority.split_once(':') {
            None => (authority, 80),
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        };
        let path = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
        (host.len() <= HOST_MAX_BYTES).then(|| Self { host: host.to_owned(), port, path })
    }

    /// Where a `Location` leads from here.
    fn redirected(&self, location: &[u8]) -> Option<Self> {
        if location.starts_with(b"http://") || location.starts_with(b"https://") {
            return Self::parse(location);
        }
        let folder = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let path = match location.first() {
            Some(b'/') => location.to_vec(),
            _ => [&self.path[..folder], location].concat(),
        };
        Some(Self { path, ..self.clone() })
    }

    fn is_download(&self) -> bool {
        let path = self.path.split(|byte| *byte == b'?').next().unwrap_or_default();
        path.ends_with(b".lua") || path.ends_with(b".lc")
    }
}

/// Performs a request, redirects included.
pub(crate) async fn fetch(
    link: &Rc<Link>,
    mut target: Target,
    request: &Request,
    max_bytes: usize,
) -> Outcome {
    for _ in 0..=REDIRECTS_MAX {
        let Some(collected) = exchange(link, &target, request, max_bytes).await else {
            return Outcome::PowerCut;
        };
        match read_response(&collected) {
            None => return Outcome::NoAnswer,
            Some(Answer::Redirect(location)) => match target.redirected(&location) {
                Some(next) => target = next,
                None => return Outcome::NoAnswer,
            },
            Some(Answer::Final { status, headers, body }) => {
                return Outcome::Response { status, headers, body };
            }
        }
    }
    Outcome::NoAnswer
}

/// One request and the bytes that came back, however it ended; `None` when the power was cut.
async fn exchange(link: &Rc<Link>, target: &Target, request: &Request, max_bytes: usize) -> Option<Vec<u8>> {
    let deadline = Instant::now() + REQUEST_MAX;
    let Ok(Ok(wire)) = timeout_at(deadline, link::connect(link, &target.host, target.port)).await else {
        return Some(Vec::new());
    };
    let mut collected = Vec::new();
    let cut = if target.is_download() { link.cut_at.get() } else { None };
    let talk = async {
        wire.write_all(&request_bytes(target, request)).await?;
        collect(&wire, &mut collected, max_bytes, cut).await
    };
    // An error or the deadline is not told apart from the end of the answer.
    let _ = timeout_at(deadline, talk).await;
    if cut.is_some() {
        link.cut_at.set(None);
        return None;
    }
    wire.close().await;
    Some(collected)
}

/// Reads until the peer closes, or up to the byte at which the power goes.
async fn collect(wire: &Wire, collected: &mut Vec<u8>, max_bytes: usize, cut: Option<u64>) -> io::Result<()> {
    let mut buffer = [0; READ_BYTES];
    loop {
        let room = match (cut, head_end(collected)) {
            (None, _) => READ_BYTES,
            (Some(_), None) => 1,
            (Some(cut), Some(head)) => (head as u64 + cut).saturating_sub(collected.len() as u64) as usize,
        };
        if room == 0 {
            return Ok(());
        }
        let count = wire.read(&mut buffer[..room.min(READ_BYTES)]).await?;
        if count == 0 {
            return Ok(());
        }
        // The firmware counts a closing NUL.
        if collected.len() + count + 1 > max_bytes {
            collected.clear();
            return Ok(());
        }
        collected.extend_from_slice(&buffer[..count]);
    }
}

fn request_bytes(target: &Target, request: &Request) -> Vec<u8> {
    let has = |name: &str| {
        let (upper, lower) = (name.as_bytes(), name.to_ascii_lowercase());
        find(&request.headers, upper).is_some() || find(&request.headers, lower.as_bytes()).is_some()
    };
    let mut bytes = [request.method.as_bytes(), b" ", &target.path, b" HTTP/1.1\r\n"].concat();
    if !has("Host:") {
        let port = if target.port == 80 { String::new() } else { format!(":{}", target.port) };
        bytes.extend_from_slice(format!("Host: {}{port}\r\n", target.host).as_bytes());
    }
    bytes.extend_from_slice(b"Connection: close\r\n");
    bytes.extend_from_slice(&request.headers);
    if !has("User-Agent:") {
        bytes.extend_from_slice(b"User-Agent: ESP8266\r\n");
    }
    if let Some(body) = &request.body {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(request.body.as_deref().unwrap_or_default());
    bytes
}

enum Answer {
    Redirect(Vec<u8>),
    Final { status: i32, headers: Vec<(String, Vec<u8>)>, body: Vec<u8> },
}

/// Makes sense of collected bytes the way the firmware does; `None` is -1.
fn read_response(collected: &[u8]) -> Option<Answer> {
    let text = collected.split(|byte| *byte == 0).next().unwrap_or_default();
    let rest = text.strip_prefix(b"HTTP/1.0 ").or_else(|| text.strip_prefix(b"HTTP/1.1 "))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(6);
    let status = digits.fold(0i32, |status, digit| status * 10 + i32::from(digit - b'0'));
    let location = find(text, b"Location:").or_else(|| find(text, b"location:"));
    if let (300..=308, Some(start)) = (status, location) {
        let value = text[start + b"location:".len()..].trim_ascii_start();
        let end = find(value, b"\r\n")?;
        return Some(Answer::Redirect(value[..end].to_vec()));
    }
    let head = head_end(text);
    let body = &text[head.unwrap_or(text.len())..];
    let is_chunked = find(text, b"Transfer-Encoding: chunked").is_some();
    let body = if is_chunked { unchunk(body) } else { body.to_vec() };
    Some(Answer::Final { status, headers: headers(&text[..head.unwrap_or(text.len())]), body })
}

fn headers(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let pairs = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    });
    pairs.collect()
}

/// Joins chunks until one has no size or reaches beyond the end.
fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count().min(7);
        let size =
            std::str::from_utf8(&rest[..digits]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let (Some(size @ 1..), Some(line)) = (size, find(rest, b"\r\n")) else { return body };
        let start = line + 2;
        let end = (start + size).min(rest.len());
        body.extend_from_slice(&rest[start..end]);
        rest = &rest[(end + 2).min(rest.len())..];
    }
}

/// Where the body starts.
fn head_end(text: &[u8]) -> Option<usize> {
    find(text, b"\r\n\r\n").map(|at| at + 4)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The path for a fact: whatever follows `/d/` is a secret.
pub(crate) fn masked(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path).into_owned();
    match path.split_once("/d/") {
        None => path,
        Some((before, after)) => {
            let rest = after.find('/').map_or("", |slash| &after[slash..]);
            format!("{before}/d/***{rest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: &str) -> String {
        match read_response(response.as_bytes()) {
            None => "-1".into(),
            Some(Answer::Redirect(location)) => format!("to {}", String::from_utf8_lossy(&location)),
            Some(Answer::Final { status, body, .. }) => {
                format!("{status} {}", String::from_utf8_lossy(&body))
            }
        }
    }

    #[test]
    fn responses_are_read_as_the_firmware_reads_them() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nUPDATE", "200 UPDATE"),
            ("HTTP/1.0 404 Not Found\r\n\r\n<html>", "404 <html>"),
            ("HTTP/2 200\r\n\r\nx", "-1"),
            ("", "-1"),
            ("garbage", "-1"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut sho", "200 cut sho"),
            ("HTTP/1.1 200 OK\r\nContent-Le", "200 "),
            ("HTTP/1.1 200 OK\r\n\r\nab\0cd", "200 ab"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
                "200 abcde",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                "200 3\r\nabc\r\n0\r\n\r\n",
            ),
            ("HTTP/1.1 302 Found\r\nLocation: /new\r\n\r\n", "to /new"),
            ("HTTP/1.1 200 OK\r\nLocation: /new\r\n\r\nstay", "200 stay"),
        ];
        for (response, expected) in cases {
            assert_eq!(answer(response), expected, "{response:?}");
        }
    }

    #[test]
    fn the_request_has_the_bytes_of_the_firmware() {
        let request = Request { method: "GET".into(), headers: Vec::new(), body: None };
        let target = Target::parse(b"http://10.0.0.5:8080/node.php?id=10801015&update").unwrap();
        let expected = "GET /node.php?id=10801015&update HTTP/1.1\r\nHost: 10.0.0.5:8080\r\nConnection: close\r\n\
                        User-Agent: ESP8266\r\n\r\n";
        assert_eq!(String::from_utf8(request_bytes(&target, &request)).unwrap(), expected);
        let target = Target::parse(b"http://hub").unwrap();
        let expected = "GET / HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nUser-Agent: ESP8266\r\n\r\n";
        assert_eq!(String::from_utf8(request_bytes(&target, &request)).unwrap(), expected);
    }

    #[test]
    fn addresses_without_an_answer() {
        for url in ["https://hub/", "hub/x", "http://hub:0/", "http://hub:http/", ""] {
            assert_eq!(Target::parse(url.as_bytes()), None, "{url}");
        }
    }

    #[test]
    fn redirects_are_absolute_or_relative() {
        let target = Target::parse(b"http://hub:81/a/b").unwrap();
        for (location, host, path) in [("http://x/y", "x", "/y"), ("/y", "hub", "/y"), ("y", "hub", "/a/y")] {
            let next = target.redirected(location.as_bytes()).unwrap();
            assert_eq!((next.host.as_str(), next.path.as_slice()), (host, path.as_bytes()));
        }
        assert_eq!(target.redirected(b"https://x/y"), None);
    }

    #[test]
    fn secrets_in_paths_are_masked() {
        assert_eq!(masked(b"/hub/d/secret/node.php?id=1"), "/hub/d/***/node.php?id=1");
        assert_eq!(masked(b"/node.php?id=1"), "/node.php?id=1");
    }
}
