//! Development tasks: whatever has an `if` in it and is not part of the product. `cargo xtask` lists them.

#![expect(clippy::print_stdout, reason = "this program talks to the person who started it")]

mod conformance;
mod deb;
mod gen_files;
mod steps;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask tidy    what the compiler cannot see: the crate table, names, sizes, links, licences
cargo xtask check   the quick part of the tests: format, lints, tidy, unit tests
cargo xtask test    everything that must pass, after xtask/setup.sh test
cargo xtask gen     write the generated files again
cargo xtask deb     make the Debian package in target/deb; of another program: deb PROGRAM FOLDER";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let root = root();
    let result = match task.as_str() {
        "tidy" => tidy::run(&root),
        "check" => steps::check(&root),
        "test" => steps::test(&root),
        "gen" => gen_files::run(&root),
        "deb" => {
            let mut paths = std::env::args_os().skip(2).map(PathBuf::from);
            deb::run(&root, paths.next(), paths.next())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace: the parent of this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("because xtask is a folder in the workspace").to_path_buf()
}
