//! Signature version 4 of AWS, from the side that verifies it (the AWS reference, "Signing AWS API requests").
//!
//! A request says who signed it and when, and the signature covers its method, address, the headers that it names and
//! the body. Presigned addresses, unsigned and chunked bodies and session tokens have no use here and are refused.

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use motehub_domain::time::{Span, Time};
use ring::hmac;
use sha2::{Digest, Sha256};

use super::answer::Refusal;

/// How the signature is made, and what it begins with.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What an access key is used for: the data plane.
const SERVICE: &str = "iotdata";
/// What ends every scope.
const TERMINATOR: &str = "aws4_request";
/// By how much the clocks may differ.
const CLOCKS_DIFFER_MAX: Span = Span::minutes(15);

/// A request that somebody says to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// The access key.
    pub(super) key_id: String,
    at: String,
    date: String,
    region: String,
    headers: Vec<String>,
    signature: Vec<u8>,
}

/// Reads who signed a request and when; refused if that is not said, or is not of this time.
pub(super) fn read(headers: &HeaderMap, now: Time) -> Result<Signed, Refusal> {
    let shown = headers.get(header::AUTHORIZATION).ok_or_else(Refusal::missing_token)?;
    let rest = shown.to_str().ok().and_then(|text| text.strip_prefix(ALGORITHM)?.strip_prefix(' '));
    let rest = rest.ok_or_else(Refusal::missing_token)?;
    let part = |name: &str| {
        let found = rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| Refusal::incomplete(format!("Authorization header requires '{name}' parameter")))
    };
    let (credential, names, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
    let scope: Vec<&str> = credential.split('/').collect();
    let [key_id, date, region, SERVICE, TERMINATOR] = scope[..] else {
        let how = format!("Credential must be KEY/DATE/REGION/{SERVICE}/{TERMINATOR}");
        return Err(Refusal::incomplete(how));
    };
    let names: Vec<String> = names.split(';').map(str::to_owned).collect();
    let is_signed = |name: &str| names.iter().any(|signed| signed == name);
    let unsigned = headers.keys().map(header::HeaderName::as_str).find(|name| {
        let has_to_be = *name == "host" || name.starts_with("x-amz-");
        has_to_be && !is_signed(name)
    });
    if let Some(name) = unsigned {
        return Err(Refusal::incomplete(format!(
            "'{name}' must be a 'SignedHeader' in the AWS Authorization"
        )));
    }
    if !names.is_sorted() || !is_signed("host") || headers.contains_key("x-amz-security-token") {
        return Err(Refusal::incomplete("SignedHeaders are sorted, with host, and without a session token"));
    }
    let at = headers.get("x-amz-date").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let time = time(at).filter(|_| at.get(..8) == Some(date)).ok_or_else(|| {
        Refusal::incomplete("X-Amz-Date must be the time of the signature, as 20270115T080000Z, on its date")
    })?;
    if Span((now - time).0.saturating_abs()) > CLOCKS_DIFFER_MAX {
        return Err(Refusal::out_of_time());
    }
    let signature = bytes(signature).ok_or_else(|| Refusal::incomplete("Signature must be hexadecimal"))?;
    let [key_id, at, date, region] = [key_id, at, date, region].map(str::to_owned);
    Ok(Signed { key_id, at, date, region, headers: names, signature })
}

impl Signed {
    /// Whether whoever has the secret signed this very request.
    pub(super) fn is_by(&self, secret: &str, request: &Parts, body: &[u8]) -> bool {
        let payload = hex(&Sha256::digest(body));
        let said = request.headers.get("x-amz-content-sha256");
        let Some(canonical) = self.canonical(request, &payload) else { return false };
        if said.is_some_and(|said| said.as_bytes() != payload.as_bytes()) {
            return false;
        }
        let Self { at, date, region, .. } = self;
        let digest = hex(&Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{at}\n{date}/{region}/{SERVICE}/{TERMINATOR}\n{digest}");
        let key = [date, region, SERVICE, TERMINATOR]
            .into_iter()
            .fold(hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes()), |key, part| {
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
            });
        // It compares in constant time.
        hmac::verify(&key, text.as_bytes(), &self.signature).is_ok()
    }

    /// The request as it is signed; `None` if a header is missing that is said to be. No path here has dots or empty
    /// parts, so that none is normalised: such a request is not signed as its sender thinks, and refused.
    fn canonical(&self, request: &Parts, payload: &str) -> Option<Vec<u8>> {
        let method = request.method.as_str();
        let path = encoded(request.uri.path().as_bytes(), true);
        let query = query(request.uri.query().unwrap_or_default());
        let mut text = format!("{method}\n{path}\n{query}\n").into_bytes();
        for name in &self.headers {
            let mut values = request.headers.get_all(name).iter().peekable();
            values.peek()?;
            text.extend(name.as_bytes());
            for (at, value) in values.enumerate() {
                text.push(if at == 0 { b':' } else { b',' });
                let words = value.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                text.extend(words.collect::<Vec<_>>().join(&b' '));
            }
            text.push(b'\n');
        }
        text.extend(format!("\n{}\n{payload}", self.headers.join(";")).into_bytes());
        Some(text)
    }
}

/// The parameters by name and value, each encoded in the one way that signing knows.
fn query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(&decoded(name), false), encoded(&decoded(value), false))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Everything but letters, digits and `-._~` as `%XX`, a slash too unless it separates parts of a path.
fn encoded(bytes: &[u8], is_path: bool) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => text.push(char::from(*byte)),
            b'/' if is_path => text.push('/'),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

fn decoded(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let byte = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => digit(*high).zip(digit(*low)).map(|byte| (byte, behind)),
            _ => None,
        };
        let (byte, behind) = byte.map_or((*first, behind), |((high, low), behind)| (high << 4 | low, behind));
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

/// `YYYYMMDDTHHMMSSZ`.
fn time(text: &str) -> Option<Time> {
    let at: DateTime = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", text).ok()?.to_datetime().ok()?;
    Some(Time(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests;
