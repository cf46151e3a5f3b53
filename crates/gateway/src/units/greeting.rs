//! The line with which a unit begins a connection, if it does: it is known by it wherever it is.

use std::time::Duration;

use motehub_domain::line::TEXT_BYTES_MAX;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a greeting may take.
const GREETING_MAX: Duration = Duration::from_secs(5);

/// Reads a greeting and nothing behind it.
///
/// # Errors
/// With a sentence, if none comes.
pub(super) async fn read(stream: &mut TcpStream) -> Result<String, String> {
    let read = async {
        let mut said = Vec::new();
        // A byte at a time: what follows belongs to whoever serves the connection.
        while said.len() <= TEXT_BYTES_MAX {
            match stream.read_u8().await {
                Ok(b'\r' | b'\n') if said.is_empty() => {}
                Ok(b'\r' | b'\n') => return String::from_utf8(said).map_err(|_| "it is no text".to_owned()),
                Ok(byte) => said.push(byte),
                Err(_) => return Err("the connection ended".to_owned()),
            }
        }
        Err(format!("it is longer than {TEXT_BYTES_MAX} bytes"))
    };
    let read = timeout(GREETING_MAX, read).await.unwrap_or_else(|_| Err("none came in time".to_owned()));
    read.map_err(|why| format!("the greeting of the unit was waited for: {why}"))
}
