//! `mqtt`: client objects, 3.1.1, without reconnecting. Left out: TLS.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{
    AnyUserData, Function, IntoLuaMulti, Lua, LuaString, MultiValue, UserData, UserDataMethods, Value,
    Variadic,
};
use tokio::sync::mpsc;

use super::{add, lossy, text};
use crate::nodemcu::machine::Machine;
use crate::nodemcu::mqtt_client::{self, Ask, Event, Login, Will};
use crate::nodemcu::order::Fact;

/// Requests that wait for the connection; more are refused with false.
const ASKS_MAX: usize = 32;
/// Longest message that goes to the message handler, unless the script says otherwise.
const MESSAGE_MAX_BYTES: usize = 1024;
const KEEP_ALIVE_SECONDS: u16 = 60;
const PORT: u16 = 1883;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let mqtt = lua.create_table()?;
    let codes = [
        ("CONN_FAIL_SERVER_NOT_FOUND", mqtt_client::SERVER_NOT_FOUND),
        ("CONN_FAIL_NOT_A_CONNACK_MSG", -4),
        ("CONN_FAIL_DNS", -3),
        ("CONN_FAIL_TIMEOUT_RECEIVING", mqtt_client::TIMEOUT_RECEIVING),
        ("CONN_FAIL_TIMEOUT_SENDING", -1),
        ("CONNACK_ACCEPTED", 0),
        ("CONNACK_REFUSED_PROTOCOL_VER", 1),
        ("CONNACK_REFUSED_ID_REJECTED", 2),
        ("CONNACK_REFUSED_SERVER_UNAVAILABLE", 3),
        ("CONNACK_REFUSED_BAD_USER_OR_PASS", 4),
        ("CONNACK_REFUSED_NOT_AUTHORIZED", 5),
    ];
    for (name, code) in codes {
        mqtt.set(name, code)?;
    }
    let at_work = machine.clone();
    type New = (Value, Option<u16>, Value, Value, Value, Option<usize>);
    add(lua, &mqtt, "Client", move |lua, (id, keep_alive, user, password, clean, max): New| {
        let client_id =
            text(lua, id)?.ok_or_else(|| mlua::Error::runtime("mqtt.Client needs a client id"))?;
        let login = Login {
            client_id: lossy(&client_id),
            keep_alive_seconds: keep_alive.unwrap_or(KEEP_ALIVE_SECONDS),
            user: text(lua, user)?.map(|user| lossy(&user)),
            password: text(lua, password)?.map(|password| password.as_bytes().to_vec()),
            clean_session: !matches!(clean, Value::Integer(0) | Value::Boolean(false)),
            will: None,
        };
        Ok(Client(Rc::new(State {
            machine: at_work.clone(),
            login: RefCell::new(login),
            message_max_bytes: max.unwrap_or(MESSAGE_MAX_BYTES),
            handlers: RefCell::default(),
            asks: RefCell::default(),
            is_connected: Cell::default(),
            waiting: RefCell::default(),
            last_token: Cell::default(),
        })))
    })?;
    lua.globals().set("mqtt", mqtt)
}

/// A client object.
struct Client(Rc<State>);

struct State {
    machine: Rc<Machine>,
    login: RefCell<Login>,
    message_max_bytes: usize,
    /// By event name.
    handlers: RefCell<HashMap<String, Function>>,
    /// Present from connect to the end of the connection.
    asks: RefCell<Option<mpsc::Sender<Ask>>>,
    is_connected: Cell<bool>,
    waiting: RefCell<HashMap<u64, Function>>,
    last_token: Cell<u64>,
}

impl UserData for Client {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("on", |_, client, (event, handler): (LuaString, Option<Function>)| {
            client.0.set_handler(&lossy(&event), handler);
            Ok(())
        });
        methods.add_function("connect", |lua, (this, arguments): (AnyUserData, MultiValue)| {
            let state = this.borrow::<Client>()?.0.clone();
            connect(lua, &state, this, arguments)
        });
        methods.add_method("close", |_, client, ()| {
            let asked = client.0.asks.borrow().as_ref().is_some_and(|asks| asks.try_send(Ask::Close).is_ok());
            client.0.is_connected.set(false);
            Ok(asked)
        });
        type Lwt = (LuaString, LuaString, Option<u8>, Option<u8>);
        methods.add_method("lwt", |_, client, (topic, payload, qos, retain): Lwt| {
            client.0.login.borrow_mut().will = Some(Will {
                topic: lossy(&topic),
                payload: payload.as_bytes().to_vec(),
                qos: level(qos)?,
                retain: retain == Some(1),
            });
            Ok(())
        });
        type Publish = (LuaString, Value, Option<u8>, Option<u8>, Option<Function>);
        methods.add_method("publish", |lua, client, (topic, payload, qos, retain, done): Publish| {
            let payload = text(lua, payload)?.map(|payload| payload.as_bytes().to_vec()).unwrap_or_default();
            let (qos, retain) = (level(qos)?, retain == Some(1));
            client.0.ask(done, |token| Ask::Publish { token, topic: lossy(&topic), payload, qos, retain })
        });
        methods.add_method("subscribe", |_, client, (topics, rest): (Value, Variadic<Value>)| {
            let qos = rest.first().and_then(Value::as_integer).unwrap_or(0).clamp(0, 2) as u8;
            let filters = match topics {
                Value::Table(table) => table
                    .pairs::<LuaString, u8>()
                    .map(|pair| pair.and_then(|(filter, qos)| Ok((lossy(&filter), level(Some(qos))?))))
                    .collect::<mlua::Result<Vec<_>>>()?,
                Value::String(filter) => vec![(lossy(&filter), qos)],
                _ => return Err(mlua::Error::runtime("subscribe needs a topic or a table of topics")),
            };
            client.0.ask(last_function(&rest), |token| Ask::Subscribe { token, filters })
        });
        methods.add_method("unsubscribe", |_, client, (topics, rest): (Value, Variadic<Value>)| {
            let filters = match topics {
                Value::Table(table) => table
                    .pairs::<LuaString, Value>()
                    .map(|pair| Ok(lossy(&pair?.0)))
                    .collect::<mlua::Result<Vec<_>>>()?,
                Value::String(filter) => vec![lossy(&filter)],
                _ => return Err(mlua::Error::runtime("unsubscribe needs a topic or a table of topics")),
            };
            client.0.ask(last_function(&rest), |token| Ask::Unsubscribe { token, filters })
        });
    }
}

fn last_function(values: &[Value]) -> Option<Function> {
    values.iter().rev().find_map(Value::as_function).cloned()
}

fn level(qos: Option<u8>) -> mlua::Result<u8> {
    match qos.unwrap_or(0) {
        level @ 0..=2 => Ok(level),
        _ => Err(mlua::Error::runtime("wrong qos")),
    }
}

/// `connect(host[, port[, secure[, autoreconnect]]][, connected[, failed]])`; the port may be a numeric text.
fn connect(lua: &Lua, state: &Rc<State>, this: AnyUserData, arguments: MultiValue) -> mlua::Result<bool> {
    if state.asks.borrow().is_some() {
        return Err(mlua::Error::runtime("already connected"));
    }
    let mut arguments = arguments.into_iter();
    let host = arguments.next().and_then(|host| text(lua, host).transpose()).transpose()?;
    let host = lossy(&host.ok_or_else(|| mlua::Error::runtime("connect needs a host"))?);
    let rest: Vec<Value> = arguments.collect();
    let first = rest.iter().position(Value::is_function).unwrap_or(rest.len());
    let (plain, functions) = rest.split_at(first);
    // A single function after a nil in the place of the first is the second.
    let skipped = usize::from(first == 3 && functions.len() == 1 && plain[2].is_nil());
    let port = match plain.first() {
        None | Some(Value::Nil) => PORT,
        Some(port) => lua
            .coerce_integer(port.clone())?
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| mlua::Error::runtime("the port is not a number"))?,
    };
    if matches!(plain.get(1), Some(Value::Boolean(true) | Value::Integer(1))) {
        return Err(mlua::Error::runtime("this image has no TLS"));
    }
    for (event, handler) in ["connect", "connfail"][skipped..].iter().zip(functions) {
        state.set_handler(event, handler.as_function().cloned());
    }
    let (sender, mut asks) = mpsc::channel(ASKS_MAX);
    *state.asks.borrow_mut() = Some(sender);
    let login = state.login.borrow().clone();
    let at_work = state.clone();
    let connection = async move {
        let link = at_work.machine.board.link.clone();
        let deliver = async |event| at_work.deliver(&this, event).await;
        mqtt_client::run(&link, (&host, port), &login, &mut asks, deliver).await;
    };
    state.machine.spawn(connection)?;
    Ok(true)
}

impl State {
    fn set_handler(&self, event: &str, handler: Option<Function>) {
        match handler {
            Some(handler) => drop(self.handlers.borrow_mut().insert(event.to_owned(), handler)),
            None => drop(self.handlers.borrow_mut().remove(event)),
        }
    }

    /// False when too much waits already; an error when there is no connection.
    fn ask(&self, done: Option<Function>, ask: impl FnOnce(u64) -> Ask) -> mlua::Result<bool> {
        let asks = self.asks.borrow();
        let Some(asks) = asks.as_ref().filter(|_| self.is_connected.get()) else {
            return Err(mlua::Error::runtime("not connected"));
        };
        let token = self.last_token.get() + 1;
        self.last_token.set(token);
        if asks.try_send(ask(token)).is_err() {
            return Ok(false);
        }
        if let Some(done) = done {
            self.waiting.borrow_mut().insert(token, done);
        }
        Ok(true)
    }

    /// Reports what happened and calls the script's handler for it.
    async fn deliver(self: &Rc<Self>, this: &AnyUserData, event: Event) {
        let (board, client) = (self.machine.board.name.clone(), self.login.borrow().client_id.clone());
        match event {
            Event::Connected => {
                self.is_connected.set(true);
                self.machine.board.console.report(Fact::MqttConnected { board, client });
                self.call("connect", this.clone()).await;
            }
            Event::Refused(code) => {
                self.over();
                let reason = format!("refused with {code}");
                self.machine.board.console.report(Fact::MqttDisconnected { board, client, reason });
                self.call("connfail", (this.clone(), code)).await;
            }
            Event::Lost(reason) => {
                self.over();
                let reason = reason.to_owned();
                self.machine.board.console.report(Fact::MqttDisconnected { board, client, reason });
                self.call("offline", this.clone()).await;
            }
            Event::Closed => {
                self.over();
                let reason = "closed by the script".to_owned();
                self.machine.board.console.report(Fact::MqttDisconnected { board, client, reason });
            }
            Event::Done(token) => {
                let done = self.waiting.borrow_mut().remove(&token);
                if let Some(done) = done {
                    let this = this.clone();
                    self.machine.post(move |_| done.call(this)).await;
                }
            }
            Event::Message { topic, payload } => self.message(this, topic, payload).await,
        }
    }

    fn over(&self) {
        self.is_connected.set(false);
        *self.asks.borrow_mut() = None;
        self.waiting.borrow_mut().clear();
    }

    async fn message(&self, this: &AnyUserData, topic: String, mut payload: Vec<u8>) {
        let event = if payload.len() > self.message_max_bytes { "overflow" } else { "message" };
        payload.truncate(self.message_max_bytes);
        let Some(handler) = self.handlers.borrow().get(event).cloned() else { return };
        let this = this.clone();
        let turn = move |lua: &Lua| {
            // An empty payload is nil to the script.
            let data = if payload.is_empty() { None } else { Some(lua.create_string(payload)?) };
            handler.call((this, topic, data))
        };
        self.machine.post(turn).await;
    }

    async fn call(&self, event: &str, arguments: impl IntoLuaMulti + 'static) {
        let Some(handler) = self.handlers.borrow().get(event).cloned() else { return };
        self.machine.post(move |_| handler.call(arguments)).await;
    }
}
