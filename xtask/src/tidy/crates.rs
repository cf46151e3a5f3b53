//! The table of permitted dependencies (ARCHITECTURE.md, "Rooms"), checked against what cargo sees.

use std::path::Path;

use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use super::Problem;
use super::tree::Tree;

/// One line of the table.
struct Room {
    name: &'static str,
    /// Crates of the workspace that it may use, in its tests too.
    inside: &'static [&'static str],
    /// If it is pure: the only crates from outside that it may use (its tests are free).
    outside: Option<&'static [&'static str]>,
}

const ROOMS: &[Room] = &[
    Room { name: "motehub-domain", inside: &[], outside: Some(&["cel", "serde_json", "thiserror", "ulid"]) },
    Room {
        name: "motehub-protocol",
        inside: &["motehub-domain"],
        outside: Some(&[
            "base64",
            "bytes",
            "coap-lite",
            "crc32fast",
            "minicbor",
            "regex",
            "serde",
            "serde_json",
            "sha1",
            "sha2",
            "thiserror",
        ]),
    },
    Room { name: "motehub-store", inside: &["motehub-domain", "servers"], outside: None },
    Room { name: "motehub-gateway", inside: &["motehub-domain", "motehub-protocol"], outside: None },
    Room {
        name: "motehub-server",
        inside: &["motehub-domain", "motehub-protocol", "motehub-store", "motehub-gateway", "servers"],
        outside: None,
    },
    Room { name: "motehub-sim", inside: &["motehub-domain", "motehub-protocol"], outside: None },
    Room {
        name: "motehub",
        inside: &["motehub-domain", "motehub-store", "motehub-gateway", "motehub-server", "motehub-sim"],
        outside: None,
    },
    // The tests and the bench of the whole see it only from outside.
    Room { name: "end-to-end", inside: &["servers"], outside: None },
    // The servers that the hub can use, for tests.
    Room { name: "servers", inside: &[], outside: Some(&["tempfile"]) },
    Room { name: "bench", inside: &["servers"], outside: None },
    Room { name: "xtask", inside: &[], outside: None },
];

/// Crates that belong to some rooms only, and why.
const RESERVED: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "rusqlite",
            "libsqlite3-sys",
            "sqlx",
            "tokio-postgres",
            "tokio-postgres-rustls",
            "postgres",
            "diesel",
            "sea-orm",
        ],
        &["motehub-store"],
        "only the store speaks SQL",
    ),
    (
        &["axum", "hyper", "tower-http"],
        &["motehub-gateway", "motehub-server", "end-to-end"],
        "HTTP is spoken at the borders only",
    ),
    (&["anyhow"], &["motehub", "motehub-sim", "end-to-end", "bench", "xtask"], "a library names its errors"),
];

/// A package of the workspace and what it depends on directly.
#[derive(Debug)]
pub(crate) struct Uses {
    name: String,
    /// Its manifest, from the root.
    manifest: String,
    /// Names, and whether only its tests use it.
    crates: Vec<(String, bool)>,
}

/// What cargo knows, for the platforms we build for.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let platforms = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    let options = platforms.iter().flat_map(|name| ["--filter-platform".to_owned(), (*name).to_owned()]);
    let mut command = MetadataCommand::new();
    command.current_dir(root).other_options(options.collect::<Vec<_>>());
    command.exec().context("asking cargo for the dependencies")
}

/// The direct dependencies of each package of the workspace.
pub(crate) fn uses(metadata: &Metadata, root: &Path) -> Vec<Uses> {
    let members = metadata.workspace_packages();
    let of = |package: &&cargo_metadata::Package| Uses {
        name: package.name.to_string(),
        manifest: package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path).to_string(),
        crates: package
            .dependencies
            .iter()
            .map(|d| (d.name.clone(), d.kind == DependencyKind::Development))
            .collect(),
    };
    members.iter().map(of).collect()
}

/// Every direct dependency is permitted by the table.
pub(crate) fn table(packages: &[Uses], tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let is_inside = |name: &str| packages.iter().any(|package| package.name == name);
    for package in packages {
        let Some(room) = ROOMS.iter().find(|room| room.name == package.name) else {
            let what = "a crate exists only if its permitted dependencies differ: \
                        give it a line in xtask/src/tidy/crates.rs and in ARCHITECTURE.md";
            problems.push(Problem::new(&package.manifest, 0, what));
            continue;
        };
        for (used, in_tests) in &package.crates {
            if let Some(what) = complaint(room, used, *in_tests, is_inside(used)) {
                let line = line_of(tree.text(&package.manifest).unwrap_or_default(), used);
                problems.push(Problem::new(&package.manifest, line, what));
            }
        }
    }
    problems
}

fn complaint(room: &Room, used: &str, in_tests: bool, is_inside: bool) -> Option<String> {
    let name = room.name;
    if is_inside {
        let permitted = room.inside.contains(&used);
        return (!permitted).then(|| format!("{name} may not use {used}: see the table in ARCHITECTURE.md"));
    }
    if in_tests {
        return None;
    }
    if let Some((_, rooms, why)) = RESERVED.iter().find(|(crates, ..)| crates.contains(&used))
        && !rooms.contains(&name)
    {
        return Some(format!("{name} may not use {used}: {why}"));
    }
    let foreign = room.outside.is_some_and(|outside| !outside.contains(&used));
    foreign.then(|| {
        format!("{name} is pure and may not use {used}: do this work in the shell, or argue in an ADR")
    })
}

/// The line of a manifest that names a dependency.
fn line_of(manifest: &str, used: &str) -> usize {
    let names = |line: &str| line.strip_prefix(used).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    manifest.lines().position(names).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn found(name: &str, crates: &[(&str, bool)]) -> Vec<usize> {
        let manifest = format!("crates/{name}/Cargo.toml");
        let text: String = crates.iter().map(|(used, _)| format!("{used}.workspace = true\n")).collect();
        let package = |name: &str, crates: &[(&str, bool)]| Uses {
            name: name.to_owned(),
            manifest: format!("crates/{name}/Cargo.toml"),
            crates: crates.iter().map(|(used, in_tests)| ((*used).to_owned(), *in_tests)).collect(),
        };
        let packages = [package(name, crates), package("motehub-store", &[]), package("motehub-domain", &[])];
        table(&packages, &Tree::of(&[(&manifest, &text)])).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_room_that_uses_another_against_the_table_is_found() {
        assert_eq!(found("motehub-sim", &[("motehub-domain", false), ("motehub-store", false)]), [2]);
        assert_eq!(found("motehub-gateway", &[("motehub-store", true)]), [1]);
        assert_eq!(found("motehub-server", &[("motehub-domain", false), ("motehub-store", false)]), NONE);
    }

    #[test]
    fn a_driver_outside_the_store_is_found() {
        assert_eq!(found("motehub-server", &[("rusqlite", false)]), [1]);
        assert_eq!(found("motehub-gateway", &[("axum", false), ("anyhow", false)]), [2]);
    }

    #[test]
    fn an_impure_crate_in_a_pure_room_is_found_but_its_tests_are_free() {
        assert_eq!(found("motehub-protocol", &[("serde_json", false), ("tokio", false)]), [2]);
        assert_eq!(found("motehub-protocol", &[("proptest", true)]), NONE);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_found() {
        assert_eq!(found("motehub-extra", &[]), [0]);
    }
}
