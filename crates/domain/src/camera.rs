//! Cameras: a device says where its picture is, and a person says from which origin the hub may fetch it. What a device
//! says is never fetched without that.

use serde_json::json;

use crate::change::{Actor, Change, ChangeKind};
use crate::device::Device;
use crate::effects::{Effects, Save};
use crate::rejection::Rejection;

/// The resource, and so the member of what is reported, that says where the picture is.
pub const REPORTED_AS: &str = "webcam";
/// Longest address of a picture in bytes.
const ADDRESS_BYTES_MAX: usize = 1_024;
/// Longest host in bytes.
const HOST_BYTES_MAX: usize = 253;

/// Where something is served: `http` or `https`, a host, and a port if it is not the usual one. In small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin, such as `http://10.0.0.7:8080`; a slash may follow and nothing else.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        match Address::parse(text.trim()) {
            Some(Address { origin, path }) if path == "/" => Ok(origin),
            _ => Err(Rejection::invalid(
                "origin",
                "http:// or https://, a host and perhaps a port, such as http://10.0.0.7:8080",
            )),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The address of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where it is served.
    pub origin: Origin,
    /// Its path there, with a query if it has one.
    pub path: String,
}

impl Address {
    /// Reads an address by `http` or `https`, without a user and a password; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if text.len() > ADDRESS_BYTES_MAX || !is_plain(text) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = split(&place.to_ascii_lowercase())?;
        let port = port.filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self { origin: Origin(format!("{scheme}://{host}{port}")), path: format!("{slash}{path}") })
    }

    /// As text. Made anew from what was read, so that nobody reads it in another way.
    pub fn text(&self) -> String {
        format!("{}{}", self.origin.0, self.path)
    }
}

/// A host, and a port if there is one.
fn split(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = inside.parse().ok()?;
            (format!("[{address}]"), after.strip_prefix(':').or(after.is_empty().then_some(""))?)
        }
        None => {
            let (host, port) = place.split_once(':').unwrap_or((place, ""));
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            let fits = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_host);
            (fits.then(|| host.to_owned())?, port)
        }
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        "" => Some((host, None)),
        port if is_number => port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port))),
        _ => None,
    }
}

/// The picture of a device may be fetched from an origin, or from none. `was` is the one before.
pub fn allow(device: &Device, was: Option<&Origin>, origin: Option<Origin>, actor: &Actor) -> Effects {
    if was == origin.as_ref() {
        return Effects::none();
    }
    let change = Change {
        actor: actor.clone(),
        kind: if origin.is_some() { ChangeKind::CameraAllowed } else { ChangeKind::CameraForbidden },
        subject: device.id.to_string(),
        subject_name: device.name.clone(),
        device: Some(device.id),
        before: was.map(|origin| json!({ "origin": origin.0 })),
        after: origin.as_ref().map(|origin| json!({ "origin": origin.0 })),
    };
    Effects { save: vec![Save::Camera(device.id, origin)], changes: vec![change], ..Effects::none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_one_way() {
        let read = |text: &str| Address::parse(text).map(|address| (address.origin.0.clone(), address.path));
        let is = |origin: &str, path: &str| Some((origin.to_owned(), path.to_owned()));
        let cases = [
            ("http://10.0.0.7/a.jpg?x=1#y", is("http://10.0.0.7", "/a.jpg?x=1")),
            ("HTTP://Cam.Example:80", is("http://cam.example", "/")),
            ("https://cam.example:443/", is("https://cam.example", "/")),
            ("https://cam.example:80?now", is("https://cam.example:80", "/?now")),
            ("http://[2001:DB8::0:7]:8080/p", is("http://[2001:db8::7]:8080", "/p")),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
        let wrong = [
            "",
            "10.0.0.7/a.jpg",
            "ftp://cam/",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            "javascript://cam/%0aalert(1)",
            "http://",
            "http:///a",
            "http://user:pass@cam/",
            "http://allowed\\@evil/",
            "http://cam:0/",
            "http://cam:99999/",
            "http://cam:+80/",
            "http://cam:80:80/",
            "http://[::1/",
            "http://[::1]x/",
            "http://c m/",
            "http://cam/\u{0}",
            "http://kamera.größe/",
        ];
        for text in wrong {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("http://cam/{}", "a".repeat(ADDRESS_BYTES_MAX))), None);
    }

    #[test]
    fn an_origin_is_nothing_more_than_one() {
        let origin = |text: &str| Origin::parse(text).map(|origin| origin.0).map_err(|error| error.code);
        assert_eq!(origin(" http://Cam:8080/ ").as_deref(), Ok("http://cam:8080"));
        for wrong in ["http://cam/a", "http://cam/?a", "cam:8080", "*", ""] {
            assert_eq!(origin(wrong), Err("invalid"), "{wrong}");
        }
    }
}
