//! How a board is posted its script and asked whether it is there: two requests as bytes, and what the answers mean.
//!
//! The firmware finds `Content-Length: n` in this letter case only, says no length of most of its answers, and answers
//! 200 also where it took nothing; so answers are read to the end of the connection, and their text counts.

use std::net::SocketAddr;

use motehub_domain::report::{self, Crash, Progress, REASON_CHARS_MAX, TRACEBACK_CHARS_MAX};
use motehub_domain::rollout::posted::OUT_OF_MEMORY;

use crate::DecodeError;

/// Largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A script that does nothing: a board that is to stop is posted it, since nothing else makes it stop.
pub const STOPPED: &str = "\
def on_input(topic, msg, retained):
    pass


async def conn_han(client):
    pass


def get_nodes():
    return ''


async def exec(mqtt_client, capabilities, client_id):
    pass
";

/// The request that posts a script.
pub fn execute(board: SocketAddr, source: &[u8]) -> Vec<u8> {
    let length = source.len();
    let head = format!(
        "POST /execute HTTP/1.1\r\nHost: {board}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(source);
    request
}

/// The request that asks whether a board is there.
pub fn ping(board: SocketAddr) -> Vec<u8> {
    format!("GET /ping HTTP/1.1\r\nHost: {board}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// What a board answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The text, without the blanks around it.
    pub text: String,
}

/// Reads an answer, if all of it is there: `is_closed` says that nothing more comes.
///
/// # Errors
/// When it is no answer of HTTP, or too large.
pub fn answer(bytes: &[u8], is_closed: bool) -> Result<Option<Answer>, DecodeError> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(DecodeError(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
    }
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match is_closed {
            true => Err(DecodeError("the answer ends within its head".to_owned())),
            false => Ok(None),
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.ok_or_else(|| DecodeError("the answer is not HTTP".to_owned()))?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = &bytes[end + 4..];
    let is_whole = length.is_some_and(|length| body.len() >= length);
    if !is_whole && !is_closed {
        return Ok(None);
    }
    let body = &body[..length.unwrap_or(body.len()).min(body.len())];
    let text = report::clean(String::from_utf8_lossy(body).trim(), TRACEBACK_CHARS_MAX);
    Ok(Some(Answer { status, text }))
}

/// How posting a script went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// The board answered.
    Answered(Answer),
    /// Nobody takes connections there.
    Refused,
    /// The board ended the connection without an answer.
    Reset,
    /// It did not answer in time.
    TimedOut,
    /// What came is no answer of this firmware; the sentence says what it is.
    Unreadable(String),
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// That is how far the board is with the script.
    Is(Progress),
    /// Not now: it is posted again later; the sentence says why. After too many times it counts as failed.
    Later(String),
}

/// What the way it went means for the script.
pub fn verdict(posted: &Posted) -> Verdict {
    let later = |why: &str| Verdict::Later(why.to_owned());
    match posted {
        Posted::Answered(Answer { status: 200, text }) if text.starts_with("File saved.") => {
            Verdict::Is(Progress::Applying)
        }
        Posted::Answered(Answer { status: 200, text }) if text.starts_with("Received file was empty.") => {
            failed("the board found no script in the request", None)
        }
        Posted::Answered(Answer { status: 413, text }) => {
            let more = if text.is_empty() { String::new() } else { format!(": {}", short(text)) };
            failed(&format!("{OUT_OF_MEMORY}: the board has no room for the script{more}"), None)
        }
        Posted::Answered(Answer { status: 424, text }) => {
            Verdict::Later(format!("the board cannot reach its MQTT broker: {}", short(text)))
        }
        Posted::Answered(Answer { status: 500, text }) => {
            failed(&format!("the script does not load: {}", short(text)), Some(text.clone()))
        }
        Posted::Answered(Answer { status: 404, .. }) => {
            failed("the board knows no POST /execute: it has another firmware", None)
        }
        Posted::Answered(Answer { status, text }) => {
            failed(&format!("the board answered {status}: {}", short(text)), None)
        }
        Posted::Refused => later("the board takes no connections yet"),
        Posted::Reset => later("the board broke the connection off, as it does when it is out of memory"),
        Posted::TimedOut => later("the board did not answer in time"),
        Posted::Unreadable(why) => Verdict::Later(format!("the board cannot be understood: {why}")),
    }
}

/// Whether it may go better at another time, though it failed: memory may be free then, and the board answer.
pub fn may_pass(posted: &Posted) -> bool {
    match posted {
        Posted::Answered(Answer { status, .. }) => *status == 413,
        Posted::Refused | Posted::Reset | Posted::TimedOut | Posted::Unreadable(_) => true,
    }
}

/// What a script that is posted again and again in vain has failed of.
pub fn given_up(posted: &Posted, times: u32) -> Progress {
    let why = match verdict(posted) {
        Verdict::Later(why) => why,
        Verdict::Is(progress) => return progress,
    };
    let cause = if *posted == Posted::Reset { format!("{OUT_OF_MEMORY}, perhaps: ") } else { String::new() };
    let reason = report::clean(&format!("{cause}{why}; posted {times} times"), REASON_CHARS_MAX);
    Progress::Failed(Crash { reason, ..Crash::default() })
}

/// A script that is larger than all the memory of the board.
pub fn too_large(script_bytes: u64, memory_bytes: u64) -> Progress {
    let reason = format!(
        "{OUT_OF_MEMORY}: the script has {script_bytes} bytes and the board {memory_bytes} in all; it was not sent"
    );
    Progress::Failed(Crash { reason, ..Crash::default() })
}

fn failed(why: &str, traceback: Option<String>) -> Verdict {
    let reason = report::clean(why, REASON_CHARS_MAX);
    Verdict::Is(Progress::Failed(Crash { reason, traceback, ..Crash::default() }))
}

fn short(text: &str) -> &str {
    text.lines().last().map_or("", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_written_as_the_firmware_finds_it() {
        let request = execute("127.0.1.1:80".parse().expect("an address"), b"a = 1\n");
        let text = String::from_utf8(request).expect("text");
        assert!(text.starts_with("POST /execute HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 6\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\na = 1\n"), "{text}");
    }

    #[test]
    fn an_answer_is_read_to_its_end_or_to_that_of_the_connection() {
        let saved = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nFile saved.\r\n";
        assert_eq!(answer(&saved[..20], false), Ok(None));
        assert_eq!(answer(saved, false), Ok(None), "no length: more may come");
        let all = Answer { status: 200, text: "File saved.".to_owned() };
        assert_eq!(answer(saved, true), Ok(Some(all)));
        let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot found";
        assert_eq!(answer(missing, false).map(|answer| answer.map(|answer| answer.status)), Ok(Some(404)));
        let bad: [&[u8]; 3] = [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n"];
        for bytes in bad {
            assert!(answer(bytes, true).is_err(), "{bytes:?}");
        }
        assert!(answer(&vec![b'a'; ANSWER_BYTES_MAX + 1], false).is_err());
    }

    #[test]
    fn every_way_it_can_go_has_its_meaning() {
        let answered = |status, text: &str| Posted::Answered(Answer { status, text: text.to_owned() });
        let failed = |posted| match verdict(&posted) {
            Verdict::Is(Progress::Failed(crash)) => crash.reason,
            other => format!("{other:?}"),
        };
        assert_eq!(verdict(&answered(200, "File saved.")), Verdict::Is(Progress::Applying));
        assert!(failed(answered(200, "Received file was empty.")).contains("no script"));
        assert!(failed(answered(200, "Ok.")).contains("200"));
        assert!(failed(answered(413, "")).starts_with(OUT_OF_MEMORY));
        assert!(failed(answered(500, "invalid syntax")).contains("invalid syntax"));
        assert!(failed(answered(404, "Not found")).contains("another firmware"));
        let later = [answered(424, "ECONNREFUSED"), Posted::Refused, Posted::Reset, Posted::TimedOut];
        for posted in later {
            assert!(matches!(verdict(&posted), Verdict::Later(_)), "{posted:?}");
            let Progress::Failed(crash) = given_up(&posted, 5) else { panic!("{posted:?}") };
            assert!(crash.reason.contains("5 times"));
            assert_eq!(crash.reason.starts_with(OUT_OF_MEMORY), posted == Posted::Reset);
        }
    }
}
