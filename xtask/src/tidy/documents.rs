//! Rules about documents, and about what does not belong into the repository at all.

use super::Problem;
use super::tree::Tree;

const GUIDE: &str = "docs/guide/";
const DECISIONS: &str = "docs/decisions/";
/// Documents that are only useful while they are short.
const LINES_MAX: &[(&str, usize)] = &[("ARCHITECTURE.md", 300), ("Makefile", 40)];
const DECISION_LINES_MAX: usize = 60;
const STATUSES: &[&str] = &["proposed", "accepted", "rejected", "superseded by "];
/// Folders and endings of what tools make.
const OUTPUT_FOLDERS: &[&str] = &["node_modules", "dist", "target", ".tools", ".svelte-kit", "__pycache__"];
const OUTPUT_ENDINGS: &[&str] = &[".db", ".db-wal", ".db-shm", ".pyc", ".lc", ".orig", ".rej"];

/// A page has one title.
pub(crate) fn one_title(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(&["md"]) {
        let mut titles = prose(text).filter(|(_, line)| line.starts_with("# ")).map(|(number, _)| number);
        if titles.next().is_none() {
            problems.push(Problem::new(name, 1, "no title: begin with one line `# …`"));
        }
        problems.extend(titles.map(|line| Problem::new(name, line, "a second title: use `##`")));
    }
    problems
}

/// Some documents have a bound.
pub(crate) fn line_limits(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, lines_max) in LINES_MAX {
        let count = tree.text(name).unwrap_or_default().lines().count();
        if count > *lines_max {
            problems.push(Problem::new(name, *lines_max, format!("{count} lines; at most {lines_max}")));
        }
    }
    problems
}

/// A link to a file of the project leads somewhere.
pub(crate) fn links(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(&["md"]) {
        for (number, line) in prose(text) {
            for target in link_targets(line) {
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !path.contains(':') && !tree.has(&resolve(name, path)) {
                    problems.push(Problem::new(
                        name,
                        number,
                        format!("the link to `{target}` leads nowhere"),
                    ));
                }
            }
        }
    }
    problems
}

/// A source file that a document names, such as `server/src/perform.rs`, is there.
pub(crate) fn named_files(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in tree.with_extension(&["md"]) {
        for (number, line) in prose(text) {
            let spans = line.split('`').skip(1).step_by(2);
            for span in spans.filter(|span| span.contains("/src/") && span.ends_with(".rs")) {
                if !tree.has(span) && !tree.has(&format!("crates/{span}")) {
                    problems.push(Problem::new(
                        name,
                        number,
                        format!("there is no `{span}`: name the file of today"),
                    ));
                }
            }
        }
    }
    problems
}

/// Every page of the guide can be reached from its first page.
pub(crate) fn guide_index(tree: &Tree) -> Vec<Problem> {
    let index = format!("{GUIDE}README.md");
    let linked = tree.text(&index).unwrap_or_default();
    let pages = tree.with_extension(&["md"]).filter_map(|(name, _)| name.strip_prefix(GUIDE));
    let lost = pages.filter(|page| *page != "README.md" && !linked.contains(&format!("]({page})")));
    lost.map(|page| Problem::new(&index, 0, format!("link {page} from here, or nobody will find it")))
        .collect()
}

/// Decisions are numbered without gaps, carry their head, and are short.
pub(crate) fn decisions(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let records = tree.with_extension(&["md"]).filter(|(name, _)| name.starts_with(DECISIONS));
    for (index, (name, text)) in records.enumerate() {
        let wanted = format!("{:04}", index + 1);
        if !name[DECISIONS.len()..].starts_with(&format!("{wanted}-")) {
            problems.push(Problem::new(
                name,
                0,
                format!("the next number is {wanted}: rename it {wanted}-….md"),
            ));
            continue;
        }
        let head = |key: &str| text.lines().take(5).find_map(|line| line.strip_prefix(key)).map(str::trim);
        if head("number:") != Some(&wanted) {
            problems.push(Problem::new(name, 2, format!("the head needs the line `number: {wanted}`")));
        }
        if head("date:").is_none_or(|date| date.len() != 10) {
            problems.push(Problem::new(name, 3, "the head needs the line `date: YYYY-MM-DD`"));
        }
        if !head("status:").is_some_and(|status| STATUSES.iter().any(|known| status.starts_with(known))) {
            let known = STATUSES.join("`, `");
            problems.push(Problem::new(
                name,
                4,
                format!("the head needs a line `status:` with one of `{known}`"),
            ));
        }
        let count = text.lines().count();
        if count > DECISION_LINES_MAX {
            let what = format!("{count} lines; a decision has at most {DECISION_LINES_MAX}");
            problems.push(Problem::new(name, DECISION_LINES_MAX, what));
        }
    }
    problems
}

/// What tools make is ignored by git, never committed.
pub(crate) fn build_output(tree: &Tree) -> Vec<Problem> {
    let is_output = |name: &str| {
        name.starts_with("data/")
            || name.split('/').any(|part| OUTPUT_FOLDERS.contains(&part))
            || OUTPUT_ENDINGS.iter().any(|end| name.ends_with(end))
    };
    let made = tree.all().filter(|(name, _)| is_output(name));
    made.map(|(name, _)| Problem::new(name, 0, "a tool made this: remove it and add it to .gitignore"))
        .collect()
}

/// The numbered lines of a page that are neither in a block of code nor a comment.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence && !line.starts_with("<!--")).then_some((index + 1, line))
    })
}

/// What `](…)` names. A picture counts too: a page without it looks broken.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The path from the root of what a page names relative to itself.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(String, usize); 0] = [];

    fn found(check: fn(&Tree) -> Vec<Problem>, files: &[(&str, &str)]) -> Vec<(String, usize)> {
        check(&Tree::of(files)).into_iter().map(|problem| (problem.file, problem.line)).collect()
    }

    #[test]
    fn a_page_without_a_title_or_with_two_is_found() {
        assert_eq!(found(one_title, &[("a.md", "words\n")]), [("a.md".into(), 1)]);
        assert_eq!(found(one_title, &[("a.md", "# One\n# Two\n")]), [("a.md".into(), 2)]);
        assert_eq!(found(one_title, &[("a.md", "# One\n```sh\n# a comment\n```\n")]), NONE);
    }

    #[test]
    fn a_document_over_its_bound_is_found() {
        assert_eq!(found(line_limits, &[("Makefile", &"\n".repeat(41))]), [("Makefile".into(), 40)]);
        assert_eq!(found(line_limits, &[("Makefile", &"\n".repeat(40))]), NONE);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let page = "# A\n[b](../b.md#part) [c](c.md) [web](https://example.org/x) [folder](../docs/)\n";
        let files = [("docs/a.md", page), ("b.md", "# B\n")];
        assert_eq!(found(links, &files), [("docs/a.md".into(), 2)]);
    }

    #[test]
    fn a_named_file_that_is_gone_is_found() {
        let page = "# A\n`server/src/gone.rs` and `server/src/here.rs` and `xtask/src/main.rs`\n";
        let files = [("A.md", page), ("crates/server/src/here.rs", ""), ("xtask/src/main.rs", "")];
        assert_eq!(found(named_files, &files), [("A.md".into(), 2)]);
    }

    #[test]
    fn a_guide_page_that_nothing_links_is_found() {
        let files = [("docs/guide/README.md", "# Guide\n[one](one.md)\n"), ("docs/guide/one.md", "")];
        assert_eq!(found(guide_index, &files), NONE);
        let lost = [files[0], files[1], ("docs/guide/two.md", "")];
        assert_eq!(found(guide_index, &lost), [("docs/guide/README.md".into(), 0)]);
    }

    #[test]
    fn a_decision_with_a_wrong_number_or_head_is_found() {
        let good = "---\nnumber: 0001\ndate: 2026-11-21\nstatus: accepted\n---\n# A\n";
        let name = "docs/decisions/0001-a.md";
        assert_eq!(found(decisions, &[(name, good)]), NONE);
        assert_eq!(found(decisions, &[(name, &good.replace("0001", "0002"))]), [(name.into(), 2)]);
        assert_eq!(found(decisions, &[(name, &good.replace("accepted", "fine"))]), [(name.into(), 4)]);
        assert_eq!(found(decisions, &[(name, &good.replace("date", "day"))]), [(name.into(), 3)]);
        assert_eq!(found(decisions, &[(name, &format!("{good}{}", "\n".repeat(60)))]), [(name.into(), 60)]);
        let gap = "docs/decisions/0003-b.md";
        assert_eq!(found(decisions, &[(name, good), (gap, good)]), [(gap.into(), 0)]);
    }

    #[test]
    fn build_output_is_found() {
        assert_eq!(found(build_output, &[("web/dist/index.html", "")]), [("web/dist/index.html".into(), 0)]);
        assert_eq!(found(build_output, &[("a/hub.db", "")]), [("a/hub.db".into(), 0)]);
        assert_eq!(found(build_output, &[("crates/store/src/data.rs", "")]), NONE);
    }
}
