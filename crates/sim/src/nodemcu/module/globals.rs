//! Globals that the firmware has in its own way: `print` to the console, `dofile`, `loadfile` and `require`
//! from flash, and `debug.traceback` (the rest of `debug` is left out, as are `io` and `os`, which boards do
//! not have).

use std::rc::Rc;

use mlua::{Function, Lua, LuaString, MultiValue, Value};

use super::{add, lossy};
use crate::nodemcu::machine::Machine;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let globals = lua.globals();
    let at_work = machine.clone();
    let tostring: Function = globals.get("tostring")?;
    add(lua, &globals, "print", move |_, values: MultiValue| {
        let mut line = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            line.extend_from_slice(&tostring.call::<LuaString>(value)?.as_bytes());
        }
        at_work.print(&line);
        Ok(())
    })?;
    let at_work = machine.clone();
    add(lua, &globals, "dofile", move |lua, name: LuaString| {
        load(lua, &at_work, &name.as_bytes())?.call::<MultiValue>(())
    })?;
    let at_work = machine.clone();
    add(lua, &globals, "loadfile", move |lua, name: LuaString| {
        match load(lua, &at_work, &name.as_bytes()) {
            Ok(function) => Ok((Some(function), None)),
            Err(error) => Ok((None, Some(error_text(&error, false)))),
        }
    })?;
    install_require(lua, machine)?;
    let debug = lua.create_table()?;
    add(lua, &debug, "traceback", |lua, message: Option<LuaString>| {
        lua.traceback(message.as_ref().map(lossy).as_deref(), 1)
    })?;
    globals.set("debug", debug)?;
    let at_work = machine.clone();
    add(lua, &globals, "plain", move |lua, value: Value| match value {
        // No `pcall` goes on when the processor has stopped.
        _ if at_work.is_dead() => Err(mlua::Error::runtime("the board has stopped")),
        Value::Error(error) => Ok(Value::String(lua.create_string(error_text(&error, false))?)),
        other => Ok(other),
    })?;
    lua.load(TEXT_ERRORS).set_name("=base").exec()
}

/// Errors of modules arrive in Lua as objects; on the board they are texts, and scripts treat them so.
const TEXT_ERRORS: &str = "
    local plain, pcall_, xpcall_, resume_ = plain, pcall, xpcall, coroutine.resume
    _G.plain = nil
    local function tidy(ok, first, ...)
        if ok then return ok, first, ... end
        return ok, plain(first)
    end
    function pcall(...) return tidy(pcall_(...)) end
    function xpcall(work, handler)
        return tidy(xpcall_(work, function(problem) return handler(plain(problem)) end))
    end
    function coroutine.resume(...) return tidy(resume_(...)) end
";

/// The message of an error, as the board would word it.
pub(crate) fn error_text(error: &mlua::Error, with_traceback: bool) -> String {
    match error {
        mlua::Error::RuntimeError(message) | mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::MemoryError(_) => "not enough memory".into(),
        mlua::Error::CallbackError { traceback, cause } if with_traceback => {
            format!("{}\n{traceback}", error_text(cause, true))
        }
        mlua::Error::CallbackError { cause, .. } => error_text(cause, false),
        other => other.to_string(),
    }
}

fn install_require(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let globals = lua.globals();
    let (package, loaded) = (lua.create_table()?, lua.create_table()?);
    package.set("loaded", &loaded)?;
    globals.set("package", package)?;
    let at_work = machine.clone();
    add(lua, &globals, "require", move |lua, name: LuaString| {
        let known: Value = loaded.get(&name)?;
        if !known.is_nil() {
            return Ok(known);
        }
        let plain = name.as_bytes().to_vec();
        let candidates = [[&plain[..], b".lc"].concat(), [&plain[..], b".lua"].concat()];
        let Some(file) = candidates.iter().find(|file| at_work.board.flash.size(file).is_some()) else {
            return Err(mlua::Error::runtime(format!("module '{}' not found", lossy(&name))));
        };
        let value: Value = load(lua, &at_work, file)?.call(&name)?;
        let value = if value.is_nil() { Value::Boolean(true) } else { value };
        loaded.set(name, &value)?;
        Ok(value)
    })
}

/// Loads a source or compiled file from flash.
pub(super) fn load(lua: &Lua, machine: &Machine, name: &[u8]) -> mlua::Result<Function> {
    let shown = String::from_utf8_lossy(name).into_owned();
    let Some(content) = machine.board.flash.read(name) else {
        return Err(mlua::Error::runtime(format!("cannot open {shown}")));
    };
    lua.load(content).set_name(format!("@{shown}")).into_function()
}
