//! Blocks of code that generated scripts are made of: only those are taken that are used.

use std::collections::BTreeSet;

/// The blocks of a file, in its order; two empty lines are between them. The name of a block is the first word that it
/// defines.
pub(super) struct Blocks {
    blocks: Vec<(&'static str, &'static str)>,
    /// What begins a remark at the end of a line that says when the line is wanted.
    mark: &'static str,
}

impl Blocks {
    pub(super) fn of(text: &'static str, mark: &'static str) -> Self {
        let name = |block: &'static str| {
            let words = ["async ", "def ", "local ", "function "];
            let is_remark = |line: &&str| line.starts_with("--") || line.starts_with('#');
            let mut rest = block.lines().find(|line| !is_remark(line)).unwrap_or_default();
            while let Some(after) = words.iter().find_map(|word| rest.strip_prefix(word)) {
                rest = after;
            }
            let end = rest.find(|sign: char| !is_of_name(sign)).unwrap_or(rest.len());
            &rest[..end]
        };
        let blocks = text.trim().split("\n\n\n").map(str::trim_end);
        Self { blocks: blocks.map(|block| (name(block), block)).collect(), mark }
    }

    /// The blocks that a text uses, and those that they use, without lines that are not wanted.
    pub(super) fn used(&self, text: &str, wanted: &[&str]) -> Vec<String> {
        let blocks: Vec<(&str, String)> =
            self.blocks.iter().map(|(name, block)| (*name, chosen(block, self.mark, wanted))).collect();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        let mut open = words(text);
        while let Some(word) = open.pop() {
            if let Some((name, block)) = blocks.iter().find(|(name, _)| *name == word)
                && used.insert(name)
            {
                open.extend(words(block));
            }
        }
        blocks.iter().filter(|(name, _)| used.contains(name)).map(|(_, block)| block.clone()).collect()
    }
}

/// The lines of a text that are wanted; `mark` begins a remark that says when a line is.
pub(super) fn chosen(text: &str, mark: &str, wanted: &[&str]) -> String {
    let line = |line: &str| match line.rsplit_once(mark) {
        Some((line, when)) => wanted.contains(&when.trim()).then(|| line.trim_end().to_owned()),
        None => Some(line.to_owned()),
    };
    text.lines().filter_map(line).collect::<Vec<_>>().join("\n")
}

fn is_of_name(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_'
}

/// The words of a program that are not in a text in double quotes.
pub(super) fn words(program: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for sign in program.chars() {
        match (quoted, sign) {
            (true, '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (_, '"') if !escaped => quoted = !quoted,
            (false, sign) if is_of_name(sign) => {
                if let Some(word) = words.last_mut() {
                    word.push(sign);
                }
                continue;
            }
            _ => {}
        }
        escaped = false;
        if words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
