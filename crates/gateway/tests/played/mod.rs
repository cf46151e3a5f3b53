//! Plays all transcripts of a folder, and says which did not go as written.

use std::panic::RefUnwindSafe;
use std::path::{Path, PathBuf};

/// Plays the transcripts in a folder of `tests/transcripts` and in those within it, of which there are so many at least.
pub(crate) fn all(folder: &str, least: usize, play: impl Fn(&str) + RefUnwindSafe) {
    let paths =
        transcripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts").join(folder));
    assert!(paths.len() >= least, "there are only {} transcripts", paths.len());
    let failed: Vec<_> = paths
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let outcome = std::panic::catch_unwind(|| play(&text));
            if outcome.is_err() {
                eprintln!("^ in {}", path.display());
            }
            outcome.is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} transcripts failed: {failed:#?}", failed.len(), paths.len());
}

fn transcripts(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|end| end.to_str()) {
                Some("txt") => found.push(path),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
