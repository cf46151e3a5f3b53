//! One node that is let in: what it says becomes uplinks, and what is desired of it or ordered becomes texts to write.
//! It confirms a text by saying the same of that resource; without that, it has not done it.

use motehub_domain::id::CommandId;
use motehub_domain::message::{Downlink, Outcome, Uplink};
use motehub_domain::report::Announcement;
use motehub_domain::telemetry::Metric;
use motehub_protocol::riot::{self, Write};
use serde_json::Value;

use super::values::{RESOURCES_MAX, Taken, Values};

/// How long a node may take to confirm what it was told.
pub(super) const CONFIRMED_WITHIN_MS: u64 = 10_000;
/// How many texts may be told and not be confirmed; further ones are answered with that.
const TOLD_MAX: usize = 64;

/// A node.
#[derive(Default)]
pub(super) struct Node {
    values: Values,
    told: Vec<Told>,
    introduced: Option<Announcement>,
    /// It was told apart since the last introduction.
    has_news: bool,
}

/// Something that it was told and has not confirmed.
struct Told {
    write: Write,
    until_ms: u64,
}

/// What comes of something.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// To be taken, in this order.
    pub(super) uplinks: Vec<Uplink>,
    /// To be written to the node.
    pub(super) writes: Vec<Write>,
    /// Whether the node shall say all it has.
    pub(super) asks: bool,
    /// What of it was not done or understood, for people.
    pub(super) refused: Vec<String>,
}

impl Step {
    fn reply(&mut self, command: Option<CommandId>, outcome: Outcome) {
        self.uplinks.extend(command.map(|command| Uplink::Reply { command, outcome }));
    }
}

impl Node {
    /// It says this of its resources.
    pub(super) fn heard<'a>(
        &mut self,
        said: impl IntoIterator<Item = (&'a str, &'a str)>,
        now_ms: u64,
    ) -> Step {
        let mut step = Step::default();
        let mut points = Vec::new();
        for (name, text) in said {
            let text = match riot::value(name, text.as_bytes()) {
                Ok(text) => text,
                Err(error) => {
                    step.refused.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let unit = riot::quantity(&text).and_then(|(_, unit)| unit.map(str::to_owned));
            let Some(mut taken) = self.values.take(name, text.clone(), false) else {
                step.refused.push(format!("a node has at most {RESOURCES_MAX} resources"));
                continue;
            };
            points.append(&mut taken.points);
            let Taken { is_unit_new, .. } = taken;
            if let (true, Some(unit), Ok(metric)) = (is_unit_new, unit, Metric::parse(name)) {
                step.uplinks.push(Uplink::Unit { metric, unit });
            }
            self.confirm(name, &text, &mut step);
            self.has_news = true;
        }
        if !points.is_empty() {
            step.uplinks.insert(0, Uplink::Telemetry(points));
        }
        self.report(now_ms, &mut step);
        step
    }

    /// What it says may be what it was told, or what was asked.
    fn confirm(&mut self, name: &str, text: &str, step: &mut Step) {
        let mut kept = Vec::with_capacity(self.told.len());
        for told in self.told.drain(..) {
            let Write { resource, value, command } = &told.write;
            let is_asked = value.is_null() && command.is_some();
            match resource == name && (is_asked || told.write.text() == text) {
                true => {
                    let result = is_asked.then(|| riot::meaning(text));
                    step.reply(*command, Outcome::Done(result));
                }
                false => kept.push(told),
            }
        }
        self.told = kept;
    }

    /// The hub has something for it.
    pub(super) fn say(&mut self, downlink: &Downlink, now_ms: u64) -> Step {
        let mut step = Step::default();
        for write in riot::writes(downlink) {
            self.write(write, now_ms, &mut step);
        }
        self.report(now_ms, &mut step);
        step
    }

    fn write(&mut self, write: Write, now_ms: u64, step: &mut Step) {
        let Write { resource, value, command } = &write;
        if command.is_none() {
            // It says that already, and only writes it in another way.
            if self.values.says(resource, value) {
                return self.values.took(resource, value);
            }
            self.values.give(resource, value);
            // Only the newest of what is desired counts; and it is told once.
            let is_same = |told: &Told| told.write == write;
            if self.told.iter().any(is_same) {
                return;
            }
            self.told.retain(|told| told.write.command.is_some() || told.write.resource != *resource);
        } else if self.told.iter().any(|told| told.write.command == *command) {
            return;
        }
        if !riot::is_name(resource) {
            return step.reply(*command, Outcome::Failed("a node has no resource of that name".to_owned()));
        }
        if self.told.len() >= TOLD_MAX {
            let why = "too much was told to the node that it has not confirmed: try again later";
            return step.reply(*command, Outcome::Failed(why.to_owned()));
        }
        match (command, value) {
            (Some(_), Value::Null) => step.asks = true,
            _ => step.writes.push(write.clone()),
        }
        self.told.push(Told { write, until_ms: now_ms + CONFIRMED_WITHIN_MS });
    }

    /// When something is due.
    pub(super) fn next_moment(&self) -> Option<u64> {
        let told = self.told.iter().map(|told| told.until_ms).min();
        [told, self.values.report_at()].into_iter().flatten().min()
    }

    /// Time passed.
    pub(super) fn elapsed(&mut self, now_ms: u64) -> Step {
        let mut step = Step::default();
        for late in self.told.extract_if(.., |told| told.until_ms <= now_ms) {
            let seconds = CONFIRMED_WITHIN_MS / 1000;
            let why =
                format!("the node did not confirm it in {seconds} seconds: whether it was done is not known");
            match late.write.command {
                Some(_) => step.reply(late.write.command, Outcome::Failed(why)),
                None => step.refused.push(format!("what is desired of {}: {why}", late.write.resource)),
            }
        }
        self.report(now_ms, &mut step);
        step
    }

    /// It is gone: what it was told fails.
    pub(super) fn gone(&mut self) -> Vec<Uplink> {
        let mut step = Step::default();
        for told in self.told.drain(..) {
            let why = "the node went before it confirmed it: whether it was done is not known";
            step.reply(told.write.command, Outcome::Failed(why.to_owned()));
        }
        step.uplinks
    }

    fn report(&mut self, now_ms: u64, step: &mut Step) {
        if let Some(report) = self.values.take_report(now_ms) {
            step.uplinks.push(report);
        }
        if std::mem::take(&mut self.has_news) {
            let introduction = self.values.introduction();
            if introduction != self.introduced {
                step.uplinks.extend(introduction.clone().map(|said| Uplink::Announced(Box::new(said))));
                self.introduced = introduction;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use motehub_domain::message::Order;
    use motehub_domain::time::{Span, Time};
    use serde_json::json;

    use super::*;

    fn order(number: u128, name: &str, arguments: Value) -> Downlink {
        let ttl = Span::seconds(60);
        let (id, expires_at) = (CommandId::from_parts(1, number), Time(60_000));
        Downlink::Command(Order { id, name: name.to_owned(), arguments, expires_at, ttl })
    }

    fn outcomes(uplinks: &[Uplink]) -> Vec<String> {
        let outcome = |uplink: &Uplink| match uplink {
            Uplink::Reply { outcome: Outcome::Done(result), .. } => Some(format!("{result:?}")),
            Uplink::Reply { outcome: Outcome::Failed(why), .. } => Some(why.clone()),
            _ => None,
        };
        uplinks.iter().filter_map(outcome).collect()
    }

    #[test]
    fn a_node_introduces_itself_measures_and_reports() {
        let mut node = Node::default();
        let said = [("name", "n"), ("board", "nucleo"), ("temperature", "23.4°C"), ("led", "0")];
        let kinds: Vec<String> = node.heard(said, 0).uplinks.iter().map(kind).collect();
        assert_eq!(kinds, ["2 points", "unit °C", "shadow", "nucleo"]);
        let again: Vec<String> =
            node.heard([("temperature", "23.4°C")], 100).uplinks.iter().map(kind).collect();
        assert_eq!(again, ["1 points"], "the same is a measurement and no news");
        assert!(node.heard([("led", "1")], 200).uplinks.iter().all(|uplink| kind(uplink) != "shadow"));
        assert_eq!(node.next_moment(), Some(1_000));
        assert_eq!(node.elapsed(1_000).uplinks.iter().map(kind).collect::<Vec<_>>(), ["shadow"]);
        let long = "x".repeat(riot::VALUE_BYTES_MAX + 1);
        assert_eq!(node.heard([("js", long.as_str())], 2_000).refused.len(), 1);
    }

    fn kind(uplink: &Uplink) -> String {
        match uplink {
            Uplink::Telemetry(points) => format!("{} points", points.len()),
            Uplink::Unit { unit, .. } => format!("unit {unit}"),
            Uplink::Shadow(_) => "shadow".to_owned(),
            Uplink::Announced(said) => said.model.clone().unwrap_or_default(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_command_is_done_when_the_node_says_so_and_fails_when_it_does_not() {
        let mut node = Node::default();
        let step = node.say(&order(1, "/led", json!("1")), 0);
        assert_eq!(
            step.writes.iter().map(|w| (w.resource.as_str(), w.text())).collect::<Vec<_>>(),
            [("led", "1".to_owned())]
        );
        assert!(node.say(&order(1, "led", json!("1")), 0).writes.is_empty(), "said again by the hub");
        assert!(outcomes(&node.heard([("led", "0")], 10).uplinks).is_empty());
        assert_eq!(outcomes(&node.heard([("led", "1")], 20).uplinks), ["None"]);
        node.say(&order(2, "robot", json!("u")), 30);
        assert!(outcomes(&node.elapsed(30 + CONFIRMED_WITHIN_MS - 1).uplinks).is_empty());
        assert!(outcomes(&node.elapsed(30 + CONFIRMED_WITHIN_MS).uplinks)[0].contains("did not confirm"));
        node.say(&order(3, "led", json!("0")), 40);
        assert!(outcomes(&node.gone())[0].contains("went before"));
    }

    #[test]
    fn a_command_without_arguments_reads_what_the_node_has() {
        let mut node = Node::default();
        let step = node.say(&order(1, "temperature", Value::Null), 0);
        assert!(step.asks && step.writes.is_empty());
        assert!(outcomes(&node.heard([("led", "0")], 1).uplinks).is_empty());
        assert_eq!(outcomes(&node.heard([("temperature", "21°C")], 2).uplinks), ["Some(Number(21))"]);
    }

    #[test]
    fn what_is_told_and_not_confirmed_is_bounded() {
        let mut node = Node::default();
        for number in 0..TOLD_MAX as u128 {
            assert_eq!(node.say(&order(number, "led", json!("1")), 0).writes.len(), 1);
        }
        let step = node.say(&order(1_000, "led", json!("1")), 0);
        assert!(step.writes.is_empty() && outcomes(&step.uplinks)[0].contains("too much"));
        let bad = Node::default().say(&order(1, "a:b", json!("1")), 0);
        assert!(outcomes(&bad.uplinks)[0].contains("no resource"));
    }
}
