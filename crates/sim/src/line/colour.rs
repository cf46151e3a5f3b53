//! Colours as the lamp reads them: names of CSS, `#rgb` and `#rrggbb`, up to the first sign that is neither letter nor
//! digit.

/// Every name of CSS with its colour, a line each.
const NAMES: &str = include_str!("colours.txt");

/// The colour at the beginning of a text; `None` if it is no colour.
pub(super) fn parse(text: &str) -> Option<(u8, u8, u8)> {
    let is_hex = text.starts_with('#');
    let rest = text.strip_prefix('#').unwrap_or(text);
    let end = rest.find(|sign: char| !sign.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let word = rest[..end].to_ascii_lowercase();
    let digits = match is_hex {
        true if word.len() == 3 => word.chars().flat_map(|digit| [digit, digit]).collect(),
        true => word,
        false => NAMES.lines().find_map(|line| line.strip_prefix(&word)?.strip_prefix(' '))?.to_owned(),
    };
    let part = |at: usize| digits.get(at..at + 2).and_then(|part| u8::from_str_radix(part, 16).ok());
    (digits.len() == 6).then_some((part(0)?, part(2)?, part(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_as_the_lamp_does() {
        let cases = [
            ("#ff8800", Some((255, 136, 0))),
            ("#F80", Some((255, 136, 0))),
            ("Red", Some((255, 0, 0))),
            ("rebecca", None),
            ("lightgoldenrodyellow\n", Some((0xfa, 0xfa, 0xd2))),
            ("#ff8800\n", Some((255, 136, 0))),
            ("\n#ff8800", None),
            ("#ff88", None),
            ("#gg8800", None),
            ("", None),
            ("re", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
