//! A board across its restarts: what flash, radio and RTC memory keep, and the loop of boot, run, end, boot.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::console::Console;
use super::flash::Flash;
use super::link::Link;
use super::machine::{Ending, Machine, TurnClock};
use super::module;
use super::order::{BoardSettings, BootReason, Fact, Order};
use super::sensor::Sensors;

/// Everything of a board that a restart does not touch.
pub(crate) struct Board {
    pub(crate) chip_id: u32,
    /// The chip id as text, as facts have it.
    pub(crate) name: String,
    pub(crate) settings: Rc<BoardSettings>,
    pub(crate) flash: Flash,
    pub(crate) link: Rc<Link>,
    pub(crate) sensors: RefCell<Sensors>,
    pub(crate) console: Console,
    pub(crate) turn_clock: Arc<TurnClock>,
    /// Microseconds that the RTC is ahead of the fleet's clock, once set; a power cut loses it.
    pub(crate) rtc_offset: Cell<Option<i64>>,
    /// The Wi-Fi network saved by `wifi.sta.config`.
    pub(crate) station: RefCell<Option<(Vec<u8>, Vec<u8>)>>,
}

/// Runs a board until its orders end.
pub(crate) async fn live(board: Rc<Board>, mut orders: mpsc::Receiver<Order>, first: Option<BootReason>) {
    let mut next = first;
    loop {
        let Some(reason) = next else {
            match orders.recv().await {
                None => return,
                Some(Order::PowerOn) => next = Some(BootReason::PowerOn),
                Some(order) => drop(board.obey(order)),
            }
            continue;
        };
        let Some(ending) = run(&board, reason, &mut orders).await else { return };
        let delay = Duration::from_millis(board.settings.boot_delay_ms);
        let (reason, delay) = match ending {
            Ending::Restart => (BootReason::Restart, delay),
            Ending::Reset => (BootReason::Reset, delay),
            Ending::Watchdog => (BootReason::Watchdog, delay),
            Ending::DeepSleep(time) => (BootReason::DeepSleep, time),
            Ending::Panic(error) => {
                board.console.report(Fact::Panic { board: board.name.clone(), error });
                (BootReason::Panic, delay)
            }
            Ending::PowerCut => {
                next = board.without_power();
                continue;
            }
        };
        next = match pause(&board, delay, &mut orders).await {
            Some(true) => Some(reason),
            Some(false) => board.without_power(),
            None => return,
        };
    }
}

/// One life; `None` when the orders ended.
async fn run(board: &Rc<Board>, reason: BootReason, orders: &mut mpsc::Receiver<Order>) -> Option<Ending> {
    let (machine, mut turns) = Machine::new(board.clone(), reason);
    board.console.report(Fact::Boot { board: board.name.clone(), reason });
    let lua = match machine.lua() {
        Ok(lua) => lua,
        Err(error) => return Some(Ending::Panic(error.to_string())),
    };
    module::boot(&machine, &lua);
    loop {
        let next = async {
            machine.pay().await;
            turns.recv().await
        };
        tokio::select! {
            biased;
            ending = machine.ended() => return Some(ending),
            order = orders.recv() => match order {
                None => {
                    machine.end(Ending::Reset);
                    machine.ended().await;
                    return None;
                }
                Some(order) => drop(board.obey(order).map(|ending| machine.end(ending))),
            },
            turn = next => drop(turn.map(|turn| machine.enter(&lua, turn))),
        }
    }
}

/// Waits until the board boots: `Some(false)` when the power went meanwhile, `None` when the orders ended.
async fn pause(board: &Board, delay: Duration, orders: &mut mpsc::Receiver<Order>) -> Option<bool> {
    let until = Instant::now() + delay;
    loop {
        tokio::select! {
            () = sleep_until(until) => return Some(true),
            order = orders.recv() => match board.obey(order?) {
                Some(Ending::PowerCut) => return Some(false),
                Some(Ending::Reset) => return Some(true),
                _ => {}
            },
        }
    }
}

impl Board {
    /// Does what an order says; some orders end the present life.
    fn obey(&self, order: Order) -> Option<Ending> {
        match order {
            Order::PowerCut => return Some(Ending::PowerCut),
            Order::Restart => return Some(Ending::Reset),
            Order::PowerOn => {}
            Order::PowerCutAtByte { bytes } => self.link.cut_at.set(Some(bytes)),
            Order::PowerCutAtWrite { bytes } => self.flash.cut_at.set(Some(bytes)),
            Order::WifiOff => self.link.change(|air| air.up = false),
            Order::WifiOn => self.link.change(|air| air.up = true),
            Order::SlowLink { bytes_per_second: rate } => self.link.change(|air| air.bytes_per_second = rate),
        }
        None
    }

    fn without_power(&self) -> Option<BootReason> {
        self.rtc_offset.set(None);
        self.console.report(Fact::PowerCut { board: self.name.clone() });
        None
    }
}
