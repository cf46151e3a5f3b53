//! `cargo xtask deb`: the Debian package, made with Debian's own tool. It holds the program, the units of hub and
//! gateways, their settings, and the guide; installing it starts nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;

/// Where the program is in the package, and where a person who follows the guide puts it by hand.
const PROGRAM: (&str, &str) = ("/usr/bin/motehub", "/usr/local/bin/motehub");
const UNITS: &[&str] = &["motehub.service", "motehub-gateway@.service"];

/// Makes the package in `folder`, of this program or else of the release build. Says where it is.
pub(crate) fn run(root: &Path, program: Option<PathBuf>, folder: Option<PathBuf>) -> anyhow::Result<()> {
    let program = match program {
        Some(program) => program,
        None => release(root)?,
    };
    let folder = folder.unwrap_or_else(|| root.join("target/deb"));
    let (version, architecture) = (version(root)?, printed("dpkg", &["--print-architecture"])?);
    let name = format!("motehub_{version}_{architecture}");
    let tree = folder.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    let package = Package { root, tree: &tree };
    package.copy(&program, "usr/bin/motehub", 0o755)?;
    let installed = tree.join("usr/bin/motehub");
    called("strip", &[&installed.display().to_string()])?;
    for unit in UNITS {
        let text = fs::read_to_string(root.join("deploy").join(unit)).context("reading a unit")?;
        let text = text.replace(PROGRAM.1, PROGRAM.0);
        package.write(&format!("usr/lib/systemd/system/{unit}"), &text, 0o644)?;
    }
    for settings in ["motehub", "motehub-gateway"] {
        package.copy(
            &root.join("deploy/default").join(settings),
            &format!("etc/default/{settings}"),
            0o644,
        )?;
    }
    let completions = printed(&installed.display().to_string(), &["completions", "bash"])?;
    package.write("usr/share/bash-completion/completions/motehub", &completions, 0o644)?;
    package.documents()?;
    package.control(&version, &architecture)?;
    let file = folder.join(format!("{name}.deb"));
    let words = ["--root-owner-group", "--build", &tree.display().to_string(), &file.display().to_string()];
    called("dpkg-deb", &words)?;
    println!("{}", file.display());
    Ok(())
}

fn release(root: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    let built =
        cargo.args(["build", "--release", "--locked", "--package", "motehub"]).current_dir(root).status();
    if !built.context("starting cargo")?.success() {
        bail!("the program cannot be built");
    }
    Ok(root.join("target/release/motehub"))
}

fn version(root: &Path) -> anyhow::Result<String> {
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec().context("asking cargo")?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "motehub");
    Ok(package.context("there is no package motehub")?.version.to_string())
}

struct Package<'a> {
    root: &'a Path,
    tree: &'a Path,
}

impl Package<'_> {
    /// What people read: the guide, what is new, and the licences.
    fn documents(&self) -> anyhow::Result<()> {
        let docs = "usr/share/doc/motehub";
        for file in ["README.md", "CHANGELOG.md", "SECURITY.md"] {
            self.copy(&self.root.join(file), &format!("{docs}/{file}"), 0o644)?;
        }
        let licences = ["LICENSE-MIT", "LICENSE-APACHE"].iter().map(|file| self.root.join(file));
        let mut copyright = String::from("Motehub may be used under either of these licences.\n");
        for licence in licences.filter(|licence| licence.exists()) {
            let text = fs::read_to_string(&licence).context("reading a licence")?;
            copyright.push_str(&format!("\n{}\n\n{text}", "-".repeat(79)));
        }
        self.write(&format!("{docs}/copyright"), &copyright, 0o644)?;
        for part in ["guide", "reference"] {
            for entry in fs::read_dir(self.root.join("docs").join(part)).context("reading the guide")? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    self.copy(&entry.path(), &format!("{docs}/{part}/{name}"), 0o644)?;
                }
            }
        }
        Ok(())
    }

    fn control(&self, version: &str, architecture: &str) -> anyhow::Result<()> {
        let control = format!(
            "Package: motehub\nVersion: {version}\nArchitecture: {architecture}\nSection: net\nPriority: optional\n\
             Maintainer: The Motehub project <motehub@example.org>\n\
             Homepage: https://github.com/motehub/motehub\n\
             Depends: libc6 (>= 2.34), ca-certificates\n\
             Description: runs a fleet of microcontrollers\n \
             A hub for devices that speak MQTT, CoAP, HTTP or WebSocket, with a dashboard, and\n \
             gateways for devices in other buildings. Installing it starts nothing.\n"
        );
        self.write("DEBIAN/control", &control, 0o644)?;
        self.write("DEBIAN/conffiles", "/etc/default/motehub\n/etc/default/motehub-gateway\n", 0o644)?;
        // Units are known at once; those that run are stopped before their program goes away.
        let reload = "if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi\n";
        self.write("DEBIAN/postinst", &format!("#!/bin/sh\nset -e\n{reload}"), 0o755)?;
        self.write("DEBIAN/postrm", &format!("#!/bin/sh\nset -e\n{reload}"), 0o755)?;
        let stop = "if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n    \
                    systemctl stop motehub.service 'motehub-gateway@*.service' || true\nfi\n";
        self.write("DEBIAN/prerm", &format!("#!/bin/sh\nset -e\n{stop}"), 0o755)
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> anyhow::Result<()> {
        let path = self.placed(to)?;
        fs::copy(from, &path).with_context(|| format!("copying {}", from.display()))?;
        set_mode(&path, mode)
    }

    fn write(&self, to: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        let path = self.placed(to)?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        set_mode(&path, mode)
    }

    fn placed(&self, to: &str) -> anyhow::Result<PathBuf> {
        let path = self.tree.join(to);
        let parent = path.parent().context("a file is in a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        Ok(path)
    }
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("the mode of {}", path.display()))
}

fn printed(program: &str, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(words).output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn called(program: &str, words: &[&str]) -> anyhow::Result<()> {
    printed(program, words).map(drop)
}
