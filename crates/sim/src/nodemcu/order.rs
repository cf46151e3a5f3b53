//! What is said to virtual boards (orders) and what they report (facts), as JSON lines. The same types travel
//! between the fleet and its groups.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A fault or a push of a button, for one board or for all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// The chip id; absent means every board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// What to do.
    #[serde(flatten)]
    pub order: Order,
}

/// What can be done to a board from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// The power goes: Lua is gone, sockets are reset, flash keeps what was written.
    PowerCut,
    /// The power comes back.
    PowerOn,
    /// Cuts the power during the next download of a `.lua` or `.lc` file or an artifact, after this many bytes
    /// of its body (or at its end, if it is shorter); the pieces of a download count together.
    PowerCutAtByte {
        /// Bytes of the body that still arrive.
        bytes: u64,
    },
    /// Cuts the power in the next change of the flash that goes beyond this many bytes; the bytes before are
    /// written. Removing, renaming and truncating a file count as one byte each.
    PowerCutAtWrite {
        /// Bytes that are still written.
        bytes: u64,
    },
    /// Wi-Fi goes: sockets freeze without a word to their peers, new connections cannot be made.
    WifiOff,
    /// Wi-Fi comes back; frozen sockets go on if the peer still has them.
    WifiOn,
    /// Limits each connection; 0 is full speed again.
    SlowLink {
        /// Bytes per second in each direction.
        bytes_per_second: u32,
    },
    /// The reset button.
    Restart,
}

/// Why a board booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootReason {
    /// First start, or after a power cut.
    PowerOn,
    /// `node.restart()`.
    Restart,
    /// The reset button (an order).
    Reset,
    /// An uncaught Lua error.
    Panic,
    /// Lua did not return in time.
    Watchdog,
    /// The end of `node.dsleep()`.
    DeepSleep,
    /// The process of its group had to be started again.
    GroupReset,
}

/// Something that happened to a board, in the order it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// Every board has been powered on.
    Ready {
        /// How many there are.
        boards: usize,
    },
    /// A board starts with a fresh Lua state.
    Boot {
        /// Chip id.
        board: String,
        /// Why.
        reason: BootReason,
    },
    /// A line on the board's console.
    Print {
        /// Chip id.
        board: String,
        /// The line, cut at 4096 bytes.
        text: String,
    },
    /// An uncaught Lua error; a boot follows.
    Panic {
        /// Chip id.
        board: String,
        /// Message and traceback.
        error: String,
    },
    /// An HTTP request ended.
    Http {
        /// Chip id.
        board: String,
        /// The method.
        method: String,
        /// Path and query; a secret after `/d/` is masked.
        path: String,
        /// The status code, negative when there was no answer.
        status: i32,
    },
    /// CONNACK arrived.
    MqttConnected {
        /// Chip id.
        board: String,
        /// The MQTT client id.
        client: String,
    },
    /// A connection ended or was not established.
    MqttDisconnected {
        /// Chip id.
        board: String,
        /// The MQTT client id.
        client: String,
        /// A few words.
        reason: String,
    },
    /// `node.compile` wrote a file.
    Compiled {
        /// Chip id.
        board: String,
        /// The new file.
        file: String,
        /// Its size.
        size_bytes: usize,
    },
    /// The board is without power now.
    PowerCut {
        /// Chip id.
        board: String,
    },
    /// A group of boards stopped answering and starts again from its flash.
    GroupReset {
        /// The chip ids of the group.
        boards: Vec<String>,
        /// A few words.
        reason: String,
    },
    /// A command that was not understood.
    Refused {
        /// What was read.
        line: String,
        /// Why.
        reason: String,
    },
    /// Facts were lost because nobody read them quickly enough.
    Lost {
        /// How many.
        facts: u64,
    },
}

/// The settings of one group; the first line on the standard input of its process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GroupConfig {
    /// The boards and whether each has power.
    pub(crate) boards: Vec<(u32, bool)>,
    /// Each board has a folder named by its chip id in here.
    pub(crate) flash: PathBuf,
    /// What the first boot is called.
    pub(crate) reason: BootReason,
    /// Settings shared by all boards.
    pub(crate) board: BoardSettings,
}

/// The settings that all boards of a fleet share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoardSettings {
    /// Lua memory above the empty state.
    pub(crate) memory_bytes: usize,
    /// Time from the end of a Lua state to the next boot.
    pub(crate) boot_delay_ms: u64,
    /// Longest HTTP response, headers included, that the firmware takes.
    pub(crate) http_response_max_bytes: usize,
    /// How long Lua may run without returning.
    pub(crate) watchdog_ms: u64,
    /// Time from asking for Wi-Fi to having an address.
    pub(crate) wifi_join_ms: u64,
    /// Room for files.
    pub(crate) flash_bytes: u64,
    /// How many times as fast as the host's clock the board's clock and timers are.
    pub(crate) speed: u32,
    /// `channel=wave` texts, see [`super::sensor`].
    pub(crate) sensors: Vec<String>,
    /// Leave out prints.
    pub(crate) quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_and_without_a_board() {
        let cases = [
            (r#"{"board":"7","do":"power_cut"}"#, Some("7"), Order::PowerCut),
            (r#"{"do":"power_cut_at_byte","bytes":120}"#, None, Order::PowerCutAtByte { bytes: 120 }),
            (r#"{"do":"slow_link","bytes_per_second":200}"#, None, Order::SlowLink { bytes_per_second: 200 }),
        ];
        for (line, board, order) in cases {
            let command: Command = serde_json::from_str(line).unwrap();
            assert_eq!((command.board.as_deref(), command.order), (board, order), "{line}");
        }
    }

    #[test]
    fn facts_name_themselves() {
        let fact = Fact::Boot { board: "7".into(), reason: BootReason::PowerOn };
        assert_eq!(
            serde_json::to_string(&fact).unwrap(),
            r#"{"fact":"boot","board":"7","reason":"power_on"}"#
        );
    }
}
