//! `sjson`: whole texts, with `sjson.NULL`. Left out: the streaming encoder and decoder, and the options for
//! depth, null and metatables.

use mlua::{LightUserData, Lua, LuaString, Table, Value, Variadic};

use super::add;

/// How deep texts and tables may nest.
const DEPTH_MAX: usize = 20;

pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let sjson = lua.create_table()?;
    sjson.set("NULL", Value::LightUserData(LightUserData(std::ptr::null_mut())))?;
    add(lua, &sjson, "encode", |lua, (value, _): (Value, Variadic<Value>)| {
        let mut text = Vec::new();
        encode(lua, &value, DEPTH_MAX, &mut text)?;
        lua.create_string(text)
    })?;
    add(lua, &sjson, "decode", |lua, (text, _): (LuaString, Variadic<Value>)| {
        let value = serde_json::from_slice(&text.as_bytes())
            .map_err(|error| mlua::Error::runtime(format!("incomplete or wrong JSON: {error}")))?;
        decode(lua, value, DEPTH_MAX)
    })?;
    lua.globals().set("sjson", sjson)
}

fn encode(lua: &Lua, value: &Value, depth: usize, text: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::Nil | Value::LightUserData(_) => text.extend_from_slice(b"null"),
        Value::Boolean(value) => text.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Number(number) if !number.is_finite() => text.extend_from_slice(b"null"),
        Value::Integer(_) | Value::Number(_) => {
            if let Some(number) = lua.coerce_string(value.clone())? {
                text.extend_from_slice(&number.as_bytes());
            }
        }
        Value::String(value) => encode_text(&value.as_bytes(), text),
        Value::Table(_) if depth == 0 => return Err(mlua::Error::runtime("nesting is too deep")),
        Value::Table(table) => encode_table(lua, table, depth - 1, text)?,
        other => return Err(mlua::Error::runtime(format!("cannot encode a {}", other.type_name()))),
    }
    Ok(())
}

/// A table whose keys are 1 to n is an array, and so is an empty one.
fn encode_table(lua: &Lua, table: &Table, depth: usize, text: &mut Vec<u8>) -> mlua::Result<()> {
    let pairs: Vec<(Value, Value)> = table.pairs().collect::<mlua::Result<_>>()?;
    if pairs.len() == table.raw_len() {
        text.push(b'[');
        for (index, value) in table.sequence_values::<Value>().enumerate() {
            separate(index, text);
            encode(lua, &value?, depth, text)?;
        }
        text.push(b']');
        return Ok(());
    }
    text.push(b'{');
    for (index, (key, value)) in pairs.into_iter().enumerate() {
        separate(index, text);
        let key =
            super::text(lua, key)?.ok_or_else(|| mlua::Error::runtime("a key is neither text nor number"))?;
        encode_text(&key.as_bytes(), text);
        text.push(b':');
        encode(lua, &value, depth, text)?;
    }
    text.push(b'}');
    Ok(())
}

fn separate(index: usize, text: &mut Vec<u8>) {
    if index > 0 {
        text.push(b',');
    }
}

/// Bytes pass as they are, as the firmware does it; only what JSON demands is escaped.
fn encode_text(value: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in value {
        match byte {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            0..=0x1f => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
}

fn decode(lua: &Lua, value: serde_json::Value, depth: usize) -> mlua::Result<Value> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Null => Value::LightUserData(LightUserData(std::ptr::null_mut())),
        Json::Bool(value) => Value::Boolean(value),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Value::String(lua.create_string(value)?),
        Json::Array(_) | Json::Object(_) if depth == 0 => {
            return Err(mlua::Error::runtime("nesting is too deep"));
        }
        Json::Array(values) => {
            let table = lua.create_table()?;
            for value in values {
                table.push(decode(lua, value, depth - 1)?)?;
            }
            Value::Table(table)
        }
        Json::Object(pairs) => {
            let table = lua.create_table()?;
            for (key, value) in pairs {
                table.set(key, decode(lua, value, depth - 1)?)?;
            }
            Value::Table(table)
        }
    })
}
