//! `crypto`: digests of texts and files. Left out: encryption, HMAC, and digests other than SHA-256 and SHA-512.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, LuaString, UserData, UserDataMethods};
use sha2::{Digest, Sha256, Sha512};

use super::{add, lossy};
use crate::nodemcu::machine::Machine;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let crypto = lua.create_table()?;
    add(lua, &crypto, "hash", |lua, (kind, text): (LuaString, LuaString)| {
        let mut hash = Hash::new(&kind)?;
        hash.update(&text.as_bytes());
        lua.create_string(hash.finish())
    })?;
    let at_work = machine.clone();
    add(lua, &crypto, "fhash", move |lua, (kind, name): (LuaString, LuaString)| {
        let mut hash = Hash::new(&kind)?;
        let content = at_work.board.flash.read(&name.as_bytes());
        hash.update(&content.ok_or_else(|| mlua::Error::runtime("Cannot open file"))?);
        lua.create_string(hash.finish())
    })?;
    add(lua, &crypto, "new_hash", |_, kind: LuaString| Ok(Growing(RefCell::new(Hash::new(&kind)?))))?;
    add(lua, &crypto, "toHex", |_, bytes: LuaString| {
        Ok(bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    })?;
    lua.globals().set("crypto", crypto)
}

/// A digest in the making.
enum Hash {
    Sha256(Box<Sha256>),
    Sha512(Box<Sha512>),
}

impl Hash {
    fn new(kind: &LuaString) -> mlua::Result<Self> {
        match lossy(kind).to_ascii_uppercase().as_str() {
            "SHA256" => Ok(Self::Sha256(Box::default())),
            "SHA512" => Ok(Self::Sha512(Box::default())),
            _ => Err(mlua::Error::runtime("unknown hash algo")),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha512(hash) => hash.finalize().to_vec(),
        }
    }

    /// The digest so far; the firmware lets a hash be finished once only.
    fn take(&mut self) -> Vec<u8> {
        let empty = match self {
            Self::Sha256(_) => Self::Sha256(Box::default()),
            Self::Sha512(_) => Self::Sha512(Box::default()),
        };
        std::mem::replace(self, empty).finish()
    }
}

/// A hash object.
struct Growing(RefCell<Hash>);

impl UserData for Growing {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("update", |_, hash, text: LuaString| {
            hash.0.borrow_mut().update(&text.as_bytes());
            Ok(())
        });
        methods.add_method("finalize", |lua, hash, ()| lua.create_string(hash.0.borrow_mut().take()));
    }
}
