//! The Lua modules of the firmware, one file per module or close family. What is missing here is missing for
//! scripts: each file's head says what it leaves out.

mod clock;
mod crypto;
mod file;
mod globals;
mod http;
mod mqtt;
mod net;
mod node;
mod sense;
mod sjson;
mod tmr;
mod uart;
mod wifi;

use std::rc::Rc;

use mlua::{FromLuaMulti, IntoLuaMulti, Lua, LuaString, Table, Value};

use super::machine::Machine;

pub(crate) use globals::error_text;

/// Puts all modules into the globals of a fresh state.
pub(crate) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    globals::install(lua, machine)?;
    node::install(lua, machine)?;
    file::install(lua, machine)?;
    wifi::install(lua, machine)?;
    http::install(lua, machine)?;
    mqtt::install(lua, machine)?;
    net::install(lua, machine)?;
    tmr::install(lua, machine)?;
    sense::install(lua, machine)?;
    clock::install(lua, machine)?;
    uart::install(lua, machine)?;
    crypto::install(lua, machine)?;
    sjson::install(lua)
}

/// Runs `init.lua`, if there is one. An error in it is a panic like any other.
pub(crate) fn boot(machine: &Rc<Machine>, lua: &Lua) {
    if machine.board.flash.size(b"init.lua").is_none() {
        machine.print(b"cannot open init.lua");
        return;
    }
    let at_work = machine.clone();
    machine.enter(lua, Box::new(move |lua| globals::load(lua, &at_work, b"init.lua")?.call(())));
}

/// Adds a function to a module.
fn add<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    table: &Table,
    name: &str,
    function: impl Fn(&Lua, A) -> mlua::Result<R> + 'static,
) -> mlua::Result<()> {
    table.set(name, lua.create_function(function)?)
}

/// Text or number as the C side reads a string; `None` for everything else.
fn text(lua: &Lua, value: Value) -> mlua::Result<Option<LuaString>> {
    match value {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => lua.coerce_string(value),
        _ => Ok(None),
    }
}

/// A Lua string as UTF-8; wrong bytes become replacement characters.
fn lossy(text: &LuaString) -> String {
    String::from_utf8_lossy(&text.as_bytes()).into_owned()
}
