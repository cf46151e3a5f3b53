//! Placements as tables.

use anyhow::bail;
use serde_json::Value;

use crate::ctl::Caller;
use crate::ctl::print::{cell, table};

/// The parts of a score, in the order in which they are shown.
const PARTS: [&str; 5] = ["priorities", "load", "specificity", "neighbourhood", "stickiness"];

/// Prints a placement, or how the boards compare for one step.
pub(super) fn show(caller: &Caller, placement: &Value, step: Option<&str>) -> anyhow::Result<()> {
    let Some(step) = step else { return caller.show(placement, shown) };
    let Some(placed) = items(placement, "steps").find(|placed| placed["step"] == step) else {
        let all: Vec<String> = items(placement, "steps").map(|placed| cell(&placed["step"])).collect();
        bail!("the flow has no step {step}; its steps are {}", all.join(", "));
    };
    caller.show(placed, compared)
}

/// Where each step runs and why, what boards carry, what passes along the wires, and what went wrong.
pub(super) fn shown(placement: &Value) -> String {
    let state = if placement["settled"] == true { "settled" } else { "not settled" };
    let mut text = format!("version {}: {state}\n", cell(&placement["version"]));
    let steps = items(placement, "steps").map(|placed| {
        vec![cell(&placed["step"]), cell(&placed["kind"]), place(&placed["place"]), cell(&placed["why"])]
    });
    text.push_str(&part(&["STEP", "KIND", "RUNS ON", "WHY"], steps));
    let heading =
        ["BOARD", "PRESENCE", "STEPS", "OF OTHERS", "HOLDS", "FREE BYTES", "PROGRAM BYTES", "TASK", "REASON"];
    text.push_str(&part(&heading, items(placement, "boards").map(board)));
    let wires = items(placement, "wires").map(|wire| {
        let way = if wire["crosses"] == true { "message" } else { "call" };
        let mut row = vec![cell(&wire["from"]), cell(&wire["to"]), way.to_owned()];
        row.extend(["messages", "dropped", "last_value", "last_at"].map(|key| cell(&wire[key])));
        row
    });
    text.push_str(&part(&["FROM", "TO", "AS", "PASSED", "DROPPED", "LAST", "AT"], wires));
    let errors = items(placement, "errors")
        .map(|error| ["step", "count", "last_at", "message"].map(|key| cell(&error[key])).to_vec());
    text.push_str(&part(&["STEP", "FAILED", "LAST", "WHAT"], errors));
    text
}

fn items<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().into_iter().flatten()
}

/// A table under an empty line; nothing if it has no rows.
fn part(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() { String::new() } else { format!("\n{}", table(heading, &rows)) }
}

fn place(place: &Value) -> String {
    match place {
        Value::Null => "nowhere".to_owned(),
        place if place["hub"] == true => "the hub".to_owned(),
        place if place["name"].is_null() => cell(&place["device"]),
        place => cell(&place["name"]),
    }
}

fn board(board: &Value) -> Vec<String> {
    let presence = if board["online"] == true { "online" } else { "offline" };
    let mut row = vec![cell(&board["name"]), presence.to_owned()];
    row.extend(
        ["steps", "steps_of_others", "limit", "free_memory_bytes", "size_bytes"].map(|key| cell(&board[key])),
    );
    row.extend(["state", "reason"].map(|key| cell(&board["task"][key])));
    row
}

/// The boards that were compared for one step: what spoke for each, its sum, or what stands against it.
fn compared(placed: &Value) -> String {
    let rows = items(placed, "candidates").map(|candidate| {
        let chosen = if candidate["chosen"] == true { "*" } else { "" };
        let mut row = vec![chosen.to_owned(), cell(&candidate["name"])];
        row.push(number(&candidate["total"]));
        row.extend(PARTS.map(|name| number(&candidate["parts"][name])));
        row.push(cell(&candidate["obstacle"]));
        row
    });
    let heading = [
        "",
        "BOARD",
        "TOTAL",
        "PRIORITIES",
        "LOAD",
        "SPECIFICITY",
        "NEIGHBOURHOOD",
        "STICKINESS",
        "AGAINST IT",
    ];
    let (step, on, why) = (cell(&placed["step"]), place(&placed["place"]), cell(&placed["why"]));
    format!("{step} runs on {on}: {why}\n{}", part(&heading, rows))
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"))
}

/// What moved when, and because of what.
pub(super) fn history(list: &Value) -> String {
    let rows = items(list, "items").map(|layout| {
        let moved = items(layout, "moves").map(|moved| {
            format!("{}: {} > {}", cell(&moved["step"]), place(&moved["from"]), place(&moved["to"]))
        });
        let moved = moved.collect::<Vec<_>>().join("; ");
        vec![cell(&layout["at"]), cell(&layout["version"]), cell(&layout["cause"]), moved]
    });
    table(&["AT", "VERSION", "CAUSE", "MOVED"], &rows.collect::<Vec<_>>())
}
