//! The files of the project as git sees them: tracked ones and new ones that are not ignored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Path (with `/`, from the root) to text. Files that are not text have an empty one.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the files that git lists under `root`.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let output = git.output().context("starting git")?;
        if !output.status.success() {
            bail!("git ls-files ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let mut files = BTreeMap::new();
        for name in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            // A tracked file that was removed and not yet committed is not there any more.
            if let Ok(bytes) = std::fs::read(root.join(name)) {
                files.insert(name.to_owned(), String::from_utf8(bytes).unwrap_or_default());
            }
        }
        Ok(Self { files })
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect() }
    }

    /// The text of a file, if it exists.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// Names and texts of all files.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Names and texts of the files whose extension is in `extensions`.
    pub(crate) fn with_extension<'a>(
        &'a self,
        extensions: &'a [&'a str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all().filter(|(name, _)| name.rsplit_once('.').is_some_and(|(_, end)| extensions.contains(&end)))
    }

    /// Whether a file, or a folder with files in it, has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let inside = format!("{}/", name.trim_end_matches('/'));
        self.files.contains_key(name) || self.files.keys().any(|file| file.starts_with(&inside))
    }
}
