//! x
/// The firmware families a device may belong to: how its addresses and payloads map to uplinks and downlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Motehub's own protocol.
    Native,
    /// NodeMCU Lua boards with the IoT Executor firmware.
    Nodemcu,
}
