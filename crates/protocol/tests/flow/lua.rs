//! Generated Lua on the real Lua 5.1.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use mlua::{Function, LightUserData, Lua, Table, Value as LuaValue};
use motehub_domain::flow::wire_name;
use motehub_protocol::flow::{Part, Shell, program};
use serde_json::{Map, Value, json};

use super::differential::{Came, compare};
use super::graphs::{case, doubling};
use super::{flow_id, ids, read};

/// What a board with the agent has, on a clock that is moved.
struct Board {
    lua: Lua,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    now: i64,
    /// By the number of the timer: when it is due, and what it does then.
    timers: Vec<Option<(i64, Function)>>,
    said: Vec<Value>,
    logged: Vec<String>,
    ids: Vec<i64>,
    take: Option<Function>,
}

fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::LightUserData(LightUserData(std::ptr::null_mut())),
        Value::Bool(truth) => LuaValue::Boolean(*truth),
        Value::Number(number) => LuaValue::Number(number.as_f64().expect("a number")),
        Value::String(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(list) => {
            let values = list.iter().map(|value| to_lua(lua, value)).collect::<mlua::Result<Vec<_>>>()?;
            LuaValue::Table(lua.create_sequence_from(values)?)
        }
        Value::Object(members) => {
            let table = lua.create_table()?;
            for (name, value) in members {
                table.set(name.as_str(), to_lua(lua, value)?)?;
            }
            LuaValue::Table(table)
        }
    })
}

fn from_lua(value: &LuaValue) -> mlua::Result<Value> {
    Ok(match value {
        LuaValue::LightUserData(_) => Value::Null,
        LuaValue::Boolean(truth) => json!(truth),
        LuaValue::Integer(number) => json!(number),
        LuaValue::Number(number) if number.fract() == 0.0 => json!(*number as i64),
        LuaValue::Number(number) => json!(number),
        LuaValue::String(text) => json!(text.to_str()?.to_owned()),
        LuaValue::Table(table) if table.raw_len() > 0 => {
            table.sequence_values().map(|value| from_lua(&value?)).collect::<mlua::Result<_>>()?
        }
        LuaValue::Table(table) => {
            let mut members = Map::new();
            for pair in table.pairs::<String, LuaValue>() {
                let (name, value) = pair?;
                members.insert(name, from_lua(&value)?);
            }
            Value::Object(members)
        }
        other => return Err(mlua::Error::runtime(format!("no JSON: {other:?}"))),
    })
}

impl Board {
    fn new() -> mlua::Result<Self> {
        let board = Self { lua: Lua::new(), state: Rc::default() };
        board.install_tmr()?;
        let (lua, state) = (&board.lua, &board.state);
        let sjson = lua.create_table()?;
        sjson.set("NULL", LightUserData(std::ptr::null_mut()))?;
        let encode = |_: &Lua, value: LuaValue| Ok(from_lua(&value)?.to_string());
        sjson.set("encode", lua.create_function(encode)?)?;
        let decode = |lua: &Lua, text: String| {
            let value = serde_json::from_str(&text).map_err(mlua::Error::external)?;
            to_lua(lua, &value)
        };
        sjson.set("decode", lua.create_function(decode)?)?;
        lua.globals().set("sjson", sjson)?;
        let motehub = lua.create_table()?;
        let here = state.clone();
        let flow = move |_: &Lua, (wire, id, value): (String, i64, LuaValue)| {
            let mut state = here.borrow_mut();
            state.said.push(json!([wire, from_lua(&value)?]));
            state.ids.push(id);
            Ok(())
        };
        motehub.set("flow", lua.create_function(flow)?)?;
        let here = state.clone();
        let on_flow = move |_: &Lua, run: Function| {
            here.borrow_mut().take = Some(run);
            Ok(())
        };
        motehub.set("on_flow", lua.create_function(on_flow)?)?;
        let here = state.clone();
        let log = move |_: &Lua, (level, text): (String, String)| {
            assert_eq!(level, "error");
            let mut state = here.borrow_mut();
            state.said.push(json!([text.split(": ").next()]));
            state.logged.push(text);
            Ok(())
        };
        motehub.set("log", lua.create_function(log)?)?;
        lua.globals().set("motehub", motehub)?;
        Ok(board)
    }

    fn install_tmr(&self) -> mlua::Result<()> {
        let (lua, state) = (&self.lua, &self.state);
        let tmr = lua.create_table()?;
        tmr.set("ALARM_SINGLE", 0)?;
        let here = state.clone();
        let now = move |_: &Lua, ()| Ok((here.borrow().now * 1000) & 0x7fff_ffff);
        tmr.set("now", lua.create_function(now)?)?;
        let here = state.clone();
        let time = move |_: &Lua, ()| Ok(here.borrow().now / 1000);
        tmr.set("time", lua.create_function(time)?)?;
        let here = state.clone();
        let create = move |lua: &Lua, ()| {
            let at = here.borrow().timers.len();
            here.borrow_mut().timers.push(None);
            let timer = lua.create_table()?;
            let here = here.clone();
            let alarm = move |_: &Lua, (_, ms, mode, run): (Table, i64, i64, Function)| {
                assert!(mode == 0 && (1..=6_870_947).contains(&ms), "{mode} {ms}");
                let due = here.borrow().now + ms;
                here.borrow_mut().timers[at] = Some((due, run));
                Ok(true)
            };
            timer.set("alarm", lua.create_function(alarm)?)?;
            Ok(timer)
        };
        tmr.set("create", lua.create_function(create)?)?;
        lua.globals().set("tmr", tmr)
    }

    fn advance(&self, to: i64) -> mlua::Result<()> {
        loop {
            let next = {
                let state = self.state.borrow();
                let waiting = state.timers.iter().enumerate();
                let due = waiting.filter_map(|(at, timer)| timer.as_ref().map(|(due, _)| (*due, at)));
                due.min().filter(|(due, _)| *due <= to)
            };
            let Some((due, at)) = next else { break };
            self.state.borrow_mut().now = due;
            let run = self.state.borrow_mut().timers[at].take().map(|(_, run)| run);
            run.expect("it was due").call::<()>(())?;
        }
        self.state.borrow_mut().now = to;
        Ok(())
    }

    fn said(&self) -> Vec<Value> {
        std::mem::take(&mut self.state.borrow_mut().said)
    }
}

/// What came of each value and of the time before it, and the lines that were logged.
fn run(program: &str, values: &[(i64, String, Value)]) -> mlua::Result<(Came, Vec<String>)> {
    let board = Board::new()?;
    board.lua.load(program).set_name("=script").exec()?;
    let mut came = Vec::new();
    for (number, (at, wire, value)) in values.iter().enumerate() {
        board.advance(*at)?;
        came.push(board.said());
        let take = board.state.borrow().take.clone();
        if let Some(take) = take {
            // Twice, as messages do sometimes.
            for _ in 0..2 {
                take.call::<()>((wire.as_str(), number, to_lua(&board.lua, value)?))?;
            }
        }
        came.push(board.said());
    }
    let ids = board.state.borrow().ids.clone();
    assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "{ids:?}");
    let logged = board.state.borrow().logged.clone();
    Ok((came, logged))
}

#[test]
fn random_flows_do_the_same_as_on_the_hub() {
    let (mut emitted, mut failed) = (0, 0);
    for (seed, case) in (0..400).map(|seed| (seed, case(seed))).chain([(400, doubling())]) {
        let part = Part { flow: flow_id(1), graph: &case.graph, here: case.here.clone() };
        let program = program(&[part], &BTreeSet::new(), Shell::Lua);
        let name = |(at, from, value): &(i64, _, Value)| (*at, wire_name(flow_id(1), from), value.clone());
        let values: Vec<_> = case.values.iter().map(name).collect();
        let (came, logged) = run(&program, &values).unwrap_or_else(|error| panic!("{error}\n{program}"));
        compare(&case, seed, &program, &came, false);
        failed += logged.len();
        emitted += came.iter().map(Vec::len).sum::<usize>() - logged.len();
    }
    println!("401 flows: {emitted} values and {failed} errors are the same");
    assert!(emitted > 8_000 && failed > 2_000, "{emitted} values, {failed} errors");
}

#[test]
fn what_emits_by_itself_does_so_and_a_person_s_code_is_on_its_own() {
    let code = "number = 40 -- ]] ]=]\nfunction step(value)\n  number = number + 1\n  \
                if value ~= 3 then return { n = number, v = value } end\nend";
    let graph = read(&json!({
        "steps": [
            {"id": "tick", "kind": "timer", "every_ms": 10_000_000, "value": {"a": [null, true], "end": "\u{7}1"}},
            {"id": "door", "kind": "sensor", "sensor": "pin", "pin": 2, "every_ms": 40_000_000},
            {"id": "run", "kind": "code", "language": "lua", "source": code},
            {"id": "bad", "kind": "code", "language": "lua", "source": "function other(value) return 1 end"},
            {"id": "worse", "kind": "code", "language": "lua", "source": "function step(value"},
            {"id": "in", "kind": "timer", "every_ms": 1000},
            {"id": "oom", "kind": "failure", "tags": ["weak"]},
            {"id": "out", "kind": "publish", "topic": "t"},
        ],
        "wires": [
            {"from": "tick", "to": "out"}, {"from": "door", "to": "out"}, {"from": "in", "to": "run"},
            {"from": "in", "to": "bad"}, {"from": "in", "to": "worse"}, {"from": "run", "to": "out"},
        ],
    }));
    let here = ids(&["tick", "door", "run", "bad", "worse", "oom"]);
    let part = Part { flow: flow_id(1), graph: &graph, here };
    let made = |capabilities: &[&str]| {
        let has = capabilities.iter().map(|name| (*name).to_owned()).collect();
        program(std::slice::from_ref(&part), &has, Shell::Lua)
    };
    let wire = |step: &str| format!("{}/{step}", flow_id(1));
    let values = [
        (500, wire("in"), json!(1)),
        (2500, wire("in"), json!(3)),
        (4500, wire("in"), json!("x")),
        (50_000_000, wire("no"), json!(1)),
    ];
    let (came, logged) = run(&made(&[]), &values).unwrap();
    let tick = json!([wire("tick"), {"a": [null, true], "end": "\u{7}1"}]);
    let broken = [json!([wire("bad")]), json!([wire("worse")])];
    let ran = |n: i64, v: Value| json!([wire("run"), {"n": n, "v": v}]);
    // There are no pins here: that is logged, again and again, and disturbs nobody.
    let door = json!([wire("door")]);
    assert_eq!(came[0], [json!([wire("worse")])], "{logged:?}");
    assert_eq!(came[1][..2], broken, "{logged:?}");
    assert_eq!(came[1][2], ran(41, json!(1)));
    assert_eq!(came[2], [door]);
    assert_eq!(came[3], broken);
    assert_eq!(came[5][2], ran(43, json!("x")));
    assert_eq!(came[6].iter().filter(|line| **line == tick).count(), 5);
    assert_eq!(came[7], Vec::<Value>::new(), "nobody here takes it");

    let weak = Lua::new();
    weak.set_memory_limit(1024 * 1024).unwrap();
    let full = made(&["weak"]);
    let full = &full[full.find("local full").expect("it fails")..];
    let error = weak.load(full).exec().expect_err("it is full");
    assert!(error.to_string().contains("not enough memory"), "{error}");
    assert!(!made(&["strong"]).contains("local full"));
}
