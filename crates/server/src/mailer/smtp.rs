//! One conversation of SMTP (RFC 5321): greet, encrypt, log in, hand over one mail.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::webhook::Answer;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authorities::machine_authorities;
use crate::settings::{SmtpSecurity, SmtpSettings};

/// How long each answer may take.
const STEP_MAX: Duration = Duration::from_secs(20);
/// Longest line of an answer in bytes, and most lines.
const LINE_BYTES_MAX: u64 = 2_000;
const LINES_MAX: usize = 100;

/// Hands a mail over; says what the server answered.
pub(super) fn send(settings: &SmtpSettings, to: &[String], message: &str) -> Answer {
    match converse(settings, to, message) {
        Ok(reply) => Answer::new(Some(reply.code), &reply.text),
        Err(End::Refused(reply)) => Answer::new(Some(reply.code), &reply.text),
        Err(End::Broken(why)) => Answer::new(None, &why),
    }
}

/// What a server answered.
#[derive(Debug)]
struct Reply {
    code: u16,
    text: String,
}

/// Why a conversation ended early.
#[derive(Debug)]
enum End {
    /// The server said so.
    Refused(Reply),
    /// It does not speak, or not as it must.
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it did not answer in time".to_owned(),
            _ => error.to_string(),
        })
    }
}

fn converse(settings: &SmtpSettings, to: &[String], message: &str) -> Result<Reply, End> {
    let stream = connect(settings)?;
    let mut line = match settings.security {
        SmtpSecurity::Tls => Line::over(encrypted(stream, &settings.host)?),
        SmtpSecurity::StartTls => {
            let mut plain = Line::over(stream.try_clone()?);
            plain.expect(2)?;
            if !plain.greet()?.contains("STARTTLS") {
                return Err(End::Broken("it offers no STARTTLS, so nothing was sent".to_owned()));
            }
            plain.say("STARTTLS", 2)?;
            // What came unasked before the encryption is not from the server, maybe: it goes with this line.
            Line::over(encrypted(stream, &settings.host)?)
        }
        SmtpSecurity::None => Line::over(stream),
    };
    if settings.security != SmtpSecurity::StartTls {
        line.expect(2)?;
    }
    let offered = line.greet()?;
    if let Some((user, password)) = &settings.login {
        line.log_in(&offered, user, password)?;
    }
    line.say(&format!("MAIL FROM:<{}>", settings.from), 2)?;
    for address in to {
        line.say(&format!("RCPT TO:<{address}>"), 2)?;
    }
    line.say("DATA", 3)?;
    line.write(message)?;
    let taken = line.say(".", 2)?;
    // Whether it says goodbye changes nothing.
    let _ = line.write("QUIT\r\n");
    Ok(taken)
}

fn connect(settings: &SmtpSettings) -> Result<TcpStream, End> {
    let mut last = End::Broken("its name has no address".to_owned());
    for address in (settings.host.as_str(), settings.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP_MAX) {
            Ok(stream) => {
                stream.set_read_timeout(Some(STEP_MAX))?;
                stream.set_write_timeout(Some(STEP_MAX))?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn encrypted(stream: TcpStream, host: &str) -> Result<StreamOwned<ClientConnection, TcpStream>, End> {
    let broken = |error: &dyn std::fmt::Display| End::Broken(format!("TLS: {error}"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(machine_authorities());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| broken(&e))?.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|e| broken(&e))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| broken(&e))?;
    Ok(StreamOwned::new(connection, stream))
}

/// Both directions of a connection.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What is said line by line.
struct Line(BufReader<Box<dyn Stream>>);

impl Line {
    fn over(stream: impl Stream + 'static) -> Self {
        Self(BufReader::new(Box::new(stream)))
    }

    fn write(&mut self, text: &str) -> Result<(), End> {
        self.0.get_mut().write_all(text.as_bytes())?;
        Ok(self.0.get_mut().flush()?)
    }

    /// Says a line; its answer has to begin with this digit.
    fn say(&mut self, text: &str, digit: u16) -> Result<Reply, End> {
        self.write(&format!("{text}\r\n"))?;
        self.expect(digit)
    }

    /// Greets; gives what the server offers, in capitals.
    fn greet(&mut self) -> Result<String, End> {
        Ok(self.say("EHLO motehub", 2)?.text.to_ascii_uppercase())
    }

    fn log_in(&mut self, offered: &str, user: &str, password: &str) -> Result<Reply, End> {
        let ways = offered.split_once("AUTH").map_or("", |(_, ways)| ways);
        if ways.contains("PLAIN") || !ways.contains("LOGIN") {
            let secret = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
            return self.say(&format!("AUTH PLAIN {secret}"), 2);
        }
        self.say("AUTH LOGIN", 3)?;
        self.say(&BASE64_STANDARD.encode(user), 3)?;
        self.say(&BASE64_STANDARD.encode(password), 2)
    }

    fn expect(&mut self, digit: u16) -> Result<Reply, End> {
        let reply = self.reply()?;
        if reply.code / 100 == digit { Ok(reply) } else { Err(End::Refused(reply)) }
    }

    /// An answer: lines such as `250-…`, the last of which is `250 …`.
    fn reply(&mut self) -> Result<Reply, End> {
        let wrong = || End::Broken("what answers is no mail server".to_owned());
        let mut text = String::new();
        for _ in 0..LINES_MAX {
            let mut bytes = Vec::new();
            self.0.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
            let line = String::from_utf8_lossy(&bytes);
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok()).ok_or_else(wrong)?;
            if !(200..600).contains(&code) || !line.ends_with('\n') {
                return Err(wrong());
            }
            let said = line.get(4..).unwrap_or_default().trim();
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(said);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text });
            }
        }
        Err(wrong())
    }
}
