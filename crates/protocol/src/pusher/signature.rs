//! What is signed, and how a signature is written: HMAC-SHA256 in hexadecimal digits. The HMAC itself is the caller's,
//! who has the secret.

use crate::DecodeError;

/// Most bytes of a query.
const QUERY_BYTES_MAX: usize = 8 * 1024;
/// The one version of signed queries.
const VERSION: &str = "1.0";

/// The text that is signed for a subscription.
pub fn of_channel(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// Splits `key:signature`; `None` if it is not that.
pub fn split(auth: &str) -> Option<(&str, Vec<u8>)> {
    let (key, signature) = auth.split_once(':')?;
    Some((key, bytes(signature)?))
}

/// A request of the HTTP API that somebody says to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// With the secret of which key.
    pub key: String,
    /// When, in seconds since 1970.
    pub at_s: i64,
    /// The MD5 of the body in hexadecimal digits, if there is one.
    pub body_md5: Option<String>,
    /// The signature.
    pub signature: Vec<u8>,
    /// What is signed.
    pub text: String,
    /// The other parameters, by their names.
    pub parameters: Vec<(String, String)>,
}

impl Signed {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the query of a request.
pub fn signed(method: &str, path: &str, query: &str) -> Result<Signed, DecodeError> {
    let missing = |name: &str| DecodeError(format!("{name} is missing in the query, or cannot be read"));
    if query.len() > QUERY_BYTES_MAX {
        return Err(DecodeError(format!("the query has at most {QUERY_BYTES_MAX} bytes")));
    }
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name).to_ascii_lowercase(), decoded(value))
        })
        .collect();
    parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(own, _)| own == name)?;
        Some(parameters.remove(at).1)
    };
    let signature =
        take("auth_signature").as_deref().and_then(bytes).ok_or_else(|| missing("auth_signature"))?;
    let text: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let text = format!("{method}\n{path}\n{}", text.join("&"));
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(own, _)| own == name)?;
        Some(parameters.remove(at).1)
    };
    let key = take("auth_key").ok_or_else(|| missing("auth_key"))?;
    let at_s =
        take("auth_timestamp").and_then(|at| at.parse().ok()).ok_or_else(|| missing("auth_timestamp"))?;
    if take("auth_version").as_deref() != Some(VERSION) {
        return Err(DecodeError(format!("auth_version: it is {VERSION}")));
    }
    let body_md5 = take("body_md5");
    Ok(Signed { key, at_s, body_md5, signature, text, parameters })
}

/// What is escaped as `%XX`, as far as it is that; anything else stays as it is.
pub fn decoded(text: &str) -> String {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let byte = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => digit(*high).zip(digit(*low)).map(|pair| (pair, behind)),
            _ => None,
        };
        let (byte, behind) = byte.map_or((*first, behind), |((high, low), behind)| (high << 4 | low, behind));
        decoded.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
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
mod tests {
    use super::*;

    /// The example in the documentation of Pusher.
    #[test]
    fn a_signed_query_is_read_as_the_documentation_has_it() {
        let query = "auth_key=278d425bdf160c739803&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c\
            &auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f";
        let read = signed("POST", "/apps/3/events", query).unwrap();
        assert_eq!(
            read.text,
            "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
             &body_md5=ec365a775a4cd0599faeb73354201b6f"
        );
        assert_eq!((read.key.as_str(), read.at_s), ("278d425bdf160c739803", 1_353_088_179));
        assert_eq!(read.body_md5.as_deref(), Some("ec365a775a4cd0599faeb73354201b6f"));
        assert_eq!(read.signature.len(), 32);
        let more = signed(
            "GET",
            "/apps/3/channels",
            &format!("{query}&filter_by_prefix=presence%2D&Info=user_count"),
        );
        let more = more.unwrap();
        assert!(more.text.ends_with("&filter_by_prefix=presence-&info=user_count"), "{}", more.text);
        assert_eq!((more.parameter("info"), more.parameter("no")), (Some("user_count"), None));
    }

    #[test]
    fn what_is_missing_in_a_query_is_named() {
        let whole = "auth_key=k&auth_signature=00&auth_timestamp=1&auth_version=1.0";
        assert!(signed("GET", "/", whole).is_ok());
        for part in whole.split('&') {
            let name = part.split_once('=').unwrap().0;
            let error = signed("GET", "/", &whole.replace(part, "")).unwrap_err().0;
            assert!(error.contains(name), "{error}");
        }
        for bad in ["auth_signature=0", "auth_signature=zz"] {
            assert!(signed("GET", "/", &whole.replace("auth_signature=00", bad)).is_err(), "{bad}");
        }
        assert!(signed("GET", "/", &"a".repeat(9000)).is_err());
    }

    #[test]
    fn escapes_are_read_leniently() {
        for (text, expected) in [
            ("a%20b", "a b"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A4", "\u{e4}"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(text), expected);
        }
    }
}
