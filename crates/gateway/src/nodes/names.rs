//! By which name a node that has a new connection each time is known again.

/// The resources that say who a node is, the best first.
const NAMES: [&str; 3] = ["node", "id", "name"];
/// Longest name in bytes.
const BYTES_MAX: usize = motehub_domain::device::EXTERNAL_ID_BYTES_MAX;

/// The name of a node that said this of its resources: its `node`, else its `id`, else its `name`, with a `-` for every
/// sign that an id has not.
pub(super) fn name<'a>(said: impl Fn(&str) -> Option<&'a String>) -> Option<String> {
    NAMES.into_iter().find_map(|resource| plain(said(resource)?))
}

/// A text as an id; `None` if nothing would be left of it.
pub(super) fn plain(text: &str) -> Option<String> {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.:".contains(sign);
    let mut plain: String =
        text.trim().chars().map(|sign| if is_plain(sign) { sign } else { '-' }).take(BYTES_MAX).collect();
    if plain.starts_with('.') {
        plain.replace_range(..1, "-");
    }
    plain.contains(|sign: char| sign.is_ascii_alphanumeric()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use motehub_domain::device::is_external_id;

    use super::*;

    #[test]
    fn a_node_is_known_by_the_best_of_what_it_says() {
        type Said<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Said<'_>, Option<&str>); 6] = [
            (&[("name", "websocket"), ("node", "fd00:aaaa:bbbb::1")], Some("fd00:aaaa:bbbb::1")),
            (&[("name", "Python Test Node"), ("id", "mqtt-7")], Some("mqtt-7")),
            (&[("name", " Python Test Node "), ("node", "")], Some("Python-Test-Node")),
            (&[("name", "Küche/1")], Some("K-che-1")),
            (&[("name", "---"), ("led", "1")], None),
            (&[("led", "1")], None),
        ];
        for (said, expected) in cases {
            let said: BTreeMap<&str, String> = said.iter().map(|(n, t)| (*n, (*t).to_owned())).collect();
            assert_eq!(name(|resource| said.get(resource)).as_deref(), expected, "{said:?}");
        }
        for text in [".hidden", &"x".repeat(500), "..a", "ä1"] {
            assert!(plain(text).is_some_and(|id| is_external_id(&id)), "{text}");
        }
    }
}
