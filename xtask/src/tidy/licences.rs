//! Every crate we link has a licence that deny.toml allows. The same list serves cargo-deny.

use cargo_metadata::Metadata;

use super::Problem;
use super::tree::Tree;

const LIST: &str = "deny.toml";

/// Name and licence expression of each package from outside the workspace.
pub(crate) fn of_packages(metadata: &Metadata) -> Vec<(String, Option<String>)> {
    let resolved = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let foreign = resolved.filter(|node| !metadata.workspace_members.contains(&node.id));
    foreign
        .map(|node| &metadata[&node.id])
        .map(|p| (format!("{} {}", p.name, p.version), p.license.clone()))
        .collect()
}

/// Each package may be used under licences of the list.
pub(crate) fn allowed(packages: &[(String, Option<String>)], tree: &Tree) -> Vec<Problem> {
    let Some(text) = tree.text(LIST) else {
        return vec![Problem::new(LIST, 0, "this list of licences is missing")];
    };
    let list = allow_list(text);
    let mut problems = Vec::new();
    for (package, licence) in packages {
        let licence = licence.as_deref().unwrap_or("no licence");
        if !is_allowed(licence, &list) {
            let what =
                format!("{package} is under `{licence}`: use another crate, or allow it here with a reason");
            problems.push(Problem::new(LIST, 0, what));
        }
    }
    problems
}

/// The quoted words of `allow = […]` under `[licenses]`.
fn allow_list(text: &str) -> Vec<&str> {
    let section = text.split_once("[licenses]").map_or("", |(_, rest)| rest);
    let list = section.split_once("allow = [").map_or("", |(_, rest)| rest);
    let list = list.split_once(']').map_or("", |(list, _)| list);
    list.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect()
}

/// Evaluates an SPDX expression: `AND` binds closer than `OR`, `WITH` belongs to the licence before it, and
/// the old form `A/B` means `A OR B`.
fn is_allowed(expression: &str, list: &[&str]) -> bool {
    let spaced =
        expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let mut words = spaced.split_whitespace().peekable();
    either(&mut words, list)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, list: &[&str]) -> bool {
    let mut result = both(words, list);
    while words.next_if_eq(&"OR").is_some() {
        // Not `||`: the words must be read in any case.
        result |= both(words, list);
    }
    result
}

fn both(words: &mut Words<'_>, list: &[&str]) -> bool {
    let mut result = one(words, list);
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, list);
    }
    result
}

fn one(words: &mut Words<'_>, list: &[&str]) -> bool {
    match words.next() {
        Some("(") => {
            let result = either(words, list);
            words.next_if_eq(&")").is_some() && result
        }
        Some(licence) => list.contains(&licence.replace("+WITH+", " WITH ").as_str()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "[bans]\n[licenses]\nallow = [\n    \"MIT\", # most\n    \"Apache-2.0\",\n    \"BSD-3-Clause\",\n]\n";

    fn is_found(licence: &str) -> bool {
        let packages = [("x 1.0.0".to_owned(), Some(licence.to_owned()))];
        !allowed(&packages, &Tree::of(&[(LIST, TREE)])).is_empty()
    }

    #[test]
    fn a_licence_that_is_not_on_the_list_is_found() {
        for licence in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND Unknown", "", "no licence"] {
            assert!(is_found(licence), "{licence}");
        }
    }

    #[test]
    fn one_allowed_alternative_is_enough() {
        for licence in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/GPL-3.0",
            "(MIT OR GPL-3.0) AND BSD-3-Clause",
            "GPL-3.0 OR MIT AND Apache-2.0",
        ] {
            assert!(!is_found(licence), "{licence}");
        }
    }
}
