//! `uart`: output goes to the console, line by line. Left out: input (`uart.on` never calls back).

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, Value, Variadic};

use super::{add, text};
use crate::nodemcu::machine::Machine;

/// A line longer than this is shown in pieces.
const LINE_MAX_BYTES: usize = 1024;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let uart = lua.create_table()?;
    let constants =
        [("PARITY_NONE", 0), ("PARITY_EVEN", 1), ("PARITY_ODD", 2), ("STOPBITS_1", 1), ("STOPBITS_2", 3)];
    for (name, value) in constants {
        uart.set(name, value)?;
    }
    add(lua, &uart, "setup", |_, (_, baud, _): (u8, u32, Variadic<Value>)| Ok(baud))?;
    for name in ["on", "alt"] {
        add(lua, &uart, name, |_, _: Variadic<Value>| Ok(()))?;
    }
    let line = RefCell::new(Vec::new());
    let at_work = machine.clone();
    add(lua, &uart, "write", move |lua, (_, values): (u8, Variadic<Value>)| {
        let mut line = line.borrow_mut();
        for value in values {
            let Some(piece) = text(lua, value)? else { return Err(mlua::Error::runtime("not a text")) };
            for byte in piece.as_bytes().iter() {
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if *byte == b'\n' || line.len() >= LINE_MAX_BYTES {
                    at_work.print(line.strip_suffix(b"\r").unwrap_or(&line));
                    line.clear();
                }
            }
        }
        Ok(())
    })?;
    lua.globals().set("uart", uart)
}
