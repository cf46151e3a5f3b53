//! One connection as a task: reads, lets the broker think, writes what came of it, and carries the hub's answers.

use std::future::{pending, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use motehub_domain::message::Downlink;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asks::{Asks, Settled};
use super::cluster::carry::{self, Carry};
use super::{Broker, Flow, Millis, Out, Slot, Token};
use crate::hub::{Answer, Arrival, Hub, Refusal};

/// Most bytes read at once. The buffer is on the stack while bytes are there, so an idle connection has none.
const READ_BYTES: usize = 16 * 1024;
/// How long a client may take to take what is written to it.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// How long the hub may take to say who somebody is.
const AUTHENTICATE_MAX: Duration = Duration::from_secs(10);
/// How long closing may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// A larger write buffer is given back when it is empty.
const KEPT_BYTES: usize = 1024;
/// Downlinks that may wait for a connection; they can be recomputed, so more are of no use.
const DOWNLINKS_MAX: usize = 64;

/// What all connections share.
pub(super) struct Shared {
    core: Mutex<Core>,
    pub hub: Arc<dyn Hub>,
    pub started: Instant,
    pub tasks: TaskTracker,
    /// Connections finish what they have begun and say good-bye.
    pub stop: CancellationToken,
    /// Connections are dropped.
    pub kill: CancellationToken,
    /// The broker has something to be kept on disk.
    pub keep: Notify,
    /// What waits for other nodes.
    pub carry: Carry,
    /// When the program started, in milliseconds since 1970.
    started_ms: u64,
}

struct Core {
    broker: Broker,
    /// By slot.
    wakers: Vec<Option<Arc<Notify>>>,
    ready: Vec<Slot>,
}

impl Shared {
    pub(super) fn new(broker: Broker, hub: Arc<dyn Hub>, started_ms: u64) -> Self {
        Self {
            core: Mutex::new(Core { broker, wakers: Vec::new(), ready: Vec::new() }),
            hub,
            started: Instant::now(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            keep: Notify::new(),
            carry: Carry::default(),
            started_ms,
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Millis {
        self.started_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// Looks at the broker.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Broker, Millis) -> T) -> T {
        look(&self.core().broker, self.now())
    }

    /// Calls the broker and wakes the connections that have something to write. What else it wants done is left
    /// in the answer. `own` is the connection that calls: it looks for its output by itself.
    pub(super) fn call<T>(
        &self,
        own: Option<Slot>,
        call: impl FnOnce(&mut Broker, Millis, &mut Out) -> T,
    ) -> (T, Out) {
        let now = self.now();
        let mut core = self.core();
        let mut out = Out { ready: std::mem::take(&mut core.ready), ..Out::default() };
        let answer = call(&mut core.broker, now, &mut out);
        for slot in out.ready.drain(..).filter(|slot| Some(*slot) != own) {
            if let Some(Some(waker)) = core.wakers.get(slot.0 as usize) {
                waker.notify_one();
            }
        }
        core.ready = std::mem::take(&mut out.ready);
        if core.broker.has_notes() {
            self.keep.notify_one();
        }
        if let Some(nodes) = self.hub.nodes() {
            // Within the lock, so that what is said keeps its order.
            self.carry.speak(nodes, &mut core.broker, now);
        }
        drop(core);
        for message in out.tapped.drain(..) {
            self.hub.published(&message.topic, &message.payload);
        }
        (answer, out)
    }

    /// Like [`Shared::call`] for calls that are not about one connection: what they want done is done behind them.
    pub(super) fn call_aside<T>(
        self: &Arc<Self>,
        call: impl FnOnce(&mut Broker, Millis, &mut Out) -> T,
    ) -> T {
        let (answer, out) = self.call(None, call);
        if !out.offers.is_empty() {
            self.hub.offer(out.offers);
        }
        if !out.detach.is_empty() {
            let hub = self.hub.clone();
            self.tasks.spawn(async move {
                join_all(out.detach.into_iter().map(|id| hub.detach(id))).await;
            });
        }
        answer
    }

    /// Gives a connection its waker.
    pub(super) fn enlist(&self, slot: Slot) -> Arc<Notify> {
        let waker = Arc::new(Notify::new());
        let mut core = self.core();
        let at = slot.0 as usize;
        if core.wakers.len() <= at {
            core.wakers.resize(at + 1, None);
        }
        core.wakers[at] = Some(waker.clone());
        waker
    }

    fn strike(&self, slot: Slot) {
        let mut core = self.core();
        core.wakers[slot.0 as usize] = None;
        core.broker.forget(slot);
    }
}

/// A connection's place in the tables. However its task ends, the place is given back.
struct Place {
    shared: Arc<Shared>,
    slot: Slot,
}

impl Drop for Place {
    fn drop(&mut self) {
        let slot = self.slot;
        self.shared.call_aside(|broker, now, out| broker.closed(now, slot, out));
        self.shared.strike(slot);
    }
}

/// A connection and what it waits for.
struct Task<'a> {
    shared: &'a Arc<Shared>,
    slot: Slot,
    uplinks: FuturesUnordered<Pin<Box<dyn Future<Output = Settled> + Send + 'a>>>,
    asks: Asks,
    downlinks: Option<mpsc::Receiver<Downlink>>,
    buffer: Vec<u8>,
    is_full: bool,
    /// Something is acknowledged when it is on disk.
    awaits_disk: bool,
}

/// Whether a connection goes on after its transport failed or the broker closed it.
struct Over;

/// Serves one connection until its end. `transport` is still to be made ready (TLS, WebSocket).
pub(super) async fn serve<S, T>(shared: Arc<Shared>, slot: Slot, transport: T)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: Future<Output = io::Result<S>>,
{
    let waker = shared.enlist(slot);
    let _place = Place { shared: shared.clone(), slot };
    let mut task = Task {
        shared: &shared,
        slot,
        uplinks: FuturesUnordered::new(),
        asks: Asks::default(),
        downlinks: None,
        buffer: Vec::new(),
        is_full: false,
        awaits_disk: false,
    };
    let kill = shared.kill.clone();
    let served = async {
        if let Ok(mut stream) = transport.await {
            let _ = task.talk(&mut stream, &waker).await;
            let _ = timeout(CLOSE_MAX, stream.shutdown()).await;
        }
        let ((), out) = shared.call(Some(slot), |broker, now, out| broker.closed(now, slot, out));
        task.perform(out).await;
        while let Some(settled) = task.uplinks.next().await {
            task.settle(settled);
        }
    };
    tokio::select! {
        () = served => {}
        () = kill.cancelled() => {}
    }
}

impl<'a> Task<'a> {
    async fn talk<S>(&mut self, stream: &mut S, waker: &Notify) -> Result<(), Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = self.shared;
        let mut stopping = pin!(shared.stop.cancelled());
        let mut is_stopping = false;
        loop {
            self.write(stream).await?;
            if is_stopping && self.uplinks.is_empty() && !self.awaits_disk {
                let slot = self.slot;
                let ((), out) = shared.call(Some(slot), |broker, now, out| broker.shut_down(now, slot, out));
                self.perform(out).await;
                return self.write(stream).await;
            }
            let may_read = !is_stopping && !self.is_full;
            let out = tokio::select! {
                read = poll_fn(|cx| poll_read(stream, shared, self.slot, cx)), if may_read => {
                    read.map_err(|_| Over)?
                }
                Some(settled) = self.uplinks.next(), if !self.uplinks.is_empty() => {
                    self.settle(settled);
                    continue;
                }
                Some(downlink) = next(&mut self.downlinks) => {
                    let slot = self.slot;
                    shared.call(Some(slot), |broker, now, out| broker.downlink(now, slot, &downlink, out)).1
                }
                () = waker.notified() => continue,
                () = &mut stopping, if !is_stopping => {
                    is_stopping = true;
                    continue;
                }
            };
            self.perform(out).await;
        }
    }

    /// Writes everything there is to write. Uplinks go on meanwhile: the hub must not wait for a slow reader.
    async fn write<S>(&mut self, stream: &mut S) -> Result<(), Over>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (shared, slot) = (self.shared, self.slot);
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let ((flow, is_full, awaits_disk), _) = shared.call(Some(slot), |broker, now, out| {
                let flow = broker.take(now, slot, &mut buffer, out);
                (flow, broker.is_full(slot), broker.awaits_disk(slot))
            });
            (self.is_full, self.awaits_disk) = (is_full, awaits_disk);
            let was_empty = buffer.is_empty();
            if !was_empty {
                let mut writing = pin!(timeout(WRITE_MAX, async {
                    stream.write_all(&buffer).await?;
                    stream.flush().await
                }));
                loop {
                    tokio::select! {
                        written = &mut writing => match written {
                            Ok(Ok(())) => break,
                            Ok(Err(_)) | Err(_) => return Err(Over),
                        },
                        Some(settled) = self.uplinks.next(), if !self.uplinks.is_empty() => {
                            self.settle(settled);
                        }
                    }
                }
            }
            if buffer.capacity() <= KEPT_BYTES {
                buffer.clear();
                self.buffer = buffer;
            }
            match flow {
                Flow::Closing => return Err(Over),
                Flow::Open if was_empty => return Ok(()),
                Flow::Open => {}
            }
        }
    }

    fn settle(&mut self, Settled { tokens, outcomes, reply }: Settled) {
        let slot = self.slot;
        let ((), out) = self.shared.call(Some(slot), |broker, now, out| {
            if let Some(reply) = reply {
                broker.reply(now, slot, &reply, out);
            }
            broker.settled(now, slot, tokens.into_iter().zip(outcomes), out);
        });
        // Settling makes deliveries and ends connections; neither asks anything of the hub but this.
        if !out.offers.is_empty() {
            self.shared.hub.offer(out.offers);
        }
        if !out.detach.is_empty() {
            let hub = self.shared.hub.clone();
            self.shared.tasks.spawn(async move {
                join_all(out.detach.into_iter().map(|id| hub.detach(id))).await;
            });
        }
    }

    /// Does what the broker wants done, until it wants nothing more.
    async fn perform(&mut self, mut out: Out) {
        let (shared, slot) = (self.shared, self.slot);
        loop {
            if let Some(connection) = out.attach.take() {
                let (sender, receiver) = mpsc::channel(DOWNLINKS_MAX);
                shared.hub.attach(connection, sender).await;
                self.downlinks = Some(receiver);
                let ((), after) = shared.call(Some(slot), |broker, _, out| broker.attached(slot, out));
                out.detach.extend(after.detach);
            }
            if !out.detach.is_empty() {
                join_all(out.detach.drain(..).map(|id| shared.hub.detach(id))).await;
            }
            if !out.offers.is_empty() {
                shared.hub.offer(out.offers);
            }
            if !out.uplinks.is_empty() {
                self.uplinks.push(Box::pin(uplink(shared.hub.as_ref(), out.uplinks)));
            }
            for (token, who, ask) in out.asks {
                self.uplinks.push(self.asks.start(shared.hub.as_ref(), token, who, ask));
            }
            if let Some(device) = out.listens {
                shared.hub.listens(device).await;
            }
            for (device, why) in out.refusals {
                shared.hub.refused(device, why).await;
            }
            let Some(knock) = out.knock else { return };
            let answer = timeout(AUTHENTICATE_MAX, shared.hub.authenticate(knock)).await;
            let answer = carry::welcome(shared, slot, answer.unwrap_or(Err(Refusal::Unavailable))).await;
            let ((), next) =
                shared.call(Some(slot), |broker, now, out| broker.authenticated(now, slot, answer, out));
            out = next;
        }
    }
}

async fn uplink(hub: &dyn Hub, batch: Vec<(Token, Arrival)>) -> Settled {
    let (tokens, arrivals): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let answer: Answer<'_, _> = hub.uplink(arrivals);
    Settled { tokens, outcomes: answer.await, reply: None }
}

async fn next(downlinks: &mut Option<mpsc::Receiver<Downlink>>) -> Option<Downlink> {
    match downlinks {
        Some(receiver) => match receiver.recv().await {
            Some(downlink) => Some(downlink),
            None => pending().await,
        },
        None => pending().await,
    }
}

/// Reads what is there and hands it to the broker at once.
fn poll_read<S>(stream: &mut S, shared: &Shared, slot: Slot, cx: &mut Context<'_>) -> Poll<io::Result<Out>>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = [MaybeUninit::<u8>::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    if buffer.filled().is_empty() {
        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
    }
    let ((), out) =
        shared.call(Some(slot), |broker, now, out| broker.received(now, slot, buffer.filled(), out));
    Poll::Ready(Ok(out))
}
