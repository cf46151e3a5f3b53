//! What other nodes say, and what follows from it here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use motehub_domain::id::DeviceId;
use motehub_domain::time::Span;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::again;
use super::bus::Heard;
use super::words::{Shows, Word};
use crate::app::App;
use crate::live::watched::Watch;
use crate::live::{News, Shown};
use crate::presence;

/// The subject on which all nodes hear.
const ALL: &str = "told";
/// How often a node says what its readers watch, if that is anything.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Nothing that arrived earlier is shown to somebody who begins to watch: the page has loaded it.
const UNSHOWN_MAX: Span = Span::seconds(30);
/// How soon it says that they watch something else than it said last.
const WATCH_PAUSE: Duration = Duration::from_millis(50);

impl App {
    /// Says something to another node.
    pub(crate) fn say(&self, node: &str, word: &Word) {
        self.cluster.bus().publish(&format!("node.{node}.down"), word.encode(self.cluster.node()));
    }

    /// Says something to all other nodes.
    pub(crate) fn say_to_all(&self, word: &Word) {
        if !self.cluster.is_alone() {
            self.cluster.bus().publish(ALL, word.encode(self.cluster.node()));
        }
    }

    /// Shows the readers at another node what they watch.
    pub(crate) fn say_live(&self, node: &str, news: News) {
        if let Some(shows) = Shows::of(news) {
            let said = Word::Shown(shows).encode(self.cluster.node());
            self.cluster.bus().publish(&format!("live.{node}"), said);
        }
    }

    pub(super) fn say_watch(&self) {
        self.say_to_all(&Word::Watch(self.watched_here()));
    }

    /// What readers here watch.
    fn watched_here(&self) -> Watch {
        self.live.watched.said(self.flows.followed())
    }

    /// Takes what another node said.
    async fn hear(&self, bytes: Bytes) {
        let (by, word) = match Word::decode(&bytes) {
            Ok((by, _)) if by == self.cluster.node() => return,
            Ok(said) => said,
            Err(error) => return tracing::warn!(%error, "another node cannot be understood"),
        };
        match word {
            Word::Hello => {
                self.say_watch();
                self.say_all_heard();
            }
            Word::Down(device, downlink) => self.send_here(device, &downlink),
            Word::Anew(devices) => self.look_anew(devices),
            Word::OrderAbout(device, order) => self.connections.order(device, &order),
            Word::Order(order) => self.order_of_another(&order),
            Word::Disconnect(device) => self.connections.disconnect(device),
            Word::CutGateway(gateway, why) => self.gateways.cut(gateway, &why),
            Word::Rights(devices) => self.rights_changed_here(&devices).await,
            Word::Answered(command, outcome) => drop(self.commands.hand_over(command, &outcome)),
            Word::Told(touched, states_facts) => {
                if let Err(error) = self.hear_touched(touched).await {
                    tracing::warn!(%error, "what another node wrote could not be read");
                }
                if states_facts {
                    self.live.wake();
                }
            }
            Word::Watch(watch) => {
                let fresh = self.live.watched.hear(by, watch, Instant::now());
                self.show_newest(by, fresh);
            }
            Word::Shown(shows) => self.live.show_here(shows.into_news()),
            Word::Claims(device, user) => self.claims.ask(device, user, self.now()),
            Word::Linked(gateway, seen) => self.gateways.hear(gateway, seen),
            Word::Board(device, word) => self.hear_of_board(device, word).await,
            Word::Forgive(rule) => self.rules.forgive(rule),
            Word::Script(device, downlink) => self.pass_to_board_here(device, &downlink),
            Word::Channel(app, channel, said) => self.pusher.hear(app, &channel, &said),
            Word::Tried(guess, name, address, is_right) => {
                let Ok(address) = address.parse() else { return };
                self.hear_guess(guess, &name, address, is_right);
            }
            Word::Served(token, until) => self.pyaiot.hear_served(token, until, self.now()),
            Word::Audience(heard, is_all) => self.pusher.rooms.hear(by, heard, is_all),
        }
    }

    /// What waits for devices is looked at aside: what is said next does not wait for it.
    fn look_anew(&self, devices: Vec<DeviceId>) {
        let app = self.clone();
        tokio::spawn(async move { presence::tell_anew(&app, &devices).await });
    }
}

impl App {
    /// What came for devices before it was heard here that somebody at another node watches them.
    fn show_newest(&self, node: &str, devices: Vec<DeviceId>) {
        let (app, node) = (self.clone(), node.to_owned());
        tokio::spawn(async move {
            for device in devices {
                let Ok(mut newest) = app.store.latest(device).await else { return };
                newest.retain(|sample| app.now() - sample.arrived <= UNSHOWN_MAX);
                let points = newest.into_iter().map(|sample| (sample.metric, sample.time, sample.value));
                let shown = Shown { device, points: points.collect() };
                if !shown.points.is_empty() {
                    app.say_live(&node, News::Telemetry(Arc::new(vec![shown])));
                }
            }
        });
    }
}

/// Hears the other nodes until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let bus = app.cluster.bus().clone();
    let node = app.cluster.node().to_owned();
    let mut told = bus.subscribe(ALL).await;
    let mut down = bus.subscribe(&format!("node.{node}.down")).await;
    let mut live = bus.subscribe(&format!("live.{node}")).await;
    let _ = bus.flushed().await;
    // What was said since it was read at the start was not heard.
    if let Err(error) = app.read_again().await {
        tracing::warn!(%error, "what other nodes wrote could not be read");
    }
    tokio::join!(
        async {
            while let Some(said) = heard(&mut told, &shutdown).await {
                app.hear(said).await;
            }
        },
        async {
            while let Some(said) = heard(&mut down, &shutdown).await {
                app.hear(said).await;
            }
        },
        async {
            while let Some(said) = heard(&mut live, &shutdown).await {
                app.hear(said).await;
            }
        },
        say_what_is_watched(&app, &shutdown),
        again::run(&app, &shutdown),
    );
}

async fn heard(subject: &mut Heard, shutdown: &CancellationToken) -> Option<Bytes> {
    tokio::select! {
        said = subject.next() => said.map(|said| said.payload),
        () = shutdown.cancelled() => None,
    }
}

/// Says what readers here watch whenever that is something else, and now and then.
async fn say_what_is_watched(app: &App, shutdown: &CancellationToken) {
    app.say_to_all(&Word::Hello);
    let mut is_any = false;
    loop {
        let is_new = tokio::select! {
            () = app.live.watched.changed.notified() => true,
            () = tokio::time::sleep(WATCH_EVERY) => false,
            () = shutdown.cancelled() => return,
        };
        let watch = app.watched_here();
        let is_any_now = watch != Watch::default();
        if is_any_now || is_any {
            app.say_to_all(&Word::Watch(watch));
        }
        is_any = is_any_now;
        app.live.watched.forget_old(Instant::now());
        if is_new {
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }
}
