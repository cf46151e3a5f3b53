//! The Debian package: it unpacks, the program in it runs, and systemd finds nothing wrong with its units.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use end_to_end::binary;

fn run(program: &str, words: &[&str]) -> Output {
    let output = Command::new(program).args(words).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; xtask/setup.sh test installs it"))
}

fn printed(program: &str, words: &[&str]) -> String {
    let output = run(program, words);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_package_unpacks_and_what_is_in_it_works() {
    let folder = tempfile::Builder::new().prefix("motehub-deb-").tempdir().expect("a folder");
    let made = folder.path().join("made");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--", "deb"])
        .args([&binary(), &made])
        .current_dir(&root)
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(built.status.success(), "{said}{}", String::from_utf8_lossy(&built.stderr));
    let package = said.lines().last().expect("where it is").to_owned();
    assert!(package.ends_with(".deb"), "{said}");

    let control = printed("dpkg-deb", &["--info", &package]);
    assert!(control.contains("Package: motehub") && control.contains("Depends: libc6"), "{control}");
    let contents = printed("dpkg-deb", &["--contents", &package]);
    for file in [
        "./usr/bin/motehub",
        "./usr/lib/systemd/system/motehub.service",
        "./usr/lib/systemd/system/motehub-gateway@.service",
        "./etc/default/motehub",
        "./etc/default/motehub-gateway",
        "./usr/share/doc/motehub/copyright",
        "./usr/share/doc/motehub/guide/README.md",
        "./usr/share/bash-completion/completions/motehub",
    ] {
        let line = contents.lines().find(|line| line.ends_with(file));
        let line = line.unwrap_or_else(|| panic!("no {file} in\n{contents}"));
        assert!(line.contains("root/root"), "{line}");
    }

    let tree = folder.path().join("tree");
    let at = tree.display().to_string();
    printed("dpkg-deb", &["--extract", &package, &at]);
    let program = tree.join("usr/bin/motehub").display().to_string();
    assert!(printed(&program, &["--help"]).contains("fleet of microcontrollers"));
    assert!(printed(&program, &["gateway", "coap", "--help"]).contains("--spool-mib"));

    // The units are looked at where they are, with the program that they start where it is now.
    let units = folder.path().join("units");
    fs::create_dir(&units).expect("a folder");
    for (unit, name) in
        [("motehub.service", "motehub.service"), ("motehub-gateway@.service", "motehub-gateway@coap.service")]
    {
        let text = fs::read_to_string(tree.join("usr/lib/systemd/system").join(unit)).expect("a unit");
        assert!(text.contains("ExecStart=/usr/bin/motehub "), "{text}");
        let file = units.join(name);
        let text = text.replace("%i", "coap").replace("/usr/bin/motehub", &program);
        fs::write(&file, text).expect("it is written");
        let verdict = run("systemd-analyze", &["verify", "--man=no", &file.display().to_string()]);
        let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
        let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("motehub")).collect();
        assert!(verdict.status.success() && of_ours.is_empty(), "{name}: {said}");
        // On systemd's own scale of 0 to 100 a service with every right has 96.
        let words = ["security", "--offline=true", "--threshold=20", &file.display().to_string()];
        let judged = run("systemd-analyze", &words);
        assert!(judged.status.success(), "{name}: {}", String::from_utf8_lossy(&judged.stdout));
    }
}
