//! What holds for every flow and all boards.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Dice, anew, board, line};
use crate::flow::{Graph, Where};
use crate::placement::{Board, Place, Placement, place};

const WORDS: [&str; 4] = ["a", "b", "c", "d"];

fn graph(dice: &mut Dice, steps_max: usize) -> Graph {
    let steps: Vec<Value> = (0..1 + dice.below(steps_max))
        .map(|at| {
            let mut step = json!({"requires": dice.some(&WORDS, 25), "prefers": dice.some(&WORDS, 25)});
            match dice.below(8) {
                0 => step["runs_on"] = json!(format!("board-{}", dice.below(4))),
                1 => step["runs_on"] = json!("hub"),
                2 => (step["kind"], step["sensor"]) = (json!("sensor"), json!("adc")),
                3 if at > 0 => step = json!({"kind": "pass"}),
                _ => {}
            }
            if step["runs_on"] == "hub" {
                step["requires"] = json!([]);
                step["kind"] = json!(if at == 0 { "timer" } else { "pass" });
            }
            step
        })
        .collect();
    line(&steps)
}

fn boards(dice: &mut Dice, most: usize, limits: bool) -> Vec<Board> {
    let one = |at: usize, dice: &mut Dice| {
        let capabilities = dice.some(&WORDS, 60);
        let names: Vec<&str> = capabilities.iter().map(String::as_str).collect();
        let mut board = board(at, &format!("board-{at}"), &names);
        board.available = dice.below(8) > 0;
        board.trusted = dice.below(4) > 0;
        board.others = dice.below(3);
        board.limit = (limits && dice.below(2) == 0).then(|| dice.below(5));
        board
    };
    (0..dice.below(most + 1)).map(|at| one(at, dice)).collect()
}

/// Whether all steps that only boards can run find room, by trying everything.
fn is_possible(graph: &Graph, boards: &[Board], at: usize, counts: &mut Vec<usize>) -> bool {
    let Some(step) = graph.steps.get(at) else { return true };
    let wants_hub = step.runs_on == Some(crate::flow::Wanted::Hub);
    let is_free = step.kind.runs() == Where::Anywhere && step.requires.is_empty() && step.runs_on.is_none();
    if wants_hub || is_free {
        return is_possible(graph, boards, at + 1, counts);
    }
    (0..boards.len()).any(|index| {
        let board = &boards[index];
        let is_wanted = match &step.runs_on {
            Some(crate::flow::Wanted::Device(name)) => *name == board.name,
            _ => true,
        };
        let fits = is_wanted
            && board.available
            && step.requires.iter().all(|name| board.capabilities.contains(name));
        if !fits || board.limit.is_some_and(|limit| board.others + counts[index] >= limit) {
            return false;
        }
        counts[index] += 1;
        let goes = is_possible(graph, boards, at + 1, counts);
        counts[index] -= 1;
        goes
    })
}

fn count_on(placement: &Placement, board: &Board) -> usize {
    placement.steps.iter().filter(|step| step.place == Some(Place::Device(board.id))).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_placement_is_allowed_and_complete_whenever_that_is_possible(seed: u64) {
        let mut dice = Dice(seed);
        let (graph, boards) = (graph(&mut dice, 7), boards(&mut dice, 4, true));
        let placement = anew(&graph, &boards);
        prop_assert_eq!(placement.steps.len(), graph.steps.len());
        for (step, placed) in graph.steps.iter().zip(&placement.steps) {
            prop_assert!(!placed.why.is_empty());
            if let Some(Place::Device(id)) = placed.place {
                let board = boards.iter().find(|board| board.id == id).expect("known");
                prop_assert!(board.available);
                prop_assert!(step.requires.iter().all(|name| board.capabilities.contains(name)));
                prop_assert!(placed.candidates.iter().all(|one| one.board != id || one.obstacle.is_none()));
            }
        }
        for board in &boards {
            let count = count_on(&placement, board);
            prop_assert!(count == 0 || board.limit.is_none_or(|limit| board.others + count <= limit));
        }
        let possible = is_possible(&graph, &boards, 0, &mut vec![0; boards.len()]);
        prop_assert_eq!(placement.complete(&graph).is_ok(), possible);
    }

    #[test]
    fn the_order_of_boards_and_wires_does_not_matter(seed: u64) {
        let mut dice = Dice(seed);
        let (mut graph, mut boards) = (graph(&mut dice, 20), boards(&mut dice, 8, true));
        let first = anew(&graph, &boards);
        for at in (1..boards.len()).rev() {
            boards.swap(at, dice.below(at + 1));
        }
        graph.wires.reverse();
        prop_assert_eq!(anew(&graph, &boards), first);
    }

    #[test]
    fn nothing_moves_when_nothing_has_changed(seed: u64, stickiness in 0.0..1.0f64, neighbourhood in 0.0..1.0f64) {
        let mut dice = Dice(seed);
        let (mut graph, boards) = (graph(&mut dice, 20), boards(&mut dice, 8, true));
        (graph.weights.stickiness, graph.weights.neighbourhood) = (stickiness, neighbourhood);
        let first = anew(&graph, &boards).places();
        prop_assert_eq!(place(&graph, &boards, &first).places(), first);
    }

    #[test]
    fn only_the_steps_of_a_board_that_dies_move(seed: u64) {
        let mut dice = Dice(seed);
        let (graph, mut boards) = (graph(&mut dice, 20), boards(&mut dice, 8, false));
        let first = anew(&graph, &boards).places();
        let used: Vec<usize> =
            (0..boards.len()).filter(|at| first.values().any(|place| *place == Place::Device(boards[*at].id))).collect();
        prop_assume!(!used.is_empty());
        let dead = used[dice.below(used.len())];
        boards[dead].available = false;
        let second = place(&graph, &boards, &first).places();
        let stayed: BTreeMap<_, _> =
            first.iter().filter(|(_, place)| **place != Place::Device(boards[dead].id)).collect();
        for (step, place) in stayed {
            prop_assert_eq!(second.get(step), Some(place));
        }
    }
}
