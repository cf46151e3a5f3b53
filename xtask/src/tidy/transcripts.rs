//! Every dialect is held by transcripts of what real firmware says.

use super::Problem;
use super::tree::Tree;

const DIALECTS: &str = "crates/protocol/src/dialect.rs";
/// Dialects that may still lack transcripts. A new dialect is not added here: its transcripts come with it.
const STILL_WITHOUT: &[&str] = &[];

/// Each dialect named in the table has files in `tests/transcripts/<dialect>/`.
pub(crate) fn every_dialect(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (line, dialect) in dialects(tree.text(DIALECTS).unwrap_or_default()) {
        let folder = format!("tests/transcripts/{dialect}");
        if !tree.has(&folder) && !STILL_WITHOUT.contains(&dialect.as_str()) {
            let what = format!("no transcripts for `{dialect}`: add some in {folder}/");
            problems.push(Problem::new(DIALECTS, line, what));
        }
    }
    problems
}

/// The variants `Dialect::Name` that the text names, as `name`, each with its first line.
fn dialects(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("Dialect::").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            let name = kebab(&name);
            if rest.starts_with(char::is_uppercase) && !found.iter().any(|(_, known)| *known == name) {
                found.push((index + 1, name));
            }
        }
    }
    found
}

/// `EspFirmware` as `esp-firmware`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_without_transcripts_is_found() {
        let table = "match dialect {\n    Dialect::Native => 1,\n    Dialect::EspFirmware => 2,\n}\n";
        let problems = every_dialect(&Tree::of(&[(DIALECTS, table)]));
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3]);
        let native = ("tests/transcripts/native/telemetry.txt", "");
        let with = Tree::of(&[(DIALECTS, table), ("tests/transcripts/esp-firmware/alive.txt", ""), native]);
        assert_eq!(every_dialect(&with), []);
    }
}
