//! What a gateway is told to write, one thing at a time. It does one after the other itself and waits for a node that
//! does not answer for more than a minute; and one that met something unexpected does nothing any more and does not say
//! so. So behind a command that is not confirmed at once it is asked for all it knows: when that comes, it is through
//! with the command, and the next has its turn.

use std::collections::VecDeque;

use motehub_domain::message::{Outcome, Uplink};
use motehub_domain::time::{Span, Time};
use motehub_protocol::pyaiot;
use motehub_protocol::riot::Write;
use serde_json::Value;

/// How many commands wait for their turn; further ones are answered with that.
const WAITING_MAX: usize = 256;
/// How many may have been said and not be confirmed.
const SAID_MAX: usize = 64;
/// After this the gateway is asked whether it is through.
const ASK_AFTER: Span = Span(500);
/// How long a command may take, for whoever wants it.
const CONFIRMED_WITHIN: Span = Span::seconds(10);
/// After this it does not listen any more. It waits for 93 seconds for a node that does not answer.
const THROUGH_WITHIN: Span = Span::seconds(120);
/// What our name is among the addressees, with a number behind it.
const NAME: &str = "motehub-";

/// What is to be written and what is being written.
#[derive(Default)]
pub(super) struct Orders {
    waiting: VecDeque<(String, Write)>,
    said: Vec<Said>,
    line: Option<Line>,
    last: u64,
    is_deaf: bool,
}

/// What the gateway was told and has not confirmed.
struct Said {
    number: u64,
    uid: String,
    write: Write,
    until: Time,
}

/// The gateway is busy with what it was told last.
struct Line {
    number: u64,
    said_at: Time,
    /// It was asked whether it is through.
    is_asked: bool,
}

/// What comes of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// To be sent.
    pub(super) frames: Vec<String>,
    /// What the commands of nodes come to.
    pub(super) replies: Vec<(String, Uplink)>,
    /// What of a node could not be said to it, and why.
    pub(super) refused: Vec<(String, String)>,
}

impl Step {
    fn ended(&mut self, uid: &str, write: &Write, outcome: Outcome) {
        if let Some(command) = write.command {
            self.replies.push((uid.to_owned(), Uplink::Reply { command, outcome }));
        }
    }

    fn failed(&mut self, uid: &str, write: &Write, why: &str) {
        self.ended(uid, write, Outcome::Failed(why.to_owned()));
    }
}

impl Orders {
    /// Whether the gateway does what it is told, as far as is known.
    pub(super) fn is_heard(&self) -> bool {
        !self.is_deaf
    }

    /// Something is to be written to a node.
    pub(super) fn add(&mut self, uid: &str, write: Write, now: Time) -> Step {
        let mut step = Step::default();
        if self.is_deaf {
            step.failed(uid, &write, DEAF);
        } else if self.waiting.len() >= WAITING_MAX {
            step.failed(uid, &write, "too much waits at its gateway: try again later");
        } else {
            if write.command.is_none() {
                // What is desired now takes the place of what was.
                self.waiting.retain(|(other, it)| {
                    it.command.is_some() || other != uid || it.resource != write.resource
                });
            }
            self.waiting.push_back((uid.to_owned(), write));
        }
        self.go_on(&mut step, now);
        step
    }

    /// A node says this. Returns it as it was desired, if it was.
    pub(super) fn heard(
        &mut self,
        uid: &str,
        resource: &str,
        text: &str,
        now: Time,
    ) -> (Option<Value>, Step) {
        let mut step = Step::default();
        let is_it =
            |said: &Said| said.uid == uid && said.write.resource == resource && said.write.text() == text;
        let Some(place) = self.said.iter().position(is_it) else { return (None, step) };
        let Said { number, write, .. } = self.said.remove(place);
        step.ended(uid, &write, Outcome::Done(None));
        if self.line.as_ref().is_some_and(|line| line.number == number) {
            self.line = None;
            self.go_on(&mut step, now);
        }
        (write.command.is_none().then_some(write.value), step)
    }

    /// The gateway says something to somebody: if that is our question, it is through.
    pub(super) fn answered(&mut self, to: &str, now: Time) -> Step {
        let mut step = Step::default();
        let is_ours = |line: &&Line| line.is_asked && to.strip_prefix(NAME) == Some(&line.number.to_string());
        if self.line.as_ref().filter(is_ours).is_some() {
            self.line = None;
            self.go_on(&mut step, now);
        }
        step
    }

    /// A node is gone, with what was to be written to it.
    pub(super) fn gone(&mut self, uid: &str) -> Step {
        let mut step = Step::default();
        self.waiting.retain(|(other, write)| {
            if other == uid {
                step.failed(uid, write, "the node went before it could be told");
            }
            other != uid
        });
        self.said.retain(|said| {
            if said.uid == uid {
                step.failed(
                    uid,
                    &said.write,
                    "the node went before it confirmed it: whether it was done is not known",
                );
            }
            said.uid != uid
        });
        step
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let line = self.line.as_ref().map(|line| match line.is_asked {
            false => line.said_at + ASK_AFTER,
            true => line.said_at + THROUGH_WITHIN,
        });
        self.said.iter().map(|said| said.until).chain(line).min()
    }

    /// Time passed.
    pub(super) fn elapsed(&mut self, now: Time) -> Step {
        let mut step = Step::default();
        let busy = self.line.as_ref().map(|line| line.number);
        self.said.retain(|Said { number, uid, write, until }| {
            let is_late = *until <= now;
            if is_late && busy == Some(*number) {
                let why =
                    "its gateway was not through with it after 10 seconds: whether it was done is not known";
                step.failed(uid, write, why);
            } else if is_late {
                step.failed(
                    uid,
                    write,
                    "its gateway passed it on, and the node did not confirm it in 10 seconds",
                );
            }
            !is_late
        });
        if let Some(line) = self.line.as_mut() {
            if !line.is_asked && now >= line.said_at + ASK_AFTER {
                step.frames.push(pyaiot::ask_all(&format!("{NAME}{}", line.number)));
                line.is_asked = true;
            }
            if now >= line.said_at + THROUGH_WITHIN {
                self.line = None;
                self.is_deaf = true;
                for (uid, write) in std::mem::take(&mut self.waiting) {
                    step.failed(&uid, &write, DEAF);
                }
            }
        }
        self.go_on(&mut step, now);
        step
    }

    /// The next one, if it is its turn.
    fn go_on(&mut self, step: &mut Step, now: Time) {
        while self.line.is_none() && self.said.len() < SAID_MAX {
            let Some((uid, write)) = self.waiting.pop_front() else { return };
            match pyaiot::command(&uid, &write.resource, &write.text()) {
                Ok(frame) => {
                    step.frames.push(frame);
                    self.last += 1;
                    self.line = Some(Line { number: self.last, said_at: now, is_asked: false });
                    self.said.push(Said { number: self.last, uid, write, until: now + CONFIRMED_WITHIN });
                }
                Err(error) => {
                    step.failed(&uid, &write, &error.0);
                    step.refused.push((uid, error.0));
                }
            }
        }
    }
}

const DEAF: &str = "its gateway does not listen any more: restart the gateway";

#[cfg(test)]
mod tests {
    use motehub_domain::id::CommandId;
    use serde_json::json;

    use super::*;

    const NOW: Time = Time(1_000_000);

    fn command(number: u128, text: &str) -> Write {
        let value = json!(text);
        let command = Some(CommandId::from_parts(1, number));
        Write { resource: "led".to_owned(), command, value }
    }

    fn outcomes(step: &Step) -> Vec<String> {
        let outcome = |(_, uplink): &(String, Uplink)| match uplink {
            Uplink::Reply { outcome: Outcome::Done(_), .. } => "done".to_owned(),
            Uplink::Reply { outcome: Outcome::Failed(why), .. } => why.clone(),
            other => panic!("{other:?}"),
        };
        step.replies.iter().map(outcome).collect()
    }

    #[test]
    fn one_thing_is_said_at_a_time_and_done_when_the_node_says_so() {
        let mut orders = Orders::default();
        assert_eq!(orders.add("1", command(1, "1"), NOW).frames.len(), 1);
        assert_eq!(orders.add("1", command(2, "0"), NOW), Step::default(), "it waits");
        let (desired, step) = orders.heard("1", "led", "0", NOW);
        assert_eq!((desired, step), (None, Step::default()), "not what was said");
        let (desired, step) = orders.heard("1", "led", "1", NOW);
        assert_eq!((desired, outcomes(&step)), (None, vec!["done".to_owned()]));
        assert_eq!(step.frames.len(), 1, "the next has its turn");
    }

    #[test]
    fn a_gateway_that_is_through_is_told_the_next_thing() {
        let mut orders = Orders::default();
        orders.add("1", command(1, "u"), NOW);
        orders.add("1", command(2, "l"), NOW);
        let later = NOW + ASK_AFTER;
        assert_eq!(orders.elapsed(later).frames, [pyaiot::ask_all("motehub-1")]);
        assert_eq!(orders.answered("motehub-7", later), Step::default(), "not our question");
        assert_eq!(orders.answered("motehub-1", later).frames.len(), 1);
        let step = orders.elapsed(NOW + CONFIRMED_WITHIN);
        assert_eq!(
            outcomes(&step),
            ["its gateway passed it on, and the node did not confirm it in 10 seconds"]
        );
    }

    #[test]
    fn a_gateway_that_waits_for_a_node_holds_nobody_up_for_ever_and_a_deaf_one_is_known() {
        let mut orders = Orders::default();
        orders.add("1", command(1, "1"), NOW);
        orders.add("2", command(2, "1"), NOW);
        assert_eq!(orders.elapsed(NOW + ASK_AFTER).frames.len(), 1);
        let late = outcomes(&orders.elapsed(NOW + CONFIRMED_WITHIN));
        assert!(late.len() == 1 && late[0].contains("not known"), "{late:?}");
        assert_eq!(orders.deadline(), Some(NOW + THROUGH_WITHIN));
        assert!(orders.is_heard());
        assert_eq!(outcomes(&orders.elapsed(NOW + THROUGH_WITHIN)), [DEAF]);
        assert!(!orders.is_heard());
        assert_eq!(outcomes(&orders.add("1", command(3, "1"), NOW)), [DEAF]);
    }

    #[test]
    fn what_would_stop_it_is_answered_and_the_next_goes_on() {
        let mut orders = Orders::default();
        orders.add("1", command(1, "1"), NOW);
        orders.add("1", command(2, "ä"), NOW);
        orders.add("1", command(3, "0"), NOW);
        let (_, step) = orders.heard("1", "led", "1", NOW);
        assert_eq!(step.frames, [pyaiot::command("1", "led", "0").expect("is plain")]);
        assert!(outcomes(&step)[1].contains("ASCII"), "{step:?}");
        let gone = orders.gone("1");
        assert_eq!((gone.replies.len(), gone.frames.len()), (1, 0));
    }

    #[test]
    fn only_the_newest_of_what_is_desired_waits() {
        let desired = |text| Write { command: None, ..command(0, text) };
        let mut orders = Orders::default();
        orders.add("1", command(1, "1"), NOW);
        for text in ["0", "1", "0"] {
            orders.add("1", desired(text), NOW);
        }
        assert_eq!(orders.waiting.len(), 1);
        orders.heard("1", "led", "1", NOW);
        assert_eq!(orders.heard("1", "led", "0", NOW).0, Some(json!("0")), "as it was desired");
    }
}
