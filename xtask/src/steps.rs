//! The steps of `check` and `test`, the cheap ones first. Each is an ordinary command that is printed before
//! it runs, so that anyone can repeat it by hand. The first failure ends the run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::tidy;

/// The quick part, for before a commit. It needs Rust and nothing else.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    format_and_lints(root)?;
    unit_tests(root)
}

/// Everything that must pass. The machine was prepared by `xtask/setup.sh test`.
pub(crate) fn test(root: &Path) -> anyhow::Result<()> {
    run(root, "npm --prefix web run --silent check")?;
    run(root, "npm --prefix web --silent test")?;
    run(root, "npm --prefix integrations/node-red --silent test")?;
    format_and_lints(root)?;
    unit_tests(root)?;
    hub_tests_on_postgres(root)?;
    end_to_end_tests(root)?;
    node_tests(root, "tests/browser")?;
    node_tests(root, "tests/node-red")
}

fn format_and_lints(root: &Path) -> anyhow::Result<()> {
    println!("==> cargo xtask tidy");
    tidy::run(root)?;
    run(root, "cargo fmt --all --check")?;
    run(root, "cargo clippy --workspace --all-targets --locked -- -D warnings")
}

fn unit_tests(root: &Path) -> anyhow::Result<()> {
    let exclude: String =
        end_to_end_packages(root)?.iter().map(|name| format!(" --exclude {name}")).collect();
    run(root, &format!("cargo test --workspace --locked{exclude}"))
}

/// What hubs are tested with from outside, once more with hubs that keep their state in PostgreSQL.
fn hub_tests_on_postgres(root: &Path) -> anyhow::Result<()> {
    let tests = "--test api --test people --test transcripts";
    run_with(root, &format!("cargo test --workspace --locked {tests}"), &[("MOTEHUB_TEST_STORE", "postgres")])
}

/// The real binary, real sockets, real clients.
fn end_to_end_tests(root: &Path) -> anyhow::Result<()> {
    run(root, "cargo build --locked --package motehub")?;
    for package in end_to_end_packages(root)? {
        run(root, &format!("cargo test --locked --package {package}"))?;
    }
    Ok(())
}

/// A real browser, or a real Node-RED; the files of the folder whose names end in `.test.mjs`.
fn node_tests(root: &Path, folder: &str) -> anyhow::Result<()> {
    let entries = root.join(folder).read_dir().with_context(|| format!("reading {folder}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            files.push(format!("{folder}/{name}"));
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{folder} holds no *.test.mjs: add one or remove the folder");
    }
    run(root, &format!("node --test {}", files.join(" ")))
}

/// Names of the packages under `tests/`.
fn end_to_end_packages(root: &Path) -> anyhow::Result<Vec<String>> {
    let tests = root.join("tests");
    let packages = metadata(root)?.packages;
    Ok(packages.iter().filter(|p| p.manifest_path.starts_with(&tests)).map(|p| p.name.to_string()).collect())
}

/// Runs one command line (its words are separated by blanks) and says how long it took.
fn run(root: &Path, line: &str) -> anyhow::Result<()> {
    run_with(root, line, &[])
}

/// The same with more in its environment.
fn run_with(root: &Path, line: &str, more: &[(&str, &str)]) -> anyhow::Result<()> {
    let more_said: String = more.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    println!("==> {more_said}{line}");
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let started = Instant::now();
    let status = Command::new(program)
        .args(words)
        .current_dir(root)
        .envs(environment(root)?)
        .envs(more.iter().copied())
        .status()
        .with_context(|| format!("starting `{program}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    println!("    {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// What end-to-end and browser tests need to find: the hub under test, the browser, the Python with its
/// packages, the interpreter of MicroPython boards. Who sets one of these has the last word.
fn environment(root: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let target = metadata(root)?.target_directory.into_std_path_buf();
    let unpacked = root.join(".tools/micropython/micropython");
    let micropython = if unpacked.exists() { unpacked } else { PathBuf::from("micropython") };
    let defaults = [
        ("MOTEHUB", target.join("debug/motehub")),
        ("CHROMIUM", PathBuf::from("/usr/bin/chromium")),
        ("PYTHON", root.join(".tools/venv/bin/python")),
        ("MICROPYTHON", micropython),
    ];
    Ok(defaults.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect())
}

fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    MetadataCommand::new().current_dir(root).no_deps().exec().context("asking cargo for the packages")
}
