//! Where a hub is: an address as people write it.

/// The address of a hub, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether TLS is spoken there.
    pub is_secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// A path before ours, for a hub behind a proxy; empty or with a leading slash.
    pub prefix: String,
}

/// How many nodes of a hub a gateway may know.
const HUBS_MAX: usize = 16;

impl Address {
    /// Reads one or several addresses with commas between: those of the nodes of one hub, in the order in which they
    /// are tried; 16 at most.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let found: Vec<Self> = text.split(',').map(Self::parse).collect::<Result<_, _>>()?;
        match found.len() <= HUBS_MAX {
            true => Ok(found),
            false => Err(format!("a gateway can know {HUBS_MAX} nodes of its hub at most")),
        }
    }

    /// Reads `https://host[:port][/path]`. Without TLS only this machine is reached: what devices show passes through.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is no address such as https://hub.example.org or https://10.0.0.5:8443");
        let (is_secure, rest) = match text.trim().split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(expected()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let usual = if is_secure { 443 } else { 80 };
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, "")) => (host, usual),
            Some((host, port)) => (host, read_port(port.strip_prefix(':')).ok_or_else(expected)?),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, read_port(Some(port)).ok_or_else(expected)?),
                None => (authority, usual),
            },
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let is_path = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if host.is_empty() || !host.chars().all(is_plain) || !path.chars().all(is_path) {
            return Err(expected());
        }
        let is_here = matches!(host, "localhost" | "127.0.0.1" | "::1");
        if !is_secure && !is_here {
            return Err(format!(
                "{text:?}: a link to another machine is made over TLS: https://{authority}{path}"
            ));
        }
        let prefix = path.trim_end_matches('/').to_owned();
        Ok(Self { is_secure, host: host.to_owned(), port, prefix })
    }
}

fn read_port(text: Option<&str>) -> Option<u16> {
    text?.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let cases = [
            ("https://hub.example.org", Some((true, "hub.example.org", 443, ""))),
            ("https://hub.example.org:8443/", Some((true, "hub.example.org", 8443, ""))),
            ("https://10.0.0.5:8443/mote/hub/", Some((true, "10.0.0.5", 8443, "/mote/hub"))),
            ("https://[fd00::1]", Some((true, "fd00::1", 443, ""))),
            ("https://[fd00::1]:1", Some((true, "fd00::1", 1, ""))),
            ("http://localhost:8080", Some((false, "localhost", 8080, ""))),
            ("http://127.0.0.1", Some((false, "127.0.0.1", 80, ""))),
            ("http://hub.example.org", None),
            ("http://10.0.0.5:8080", None),
            ("hub.example.org", None),
            ("ftp://hub.example.org", None),
            ("https://", None),
            ("https://hub:0", None),
            ("https://hub:99999", None),
            ("https://user@hub", None),
            ("https://hub/?a=b", None),
            ("https://hub\r\nX: y", None),
        ];
        for (text, expected) in cases {
            let read = Address::parse(text).ok();
            let parts = read.as_ref().map(|it| (it.is_secure, it.host.as_str(), it.port, it.prefix.as_str()));
            assert_eq!(parts, expected, "{text}");
        }
    }

    #[test]
    fn the_nodes_of_a_hub_have_commas_between() {
        let hosts = |text: &str| -> Result<Vec<String>, String> {
            Ok(Address::parse_all(text)?.into_iter().map(|address| address.host).collect())
        };
        assert_eq!(hosts("https://a").unwrap(), ["a"]);
        assert_eq!(hosts("https://a, https://b:8443 ,https://c").unwrap(), ["a", "b", "c"]);
        assert!(hosts("").is_err());
        assert!(hosts("https://a,").unwrap_err().contains("is no address"));
        assert!(hosts("https://a, b").unwrap_err().contains("b"));
        assert!(hosts(&["https://a"; 17].join(",")).unwrap_err().contains("16"));
    }
}
