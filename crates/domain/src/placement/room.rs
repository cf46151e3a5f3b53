//! Making room: when every board that can run a step is full, steps on them that can run elsewhere do so, and for these
//! again others, if need be. This finds a way whenever there is one.

use std::collections::{BTreeMap, VecDeque};

use super::plan::{Plan, Seat};

impl Plan<'_> {
    /// Which steps have to go where, in this order, so that a step gets a place; the step itself comes last. The
    /// shortest way, first over steps that move anyway.
    pub(super) fn moves_for(&self, step: usize) -> Option<Vec<(usize, Seat)>> {
        // For each board that was reached: which step could come to it, and from which board.
        let mut reached: BTreeMap<usize, (usize, Option<usize>)> =
            self.able(step).map(|board| (board, (step, None))).collect();
        let mut next: VecDeque<usize> = reached.keys().copied().collect();
        let mut to_hub = None;
        while let Some(board) = next.pop_front() {
            let mut steps = self.on(board);
            steps.sort_by_key(|at| (self.is_kept(*at), std::cmp::Reverse(*at)));
            for at in steps {
                if self.may_be_on_hub(at) && to_hub.is_none() {
                    to_hub = Some((at, board));
                }
                for other in self.able(at) {
                    if reached.contains_key(&other) {
                        continue;
                    }
                    reached.insert(other, (at, Some(board)));
                    if self.has_room(other) {
                        return Some(way(&reached, other));
                    }
                    next.push_back(other);
                }
            }
        }
        let (at, board) = to_hub?;
        let mut moves = vec![(at, Seat::Hub)];
        moves.extend(way(&reached, board));
        Some(moves)
    }
}

/// The moves that fill a board, from the last to the first.
fn way(reached: &BTreeMap<usize, (usize, Option<usize>)>, last: usize) -> Vec<(usize, Seat)> {
    let mut moves = Vec::new();
    let mut board = Some(last);
    while let Some((to, (step, from))) = board.and_then(|board| Some((board, *reached.get(&board)?))) {
        moves.push((step, Seat::Board(to)));
        board = from;
    }
    moves
}
