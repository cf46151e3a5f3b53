//! One deed on many devices, after a look at whom it hits: `motehub ctl device tag|untag|rotate|delete --selector …`.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::bail;
use serde_json::{Value, json};

use super::print::{cell, clean};
use super::{Caller, Usage};

/// Does `action` to the devices of a selector. Without `yes` a person is asked, and a program is refused.
pub(super) fn run(
    caller: &Caller,
    selector: &str,
    action: &Value,
    deed: &str,
    yes: bool,
) -> anyhow::Result<()> {
    let order = look(caller, selector, action, deed)?;
    if !yes && !agreed()? {
        bail!("nothing was done");
    }
    let last = act(caller, &order)?;
    caller.show(&last, |last| {
        format!("{} of {} devices changed\n", cell(&last["changed"]), cell(&last["total"]))
    })?;
    match last["refused"].as_u64() {
        Some(0) | None => Ok(()),
        Some(refused) => bail!("{refused} devices were refused"),
    }
}

/// Says on the standard error whom it hits, and makes the order that hits exactly those.
pub(super) fn look(caller: &Caller, selector: &str, action: &Value, deed: &str) -> anyhow::Result<Value> {
    let mut order = json!({ "selector": selector, "action": action });
    let seen = caller.post("/devices/bulk/preview", &order)?;
    let count = seen["count"].as_u64().unwrap_or_default();
    if count == 0 {
        bail!("no device matches: nothing was done");
    }
    let names = cell(&seen["names"]).replace(',', ", ");
    let more = count.saturating_sub(seen["names"].as_array().map_or(0, Vec::len) as u64);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    eprintln!("{deed} {count} devices: {names}{rest}");
    order["token"] = seen["token"].clone();
    Ok(order)
}

/// Does it, tells on the standard error how far it is and who was refused, and gives the last line.
pub(super) fn act(caller: &Caller, order: &Value) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    let mut stopped = None;
    caller.api.lines("/devices/bulk", order, |line| {
        if line["end"] != true {
            eprintln!("{} of {}", cell(&line["done"]), cell(&line["total"]));
        }
        stopped = line["error"].as_str().map(str::to_owned);
        last = line.clone();
    })?;
    for refusal in last["refusals"].as_array().into_iter().flatten() {
        eprintln!("{}: {}", cell(&refusal["name"]), cell(&refusal["reason"]));
    }
    match stopped {
        Some(why) => bail!("it stopped after {} devices: {}", cell(&last["done"]), clean(&why)),
        None => Ok(last),
    }
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage("say --yes to do it without being asked".to_owned()).into());
    }
    eprint!("Do it? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
