//! Making a plan: keep what can stay, place the rest one after the other, then even out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::words::{Obstacle, Reason};
use super::{Board, CANDIDATES_MAX, Candidate, Place, Placed, Placement, Score, rounded};
use crate::flow::{Graph, Step, StepId, Wanted, Where};

/// Most times that all steps are looked at for something to gain.
const ROUNDS_MAX: usize = 10;

/// A plan in the making. Steps and boards are called by their index.
pub(super) struct Plan<'a> {
    graph: &'a Graph,
    /// By name, then id.
    pub(super) boards: Vec<&'a Board>,
    /// Whether a step can run on a board at all, if it has room: by step, then board.
    able: Vec<Vec<bool>>,
    neighbours: Vec<BTreeSet<usize>>,
    /// Where a step ran, if it was a board that is known.
    before: Vec<Option<usize>>,
    /// Whether some step has to leave the board where it ran.
    has_lost: bool,
    pub(super) seats: Vec<Option<Seat>>,
    /// How many steps of this flow a board has.
    counts: Vec<usize>,
    reasons: Vec<Reason>,
    /// What was compared when a board was chosen.
    compared: Vec<Option<Vec<Score>>>,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    Hub,
    Board(usize),
}

impl<'a> Plan<'a> {
    pub(super) fn new(graph: &'a Graph, boards: &'a [Board], before: &BTreeMap<StepId, Place>) -> Self {
        let mut boards: Vec<&Board> = boards.iter().collect();
        boards.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        let index: BTreeMap<&StepId, usize> =
            graph.steps.iter().enumerate().map(|(at, step)| (&step.id, at)).collect();
        let mut neighbours = vec![BTreeSet::new(); graph.steps.len()];
        for wire in &graph.wires {
            if let (Some(from), Some(to)) = (index.get(&wire.from), index.get(&wire.to)) {
                neighbours[*from].insert(*to);
                neighbours[*to].insert(*from);
            }
        }
        let able = |step: &Step| boards.iter().map(|board| Obstacle::of(step, board).is_none()).collect();
        let board_before = |step: &Step| match before.get(&step.id)? {
            Place::Device(id) => boards.iter().position(|board| board.id == *id),
            Place::Hub => None,
        };
        let ran_on_board = |step: &&Step| matches!(before.get(&step.id), Some(Place::Device(_)));
        let before: Vec<Option<usize>> = graph.steps.iter().map(board_before).collect();
        Self {
            able: graph.steps.iter().map(able).collect(),
            has_lost: graph.steps.iter().filter(ran_on_board).count() > before.iter().flatten().count(),
            seats: vec![None; graph.steps.len()],
            counts: vec![0; boards.len()],
            reasons: vec![Reason::Nowhere; graph.steps.len()],
            compared: vec![None; graph.steps.len()],
            graph,
            boards,
            neighbours,
            before,
        }
    }

    pub(super) fn make(mut self) -> Placement {
        for (at, step) in self.graph.steps.iter().enumerate() {
            match (step.kind.runs(), &step.runs_on) {
                (Where::Hub, _) => self.seat(at, Seat::Hub, Reason::HubOnly),
                (_, Some(Wanted::Hub)) => self.seat(at, Seat::Hub, Reason::WantedOnHub),
                _ => {}
            }
        }
        let sticks = self.graph.weights.stickiness > 0.0;
        if sticks {
            self.keep();
        }
        for at in 0..self.seats.len() {
            if self.seats[at].is_none() {
                self.find(at);
            }
        }
        if sticks && !self.has_lost {
            self.even_out();
        }
        let steps = self.graph.steps.iter().enumerate();
        Placement { steps: steps.map(|(at, step)| self.placed(at, step)).collect() }
    }

    /// What can stay where it is stays. A board with more than its limit gives up the last ones, first of all those
    /// that can run elsewhere.
    fn keep(&mut self) {
        for at in 0..self.seats.len() {
            match self.before[at] {
                Some(board) if self.seats[at].is_none() && self.able[at][board] => {
                    self.seat(at, Seat::Board(board), Reason::Kept);
                }
                Some(_) => self.has_lost = true,
                None => {}
            }
        }
        for board in 0..self.boards.len() {
            let Some(limit) = self.boards[board].limit else { continue };
            let mut steps = self.on(board);
            let is_confined = |at: &usize| {
                !self.may_be_on_hub(*at) && !(0..self.boards.len()).any(|b| b != board && self.able[*at][b])
            };
            steps.sort_by_key(|at| (is_confined(at), Reverse(*at)));
            let surplus = (self.boards[board].others + steps.len()).saturating_sub(limit);
            for at in steps.into_iter().take(surplus) {
                self.unseat(at);
                self.has_lost = true;
            }
        }
    }

    /// A place for a step: the best of the boards that are trusted, then of the others, then one where room is made,
    /// then the hub.
    fn find(&mut self, at: usize) {
        let compared: Vec<Score> = (0..self.boards.len()).map(|board| self.score(at, board)).collect();
        let best = |trusted: bool| {
            let can = |board: &usize| {
                self.boards[*board].trusted == trusted && self.able[at][*board] && self.has_room(*board)
            };
            // Of equals, the first.
            (0..compared.len()).filter(can).max_by_key(|board| (compared[*board].rounded(), Reverse(*board)))
        };
        let best = best(true).or_else(|| best(false));
        self.compared[at] = Some(compared);
        match best {
            Some(board) => self.seat(at, Seat::Board(board), Reason::Best),
            None if self.may_be_on_hub(at) => self.seat(at, Seat::Hub, Reason::NoBoard),
            None => {
                if let Some(moves) = self.moves_for(at) {
                    for (step, seat) in moves {
                        let reason = if step == at { Reason::RoomWasMade } else { Reason::MadeRoom(at) };
                        self.unseat(step);
                        self.seat(step, seat, reason);
                    }
                }
            }
        }
    }

    /// Moves steps that gain more elsewhere than a move costs, until there is none.
    fn even_out(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = false;
            for at in 0..self.seats.len() {
                let Some(Seat::Board(here)) = self.seats[at] else { continue };
                let score = |board: usize| Score { stickiness: 0.0, ..self.score(at, board) }.total();
                let can = |board: &usize| {
                    *board != here
                        && self.boards[*board].trusted
                        && self.able[at][*board]
                        && self.has_room(*board)
                };
                let least = score(here) + self.graph.weights.stickiness;
                let gains = (0..self.boards.len()).filter(can).map(|board| (rounded(score(board)), board));
                let best = gains.max_by_key(|(score, board)| (*score, Reverse(*board)));
                if let Some((_, board)) = best.filter(|(score, _)| *score > rounded(least)) {
                    self.unseat(at);
                    self.seat(at, Seat::Board(board), Reason::Gained);
                    self.compared[at] = None;
                    has_moved = true;
                }
            }
            if !has_moved {
                return;
            }
        }
    }

    /// How well a board suits a step, with everything else where it is now.
    fn score(&self, at: usize, board: usize) -> Score {
        let (step, weights) = (&self.graph.steps[at], &self.graph.weights);
        let has = &self.boards[board].capabilities;
        let is_here = |at: usize| self.seats[at] == Some(Seat::Board(board));
        let assigned = self.boards[board].others + self.counts[board] - usize::from(is_here(at));
        let placed = self.neighbours[at].iter().filter(|at| self.seats[**at].is_some()).count();
        let near = self.neighbours[at].iter().filter(|at| is_here(**at)).count();
        let preferred = step.prefers.iter().filter(|name| has.contains(*name)).count();
        let is_before = self.before[at] == Some(board);
        Score {
            priorities: weights.priorities * share(preferred, step.prefers.len()),
            load: weights.load * share(1, assigned + 1),
            specificity: weights.specificity * share(step.requires.len(), has.len()),
            neighbourhood: weights.neighbourhood * share(near, placed),
            stickiness: if is_before { weights.stickiness } else { 0.0 },
        }
    }

    /// Whether the hub may run a step because no board does.
    pub(super) fn may_be_on_hub(&self, at: usize) -> bool {
        let step = &self.graph.steps[at];
        step.kind.runs() == Where::Anywhere && step.requires.is_empty() && step.runs_on.is_none()
    }

    pub(super) fn has_room(&self, board: usize) -> bool {
        let known = self.boards[board];
        known.limit.is_none_or(|limit| known.others + self.counts[board] < limit)
    }

    /// The boards that can run a step if they have room.
    pub(super) fn able(&self, at: usize) -> impl Iterator<Item = usize> {
        self.able[at].iter().enumerate().filter(|(_, able)| **able).map(|(board, _)| board)
    }

    /// The steps of this flow on a board, in order.
    pub(super) fn on(&self, board: usize) -> Vec<usize> {
        (0..self.seats.len()).filter(|at| self.seats[*at] == Some(Seat::Board(board))).collect()
    }

    /// Whether a step runs where it ran.
    pub(super) fn is_kept(&self, at: usize) -> bool {
        self.before[at].is_some_and(|board| self.seats[at] == Some(Seat::Board(board)))
    }

    fn seat(&mut self, at: usize, seat: Seat, reason: Reason) {
        if let Seat::Board(board) = seat {
            self.counts[board] += 1;
        }
        self.seats[at] = Some(seat);
        self.reasons[at] = reason;
    }

    fn unseat(&mut self, at: usize) {
        if let Some(Seat::Board(board)) = self.seats[at].take() {
            self.counts[board] -= 1;
        }
    }

    fn placed(&self, at: usize, step: &Step) -> Placed {
        let place = self.seats[at].map(|seat| match seat {
            Seat::Hub => Place::Hub,
            Seat::Board(board) => Place::Device(self.boards[board].id),
        });
        let is_for_hub = matches!(self.reasons[at], Reason::HubOnly | Reason::WantedOnHub);
        let obstacle = |board: usize| {
            let is_here = self.seats[at] == Some(Seat::Board(board));
            let full = || (!self.has_room(board) && !is_here).then_some(Obstacle::Full);
            Obstacle::of(step, self.boards[board]).or_else(full)
        };
        let mut all: Vec<(usize, Score, Option<Obstacle>)> = Vec::new();
        if !is_for_hub {
            let compared = self.compared[at].as_ref();
            let score = |board: usize| compared.map_or_else(|| self.score(at, board), |all| all[board]);
            all = (0..self.boards.len()).map(|board| (board, score(board), obstacle(board))).collect();
        }
        all.sort_by_key(|(board, score, obstacle)| (obstacle.is_some(), Reverse(score.rounded()), *board));
        let can = all.iter().filter(|(.., obstacle)| obstacle.is_none()).count();
        let why = self.reasons[at].say(self.graph, step, &self.boards, &all, can);
        let told = all.into_iter().take(CANDIDATES_MAX);
        let candidate = |(board, parts, obstacle): (usize, Score, Option<Obstacle>)| {
            let known = self.boards[board];
            Candidate { board: known.id, parts, obstacle: obstacle.map(|one| one.say(step, known)) }
        };
        Placed { step: step.id.clone(), place, why, candidates: told.map(candidate).collect() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "steps and capabilities are few")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
