//! `node`: identity, restart, compiling, sleep, tasks. Left out: redirecting the output, LFS, reloading the
//! flash.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, Lua, LuaString, Value, Variadic};

use super::{add, globals, lossy};
use crate::nodemcu::machine::{Ending, Machine, ON_ERROR};
use crate::nodemcu::order::{BootReason, Fact};

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let node = lua.create_table()?;
    let chip_id = machine.board.chip_id;
    add(lua, &node, "chipid", move |_, ()| Ok(chip_id))?;
    add(lua, &node, "flashid", |_, ()| Ok(1_458_400))?;
    add(lua, &node, "flashsize", |_, ()| Ok(4 * 1024 * 1024))?;
    add(lua, &node, "info", move |_, ()| Ok((3, 0, 0, chip_id, 1_458_400, 4096, 2, 40_000_000)))?;
    let at_work = machine.clone();
    add(lua, &node, "heap", move |lua, ()| Ok(at_work.heap_bytes(lua)))?;
    let at_work = machine.clone();
    add(lua, &node, "bootreason", move |_, ()| Ok(reason_codes(at_work.reason)))?;
    for name in ["setcpufreq", "getcpufreq"] {
        add(lua, &node, name, |_, _: Variadic<Value>| Ok(80))?;
    }
    let at_work = machine.clone();
    add(lua, &node, "stripdebug", move |_, (level, _): (Option<u8>, Option<Function>)| {
        Ok(at_work.strip_level.replace(level.unwrap_or(at_work.strip_level.get())))
    })?;
    add(lua, &node, "setonerror", |lua, handler: Option<Function>| {
        lua.set_named_registry_value(ON_ERROR, handler)
    })?;
    for name in ["osprint", "output"] {
        add(lua, &node, name, |_, _: Variadic<Value>| Ok(()))?;
    }
    node.set("CPU80MHZ", 80)?;
    node.set("CPU160MHZ", 160)?;
    let egc = lua.create_table()?;
    for name in ["setmode", "meminfo"] {
        add(lua, &egc, name, |_, _: Variadic<Value>| Ok(()))?;
    }
    for (name, value) in [("NOT_ACTIVE", 0), ("ON_ALLOC_FAILURE", 1), ("ON_MEM_LIMIT", 2), ("ALWAYS", 4)] {
        egc.set(name, value)?;
    }
    node.set("egc", egc)?;
    install_endings(lua, machine, &node)?;
    install_compile(lua, machine, &node)?;
    install_task(lua, machine, &node)?;
    lua.globals().set("node", node)
}

fn install_endings(lua: &Lua, machine: &Rc<Machine>, node: &mlua::Table) -> mlua::Result<()> {
    let at_work = machine.clone();
    add(lua, node, "restart", move |_, ()| -> mlua::Result<()> {
        at_work.end(Ending::Restart);
        Err(mlua::Error::runtime("the board restarts"))
    })?;
    let at_work = machine.clone();
    add(
        lua,
        node,
        "dsleep",
        move |_, (microseconds, _): (Option<u64>, Variadic<Value>)| -> mlua::Result<()> {
            // Without a time a board sleeps until its reset pin is pulled; a year is as good.
            let time = microseconds.filter(|time| *time > 0).unwrap_or(365 * 86_400 * 1_000_000);
            at_work.end(Ending::DeepSleep(Duration::from_micros(time)));
            Err(mlua::Error::runtime("the board sleeps"))
        },
    )?;
    let at_work = machine.clone();
    add(lua, node, "restore", move |_, ()| {
        *at_work.board.station.borrow_mut() = None;
        Ok(())
    })
}

fn install_compile(lua: &Lua, machine: &Rc<Machine>, node: &mlua::Table) -> mlua::Result<()> {
    let at_work = machine.clone();
    add(lua, node, "compile", move |lua, name: LuaString| {
        let name = name.as_bytes();
        let Some(stem) = name.strip_suffix(b".lua") else {
            return Err(mlua::Error::runtime("not a .lua file"));
        };
        let compiled = globals::load(lua, &at_work, &name)?.dump(at_work.strip_level.get() > 1);
        let target = [stem, b".lc"].concat();
        let flash = &at_work.board.flash;
        if !at_work.write(compiled.len(), |count| flash.write(&target, &compiled[..count]))? {
            return Err(mlua::Error::runtime("cannot open/write to file"));
        }
        let file = String::from_utf8_lossy(&target).into_owned();
        let board = at_work.board.name.clone();
        at_work.board.console.report(Fact::Compiled { board, file, size_bytes: compiled.len() });
        Ok(())
    })
}

fn install_task(lua: &Lua, machine: &Rc<Machine>, node: &mlua::Table) -> mlua::Result<()> {
    let task = lua.create_table()?;
    for (name, value) in [("LOW_PRIORITY", 0), ("MEDIUM_PRIORITY", 1), ("HIGH_PRIORITY", 2)] {
        task.set(name, value)?;
    }
    let at_work = machine.clone();
    add(lua, &task, "post", move |_, (first, second): (Value, Option<Function>)| {
        // All priorities share one queue here.
        let work = match (first, second) {
            (Value::Function(work), _) | (_, Some(work)) => work,
            _ => return Err(mlua::Error::runtime("task.post needs a function")),
        };
        if at_work.try_post(move |_| work.call(0)) {
            return Ok(());
        }
        Err(mlua::Error::runtime("Task queue overflow. Task not posted"))
    })?;
    node.set("task", task)?;
    let at_work = machine.clone();
    add(lua, node, "input", move |_, source: LuaString| {
        let source = lossy(&source);
        Ok(at_work.try_post(move |lua| lua.load(source).set_name("=stdin").exec()))
    })
}

/// Raw and extended reset cause.
fn reason_codes(reason: BootReason) -> (u8, u8) {
    match reason {
        BootReason::PowerOn | BootReason::GroupReset => (1, 0),
        BootReason::Restart | BootReason::Panic => (2, 4),
        BootReason::Reset => (2, 6),
        BootReason::Watchdog => (4, 3),
        BootReason::DeepSleep => (2, 5),
    }
}
