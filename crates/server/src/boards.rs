//! Boards with ESP-FIRMWARE, which the hub calls: where they are, what is told to the tasks that call them, and what
//! their announcements mean for what they run.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use motehub_domain::device::{Device, Dialect, board};
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use motehub_domain::network::Network;
use motehub_domain::rejection::Rejection;
use motehub_domain::report::Announcement;
use motehub_domain::rollout::posted;
use motehub_domain::selector::{Field, Known, Operator, Selector, Value as SelectorValue};
use motehub_domain::telemetry::{Point, PointValue};
use motehub_gateway::boards::{Boards, Word};
use motehub_gateway::hub::{ConnectionId, Hub, UplinkError};
use motehub_protocol::esp_firmware::{ADDRESS, FAILURE, FREE, NODES, RUNNING, TAKEN};
use motehub_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::words;
use crate::server::workers::{self, AtEnd};

/// Most boards that are called.
const BOARDS_MAX: usize = 10_000;

/// The boards that are called, if there may be some.
#[derive(Default)]
pub(crate) struct Called {
    boards: OnceLock<Boards>,
}

impl Called {
    /// From now on boards are known, and called by the node that does that.
    pub(crate) fn begin(&self, hub: Arc<dyn Hub>) {
        let _ = self.boards.set(Boards::new(hub));
    }

    /// The boards, if they are called at all.
    pub(crate) fn boards(&self) -> Option<&Boards> {
        self.boards.get()
    }

    /// Whether boards are called.
    pub(crate) fn are_called(&self) -> bool {
        self.boards.get().is_some()
    }

    fn knows(&self, device: DeviceId) -> bool {
        self.boards().is_some_and(|boards| boards.knows(device))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of bytes, and only compared"
)]
fn word(point: &Point) -> Option<Word> {
    match (point.metric.as_str(), &point.value) {
        (RUNNING, PointValue::Number(running)) => Some(Word::Running(*running != 0.0)),
        (FREE, PointValue::Number(free)) => Some(Word::Memory { free: Some(*free as u64), taken: None }),
        (TAKEN, PointValue::Number(taken)) => Some(Word::Memory { free: None, taken: Some(*taken as u64) }),
        (NODES, PointValue::Text(nodes)) => Some(Word::Nodes(nodes.clone())),
        _ => None,
    }
}

/// Calls the boards until `stop`, or until this node does it no more.
pub(crate) async fn run(app: App, stop: CancellationToken) {
    let Some(boards) = app.called.boards() else { return };
    // What they run may have changed while another node called them.
    workers::read(|| app.know_boards(), "which boards there are").await;
    let _rest = AtEnd(|| boards.rest());
    boards.call(Arc::new(app.clone()));
    stop.cancelled().await;
}

impl App {
    /// A device measured: what that says of a board is told to its task.
    pub(crate) fn board_measured(&self, device: DeviceId, points: &[Point]) {
        if self.called.knows(device) {
            points.iter().filter_map(word).for_each(|word| self.tell_board(device, word));
        }
    }

    /// A connection ended. If it was one of a board, that may be away.
    pub(crate) fn board_left(&self, connection: ConnectionId) {
        if let Some(device) = self.called.boards().and_then(|boards| boards.left(connection)) {
            self.tell_board(device, Word::Left);
        }
    }

    /// Something was heard of a board: its task is told, at whatever node that is.
    fn tell_board(&self, device: DeviceId, word: Word) {
        match self.called.boards() {
            Some(boards) if boards.are_called() => boards.tell(device, word),
            Some(_) | None => self.say_to_all(&words::Word::Board(device, word)),
        }
    }

    /// Another node heard something of a board.
    pub(crate) async fn hear_of_board(&self, id: DeviceId, word: Word) {
        let Some(boards) = self.called.boards().filter(|boards| boards.are_called()) else { return };
        if word == Word::Announced {
            // It may be at another address now.
            let known = match self.store.device(id).await {
                Ok(Some(device)) => self.know_board(&device).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = known {
                tracing::warn!(device = %id, %error, "where a board is could not be looked up");
            }
        }
        boards.tell(id, word);
    }

    /// Something is passed to the script of a board, if it is one: that hears by its connections, whatever nodes they
    /// are at.
    pub(crate) fn pass_to_board(&self, device: DeviceId, downlink: &Downlink) -> bool {
        let is_it = matches!(downlink, Downlink::Passed(_)) && self.called.knows(device);
        if is_it {
            self.pass_to_board_here(device, downlink);
            self.say_to_all(&words::Word::Script(device, downlink.clone()));
        }
        is_it
    }

    /// The same by the connections to this node.
    pub(crate) fn pass_to_board_here(&self, device: DeviceId, downlink: &Downlink) {
        if let Some(boards) = self.called.boards() {
            boards.pass_on(device, downlink);
        }
    }

    /// Finds the boards that are called.
    pub(crate) async fn know_boards(&self) -> Result<(), StoreError> {
        let all = Selector::Compare(
            Field::Known(Known::Dialect),
            Operator::Equal,
            SelectorValue::Text(Dialect::EspFirmware.as_str().to_owned()),
        );
        for id in self.store.select_ids(&all, self.now(), BOARDS_MAX).await? {
            if let Some(device) = self.store.device(id).await? {
                self.know_board(&device).await?;
            }
        }
        Ok(())
    }

    /// Calls a board where it is, or not any more.
    async fn know_board(&self, device: &Device) -> Result<(), StoreError> {
        let (Some(boards), Some(settings)) = (self.called.boards(), &self.settings.esp_firmware) else {
            return Ok(());
        };
        let report = self.store.report(device.id).await?;
        let announced = report.as_ref().and_then(|report| announced_address(&report.announcement));
        let own = || board::address(device, None, &settings.networks);
        let address = board::address(device, announced, &settings.networks).or_else(|_| own());
        match address {
            Ok(Some(address)) => {
                let runs = self.store.software(device.id).await?.running.map(|artifact| artifact.digest);
                boards.know(device.id, SocketAddr::new(address, settings.port), runs);
            }
            Ok(None) | Err(_) => boards.forget(device.id),
        }
        Ok(())
    }

    /// These records were written: what of them is about boards is told to their tasks.
    pub(crate) async fn tell_boards(&self, saves: &[Save]) {
        let Some(boards) = self.called.boards() else { return };
        for save in saves {
            match save {
                Save::Device(device) if device.dialect == Dialect::EspFirmware => {
                    if let Err(error) = self.know_board(device).await {
                        tracing::warn!(device = %device.id, %error, "where a board is could not be looked up");
                    }
                }
                Save::DeleteDevice(id) => boards.forget(*id),
                Save::Software(software) if boards.knows(software.device) => {
                    let wanted = posted::wanted(software).map(|artifact| artifact.digest);
                    boards.tell(software.device, Word::Wants(wanted));
                }
                _ => {}
            }
        }
    }

    /// A board that announces an address at which it may not be called is not heard: the word may be forged.
    pub(crate) async fn weigh_board(&self, id: DeviceId, said: &Announcement) -> Result<(), UplinkError> {
        let Some(networks) = self.networks_of_boards() else { return Ok(()) };
        let Some(device) = self.board(id).await? else { return Ok(()) };
        match board::address(&device, announced_address(said), networks) {
            Ok(_) => Ok(()),
            Err(Rejection { sentence, .. }) => {
                self.state_refusal(id, &sentence).await;
                Err(UplinkError::Refused(sentence))
            }
        }
    }

    /// A board announced itself, and that is stored: it has just started, or ran out of memory.
    pub(crate) async fn board_announced(&self, id: DeviceId, said: &Announcement) -> Result<(), UplinkError> {
        let Some(device) = self.board(id).await? else { return Ok(()) };
        self.know_board(&device).await.map_err(|error| unavailable(&error))?;
        if said.attributes.get(FAILURE).and_then(serde_json::Value::as_bool) == Some(true) {
            self.progress(id, |target| posted::ran_out_of_memory(target, self.now())).await?;
        }
        self.tell_board(id, Word::Announced);
        Ok(())
    }

    /// The device, if it is a board.
    async fn board(&self, id: DeviceId) -> Result<Option<Device>, UplinkError> {
        let device = self.store.device(id).await.map_err(|error| unavailable(&error))?;
        Ok(device.filter(|device| device.dialect == Dialect::EspFirmware))
    }

    fn networks_of_boards(&self) -> Option<&[Network]> {
        self.settings.esp_firmware.as_ref().map(|settings| settings.networks.as_slice())
    }
}

fn announced_address(said: &Announcement) -> Option<&str> {
    said.attributes.get(ADDRESS).and_then(serde_json::Value::as_str)
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}
