//! `gpio`, `adc` and `dht`: pins that feel what the generators say. Left out: `gpio.serout`, `gpio.pulse`,
//! PWM.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, Lua, LuaString, Table, Value, Variadic};
use tokio::task::AbortHandle;

use super::{add, lossy};
use crate::nodemcu::machine::Machine;
use crate::nodemcu::sensor::Channel;

/// Highest pin index of the board.
const PIN_MAX: u8 = 12;
/// How often an armed trigger looks at its pin.
const TRIGGER_EVERY: Duration = Duration::from_millis(50);
const OUTPUT: u8 = 1;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    install_gpio(lua, machine)?;
    let adc = lua.create_table()?;
    let at_work = machine.clone();
    add(lua, &adc, "read", move |_, _: Variadic<Value>| {
        Ok(sense(&at_work, Channel::Adc).clamp(0.0, 1024.0) as u32)
    })?;
    add(lua, &adc, "readvdd33", |_, ()| Ok(65_535))?;
    add(lua, &adc, "force_init_mode", |_, _: Variadic<Value>| Ok(false))?;
    adc.set("INIT_ADC", 0)?;
    adc.set("INIT_VDD33", 255)?;
    lua.globals().set("adc", adc)?;
    let dht = lua.create_table()?;
    for (name, value) in [("OK", 0), ("ERROR_CHECKSUM", 1), ("ERROR_TIMEOUT", 2)] {
        dht.set(name, value)?;
    }
    for name in ["read", "read11", "read12", "readxx"] {
        let at_work = machine.clone();
        add(lua, &dht, name, move |_, pin: u8| {
            check(pin)?;
            let tenths = |value: f64| (value * 10.0).round() / 10.0;
            let temperature = tenths(sense(&at_work, Channel::Temperature));
            let humidity = tenths(sense(&at_work, Channel::Humidity));
            // Float images give whole values with fractions and 0 for the decimals.
            Ok((0, temperature, humidity, 0, 0))
        })?;
    }
    lua.globals().set("dht", dht)
}

/// What the script has done to the pins.
#[derive(Default)]
struct Pins {
    modes: RefCell<BTreeMap<u8, u8>>,
    written: RefCell<BTreeMap<u8, u8>>,
    triggers: RefCell<BTreeMap<u8, AbortHandle>>,
}

fn install_gpio(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let gpio = lua.create_table()?;
    let constants = [("OUTPUT", OUTPUT), ("INPUT", 0), ("INT", 2), ("OPENDRAIN", 3), ("LOW", 0), ("HIGH", 1)];
    for (name, value) in constants.into_iter().chain([("FLOAT", 0), ("PULLUP", 1)]) {
        gpio.set(name, value)?;
    }
    let pins = Rc::new(Pins::default());
    let at = pins.clone();
    add(lua, &gpio, "mode", move |_, (pin, mode, _): (u8, u8, Variadic<Value>)| {
        at.modes.borrow_mut().insert(check(pin)?, mode);
        Ok(())
    })?;
    let at = pins.clone();
    add(lua, &gpio, "write", move |_, (pin, level): (u8, u8)| {
        at.written.borrow_mut().insert(check(pin)?, level.min(1));
        Ok(())
    })?;
    let (at, at_work) = (pins.clone(), machine.clone());
    add(lua, &gpio, "read", move |_, pin: u8| Ok(level(&at_work, &at, check(pin)?)))?;
    install_trig(lua, machine, &gpio, pins)?;
    lua.globals().set("gpio", gpio)
}

fn install_trig(lua: &Lua, machine: &Rc<Machine>, gpio: &Table, pins: Rc<Pins>) -> mlua::Result<()> {
    let machine = machine.clone();
    add(lua, gpio, "trig", move |_, (pin, kind, callback): (u8, Option<LuaString>, Option<Function>)| {
        check(pin)?;
        if let Some(trigger) = pins.triggers.borrow_mut().remove(&pin) {
            trigger.abort();
        }
        let (Some(kind), Some(callback)) = (kind, callback) else { return Ok(()) };
        let wants: fn(u8, u8) -> bool = match lossy(&kind).as_str() {
            "up" => |before, now| now > before,
            "down" => |before, now| now < before,
            "both" => |before, now| now != before,
            "high" => |_, now| now == 1,
            "low" => |_, now| now == 0,
            _ => return Ok(()),
        };
        let (at_work, at) = (machine.clone(), pins.clone());
        let before = Cell::new(level(&machine, &pins, pin));
        let watch = async move {
            loop {
                tokio::time::sleep(TRIGGER_EVERY).await;
                let now = level(&at_work, &at, pin);
                if wants(before.replace(now), now) {
                    let (callback, when) =
                        (callback.clone(), at_work.uptime().as_micros() as u64 & 0x7fff_ffff);
                    at_work.post(move |_| callback.call((now, when, 1))).await;
                }
            }
        };
        pins.triggers.borrow_mut().insert(pin, machine.spawn(watch)?);
        Ok(())
    })
}

fn check(pin: u8) -> mlua::Result<u8> {
    if pin > PIN_MAX { Err(mlua::Error::runtime(format!("no pin {pin}"))) } else { Ok(pin) }
}

/// An output gives what was written, an input what the generator says.
fn level(machine: &Machine, pins: &Pins, pin: u8) -> u8 {
    if pins.modes.borrow().get(&pin) == Some(&OUTPUT) {
        return pins.written.borrow().get(&pin).copied().unwrap_or(0);
    }
    u8::from(sense(machine, Channel::Gpio(pin)) >= 0.5)
}

fn sense(machine: &Machine, channel: Channel) -> f64 {
    machine.board.sensors.borrow_mut().read(channel, machine.board.turn_clock.seconds())
}
