//! The light sensor: after each interval the decimal value of its ADC and `\n`, until the other end goes. It never
//! reads what it is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::unit::{Ended, Mood, Order, Unit};

/// How long a unit that is slow takes for a byte.
const BYTE: Duration = Duration::from_millis(200);

pub(super) async fn serve(unit: &Unit, mut stream: TcpStream, orders: &mut mpsc::Receiver<Order>) -> Ended {
    let first = tokio::time::Instant::now() + unit.config.interval;
    let mut ticks = interval_at(first, unit.config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ignored = [0; 256];
    loop {
        let said = tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Say(bytes)) => stream.write_all(&bytes).await,
                Some(order) => return Ended::By(order, stream),
                None => return Ended::Closed,
            },
            _ = ticks.tick() => {
                let mood = *unit.mood.borrow();
                if mood == Mood::Deaf {
                    continue;
                }
                let number = unit.sent.load(Ordering::SeqCst) + 1;
                let value = if unit.config.counting { number } else { number * 37 % 1024 };
                let said = say(&mut stream, format!("{value}\n").as_bytes(), mood).await;
                if said.is_ok() {
                    unit.sent.store(number, Ordering::SeqCst);
                }
                said
            }
            read = stream.read(&mut ignored) => match read {
                Ok(0) | Err(_) => return Ended::Closed,
                Ok(_) => Ok(()),
            },
        };
        if said.is_err() {
            return Ended::Closed;
        }
    }
}

async fn say(stream: &mut TcpStream, bytes: &[u8], mood: Mood) -> std::io::Result<()> {
    if mood != Mood::Slow {
        return stream.write_all(bytes).await;
    }
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        sleep(BYTE).await;
    }
    Ok(())
}
