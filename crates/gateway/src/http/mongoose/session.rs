//! One connection of a device: its frames in, our calls out. What it says is taken in the order in which it said it,
//! and what it asked is answered when that is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Offer, Outcome, Uplink};
use motehub_protocol::mongoose::{self, Buffer, Fault, Frame, Heard};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Door;
use super::calls::{self, About, Calls};
use super::taking::{Taken, Waiting, take};
use super::transfer::{Next, Transfer};
use crate::hub::Hub;

/// How many messages of a device wait to be taken; reading pauses then.
const WAITING_MAX: usize = 64;
/// How long a frame may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long a device may take to say what it is.
const INTRODUCTION_MAX: Duration = Duration::from_secs(10);
/// How long a device may take to say that it took a delta.
const DELTA_MAX: Duration = Duration::from_secs(10);
/// How long it may take to say that it keeps its firmware.
const COMMIT_MAX: Duration = Duration::from_secs(20);
/// A call that means nothing is answered with this code.
const CODE_INVALID: i64 = 400;

/// One connection.
pub(super) struct Session {
    door: Arc<Door>,
    device: DeviceId,
    socket: WebSocket,
    buffer: Buffer,
    calls: Calls,
    waiting: VecDeque<Waiting>,
    /// What the device said it is, until it said whether it keeps its firmware.
    info: Option<Value>,
    /// Where it reached us.
    origin: Option<String>,
    /// The firmware that it is offered.
    offered: Option<Offer>,
    /// The firmware that it is given.
    transfer: Option<Transfer>,
    heard_at: Instant,
    pinged_at: Instant,
}

/// The connection is over.
struct Over;

impl Session {
    pub(super) fn new(door: Arc<Door>, device: DeviceId, origin: Option<String>, socket: WebSocket) -> Self {
        let now = Instant::now();
        Self {
            door,
            device,
            socket,
            buffer: Buffer::default(),
            calls: Calls::default(),
            waiting: VecDeque::new(),
            info: None,
            origin,
            offered: None,
            transfer: None,
            heard_at: now,
            pinged_at: now,
        }
    }

    /// Talks until either side ends it, a newer connection replaces it, or the hub stops.
    pub(super) async fn run(mut self, mut downlinks: mpsc::Receiver<Downlink>, replaced: CancellationToken) {
        let shutdown = self.door.shutdown.clone();
        let door = self.door.clone();
        let hub = door.hub.as_ref();
        let mut taking = FuturesUnordered::new();
        tokio::select! {
            Err(Over) = self.talk(&mut downlinks, hub, &mut taking) => {}
            () = replaced.cancelled() => {}
            () = shutdown.cancelled() => {}
        }
        // What it said before its end counts, also what is being taken at this moment.
        while taking.next().await.is_some() {}
        // Orders that were not said yet are still to be said: only those that were are answered here.
        let mut last: Vec<Waiting> = self.waiting.drain(..).collect();
        last.extend(self.calls.abandoned().into_iter().map(Waiting::from));
        take(hub, self.device, last).await;
        let _ = self.send(Message::Close(None)).await;
    }

    async fn talk<'a>(
        &mut self,
        downlinks: &mut mpsc::Receiver<Downlink>,
        hub: &'a dyn Hub,
        taking: &mut FuturesUnordered<BoxFuture<'a, Taken>>,
    ) -> Result<(), Over> {
        self.call(mongoose::GET_INFO, &Value::Null, About::Introduction, INTRODUCTION_MAX).await?;
        loop {
            if taking.is_empty() && self.is_introduced() {
                self.take_up_offer().await?;
            }
            if taking.is_empty() && !self.waiting.is_empty() {
                let waiting = self.waiting.drain(..).collect();
                taking.push(Box::pin(take(hub, self.device, waiting)));
            }
            let moment = self.next_moment();
            tokio::select! {
                message = self.socket.recv(), if self.waiting.len() < WAITING_MAX => self.read(message).await?,
                Some(taken) = taking.next(), if !taking.is_empty() => {
                    for answer in taken.answers {
                        self.send(Message::Text(answer.into())).await?;
                    }
                    if taken.is_lost {
                        // It will say it again when it comes back.
                        return Err(Over);
                    }
                }
                downlink = downlinks.recv() => match downlink {
                    Some(downlink) => self.say(downlink).await?,
                    None => return Err(Over),
                },
                () = tokio::time::sleep_until(moment) => self.elapsed().await?,
            }
        }
    }

    fn next_moment(&self) -> Instant {
        let pace = self.door.pace;
        let ping_at = self.pinged_at.max(self.heard_at) + pace.ping_every;
        let over_at = self.heard_at + pace.silence_max;
        ping_at.min(over_at).min(self.calls.next_deadline().unwrap_or(ping_at))
    }

    async fn elapsed(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        self.calls.give_up(now);
        let pace = self.door.pace;
        if now >= self.heard_at + pace.silence_max {
            tracing::info!(device = %self.device, "a device was silent for too long: its connection is given up");
            return Err(Over);
        }
        if now >= self.pinged_at.max(self.heard_at) + pace.ping_every {
            self.pinged_at = now;
            self.send(Message::Ping(bytes::Bytes::new())).await?;
        }
        Ok(())
    }

    async fn read(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Over> {
        self.heard_at = Instant::now();
        let frames = match message {
            Some(Ok(Message::Text(text))) => self.buffer.push(&text),
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over),
        };
        for frame in frames {
            match frame {
                Ok(Frame::Call { id, method, params }) => self.called(id, &method, params).await?,
                Ok(Frame::Answer { id, outcome }) => {
                    if let Some(about) = self.calls.answered(&id) {
                        self.answered(about, outcome).await?;
                    }
                }
                Err(error) => self.door.hub.refused(self.device, error.to_string()).await,
            }
        }
        Ok(())
    }

    async fn answered(&mut self, about: About, outcome: Result<Value, Fault>) -> Result<(), Over> {
        match (about, outcome) {
            (About::Introduction, Ok(info)) => {
                self.info = Some(info);
                self.call(mongoose::GET_BOOT_STATE, &Value::Null, About::BootState, INTRODUCTION_MAX).await?;
            }
            // A device that knows no trial of its firmware says so by an error.
            (About::BootState, state) => {
                let info = self.info.take().unwrap_or_default();
                if let Ok(said) = mongoose::introduction(&info, state.ok().as_ref()) {
                    self.waiting.push_back(Uplink::Announced(Box::new(said)).into());
                }
            }
            (About::Transfer, outcome) => return self.transferred(outcome).await,
            (about, outcome) => {
                self.waiting.extend(calls::meaning(about, outcome).map(Waiting::from));
            }
        }
        Ok(())
    }

    /// Whether the device has said what it runs, or says nothing of that.
    fn is_introduced(&self) -> bool {
        let is_announcement = |waiting: &Waiting| matches!(waiting.said, Heard::Said(Uplink::Announced(_)));
        let is_asked = self.calls.has(About::Introduction) || self.calls.has(About::BootState);
        !is_asked && !self.waiting.iter().any(is_announcement)
    }

    /// A firmware that was offered to a device is given to it once that is introduced, if it does not run it already:
    /// its introduction in the middle of a transfer would look as if the transfer had been cut off.
    async fn take_up_offer(&mut self) -> Result<(), Over> {
        let Some(offer) = self.offered.take() else { return Ok(()) };
        let pending = self.door.hub.pending(self.device).await.map_err(|_| Over)?;
        match pending.is_some_and(|pending| pending.digest == offer.digest) {
            true => self.transfer(&offer).await,
            false => Ok(()),
        }
    }

    /// A firmware is given to the device, unless that goes on already.
    async fn transfer(&mut self, offer: &Offer) -> Result<(), Over> {
        let is_under_way = self.transfer.as_ref().is_some_and(|transfer| transfer.digest() == offer.digest);
        if is_under_way && self.calls.has(About::Transfer) {
            return Ok(());
        }
        let (door, origin) = (self.door.clone(), self.origin.as_deref());
        let begun = Transfer::begin(door.hub.as_ref(), self.device, offer, origin, &door.links).await;
        self.transfer = None;
        self.calls.forget(About::Transfer);
        let Some(transfer) = begun.map_err(|_| Over)? else { return Ok(()) };
        let first = transfer.first();
        self.goes_on(transfer, first).await
    }

    async fn goes_on(&mut self, transfer: Transfer, next: Next) -> Result<(), Over> {
        self.transfer = Some(transfer).filter(|_| !matches!(next, Next::Over));
        match next {
            Next::Call(method, params, wait) => {
                self.call(method, &params, About::Transfer, wait).await.map(drop)
            }
            Next::Watch | Next::Over => Ok(()),
        }
    }

    async fn transferred(&mut self, outcome: Result<Value, Fault>) -> Result<(), Over> {
        let Some(mut transfer) = self.transfer.take() else { return Ok(()) };
        let door = self.door.clone();
        // What cannot be read now is offered again when the device comes back.
        let (signal, next) = transfer.answered(door.hub.as_ref(), outcome).await.map_err(|_| Over)?;
        self.waiting.extend(signal.map(|signal| Uplink::Firmware(signal).into()));
        self.goes_on(transfer, next).await
    }

    async fn called(&mut self, id: Option<Value>, method: &str, params: Value) -> Result<(), Over> {
        match mongoose::heard(method, params) {
            Ok(said) => {
                self.waiting.push_back(Waiting { id, said });
                Ok(())
            }
            Err(error) => {
                self.door.hub.refused(self.device, error.to_string()).await;
                let Some(id) = id else { return Ok(()) };
                let fault = Fault::new(CODE_INVALID, error.to_string());
                self.send(Message::Text(mongoose::error(&id, &fault).into())).await
            }
        }
    }

    async fn say(&mut self, downlink: Downlink) -> Result<(), Over> {
        match &downlink {
            Downlink::Offer(offer) => {
                self.offered = Some(offer.clone());
                return Ok(());
            }
            Downlink::Cancel(digest) => {
                self.offered.take_if(|offer| offer.digest == *digest);
                // What the device has of it, it gives up by itself.
                self.transfer.take_if(|transfer| transfer.digest() == *digest);
                return Ok(());
            }
            Downlink::Command(_)
            | Downlink::Delta(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Shadow(_)
            | Downlink::Passed(_)
            | Downlink::Credential(_) => {}
        }
        let Some((method, params)) = mongoose::downlink(&downlink) else { return Ok(()) };
        match downlink {
            Downlink::Command(order) => {
                let about = About::Command(order.id);
                if self.calls.has(about) {
                    return Ok(());
                }
                let wait = Duration::from_millis(u64::try_from(order.ttl.0).unwrap_or(0));
                if let Some(why) = self.call(&method, &params, about, wait).await? {
                    let uplink = Uplink::Reply { command: order.id, outcome: Outcome::Failed(why) };
                    self.waiting.push_back(uplink.into());
                }
                Ok(())
            }
            // One that cannot be said now is said again later.
            Downlink::Delta(_) => self.call(&method, &params, About::Delta, DELTA_MAX).await.map(drop),
            Downlink::Commit(_) => self.call(&method, &params, About::Commit, COMMIT_MAX).await.map(drop),
            Downlink::Revert(_) => self.call(&method, &params, About::Revert, COMMIT_MAX).await.map(drop),
            Downlink::Shadow(_)
            | Downlink::Offer(_)
            | Downlink::Cancel(_)
            | Downlink::Passed(_)
            | Downlink::Credential(_) => Ok(()),
        }
    }

    /// Calls the device; the reason if it cannot be called.
    async fn call(
        &mut self,
        method: &str,
        params: &Value,
        about: About,
        wait: Duration,
    ) -> Result<Option<String>, Over> {
        if mongoose::call(u64::MAX, method, params).len() > mongoose::FRAME_BYTES_MAX {
            let most = mongoose::FRAME_BYTES_MAX;
            return Ok(Some(format!("a call to a device of this kind has at most {most} bytes")));
        }
        let Some(id) = self.calls.begin(about, Instant::now() + wait) else {
            return Ok(Some("too many calls wait for the device already".to_owned()));
        };
        self.send(Message::Text(mongoose::call(id, method, params).into())).await?;
        Ok(None)
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(WRITE_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}
