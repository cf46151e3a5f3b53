//! One life of a board, from a boot to the next: its Lua state's surroundings, the turns that wait to run in
//! it, the tasks that work for it, and the watchdog. Everything of it is gone after a restart.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, VmState};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::board::Board;
use super::console;
use super::module;
use super::order::{BootReason, Fact};

/// Turns that wait for Lua; whoever posts more has to wait too.
const TURNS_MAX: usize = 32;
/// Timers, sockets and requests at work at once.
const TASKS_MAX: usize = 128;
/// How many Lua instructions run between two looks at the clock.
const HOOK_INSTRUCTIONS: u32 = 10_000;

/// Where the handler of `node.setonerror` is kept in a Lua state.
pub(crate) const ON_ERROR: &str = "onerror";

/// A piece of work in the Lua state: usually the call of a callback.
pub(crate) type Turn = Box<dyn FnOnce(&Lua) -> mlua::Result<()>>;

/// How a life ends.
pub(crate) enum Ending {
    Restart,
    Reset,
    Panic(String),
    Watchdog,
    PowerCut,
    DeepSleep(Duration),
}

/// The surroundings of one Lua state.
pub(crate) struct Machine {
    pub(crate) board: Rc<Board>,
    pub(crate) reason: BootReason,
    booted_at: Instant,
    turns: mpsc::Sender<Turn>,
    tasks: RefCell<JoinSet<()>>,
    ending: RefCell<Option<Ending>>,
    has_ended: Notify,
    entered_at: Cell<Option<Instant>>,
    /// `tmr.delay` lets other boards run: the time is paid after the turn.
    owed: Cell<Duration>,
    memory_limit: Cell<usize>,
    /// What `node.stripdebug` says: from 2 on, compiled files lose their debug information.
    pub(crate) strip_level: Cell<u8>,
}

impl Machine {
    pub(crate) fn new(board: Rc<Board>, reason: BootReason) -> (Rc<Self>, mpsc::Receiver<Turn>) {
        let (turns, waiting) = mpsc::channel(TURNS_MAX);
        let machine = Self {
            board,
            reason,
            booted_at: Instant::now(),
            turns,
            tasks: RefCell::default(),
            ending: RefCell::default(),
            has_ended: Notify::new(),
            entered_at: Cell::new(None),
            owed: Cell::default(),
            memory_limit: Cell::new(usize::MAX),
            strip_level: Cell::new(1),
        };
        (Rc::new(machine), waiting)
    }

    /// A fresh Lua state with the board's modules, its memory limit and its watchdog.
    pub(crate) fn lua(self: &Rc<Self>) -> mlua::Result<Lua> {
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::new())?;
        module::install(&lua, self)?;
        // The firmware collects before it gives up; 5.1 does not, so garbage is kept small instead.
        lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(100).step_multiplier(400)));
        lua.gc_collect()?;
        lua.gc_collect()?;
        self.memory_limit.set(lua.used_memory() + self.board.settings.memory_bytes);
        lua.set_memory_limit(self.memory_limit.get())?;
        let machine = self.clone();
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS), move |_, _| {
            machine.watch().map(|()| VmState::Continue)
        })?;
        Ok(lua)
    }

    /// Called between instructions: ends what runs too long, and what runs on after the end.
    fn watch(&self) -> mlua::Result<()> {
        let limit = Duration::from_millis(self.board.settings.watchdog_ms);
        if self.entered_at.get().is_some_and(|at| at.elapsed() > limit) {
            self.end(Ending::Watchdog);
        }
        if self.is_ending() { Err(mlua::Error::runtime("the board restarts")) } else { Ok(()) }
    }

    /// Runs a turn. An error of it ends this life.
    pub(crate) fn enter(&self, lua: &Lua, turn: Turn) {
        self.feed_watchdog();
        self.board.turn_clock.start();
        let result = turn(lua);
        self.board.turn_clock.stop();
        if let Err(error) = result
            && !self.is_ending()
        {
            self.fail(lua, &error);
        }
        self.entered_at.set(None);
        let half = self.memory_limit.get() - self.board.settings.memory_bytes / 2;
        if lua.used_memory() > half && lua.gc_collect().is_err() {
            self.end(Ending::Panic("not enough memory".into()));
        }
    }

    /// An uncaught error: the script's own handler sees it, or the board panics.
    fn fail(&self, lua: &Lua, error: &mlua::Error) {
        let text = console::text(module::error_text(error, true).as_bytes());
        let handler = lua.named_registry_value::<Option<Function>>(ON_ERROR).ok().flatten();
        // What the failed turn held is garbage now; the handler needs room.
        let handled = lua.gc_collect().and_then(|()| match handler {
            Some(handler) => handler.call::<()>(text.as_str()).map(|()| true),
            None => Ok(false),
        });
        if !matches!(handled, Ok(true)) {
            self.end(Ending::Panic(text));
        }
    }

    /// Gives the running turn the full time again.
    pub(crate) fn feed_watchdog(&self) {
        self.entered_at.set(Some(Instant::now()));
    }

    /// Waits for room and posts a turn.
    pub(crate) async fn post(&self, turn: impl FnOnce(&Lua) -> mlua::Result<()> + 'static) {
        // The receiver is gone only when this life is over.
        let _ = self.turns.send(Box::new(turn)).await;
    }

    /// Posts a turn from within Lua; false when too many wait.
    pub(crate) fn try_post(&self, turn: impl FnOnce(&Lua) -> mlua::Result<()> + 'static) -> bool {
        self.turns.try_send(Box::new(turn)).is_ok()
    }

    /// Starts work that ends with this life at the latest.
    pub(crate) fn spawn(
        &self,
        work: impl Future<Output = ()> + 'static,
    ) -> mlua::Result<tokio::task::AbortHandle> {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= TASKS_MAX {
            return Err(mlua::Error::runtime("too many timers and sockets"));
        }
        Ok(tasks.spawn_local(work))
    }

    /// Ends this life; the first reason stays, except that a power cut beats all.
    pub(crate) fn end(&self, ending: Ending) {
        let mut first = self.ending.borrow_mut();
        if first.is_none() || matches!(ending, Ending::PowerCut) {
            *first = Some(ending);
        }
        self.has_ended.notify_one();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Whether not one more instruction may run: the processor has stopped.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(*self.ending.borrow(), Some(Ending::PowerCut | Ending::Watchdog))
    }

    /// Changes the flash by `wanted` bytes, or by those that are written before the power goes.
    pub(crate) fn write<T>(&self, wanted: usize, act: impl FnOnce(usize) -> T) -> mlua::Result<T> {
        let cut_at = &self.board.flash.cut_at;
        let left = cut_at.get().map_or(wanted, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if self.is_dead() {
            return Err(mlua::Error::runtime("the board has no power"));
        } else if left < wanted {
            act(left);
            cut_at.set(None);
            self.end(Ending::PowerCut);
            return Err(mlua::Error::runtime("the board has no power"));
        }
        cut_at.set(cut_at.get().map(|left| left - wanted as u64));
        Ok(act(wanted))
    }

    /// Waits for the end, stops all work and tells why.
    pub(crate) async fn ended(&self) -> Ending {
        loop {
            if let Some(ending) = self.ending.borrow_mut().take() {
                self.tasks.borrow_mut().abort_all();
                return ending;
            }
            self.has_ended.notified().await;
        }
    }

    /// Time since boot as the script sees it.
    pub(crate) fn uptime(&self) -> Duration {
        self.booted_at.elapsed() * self.board.settings.speed + self.owed.get()
    }

    /// Lets the script believe that time passed; it is paid after the turn.
    pub(crate) fn owe(&self, time: Duration) {
        self.owed.set(self.owed.get() + time);
    }

    /// Pays what is owed.
    pub(crate) async fn pay(&self) {
        if !self.owed.get().is_zero() {
            tokio::time::sleep(self.owed.get() / self.board.settings.speed).await;
            self.owed.set(Duration::ZERO);
        }
    }

    /// Lua memory left.
    pub(crate) fn heap_bytes(&self, lua: &Lua) -> usize {
        self.memory_limit.get().saturating_sub(lua.used_memory())
    }

    /// Reports a line of console output.
    pub(crate) fn print(&self, line: &[u8]) {
        self.board.console.report(Fact::Print { board: self.board.name.clone(), text: console::text(line) });
    }
}

/// Tells a watching thread for how long the running turn has not come back.
pub(crate) struct TurnClock {
    base: Instant,
    /// Milliseconds since `base`, plus one; 0 while no turn runs.
    started: AtomicU64,
}

impl TurnClock {
    pub(crate) fn new() -> Self {
        Self { base: Instant::now(), started: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_millis() as u64 + 1
    }

    fn start(&self) {
        self.started.store(self.now(), Ordering::Relaxed);
    }

    fn stop(&self) {
        self.started.store(0, Ordering::Relaxed);
    }

    /// How long the running turn has been running.
    pub(crate) fn running(&self) -> Duration {
        match self.started.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            started => Duration::from_millis(self.now().saturating_sub(started)),
        }
    }

    /// Seconds since the group started; sensors follow it.
    pub(crate) fn seconds(&self) -> f64 {
        self.base.elapsed().as_secs_f64()
    }
}
