//! Link format (RFC 6690): the resources of a node, as it lists them at `/.well-known/core`.

use crate::DecodeError;

/// Most links that are read of one list.
pub const LINKS_MAX: usize = 256;

/// A link of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where to: a path of the same server, or an address of another.
    pub target: String,
    /// What is said of it, in its order; some have no value.
    pub attributes: Vec<(String, Option<String>)>,
}

impl Link {
    /// The segments of its path on the same server; `None` if it leads elsewhere.
    pub fn path(&self) -> Option<Vec<String>> {
        let path = self.target.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        let path = path.split(['?', '#']).next().unwrap_or_default();
        path.split('/').map(unescaped).collect()
    }

    /// Whether it is picked by a filter `name=value`, with `*` at the end of the value for any text.
    pub fn fits(&self, filter: &str) -> bool {
        let Some((name, wanted)) = filter.split_once('=') else { return false };
        let is_it = |value: &str| match wanted.strip_suffix('*') {
            Some(beginning) => value.starts_with(beginning),
            None => value == wanted,
        };
        match name {
            "href" => is_it(&self.target),
            // These are lists of words; any of them may be it.
            "rt" | "if" | "rel" | "rev" => {
                self.values(name).any(|value| is_it(value) || value.split(' ').any(is_it))
            }
            _ => self.values(name).any(is_it),
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |(known, _)| known == name)
            .filter_map(|(_, value)| value.as_deref())
    }
}

/// Reads a list. What stands before a fault is read too: nodes with little memory cut their list off.
pub fn read(text: &str) -> (Vec<Link>, Option<DecodeError>) {
    let mut links = Vec::new();
    let mut rest = text.trim_matches([' ', '\r', '\n', '\t', '\0']);
    while !rest.is_empty() {
        if links.len() == LINKS_MAX {
            return (links, Some(DecodeError(format!("a list has at most {LINKS_MAX} links"))));
        }
        match link(rest) {
            Some((link, behind)) => {
                links.push(link);
                rest = behind;
            }
            None => {
                let at = text.len() - rest.len();
                return (links, Some(DecodeError(format!("the list is no link format from byte {at} on"))));
            }
        }
    }
    (links, None)
}

/// Writes a list.
pub fn write(links: &[Link]) -> String {
    let mut text = String::new();
    for Link { target, attributes } in links {
        if !text.is_empty() {
            text.push(',');
        }
        text += &format!("<{target}>");
        for (name, value) in attributes {
            text += &format!(";{name}");
            if let Some(value) = value {
                text += &format!("=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            }
        }
    }
    text
}

/// The first link of a text, and what stands behind it and its comma.
fn link(text: &str) -> Option<(Link, &str)> {
    let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(',') {
            // A comma with nothing behind it is a fault, but none of this link.
            let behind = Some(behind.trim_start()).filter(|behind| !behind.is_empty()).unwrap_or(rest);
            return Some((Link { target: target.to_owned(), attributes }, behind));
        }
        if rest.is_empty() {
            return Some((Link { target: target.to_owned(), attributes }, rest));
        }
        rest = rest.strip_prefix(';')?.trim_start();
        let end = rest.find(['=', ';', ',']).unwrap_or(rest.len());
        let name = rest[..end].trim_end();
        if name.is_empty() || name.contains(['<', '>', '"']) {
            return None;
        }
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            Some(behind) => {
                let (value, behind) = value(behind)?;
                rest = behind;
                Some(value)
            }
            None => None,
        };
        attributes.push((name.to_owned(), value));
    }
}

/// A value, quoted or not, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        return Some((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut signs = quoted.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(signs.next()?.1),
            _ => value.push(sign),
        }
    }
    None
}

/// A segment with its signs behind `%`; `None` if it is no text then.
fn unescaped(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> (Vec<String>, bool) {
        let (links, fault) = read(text);
        let paths = links.iter().filter_map(Link::path).map(|path| path.join("/"));
        (paths.collect(), fault.is_some())
    }

    #[test]
    fn lists_of_real_nodes_are_read() {
        let cases: [(&str, &[&str]); 9] = [
            ("</board>,</led>,</mcu>,</name>,</os>", &["board", "led", "mcu", "name", "os"]),
            (
                "</js>,</.well-known/core>;ct=\"40\",<https://example.org/aiocoap/#version-0.4.17>;rel=\"impl-info\"",
                &["js", ".well-known/core"],
            ),
            ("</a>;title=\"one, two; three > four\",</b>", &["a", "b"]),
            ("</a>;title=\"a \\\"word\\\", and\";obs;ct=0 , </b/c>;if=\"x y\"", &["a", "b/c"]),
            ("<coap://[fe80::1%25lowpan0]/far>,<//other/x>,<near>,</here?x=1>", &["here"]),
            ("</with%20space>,</%zz>,</%ff>", &["with space"]),
            ("</led>\0\0\0", &["led"]),
            ("</>", &[""]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let (paths, is_faulty) = paths(text);
            assert_eq!(paths, expected, "{text}");
            assert!(!is_faulty, "{text}");
        }
    }

    #[test]
    fn what_stands_before_a_fault_is_read() {
        let many = vec!["</a>"; LINKS_MAX + 1].join(",");
        let large = format!("</a>,<{}", "x".repeat(1_000_000));
        let cases = [
            "</a>,</b",
            "</a>,",
            "</a>,b",
            "</a>,</b>x",
            "</a>,</b>;",
            "</a>,</b>;t=\"x",
            "</a>,<b>;=1",
            &large,
        ];
        for text in cases {
            assert_eq!(paths(text), (vec!["a".to_owned()], true), "{text:.40}");
        }
        let (found, is_faulty) = paths(&many);
        assert!(found.len() == LINKS_MAX && is_faulty);
    }

    #[test]
    fn a_list_is_written_as_it_is_read_and_picked_from() {
        let text = r#"</a>;rt="lamp light";ct="0";obs,</b>;title="a \"b\" \\""#;
        let (links, _) = read(text);
        assert_eq!(write(&links), text);
        let fits = |filter: &str| links.iter().filter(|link| link.fits(filter)).count();
        assert_eq!(
            ["rt=lamp", "rt=li*", "rt=lamp light", "rt=l", "href=/b", "href=/*", "title=*", "obs"].map(fits),
            [1, 1, 1, 0, 1, 2, 1, 0]
        );
    }
}
