//! What a MicroPython board gets by itself: packages from the hub by its own `mip`, and a connection by TLS.

use std::path::Path;
use std::process::Command;

use end_to_end::{Fleet, Hub, until};
use serde_json::json;

/// Runs a line of Python on the real interpreter. Gives what it printed.
fn python(line: &str) -> String {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/micropython/micropython");
    let found = if Path::new(unpacked).exists() { unpacked } else { "micropython" };
    let program = std::env::var("MICROPYTHON").unwrap_or_else(|_| found.to_owned());
    let done = Command::new(program).args(["-c", line]).output().expect("the interpreter");
    let said = [done.stdout, done.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn mip_installs_the_agent_and_libraries_of_the_hub_and_nothing_else() {
    let hub = Hub::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let install = |name: &str, more: &str, into: &str| {
        let target = folder.path().join(into).display().to_string();
        let index = format!("http://{}", hub.http());
        python(&format!("import mip; mip.install('{name}', index='{index}', target='{target}'{more})"))
    };
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agents/micropython");
    for (into, more, from, extension) in
        [("compiled", "", "compiled", "mpy"), ("source", ", mpy=False", "", "py")]
    {
        let said = install("motehub-agent", more, into);
        assert!(said.contains("Done"), "{said}");
        let files = std::fs::read_dir(agent.join(from).join("mh")).expect("a folder").flatten();
        let names = files.map(|file| format!("mh/{}", file.file_name().to_string_lossy()));
        for name in names.chain([format!("motehub.{extension}")]).filter(|name| name.ends_with(extension)) {
            let (kept, came) = (agent.join(from).join(&name), folder.path().join(into).join(&name));
            assert_eq!(std::fs::read(kept).ok(), std::fs::read(came).ok(), "{name}");
        }
        let main = std::fs::read(folder.path().join(into).join("main.py")).ok();
        assert_eq!(main, std::fs::read(agent.join("main.py")).ok());
    }

    // A library is a script in Python that somebody has put into the category `mip`.
    let library =
        json!({ "name": "blinds", "language": "python", "category": "mip", "source": "DOWN = 1\n" });
    let made = hub.api.post("/scripts", &library);
    let said = install("blinds", "", "lib");
    assert!(said.contains("Done"), "{said}");
    let text = std::fs::read_to_string(folder.path().join("lib/blinds.py")).expect("it is there");
    assert_eq!(text, "DOWN = 1\n");
    let versions = format!("/scripts/{}/versions", made["id"].as_str().expect("an id"));
    hub.api.post(&versions, &json!({ "source": "DOWN = 2\n" }));
    for (version, expected) in [("latest", "DOWN = 2\n"), ("1", "DOWN = 1\n")] {
        install("blinds", &format!(", version='{version}'"), version);
        let came = std::fs::read_to_string(folder.path().join(version).join("blinds.py")).ok();
        assert_eq!(came.as_deref(), Some(expected), "{version}");
    }

    // Others are nobody's to read, by name or by digest.
    hub.api.script_in("python", "private", "KEY = 7\n");
    let private = hub.api.get("/scripts")["items"].clone();
    let private = private.as_array().expect("scripts").iter().find(|script| script["name"] == "private");
    let id = private.expect("it is there")["id"].as_str().expect("an id").to_owned();
    let digest =
        hub.api.get(&format!("/scripts/{id}/versions/1"))["digest"].as_str().expect("one").to_owned();
    let digest = digest.trim_start_matches("sha256:");
    for name in ["private", "nothing", "blinds/../private", "%2e%2e"] {
        assert!(install(name, "", "private").contains("not found"), "{name}");
    }
    for path in [
        format!("/file/{}/{digest}", &digest[..2]),
        "/file/ab/abc".to_owned(),
        "/package/6/blinds/9.json".to_owned(),
        "/package/6/blinds/latest".to_owned(),
        "/package/6/motehub-agent/9.json".to_owned(),
    ] {
        let (status, said) = hub.api.call_raw("GET", &path, None);
        assert_eq!(status, 404, "{path}: {said}");
    }
}

#[test]
fn a_board_speaks_tls_to_a_hub_whose_authority_it_knows() {
    let hub = Hub::start(&["--mqtt-tls", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
    let (board, other) = (hub.api.micropython("board", "python"), hub.api.micropython("other", "python"));
    let device = board.0.clone();
    let [http, mqtt] =
        ["https", "mqtt_tls"].map(|key| hub.ready[key].as_str().expect("it listens").to_owned());
    let ca = hub.data().join("tls/ca.pem");
    let ca = ca.to_str().expect("a path");
    let flash = hub.data().join("../flash");
    let mut fleet =
        Fleet::micropython_at([&http, &mqtt], &flash, &[], &[board], &["--heap", "128k", "--ca", ca]);
    let script = hub.api.script_in("python", "good", "print('good')\n");
    let deployment = hub.api.deploy(&script, 1, &device);
    fleet.await_print("good");
    until("it is Done", || (hub.api.task(&deployment).0 == "Done").then_some(()));

    // A board that knows another authority does not speak to this hub.
    let stranger = Hub::start(&["--https", "127.0.0.1:0"]);
    let ca = stranger.data().join("tls/ca.pem");
    let ca = ca.to_str().expect("a path");
    let flash = hub.data().join("../flash2");
    let name = other.0.clone();
    let mut fleet =
        Fleet::micropython_at([&http, &mqtt], &flash, &[], &[other], &["--heap", "128k", "--ca", ca]);
    fleet.await_print("next attempt");
    assert_eq!(hub.api.get(&format!("/devices/{name}"))["online"], false);
}
