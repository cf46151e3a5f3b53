//! Codes that people type or scan: made, recognised however they are written, and shown as a link and a QR code.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use motehub_domain::artifact::Digest;
use motehub_domain::rejection::Rejection;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use crate::{random, secrets};

/// How many letters and digits a code has, without its dashes.
const CODE_CHARS: usize = 16;
/// Longest address of a hub.
const ADDRESS_BYTES_MAX: usize = 200;
/// Smallest size of a QR code in pixels.
const QR_PIXELS_MIN: u32 = 240;

/// A code of 80 bits, as it is printed: four times four letters and digits.
pub(crate) fn new() -> String {
    random::one_time_password().to_uppercase()
}

/// What is stored of a code, however it was typed: with or without dashes and blanks, in any case, or as the link
/// of its QR code. `None` if it cannot be one.
pub(crate) fn digest(typed: &str) -> Option<Digest> {
    let code = typed.rsplit_once("code=").map_or(typed, |(_, code)| code);
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    (code.len() == CODE_CHARS).then(|| secrets::digest(code.to_ascii_lowercase()))
}

/// The link that opens the phone app with a code. The code is behind `#`, which browsers do not send: it is in no
/// log.
pub(crate) fn link(address: &str, code: &str) -> String {
    format!("{address}/app/#code={code}")
}

/// The address under which customers reach the hub: as it is given, or the one that was called.
pub(crate) fn address(given: Option<&str>, headers: &HeaderMap) -> Result<String, Rejection> {
    if let Some(given) = given {
        let address = given.trim().trim_end_matches('/');
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/~".contains(c);
        let is_address = rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_plain));
        return match is_address && address.len() <= ADDRESS_BYTES_MAX {
            true => Ok(address.to_owned()),
            false => Err(Rejection::invalid("address", "an address is like https://lights.example")),
        };
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let is_https =
        headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    Ok(format!("{}://{host}", if is_https { "https" } else { "http" }))
}

/// A text as a QR code in SVG.
pub(crate) fn qr(text: &str) -> Result<String, Rejection> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|_| Rejection::invalid("address", "the link is too long for a QR code"))?;
    Ok(code.render::<svg::Color<'_>>().min_dimensions(QR_PIXELS_MIN, QR_PIXELS_MIN).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        let code = new();
        assert_eq!(code.len(), CODE_CHARS + 3, "{code}");
        let plain = code.replace('-', "").to_lowercase();
        let link = link("http://192.168.1.5:8080", &code);
        for typed in [&code, &plain, &format!(" {} ", code.replace('-', " ")), &link] {
            assert_eq!(digest(typed), Some(secrets::digest(&plain)), "{typed}");
        }
        for typed in ["", "abcd", "abcd-efgh-ijkm-nopq-r", "äbcd-efgh-ijkm-nopq", "http://hub/app/#code="] {
            assert_eq!(digest(typed), None, "{typed}");
        }
    }

    #[test]
    fn the_address_is_one_and_fits_into_a_qr_code() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "hub.local:8080".parse().unwrap());
        assert_eq!(address(None, &headers).as_deref(), Ok("http://hub.local:8080"));
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        assert_eq!(address(None, &headers).as_deref(), Ok("https://hub.local:8080"));
        assert_eq!(
            address(Some("https://lights.example/"), &headers).as_deref(),
            Ok("https://lights.example")
        );
        for bad in ["", "lights.example", "javascript:alert(1)", "https://", "http://a b", "https://\"><svg"]
        {
            assert!(address(Some(bad), &headers).is_err(), "{bad}");
        }
        let longest = format!("https://{}", "a".repeat(ADDRESS_BYTES_MAX - 8));
        let drawn = qr(&link(&address(Some(&longest), &headers).unwrap(), &new())).unwrap();
        assert!(drawn.contains("<svg") && !drawn.contains("<script"), "{drawn}");
    }
}
