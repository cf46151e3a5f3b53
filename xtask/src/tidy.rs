//! What the compiler cannot see: which crate may use which, names and sizes of files, promises of documents.
//!
//! A check looks at a [`Tree`] and returns [`Problem`]s; each says where, what is wrong and what to do. No
//! check reads files itself, so each has a test that shows it failing on a small tree written in the test.

mod crates;
mod documents;
mod licences;
mod source;
mod transcripts;
pub(crate) mod tree;

use std::fmt;
use std::path::Path;

use anyhow::bail;

use tree::Tree;

/// The checks over files. Those over crates need more than files and are called by [`run`].
const CHECKS: &[fn(&Tree) -> Vec<Problem>] = &[
    source::opening_comment,
    source::length_and_width,
    source::names,
    source::open_ends,
    source::ignored_tests,
    source::sleeping_tests,
    transcripts::every_dialect,
    crate::conformance::every_statement,
    documents::one_title,
    documents::line_limits,
    documents::links,
    documents::named_files,
    documents::guide_index,
    documents::decisions,
    documents::build_output,
];

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) file: String,
    /// Counted from 1; 0 when it is the file as a whole.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Problem {
    pub(crate) fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// Runs every check and lists every problem.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let metadata = crates::metadata(root)?;
    let mut problems: Vec<Problem> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    problems.extend(crates::table(&crates::uses(&metadata, root), &tree));
    problems.extend(licences::allowed(&licences::of_packages(&metadata), &tree));
    for problem in &problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("1 problem"),
        count => bail!("{count} problems"),
    }
}
