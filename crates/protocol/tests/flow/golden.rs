//! The code of the first flow of the guide, as it is sent to boards, and how large code is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use motehub_domain::flow::Graph;
use motehub_protocol::flow::{Part, Shell, nodes, program};
use serde_json::json;

use super::{flow_id, ids, read};

const SHELLS: [(&str, Shell<'static>); 3] =
    [("lua", Shell::Lua), ("py", Shell::Python), ("esp-firmware.py", Shell::EspFirmware { key: "board-1" })];

fn seed() -> Graph {
    read(&json!({
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 5000},
            {"id": "warm", "kind": "compare", "property": "temperature", "rules": [{"operator": "gt", "value": 20}]},
            {"id": "moist", "kind": "compare", "property": "humidity",
             "rules": [{"operator": "between", "value": 40, "to": 60.5}]},
            {"id": "both", "kind": "and"},
            {"id": "on", "kind": "pass"},
            {"id": "out", "kind": "publish", "topic": "seed/out"},
        ],
        "wires": [
            {"from": "th", "to": "warm"}, {"from": "th", "to": "moist"}, {"from": "warm", "to": "both"},
            {"from": "moist", "to": "both"}, {"from": "both", "to": "on"}, {"from": "on", "to": "out"},
        ],
    }))
}

/// Compares with a file; `UPDATE_GOLDEN=1` writes it.
fn compare(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flow").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(&path, text).expect("the file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{file} says something else; UPDATE_GOLDEN=1 writes it again");
}

#[test]
fn the_first_flow_becomes_this_code() {
    let graph = seed();
    for (end, shell) in SHELLS {
        for (name, here) in [
            ("all", ids(&["th", "warm", "moist", "both", "on"])),
            ("first", ids(&["th", "warm"])),
            ("last", ids(&["moist", "both", "on"])),
            ("idle", ids(&[])),
        ] {
            let parts = [Part { flow: flow_id(1), graph: &graph, here }];
            let parts = if name == "idle" { &[] } else { &parts[..] };
            let text = program(parts, &BTreeSet::new(), shell);
            let frame = match shell {
                Shell::Python => 1200,
                Shell::Lua => 1400,
                Shell::EspFirmware { .. } => 2000,
            };
            let steps: usize = parts.iter().map(|part| part.here.len()).sum();
            assert!(text.len() <= frame + 600 * steps, "{name}.{end} has {} bytes", text.len());
            compare(&format!("{name}.{end}"), &text);
        }
    }
    let parts = [Part { flow: flow_id(1), graph: &graph, here: ids(&["both", "warm"]) }];
    assert_eq!(nodes(&parts), "compare:warm and:both");
}
