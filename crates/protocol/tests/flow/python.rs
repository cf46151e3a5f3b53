//! Generated Python on the real MicroPython.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use motehub_domain::flow::wire_name;
use motehub_protocol::flow::{Part, Shell, program};
use serde_json::{Value, json};

use super::differential::{Came, compare};
use super::graphs::{case, doubling};
use super::{flow_id, ids, read};

/// What generated code may import there.
const ESP_FIRMWARE_HAS: [&str; 8] =
    ["gc", "sys", "ujson", "uasyncio", "utime", "ubinascii", "dht", "machine"];

/// The one that the set-up made, or the system's.
fn interpreter() -> PathBuf {
    let unpacked = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools/micropython/micropython");
    match std::env::var_os("MICROPYTHON") {
        Some(path) => path.into(),
        None if unpacked.exists() => unpacked,
        None => "micropython".into(),
    }
}

/// What came of each case, and the lines that were logged.
fn run(cases: &[Value]) -> Vec<(Came, Vec<String>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases");
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).expect("the cases");
    let harness = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/flow/harness.py");
    let output = Command::new(interpreter()).args(["-X", "heapsize=64M"]).arg(harness).arg(&file).output();
    let output = output.expect("MicroPython can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines()
        .map(|line| {
            let said: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let came = serde_json::from_value(said["came"].clone()).expect("lists");
            (came, serde_json::from_value(said["logged"].clone()).expect("texts"))
        })
        .collect()
}

#[test]
fn random_flows_do_the_same_as_on_the_hub() {
    println!("with the agent: {}", same_as_on_the_hub(Shell::Python, 0..400));
    let esp = Shell::EspFirmware { key: "board-1" };
    println!("with ESP-FIRMWARE: {}", same_as_on_the_hub(esp, 400..500));
}

fn same_as_on_the_hub(shell: Shell<'_>, seeds: Range<u64>) -> String {
    let mut cases: Vec<_> = seeds.map(|seed| (seed, case(seed))).collect();
    if shell == Shell::Python {
        cases.push((cases.len() as u64, doubling()));
    }
    let programs: Vec<String> = cases
        .iter()
        .map(|(_, case)| {
            let part = Part { flow: flow_id(1), graph: &case.graph, here: case.here.clone() };
            let text = program(&[part], &BTreeSet::new(), shell);
            if shell != Shell::Python {
                let imported = text.lines().filter_map(|line| line.trim_start().strip_prefix("import "));
                let known =
                    |name: &str| ESP_FIRMWARE_HAS.contains(&name.split(' ').next().unwrap_or_default());
                imported.for_each(|name| assert!(known(name), "{name} is not on boards with ESP-FIRMWARE"));
            }
            text
        })
        .collect();
    let asked: Vec<Value> = cases
        .iter()
        .zip(&programs)
        .map(|((_, case), program)| {
            let values =
                case.values.iter().map(|(at, from, value)| json!([at, wire_name(flow_id(1), from), value]));
            json!({"program": program, "values": values.collect::<Vec<_>>()})
        })
        .collect();
    let came = run(&asked);
    assert_eq!(came.len(), cases.len());
    let (mut emitted, mut failed) = (0, 0);
    for (((seed, case), program), (came, logged)) in cases.iter().zip(&programs).zip(&came) {
        compare(case, *seed, program, came, shell != Shell::Python);
        failed += logged.len();
        emitted += came.iter().map(Vec::len).sum::<usize>() - logged.len();
    }
    assert!(emitted > 20 * cases.len() && failed > 5 * cases.len(), "{emitted} values, {failed} errors");
    let steps: usize = cases.iter().map(|(_, case)| case.here.len()).sum();
    let bytes: usize = programs.iter().map(String::len).sum();
    format!(
        "{} flows: {emitted} values and {failed} errors are the same; {} bytes for {:.1} steps",
        cases.len(),
        bytes / cases.len(),
        steps as f64 / cases.len() as f64
    )
}

#[test]
fn what_emits_by_itself_does_so_and_a_person_s_code_is_on_its_own() {
    let code = "number = 40\n\ndef step(value):\n    '''A \"\"\"quoted\"\"\" text.'''\n    global number\n    \
                number += 1\n    '\\n'.strip()\n    return None if value == 3 else {'n': number, 'v': value}\n";
    let graph = read(&json!({
        "steps": [
            {"id": "tick", "kind": "timer", "every_ms": 1000, "value": {"a": [null, true]}},
            {"id": "door", "kind": "sensor", "sensor": "pin", "pin": 2, "every_ms": 4000},
            {"id": "run", "kind": "code", "language": "python", "source": code},
            {"id": "bad", "kind": "code", "language": "python", "source": "def other(value):\n    return 1\n"},
            {"id": "worse", "kind": "code", "language": "python", "source": "def step(value:\n"},
            {"id": "in", "kind": "timer", "every_ms": 1000},
            {"id": "oom", "kind": "failure", "tags": ["weak"]},
            {"id": "out", "kind": "publish", "topic": "t"},
        ],
        "wires": [
            {"from": "tick", "to": "out"}, {"from": "door", "to": "out"}, {"from": "in", "to": "run"},
            {"from": "in", "to": "bad"}, {"from": "in", "to": "worse"}, {"from": "run", "to": "out"},
        ],
    }));
    let here = ids(&["tick", "door", "run", "bad", "worse", "oom"]);
    let part = Part { flow: flow_id(1), graph: &graph, here };
    let made = |capabilities: &[&str]| {
        let has = capabilities.iter().map(|name| (*name).to_owned()).collect();
        program(std::slice::from_ref(&part), &has, Shell::Python)
    };
    assert!(made(&["weak"]).ends_with("raise MemoryError(\"the step oom fails here\")\n"));
    let wire = |step: &str| format!("{}/{step}", flow_id(1));
    let values =
        json!([[500, wire("in"), 1], [2500, wire("in"), 3], [4500, wire("in"), "x"], [9000, wire("no"), 1]]);
    let (came, logged) = run(&[json!({"program": made(&[]), "values": values})]).remove(0);
    let tick = json!([wire("tick"), {"a": [null, true]}]);
    let broken = [json!([wire("bad")]), json!([wire("worse")])];
    let ran = |n: i64, v: Value| json!([wire("run"), {"n": n, "v": v}]);
    // There are no pins on this machine: that is logged, again and again, and disturbs nobody.
    let door = json!([wire("door")]);
    assert_eq!(came[0], broken, "{logged:?}");
    assert_eq!(came[1][..2], broken, "{logged:?}");
    assert_eq!(came[1][2], ran(41, json!(1)));
    assert_eq!(came[2], [tick.clone(), door, tick.clone()]);
    assert_eq!(came[3], broken);
    assert_eq!(came[5][2], ran(43, json!("x")));
    assert_eq!(came[6].iter().filter(|line| **line == tick).count(), 5);
    assert_eq!(came[7], Vec::<Value>::new(), "nobody here takes it");
    assert!(logged.iter().any(|line| line.contains("worse: invalid syntax")), "{logged:?}");
}

#[test]
fn a_line_of_two_hundred_steps_needs_no_deep_stack() {
    let mut steps = vec![json!({"id": "s0", "kind": "timer", "every_ms": 1000})];
    let mut wires = Vec::new();
    for at in 1..199 {
        steps.push(json!({"id": format!("s{at}"), "kind": "pass"}));
        wires.push(json!({"from": format!("s{}", at - 1), "to": format!("s{at}")}));
    }
    steps.push(json!({"id": "out", "kind": "publish", "topic": "t"}));
    wires.push(json!({"from": "s198", "to": "out"}));
    let graph = read(&json!({"steps": steps, "wires": wires}));
    let here = (1..199).map(|at| super::id(&format!("s{at}"))).collect();
    let program = program(&[Part { flow: flow_id(1), graph: &graph, here }], &BTreeSet::new(), Shell::Python);
    assert!(program.len() < 1200 + 200 * 199, "{} bytes", program.len());
    let wire = |step: &str| format!("{}/{step}", flow_id(1));
    let values = json!([[10, wire("s0"), 7]]);
    let (came, _) = run(&[json!({"program": program, "values": values})]).remove(0);
    assert_eq!(came[1], [json!([wire("s198"), 7])]);
}
