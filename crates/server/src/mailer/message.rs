//! A mail as text: headers in ASCII, the text in base64, so that no line is too long and none begins with a dot.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use motehub_domain::webhook::{Delivery, Mail};

/// How many bytes of a subject one encoded word holds: it is at most 75 characters then.
const WORD_BYTES: usize = 42;
/// How long a line of base64 is.
const LINE_CHARS: usize = 76;

/// The whole message, with CRLF. The same delivery has the same id, whenever it is tried: mail programs show a
/// repetition once.
pub(super) fn written(from: &str, mail: &Mail, delivery: &Delivery) -> String {
    let at = Timestamp::from_millisecond(delivery.created_at.0).unwrap_or_default();
    let date = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let (to, subject) = (mail.to.join(",\r\n "), subject(&mail.subject));
    let body = BASE64_STANDARD.encode(mail.text.replace("\r\n", "\n").replace('\n', "\r\n"));
    let mut text = format!(
        "From: Motehub <{from}>\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\n\
         Message-ID: <{}@motehub>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        delivery.id
    );
    for line in body.as_bytes().chunks(LINE_CHARS) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push_str("\r\n");
    }
    text
}

/// As it is if it is short and ASCII, otherwise in encoded words (RFC 2047).
fn subject(text: &str) -> String {
    if text.is_ascii() && text.len() <= LINE_CHARS - 10 && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        let is_full = words.last().is_some_and(|word| word.len() + c.len_utf8() > WORD_BYTES);
        if is_full {
            words.push(String::new());
        }
        words.last_mut().expect("because there is one from the start").push(c);
    }
    let words = words.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use motehub_domain::time::Time;

    use super::*;

    #[test]
    fn every_line_is_short_ascii_and_begins_with_no_dot() {
        let mail = Mail {
            to: vec!["ada@example.org".into(), "bo@example.org".into()],
            subject: "Küche: 31 °C ".repeat(9),
            text: format!(".\n{}\nEnde 👋", "x".repeat(3_000)),
        };
        let id = motehub_domain::id::DeliveryId::from_parts(0, 7);
        let delivery = Delivery::mail(id, &mail, Time(1_800_000_000_000)).unwrap();
        let text = written("hub@example.org", &mail, &delivery);
        assert!(text.contains("\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n"), "{text}");
        assert!(text.contains(&format!("\r\nMessage-ID: <{id}@motehub>\r\n")), "{text}");
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(
            lines.iter().all(|line| line.len() <= 78 && line.is_ascii() && !line.starts_with('.')),
            "{text}"
        );
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let body = BASE64_STANDARD.decode(body.replace("\r\n", "")).unwrap();
        assert!(String::from_utf8(body).unwrap().ends_with("\r\nEnde 👋"));
        let subject: String = lines
            .iter()
            .filter_map(|line| line.split("=?UTF-8?B?").nth(1))
            .map(|word| {
                String::from_utf8(BASE64_STANDARD.decode(word.trim_end_matches("?=")).unwrap()).unwrap()
            })
            .collect();
        assert_eq!(subject, mail.subject);
    }
}
