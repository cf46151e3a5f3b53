//! One request to a board: connect, write, read to the end, all in one span of time.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use motehub_protocol::esp_firmware::post::{ANSWER_BYTES_MAX, Answer, Posted, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How much is read at once.
const READ_BYTES: usize = 2 * 1024;

/// Sends a request to a board and reads its answer.
pub(super) async fn exchange(board: SocketAddr, request: &[u8], within: Duration) -> Posted {
    match timeout(within, talk(board, request)).await {
        Ok(posted) => posted,
        Err(_) => Posted::TimedOut,
    }
}

async fn talk(board: SocketAddr, request: &[u8]) -> Posted {
    let mut stream = match TcpStream::connect(board).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Posted::Refused,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Posted::Reset,
        Err(_) => return Posted::TimedOut,
    };
    // A board that answers before it took all of the request has something to say.
    let written = stream.write_all(request).await;
    let mut heard = Vec::with_capacity(READ_BYTES);
    loop {
        let mut part = [0; READ_BYTES];
        let is_closed = match stream.read(&mut part).await {
            Ok(0) => true,
            Ok(length) => {
                heard.extend_from_slice(&part[..length.min(ANSWER_BYTES_MAX + 1 - heard.len())]);
                false
            }
            Err(_) if heard.is_empty() => return Posted::Reset,
            Err(_) => true,
        };
        if is_closed && heard.is_empty() {
            return Posted::Reset;
        }
        match answer(&heard, is_closed) {
            Ok(Some(answer)) => return finished(answer, written.is_ok()),
            Ok(None) => {}
            Err(error) => return Posted::Unreadable(error.to_string()),
        }
    }
}

/// A script that did not get there whole was not taken, whatever is said of it.
fn finished(answer: Answer, is_written: bool) -> Posted {
    match answer.status {
        200 if !is_written => Posted::Reset,
        _ => Posted::Answered(answer),
    }
}
