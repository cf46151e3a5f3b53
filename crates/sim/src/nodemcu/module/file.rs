//! `file`: the flat file system, in the basic model (one current file) and the object model. Left out:
//! `file.on` and mounting SD cards.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use mlua::{Lua, LuaString, Table, UserData, UserDataMethods, Value, Variadic};

use super::{add, lossy};
use crate::nodemcu::machine::Machine;

/// Most that one read gives when no count is named, and longest line.
const CHUNK_BYTES: usize = 1024;
/// Most that one read gives at all; the memory of a board ends long before.
const READ_MAX_BYTES: usize = 2 * 1024 * 1024;

/// An open file; closed when the content is gone.
#[derive(Clone)]
struct Handle {
    machine: Rc<Machine>,
    file: Rc<RefCell<Option<File>>>,
}

/// The current file of the basic model.
type Current = Rc<RefCell<Option<Handle>>>;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let file = lua.create_table()?;
    install_basic(lua, machine, &file)?;
    install_names(lua, machine, &file)?;
    install_whole(lua, machine, &file)?;
    lua.globals().set("file", file)
}

fn install_basic(lua: &Lua, machine: &Rc<Machine>, file: &Table) -> mlua::Result<()> {
    let current = Current::default();
    let (at_work, opening) = (machine.clone(), current.clone());
    add(lua, file, "open", move |_, (name, mode): (LuaString, Option<LuaString>)| {
        let mode = mode.as_ref().map_or_else(|| "r".into(), lossy);
        let open = || at_work.board.flash.open_file(&name.as_bytes(), &mode);
        let is_truncating = mode.starts_with('w');
        let opened = if is_truncating { at_work.write(1, |_| open())? } else { open() };
        let handle =
            opened.map(|file| Handle { machine: at_work.clone(), file: Rc::new(RefCell::new(Some(file))) });
        *opening.borrow_mut() = handle.clone();
        Ok(handle)
    })?;
    let at = current.clone();
    add(lua, file, "read", move |lua, limit: Value| open(&at)?.read(lua, limit))?;
    let at = current.clone();
    add(lua, file, "readline", move |lua, ()| open(&at)?.read_until(lua, Some(b'\n'), CHUNK_BYTES))?;
    let at = current.clone();
    add(lua, file, "write", move |_, data: LuaString| open(&at)?.write(&data.as_bytes()))?;
    let at = current.clone();
    add(lua, file, "writeline", move |_, data: LuaString| {
        open(&at)?.write(&[&data.as_bytes()[..], b"\n"].concat())
    })?;
    let at = current.clone();
    add(lua, file, "seek", move |_, (whence, offset): (Option<LuaString>, Option<i64>)| {
        open(&at)?.seek(whence.as_ref(), offset)
    })?;
    let at = current.clone();
    add(lua, file, "flush", move |_, ()| Ok(at.borrow().as_ref().map(|_| true)))?;
    add(lua, file, "close", move |_, handle: Option<mlua::AnyUserData>| {
        match handle {
            Some(handle) => *handle.borrow::<Handle>()?.file.borrow_mut() = None,
            None => drop(current.borrow_mut().take().map(|handle| handle.file.borrow_mut().take())),
        }
        Ok(())
    })
}

fn install_names(lua: &Lua, machine: &Rc<Machine>, file: &Table) -> mlua::Result<()> {
    let at_work = machine.clone();
    add(lua, file, "list", move |lua, pattern: Option<LuaString>| {
        let (files, matching) = (lua.create_table()?, lua.globals().get::<Table>("string")?);
        let matching: mlua::Function = matching.get("match")?;
        for (name, size) in at_work.board.flash.list() {
            let name = lua.create_string(name)?;
            let fits = match &pattern {
                Some(pattern) => !matching.call::<Value>((&name, pattern))?.is_nil(),
                None => true,
            };
            if fits {
                files.set(name, size)?;
            }
        }
        Ok(files)
    })?;
    let at_work = machine.clone();
    add(lua, file, "exists", move |_, name: LuaString| {
        Ok(at_work.board.flash.size(&name.as_bytes()).is_some())
    })?;
    let at_work = machine.clone();
    add(lua, file, "remove", move |_, name: LuaString| {
        at_work.write(1, |_| at_work.board.flash.remove(&name.as_bytes()))
    })?;
    let at_work = machine.clone();
    add(lua, file, "rename", move |_, (from, to): (LuaString, LuaString)| {
        at_work.write(1, |_| at_work.board.flash.rename(&from.as_bytes(), &to.as_bytes()))
    })?;
    let at_work = machine.clone();
    add(lua, file, "stat", move |lua, name: LuaString| {
        let Some(size) = at_work.board.flash.size(&name.as_bytes()) else { return Ok(None) };
        let stat = lua.create_table()?;
        stat.set("size", size)?;
        stat.set("name", name)?;
        for flag in ["is_dir", "is_rdonly", "is_hidden", "is_sys", "is_arch"] {
            stat.set(flag, false)?;
        }
        Ok(Some(stat))
    })?;
    let at_work = machine.clone();
    add(lua, file, "fsinfo", move |_, ()| {
        let (remaining, size) = (at_work.board.flash.remaining(), at_work.board.flash.size_bytes);
        Ok((remaining, size - remaining, size))
    })?;
    let at_work = machine.clone();
    add(lua, file, "format", move |_, _: Variadic<Value>| {
        for (name, _) in at_work.board.flash.list() {
            at_work.board.flash.remove(&name);
        }
        Ok(())
    })
}

fn install_whole(lua: &Lua, machine: &Rc<Machine>, file: &Table) -> mlua::Result<()> {
    let at_work = machine.clone();
    add(lua, file, "getcontents", move |lua, name: LuaString| {
        let content = at_work.board.flash.read(&name.as_bytes());
        content.map(|content| lua.create_string(content)).transpose()
    })?;
    let at_work = machine.clone();
    add(lua, file, "putcontents", move |_, (name, content): (LuaString, LuaString)| {
        let (name, content) = (name.as_bytes(), content.as_bytes());
        let flash = &at_work.board.flash;
        let written = at_work.write(content.len(), |count| flash.write(&name, &content[..count]))?;
        Ok(written.then_some(true))
    })
}

/// The current file, or the error that the firmware raises without one.
fn open(current: &Current) -> mlua::Result<Handle> {
    current.borrow().clone().ok_or_else(|| mlua::Error::runtime("open a file first"))
}

impl Handle {
    /// `read()`, `read(count)` or `read(end character)`.
    fn read(&self, lua: &Lua, limit: Value) -> mlua::Result<Option<LuaString>> {
        match limit {
            Value::Integer(count) => {
                self.read_until(lua, None, count.clamp(0, READ_MAX_BYTES as i64) as usize)
            }
            Value::Number(count) => {
                self.read_until(lua, None, count.clamp(0.0, READ_MAX_BYTES as f64) as usize)
            }
            Value::String(stop) => self.read_until(lua, stop.as_bytes().first().copied(), CHUNK_BYTES),
            _ => self.read_until(lua, None, CHUNK_BYTES),
        }
    }

    /// At most `count` bytes, up to and with the stop byte; nil at the end.
    fn read_until(&self, lua: &Lua, stop: Option<u8>, count: usize) -> mlua::Result<Option<LuaString>> {
        let mut file = self.file.borrow_mut();
        let file = file.as_mut().ok_or_else(|| mlua::Error::runtime("open a file first"))?;
        let mut data = Vec::new();
        file.take(count as u64).read_to_end(&mut data)?;
        if let Some(end) = stop.and_then(|stop| data.iter().position(|byte| *byte == stop)) {
            file.seek(SeekFrom::Current(end as i64 + 1 - data.len() as i64))?;
            data.truncate(end + 1);
        }
        if data.is_empty() { Ok(None) } else { lua.create_string(data).map(Some) }
    }

    /// True, or nil when the flash is full.
    fn write(&self, data: &[u8]) -> mlua::Result<Option<bool>> {
        let mut file = self.file.borrow_mut();
        let file = file.as_mut().ok_or_else(|| mlua::Error::runtime("open a file first"))?;
        let fits = data.len() as u64 <= self.machine.board.flash.remaining();
        let written =
            self.machine.write(data.len(), |count| fits && file.write_all(&data[..count]).is_ok())?;
        Ok(written.then_some(true))
    }

    /// The new position, or nil.
    fn seek(&self, whence: Option<&LuaString>, offset: Option<i64>) -> mlua::Result<Option<u64>> {
        let offset = offset.unwrap_or(0);
        let to = match whence.map(lossy).as_deref() {
            Some("set") => SeekFrom::Start(offset.max(0) as u64),
            Some("end") => SeekFrom::End(offset),
            None | Some("cur") => SeekFrom::Current(offset),
            Some(_) => return Err(mlua::Error::runtime("invalid option")),
        };
        let mut file = self.file.borrow_mut();
        let file = file.as_mut().ok_or_else(|| mlua::Error::runtime("open a file first"))?;
        Ok(file.seek(to).ok())
    }
}

impl UserData for Handle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("read", |lua, handle, limit: Value| handle.read(lua, limit));
        methods.add_method("readline", |lua, handle, ()| handle.read_until(lua, Some(b'\n'), CHUNK_BYTES));
        methods.add_method("write", |_, handle, data: LuaString| handle.write(&data.as_bytes()));
        methods.add_method("writeline", |_, handle, data: LuaString| {
            handle.write(&[&data.as_bytes()[..], b"\n"].concat())
        });
        methods.add_method("seek", |_, handle, (whence, offset): (Option<LuaString>, Option<i64>)| {
            handle.seek(whence.as_ref(), offset)
        });
        methods.add_method("flush", |_, handle, ()| Ok(handle.file.borrow().is_some().then_some(true)));
        methods.add_method("close", |_, handle, ()| {
            *handle.file.borrow_mut() = None;
            Ok(())
        });
    }
}
