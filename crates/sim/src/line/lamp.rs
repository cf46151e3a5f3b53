//! The lamp: it reads a text up to `\r`, or until nothing came for a second, and shows the colour that the text begins
//! with. It answers nothing; a text that is no colour leaves it as it is.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::colour;
use super::unit::{Ended, Mood, Order, Unit};

/// After so long without a byte a text is over.
const STREAM_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn serve(unit: &Unit, mut stream: TcpStream, orders: &mut mpsc::Receiver<Order>) -> Ended {
    let (mut text, mut is_closed) = (Vec::new(), false);
    let mut mood = unit.mood.subscribe();
    loop {
        let is_deaf = *mood.borrow_and_update() == Mood::Deaf;
        let mut byte = [0];
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Say(_)) => {}
                Some(order) => return Ended::By(order, stream),
                None => return Ended::Closed,
            },
            _ = mood.changed() => {}
            read = stream.read(&mut byte), if !is_deaf && !is_closed => match read {
                Ok(1..) if byte[0] == b'\r' => told(unit, &mut text),
                Ok(1..) => text.push(byte[0]),
                // What came before the end is waited for all the same, as the firmware does.
                Ok(0) if !text.is_empty() => is_closed = true,
                Ok(0) | Err(_) => return Ended::Closed,
            },
            () = sleep(STREAM_TIMEOUT), if !is_deaf && !text.is_empty() => {
                told(unit, &mut text);
                if is_closed {
                    return Ended::Closed;
                }
            }
        }
    }
}

fn told(unit: &Unit, text: &mut Vec<u8>) {
    let said = String::from_utf8_lossy(&std::mem::take(text)).into_owned();
    unit.told.fetch_add(1, Ordering::SeqCst);
    let shown = colour::parse(&said);
    if shown.is_some() {
        *unit.colour.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
    let shown = shown.map(|(r, g, b)| format!("#{r:02x}{g:02x}{b:02x}"));
    unit.say("told", &json!({ "text": said, "colour": shown }));
}
