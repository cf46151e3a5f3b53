//! Text that people and devices give: checked once at the border, trusted from there on, markup nowhere.

use crate::rejection::Rejection;

/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 80;
/// Longest description or comment, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 2000;
/// Longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 40;
/// Most tags of one device.
pub const TAGS_MAX: usize = 50;

/// A name: trimmed, 1 to 80 characters, no control characters.
pub fn name(field: &str, text: &str) -> Result<String, Rejection> {
    let text = text.trim();
    let count = text.chars().count();
    if count == 0 || count > NAME_CHARS_MAX {
        return Err(Rejection::invalid(field, format!("a name has 1 to {NAME_CHARS_MAX} characters")));
    }
    if text.chars().any(|c| c.is_control() || turns_text(c)) {
        return Err(Rejection::invalid(field, "a name has no control characters"));
    }
    Ok(text.to_owned())
}

/// Signs that are not seen and change how the text around them is shown: with them one name looks like another.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text of a stranger, as it may be shown: at most so many characters, and a sign in place of each that is not
/// seen.
pub fn shown(text: &str, chars_max: usize) -> String {
    let seen = |c: char| if c.is_control() || turns_text(c) { '\u{fffd}' } else { c };
    text.chars().take(chars_max).map(seen).collect()
}

/// A description: at most 2000 characters, line breaks and tabs allowed, no other control characters.
pub fn description(field: &str, text: &str) -> Result<String, Rejection> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(Rejection::invalid(field, format!("at most {DESCRIPTION_CHARS_MAX} characters")));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Rejection::invalid(field, "control characters other than line breaks are not allowed"));
    }
    Ok(text.to_owned())
}

/// Tags: sorted, without repetition; each of letters, digits and `_ - . :`.
pub fn tags(given: &[String]) -> Result<Vec<String>, Rejection> {
    let mut tags: Vec<String> = Vec::new();
    for tag in given {
        let tag = tag.trim();
        let is_plain = tag.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'));
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || !is_plain {
            return Err(Rejection::invalid(
                "tags",
                format!("a tag has 1 to {TAG_BYTES_MAX} letters, digits or the signs _ - . : and no blanks"),
            ));
        }
        tags.push(tag.to_owned());
    }
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX {
        return Err(Rejection::invalid("tags", format!("at most {TAGS_MAX} tags")));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_of_a_bounded_length() {
        for bad in ["", "   ", "a\0b", "two\nlines", "gpj.\u{202e}lamp", "a\u{2028}b", &"x".repeat(81)] {
            assert!(name("name", bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(name("name", "  <b>Küche</b> ").as_deref(), Ok("<b>Küche</b>"));
        assert!(name("name", "👩‍🍳 مطبخ").is_ok(), "signs of other scripts are welcome");
    }

    #[test]
    fn tags_are_sorted_and_unique() {
        let given = ["b", "a", "b"].map(str::to_owned);
        assert_eq!(tags(&given), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(tags(&["a b".to_owned()]).is_err());
        assert!(tags(&["../x".to_owned()]).is_err());
    }
}
