//! `http`: asynchronous requests with one callback slot for the whole module, so that a second request takes
//! over the callback of the first, as on the board. Left out: `https` and streaming
//! (`http.createConnection`).

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, Lua, LuaString, Value};

use super::{add, lossy, text};
use crate::nodemcu::http_client::{self, Outcome, Request, Target};
use crate::nodemcu::machine::{Ending, Machine};
use crate::nodemcu::order::Fact;

/// The callback of whichever request ends next.
type Slot = Rc<RefCell<Option<Function>>>;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let http = lua.create_table()?;
    for (name, code) in [("OK", 200), ("NOT_FOUND", 404), ("GENERIC_ERROR", -1)] {
        http.set(name, code)?;
    }
    let slot = Slot::default();
    let (at_work, at) = (machine.clone(), slot.clone());
    type Get = (LuaString, Value, Option<Function>);
    add(lua, &http, "get", move |lua, (url, headers, callback): Get| {
        begin(lua, &at_work, &at, "GET", (&url, headers, Value::Nil), callback)
    })?;
    type WithBody = (LuaString, Value, Value, Option<Function>);
    for (name, method) in [("post", "POST"), ("put", "PUT"), ("delete", "DELETE")] {
        let (at_work, at) = (machine.clone(), slot.clone());
        add(lua, &http, name, move |lua, (url, headers, body, callback): WithBody| {
            begin(lua, &at_work, &at, method, (&url, headers, body), callback)
        })?;
    }
    let at_work = machine.clone();
    type Any = (LuaString, LuaString, Value, Value, Option<Function>);
    add(lua, &http, "request", move |lua, (url, method, headers, body, callback): Any| {
        begin(lua, &at_work, &slot, &lossy(&method), (&url, headers, body), callback)
    })?;
    lua.globals().set("http", http)
}

fn begin(
    lua: &Lua,
    machine: &Rc<Machine>,
    slot: &Slot,
    method: &str,
    (url, headers, body): (&LuaString, Value, Value),
    callback: Option<Function>,
) -> mlua::Result<()> {
    if callback.is_some() {
        *slot.borrow_mut() = callback;
    }
    let url = url.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let Some(target) = Target::parse(&url) else {
        machine.print(b"URL is not usable");
        return Ok(());
    };
    let request = Request {
        method: method.to_owned(),
        headers: header_lines(lua, headers)?,
        body: text(lua, body)?
            .map(|body| body.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default().to_vec()),
    };
    let (at_work, slot) = (machine.clone(), slot.clone());
    machine.spawn(async move { perform(at_work, slot, target, request).await })?;
    Ok(())
}

async fn perform(machine: Rc<Machine>, slot: Slot, target: Target, request: Request) {
    let path = http_client::masked(&target.path);
    let max_bytes = machine.board.settings.http_response_max_bytes;
    let outcome = http_client::fetch(&machine.board.link, target, &request, max_bytes).await;
    let status = match &outcome {
        Outcome::Response { status, .. } => *status,
        Outcome::NoAnswer => -1,
        Outcome::PowerCut => return machine.end(Ending::PowerCut),
    };
    let fact = Fact::Http { board: machine.board.name.clone(), method: request.method, path, status };
    let at_work = machine.clone();
    let turn = move |lua: &Lua| {
        at_work.board.console.report(fact);
        let Some(callback) = slot.borrow_mut().take() else { return Ok(()) };
        let Outcome::Response { status, headers, body } = outcome else { return callback.call(-1) };
        let table = lua.create_table()?;
        for (name, value) in headers {
            table.set(name, lua.create_string(value)?)?;
        }
        callback.call((status, lua.create_string(body)?, table))
    };
    machine.post(turn).await;
}

/// Headers come as text with line ends, or as a table.
fn header_lines(lua: &Lua, headers: Value) -> mlua::Result<Vec<u8>> {
    match headers {
        Value::Table(table) => {
            let mut lines = Vec::new();
            for pair in table.pairs::<LuaString, LuaString>() {
                let (name, value) = pair?;
                lines.extend_from_slice(&[&name.as_bytes()[..], b": ", &value.as_bytes(), b"\r\n"].concat());
            }
            Ok(lines)
        }
        other => Ok(text(lua, other)?.map(|text| text.as_bytes().to_vec()).unwrap_or_default()),
    }
}
