//! A rule as people and programs write it: a JSON document. What cannot be meant is refused, with the place.

use serde_json::Value;

use super::template::Template;
use super::{
    ACTIONS_MAX, Action, Condition, DOCUMENT_BYTES_MAX, Meaning, Schedule, Section, Target, Wants, When,
};
use crate::alarm::Severity;
use crate::device::Reach;
use crate::expression::hub::{Hub, Name};
use crate::fields::{Fields, what};
use crate::id::WebhookId;
use crate::rejection::Rejection;
use crate::selector::{Field, Known, Selector};
use crate::shadow;
use crate::telemetry::Metric;
use crate::time::Span;

/// How long a condition may have to hold, something be silent, or a rule be quiet, in seconds.
const FOR_S: (i64, i64) = (0, 30 * 86_400);
/// Longest name of an event or a command, and longest path, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Longest template in bytes.
const TEMPLATE_BYTES_MAX: usize = 8 * 1024;
/// The kinds of `when`.
const KINDS: &str = "metric, state, absence, presence, schedule or event";
/// What a selector of a rule may say.
pub const STABLE_SELECTOR: &str = "a rule's devices are picked by what they are (tag, group, capability, name, id, \
    external_id, dialect); what they measure or report belongs into the condition";

/// Reads the members `devices`, `when`, `condition`, `for_s`, `until`, `actions` and `quiet_s` of a document.
///
/// # Errors
/// A refusal that names the field, the column for an expression, and what is expected.
pub fn meaning(document: &Value) -> Result<Meaning, Rejection> {
    let size = document.to_string().len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(Rejection::too_large(
            "rule",
            format!("at most {DOCUMENT_BYTES_MAX} bytes, these are {size}"),
        ));
    }
    let mut fields = Fields::of(document, "")?;
    let devices = match fields.text("devices")?.map(str::trim).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(selector(&fields, "devices", text)?),
    };
    if devices.as_ref().is_some_and(|selector| !is_stable(selector)) {
        return Err(fields.wrong("devices", STABLE_SELECTOR));
    }
    let when = match fields.member("when") {
        Some(value) => when(value)?,
        None => return Err(fields.wrong("when", format!("is missing: {KINDS}"))),
    };
    let condition = condition(&mut fields, "condition")?;
    let lasts = when.lasts(condition.is_some());
    let hold = span(&mut fields, "for_s")?;
    let until = self::condition(&mut fields, "until")?;
    if !lasts && (hold.0 > 0 || until.is_some()) {
        let name = if hold.0 > 0 { "for_s" } else { "until" };
        return Err(fields.wrong(
            name,
            "nothing lasts here: a metric or a state needs a condition, and an event or a \
            moment of a schedule is over at once",
        ));
    }
    if until.is_some() && condition.is_none() {
        return Err(fields.wrong("until", "there is no condition of which this could be the end"));
    }
    if hold.0 > 0 && matches!(when, When::Absence(..)) {
        return Err(fields.wrong("for_s", "how long nothing is said stands in when.absence.for_s"));
    }
    let quiet = span(&mut fields, "quiet_s")?;
    let list = fields.list("actions")?;
    if !(1..=ACTIONS_MAX).contains(&list.len()) {
        return Err(fields.wrong("actions", format!("a rule has 1 to {ACTIONS_MAX} actions")));
    }
    let about_devices = devices.is_some() || !matches!(when, When::Schedule(_));
    let actions = list.iter().enumerate().map(|(at, value)| action(value, at, about_devices));
    let actions = actions.collect::<Result<Vec<_>, _>>()?;
    if actions.iter().filter(|action| matches!(action, Action::Alarm { .. })).count() > 1 {
        return Err(fields.wrong("actions", "a rule raises one alarm: make another rule for another"));
    }
    fields.end()?;
    let wants = wants(&when, condition.iter().chain(until.iter()), &actions)?;
    Ok(Meaning { devices, when, condition, hold, until, actions, quiet, wants })
}

/// Whether a selector picks the same devices whatever they measure or report, and whether they are there.
pub fn is_stable(selector: &Selector) -> bool {
    let is_known = |field: &Field| {
        let Field::Known(known) = field else { return false };
        match known {
            Known::Tag
            | Known::Group
            | Known::Capability
            | Known::Name
            | Known::Id
            | Known::ExternalId
            | Known::Dialect => true,
            Known::Script
            | Known::Version
            | Known::State
            | Known::Problem
            | Known::Address
            | Known::Seen
            | Known::Registered => false,
        }
    };
    match selector {
        Selector::All => true,
        Selector::Online | Selector::Failing | Selector::Pending | Selector::Unauthenticated => false,
        Selector::Compare(field, ..) | Selector::Among(field, _) | Selector::Exists(field) => is_known(field),
        Selector::Not(inner) => is_stable(inner),
        Selector::And(left, right) | Selector::Or(left, right) => is_stable(left) && is_stable(right),
    }
}

fn when(value: &Value) -> Result<When, Rejection> {
    let mut fields = Fields::of(value, "when")?;
    let mut found = Vec::new();
    if fields.member("metric").is_some() {
        let text = fields.needed("metric", TEXT_BYTES_MAX)?;
        found.push(When::Metric(fields.says("metric", Metric::parse(text))?));
    }
    if fields.member("state").is_some() {
        let text = fields.needed("state", TEXT_BYTES_MAX)?;
        let (section, path) = text.split_once('.').unwrap_or((text, ""));
        let section = match section {
            "reported" => Section::Reported,
            "desired" => Section::Desired,
            _ => {
                return Err(
                    fields.wrong("state", "a path begins with reported or desired, such as reported.lamp.on")
                );
            }
        };
        let path: Vec<String> = path.split('.').filter(|_| !path.is_empty()).map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(
                fields.wrong("state", "a path has names with dots between them, such as reported.lamp.on")
            );
        }
        found.push(When::State(section, path));
    }
    if let Some(value) = fields.member("absence") {
        found.push(absence(value)?);
    }
    if fields.member("presence").is_some() {
        let text = fields.needed("presence", TEXT_BYTES_MAX)?;
        let reach = Reach::parse(text);
        let reach =
            reach.ok_or_else(|| fields.wrong("presence", "online, offline or unreachable is expected"))?;
        found.push(When::Presence(reach));
    }
    if let Some(value) = fields.member("schedule") {
        found.push(When::Schedule(schedule(value)?));
    }
    if fields.member("event").is_some() {
        let text = fields.needed("event", TEXT_BYTES_MAX)?;
        found.push(When::Event((text != "*").then(|| text.to_owned())));
    }
    fields.end()?;
    match <[When; 1]>::try_from(found) {
        Ok([when]) => Ok(when),
        Err(_) => Err(Rejection::invalid("when", format!("exactly one is expected: {KINDS}"))),
    }
}

fn absence(value: &Value) -> Result<When, Rejection> {
    let mut fields = Fields::of(value, "when.absence")?;
    let metric = match fields.text("metric")? {
        Some(text) => Some(fields.says("metric", Metric::parse(text))?),
        None => None,
    };
    let after = fields.whole("for_s", (1, FOR_S.1))?;
    let after =
        after.ok_or_else(|| fields.wrong("for_s", "is missing: for how many seconds nothing is said"))?;
    fields.end()?;
    Ok(When::Absence(metric, Span::seconds(after)))
}

fn schedule(value: &Value) -> Result<Schedule, Rejection> {
    let mut fields = Fields::of(value, "when.schedule")?;
    let every = fields.whole("every_s", (i64::MIN, i64::MAX))?;
    let cron = fields.text("cron")?;
    let zone = fields.text("zone")?;
    let schedule = match (every, cron) {
        (Some(seconds), None) if zone.is_none() => {
            Schedule::every(seconds).map_err(|why| fields.wrong("every_s", why))?
        }
        (None, Some(text)) => {
            Schedule::cron(text, zone.unwrap_or("UTC")).map_err(|why| fields.wrong("cron", why))?
        }
        _ => {
            return Err(Rejection::invalid(
                "when.schedule",
                "either cron (with zone, UTC by default) or every_s is expected",
            ));
        }
    };
    fields.end()?;
    Ok(schedule)
}

fn action(value: &Value, at: usize, about_devices: bool) -> Result<Action, Rejection> {
    let place = format!("actions[{at}]");
    let kinds = "desired, command, webhook, mail, publish or alarm";
    let Some((noun, of)) = value.as_object().filter(|it| it.len() == 1).and_then(|it| it.iter().next())
    else {
        return Err(Rejection::invalid(&place, format!("an object with exactly one of {kinds} is expected")));
    };
    let place = format!("{place}.{}", crate::text::shown(noun, 20));
    if noun == "webhook" {
        let id = of.as_str().filter(|text| text.parse::<WebhookId>().is_ok());
        let id = id.ok_or_else(|| Rejection::invalid(&place, "the id of a webhook is expected"))?;
        return Ok(Action::Webhook(id.to_owned()));
    }
    let mut fields = Fields::of(of, place)?;
    let action = match noun.as_str() {
        "desired" => {
            let path = fields.needed("path", TEXT_BYTES_MAX)?.to_owned();
            if path.split('.').any(str::is_empty) || path.split('.').count() > shadow::LEVELS_MAX {
                return Err(
                    fields.wrong("path", "names with dots between them, such as lamp.on, are expected")
                );
            }
            Action::Desired {
                path,
                value: template(&mut fields, "value")?,
                target: target(&mut fields, about_devices)?,
            }
        }
        "command" => Action::Command {
            name: fields.needed("name", TEXT_BYTES_MAX)?.to_owned(),
            arguments: template(&mut fields, "arguments")?,
            target: target(&mut fields, about_devices)?,
        },
        "mail" => Action::Mail {
            to: fields.needed("to", TEXT_BYTES_MAX)?.to_owned(),
            subject: text_template(&mut fields, "subject")?,
            text: text_template(&mut fields, "text")?,
        },
        "publish" => Action::Publish {
            topic: text_template(&mut fields, "topic")?,
            payload: template(&mut fields, "payload")?,
        },
        "alarm" => {
            let severity = Severity::parse(fields.text("severity")?.unwrap_or("warning"));
            let severity =
                severity.ok_or_else(|| fields.wrong("severity", "info, warning or critical is expected"))?;
            Action::Alarm { severity, message: text_template(&mut fields, "message")? }
        }
        _ => return Err(Rejection::invalid(&format!("actions[{at}]"), format!("{kinds} is expected"))),
    };
    fields.end()?;
    Ok(action)
}

fn target(fields: &mut Fields<'_>, about_devices: bool) -> Result<Target, Rejection> {
    match fields.text("devices")?.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => {
            selector(fields, "devices", text)?;
            Ok(Target::Devices(text.to_owned()))
        }
        None if about_devices => Ok(Target::Itself),
        None => {
            Err(fields
                .wrong("devices", "a schedule without devices is about none: say which devices are meant"))
        }
    }
}

fn selector(fields: &Fields<'_>, name: &str, text: &str) -> Result<Selector, Rejection> {
    placed(fields, name, Selector::parse(text))
}

fn condition(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<Condition>, Rejection> {
    match fields.text(name)?.map(str::trim).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => placed(fields, name, Condition::parse_hub(text)).map(Some),
    }
}

/// A refusal of a text, with the column.
fn placed<T>(fields: &Fields<'_>, name: &str, read: Result<T, Rejection>) -> Result<T, Rejection> {
    fields.says(name, read).map_err(|mut rejection| {
        if let Some(position) = rejection.position
            && let Some((field, why)) = rejection.sentence.split_once(": ")
        {
            rejection.sentence = format!("{field}: column {position}: {why}");
        }
        rejection
    })
}

fn template(fields: &mut Fields<'_>, name: &'static str) -> Result<Template, Rejection> {
    let value = fields.anything(name).unwrap_or(&Value::Null);
    if value.to_string().len() > TEMPLATE_BYTES_MAX {
        return Err(fields.wrong(name, format!("at most {TEMPLATE_BYTES_MAX} bytes")));
    }
    Template::parse(value).map_err(|why| fields.wrong(name, why))
}

fn text_template(fields: &mut Fields<'_>, name: &'static str) -> Result<Template, Rejection> {
    match fields.member(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => template(fields, name),
        None | Some(Value::String(_)) => Err(fields.wrong(name, "is missing")),
        Some(other) => Err(fields.wrong(name, format!("a text is expected, not {}", what(other)))),
    }
}

fn span(fields: &mut Fields<'_>, name: &'static str) -> Result<Span, Rejection> {
    Ok(Span::seconds(fields.whole(name, FOR_S)?.unwrap_or(0)))
}

/// What must be known of a device.
fn wants<'a>(
    when: &When,
    conditions: impl Iterator<Item = &'a Condition>,
    actions: &[Action],
) -> Result<Wants, Rejection> {
    let mut wants = Wants { shadow: matches!(when, When::State(..)), ..Wants::default() };
    let mut wrong = None;
    let mut look = |expression: &Condition| {
        expression.visit(&mut |part| match part {
            Hub::Metric(name) | Hub::HasMetric(name) => match Metric::parse(name) {
                Ok(metric) => drop(wants.metrics.insert(metric)),
                Err(rejection) => wrong = Some(rejection),
            },
            Hub::Name(Name::Reported | Name::Desired) => wants.shadow = true,
            _ => {}
        });
    };
    conditions.for_each(&mut look);
    for action in actions {
        let templates: Vec<&Template> = match action {
            Action::Desired { value, .. } => vec![value],
            Action::Command { arguments, .. } => vec![arguments],
            Action::Webhook(_) => Vec::new(),
            Action::Mail { subject, text, .. } => vec![subject, text],
            Action::Publish { topic, payload } => vec![topic, payload],
            Action::Alarm { message, .. } => vec![message],
        };
        templates.into_iter().for_each(|template| template.visit(&mut look));
    }
    match when {
        When::Metric(metric) | When::Absence(Some(metric), _) => drop(wants.metrics.insert(metric.clone())),
        When::Absence(None, _) => {
            wants.all_points = true;
            wants.shadow = true;
        }
        When::State(..) | When::Presence(_) | When::Schedule(_) | When::Event(_) => {}
    }
    match wrong {
        Some(rejection) => Err(rejection),
        None => Ok(wants),
    }
}
