//! `wifi`: the station. Every network name and password is right; the address is there a moment after asking.
//! Left out: access point, scanning, WPS, smart config and the old `sta.eventMonReg`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, IntoLuaMulti, Lua, LuaString, Table, Value, Variadic};
use tokio::task::AbortHandle;

use super::{add, lossy};
use crate::nodemcu::machine::Machine;

const STA_CONNECTED: u8 = 0;
const STA_DISCONNECTED: u8 = 1;
const STA_GOT_IP: u8 = 3;
/// The reason a station gives when the access point has gone.
const REASON_BEACON_TIMEOUT: u8 = 200;

/// The state of the station in this life of the board.
struct Station {
    machine: Rc<Machine>,
    mode: Cell<u8>,
    joined: Cell<bool>,
    joining: RefCell<Option<AbortHandle>>,
    handlers: RefCell<BTreeMap<u8, Function>>,
}

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let station = Rc::new(Station {
        machine: machine.clone(),
        mode: Cell::new(1),
        joined: Cell::new(false),
        joining: RefCell::default(),
        handlers: RefCell::default(),
    });
    let wifi = lua.create_table()?;
    let constants = [("NULLMODE", 0), ("STATION", 1), ("SOFTAP", 2), ("STATIONAP", 3)];
    let status =
        [("STA_IDLE", 0), ("STA_CONNECTING", 1), ("STA_WRONGPWD", 2), ("STA_APNOTFOUND", 3), ("STA_FAIL", 4)];
    let more = [("STA_GOTIP", 5), ("PHYMODE_B", 1), ("PHYMODE_G", 2), ("PHYMODE_N", 3), ("NONE_SLEEP", 0)];
    for (name, value) in
        constants.into_iter().chain(status).chain(more).chain([("LIGHT_SLEEP", 1), ("MODEM_SLEEP", 2)])
    {
        wifi.set(name, value)?;
    }
    let at = station.clone();
    add(lua, &wifi, "setmode", move |_, (mode, _): (u8, Variadic<Value>)| {
        at.mode.set(mode);
        Ok(mode)
    })?;
    let at = station.clone();
    add(lua, &wifi, "getmode", move |_, ()| Ok(at.mode.get()))?;
    for name in ["setphymode", "getphymode", "sleeptype"] {
        add(lua, &wifi, name, |_, value: Value| Ok(value))?;
    }
    wifi.set("sta", sta(lua, &station)?)?;
    wifi.set("eventmon", eventmon(lua, &station)?)?;
    lua.globals().set("wifi", wifi)?;
    if machine.board.station.borrow().is_some() {
        station.join()?;
    }
    Ok(())
}

fn sta(lua: &Lua, station: &Rc<Station>) -> mlua::Result<Table> {
    let sta = lua.create_table()?;
    install_config(lua, station, &sta)?;
    let chip_id = station.machine.board.chip_id;
    let [_, a, b, c] = chip_id.to_be_bytes();
    let at = station.clone();
    add(lua, &sta, "getip", move |lua, ()| {
        // One nil, not three, without an address.
        let address = (format!("10.{a}.{b}.{c}"), "255.0.0.0", "10.0.0.1");
        if at.joined.get() { address.into_lua_multi(lua) } else { Value::Nil.into_lua_multi(lua) }
    })?;
    let at = station.clone();
    add(lua, &sta, "status", move |_, ()| {
        Ok(if at.joined.get() { 5 } else { u8::from(at.joining.borrow().is_some()) })
    })?;
    let at = station.clone();
    add(lua, &sta, "getrssi", move |_, ()| Ok(at.joined.get().then_some(-40 - i64::from(c) % 40)))?;
    add(lua, &sta, "getmac", move |_, ()| Ok(format!("5c:cf:7f:{a:02x}:{b:02x}:{c:02x}")))?;
    add(lua, &sta, "gethostname", move |_, ()| Ok(format!("NODE-{:06X}", chip_id & 0xff_ffff)))?;
    for name in ["sethostname", "setip", "sleeptype", "setmac"] {
        add(lua, &sta, name, |_, _: Variadic<Value>| Ok(true))?;
    }
    Ok(sta)
}

fn install_config(lua: &Lua, station: &Rc<Station>, sta: &Table) -> mlua::Result<()> {
    let at = station.clone();
    add(lua, sta, "config", move |_, config: Table| {
        let ssid: LuaString = config.get("ssid")?;
        let pwd: Option<LuaString> = config.get("pwd")?;
        let pwd = pwd.map(|pwd| pwd.as_bytes().to_vec()).unwrap_or_default();
        *at.machine.board.station.borrow_mut() = Some((ssid.as_bytes().to_vec(), pwd));
        let auto: Option<bool> = config.get("auto")?;
        if auto.unwrap_or(true) {
            at.join()?;
        }
        Ok(true)
    })?;
    let at = station.clone();
    add(lua, sta, "getconfig", move |lua, _: Variadic<Value>| {
        let (ssid, pwd) = at.machine.board.station.borrow().clone().unwrap_or_default();
        Ok((lua.create_string(ssid)?, lua.create_string(pwd)?, 0, "ff:ff:ff:ff:ff:ff"))
    })?;
    let at = station.clone();
    add(lua, sta, "autoconnect", move |_, _: Variadic<Value>| at.join_if_known())?;
    let at = station.clone();
    add(lua, sta, "connect", move |_, _: Variadic<Value>| at.join_if_known())?;
    let at = station.clone();
    add(lua, sta, "disconnect", move |_, _: Variadic<Value>| {
        at.joined.set(false);
        if let Some(task) = at.joining.borrow_mut().take() {
            task.abort();
        }
        Ok(())
    })
}

fn eventmon(lua: &Lua, station: &Rc<Station>) -> mlua::Result<Table> {
    let eventmon = lua.create_table()?;
    let events = [
        ("STA_CONNECTED", STA_CONNECTED),
        ("STA_DISCONNECTED", STA_DISCONNECTED),
        ("STA_GOT_IP", STA_GOT_IP),
    ];
    for (name, value) in events.into_iter().chain([("STA_AUTHMODE_CHANGE", 2), ("STA_DHCP_TIMEOUT", 4)]) {
        eventmon.set(name, value)?;
    }
    let at = station.clone();
    add(lua, &eventmon, "register", move |_, (event, handler): (u8, Option<Function>)| {
        match handler {
            Some(handler) => drop(at.handlers.borrow_mut().insert(event, handler)),
            None => drop(at.handlers.borrow_mut().remove(&event)),
        }
        Ok(())
    })?;
    let at = station.clone();
    add(lua, &eventmon, "unregister", move |_, event: u8| {
        at.handlers.borrow_mut().remove(&event);
        Ok(())
    })?;
    Ok(eventmon)
}

impl Station {
    fn join_if_known(self: &Rc<Self>) -> mlua::Result<()> {
        let is_known = self.machine.board.station.borrow().is_some();
        if is_known { self.join() } else { Ok(()) }
    }

    /// Follows the radio from now on: joined while it is up, not joined while it is down.
    fn join(self: &Rc<Self>) -> mlua::Result<()> {
        if self.joining.borrow().is_some() {
            return Ok(());
        }
        let station = self.clone();
        let follow = async move {
            let link = station.machine.board.link.clone();
            let wait = Duration::from_millis(station.machine.board.settings.wifi_join_ms);
            loop {
                link.until(true).await;
                tokio::time::sleep(wait).await;
                if !link.is_up() {
                    continue;
                }
                station.joined.set(true);
                station.tell(STA_CONNECTED).await;
                station.tell(STA_GOT_IP).await;
                link.until(false).await;
                station.joined.set(false);
                station.tell(STA_DISCONNECTED).await;
            }
        };
        *self.joining.borrow_mut() = Some(self.machine.spawn(follow)?);
        Ok(())
    }

    async fn tell(&self, event: u8) {
        let Some(handler) = self.handlers.borrow().get(&event).cloned() else { return };
        let (ssid, _) = self.machine.board.station.borrow().clone().unwrap_or_default();
        let [_, a, b, c] = self.machine.board.chip_id.to_be_bytes();
        let turn = move |lua: &Lua| {
            let details = lua.create_table()?;
            match event {
                STA_GOT_IP => {
                    details.set("IP", format!("10.{a}.{b}.{c}"))?;
                    details.set("netmask", "255.0.0.0")?;
                    details.set("gateway", "10.0.0.1")?;
                }
                _ => {
                    details.set("SSID", lossy(&lua.create_string(ssid)?))?;
                    details.set("BSSID", "02:00:00:00:00:01")?;
                    details.set("channel", 6)?;
                    details.set("reason", (event == STA_DISCONNECTED).then_some(REASON_BEACON_TIMEOUT))?;
                }
            }
            handler.call(details)
        };
        self.machine.post(turn).await;
    }
}
