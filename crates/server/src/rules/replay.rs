//! A rule over what is stored: the firings that it would have made. The code is that of the live engine; nothing is
//! done, and nobody is held up by it.

use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::rule::engine::{Outcome, State};
use motehub_domain::rule::{Firing, Known, Meaning, Pair, Runner};
use motehub_domain::time::{Span, Time};

use super::devices::Facts;
use crate::app::App;
use crate::perform::Failure;

/// Most firings of an answer.
pub(crate) const FIRINGS_MAX: usize = 2_000;
/// Most points that one replay reads.
const POINTS_MAX: usize = 20_000_000;
/// The longest time that is replayed.
pub(crate) const SPAN_MAX: Span = Span::days(92);
/// How much of a device is read at once.
const PART: Span = Span::days(1);

/// What a replay found.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// In the order of time; the first ones if there are more than fit.
    pub(crate) firings: Vec<(Firing, Option<Time>)>,
    /// How many there are.
    pub(crate) total: usize,
    /// How many devices were looked at.
    pub(crate) devices: usize,
    /// How many points were read.
    pub(crate) points: usize,
    /// How often it could not be decided.
    pub(crate) errors: usize,
    /// Why, the first time.
    pub(crate) error: Option<String>,
    /// What is missing in the answer, in words for people.
    pub(crate) truncated: Option<String>,
}

impl App {
    /// Replays a rule that begins at `from`.
    pub(crate) async fn replay(&self, meaning: &Meaning, from: Time, to: Time) -> Result<Replayed, Failure> {
        let now = self.now();
        if from >= to || to - from > SPAN_MAX || to > now {
            let days = SPAN_MAX.0 / 86_400_000;
            let why = format!("a time that is over, and at most {days} days of it, is replayed");
            return Err(Rejection::invalid("from", why).into());
        }
        let Ok(_permit) = self.rules.replays.try_acquire() else {
            let why = "other rules are replayed at present: try again in a moment";
            return Err(Rejection::conflict("busy", why).into());
        };
        let starts = self.store.starts(from, to).await?;
        let mut replayed = Replayed::default();
        let devices = self.rule_devices(meaning).await?;
        replayed.devices = devices.len();
        for (device, facts) in devices {
            if replayed.points > POINTS_MAX {
                let why = format!("more than {POINTS_MAX} points: not all devices were looked at");
                replayed.truncated = Some(why);
                break;
            }
            self.replay_device(meaning, device, facts, (from, to), &starts, &mut replayed).await?;
            tokio::task::yield_now().await;
        }
        if !meaning.is_about_devices() {
            let mut runner = Runner::new(State::new(from), starts, Time(i64::MIN));
            let done = runner.advance(Pair { meaning, device: None }, &Known::default(), to - Span(1));
            replayed.note(done);
        }
        replayed.firings.sort_by_key(|(firing, _)| (firing.at, firing.device));
        if replayed.firings.len() > FIRINGS_MAX {
            replayed.firings.truncate(FIRINGS_MAX);
            replayed.truncated = Some(format!("the first {FIRINGS_MAX} firings are shown"));
        }
        Ok(replayed)
    }

    async fn replay_device(
        &self,
        meaning: &Meaning,
        device: DeviceId,
        facts: Facts,
        (from, to): (Time, Time),
        starts: &[(Time, Time)],
        replayed: &mut Replayed,
    ) -> Result<(), Failure> {
        let wants = &meaning.wants;
        let created_at = facts.1;
        if created_at >= to {
            return Ok(());
        }
        if wants.shadow
            && let Some(oldest) = self.store.shadow_history_from(device).await?
            && oldest > from
        {
            replayed.truncated =
                Some("of some devices older revisions of their shadow are not kept any more".to_owned());
        }
        let mut known = self.store.known_before(device, facts, wants, from).await?;
        let pair = Pair { meaning, device: Some(device) };
        let mut runner = Runner::new(State::new(from), starts.iter().copied(), Time(i64::MIN));
        let mut done = Vec::new();
        let mut begins = from.max(created_at);
        while begins < to {
            let ends = (begins + PART).min(to);
            let (signals, points) = self.store.signals(device, wants, begins, ends).await?;
            replayed.points += points;
            for signal in &signals {
                done.extend(runner.advance(pair, &known, signal.at));
                if let Some(fresh) = known.take(signal) {
                    done.push((signal.at, runner.take(pair, &known, &fresh, signal.at)));
                }
            }
            begins = ends;
        }
        done.extend(runner.advance(pair, &known, to - Span(1)));
        replayed.note(done);
        Ok(())
    }
}

impl Replayed {
    /// Takes what came of one device.
    fn note(&mut self, done: Vec<(Time, Outcome)>) {
        let mut firings: Vec<(Firing, Option<Time>)> = Vec::new();
        for (at, outcome) in done {
            if outcome.ended
                && let Some((_, ended_at)) = firings.last_mut()
            {
                ended_at.get_or_insert(at);
            }
            firings.extend(outcome.firing.map(|firing| (*firing, None)));
            if let Some(error) = outcome.error {
                self.errors += 1;
                self.error.get_or_insert(error);
            }
        }
        self.total += firings.len();
        // What is kept has a bound for each device as well.
        firings.truncate(FIRINGS_MAX + 1);
        self.firings.extend(firings);
        if self.firings.len() > 4 * FIRINGS_MAX {
            self.firings.sort_by_key(|(firing, _)| (firing.at, firing.device));
            self.firings.truncate(FIRINGS_MAX + 1);
        }
    }
}
