//! Rules about source files; CONTRIBUTING.md gives the reasons.

use super::Problem;
use super::tree::Tree;

const LINES_MAX: usize = 400;
/// rustfmt breaks code at 110 columns; comments and texts, which it leaves alone, end here at the latest.
const WIDTH_MAX: usize = 120;
/// Languages in which we write code by hand.
const SOURCE: &[&str] = &["rs", "ts", "mjs", "svelte", "lua", "py", "sh"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "base", "manager", "service", "types"];
/// The file in a test package that may poll for a fact with a deadline; all other tests call it.
const POLLING_FILE: &str = "wait.rs";

/// Every Rust file begins by saying what it is for.
pub(crate) fn opening_comment(tree: &Tree) -> Vec<Problem> {
    let silent = tree.with_extension(&["rs"]).filter(|(_, text)| !text.starts_with("//!"));
    silent
        .map(|(name, _)| Problem::new(name, 1, "begin with `//!` and one to five sentences: what is it for?"))
        .collect()
}

/// At most 400 lines without tests, at most 120 columns; the data of tests may be wider.
pub(crate) fn length_and_width(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(&["rs"]) {
        let is_product = |line: &&Line| !line.in_test;
        let count = lines(name, text).iter().filter(is_product).count();
        if count > LINES_MAX {
            let what = format!("{count} lines without tests; split it by meaning (at most {LINES_MAX})");
            problems.push(Problem::new(name, 0, what));
        }
        for line in lines(name, text) {
            let width = line.text.chars().count();
            if width > WIDTH_MAX && !line.in_test && !line.text.contains("://") {
                problems.push(Problem::new(
                    name,
                    line.number,
                    format!("{width} columns; at most {WIDTH_MAX}"),
                ));
            }
        }
    }
    problems
}

/// Files and folders of source are called by what they hold.
pub(crate) fn names(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(SOURCE) {
        let mut words = name.split('/').map(|part| part.split('.').next().unwrap_or(part));
        if let Some(word) = words.find(|word| EMPTY_NAMES.contains(word)) {
            problems.push(Problem::new(name, 0, format!("`{word}` says nothing: name it by what it holds")));
        }
        for line in lines(name, text) {
            let module = line.text.trim().trim_start_matches("pub").trim_start_matches("(crate)").trim();
            let word = module.strip_prefix("mod ").map(|rest| rest.trim_end_matches(['{', ' ', ';']));
            if word.is_some_and(|word| EMPTY_NAMES.contains(&word)) {
                problems.push(Problem::new(
                    name,
                    line.number,
                    "this module name says nothing: name what it holds",
                ));
            }
        }
    }
    problems
}

/// What is left to do is an issue with a number.
pub(crate) fn open_ends(tree: &Tree) -> Vec<Problem> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(SOURCE) {
        for line in lines(name, text) {
            for mark in marks {
                let Some((before, after)) = line.text.split_once(mark) else { continue };
                let is_word =
                    !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
                if is_word && !after.starts_with("(#") {
                    let what = format!("write {mark}(#123): with the number of its issue, or do it now");
                    problems.push(Problem::new(name, line.number, what));
                }
            }
        }
    }
    problems
}

/// A test that is not run is not a test.
pub(crate) fn ignored_tests(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(&["rs"]) {
        let ignored = lines(name, text).into_iter().filter(|line| line.text.trim().starts_with("#[ignore"));
        let what = "assert the wrong answer and say why, instead of ignoring the test";
        problems.extend(ignored.map(|line| Problem::new(name, line.number, what)));
    }
    problems
}

/// Tests wait for facts or move a clock.
pub(crate) fn sleeping_tests(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(&["rs"]).filter(|(name, _)| !name.ends_with(POLLING_FILE)) {
        for line in lines(name, text).iter().filter(|line| line.in_test) {
            let code = line.text.split("//").next().unwrap_or_default();
            if [concat!("thread::", "sleep"), concat!("time::", "sleep")]
                .iter()
                .any(|call| code.contains(call))
            {
                let what = "no sleeping in tests: wait for a fact with a deadline, or move a clock";
                problems.push(Problem::new(name, line.number, what));
            }
        }
    }
    problems
}

/// A line and whether it belongs to tests.
struct Line<'a> {
    number: usize,
    text: &'a str,
    in_test: bool,
}

/// The lines of a Rust file. Tests are files in a `tests` folder or called `tests.rs`, and blocks under
/// `#[cfg(test)]`, which rustfmt ends with a brace in the column where the attribute stands.
fn lines<'a>(name: &str, text: &'a str) -> Vec<Line<'a>> {
    let whole = name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("/tests.rs");
    let mut block_end: Option<String> = None;
    let mut all = Vec::new();
    for (index, text) in text.lines().enumerate() {
        if block_end.is_none() && text.trim() == "#[cfg(test)]" {
            let indent = &text[..text.len() - text.trim_start().len()];
            block_end = Some(format!("{indent}}}"));
        }
        all.push(Line { number: index + 1, text, in_test: whole || block_end.is_some() });
        // `mod tests;` and `use …;` under the attribute end where they begin.
        let ends = block_end.as_deref().is_some_and(|end| text == end || (is_one_line_item(text, end)));
        if ends {
            block_end = None;
        }
    }
    all
}

fn is_one_line_item(text: &str, end: &str) -> bool {
    let indent = end.len() - 1;
    text.len() > indent
        && !text[..indent].contains(|c: char| c != ' ')
        && !text[indent..].starts_with(' ')
        && text.ends_with(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn found(check: fn(&Tree) -> Vec<Problem>, name: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(name, text)])).into_iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_for_is_found() {
        assert_eq!(found(opening_comment, "a.rs", "use std::fmt;\n"), [1]);
        assert_eq!(found(opening_comment, "a.rs", "//! Shapes.\n"), NONE);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let code = "fn f() {}\n".repeat(LINES_MAX);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // more\n".repeat(50));
        assert_eq!(found(length_and_width, "a.rs", &format!("{code}{tests}")), NONE);
        assert_eq!(found(length_and_width, "a.rs", &format!("{tests}{code}fn g() {{}}\n")), [0]);
        assert_eq!(found(length_and_width, "a.rs", &format!("#[cfg(test)]\nmod tests;\n{code}")), NONE);
        assert_eq!(
            found(length_and_width, "a.rs", &format!("#[cfg(test)]\nmod tests;\n{code}fn g() {{}}\n")),
            [0]
        );
        assert_eq!(found(length_and_width, "tests/a.rs", &code.repeat(2)), NONE);
    }

    #[test]
    fn a_wide_line_is_found_unless_it_holds_an_address() {
        let wide = "a".repeat(WIDTH_MAX + 1);
        assert_eq!(found(length_and_width, "a.rs", &format!("//! x\n// {wide}\n")), [2]);
        assert_eq!(found(length_and_width, "a.rs", &format!("// https://example.org/{wide}\n")), NONE);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(found(names, "crates/store/src/utils.rs", ""), [0]);
        assert_eq!(found(names, "web/src/lib/common/color.ts", ""), [0]);
        assert_eq!(found(names, "crates/store/src/lib.rs", "//! x\npub(crate) mod helper;\n"), [2]);
        assert_eq!(found(names, "crates/store/src/database.rs", "mod baseline;\n"), NONE);
    }

    #[test]
    fn an_open_end_without_an_issue_is_found() {
        let mark = concat!("TO", "DO");
        assert_eq!(found(open_ends, "a.rs", &format!("// {mark}: later\n")), [1]);
        assert_eq!(found(open_ends, "a.ts", &format!("// {mark}(#12): later\n")), NONE);
        assert_eq!(found(open_ends, "a.lua", &format!("-- MAS{mark}N\n")), NONE);
    }

    #[test]
    fn an_ignored_test_is_found() {
        assert_eq!(found(ignored_tests, "a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"), [2]);
    }

    #[test]
    fn a_sleeping_test_is_found_and_sleeping_code_is_not() {
        let sleep = concat!("std::thread::", "sleep(wait);\n");
        assert_eq!(found(sleeping_tests, "crates/x/tests/a.rs", sleep), [1]);
        assert_eq!(found(sleeping_tests, "crates/x/src/a.rs", sleep), NONE);
        let inside = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n    {sleep}}}\n{sleep}");
        assert_eq!(found(sleeping_tests, "crates/x/src/a.rs", &inside), [4]);
        assert_eq!(found(sleeping_tests, "tests/end-to-end/src/wait.rs", sleep), NONE);
    }
}
