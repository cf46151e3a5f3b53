//! Why a step runs where it does, and why a board cannot run it, in words.

use super::{Board, Score};
use crate::flow::{Graph, Step, Wanted, Where};

/// Most boards that are named in one sentence.
const NAMED_MAX: usize = 3;

/// Why a step is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Nowhere,
    HubOnly,
    WantedOnHub,
    NoBoard,
    Kept,
    Best,
    Gained,
    RoomWasMade,
    /// For this step.
    MadeRoom(usize),
}

/// Why a board cannot run a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// A person wants the step on another board.
    NotWanted,
    Refused,
    Language,
    /// The first requirement that it does not meet, by index.
    Lacks(usize),
    Away,
    Full,
}

impl Obstacle {
    /// What stands against it, whatever else it runs.
    pub(super) fn of(step: &Step, board: &Board) -> Option<Self> {
        let is_wanted = match &step.runs_on {
            None => true,
            Some(Wanted::Hub) => false,
            Some(Wanted::Device(device)) => board.name == *device || board.id.is_written(device),
        };
        if !is_wanted || step.kind.runs() == Where::Hub {
            return Some(Self::NotWanted);
        }
        if board.refused.is_some() {
            return Some(Self::Refused);
        }
        let speaks = match step.kind.language() {
            Some(language) => board.languages.contains(&language),
            None => !board.languages.is_empty(),
        };
        if !speaks {
            return Some(Self::Language);
        }
        if let Some(at) = step.requires.iter().position(|name| !board.capabilities.contains(name)) {
            return Some(Self::Lacks(at));
        }
        (!board.available).then_some(Self::Away)
    }

    pub(super) fn say(self, step: &Step, board: &Board) -> String {
        match self {
            Self::NotWanted => "the step is wanted elsewhere".to_owned(),
            Self::Refused => board.refused.clone().unwrap_or_default(),
            Self::Language => match step.kind.language() {
                Some(language) => format!("it does not run {}", language.as_str()),
                None => "it runs no generated code".to_owned(),
            },
            Self::Lacks(at) => format!("it lacks {}", step.requires[at]),
            Self::Away => "it is not there".to_owned(),
            Self::Full => match board.limit {
                Some(limit) => format!("it is full: it can hold {limit}"),
                None => "it is full".to_owned(),
            },
        }
    }
}

/// Boards with how well they suit, and what stands against them.
type Compared = [(usize, Score, Option<Obstacle>)];

impl Reason {
    pub(super) fn say(
        self,
        graph: &Graph,
        step: &Step,
        boards: &[&Board],
        all: &Compared,
        can: usize,
    ) -> String {
        match self {
            Self::HubOnly => "only the hub can do this".to_owned(),
            Self::WantedOnHub => "it is wanted on the hub".to_owned(),
            Self::NoBoard => format!("the hub runs it: {}", nobody(step, boards, all)),
            Self::Nowhere => nobody(step, boards, all),
            Self::Kept => "it runs there already".to_owned(),
            Self::Best if matches!(step.runs_on, Some(Wanted::Device(_))) => "it is wanted there".to_owned(),
            Self::Best if can == 1 => "the only board that can run it".to_owned(),
            Self::Best => "the best score".to_owned(),
            Self::Gained => "clearly better than where it was".to_owned(),
            Self::RoomWasMade => "others made room for it".to_owned(),
            Self::MadeRoom(other) => format!("it made room for {}", graph.steps[other].id),
        }
    }
}

/// Why no board can run a step.
fn nobody(step: &Step, boards: &[&Board], all: &Compared) -> String {
    if boards.is_empty() {
        return "there is no board that may run steps of this flow".to_owned();
    }
    let is_wanted =
        |(_, _, obstacle): &&(usize, Score, Option<Obstacle>)| *obstacle != Some(Obstacle::NotWanted);
    if let Some(Wanted::Device(device)) = &step.runs_on
        && !all.iter().any(|one| is_wanted(&one))
    {
        return format!("{device} is not one of the boards that may run steps of this flow");
    }
    if let Some(name) =
        step.requires.iter().find(|name| !boards.iter().any(|board| board.capabilities.contains(*name)))
    {
        return format!("no board has {name}");
    }
    let mut wanted: Vec<_> = all.iter().filter(is_wanted).collect();
    // Those nearest to being able first.
    wanted.sort_by_key(|(board, _, obstacle)| {
        let rank = match obstacle {
            None | Some(Obstacle::Full) => 0,
            Some(Obstacle::Away) => 1,
            Some(Obstacle::Refused) => 2,
            Some(Obstacle::Lacks(_)) => 3,
            Some(Obstacle::Language | Obstacle::NotWanted) => 4,
        };
        (rank, *board)
    });
    let say = |(board, _, obstacle): &&(usize, Score, Option<Obstacle>)| {
        let why = obstacle.map_or_else(|| "it was full".to_owned(), |one| one.say(step, boards[*board]));
        format!("{} ({why})", boards[*board].name)
    };
    let named: Vec<String> = wanted.iter().take(NAMED_MAX).map(say).collect();
    match wanted.len().saturating_sub(NAMED_MAX) {
        0 => format!("no board can run it: {}", named.join(", ")),
        more => format!("no board can run it: {}, and {more} more", named.join(", ")),
    }
}
