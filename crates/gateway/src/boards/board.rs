//! When a board is asked whether it is there, and when it is posted a script. Nothing here waits: time is an argument.

use motehub_domain::artifact::Digest;
use motehub_protocol::esp_firmware::post::{self, Posted, Verdict};

/// How often a board is asked whether it is there.
const PING_EVERY_MS: u64 = 15_000;
/// Boards that were asked at the same time are asked up to so much later the next time.
const JITTER_MS: u64 = 1_000;
/// How soon after it did not answer it is asked again.
const PING_AGAIN_MS: u64 = 2_000;
/// After so many questions in a row without an answer a board is away.
const MISSES_MAX: u32 = 4;
/// One that was away is back after so many answers in a row.
const ANSWERS_MIN: u32 = 2;
/// How soon a board that may have lost its script is posted it: at first, and at most. Doubled each time.
const AGAIN_MS: (u64, u64) = (1_000, 300_000);
/// After so much time without being posted again a board counts as steady.
const STEADY_MS: u64 = 600_000;
/// How soon a script that was not taken is posted once more: at first, and at most. Doubled each time.
const LATER_MS: (u64, u64) = (2_000, 120_000);
/// How often a script is posted in vain before it counts as failed.
const POSTS_MAX: u32 = 5;
/// For so long after it took a script a board may still say how it was before.
const SETTLES_MS: u64 = 6_000;

/// What is heard of a board apart from what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It announced itself: it has just started, or stopped its script.
    Announced,
    /// It says whether it has a script.
    Running(bool),
    /// It says which parts its script has.
    Nodes(String),
    /// How much memory it has, in bytes.
    Memory {
        /// Free.
        free: Option<u64>,
        /// Taken.
        taken: Option<u64>,
    },
    /// A connection of it ended: it may be away.
    Left,
    /// It shall run this of ours, or nothing.
    Wants(Option<Digest>),
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Ask whether it is there.
    Ping,
    /// Post what it shall run.
    Post,
}

/// Whether it came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Came,
    Went,
}

/// A board, as far as is known.
pub(super) struct Board {
    is_here: bool,
    answers: u32,
    misses: u32,
    ping_at: u64,
    jitter: u64,
    /// What of ours it runs; a board that is to do nothing runs nothing.
    runs: Option<Digest>,
    /// When it is posted what it shall run, and what that is if it is known.
    post_at: Option<u64>,
    posting: Option<Digest>,
    /// How often in a row that was in vain.
    in_vain: u32,
    /// How often it was posted the same again, and when it took it.
    agains: u32,
    took_at: Option<u64>,
    /// When it was last posted anything.
    posted_at: Option<u64>,
    nodes: Option<String>,
    free: Option<u64>,
    taken: Option<u64>,
}

impl Board {
    /// `seed` is another number for each board.
    pub(super) fn new(seed: u64, runs: Option<Digest>, now: u64) -> Self {
        Self {
            is_here: false,
            answers: ANSWERS_MIN - 1,
            misses: 0,
            ping_at: now,
            jitter: seed,
            runs,
            post_at: None,
            posting: None,
            in_vain: 0,
            agains: 0,
            took_at: None,
            posted_at: None,
            nodes: None,
            free: None,
            taken: None,
        }
    }

    /// What is to be done now, if anything is.
    pub(super) fn due(&self, now: u64) -> Option<Act> {
        match self.post_at {
            _ if self.ping_at <= now => Some(Act::Ping),
            Some(at) if self.is_here && at <= now => Some(Act::Post),
            Some(_) | None => None,
        }
    }

    /// When something is to be done.
    pub(super) fn next_moment(&self) -> u64 {
        let post_at = self.post_at.filter(|_| self.is_here).unwrap_or(u64::MAX);
        self.ping_at.min(post_at)
    }

    /// All its memory in bytes, as far as it said.
    pub(super) fn memory(&self) -> Option<u64> {
        self.free?.checked_add(self.taken?)
    }

    /// Whether it is there.
    pub(super) fn is_here(&self) -> bool {
        self.is_here
    }

    /// Whether it has something of ours.
    pub(super) fn has_script(&self) -> bool {
        self.runs.is_some()
    }

    /// It answered that it is there, or did not.
    pub(super) fn pinged(&mut self, is_answered: bool, now: u64) -> Option<Turn> {
        let was_here = self.is_here;
        match is_answered {
            true => {
                self.answers += 1;
                self.misses = 0;
                self.is_here |= self.answers >= ANSWERS_MIN;
            }
            false => {
                self.answers = 0;
                self.misses += 1;
                self.is_here &= self.misses < MISSES_MAX;
            }
        }
        let is_unsure = self.is_here != is_answered;
        self.ping_at = now + if is_unsure { PING_AGAIN_MS } else { PING_EVERY_MS + self.next_jitter() };
        match (was_here, self.is_here) {
            (false, true) => Some(Turn::Came),
            (true, false) => Some(Turn::Went),
            _ => None,
        }
    }

    /// Something was heard of it.
    pub(super) fn heard(&mut self, word: Word, now: u64) {
        let is_settled = self.took_at.is_none_or(|at| now >= at + SETTLES_MS);
        match word {
            Word::Announced => {
                // It is there, whatever was before.
                self.answers = self.answers.max(ANSWERS_MIN - 1);
                self.ping_at = self.ping_at.min(now + PING_AGAIN_MS / 4);
                self.lost(now);
            }
            Word::Running(false) if is_settled => self.lost(now),
            Word::Running(_) => {}
            Word::Nodes(nodes) if is_settled && self.runs.is_some() => match &self.nodes {
                None => self.nodes = Some(nodes),
                Some(known) if *known != nodes => self.lost(now),
                Some(_) => {}
            },
            Word::Nodes(_) => {}
            Word::Memory { free, taken } => {
                self.free = free.or(self.free);
                self.taken = taken.or(self.taken);
            }
            Word::Left => self.ping_at = self.ping_at.min(now + PING_AGAIN_MS),
            Word::Wants(None) if self.runs.is_some() => self.post_at = Some(now),
            Word::Wants(_) => {}
        }
    }

    /// It may have lost its script.
    fn lost(&mut self, now: u64) {
        self.nodes = None;
        if self.post_at.is_some() {
            return;
        }
        if self.posted_at.is_none_or(|at| now >= at + STEADY_MS) {
            self.agains = 0;
        }
        self.post_at = Some(now + doubled(AGAIN_MS, self.agains));
        self.agains += 1;
    }

    /// The hub has this for it. Said again, it changes nothing.
    pub(super) fn offered(&mut self, digest: Digest, now: u64) {
        if self.posting == Some(digest) && self.post_at.is_some() {
            return;
        }
        self.posting = Some(digest);
        self.in_vain = 0;
        self.agains = 0;
        self.post_at = Some(now);
    }

    /// It need not have this any more.
    pub(super) fn cancelled(&mut self, digest: Digest, now: u64) {
        if self.runs == Some(digest) {
            self.post_at = Some(now);
        } else if self.posting == Some(digest) {
            (self.posting, self.post_at) = (None, None);
        }
    }

    /// There is nothing to post, or it was not allowed.
    pub(super) fn idle(&mut self) {
        (self.posting, self.post_at) = (None, None);
    }

    /// It was posted the script that stops it.
    pub(super) fn stopped(&mut self, posted: &Posted, now: u64) {
        match post::verdict(posted) {
            Verdict::Is(_) => {
                (self.runs, self.nodes, self.in_vain) = (None, None, 0);
                self.idle();
            }
            Verdict::Later(_) => self.post_later(now),
        }
    }

    /// What is to be known before it is decided could not be found out.
    pub(super) fn post_later(&mut self, now: u64) {
        self.post_at = Some(now + doubled(LATER_MS, self.in_vain) + self.next_jitter());
        self.in_vain += 1;
    }

    /// It was posted a script. Returns what is to be told of it.
    pub(super) fn posted(&mut self, digest: Digest, posted: &Posted, now: u64) -> Verdict {
        let verdict = match (post::verdict(posted), posted) {
            (Verdict::Later(_), Posted::Reset | Posted::TimedOut | Posted::Unreadable(_))
                if self.in_vain + 1 >= POSTS_MAX =>
            {
                Verdict::Is(post::given_up(posted, self.in_vain + 1))
            }
            (verdict, _) => verdict,
        };
        match &verdict {
            Verdict::Later(_) => {
                self.posting = Some(digest);
                self.post_later(now);
            }
            Verdict::Is(motehub_domain::report::Progress::Applying) => {
                self.idle();
                (self.runs, self.nodes, self.in_vain, self.took_at) = (Some(digest), None, 0, Some(now));
            }
            Verdict::Is(_) => {
                self.idle();
                (self.runs, self.nodes, self.in_vain) = (None, None, 0);
                // It runs nothing now, and need not say so. What it is to have instead may have room later.
                if post::may_pass(posted) {
                    self.lost(now);
                }
            }
        }
        self.posted_at = Some(now);
        verdict
    }

    fn next_jitter(&mut self) -> u64 {
        self.jitter =
            self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.jitter >> 33) % JITTER_MS
    }
}

fn doubled((first, most): (u64, u64), times: u32) -> u64 {
    first.checked_shl(times.min(32)).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use motehub_domain::report::Progress;

    use super::*;

    const SCRIPT: Digest = Digest([7; 32]);

    fn saved() -> Posted {
        Posted::Answered(post::Answer { status: 200, text: "File saved.".to_owned() })
    }

    /// A board that is there and took the script at 0.
    fn running() -> Board {
        let mut board = Board::new(1, None, 0);
        assert_eq!(board.pinged(true, 0), Some(Turn::Came));
        board.offered(SCRIPT, 0);
        assert_eq!(board.due(0), Some(Act::Post));
        assert_eq!(board.posted(SCRIPT, &saved(), 0), Verdict::Is(Progress::Applying));
        assert_eq!(board.due(100), None);
        board
    }

    #[test]
    fn one_that_does_not_answer_is_asked_four_times_before_it_is_away() {
        let mut board = running();
        let mut now = board.ping_at;
        for _ in 1..MISSES_MAX {
            assert_eq!(board.pinged(false, now), None);
            assert_eq!(board.ping_at, now + PING_AGAIN_MS);
            now = board.ping_at;
        }
        assert_eq!(board.pinged(false, now), Some(Turn::Went));
        now = board.ping_at;
        assert_eq!(board.pinged(true, now), None, "one answer may be chance");
        assert_eq!(board.pinged(true, now + PING_AGAIN_MS), Some(Turn::Came));
    }

    #[test]
    fn one_that_has_lost_its_script_is_posted_it_again_and_later_each_time() {
        let mut board = running();
        board.heard(Word::Running(false), SETTLES_MS - 1);
        assert_eq!(board.post_at, None, "that was said before it took the script");
        let mut waits = Vec::new();
        let mut now = SETTLES_MS;
        for word in [Word::Announced, Word::Running(false), Word::Announced] {
            board.heard(word, now);
            let at = board.post_at.expect("it is posted again");
            waits.push(at - now);
            board.posted(SCRIPT, &saved(), at);
            now = at + SETTLES_MS;
        }
        assert_eq!(waits, [1_000, 2_000, 4_000]);
        board.heard(Word::Announced, now + STEADY_MS);
        assert_eq!(board.post_at, Some(now + STEADY_MS + 1_000));
        for after in 0..20 {
            board.heard(Word::Announced, now + STEADY_MS + after);
        }
        assert_eq!(board.post_at, Some(now + STEADY_MS + 1_000), "a storm is one posting");
    }

    #[test]
    fn other_parts_than_those_of_its_script_are_a_reason_to_post_it_again() {
        let mut board = running();
        board.heard(Word::Nodes("old:1".into()), 1_000);
        board.heard(Word::Nodes("new:1".into()), SETTLES_MS);
        board.heard(Word::Nodes("new:1".into()), SETTLES_MS + 5_000);
        assert_eq!(board.post_at, None);
        board.heard(Word::Nodes("other:1".into()), SETTLES_MS + 10_000);
        assert!(board.post_at.is_some());
    }

    #[test]
    fn what_is_not_taken_is_posted_later_and_given_up_where_that_helps_nothing() {
        let mut board = running();
        board.offered(SCRIPT, 0);
        for _ in 1..POSTS_MAX {
            assert!(matches!(board.posted(SCRIPT, &Posted::TimedOut, 0), Verdict::Later(_)));
        }
        let last = board.posted(SCRIPT, &Posted::TimedOut, 0);
        assert!(matches!(last, Verdict::Is(Progress::Failed(_))), "{last:?}");
        assert_eq!(board.post_at, Some(AGAIN_MS.0), "what it is to have instead may be taken");
        board.idle();
        board.offered(SCRIPT, 0);
        for _ in 0..100 {
            assert!(matches!(board.posted(SCRIPT, &Posted::Refused, 0), Verdict::Later(_)));
        }
        let at = board.post_at.expect("it is tried again");
        assert!((LATER_MS.1..LATER_MS.1 + JITTER_MS).contains(&at));
        board.offered(SCRIPT, 0);
        assert_eq!(board.post_at, Some(at), "said again it changes nothing");
    }

    #[test]
    fn one_without_room_is_posted_again_and_later_each_time_though_it_says_nothing() {
        let without_room = Posted::Answered(post::Answer { status: 413, text: String::new() });
        let mut board = running();
        // It was steady: what comes now is not the first of many starts.
        let mut now = 2 * STEADY_MS;
        board.offered(SCRIPT, now);
        let mut waits = Vec::new();
        for _ in 0..11 {
            let verdict = board.posted(SCRIPT, &without_room, now);
            assert!(matches!(verdict, Verdict::Is(Progress::Failed(_))), "{verdict:?}");
            board.heard(Word::Announced, now);
            let at = board.post_at.expect("it is posted again");
            waits.push(at - now);
            now = at;
        }
        assert_eq!(waits[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(waits[9..], [AGAIN_MS.1, AGAIN_MS.1]);
        assert_eq!(board.posted(SCRIPT, &saved(), now), Verdict::Is(Progress::Applying));
        assert_eq!(board.post_at, None);
        let broken = Posted::Answered(post::Answer { status: 500, text: "invalid syntax".to_owned() });
        board.posted(SCRIPT, &broken, now);
        assert_eq!(board.post_at, None, "that stays so");
    }

    #[test]
    fn one_that_shall_run_nothing_is_stopped() {
        let mut board = running();
        board.heard(Word::Wants(None), 10);
        assert_eq!(board.due(10), Some(Act::Post));
        board.stopped(&saved(), 20);
        assert!(!board.has_script() && board.post_at.is_none());
        board.heard(Word::Wants(None), 30);
        assert_eq!(board.post_at, None);
        let mut away = Board::new(1, None, 0);
        away.heard(Word::Announced, 0);
        assert_eq!(away.due(2_000), Some(Act::Ping), "nothing is posted before it answers");
    }
}
