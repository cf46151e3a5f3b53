//! The command line of virtual units: settings from flags, commands as JSON lines on standard input, facts as JSON
//! lines on standard output.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::fleet::{Command, Fleet};
use super::unit::{Config, Kind};
use crate::stdio;

const EXAMPLE: &str = r#"Example:
  motehub sim line --sensor light@127.0.0.2:8888 --lamp lamp@127.0.0.3:8888

Commands, one JSON object per line on standard input:
  {"unit":"light","do":"count"}          what it said and was told so far
  {"unit":"light","do":"power_off"}      it is gone; power_on is back, {"do":"move","to":"127.0.0.9:8888"} elsewhere
  {"unit":"light","do":"vanish"}         it is gone, and its connection stands without a word
  {"unit":"light","do":"garbage"}        it says bytes that mean nothing
  {"unit":"light","do":"endless","bytes":10000000}   it says so many bytes without an end
  {"unit":"light","do":"slow"}           it says a byte at a time; {"do":"well"} as before
  {"unit":"lamp","do":"deaf"}            it takes connections and reads nothing; {"do":"well"} as before

Facts, one JSON object per line on standard output, named by "fact": ready, connected, closed, told, gone, moved, count;
and when it ends, summary."#;

/// Settings of virtual units.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// A light sensor; port 0 takes a free one; repeatable
    #[arg(long, value_name = "NAME@ADDR")]
    sensor: Vec<String>,
    /// A lamp; repeatable
    #[arg(long, value_name = "NAME@ADDR")]
    lamp: Vec<String>,
    /// So many light sensors, named sensor-1 and so on, at addresses that count up from this one
    #[arg(long, value_name = "COUNT@ADDR")]
    sensors: Option<String>,
    /// How long a sensor waits between two readings
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: u64,
    /// Sensors say the number of the reading, from 1, in place of what they measure
    #[arg(long)]
    counting: bool,
    /// They dial in there, from their addresses, and do not listen
    #[arg(long, value_name = "ADDR")]
    dial: Option<SocketAddr>,
    /// They begin each connection with a line that has their name
    #[arg(long)]
    greet: bool,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

impl Options {
    fn units(&self) -> anyhow::Result<Vec<Config>> {
        let unit = |kind: Kind, name: String, address: SocketAddr| Config {
            name,
            kind,
            address,
            interval: Duration::from_millis(self.interval_ms),
            counting: self.counting,
            dial: self.dial,
            greet: self.greet,
        };
        let mut units = Vec::new();
        for (kind, texts) in [(Kind::Sensor, &self.sensor), (Kind::Lamp, &self.lamp)] {
            for text in texts {
                let (name, address) = named(text)?;
                units.push(unit(kind, name.to_owned(), address));
            }
        }
        if let Some(text) = &self.sensors {
            let (count, first) = named(text)?;
            let count: u32 = count.parse().with_context(|| format!("{text:?}: a number and an address"))?;
            let IpAddr::V4(ip) = first.ip() else { bail!("{text:?}: addresses that count up are of IPv4") };
            for number in 0..count {
                let ip = std::net::Ipv4Addr::from_bits(ip.to_bits().wrapping_add(number));
                let address = SocketAddr::new(ip.into(), first.port());
                units.push(unit(Kind::Sensor, format!("sensor-{}", number + 1), address));
            }
        }
        if units.is_empty() {
            bail!("name at least one unit: --sensor light@127.0.0.2:8888");
        }
        Ok(units)
    }
}

fn named(text: &str) -> anyhow::Result<(&str, SocketAddr)> {
    let wrong = || format!("{text:?} is no name and address, such as light@127.0.0.2:8888");
    let (name, address) = text.split_once('@').with_context(wrong)?;
    Ok((name, address.parse().with_context(wrong)?))
}

/// Runs units until a signal ends them.
///
/// # Errors
/// When a unit cannot listen where it shall.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut fleet = Fleet::start(options.units()?).await?;
        let mut lines = stdio::lines();
        let mut is_open = true;
        loop {
            tokio::select! {
                Some(fact) = fleet.facts.recv() => stdio::print(&fact.to_string())?,
                line = lines.recv(), if is_open => match line {
                    Some(line) => match serde_json::from_str::<Command>(&line) {
                        Ok(command) => fleet.order(command),
                        Err(error) => eprintln!("{line:?} is no command: {error}"),
                    },
                    None if options.until_eof => break,
                    None => is_open = false,
                },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        stdio::print(&fleet.summary().to_string())
    })
}
