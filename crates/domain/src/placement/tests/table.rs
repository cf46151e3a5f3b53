//! The score and the greedy choice on 200 cases, beside a reference that was written from their description only.

use super::{Dice, anew, board, line};
use crate::flow::Graph;
use crate::placement::{Board, Place};
use serde_json::{Value, json};

const WORDS: [&str; 5] = ["micropython", "temperature", "humidity", "light", "relay"];

/// What the reference knows of a board.
struct Machine<'a> {
    capabilities: Vec<&'a str>,
    status: u8,
    /// With so many nodes it ran out of memory.
    memory_error_nodes: Option<usize>,
    nodes: usize,
}

/// For each node, in order: the machine that gets it, and the score of each machine that is eligible.
type Chosen = Vec<(Option<usize>, Vec<(usize, f64)>)>;

/// Greedy, nodes in flow order: eligible are machines with status 1 that have all predicates and that would hold fewer
/// nodes than those with which they ran out of memory; the highest score wins, of equals the first. None if a node with
/// predicates ends in a dead end: a machine would do, but is full.
fn reference(graph: &Graph, machines: &mut [Machine<'_>]) -> Option<Chosen> {
    let mut chosen = Vec::new();
    for node in &graph.steps {
        let predicates: Vec<&str> = node.requires.iter().map(String::as_str).collect();
        let priorities: Vec<&str> = node.prefers.iter().map(String::as_str).collect();
        let mut scores = Vec::new();
        let mut best: Option<(usize, f64)> = None;
        let mut is_dead_end = false;
        for (at, machine) in machines.iter().enumerate() {
            let has = |word: &&&str| machine.capabilities.contains(*word);
            if machine.status != 1 || predicates.iter().filter(has).count() != predicates.len() {
                continue;
            }
            if machine.memory_error_nodes.is_some_and(|most| machine.nodes + 1 >= most) {
                is_dead_end = !predicates.is_empty();
                continue;
            }
            let matched = priorities.iter().filter(has).count() as f64;
            let mut score =
                if priorities.is_empty() { 0.0 } else { 0.5 * (matched / priorities.len() as f64) };
            score += 0.4 / (machine.nodes + 1) as f64;
            if !machine.capabilities.is_empty() {
                score += 0.1 * (predicates.len() as f64 / machine.capabilities.len() as f64);
            }
            scores.push((at, score));
            if best.is_none_or(|(_, highest)| score - highest > 1e-9) {
                best = Some((at, score));
            }
        }
        if best.is_none() && is_dead_end {
            return None;
        }
        if let Some((at, _)) = best {
            machines[at].nodes += 1;
        }
        chosen.push((best.map(|(at, _)| at), scores));
    }
    Some(chosen)
}

fn case(dice: &mut Dice) -> (Graph, Vec<Board>) {
    let boards = (0..1 + dice.below(8)).map(|at| {
        let capabilities = dice.some(&WORDS, 60);
        let names: Vec<&str> = capabilities.iter().map(String::as_str).collect();
        let mut board = board(at, &format!("board-{at}"), &names);
        board.available = dice.below(10) > 0;
        board.limit = (dice.below(4) == 0).then(|| dice.below(6));
        board.others = if dice.below(5) == 0 { dice.below(4) } else { 0 };
        board
    });
    let boards = boards.collect();
    let steps: Vec<Value> = (0..1 + dice.below(14))
        .map(|_| json!({"requires": dice.some(&WORDS, 15), "prefers": dice.some(&WORDS, 25)}))
        .collect();
    let mut graph = line(&steps);
    (graph.weights.neighbourhood, graph.weights.stickiness) = (0.0, 0.0);
    (graph, boards)
}

#[test]
fn two_hundred_cases_are_placed_as_the_reference_does() {
    let mut dice = Dice(6);
    let (mut cases, mut steps, mut dead_ends) = (0, 0, 0);
    while cases < 200 {
        let (graph, boards) = case(&mut dice);
        let mut machines: Vec<Machine<'_>> = boards
            .iter()
            .map(|board| Machine {
                capabilities: board.capabilities.iter().map(String::as_str).collect(),
                status: u8::from(board.available),
                memory_error_nodes: board.limit.map(|limit| limit + 1),
                nodes: board.others,
            })
            .collect();
        let Some(chosen) = reference(&graph, &mut machines) else {
            dead_ends += 1;
            continue;
        };
        cases += 1;
        let placement = anew(&graph, &boards);
        for ((expected, scores), placed) in chosen.iter().zip(&placement.steps) {
            steps += 1;
            let at = format!("case {cases}, step {}", placed.step);
            match (expected, placed.place) {
                (Some(board), place) => assert_eq!(place, Some(Place::Device(boards[*board].id)), "{at}"),
                (None, place) => assert!(!matches!(place, Some(Place::Device(_))), "{at}: {placed:?}"),
            }
            for (board, score) in scores {
                let candidate = placed.candidates.iter().find(|one| one.board == boards[*board].id);
                let total = candidate.expect("each board is told").parts.total();
                assert!((total - score).abs() < 1e-12, "{at}, board {board}: {total} is not {score}");
            }
        }
    }
    println!("{cases} cases with {steps} steps are equal; {dead_ends} dead ends were left out");
    assert!(steps > 1000, "{steps} steps are too few to show anything");
}
