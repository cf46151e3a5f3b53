//! `net`: TCP client sockets and name look-up. Left out: servers and UDP, because the boards of a fleet share
//! one address, and TLS.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, LuaString, UserData, UserDataMethods, Value, Variadic};
use tokio::sync::mpsc;

use super::{add, lossy};
use crate::nodemcu::link::{self, Download, Wire};
use crate::nodemcu::machine::{Ending, Machine};

/// Sends that wait; one more is an error.
const SENDS_MAX: usize = 16;
const READ_BYTES: usize = 1460;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let net = lua.create_table()?;
    net.set("TCP", 1)?;
    net.set("UDP", 2)?;
    let at_work = machine.clone();
    add(lua, &net, "createConnection", move |_, (kind, secure): (Option<u8>, Option<u8>)| {
        if kind.unwrap_or(1) != 1 || secure.unwrap_or(0) != 0 {
            return Err(mlua::Error::runtime("virtual boards have plain TCP only"));
        }
        let machine = at_work.clone();
        Ok(Socket(Rc::new(State { machine, handlers: RefCell::default(), open: RefCell::default() })))
    })?;
    for name in ["createServer", "createUDPSocket"] {
        add(lua, &net, name, |_, _: Variadic<Value>| -> mlua::Result<()> {
            Err(mlua::Error::runtime("virtual boards have no servers and no UDP"))
        })?;
    }
    let dns = lua.create_table()?;
    let at_work = machine.clone();
    add(lua, &dns, "resolve", move |_, (host, callback): (LuaString, Function)| {
        let (machine, host) = (at_work.clone(), lossy(&host));
        let look_up = async move {
            let address = resolve(&machine, &host).await;
            machine.post(move |_| callback.call((Value::Nil, address))).await;
        };
        at_work.spawn(look_up).map(|_| ())
    })?;
    for name in ["setdnsserver", "getdnsserver"] {
        add(lua, &dns, name, |_, _: Variadic<Value>| Ok("10.0.0.1"))?;
    }
    net.set("dns", dns)?;
    lua.globals().set("net", net)
}

async fn resolve(machine: &Machine, host: &str) -> Option<String> {
    if !machine.board.link.is_up() {
        return None;
    }
    let mut addresses = tokio::net::lookup_host((host, 0)).await.ok()?;
    addresses.next().map(|address| address.ip().to_string())
}

/// A TCP socket object.
struct Socket(Rc<State>);

struct State {
    machine: Rc<Machine>,
    handlers: RefCell<HashMap<String, Function>>,
    open: RefCell<Option<Open>>,
}

/// What is there from connect to the end.
struct Open {
    sends: mpsc::Sender<Vec<u8>>,
    addresses: Option<(std::net::SocketAddr, std::net::SocketAddr)>,
}

impl UserData for Socket {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("on", |_, socket, (event, handler): (LuaString, Option<Function>)| {
            match handler {
                Some(handler) => drop(socket.0.handlers.borrow_mut().insert(lossy(&event), handler)),
                None => drop(socket.0.handlers.borrow_mut().remove(&lossy(&event))),
            }
            Ok(())
        });
        methods.add_function("connect", |_, (this, port, host): (AnyUserData, u16, LuaString)| {
            let state = this.borrow::<Socket>()?.0.clone();
            if state.open.borrow().is_some() {
                return Err(mlua::Error::runtime("already connected"));
            }
            let (sends, waiting) = mpsc::channel(SENDS_MAX);
            *state.open.borrow_mut() = Some(Open { sends, addresses: None });
            let (at_work, host) = (state.clone(), lossy(&host));
            state.machine.spawn(async move { at_work.serve(this, host, port, waiting).await })?;
            Ok(())
        });
        methods.add_method("send", |_, socket, (data, sent): (LuaString, Option<Function>)| {
            if let Some(sent) = sent {
                socket.0.handlers.borrow_mut().insert("sent".into(), sent);
            }
            let open = socket.0.open.borrow();
            let open = open.as_ref().ok_or_else(|| mlua::Error::runtime("not connected"))?;
            open.sends
                .try_send(data.as_bytes().to_vec())
                .map_err(|_| mlua::Error::runtime("out of memory to send"))
        });
        methods.add_method("close", |_, socket, ()| {
            // The task sees the end of the sends, writes what is left and closes.
            *socket.0.open.borrow_mut() = None;
            Ok(())
        });
        methods.add_method("getaddr", |_, socket, ()| Ok(socket.0.address(|(own, _)| own)));
        methods.add_method("getpeer", |_, socket, ()| Ok(socket.0.address(|(_, peer)| peer)));
        for name in ["hold", "unhold", "ttl"] {
            methods.add_method(name, |_, _, _: Variadic<Value>| Ok(()));
        }
        methods.add_function("dns", |_, (this, host, callback): (AnyUserData, LuaString, Function)| {
            let (machine, host) = (this.borrow::<Socket>()?.0.machine.clone(), lossy(&host));
            let at_work = machine.clone();
            let look_up = async move {
                let address = resolve(&at_work, &host).await;
                at_work.post(move |_| callback.call((this, address))).await;
            };
            machine.spawn(look_up).map(|_| ())
        });
    }
}

impl State {
    fn address(
        &self,
        pick: fn((std::net::SocketAddr, std::net::SocketAddr)) -> std::net::SocketAddr,
    ) -> (Option<u16>, Option<String>) {
        let open = self.open.borrow();
        let address = open.as_ref().and_then(|open| open.addresses).map(pick);
        (address.map(|address| address.port()), address.map(|address| address.ip().to_string()))
    }

    /// One connection from its start to its end; code 0 of a disconnection is the end in order.
    async fn serve(&self, this: AnyUserData, host: String, port: u16, mut sends: mpsc::Receiver<Vec<u8>>) {
        let Ok(wire) = link::connect(&self.machine.board.link, &host, port).await else {
            *self.open.borrow_mut() = None;
            // -11 is the stack's "not connected"; older scripts listen to reconnection.
            self.call("reconnection", (this.clone(), -11)).await;
            return self.call("disconnection", (this, -11)).await;
        };
        if let Some(open) = self.open.borrow_mut().as_mut() {
            open.addresses = wire.addresses().ok();
        }
        self.call("connection", this.clone()).await;
        let code = self.talk(&wire, &this, &mut sends).await;
        wire.close().await;
        *self.open.borrow_mut() = None;
        self.call("disconnection", (this, code)).await;
    }

    async fn talk(&self, wire: &Wire, this: &AnyUserData, sends: &mut mpsc::Receiver<Vec<u8>>) -> i32 {
        let mut buffer = [0; READ_BYTES];
        let mut download = None;
        loop {
            tokio::select! {
                read = wire.read(&mut buffer) => match read {
                    Ok(0) => return 0,
                    Err(_) => return -9,
                    Ok(count) => self.receive(this, &buffer[..count], &mut download).await,
                },
                data = sends.recv() => {
                    let Some(data) = data else { return 0 };
                    if wire.write_all(&data).await.is_err() {
                        return -9;
                    }
                    download = Download::asked_for(&data).or(download);
                    self.call("sent", this.clone()).await;
                }
            }
        }
    }

    /// Hands data to the script; if the power is to go within it, only what came before.
    async fn receive(&self, this: &AnyUserData, data: &[u8], download: &mut Option<Download>) {
        let link = &self.machine.board.link;
        let cut = download.as_mut().and_then(|download| download.cut(link, data));
        let (data, this) = (data[..cut.unwrap_or(data.len())].to_vec(), this.clone());
        let handler = self.handlers.borrow().get("receive").cloned();
        let machine = self.machine.clone();
        let turn = move |lua: &Lua| {
            if let Some(handler) = handler.filter(|_| !data.is_empty()) {
                handler.call::<()>((this, lua.create_string(data)?))?;
            }
            if cut.is_some() {
                machine.end(Ending::PowerCut);
            }
            Ok(())
        };
        self.machine.post(turn).await;
    }

    async fn call(&self, event: &str, arguments: impl IntoLuaMulti + 'static) {
        let Some(handler) = self.handlers.borrow().get(event).cloned() else { return };
        self.machine.post(move |_| handler.call(arguments)).await;
    }
}
