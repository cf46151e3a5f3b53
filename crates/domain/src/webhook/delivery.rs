//! Deliveries: what is to be posted to a webhook or sent as mail, and how far that is.
//!
//! Those of one recipient go one after the other. One that is not taken is tried again, later each time; after
//! [`TRIED_FOR`], or at once if the answer says that no try will help, it is a dead letter: it stays for a person to
//! look at and to send again.

use serde_json::{Map, Value, json};

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::{DeliveryId, WebhookId};
use crate::rejection::Rejection;
use crate::text;
use crate::time::{Span, Time};

/// Longest body in bytes, as JSON.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Most deliveries that wait for one recipient; what comes then is a dead letter at once.
pub const WAITING_MAX: usize = 10_000;
/// How many dead letters of one recipient are kept.
pub const DEAD_KEPT: usize = 10_000;
/// How many deliveries that were taken are kept of one recipient.
pub const DELIVERED_KEPT: usize = 1_000;
/// How long a delivery is tried.
pub const TRIED_FOR: Span = Span::days(3);
/// How long to wait after the first failure; twice as long after each further one, up to [`WAIT_MAX`].
pub const WAIT_MIN: Span = Span::seconds(5);
/// The longest wait between two tries.
pub const WAIT_MAX: Span = Span::minutes(60);
/// How many characters are kept of an answer.
pub const ANSWER_CHARS_MAX: usize = 500;
/// Most recipients of one mail.
pub const MAIL_TO_MAX: usize = 20;
/// Longest text of a mail, in bytes.
pub const MAIL_BYTES_MAX: usize = 64 * 1024;

/// One thing to be posted or mailed.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its id, the same for all tries, so that the recipient knows a repetition.
    pub id: DeliveryId,
    /// Where to.
    pub to: Recipient,
    /// What happened: the kind of a change, a word of a rule, or `mail`.
    pub event: String,
    /// What is said about it: an object.
    pub body: Value,
    /// When it was put in.
    pub created_at: Time,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: i64,
    /// Until when it is tried.
    pub until: Time,
    /// What was answered last.
    pub answer: Option<Answer>,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// Who gets a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A webhook.
    Webhook(WebhookId),
    /// People, by mail; their addresses are in the body.
    Mail,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits for its turn, which comes not before this time.
    Waiting(Time),
    /// It was taken.
    Delivered(Time),
    /// It is a dead letter.
    Dead(Time),
}

/// The states, without their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not taken yet.
    Waiting,
    /// Taken.
    Delivered,
    /// Given up.
    Dead,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 3] = [Stage::Waiting, Stage::Delivered, Stage::Dead];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// A stage by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

impl DeliveryState {
    /// The state without its time.
    pub fn stage(self) -> Stage {
        match self {
            Self::Waiting(_) => Stage::Waiting,
            Self::Delivered(_) => Stage::Delivered,
            Self::Dead(_) => Stage::Dead,
        }
    }

    /// Since when it is so, or for one that waits until when.
    pub fn at(self) -> Time {
        match self {
            Self::Waiting(at) | Self::Delivered(at) | Self::Dead(at) => at,
        }
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Webhook(id) => id.fmt(f),
            Self::Mail => f.write_str("mail"),
        }
    }
}

impl std::str::FromStr for Recipient {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Rejection> {
        match text {
            "mail" => Ok(Self::Mail),
            id => id.parse().map(Self::Webhook),
        }
    }
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status or the code of SMTP; without one no answer came.
    pub status: Option<i64>,
    /// The beginning of what was answered, or why there was no answer.
    pub text: String,
}

/// A mail to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Addresses such as `ada@example.org`.
    pub to: Vec<String>,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

impl Answer {
    /// An answer; its text is cut and signs that are not seen are replaced.
    pub fn new(status: Option<u16>, text: &str) -> Self {
        Self { status: status.map(i64::from), text: text::shown(text, ANSWER_CHARS_MAX) }
    }

    /// Whether it was taken.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the recipient is gone for good.
    pub fn is_gone(&self) -> bool {
        self.status == Some(410)
    }

    /// Whether no further try will help: the recipient understood and refused.
    fn is_final(&self, to: Recipient) -> bool {
        match (to, self.status) {
            (_, None) => false,
            (Recipient::Webhook(_), Some(status)) => {
                (300..500).contains(&status) && !matches!(status, 408 | 410 | 425 | 429)
            }
            // Those about the hub's own login are for a person to mend: mails wait meanwhile.
            (Recipient::Mail, Some(status)) => status >= 500 && !matches!(status, 530 | 534 | 535 | 538),
        }
    }
}

impl Delivery {
    /// A delivery to a webhook that waits for its turn. `body` is an object, or becomes `{"value": …}`.
    pub fn new(id: DeliveryId, webhook: WebhookId, event: &str, body: Value, now: Time) -> Self {
        Self::to(Recipient::Webhook(webhook), id, event, body, now)
    }

    /// A mail that waits for its turn.
    ///
    /// # Errors
    /// `invalid` for addresses that are none, more than one line of subject, or none to send to; `too_large`.
    pub fn mail(id: DeliveryId, mail: &Mail, now: Time) -> Result<Self, Rejection> {
        if mail.to.is_empty() || mail.to.len() > MAIL_TO_MAX {
            return Err(Rejection::invalid("to", format!("1 to {MAIL_TO_MAX} addresses")));
        }
        for address in &mail.to {
            if !is_address(address) {
                let shown = text::shown(address, 60);
                let why = format!("{shown} is no address: write it such as ada@example.org");
                return Err(Rejection::invalid("to", why));
            }
        }
        if mail.subject.trim().is_empty() || mail.subject.chars().count() > 200 {
            return Err(Rejection::invalid("subject", "1 to 200 characters"));
        }
        if mail.subject.chars().any(char::is_control) {
            return Err(Rejection::invalid("subject", "it is one line without control characters"));
        }
        if mail.text.len() > MAIL_BYTES_MAX {
            return Err(Rejection::too_large("text", format!("at most {MAIL_BYTES_MAX} bytes")));
        }
        let body = json!({ "to": mail.to, "subject": mail.subject, "text": mail.text });
        Ok(Self::to(Recipient::Mail, id, "mail", body, now))
    }

    fn to(to: Recipient, id: DeliveryId, event: &str, body: Value, now: Time) -> Self {
        let is_long = body.to_string().len() > BODY_BYTES_MAX;
        let body = match body {
            _ if is_long => json!({ "cut": format!("it was longer than {BODY_BYTES_MAX} bytes") }),
            Value::Object(_) => body,
            value => Value::Object(Map::from_iter([("value".to_owned(), value)])),
        };
        Self {
            id,
            to,
            event: event.to_owned(),
            body,
            created_at: now,
            state: DeliveryState::Waiting(now),
            tries: 0,
            until: now + TRIED_FOR,
            answer: None,
            revision: 1,
        }
    }

    /// The mail that it is, if it is one.
    pub fn as_mail(&self) -> Option<Mail> {
        let text = |name: &str| self.body[name].as_str().map(str::to_owned);
        let to = self.body["to"].as_array()?.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect();
        Some(Mail { to, subject: text("subject")?, text: text("text")? })
    }
}

/// A delivery was tried. `chance` is random, 0 to 255: waits differ by up to a quarter, so that those who failed
/// together do not come back together. An answer that says that the recipient is gone leaves it waiting; the caller
/// disables the webhook.
pub fn tried(delivery: &Delivery, answer: Answer, chance: u8, now: Time) -> Effects {
    let tries = delivery.tries + 1;
    let is_over = answer.is_final(delivery.to) || now >= delivery.until;
    let state = match answer.is_good() {
        true => DeliveryState::Delivered(now),
        false if is_over => DeliveryState::Dead(now),
        false => DeliveryState::Waiting(now + wait(tries, chance)),
    };
    saving(Delivery { state, tries, answer: Some(answer), ..delivery.clone() })
}

/// A person has a dead letter sent again: behind all that wait, with its id.
///
/// # Errors
/// `conflict` for one that is no dead letter.
pub fn resend(delivery: &Delivery, now: Time) -> Result<Effects, Rejection> {
    match delivery.state {
        DeliveryState::Dead(_) => Ok(saving(Delivery {
            state: DeliveryState::Waiting(now),
            tries: 0,
            until: now + TRIED_FOR,
            ..delivery.clone()
        })),
        DeliveryState::Waiting(_) | DeliveryState::Delivered(_) => {
            Err(Rejection::conflict("conflict", "only a dead letter can be sent again"))
        }
    }
}

/// What a person did with dead letters, for the activity log.
pub fn resent(to: Recipient, name: &str, count: usize, actor: &Actor) -> Change {
    Change {
        actor: actor.clone(),
        kind: ChangeKind::DeliveriesResent,
        subject: to.to_string(),
        subject_name: name.to_owned(),
        device: None,
        before: None,
        after: Some(json!({ "deliveries": count })),
    }
}

/// Whether it is an address of mail that every server takes, such as `ada@example.org`.
pub fn is_address(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !",;:<>()[]\"\\".contains(c);
    let parts = text.rsplit_once('@');
    text.len() <= 254
        && text.chars().all(is_plain)
        && parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}

fn wait(tries: i64, chance: u8) -> Span {
    let doublings = u32::try_from(tries - 1).unwrap_or(0).min(20);
    let whole = WAIT_MIN.0.saturating_mul(1 << doublings).min(WAIT_MAX.0);
    Span(whole - whole / 4 * i64::from(chance) / 255)
}

fn saving(delivery: Delivery) -> Effects {
    let delivery = Delivery { revision: delivery.revision + 1, ..delivery };
    Effects { save: vec![Save::Delivery(Box::new(delivery))], ..Effects::none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery::new(
            DeliveryId::from_parts(0, 1),
            WebhookId::from_parts(0, 2),
            "device_offline",
            json!(7),
            Time(0),
        )
    }

    fn after(delivery: &Delivery, status: Option<u16>, now: Time) -> Delivery {
        let effects = tried(delivery, Answer::new(status, "said\n"), 0, now);
        match effects.save.into_iter().next() {
            Some(Save::Delivery(delivery)) => *delivery,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_end_after_three_days() {
        let (mut it, mut now, mut waits) = (delivery(), Time(0), Vec::new());
        while let DeliveryState::Waiting(next) = it.state {
            waits.push((next - now).0 / 1000);
            now = next;
            it = after(&it, None, now);
        }
        assert_eq!(&waits[..5], [0, 5, 10, 20, 40]);
        assert_eq!(waits.last(), Some(&3600));
        let over = now - (Time(0) + TRIED_FOR);
        assert!(over >= Span(0) && over <= WAIT_MAX, "{now:?}");
        assert!((70..100).contains(&it.tries), "{}", it.tries);
        assert_eq!(it.answer, Some(Answer { status: None, text: "said\u{fffd}".into() }));
        assert_eq!(wait(2, 255), Span(7_500));
    }

    #[test]
    fn a_refusal_is_final_and_trouble_is_not() {
        let state = |status| after(&delivery(), Some(status), Time(9)).state;
        for status in [200, 204, 299] {
            assert_eq!(state(status), DeliveryState::Delivered(Time(9)), "{status}");
        }
        for status in [301, 307, 400, 401, 404, 422] {
            assert_eq!(state(status), DeliveryState::Dead(Time(9)), "{status}");
        }
        for status in [100, 408, 410, 429, 500, 503] {
            assert!(matches!(state(status), DeliveryState::Waiting(_)), "{status}");
        }
        let mail = Mail { to: vec!["a@b".into()], subject: "s".into(), text: String::new() };
        let mail = Delivery::mail(DeliveryId::from_parts(0, 1), &mail, Time(0)).unwrap();
        assert!(matches!(after(&mail, Some(451), Time(1)).state, DeliveryState::Waiting(_)));
        assert!(matches!(after(&mail, Some(535), Time(1)).state, DeliveryState::Waiting(_)));
        assert!(matches!(after(&mail, Some(550), Time(1)).state, DeliveryState::Dead(_)));
    }

    #[test]
    fn a_dead_letter_is_sent_again_with_its_id() {
        let dead = after(&delivery(), Some(400), Time(9));
        assert!(resend(&delivery(), Time(9)).is_err());
        let again = resend(&dead, Time(50)).unwrap();
        let [Save::Delivery(again)] = &again.save[..] else { panic!("one is saved") };
        assert_eq!((again.id, again.state), (dead.id, DeliveryState::Waiting(Time(50))));
        assert_eq!((again.tries, again.revision), (0, 3));
    }

    #[test]
    fn bodies_are_objects_of_a_bounded_size() {
        assert_eq!(delivery().body, json!({ "value": 7 }));
        let long = json!({ "text": "x".repeat(BODY_BYTES_MAX) });
        let long = Delivery::new(delivery().id, WebhookId::from_parts(0, 2), "e", long, Time(0));
        assert!(long.body["cut"].is_string());
    }

    #[test]
    fn mails_are_checked() {
        let mail = |to: &str, subject: &str| {
            let to = to.split(' ').map(str::to_owned).collect();
            let mail = Mail { to, subject: subject.into(), text: "hello".into() };
            Delivery::mail(DeliveryId::from_parts(0, 1), &mail, Time(0)).map(|it| it.as_mail())
        };
        let good = mail("ada@example.org bo@example.org", "Küche: 30 °C").unwrap().unwrap();
        assert_eq!((good.to.len(), good.subject.as_str()), (2, "Küche: 30 °C"));
        for to in ["", "ada", "@x", "ada@", "a,b@c", "<ada@x>", "a\r\nBcc:x@y"] {
            assert!(mail(to, "s").is_err(), "{to:?}");
        }
        for subject in ["", " ", "a\r\nBcc: eve@x", &"x".repeat(201)] {
            assert!(mail("a@b", subject).is_err(), "{subject:?}");
        }
    }
}
