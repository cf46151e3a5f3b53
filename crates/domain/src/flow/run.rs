//! The steps of a flow that run on the hub, and what every kind of step means: generated code does the same on boards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::{Compare, Graph, Kind, Operand, Operator, Rule, StepId, VALUE_BYTES_MAX};
use crate::expression::{evaluate, number, same};
use crate::fields::what;
use crate::time::Time;

/// Most values that one value may become on its way: wires that part and meet again double them.
pub const DELIVERIES_MAX: usize = 1_000;

/// What came of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A step here emitted a value. The steps here that take it have it already; others are told by the caller.
    Emitted(StepId, Value),
    /// A step that reaches outside has something to do: a switch, a command, a topic, a webhook.
    Do(StepId, Value),
    /// A step could do nothing with a value, which goes no further.
    Failed(StepId, String),
}

/// The steps of one flow that run in one place, with what they remember.
#[derive(Debug)]
pub struct Runner {
    graph: Graph,
    here: BTreeSet<StepId>,
    memory: BTreeMap<StepId, Memory>,
}

/// What a step remembers from one value to the next.
#[derive(Debug)]
enum Memory {
    /// And, or: the last truth on each wire.
    Truths(BTreeMap<StepId, bool>),
    /// Debounce: what waits, and until when.
    Waiting(Option<(Time, Value)>),
    /// Average: the last numbers and when they came.
    Numbers(VecDeque<(Time, f64)>),
    /// Timer: when it emits next.
    Next(Time),
}

impl Runner {
    /// The steps of a graph that run here from now on.
    pub fn new(graph: Graph, here: BTreeSet<StepId>, now: Time) -> Self {
        let mut runner = Self { graph, here: BTreeSet::new(), memory: BTreeMap::new() };
        runner.place(here, now);
        runner
    }

    /// Other steps run here from now on. Those that stay remember what they knew.
    pub fn place(&mut self, here: BTreeSet<StepId>, now: Time) {
        self.memory.retain(|id, _| here.contains(id));
        for step in self.graph.steps.iter().filter(|step| here.contains(&step.id)) {
            if let Some(memory) = Memory::of(&step.kind, now) {
                self.memory.entry(step.id.clone()).or_insert(memory);
            }
        }
        self.here = here;
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The steps that run here.
    pub fn here(&self) -> &BTreeSet<StepId> {
        &self.here
    }

    /// A step elsewhere emitted a value.
    pub fn take(&mut self, from: &StepId, value: Value, now: Time) -> Vec<Act> {
        self.go(VecDeque::from([(from.clone(), value)]), now, false)
    }

    /// A step here has a value from outside: a metric or a topic.
    pub fn emit(&mut self, from: &StepId, value: Value, now: Time) -> Vec<Act> {
        if !self.here.contains(from) {
            return Vec::new();
        }
        if value.to_string().len() > VALUE_BYTES_MAX {
            return vec![Act::Failed(from.clone(), format!("a value has more than {VALUE_BYTES_MAX} bytes"))];
        }
        self.go(VecDeque::from([(from.clone(), value)]), now, true)
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Time> {
        let due = self.memory.values().filter_map(|memory| match memory {
            Memory::Next(at) | Memory::Waiting(Some((at, _))) => Some(*at),
            _ => None,
        });
        due.min()
    }

    /// Does what is due. A timer that could not keep up leaves out what it missed.
    pub fn tick(&mut self, now: Time) -> Vec<Act> {
        let mut emitted = VecDeque::new();
        for (id, memory) in &mut self.memory {
            match (memory, self.graph.steps.iter().find(|step| step.id == *id).map(|step| &step.kind)) {
                (Memory::Next(at), Some(Kind::Timer { every, value })) if *at <= now => {
                    let missed = (now - *at).0 / every.0.max(1);
                    *at = Time(at.0 + (missed + 1) * every.0);
                    emitted.push_back((id.clone(), value.clone()));
                }
                (Memory::Waiting(waiting), _) => {
                    if let Some((_, value)) = waiting.take_if(|(at, _)| *at <= now) {
                        emitted.push_back((id.clone(), value));
                    }
                }
                _ => {}
            }
        }
        self.go(emitted, now, true)
    }

    /// Passes emitted values on, one after the other. `tell`: the first ones were emitted here.
    fn go(&mut self, mut emitted: VecDeque<(StepId, Value)>, now: Time, tell: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut first = emitted.len();
        let mut deliveries = 0;
        while let Some((from, value)) = emitted.pop_front() {
            let targets: Vec<StepId> =
                self.graph.targets(&from).filter(|id| self.here.contains(*id)).cloned().collect();
            if tell || first == 0 {
                acts.push(Act::Emitted(from.clone(), value.clone()));
            }
            first = first.saturating_sub(1);
            for target in targets {
                deliveries += 1;
                if deliveries > DELIVERIES_MAX {
                    let why = format!("one value became more than {DELIVERIES_MAX}: the rest is left out");
                    acts.push(Act::Failed(target, why));
                    return acts;
                }
                match self.receive(&target, &from, &value, now) {
                    Ok(Said::Nothing) => {}
                    Ok(Said::Emits(value)) if value.to_string().len() > VALUE_BYTES_MAX => {
                        let why = format!("what it emits has more than {VALUE_BYTES_MAX} bytes");
                        acts.push(Act::Failed(target, why));
                    }
                    Ok(Said::Emits(value)) => emitted.push_back((target, value)),
                    Ok(Said::Does(value)) => acts.push(Act::Do(target, value)),
                    Err(why) => acts.push(Act::Failed(target, why)),
                }
            }
        }
        acts
    }

    fn receive(&mut self, id: &StepId, from: &StepId, value: &Value, now: Time) -> Result<Said, String> {
        let Some(step) = self.graph.step(id) else { return Ok(Said::Nothing) };
        let memory = self.memory.get_mut(id);
        Ok(match (&step.kind, memory) {
            (Kind::Compare(compare), _) => match (holds(compare, value)?, compare.passes) {
                (truth, false) => Said::Emits(Value::Bool(truth)),
                (true, true) => Said::Emits(value.clone()),
                (false, true) => Said::Nothing,
            },
            (Kind::And | Kind::Or, Some(Memory::Truths(truths))) => {
                truths.insert(from.clone(), truth(value));
                let is_complete = self.graph.sources(id).all(|source| truths.contains_key(source));
                let mut last = truths.values().copied();
                match (&step.kind, is_complete) {
                    (Kind::And, true) => Said::Emits(Value::Bool(last.all(|truth| truth))),
                    (Kind::And, false) => Said::Nothing,
                    _ => Said::Emits(Value::Bool(last.any(|truth| truth))),
                }
            }
            (Kind::Not, _) => Said::Emits(Value::Bool(!truth(value))),
            (Kind::Debounce(debounce), Some(Memory::Waiting(waiting))) => {
                *waiting = Some((now + debounce.quiet, value.clone()));
                Said::Nothing
            }
            (Kind::Average(average), Some(Memory::Numbers(numbers))) => {
                let part = part(value, &average.property);
                let next =
                    part.as_f64().ok_or_else(|| format!("a number is expected, not {}", what(part)))?;
                numbers.push_back((now, next));
                let is_old = |at: Time| average.window.is_some_and(|window| now - at > window);
                while numbers.len() > average.count || numbers.front().is_some_and(|(at, _)| is_old(*at)) {
                    numbers.pop_front();
                }
                #[expect(clippy::cast_precision_loss, reason = "at most 100 numbers")]
                Said::Emits(number(
                    numbers.iter().map(|(_, number)| number).sum::<f64>() / numbers.len() as f64,
                ))
            }
            (Kind::Expression(expression), _) => Said::Emits(expression.of(value)?),
            (Kind::Map { cases, otherwise }, _) => {
                match (cases.iter().find(|(when, _)| same(when, value)), otherwise) {
                    (Some((_, then)), _) => Said::Emits(then.clone()),
                    (None, Some(otherwise)) => Said::Emits(otherwise.clone()),
                    (None, None) => Said::Nothing,
                }
            }
            (Kind::Pass, _) => Said::Emits(value.clone()),
            (Kind::Switch { value: Some(fixed), .. } | Kind::Command { arguments: Some(fixed), .. }, _) => {
                Said::Does(fixed.clone())
            }
            (Kind::Switch { .. } | Kind::Command { .. } | Kind::Publish { .. } | Kind::Webhook { .. }, _) => {
                Said::Does(value.clone())
            }
            _ => Said::Nothing,
        })
    }
}

/// What a step does with a value.
enum Said {
    Nothing,
    Emits(Value),
    Does(Value),
}

impl Memory {
    fn of(kind: &Kind, now: Time) -> Option<Self> {
        match kind {
            Kind::And | Kind::Or => Some(Self::Truths(BTreeMap::new())),
            Kind::Debounce(_) => Some(Self::Waiting(None)),
            Kind::Average(_) => Some(Self::Numbers(VecDeque::new())),
            Kind::Timer { every, .. } => Some(Self::Next(now + *every)),
            _ => None,
        }
    }
}

/// Whether a value counts as true: true itself, a number other than 0, and the texts `true` and `True`.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => text == "true" || text == "True",
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A part of a value; null if it has no such part.
fn part<'a>(value: &'a Value, property: &[String]) -> &'a Value {
    property.iter().fold(value, |value, name| value.get(name).unwrap_or(&Value::Null))
}

fn holds(compare: &Compare, value: &Value) -> Result<bool, String> {
    let part = part(value, &compare.property);
    for rule in &compare.rules {
        if !rule_holds(rule, part)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn rule_holds(rule: &Rule, part: &Value) -> Result<bool, String> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let ordered = |operand: &Value| evaluate::order(part, operand);
    Ok(match (rule.operator, &rule.operand) {
        (Operator::True, _) => *part == Value::Bool(true),
        (Operator::False, _) => *part == Value::Bool(false),
        (Operator::Null, _) => part.is_null(),
        (Operator::NotNull, _) => !part.is_null(),
        (Operator::Between, Operand::Range(from, to)) => {
            let number = part.as_f64().ok_or_else(|| format!("a number is expected, not {}", what(part)))?;
            (*from..=*to).contains(&number)
        }
        (Operator::Eq, Operand::One(operand)) => same(part, operand),
        (Operator::Neq, Operand::One(operand)) => !same(part, operand),
        (Operator::Lt, Operand::One(operand)) => ordered(operand)? == Less,
        (Operator::Lte, Operand::One(operand)) => matches!(ordered(operand)?, Less | Equal),
        (Operator::Gt, Operand::One(operand)) => ordered(operand)? == Greater,
        (Operator::Gte, Operand::One(operand)) => matches!(ordered(operand)?, Greater | Equal),
        _ => false,
    })
}
