//! What a client hears of the hub's own channels: what has to go on for that, and whether it still may.

use std::collections::BTreeMap;

use motehub_domain::time::{Span, Time};
use motehub_protocol::pusher::{Channel, Own, code};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Client, Over};
use crate::app::App;
use crate::pusher::own::Heard;
use crate::pusher::requests;

/// How often the rights of a client are looked at again.
const LOOK_EVERY: Span = Span::seconds(20);

/// The hub's own channels that a client hears.
#[derive(Default)]
pub(super) struct Watched {
    channels: BTreeMap<Channel, Own>,
    look_at: Option<Time>,
    base: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Watched {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// When its rights are looked at again.
    pub(super) fn look_at(&self) -> Time {
        self.look_at.unwrap_or(Time(i64::MAX))
    }

    /// It hears a channel no more.
    pub(super) async fn end(&mut self, app: &App, channel: &Channel) {
        match self.channels.remove(channel) {
            Some(Own::Devices) => app.live.watch_points_of_all(false),
            Some(Own::Device(device)) => app.live.watch(&[device], &[]),
            Some(Own::Requests) => {
                if let Some((gone, base)) = self.base.take() {
                    gone.cancel();
                    let _ = base.await;
                }
            }
            Some(Own::Units) | None => {}
        }
    }

    /// It hears nothing any more.
    pub(super) async fn end_all(&mut self, app: &App) {
        let channels: Vec<Channel> = self.channels.keys().cloned().collect();
        for channel in channels {
            self.end(app, &channel).await;
        }
    }
}

impl Client {
    /// It hears a channel: what the hub says there is gathered from now on, if the channel is its own.
    pub(super) async fn watch(&mut self, channel: Channel) {
        let (Some(own), Some(grant)) = (channel.own(), self.line.granted(&channel)) else { return };
        let app = self.front.app.clone();
        match own {
            Own::Devices => app.live.watch_points_of_all(true),
            Own::Device(device) => app.live.watch(&[], &[device]),
            Own::Requests => {
                if matches!(app.may_hear(&self.app, own, &grant).await, Ok(Heard::ByBase)) {
                    let gone = CancellationToken::new();
                    let base = requests::serve(app.clone(), self.app.clone(), self.peer, gone.clone());
                    self.watched.base = Some((gone, tokio::spawn(base)));
                }
            }
            Own::Units => {}
        }
        self.watched.channels.insert(channel, own);
        self.watched.look_at.get_or_insert_with(|| app.now() + LOOK_EVERY);
    }

    /// A login may have ended, a token may have been revoked meanwhile. Then it may come back and ask anew.
    pub(super) async fn look_again(&mut self) -> Result<(), Over> {
        let app = self.front.app.clone();
        self.watched.look_at = Some(app.now() + LOOK_EVERY);
        for (channel, own) in &self.watched.channels {
            let Some(grant) = self.line.granted(channel) else { continue };
            if app.may_hear(&self.app, *own, &grant).await.is_err() {
                return Err((code::COME_BACK, "a right that you had has ended: ask again"));
            }
        }
        Ok(())
    }
}
