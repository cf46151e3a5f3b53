//! What the dashboard of IoT base keeps, in both of its schemas, read row by row: what is wrong with the files as a
//! whole, and what with each row.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use motehub_domain::line::Address;
use motehub_domain::rejection::Rejection;
use motehub_domain::telemetry::PointValue;
use motehub_domain::text;
use motehub_domain::time::Time;
use serde_json::Value;

use super::dump::{self, Row};
use super::table;

/// Most units and devices, and most blocks.
const ENTRIES_MAX: usize = 20_000;
/// The tables, by the columns that make them known.
const TABLES: [(&str, &[&str]); 4] = [
    ("units", &["ip", "value"]),
    ("devices", &["uuid", "name", "type"]),
    ("device_states", &["device_id", "value"]),
    ("dashboard_blocks", &["device_id", "order"]),
];
/// How much of a value is shown, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// What is imported.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) units: Vec<Entry<Unit>>,
    pub(super) devices: Vec<Entry<Device>>,
    pub(super) states: Vec<Entry<State>>,
    pub(super) blocks: Vec<Entry<Block>>,
}

/// A row, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// What it is called.
    pub(super) name: String,
    pub(super) read: Result<T, String>,
}

/// A unit of the first schema: its address is all that it is known by.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) address: Address,
    /// Without a time if none is known.
    pub(super) last: Option<(Option<Time>, PointValue)>,
}

/// A device of the second.
#[derive(Debug)]
pub(super) struct Device {
    /// How states and blocks call it.
    pub(super) id: String,
    pub(super) uuid: String,
    pub(super) name: String,
    /// Whether it is told something, and says nothing.
    pub(super) is_updatable: bool,
    pub(super) is_active: bool,
}

/// A value that a device had.
#[derive(Debug)]
pub(super) struct State {
    pub(super) device: String,
    pub(super) at: Time,
    pub(super) value: PointValue,
}

/// A place of a device on the dashboard.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) device: String,
    pub(super) order: i64,
}

/// Reads a dump, or CSV tables one behind the other. Their times are in UTC plus `offset_minutes`.
///
/// # Errors
/// If it as a whole is neither.
pub(super) fn read(bytes: &[u8], offset_minutes: i32) -> Result<File, Rejection> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let wrong = |why: String| Rejection::invalid("file", why);
    let offset = Offset::from_seconds(offset_minutes.saturating_mul(60));
    let offset = offset.map_err(|_| Rejection::invalid("offset_minutes", "less than a day"))?;
    let mut file = File::default();
    let mut take = |row: Row<'_>| file.take(&row, offset);
    match dump::is_dump(bytes) {
        true => dump::read(bytes, &TABLES.map(|(name, _)| name), &mut take),
        false => table::read(bytes, table_of, &mut take),
    }
    .map_err(wrong)?;
    match file.units.is_empty() && file.devices.is_empty() {
        true => Err(wrong(
            "it has no rows of units or devices, the tables of the dashboard of IoT base".to_owned(),
        )),
        false => Ok(file),
    }
}

fn table_of(columns: &[String]) -> Option<&'static str> {
    let has_all = |needed: &[&str]| needed.iter().all(|name| columns.iter().any(|column| column == name));
    TABLES.into_iter().find(|(_, needed)| has_all(needed)).map(|(name, _)| name)
}

impl File {
    fn take(&mut self, row: &Row<'_>, offset: Offset) -> Result<(), String> {
        let needed = TABLES.into_iter().find(|(name, _)| *name == row.table).map_or(&[][..], |(_, all)| all);
        if let Some(name) = needed.iter().find(|name| !row.columns.iter().any(|column| column == *name)) {
            return Err(format!("line {}: {} has no column {name}", row.line, row.table));
        }
        let count = match row.table {
            "units" => {
                self.units.push(row.entry("ip", |row| unit(row, offset)));
                self.units.len()
            }
            "devices" => {
                self.devices.push(row.entry("uuid", device));
                self.devices.len()
            }
            "device_states" => {
                self.states.push(row.entry("device_id", |row| state(row, offset)));
                0
            }
            _ => {
                self.blocks.push(row.entry("device_id", block));
                self.blocks.len()
            }
        };
        match count > ENTRIES_MAX {
            true => Err(format!("line {}: {} has more than {ENTRIES_MAX} rows", row.line, row.table)),
            false => Ok(()),
        }
    }
}

impl Row<'_> {
    /// What is in a column; `None` for NULL, and if there is no such column.
    fn get(&self, name: &str) -> Option<&str> {
        let at = self.columns.iter().position(|column| column == name)?;
        self.values.get(at)?.as_deref()
    }

    fn needed(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("line {}: {name} is missing", self.line))
    }

    fn wrong(&self, name: &str, why: &str) -> String {
        let value = text::shown(self.get(name).unwrap_or_default(), SHOWN_CHARS_MAX);
        format!("line {}: {name} is {value:?}: {why}", self.line)
    }

    fn entry<T>(&self, called: &str, read: impl Fn(&Self) -> Result<T, String>) -> Entry<T> {
        let name = self.get(called).map(|name| text::shown(name, SHOWN_CHARS_MAX));
        Entry { name: name.unwrap_or_else(|| format!("line {}", self.line)), read: read(self) }
    }

    /// The first of these columns in which there is a time.
    fn time(&self, names: [&str; 2], offset: Offset) -> Result<Option<Time>, String> {
        for name in names {
            match self.get(name).filter(|said| !said.starts_with("0000-")) {
                None => {}
                Some(said) => match time(said, offset) {
                    Some(at) => return Ok(Some(at)),
                    None => return Err(self.wrong(name, "a time such as 2020-01-31 18:30:00 is expected")),
                },
            }
        }
        Ok(None)
    }
}

fn unit(row: &Row<'_>, offset: Offset) -> Result<Unit, String> {
    let address = Address::parse("ip", row.needed("ip")?).ok().filter(|address| address.ip().is_some());
    let at = row.time(["updated_at", "created_at"], offset)?;
    Ok(Unit {
        address: address.ok_or_else(|| row.wrong("ip", "an address such as 192.168.1.20 is expected"))?,
        last: row.get("value").map(|said| value(row, said)).transpose()?.map(|value| (at, value)),
    })
}

fn device(row: &Row<'_>) -> Result<Device, String> {
    let is_updatable = match row.needed("type")? {
        "readable" => false,
        "updatable" => true,
        _ => return Err(row.wrong("type", "there are readable and updatable")),
    };
    Ok(Device {
        id: row.needed("id")?.to_owned(),
        uuid: row.needed("uuid")?.to_owned(),
        name: row.needed("name")?.to_owned(),
        is_updatable,
        is_active: row.get("active") != Some("0"),
    })
}

fn state(row: &Row<'_>, offset: Offset) -> Result<State, String> {
    let at = row.time(["created_at", "updated_at"], offset)?;
    Ok(State {
        device: row.needed("device_id")?.to_owned(),
        at: at.ok_or_else(|| format!("line {}: created_at is missing", row.line))?,
        value: value(row, row.needed("value")?)?,
    })
}

fn block(row: &Row<'_>) -> Result<Block, String> {
    let order = row.needed("order")?.parse::<i64>();
    Ok(Block {
        device: row.needed("device_id")?.to_owned(),
        order: order.map_err(|_| row.wrong("order", "a whole number is expected"))?,
    })
}

/// A number, or else text.
fn value(row: &Row<'_>, said: &str) -> Result<PointValue, String> {
    match said.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(PointValue::Number(number)),
        _ => match PointValue::from_json(&Value::from(said)) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(row.wrong("value", "it is none")),
            Err(rejection) => Err(row.wrong("value", &rejection.sentence)),
        },
    }
}

fn time(said: &str, offset: Offset) -> Option<Time> {
    let at: DateTime = said.trim().parse().ok()?;
    let at = at.to_zoned(TimeZone::fixed(offset)).ok()?.timestamp().as_millisecond();
    (at > 0).then_some(Time(at))
}

#[cfg(test)]
mod tests;
