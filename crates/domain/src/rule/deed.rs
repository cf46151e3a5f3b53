//! What a firing wants done, with every value made.

use serde_json::{Value, json};

use super::Action;
use super::template::Template;
use crate::alarm::{MESSAGE_CHARS_MAX, Severity};
use crate::expression::hub::Scope;
use crate::text;

/// Of or to which devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The device for which the rule fired.
    Itself,
    /// Those that a selector picks at that moment, by its text.
    Devices(String),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Desire a value.
    Desired {
        /// Where, with dots.
        path: String,
        /// What.
        value: Value,
        /// Of which devices.
        target: Target,
    },
    /// Give a command.
    Command {
        /// Which.
        name: String,
        /// With what.
        arguments: Value,
        /// To which devices.
        target: Target,
    },
    /// Post what happened to a webhook, by its id.
    Webhook(String),
    /// Send a mail.
    Mail {
        /// To whom.
        to: String,
        /// Its subject.
        subject: String,
        /// What it says.
        text: String,
    },
    /// Publish to a topic.
    Publish {
        /// Which.
        topic: String,
        /// What; a text as it is, anything else as JSON.
        payload: Value,
    },
    /// Raise an alarm.
    Alarm {
        /// How bad it is.
        severity: Severity,
        /// What is the matter.
        message: String,
    },
    /// It could not be made, and why.
    Unmade(&'static str, String),
}

impl Deed {
    /// Makes the values of an action.
    pub(super) fn of(action: &Action, scope: &dyn Scope) -> Self {
        let (noun, made) = match action {
            Action::Desired { path, value, target } => (
                "desired",
                value.make(scope).map(|value| Self::Desired {
                    path: path.clone(),
                    value,
                    target: target.clone(),
                }),
            ),
            Action::Command { name, arguments, target } => (
                "command",
                arguments.make(scope).map(|arguments| Self::Command {
                    name: name.clone(),
                    arguments,
                    target: target.clone(),
                }),
            ),
            Action::Webhook(id) => ("webhook", Ok(Self::Webhook(id.clone()))),
            Action::Mail { to, subject, text } => ("mail", mail(to, subject, text, scope)),
            Action::Publish { topic, payload } => ("publish", publish(topic, payload, scope)),
            Action::Alarm { severity, message } => {
                let message = message.text(scope).map(|said| text::shown(&said, MESSAGE_CHARS_MAX));
                ("alarm", message.map(|message| Self::Alarm { severity: *severity, message }))
            }
        };
        made.unwrap_or_else(|why| Self::Unmade(noun, why))
    }

    /// For the trace.
    pub fn to_json(&self) -> Value {
        let to = |target: &Target| match target {
            Target::Itself => Value::Null,
            Target::Devices(selector) => Value::from(selector.as_str()),
        };
        match self {
            Self::Desired { path, value, target } => {
                json!({ "desired": { "path": path, "value": value, "devices": to(target) } })
            }
            Self::Command { name, arguments, target } => {
                json!({ "command": { "name": name, "arguments": arguments, "devices": to(target) } })
            }
            Self::Webhook(id) => json!({ "webhook": id }),
            Self::Mail { to, subject, text } => {
                json!({ "mail": { "to": to, "subject": subject, "text": text } })
            }
            Self::Publish { topic, payload } => {
                json!({ "publish": { "topic": topic, "payload": payload } })
            }
            Self::Alarm { severity, message } => {
                json!({ "alarm": { "severity": severity.as_str(), "message": message } })
            }
            Self::Unmade(noun, why) => json!({ *noun: { "error": why } }),
        }
    }

    /// What [`Deed::to_json`] wrote.
    pub fn from_json(value: &Value) -> Option<Self> {
        let (noun, of) = value.as_object()?.iter().next()?;
        let text = |name: &str| of[name].as_str().map(str::to_owned);
        let target = of["devices"].as_str().map_or(Target::Itself, |text| Target::Devices(text.to_owned()));
        if let Some(why) = of["error"].as_str() {
            return Some(Self::Unmade("action", why.to_owned()));
        }
        Some(match noun.as_str() {
            "desired" => Self::Desired { path: text("path")?, value: of["value"].clone(), target },
            "command" => Self::Command { name: text("name")?, arguments: of["arguments"].clone(), target },
            "webhook" => Self::Webhook(of.as_str()?.to_owned()),
            "mail" => Self::Mail { to: text("to")?, subject: text("subject")?, text: text("text")? },
            "publish" => Self::Publish { topic: text("topic")?, payload: of["payload"].clone() },
            "alarm" => Self::Alarm {
                severity: Severity::parse(of["severity"].as_str()?)?,
                message: text("message")?,
            },
            _ => return None,
        })
    }
}

fn mail(to: &str, subject: &Template, text: &Template, scope: &dyn Scope) -> Result<Deed, String> {
    // A subject is one line: a value of a device must not begin another header.
    let subject = crate::text::shown(&subject.text(scope)?, 200);
    Ok(Deed::Mail { to: to.to_owned(), subject, text: text.text(scope)? })
}

fn publish(topic: &Template, payload: &Template, scope: &dyn Scope) -> Result<Deed, String> {
    let topic = topic.text(scope)?;
    crate::topic::check_topic_name(&topic).map_err(|wrong| wrong.sentence)?;
    Ok(Deed::Publish { topic, payload: payload.make(scope)? })
}
