//! Steps get boards by their score, stay where they are, and find room when there is some.

mod churn;
mod properties;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Board, Place, Placement, Watch, learn, place};
use crate::flow::{self, Graph, StepId};
use crate::id::DeviceId;
use crate::script::Language;
use crate::time::{Span, Time};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    /// From 0 to below a number.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("small")
    }
    /// Some of a few words.
    fn some(&mut self, words: &[&str], chance_percent: usize) -> Vec<String> {
        let chosen = words.iter().filter(|_| self.below(100) < chance_percent);
        chosen.map(|word| (*word).to_owned()).collect()
    }
}

fn device(number: usize) -> DeviceId {
    DeviceId::from_parts(0, number as u128)
}

fn board(number: usize, name: &str, capabilities: &[&str]) -> Board {
    Board {
        id: device(number),
        name: name.to_owned(),
        languages: vec![Language::Python],
        capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        available: true,
        trusted: true,
        others: 0,
        limit: None,
        refused: None,
    }
}

fn read(document: &Value) -> Graph {
    flow::graph(document).unwrap_or_else(|rejection| panic!("{rejection}"))
}

/// A flow of steps in a line, of which the first is a timer.
fn line(steps: &[Value]) -> Graph {
    let id = |at: usize| format!("s{at}");
    let all: Vec<Value> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let mut step = step.clone();
            step["id"] = json!(id(at));
            if step.get("kind").is_none() {
                step["kind"] = json!(if at == 0 { "timer" } else { "pass" });
            }
            if step["kind"] == "timer" || step["kind"] == "sensor" {
                step["every_ms"] = json!(1000);
            }
            step
        })
        .collect();
    let wires: Vec<Value> = (1..steps.len())
        .filter(|at| all[*at]["kind"] != "timer" && all[*at]["kind"] != "sensor")
        .map(|at| json!({"from": id(at - 1), "to": id(at)}))
        .collect();
    read(&json!({"steps": all, "wires": wires}))
}

/// The name of the board of each step, `hub` or `-`.
fn shown(placement: &Placement, boards: &[Board]) -> Vec<String> {
    let name = |place: &Option<Place>| match place {
        Some(Place::Hub) => "hub".to_owned(),
        Some(Place::Device(id)) => boards.iter().find(|board| board.id == *id).expect("known").name.clone(),
        None => "-".to_owned(),
    };
    placement.steps.iter().map(|step| name(&step.place)).collect()
}

fn anew(graph: &Graph, boards: &[Board]) -> Placement {
    place(graph, boards, &BTreeMap::new())
}

#[test]
fn the_captured_example_of_the_fork_is_placed_as_there() {
    let graph = read(&json!({
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht11", "every_ms": 1000,
             "requires": ["temperature", "humidity", "micropython"]},
            {"id": "if1", "kind": "compare", "rules": [{"operator": "true"}], "prefers": ["micropython"]},
            {"id": "if2", "kind": "compare", "rules": [{"operator": "true"}], "prefers": ["micropython"]},
            {"id": "and", "kind": "and", "prefers": ["micropython"]},
            {"id": "nothing", "kind": "pass"},
            {"id": "out", "kind": "pass", "prefers": ["micropython"]},
        ],
        "wires": [
            {"from": "th", "to": "if1"}, {"from": "th", "to": "if2"}, {"from": "if1", "to": "and"},
            {"from": "if2", "to": "and"}, {"from": "and", "to": "nothing"}, {"from": "nothing", "to": "out"},
        ],
        "weights": {"neighbourhood": 0, "stickiness": 0},
    }));
    let boards =
        [board(1, "A", &["micropython", "temperature", "humidity"]), board(2, "B", &["micropython"])];
    assert_eq!(shown(&anew(&graph, &boards), &boards), ["A", "B", "A", "B", "A", "B"]);
}

#[test]
fn requirements_are_hard_and_a_refusal_names_the_step_and_the_field() {
    let mut boards = vec![
        board(1, "bath", &["humidity"]),
        board(2, "cellar", &["temperature"]),
        board(3, "hall", &["temperature"]),
        board(4, "lamp", &["temperature"]),
    ];
    (boards[1].available, boards[3].languages) = (false, vec![]);
    boards[2].refused = Some("it runs a script of Ada's".to_owned());
    let code = json!({"kind": "code", "language": "lua", "source": "function step(v) return v end"});
    let cases = [
        (json!({"requires": ["magic"]}), "steps.s1.requires: no board has magic"),
        (
            json!({"requires": ["temperature"]}),
            "steps.s1.requires: no board can run it: cellar (it is not there), hall (it runs a script of Ada's), \
             bath (it lacks temperature), and 1 more",
        ),
        (
            json!({"requires": ["humidity", "temperature"]}),
            "steps.s1.requires: no board can run it: hall (it runs a script of Ada's), bath (it lacks temperature), \
             cellar (it lacks humidity), and 1 more",
        ),
        (json!({"runs_on": "attic"}), "steps.s1.runs_on: attic is not one of the boards"),
        (json!({"runs_on": "cellar"}), "steps.s1.runs_on: no board can run it: cellar (it is not there)"),
        (
            code,
            "steps.s1.language: no board can run it: hall (it runs a script of Ada's), bath (it does not run lua)",
        ),
    ];
    for (step, expected) in cases {
        let graph = line(&[json!({}), step]);
        let placement = anew(&graph, &boards);
        let refusal = placement.complete(&graph).expect_err(expected);
        assert!(refusal.sentence.starts_with(expected), "{expected:?} in {refusal}");
    }
    let graph = line(&[json!({}), json!({"kind": "sensor", "sensor": "adc"})]);
    let refusal = anew(&graph, &[]).complete(&graph).expect_err("no boards");
    assert!(refusal.sentence.starts_with("steps.s1.kind: there is no board"), "{refusal}");
}

#[test]
fn the_hub_runs_what_no_board_has_to() {
    let graph = line(&[
        json!({}),
        json!({"runs_on": "hub"}),
        json!({"runs_on": device(2).to_string()}),
        json!({"kind": "publish", "topic": "t"}),
    ]);
    let mut boards = vec![board(1, "a", &[]), board(2, "b", &[])];
    assert_eq!(shown(&anew(&graph, &boards), &boards), ["a", "hub", "b", "hub"]);
    boards[0].available = false;
    boards[1].limit = Some(1);
    let placement = anew(&graph, &boards);
    assert_eq!(
        shown(&placement, &boards),
        ["hub", "hub", "b", "hub"],
        "what can only be there gets the room"
    );
    assert_eq!(placement.complete(&graph), Ok(()));
    assert_eq!(placement.steps[0].why, "it made room for s2");
    boards[1].limit = Some(0);
    let placement = anew(&graph, &boards);
    let why = "the hub runs it: no board can run it: b (it is full: it can hold 0), a (it is not there)";
    assert_eq!(placement.steps[0].why, why);
    let away = placement.steps[0].candidates.iter().find(|one| one.board == device(1)).expect("told");
    assert_eq!(away.obstacle.as_deref(), Some("it is not there"));
}

#[test]
fn a_dead_end_is_left_by_making_room() {
    let full =
        |number, name, capabilities: &[&str]| Board { limit: Some(1), ..board(number, name, capabilities) };
    let boards = [full(1, "a", &["x", "y"]), full(2, "b", &["y", "z"]), full(3, "c", &["z"])];
    let graph = line(&[json!({"requires": ["y"]}), json!({"requires": ["z"]}), json!({"requires": ["x"]})]);
    let placement = anew(&graph, &boards);
    assert_eq!(shown(&placement, &boards), ["b", "c", "a"]);
    let whys: Vec<&str> = placement.steps.iter().map(|step| step.why.as_str()).collect();
    assert_eq!(whys[2], "others made room for it");
    let graph = line(&[
        json!({"requires": ["y"]}),
        json!({"requires": ["z"]}),
        json!({"requires": ["x"]}),
        json!({"requires": ["z"]}),
    ]);
    let placement = anew(&graph, &boards);
    assert_eq!(shown(&placement, &boards), ["b", "c", "a", "-"]);
    let refusal = placement.complete(&graph).expect_err("there is no room");
    assert!(refusal.sentence.contains("b (it is full: it can hold 1)"), "{refusal}");
}

#[test]
fn a_board_that_dies_and_comes_back_moves_only_its_steps() {
    let graph = line(&vec![json!({}); 9]);
    let mut boards = vec![board(1, "a", &[]), board(2, "b", &[]), board(3, "c", &[])];
    let first = anew(&graph, &boards);
    let moved = |one: &Placement, other: &Placement| -> BTreeSet<StepId> {
        let pairs = one.steps.iter().zip(&other.steps);
        pairs.filter(|(one, other)| one.place != other.place).map(|(one, _)| one.step.clone()).collect()
    };
    assert_eq!(place(&graph, &boards, &first.places()).places(), first.places());
    boards[1].available = false;
    let second = place(&graph, &boards, &first.places());
    let on_b = first.places().into_iter().filter(|(_, place)| *place == Place::Device(device(2)));
    assert_eq!(moved(&first, &second), on_b.map(|(step, _)| step).collect());
    boards[1].available = true;
    let third = place(&graph, &boards, &second.places());
    assert_eq!(moved(&second, &third), BTreeSet::new());
    assert_eq!(third.steps[0].why, "it runs there already");
    // A step goes back to a board that it prefers and that has nothing to do.
    let mut graph = graph;
    graph.steps[4].prefers = vec!["fast".to_owned()];
    boards[1].capabilities = BTreeSet::from(["fast".to_owned()]);
    let fourth = place(&graph, &boards, &third.places());
    assert_eq!(moved(&third, &fourth), BTreeSet::from([graph.steps[4].id.clone()]));
    assert_eq!(fourth.steps[4].why, "clearly better than where it was");
    assert_eq!(place(&graph, &boards, &fourth.places()).places(), fourth.places());
}

#[test]
fn a_board_that_ran_out_of_memory_holds_fewer_steps() {
    assert_eq!((learn(None, 4), learn(Some(2), 4), learn(Some(5), 1), learn(None, 0)), (3, 2, 0, 0));
    let mut graph = line(&vec![json!({}); 6]);
    graph.weights.neighbourhood = 0.0;
    let boards = vec![board(1, "a", &[]), board(2, "b", &[])];
    let first = anew(&graph, &boards);
    let count = |placement: &Placement, name: &str| {
        shown(placement, &boards).iter().filter(|board| *board == name).count()
    };
    assert_eq!(count(&first, "a"), 3);
    let mut limited = boards.clone();
    limited[0].limit = Some(learn(None, 3));
    let second = place(&graph, &limited, &first.places());
    assert_eq!((count(&second, "a"), count(&second, "b")), (2, 4));
    limited[0].others = 2;
    let third = place(&graph, &limited, &second.places());
    assert_eq!((count(&third, "a"), count(&third, "b")), (0, 6), "a limit is about the steps of all flows");
}

#[test]
fn a_board_that_is_not_trusted_keeps_what_it_runs_and_gets_what_no_other_can() {
    let graph = line(&[json!({}), json!({"requires": ["x"]}), json!({})]);
    let mut boards = vec![board(1, "a", &["x"]), board(2, "b", &[])];
    boards[0].trusted = false;
    assert_eq!(shown(&anew(&graph, &boards), &boards), ["b", "a", "b"]);
    let before = graph.steps.iter().map(|step| (step.id.clone(), Place::Device(device(1)))).collect();
    assert_eq!(shown(&place(&graph, &boards, &before), &boards), ["a", "a", "a"]);
    boards[1].available = false;
    assert_eq!(shown(&anew(&graph, &boards), &boards), ["a", "a", "a"], "better than on the hub");
}

#[test]
fn changes_are_collected_and_boards_that_flap_are_held_back() {
    let mut watch = Watch::default();
    let (calm, flaps) = (device(1), device(2));
    watch.saw(calm, true, Time(0));
    watch.saw(flaps, true, Time(1500));
    assert_eq!(watch.due(), Some(Time(2000)), "not put off by what comes later");
    assert!(watch.is_trusted(flaps, Time(1500)), "whoever was never lost is trusted");
    watch.planned(Time(2000));
    assert_eq!(watch.due(), None);
    watch.saw(calm, true, Time(2100));
    assert_eq!(watch.due(), None, "nothing has changed");
    let mut now = Time(3000);
    let mut holds = Vec::new();
    for _ in 0..12 {
        watch.saw(flaps, false, now);
        assert!(!watch.is_there(flaps) && !watch.is_trusted(flaps, now));
        watch.saw(flaps, true, now + Span(500));
        watch.planned(now + Span(500));
        let hold = watch.due().map_or(Span(0), |due| due - (now + Span(500)));
        assert!(watch.is_there(flaps) && watch.is_trusted(flaps, now + Span(500) + hold));
        holds.push(hold.0 / 1000);
        now = now + Span(1000);
    }
    assert_eq!(holds, [0, 5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]);
    now = now + Span::minutes(11);
    watch.saw(flaps, false, now);
    watch.saw(flaps, true, now + Span(500));
    assert!(watch.is_trusted(flaps, now + Span(500)), "what was there for long is as good as new");
    watch.planned(now + Span(500));
    watch.forget(calm, now);
    assert_eq!(watch.due(), Some(now + super::SETTLE));
}
