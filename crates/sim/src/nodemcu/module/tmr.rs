//! `tmr`: timer objects and the clock since boot. Left out: the numbered timers of old images and
//! `tmr.softwd`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mlua::{AnyUserData, Function, Lua, UserData, UserDataMethods, Value, Variadic};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::add;
use crate::nodemcu::machine::Machine;

/// `tmr.ALARM_SINGLE`, `ALARM_AUTO`, `ALARM_SEMI`.
const SINGLE: u8 = 0;
const AUTO: u8 = 1;
const SEMI: u8 = 2;
/// Longest interval of the firmware.
const INTERVAL_MAX_MS: u64 = 0x7fff_ffff;
/// Longest busy wait.
const DELAY_MAX_US: u64 = 10_000_000;

pub(super) fn install(lua: &Lua, machine: &Rc<Machine>) -> mlua::Result<()> {
    let tmr = lua.create_table()?;
    for (name, value) in [("ALARM_SINGLE", SINGLE), ("ALARM_AUTO", AUTO), ("ALARM_SEMI", SEMI)] {
        tmr.set(name, value)?;
    }
    let at_work = machine.clone();
    add(lua, &tmr, "create", move |_, ()| Ok(Timer { machine: at_work.clone(), state: Rc::default() }))?;
    let at_work = machine.clone();
    add(lua, &tmr, "now", move |_, ()| Ok(at_work.uptime().as_micros() as u64 & 0x7fff_ffff))?;
    let at_work = machine.clone();
    add(lua, &tmr, "ccount", move |_, ()| Ok((at_work.uptime().as_micros() as u64 * 80) & 0xffff_ffff))?;
    let at_work = machine.clone();
    add(lua, &tmr, "time", move |_, ()| Ok(at_work.uptime().as_secs()))?;
    let at_work = machine.clone();
    add(lua, &tmr, "wdclr", move |_, ()| {
        at_work.feed_watchdog();
        Ok(())
    })?;
    let at_work = machine.clone();
    add(lua, &tmr, "delay", move |_, microseconds: u64| {
        at_work.owe(Duration::from_micros(microseconds.min(DELAY_MAX_US)));
        Ok(())
    })?;
    for name in ["suspend_all", "resume_all"] {
        add(lua, &tmr, name, |_, _: Variadic<Value>| Ok(()))?;
    }
    lua.globals().set("tmr", tmr)
}

/// A timer object.
struct Timer {
    machine: Rc<Machine>,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    registered: Option<Registered>,
    running: Option<AbortHandle>,
    /// Counts starts and stops, so that a turn that was posted before a stop does nothing.
    generation: u64,
}

#[derive(Clone)]
struct Registered {
    interval: Duration,
    mode: u8,
    callback: Function,
}

impl State {
    fn stop(&mut self) -> bool {
        self.generation += 1;
        self.running.take().map(|task| task.abort()).is_some()
    }
}

impl UserData for Timer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("register", |_, timer, arguments| timer.register(arguments));
        methods.add_function("alarm", |_, (this, ms, mode, callback): (AnyUserData, u64, u8, Function)| {
            this.borrow::<Timer>()?.register((ms, mode, callback))?;
            start(&this)
        });
        methods.add_function("start", |_, this: AnyUserData| start(&this));
        methods.add_method("stop", |_, timer, ()| Ok(timer.state.borrow_mut().stop()));
        methods.add_method("unregister", |_, timer, ()| {
            let mut state = timer.state.borrow_mut();
            state.stop();
            state.registered = None;
            Ok(())
        });
        methods.add_function("interval", |_, (this, ms): (AnyUserData, u64)| {
            let was_running = {
                let timer = this.borrow::<Timer>()?;
                let mut state = timer.state.borrow_mut();
                let registered =
                    state.registered.as_mut().ok_or_else(|| mlua::Error::runtime("timer not registered"))?;
                registered.interval = interval(ms)?;
                state.stop()
            };
            if was_running { start(&this).map(|_| ()) } else { Ok(()) }
        });
        methods.add_method("state", |_, timer, ()| {
            let state = timer.state.borrow();
            Ok(state
                .registered
                .as_ref()
                .map_or((None, None), |registered| (Some(state.running.is_some()), Some(registered.mode))))
        });
    }
}

impl Timer {
    fn register(&self, (ms, mode, callback): (u64, u8, Function)) -> mlua::Result<()> {
        if mode > SEMI {
            return Err(mlua::Error::runtime("invalid mode"));
        }
        let mut state = self.state.borrow_mut();
        state.stop();
        state.registered = Some(Registered { interval: interval(ms)?, mode, callback });
        Ok(())
    }
}

fn interval(ms: u64) -> mlua::Result<Duration> {
    match ms {
        1..=INTERVAL_MAX_MS => Ok(Duration::from_millis(ms)),
        _ => Err(mlua::Error::runtime("interval is out of range")),
    }
}

/// Starts a registered timer that does not run yet; false otherwise.
fn start(this: &AnyUserData) -> mlua::Result<bool> {
    let timer = this.borrow::<Timer>()?;
    let mut state = timer.state.borrow_mut();
    let Some(registered) = state.registered.clone().filter(|_| state.running.is_none()) else {
        return Ok(false);
    };
    state.generation += 1;
    let ticks = tick(timer.machine.clone(), this.clone(), timer.state.clone(), registered, state.generation);
    state.running = Some(timer.machine.spawn(ticks)?);
    Ok(true)
}

async fn tick(
    machine: Rc<Machine>,
    this: AnyUserData,
    state: Rc<RefCell<State>>,
    registered: Registered,
    run: u64,
) {
    let interval = registered.interval / machine.board.settings.speed;
    let mut at = Instant::now() + interval;
    loop {
        sleep_until(at).await;
        at = Instant::now().max(at + interval);
        let (this, state, callback) = (this.clone(), state.clone(), registered.callback.clone());
        let mode = registered.mode;
        machine
            .post(move |_| {
                {
                    let mut state = state.borrow_mut();
                    if state.generation != run {
                        return Ok(());
                    }
                    if mode != AUTO {
                        state.stop();
                    }
                    if mode == SINGLE {
                        state.registered = None;
                    }
                }
                callback.call(this)
            })
            .await;
        if mode != AUTO {
            return;
        }
    }
}
