//! `rtctime` and `sntp`. Every time server answers at once with the time of the host, also for names that do
//! not exist. Left out: `rtctime.adjust_delta`, RTC memory, and drift.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlua::{Function, Lua, Value, Variadic};

use super::add;
use crate::nodemcu::machine::{Ending, Machine};

const MICROSECONDS: i64 = 1_000_000;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    install_rtctime(lua, machine)?;
    let sntp = lua.create_table()?;
    let at_work = machine.clone();
    add(lua, &sntp, "sync", move |_, arguments: Variadic<Value>| {
        let mut functions = arguments.iter().filter_map(Value::as_function).cloned();
        let (done, failed) = (functions.next(), functions.next());
        let at_work = at_work.clone();
        let machine = at_work.clone();
        machine.spawn(async move { sync(&at_work, done, failed).await })?;
        Ok(())
    })?;
    add(lua, &sntp, "getoffset", |_, ()| Ok(0))?;
    add(lua, &sntp, "setoffset", |_, _: Variadic<Value>| Ok(()))?;
    lua.globals().set("sntp", sntp)
}

fn install_rtctime(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let rtctime = lua.create_table()?;
    let at_work = machine.clone();
    add(lua, &rtctime, "set", move |_, (seconds, microseconds, _): (f64, Option<i64>, Variadic<Value>)| {
        let time = (seconds * 1e6) as i64 + microseconds.unwrap_or(0);
        at_work.board.rtc_offset.set((time > 0).then(|| time - host_time()));
        Ok(())
    })?;
    let at_work = machine.clone();
    add(lua, &rtctime, "get", move |_, ()| {
        // The rate is the firmware's correction of the crystal.
        let time = at_work.board.rtc_offset.get().map_or(0, |offset| host_time() + offset);
        Ok((time / MICROSECONDS, time % MICROSECONDS, 0))
    })?;
    let at_work = machine.clone();
    add(lua, &rtctime, "dsleep", move |_, (microseconds, _): (u64, Variadic<Value>)| -> mlua::Result<()> {
        at_work.end(Ending::DeepSleep(Duration::from_micros(microseconds)));
        Err(mlua::Error::runtime("the board sleeps"))
    })?;
    add(lua, &rtctime, "epoch2cal", |lua, seconds: i64| {
        let (year, month, day, weekday, yearday) = calendar(seconds.div_euclid(86_400));
        let rest = seconds.rem_euclid(86_400);
        let fields = [
            ("year", year),
            ("mon", month),
            ("day", day),
            ("hour", rest / 3600),
            ("min", rest / 60 % 60),
            ("sec", rest % 60),
            ("wday", weekday),
            ("yday", yearday),
        ];
        lua.create_table_from(fields)
    })?;
    lua.globals().set("rtctime", rtctime)
}

async fn sync(machine: &Rc<Machine>, done: Option<Function>, failed: Option<Function>) {
    if !machine.board.link.is_up() {
        if let Some(failed) = failed {
            // 1 is "no such server".
            machine.post(move |_| failed.call((1, "no network"))).await;
        }
        return;
    }
    machine.board.rtc_offset.set(Some(0));
    if let Some(done) = done {
        let time = host_time();
        machine.post(move |_| done.call((time / MICROSECONDS, time % MICROSECONDS, "10.0.0.1"))).await;
    }
}

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the host is the time server of virtual boards")]
fn host_time() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as i64)
}

/// Year, month, day, day of the week (Sunday is 1) and day of the year of a number of days since 1970, by
/// counting years from March (H. Hinnant, "chrono-compatible low-level date algorithms").
fn calendar(days: i64) -> (i64, i64, i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let yearday = if month_index < 10 { day_of_year + 60 + i64::from(is_leap) } else { day_of_year - 305 };
    (year, month, day, (days + 4).rem_euclid(7) + 1, yearday)
}

#[cfg(test)]
mod tests {
    use super::calendar;

    #[test]
    fn days_become_dates() {
        let cases = [
            (0, (1970, 1, 1, 5, 1)),
            (59, (1970, 3, 1, 1, 60)),
            (11_016, (2000, 2, 29, 3, 60)),
            (11_017, (2000, 3, 1, 4, 61)),
            (20_453, (2025, 12, 31, 4, 365)),
        ];
        for (days, expected) in cases {
            assert_eq!(calendar(days), expected, "{days}");
        }
    }
}
