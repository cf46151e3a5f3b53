//! The catalogue of metrics: what people call them, their units, and how long their points and roll-ups are kept.
//!
//! An entry is for one metric or, with `*` for any text in its name, for many. A metric has each of its properties
//! from the entry that says it and fits best: its own, else the one with the most other signs.

use serde_json::{Value, json};

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::rejection::Rejection;
use crate::telemetry::Metric;
use crate::text;

/// Most entries.
pub const ENTRIES_MAX: usize = 1000;
/// With so many entries no more are added because of what devices say.
pub const LEARNED_MAX: usize = 500;
/// Longest unit, in characters.
pub const UNIT_CHARS_MAX: usize = 16;
/// Most decimals.
pub const DECIMALS_MAX: u8 = 9;
/// The longest time that is kept other than for ever, in days.
pub const DAYS_MAX: u32 = 36_500;
/// Under which keys the entries are kept.
pub const KEY: &str = "metric/";

/// How long something is kept, in days from 1; 0 is for ever.
pub type Days = u32;

/// What is said of a metric, or of all whose names fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The name; `*` in it stands for any text.
    pub name: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// Such as `°C`.
    pub unit: Option<String>,
    /// How many digits behind the point are shown.
    pub decimals: Option<u8>,
    /// How long its points are kept.
    pub points_days: Option<Days>,
    /// How long summaries of its minutes are kept; at least as long as points.
    pub minutes_days: Option<Days>,
    /// How long summaries of its hours are kept; at least as long as minutes. Days are kept for ever.
    pub hours_days: Option<Days>,
}

/// What a person changes of an entry; the inner `None` says that it shall say nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edit {
    /// See [`Entry`].
    pub display_name: Option<Option<String>>,
    /// See [`Entry`].
    pub unit: Option<Option<String>>,
    /// See [`Entry`].
    pub decimals: Option<Option<u8>>,
    /// See [`Entry`].
    pub points_days: Option<Option<Days>>,
    /// See [`Entry`].
    pub minutes_days: Option<Option<Days>>,
    /// See [`Entry`].
    pub hours_days: Option<Option<Days>>,
}

/// All entries, the best fitting first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue(Vec<Entry>);

/// Changes an entry, or adds it. `entries` are all there are.
pub fn edit(
    name: &str,
    edit: &Edit,
    entries: &Catalogue,
    actor: &Actor,
) -> Result<(Entry, Effects), Rejection> {
    let name = Metric::parse(name)?.as_str().to_owned();
    let known = entries.0.iter().find(|entry| entry.name == name);
    if known.is_none() && entries.0.len() >= ENTRIES_MAX {
        return Err(Rejection::too_large(
            "metrics",
            format!("at most {ENTRIES_MAX}: use * for many at once"),
        ));
    }
    let before = known.cloned().unwrap_or_else(|| Entry { name, ..Entry::default() });
    let mut entry = before.clone();
    if let Some(display_name) = &edit.display_name {
        let given = display_name.as_deref().map(|given| text::name("display_name", given));
        entry.display_name = given.transpose()?;
    }
    if let Some(unit) = &edit.unit {
        entry.unit = unit.as_deref().map(checked_unit).transpose()?;
    }
    entry.decimals = edit.decimals.unwrap_or(entry.decimals);
    if entry.decimals.is_some_and(|decimals| decimals > DECIMALS_MAX) {
        return Err(Rejection::invalid("decimals", format!("0 to {DECIMALS_MAX}")));
    }
    let days = [
        ("points_days", &mut entry.points_days, edit.points_days),
        ("minutes_days", &mut entry.minutes_days, edit.minutes_days),
        ("hours_days", &mut entry.hours_days, edit.hours_days),
    ];
    for (field, days, wanted) in days {
        *days = wanted.unwrap_or(*days);
        if days.is_some_and(|days| days > DAYS_MAX) {
            return Err(Rejection::invalid(field, format!("1 to {DAYS_MAX} days, or 0 for ever")));
        }
    }
    if entry == before {
        return Ok((entry, Effects::none()));
    }
    let effects = saved(&before, Some(&entry), actor);
    Ok((entry, effects))
}

/// A device says in which unit it measures. What people say counts more, and what another device said first.
pub fn learned(name: &Metric, unit: &str, entries: &Catalogue, actor: &Actor) -> Effects {
    let name = name.as_str();
    let Ok(unit) = checked_unit(unit) else { return Effects::none() };
    let known = entries.0.iter().find(|entry| entry.name == name);
    let has_unit = entries.of(name).unit.is_some();
    if has_unit || name.contains('*') || known.is_none() && entries.0.len() >= LEARNED_MAX {
        return Effects::none();
    }
    let before = known.cloned().unwrap_or_else(|| Entry { name: name.to_owned(), ..Entry::default() });
    let entry = Entry { unit: Some(unit), ..before.clone() };
    saved(&before, Some(&entry), actor)
}

/// Removes an entry: what it said is not known any more.
pub fn remove(entry: &Entry, actor: &Actor) -> Effects {
    saved(entry, None, actor)
}

fn checked_unit(unit: &str) -> Result<String, Rejection> {
    let unit = text::name("unit", unit)?;
    if unit.chars().count() > UNIT_CHARS_MAX {
        return Err(Rejection::invalid("unit", format!("at most {UNIT_CHARS_MAX} characters")));
    }
    Ok(unit)
}

fn saved(before: &Entry, after: Option<&Entry>, actor: &Actor) -> Effects {
    let change = Change {
        actor: actor.clone(),
        kind: ChangeKind::MetricEdited,
        subject: before.name.clone(),
        subject_name: before.name.clone(),
        device: None,
        before: Some(before.to_json()),
        after: after.map(Entry::to_json),
    };
    let body = after.map(|entry| entry.to_json().to_string().into_bytes());
    let save = vec![Save::Note(format!("{KEY}{}", before.name), body)];
    Effects { save, changes: vec![change], ..Effects::none() }
}

impl Entry {
    /// As it is kept.
    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "display_name": self.display_name, "unit": self.unit, "decimals": self.decimals,
            "points_days": self.points_days, "minutes_days": self.minutes_days, "hours_days": self.hours_days,
        });
        if let Some(fields) = all.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        all
    }

    fn from_note(key: &str, body: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        let days = |name: &str| fields[name].as_u64().and_then(|days| u32::try_from(days).ok());
        Some(Self {
            name: key.strip_prefix(KEY)?.to_owned(),
            display_name: text("display_name"),
            unit: text("unit"),
            decimals: fields["decimals"].as_u64().and_then(|decimals| u8::try_from(decimals).ok()),
            points_days: days("points_days"),
            minutes_days: days("minutes_days"),
            hours_days: days("hours_days"),
        })
    }

    /// Whether it is for many metrics.
    pub fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }
}

impl Catalogue {
    /// Out of the notes under [`KEY`].
    pub fn from_notes(notes: &[(String, Vec<u8>)]) -> Self {
        let mut entries: Vec<Entry> =
            notes.iter().filter_map(|(key, body)| Entry::from_note(key, body)).collect();
        entries.sort_by_key(|entry| (entry.is_pattern(), std::cmp::Reverse(entry.name.len())));
        Self(entries)
    }

    /// The entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// What is known of a metric.
    pub fn of(&self, metric: &str) -> Entry {
        let mut known = Entry { name: metric.to_owned(), ..Entry::default() };
        let is_for =
            |entry: &&Entry| entry.name == metric || (entry.is_pattern() && fits(&entry.name, metric));
        for entry in self.0.iter().filter(is_for) {
            known.display_name = known.display_name.take().or_else(|| entry.display_name.clone());
            known.unit = known.unit.take().or_else(|| entry.unit.clone());
            known.decimals = known.decimals.or(entry.decimals);
            known.points_days = known.points_days.or(entry.points_days);
            known.minutes_days = known.minutes_days.or(entry.minutes_days);
            known.hours_days = known.hours_days.or(entry.hours_days);
        }
        known
    }
}

/// Whether a name fits a pattern: its parts between `*` come in their order.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Actor {
        Actor::User("Ada".into())
    }

    fn catalogue(entries: &[Entry]) -> Catalogue {
        let note = |entry: &Entry| (format!("{KEY}{}", entry.name), entry.to_json().to_string().into_bytes());
        Catalogue::from_notes(&entries.iter().map(note).collect::<Vec<_>>())
    }

    #[test]
    fn a_metric_has_its_properties_from_what_fits_best() {
        let entry =
            |name: &str, unit: &str| Entry { name: name.into(), unit: Some(unit.into()), ..Entry::default() };
        let known = catalogue(&[
            entry("*", "x"),
            Entry { points_days: Some(0), ..entry("temp*", "°C") },
            Entry { points_days: None, decimals: Some(1), ..entry("temp_f", "°F") },
            entry("*_rh", "%"),
        ]);
        let units =
            ["temp_f", "temp", "temperature", "room_rh", "co2"].map(|name| known.of(name).unit.unwrap());
        assert_eq!(units, ["°F", "°C", "°C", "%", "x"]);
        assert_eq!((known.of("temp_f").points_days, known.of("temp_f").decimals), (Some(0), Some(1)));
    }

    #[test]
    fn patterns_fit_whole_names() {
        let cases = [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("**", "", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_entry_is_edited_and_removed() {
        let none = Catalogue::default();
        let unit = |unit: &str| Edit { unit: Some(Some(unit.into())), ..Edit::default() };
        let (entry, effects) = edit("t", &unit(" °C "), &none, &ada()).unwrap();
        assert_eq!((entry.unit.as_deref(), effects.changes.len()), (Some("°C"), 1));
        let known = catalogue(std::slice::from_ref(&entry));
        assert!(edit("t", &unit("°C"), &known, &ada()).unwrap().1.is_empty(), "nothing changes");
        let (entry, _) = edit("t", &Edit { unit: Some(None), ..Edit::default() }, &known, &ada()).unwrap();
        assert_eq!(entry.unit, None);
        assert_eq!(remove(&entry, &ada()).save, [Save::Note("metric/t".into(), None)]);
        let field = |name: &str, wrong: &Edit| edit(name, wrong, &none, &ada()).unwrap_err().sentence;
        assert!(field("", &unit("x")).starts_with("metric:"));
        assert!(field("t", &unit("a unit that is long")).starts_with("unit:"));
        let wrong = Edit { decimals: Some(Some(10)), ..Edit::default() };
        assert!(field("t", &wrong).starts_with("decimals:"));
        let wrong = Edit { hours_days: Some(Some(36_501)), ..Edit::default() };
        assert!(field("t", &wrong).starts_with("hours_days:"));
    }
}
