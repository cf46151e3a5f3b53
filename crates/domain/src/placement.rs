//! Placement: which board runs which step of a flow, and why.

/// How boards are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Of the share of preferred capabilities that the board has.
    pub priorities: f64,
    /// Of one over the number of steps it would have.
    pub load: f64,
    /// Of the share of its capabilities that the step requires: boards that can do more are kept for others.
    pub specificity: f64,
    /// Of the share of the step's neighbours that run on the same board: they reach each other without a message.
    pub neighbourhood: f64,
    /// Of running where it runs already.
    pub stickiness: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { priorities: 0.5, load: 0.4, specificity: 0.1, neighbourhood: 0.2, stickiness: 0.5 }
    }
}

impl Weights {
    /// Each with its name.
    pub fn named_mut(&mut self) -> [(&'static str, &mut f64); 5] {
        [
            ("priorities", &mut self.priorities),
            ("load", &mut self.load),
            ("specificity", &mut self.specificity),
            ("neighbourhood", &mut self.neighbourhood),
            ("stickiness", &mut self.stickiness),
        ]
    }
}
