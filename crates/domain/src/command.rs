//! Commands: one request to one device or to many, answered by each.
//!
//! A command waits for a device that is away until it expires. It is said again until it is answered; the device
//! runs each id once and answers a repeated one as before, so saying it again is harmless. A Mongoose OS device would
//! do it twice, and so would a RIOT node: it is told once, and when no answer comes, that is the answer.

mod concealed;
mod fact;

use serde_json::{Value, json};

use crate::change::{Actor, ChangeKind};
use crate::device::{Device, Dialect};
use crate::effects::{Effects, Save};
use crate::id::{CommandId, DeviceId};
use crate::message::{Downlink, Order, Outcome};
use crate::rejection::Rejection;
use crate::time::{Span, Time};

pub use concealed::concealed;
use concealed::kept;
use fact::{fact, moved};

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Largest arguments, and largest result that is kept, in bytes of JSON.
pub const ARGUMENTS_BYTES_MAX: usize = 8 * 1024;
/// How long a command may wait by default.
pub const EXPIRES_IN: Span = Span::minutes(5);
/// The shortest and longest time a command may wait.
pub const EXPIRES_IN_RANGE: (Span, Span) = (Span::seconds(1), Span::days(7));
/// How long after it was said a command without an answer is said again.
pub const SAY_AGAIN: Span = Span::seconds(30);
/// Most devices of one command.
pub const DEVICES_MAX: usize = 100_000;
/// Longest reason of a failure that is kept, in characters.
pub const REASON_CHARS_MAX: usize = 1_000;
/// How long commands are kept.
pub const KEPT: Span = Span::days(90);

/// One request. It never changes; how it stands at each device is in its [`Execution`]s.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// What to do, in the device's words.
    pub name: String,
    /// With what, any JSON; null for nothing.
    pub arguments: Value,
    /// The selector that picked the devices, if one did.
    pub selector: Option<String>,
    /// On how many devices.
    pub devices: i64,
    /// The name of whoever asked.
    pub created_by: String,
    /// When it was asked.
    pub created_at: Time,
    /// Until when it may be begun.
    pub expires_at: Time,
}

/// One device's share of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Of which command.
    pub command: CommandId,
    /// On which device.
    pub device: DeviceId,
    /// How it stands.
    pub state: ExecutionState,
    /// How often it was said.
    pub tries: i64,
    /// What the device answered, if it gave a result.
    pub result: Option<Value>,
    /// Why it is not as it should be.
    pub reason: Option<String>,
    /// When it came to this state.
    pub updated_at: Time,
    /// When something is to be done about it: said again, or expired.
    pub deadline: Option<Time>,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// How a command stands at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionState {
    /// The device is away; it waits.
    Queued,
    /// It was said to the device.
    Sent,
    /// The device did it.
    Done,
    /// The device could not, or cannot.
    Failed,
    /// No answer came in time, or it was cancelled before it was said.
    Expired,
}

impl ExecutionState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Sent, Self::Done, Self::Failed, Self::Expired];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Sent => "Sent",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Expired => "Expired",
        }
    }
    /// A state by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
    /// Whether an answer is still awaited.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Sent)
    }
}

/// What a person asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What to do.
    pub name: String,
    /// With what.
    pub arguments: Value,
    /// The selector that picked the devices, if one did.
    pub selector: Option<String>,
    /// How long it may wait; [`EXPIRES_IN`] by default.
    pub expires_in: Option<Span>,
}

/// A device that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Which.
    pub device: Device,
    /// Whether it has a live connection.
    pub online: bool,
}

/// Refuses what could be asked of no device at all.
pub fn check(request: &Request) -> Result<(), Rejection> {
    let expires_in = request.expires_in.unwrap_or(EXPIRES_IN);
    if expires_in < EXPIRES_IN_RANGE.0 || expires_in > EXPIRES_IN_RANGE.1 {
        return Err(Rejection::invalid("expires_in_seconds", "a command waits 1 second to 7 days"));
    }
    if request.arguments.to_string().len() > ARGUMENTS_BYTES_MAX {
        return Err(Rejection::too_large("args", format!("at most {ARGUMENTS_BYTES_MAX} bytes of JSON")));
    }
    name(&request.name).map(drop)
}

/// Asks devices to do something.
pub fn request(
    id: CommandId,
    request: &Request,
    to: &[Addressee],
    actor: &Actor,
    now: Time,
) -> Result<(Command, Effects), Rejection> {
    if to.is_empty() {
        return Err(Rejection::invalid("devices", "no device is meant: name some, or widen the selector"));
    }
    if to.len() > DEVICES_MAX {
        return Err(Rejection::too_large("devices", format!("at most {DEVICES_MAX} devices at once")));
    }
    check(request)?;
    let command = Command {
        id,
        name: name(&request.name)?,
        arguments: request.arguments.clone(),
        selector: request.selector.clone(),
        devices: i64::try_from(to.len()).unwrap_or(i64::MAX),
        created_by: actor.name().to_owned(),
        created_at: now,
        expires_at: now + request.expires_in.unwrap_or(EXPIRES_IN),
    };
    let mut effects = Effects::none();
    let after = json!({
        "arguments": command.arguments, "selector": command.selector, "devices": to.len(),
    });
    effects.save.push(Save::Command(Box::new(command.clone())));
    effects.changes.push(fact(ChangeKind::CommandRequested, &command, actor, Some(after)));
    for Addressee { device, online } in to {
        effects = effects.and(first(&command, device, *online, now));
    }
    Ok((command, effects))
}

fn first(command: &Command, device: &Device, online: bool, now: Time) -> Effects {
    let execution = Execution {
        command: command.id,
        device: device.id,
        state: ExecutionState::Queued,
        tries: 0,
        result: None,
        reason: None,
        updated_at: now,
        deadline: Some(command.expires_at),
        revision: 1,
    };
    match (device.dialect, online) {
        (Dialect::Nodemcu | Dialect::EspFirmware | Dialect::Line, _) => {
            let reason = Some(takes_none(device.dialect).to_owned());
            let failed = Execution { state: ExecutionState::Failed, reason, deadline: None, ..execution };
            let change = moved(command, device, &failed, None);
            Effects {
                save: vec![Save::Execution(Box::new(failed))],
                changes: vec![change],
                ..Effects::none()
            }
        }
        (Dialect::Native | Dialect::Micropython | Dialect::Mongoose | Dialect::Riot, false) => {
            save(execution)
        }
        (Dialect::Native | Dialect::Micropython | Dialect::Mongoose | Dialect::Riot, true) => {
            let said = Execution {
                state: ExecutionState::Sent,
                tries: 1,
                deadline: Some(command.expires_at.min(now + SAY_AGAIN)),
                ..execution
            };
            Effects { send: vec![(device.id, order(command, now))], ..save(said) }
        }
    }
}

/// The device is there: it is told now, or again. Nothing happens if it was answered or is too late.
pub fn say(command: &Command, device: &Device, execution: &Execution, now: Time) -> Effects {
    if !execution.state.is_open() || !may_be_said(device, execution) || now >= command.expires_at {
        return Effects::none();
    }
    let mut said = next(execution, ExecutionState::Sent, now);
    said.tries += 1;
    said.deadline = Some(command.expires_at.min(now + SAY_AGAIN));
    let changes = match execution.state {
        ExecutionState::Queued => vec![moved(command, device, &said, Some(execution.state))],
        _ => Vec::new(),
    };
    let save = vec![Save::Execution(Box::new(said))];
    Effects { save, changes, send: vec![(device.id, order(command, now))], ..Effects::none() }
}

/// A deadline passed: it is too late, or it is said again if the device is there. The shell calls this when
/// `execution.deadline` is reached.
pub fn elapsed(
    command: &Command,
    device: &Device,
    online: bool,
    execution: &Execution,
    now: Time,
) -> Effects {
    if !execution.state.is_open() || execution.deadline.is_none_or(|deadline| deadline > now) {
        return Effects::none();
    }
    if now < command.expires_at {
        if online && may_be_said(device, execution) {
            return say(command, device, execution, now);
        }
        let mut waiting = next(execution, execution.state, now);
        waiting.updated_at = execution.updated_at;
        waiting.deadline = Some(command.expires_at);
        return save(waiting);
    }
    let why = match execution.state {
        ExecutionState::Queued => "the device did not come in time".to_owned(),
        _ => format!("sent {} times; no answer came in time", execution.tries),
    };
    ended(command, device, execution, ExecutionState::Expired, None, Some(why), now)
}

fn takes_none(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Line => "a unit takes no commands: it is told what is desired of it",
        _ => "the firmware of the board takes no commands; boards with the Motehub agent do",
    }
}

/// Those that do not know a command again are told it once.
fn may_be_said(device: &Device, execution: &Execution) -> bool {
    let is_told_once = matches!(device.dialect, Dialect::Mongoose | Dialect::Riot);
    !is_told_once || execution.state == ExecutionState::Queued
}

/// The device answered. A repeated answer changes nothing; one that comes late is kept, because it is true.
pub fn answered(
    command: &Command,
    device: &Device,
    execution: &Execution,
    outcome: &Outcome,
    now: Time,
) -> Effects {
    let late = match execution.state {
        ExecutionState::Done | ExecutionState::Failed => return Effects::none(),
        ExecutionState::Expired => true,
        ExecutionState::Queued | ExecutionState::Sent => false,
    };
    let (state, mut result, mut reason) = match outcome {
        Outcome::Done(result) => {
            (ExecutionState::Done, result.as_ref().map(|result| kept(command, result)), None)
        }
        Outcome::Failed(why) => (ExecutionState::Failed, None, Some(cut(why))),
        Outcome::Refused { code, message } => {
            (ExecutionState::Failed, None, Some(cut(&format!("{message} (code {code})"))))
        }
    };
    if result.as_ref().is_some_and(|result| result.to_string().len() > ARGUMENTS_BYTES_MAX) {
        result = None;
        reason = Some(format!("its result was larger than {ARGUMENTS_BYTES_MAX} bytes and is not kept"));
    }
    if late {
        let late = "the answer came after the command expired";
        reason = Some(reason.map_or(late.to_owned(), |reason| format!("{reason} ({late})")));
    }
    ended(command, device, execution, state, result, reason, now)
}

/// Takes a command back from the devices that were not told yet.
pub fn cancel(
    command: &Command,
    waiting: &[(Device, Execution)],
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    let queued = waiting.iter().filter(|(_, execution)| execution.state == ExecutionState::Queued);
    let mut effects = Effects::none();
    let why = format!("cancelled by {}", actor.name());
    for (device, execution) in queued {
        let reason = Some(why.clone());
        let expired = ended(command, device, execution, ExecutionState::Expired, None, reason, now);
        effects = effects.and(expired);
    }
    if effects.is_empty() {
        return Err(Rejection::conflict(
            "conflict",
            "no device waits for it: what was said to a device cannot be taken back",
        ));
    }
    effects.changes.insert(0, fact(ChangeKind::CommandCancelled, command, actor, None));
    Ok(effects)
}

fn ended(
    command: &Command,
    device: &Device,
    execution: &Execution,
    state: ExecutionState,
    result: Option<Value>,
    reason: Option<String>,
    now: Time,
) -> Effects {
    let mut end = next(execution, state, now);
    end.deadline = None;
    end.result = result;
    end.reason = reason;
    let change = moved(command, device, &end, Some(execution.state));
    Effects { changes: vec![change], ..save(end) }
}

fn next(execution: &Execution, state: ExecutionState, now: Time) -> Execution {
    Execution { state, updated_at: now, revision: execution.revision + 1, ..execution.clone() }
}

fn save(execution: Execution) -> Effects {
    Effects { save: vec![Save::Execution(Box::new(execution))], ..Effects::none() }
}

fn order(command: &Command, now: Time) -> Downlink {
    Downlink::Command(Order {
        id: command.id,
        name: command.name.clone(),
        arguments: command.arguments.clone(),
        expires_at: command.expires_at,
        ttl: command.expires_at - now,
    })
}

fn name(text: &str) -> Result<String, Rejection> {
    let text = text.trim();
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    match is_plain && (1..=NAME_BYTES_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(Rejection::invalid(
            "name",
            format!("1 to {NAME_BYTES_MAX} letters, digits or the signs - _ . / such as relay or led.blink"),
        )),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).collect()
}
