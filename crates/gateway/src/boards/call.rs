//! The task of one board: it asks and posts as `board` decides, and tells the hub what comes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Offer, Uplink};
use motehub_domain::report::{Progress, TaskReport};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_protocol::esp_firmware::ROUND_TRIP;
use motehub_protocol::esp_firmware::post::{self, Posted, Verdict};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::board::{Act, Board, Turn, Word};
use super::exchange::exchange;
use crate::hub::{Arrival, Connection, ConnectionId, Hub, Transport};

/// How long a board may take to answer that it is there.
const PING_WITHIN: Duration = Duration::from_secs(5);
/// How long a board may take to take a script: it answers once the script runs.
const POST_WITHIN: Duration = Duration::from_secs(15);
/// How many downlinks wait for a board; further ones are dropped and said again later.
const DOWNLINKS_MAX: usize = 16;

/// How often it is asked whether the board may be called from here, if it may not at present.
const LOOK_EVERY: Duration = Duration::from_millis(250);

struct Call {
    hub: Arc<dyn Hub>,
    shared: Arc<Shared>,
    device: DeviceId,
    address: SocketAddr,
    board: Board,
    attached: Option<(ConnectionId, mpsc::Receiver<Downlink>)>,
}

/// Runs until the board is forgotten.
pub(super) async fn run(
    shared: Arc<Shared>,
    hub: Arc<dyn Hub>,
    (device, address): (DeviceId, SocketAddr),
    runs: Option<Digest>,
    mut words: mpsc::Receiver<Word>,
    forgotten: CancellationToken,
) {
    let seed = device.to_string().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    let board = Board::new(seed, runs, shared.now_ms());
    let mut call = Call { hub, shared, device, address, board, attached: None };
    let _ = forgotten.run_until_cancelled(call.go_on(&mut words)).await;
    call.detach().await;
}

impl Call {
    async fn go_on(&mut self, words: &mut mpsc::Receiver<Word>) {
        loop {
            let now = self.shared.now_ms();
            match self.board.due(now) {
                Some(Act::Ping) => self.ping().await,
                Some(Act::Post) => self.post().await,
                None => {
                    let next = self.shared.started + Duration::from_millis(self.board.next_moment());
                    tokio::select! {
                        Some(word) = words.recv() => self.board.heard(word, self.shared.now_ms()),
                        downlink = said(&mut self.attached) => match downlink {
                            Some(downlink) => self.said(&downlink),
                            // The hub ended it; it begins anew when the board answers.
                            None => self.attached = None,
                        },
                        () = sleep_until(next) => {}
                    }
                }
            }
            while let Ok(word) = words.try_recv() {
                self.board.heard(word, self.shared.now_ms());
            }
            while let Some((_, downlinks)) = &mut self.attached
                && let Ok(downlink) = downlinks.try_recv()
            {
                self.said(&downlink);
            }
        }
    }

    fn said(&mut self, downlink: &Downlink) {
        let now = self.shared.now_ms();
        match downlink {
            Downlink::Offer(offer) => self.board.offered(offer.digest, now),
            Downlink::Cancel(digest) => self.board.cancelled(*digest, now),
            // The firmware has nothing that could take these. What is passed to its script goes to its connections.
            Downlink::Passed(_)
            | Downlink::Credential(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Command(_)
            | Downlink::Delta(_)
            | Downlink::Shadow(_) => {}
        }
    }

    async fn ping(&mut self) {
        let asked = self.ask(&post::ping(self.address), PING_WITHIN).await;
        let is_answered = matches!(&asked, Posted::Answered(answer) if answer.status == 200);
        match self.board.pinged(is_answered, self.shared.now_ms()) {
            Some(Turn::Went) => self.detach().await,
            Some(Turn::Came) | None if self.board.is_here() && self.attached.is_none() => self.attach().await,
            Some(Turn::Came) | None => {}
        }
    }

    /// Posts what the board shall run.
    async fn post(&mut self) {
        let hub = self.hub.clone();
        let Ok(wanted) = hub.current(self.device).await else {
            return self.board.post_later(self.shared.now_ms());
        };
        let Some(Offer { digest, size_bytes, .. }) = wanted else {
            return self.stop().await;
        };
        if let Some(memory) = self.board.memory().filter(|memory| size_bytes > *memory) {
            self.board.idle();
            return self.report(digest, post::too_large(size_bytes, memory)).await;
        }
        let source: Bytes = match hub.artifact(digest).await {
            Ok(Some(source)) => source,
            Ok(None) => return self.board.idle(),
            Err(_) => return self.board.post_later(self.shared.now_ms()),
        };
        self.report(digest, Progress::Fetching(None)).await;
        let begun = Instant::now();
        let posted = self.ask(&post::execute(self.address, &source), POST_WITHIN).await;
        let took = begun.elapsed();
        match self.board.posted(digest, &posted, self.shared.now_ms()) {
            Verdict::Later(why) => {
                tracing::info!(board = %self.address, why, "a script is posted again later");
                self.report(digest, Progress::Fetching(Some(why))).await;
            }
            Verdict::Is(progress) => {
                self.report(digest, progress).await;
                self.measure(ROUND_TRIP, took).await;
            }
        }
    }

    /// A board that is to run nothing any more gets a script that does nothing: it would go on for ever.
    async fn stop(&mut self) {
        if !self.board.has_script() {
            return self.board.idle();
        }
        let request = post::execute(self.address, post::STOPPED.as_bytes());
        let posted = self.ask(&request, POST_WITHIN).await;
        self.board.stopped(&posted, self.shared.now_ms());
    }

    async fn ask(&self, request: &[u8], within: Duration) -> Posted {
        let _place = self.shared.requests.acquire().await.expect("because it is never closed");
        while !self.hub.may_call() {
            sleep(LOOK_EVERY).await;
        }
        let posted = exchange(self.address, request, within).await;
        let outcome = match &posted {
            Posted::Answered(_) => "answered",
            Posted::Refused => "refused",
            Posted::Reset => "reset",
            Posted::TimedOut => "timed_out",
            Posted::Unreadable(_) => "unreadable",
        };
        metrics::counter!("motehub_boards_requests_total", "outcome" => outcome).increment(1);
        posted
    }

    async fn report(&self, digest: Digest, progress: Progress) {
        self.uplink(Uplink::Task(TaskReport { digest, progress })).await;
    }

    async fn measure(&self, metric: &str, took: Duration) {
        let Ok(metric) = Metric::parse(metric) else { return };
        let value = PointValue::Number((took.as_secs_f64() * 1000.0).round());
        self.uplink(Uplink::Telemetry(vec![Point { metric, time: When::ARRIVAL, value }])).await;
    }

    /// What is lost here is found out at the next deadline of the task.
    async fn uplink(&self, uplink: Uplink) {
        let arrival = Arrival { device: self.device, uplink, mark: None, again: false };
        for outcome in self.hub.uplink(vec![arrival]).await {
            if let Err(error) = outcome {
                tracing::warn!(board = %self.address, %error, "what is known of a board was not taken");
            }
        }
    }

    async fn attach(&mut self) {
        let (sender, downlinks) = mpsc::channel(DOWNLINKS_MAX);
        let id = ConnectionId(self.shared.next_connection.fetch_add(1, Ordering::Relaxed));
        let (device, address, transport) = (self.device, self.address, Transport::Http);
        let connection = Connection { id, device, address, transport, silence_max: None };
        self.hub.attach(connection, sender).await;
        self.attached = Some((id, downlinks));
        self.hub.listens(device).await;
    }

    async fn detach(&mut self) {
        if let Some((id, _)) = self.attached.take() {
            self.hub.detach(id).await;
        }
    }
}

async fn said(attached: &mut Option<(ConnectionId, mpsc::Receiver<Downlink>)>) -> Option<Downlink> {
    match attached {
        Some((_, downlinks)) => downlinks.recv().await,
        None => std::future::pending().await,
    }
}
