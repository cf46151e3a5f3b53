//! A selector becomes a condition of SQL: constant fragments, every value a parameter.
//!
//! The condition speaks of `d` (devices), `s` (software), `p` (presence) and `r` (the script that runs),
//! which the caller joins; of the last three there may be none. Every fragment is true or false, never null, so
//! that `not` is the opposite. What devices measured last, the telemetry adds.

use motehub_domain::selector::{Field, Known, Operator, Selector, Value};
use motehub_domain::telemetry::PointValue;
use motehub_domain::time::Time;

use crate::engine::query::{Query, contains};
use crate::telemetry::Telemetry;

/// What a condition depends on besides the tables.
pub(crate) struct Context<'a> {
    /// What was measured last.
    pub(crate) telemetry: &'a Telemetry,
    /// From when ages count.
    pub(crate) now: Time,
}

const PENDING: &str = "(s.pending_deployment is not null
    or exists (select 1 from tasks t where t.device = d.id and t.is_open = 1))";
/// As the API says it.
const STATE: &str = "(case when s.problem is not null then 'failing'
    when exists (select 1 from tasks t where t.device = d.id and t.is_open = 1) then 'pending'
    when coalesce(s.running_script, s.active_script, s.firmware) is null then 'waiting_for_script'
    else 'ok' end)";

impl Context<'_> {
    /// Adds the condition of a selector to a query.
    pub(crate) fn restrict(&self, query: &mut Query, selector: &Selector) {
        match selector {
            Selector::All => drop(query.push("1 = 1")),
            Selector::Online => drop(query.push("coalesce(p.online, 0) = 1")),
            Selector::Failing => drop(query.push("s.problem is not null")),
            Selector::Pending => drop(query.push(PENDING)),
            Selector::Unauthenticated => drop(query.push("d.unauthenticated_allowed = 1")),
            Selector::Compare(field, Operator::Unequal, value) => {
                query.push("not (");
                self.compare(query, field, Operator::Equal, value);
                query.push(")");
            }
            Selector::Compare(field, operator, value) => self.compare(query, field, *operator, value),
            Selector::Among(field, values) => {
                query.push("(");
                for (i, value) in values.iter().enumerate() {
                    query.push(if i > 0 { " or " } else { "" });
                    self.compare(query, field, Operator::Equal, value);
                }
                query.push(")");
            }
            Selector::Exists(field) => self.exists(query, field),
            Selector::Not(inner) => {
                query.push("not (");
                self.restrict(query, inner);
                query.push(")");
            }
            Selector::And(left, right) => self.both(query, left, " and ", right),
            Selector::Or(left, right) => self.both(query, left, " or ", right),
        }
    }

    fn both(&self, query: &mut Query, left: &Selector, word: &'static str, right: &Selector) {
        query.push("(");
        self.restrict(query, left);
        query.push(word);
        self.restrict(query, right);
        query.push(")");
    }

    /// Any operator but `!=`, which is the opposite of `=`.
    fn compare(&self, query: &mut Query, field: &Field, operator: Operator, value: &Value) {
        match field {
            Field::Known(known) => self.compare_known(query, *known, operator, value),
            Field::Telemetry(name) => {
                self.telemetry.measured(query, name, Some((operator, value)));
            }
            Field::Reported(name) => reported(query, name, operator, value),
            Field::Either(name) => {
                let wanted = Some((operator, value));
                let otherwise = |query: &mut Query| reported(query, name, operator, value);
                self.telemetry.measured_or(query, name, wanted, otherwise);
            }
        }
    }

    fn compare_known(&self, query: &mut Query, known: Known, operator: Operator, value: &Value) {
        match (known, value) {
            (Known::Tag, Value::Text(text)) => {
                member(query, "device_tags g where g.device = d.id and g.tag", "_key", operator, text);
            }
            (Known::Capability, Value::Text(text)) => {
                let of = "device_capabilities g where g.device = d.id and g.capability";
                member(query, of, "", operator, text);
            }
            (Known::Version, Value::Number(number)) => {
                query
                    .push("(s.running_version is not null and s.running_version")
                    .push(sign(operator))
                    .push("cast(")
                    .bind(*number)
                    .push(" as double precision)")
                    .push(")");
            }
            (Known::Seen, Value::Age(age)) => {
                // What is online is heard now; what was never heard is silent for longer than any time.
                let seen = "coalesce(case when p.online = 1 then 0 else ";
                query.push(seen).bind(self.now).push(" - p.seen_at end, 9223372036854775807)");
                query.push(sign(operator)).bind(age.0);
            }
            (Known::Registered, Value::Age(age)) => {
                query.push("(").bind(self.now).push(" - d.created_at)").push(sign(operator)).bind(age.0);
            }
            (_, Value::Text(text)) => compare_text(query, known, operator, text),
            // The parser makes no others.
            (_, Value::Number(_) | Value::Truth(_) | Value::Age(_)) => drop(query.push("1 = 0")),
        }
    }

    fn exists(&self, query: &mut Query, field: &Field) {
        let known = match field {
            Field::Known(known) => *known,
            Field::Telemetry(name) => {
                return self.telemetry.measured(query, name, None);
            }
            Field::Reported(name) => return is_reported(query, name),
            Field::Either(name) => {
                query.push("(");
                self.telemetry.measured(query, name, None);
                query.push(" or ");
                is_reported(query, name);
                query.push(")");
                return;
            }
        };
        query.push(match known {
            Known::Tag => "exists (select 1 from device_tags g where g.device = d.id)",
            Known::Capability => "exists (select 1 from device_capabilities g where g.device = d.id)",
            Known::ExternalId => "d.external_id is not null",
            Known::Script | Known::Version => "r.id is not null",
            Known::Problem => "s.problem is not null",
            Known::Address => "coalesce(p.address, '') <> ''",
            Known::Seen => "p.seen_at is not null",
            Known::Name | Known::Id | Known::Dialect | Known::State | Known::Registered => "1 = 1",
            // Groups are put in before the store is asked.
            Known::Group => "1 = 0",
        });
    }
}

/// Whether a row of a table of texts is there; `column` is the end of the fragment, `lower` makes it the lower case.
fn member(query: &mut Query, of: &'static str, lower: &'static str, operator: Operator, text: &str) {
    query.push("exists (select 1 from ").push(of);
    match operator {
        Operator::Contains => query.push(lower).push(" like ").bind(contains(text)).push(" escape '\\'"),
        _ => query.push(" = ").bind(text),
    };
    query.push(")");
}

fn compare_text(query: &mut Query, known: Known, operator: Operator, text: &str) {
    // The first text is compared whole, the second is in lower case and searched.
    let (whole, lower) = match known {
        Known::Name => ("d.name", "d.name_key"),
        Known::Id => ("d.id", "d.id"),
        Known::ExternalId => ("coalesce(d.external_id, '')", "lower(coalesce(d.external_id, ''))"),
        Known::Dialect => ("d.dialect", "d.dialect"),
        Known::Script => ("coalesce(r.name, '')", "coalesce(r.name_key, '')"),
        Known::State => (STATE, STATE),
        Known::Problem => ("coalesce(s.problem, '')", "lower(coalesce(s.problem, ''))"),
        Known::Address => ("coalesce(p.address, '')", "lower(coalesce(p.address, ''))"),
        Known::Tag | Known::Capability | Known::Group | Known::Version | Known::Seen | Known::Registered => {
            query.push("1 = 0");
            return;
        }
    };
    match (operator, known) {
        (Operator::Contains, _) => query.push(lower).push(" like ").bind(contains(text)).push(" escape '\\'"),
        (_, Known::Id) => query.push(whole).push(" = ").bind(text.to_ascii_lowercase()),
        _ => query.push(whole).push(" = ").bind(text),
    };
}

fn is_reported(query: &mut Query, name: &str) {
    query.push("exists (select 1 from reported f where f.device = d.id and f.name = ").bind(name).push(")");
}

fn reported(query: &mut Query, name: &str, operator: Operator, value: &Value) {
    query.push("exists (select 1 from reported f where f.device = d.id and f.name = ").bind(name);
    valued(query, operator, value);
    query.push(")");
}

/// Adds what the value of `f` has to be: its columns are kind, number and words.
pub(crate) fn valued(query: &mut Query, operator: Operator, value: &Value) {
    match (value, operator) {
        (Value::Text(text), Operator::Contains) => {
            query.push(" and f.kind = 2 and lower(f.words) like ").bind(contains(text)).push(" escape '\\'")
        }
        (Value::Text(text), _) => query.push(" and f.kind = 2 and f.words = ").bind(text),
        (Value::Truth(truth), _) => {
            query.push(" and f.kind = 1 and f.number = ").bind(f64::from(u8::from(*truth)))
        }
        (Value::Number(number), _) => {
            query.push(" and f.kind = 0 and f.number").push(sign(operator)).bind(*number)
        }
        (Value::Age(_), _) => query.push(" and 1 = 0"),
    };
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Less => " < ",
        Operator::LessOrEqual => " <= ",
        Operator::Greater => " > ",
        Operator::GreaterOrEqual => " >= ",
        Operator::Equal | Operator::Unequal | Operator::Contains => " = ",
    }
}

/// How a reported value is stored: kind, number and words.
pub(crate) fn stored(value: &PointValue) -> Option<(i64, Option<f64>, Option<&str>)> {
    match value {
        PointValue::Number(number) => Some((0, Some(*number), None)),
        PointValue::Boolean(truth) => Some((1, Some(f64::from(u8::from(*truth))), None)),
        PointValue::Text(text) => Some((2, None, Some(text))),
        PointValue::Json(_) => None,
    }
}
