//! Virtual devices. They see the product only over the wire, so they are an independent witness.

pub mod coap;
pub mod esp_firmware;
pub mod line;
pub mod micropython;
pub mod mongoose;
pub mod nodemcu;
pub mod riot;
mod stdio;

/// The kinds of virtual devices.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run virtual boards that speak the native protocol over CoAP
    Coap(Box<coap::Options>),
    /// Run virtual MicroPython boards with the ESP-FIRMWARE firmware
    EspFirmware(Box<esp_firmware::Options>),
    /// Run virtual units: sensors that say lines, lamps that are told them
    Line(Box<line::Options>),
    /// Run virtual MicroPython boards with Motehub's agent
    Micropython(Box<micropython::Options>),
    /// Run virtual lights with Mongoose OS
    Mongoose(Box<mongoose::Options>),
    /// Run virtual NodeMCU (ESP8266, Lua) boards
    Nodemcu(Box<nodemcu::Options>),
    /// Run virtual RIOT nodes that speak CoAP
    Riot(Box<riot::Options>),
    /// Run virtual nodes that open a WebSocket
    Ws(Box<riot::websocket::Options>),
    /// One killable group of virtual boards; started by `nodemcu`, spoken to over stdin and stdout
    #[command(hide = true)]
    NodemcuGroup,
}

/// Runs virtual devices until a signal ends them.
///
/// # Errors
/// When the settings contradict each other or a flash folder cannot be prepared.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Coap(options) => coap::run(&options),
        Command::EspFirmware(options) => esp_firmware::run(&options),
        Command::Line(options) => line::run(&options),
        Command::Micropython(options) => micropython::run(&options),
        Command::Mongoose(options) => mongoose::run(&options),
        Command::Nodemcu(options) => nodemcu::run(*options),
        Command::Riot(options) => riot::run(&options),
        Command::Ws(options) => riot::websocket::run(&options),
        Command::NodemcuGroup => nodemcu::run_group(),
    }
}
