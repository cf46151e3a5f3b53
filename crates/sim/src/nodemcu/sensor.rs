//! What the board's pins feel: generators per channel, seeded by the chip id so that runs repeat and boards
//! differ.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What a board measures without being told otherwise.
const DEFAULTS: [&str; 4] =
    ["adc=sine:100:900:120", "gpio=sine:0:1:40", "temperature=walk:18:26:0.2", "humidity=walk:35:65:0.5"];

/// A thing that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    /// `adc.read(0)`, 0 to 1024.
    Adc,
    /// All digital inputs that have no generator of their own; high from 0.5.
    AnyGpio,
    /// One digital input.
    Gpio(u8),
    /// The DHT sensor's temperature in degrees Celsius.
    Temperature,
    /// The DHT sensor's relative humidity in percent.
    Humidity,
}

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wave {
    /// Between two values and back, once per period.
    Sine { min: f64, max: f64, period_seconds: f64 },
    /// A random step at each reading, within bounds.
    Walk { min: f64, max: f64, step: f64 },
    /// Always the same.
    Constant(f64),
}

/// `adc=sine:MIN:MAX:SECONDS`, `gpio5=const:1`, `temperature=walk:MIN:MAX:STEP`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    channel: Channel,
    wave: Wave,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (channel, wave) = text.split_once('=').ok_or("a sensor reads channel=wave")?;
        let channel = match channel {
            "adc" => Channel::Adc,
            "gpio" => Channel::AnyGpio,
            "temperature" => Channel::Temperature,
            "humidity" => Channel::Humidity,
            _ => match channel.strip_prefix("gpio").and_then(|pin| pin.parse().ok()) {
                Some(pin) if pin <= 12 => Channel::Gpio(pin),
                _ => return Err("channels are adc, gpio, gpio0 to gpio12, temperature and humidity".into()),
            },
        };
        let mut parts = wave.split(':');
        let kind = parts.next().unwrap_or_default();
        let numbers: Vec<f64> = parts
            .map(|part| part.parse().ok().filter(|number: &f64| number.is_finite()))
            .collect::<Option<_>>()
            .ok_or("a wave has numbers after its kind")?;
        let wave = match (kind, numbers.as_slice()) {
            ("sine", &[min, max, period_seconds]) if min <= max && period_seconds > 0.0 => {
                Wave::Sine { min, max, period_seconds }
            }
            ("walk", &[min, max, step]) if min <= max && step >= 0.0 => Wave::Walk { min, max, step },
            ("const", &[value]) => Wave::Constant(value),
            _ => return Err("waves are sine:MIN:MAX:SECONDS, walk:MIN:MAX:STEP and const:VALUE".into()),
        };
        Ok(Self { channel, wave })
    }
}

/// The senses of one board.
pub(crate) struct Sensors {
    waves: BTreeMap<Channel, Wave>,
    walks: BTreeMap<Channel, f64>,
    phase: f64,
    random: u64,
}

impl Sensors {
    /// Later settings win over earlier ones and over the defaults.
    pub(crate) fn new(chip_id: u32, settings: &[Setting]) -> Self {
        let defaults = DEFAULTS.iter().filter_map(|text| text.parse::<Setting>().ok());
        let waves =
            defaults.chain(settings.iter().copied()).map(|setting| (setting.channel, setting.wave)).collect();
        let mut sensors = Self { waves, walks: BTreeMap::new(), phase: 0.0, random: u64::from(chip_id) };
        sensors.phase = sensors.uniform();
        sensors
    }

    /// The value of a channel, `seconds` after the fleet started.
    pub(crate) fn read(&mut self, channel: Channel, seconds: f64) -> f64 {
        let wave = match channel {
            Channel::Gpio(_) => self.waves.get(&channel).or_else(|| self.waves.get(&Channel::AnyGpio)),
            _ => self.waves.get(&channel),
        };
        match wave.copied().unwrap_or(Wave::Constant(0.0)) {
            Wave::Constant(value) => value,
            Wave::Sine { min, max, period_seconds } => {
                let turn = (seconds / period_seconds + self.phase) * std::f64::consts::TAU;
                min + (max - min) * (1.0 + turn.sin()) / 2.0
            }
            Wave::Walk { min, max, step } => {
                let start = min + (max - min) * self.uniform();
                let move_by = (self.uniform() * 2.0 - 1.0) * step;
                let value = self.walks.entry(channel).or_insert(start);
                *value = (*value + move_by).clamp(min, max);
                *value
            }
        }
    }

    /// A number from 0 to 1 (SplitMix64).
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_stay_in_their_bounds_and_repeat_by_seed() {
        let settings =
            ["adc=walk:10:20:5", "gpio4=const:1", "temperature=sine:-5:5:10"].map(|t| t.parse().unwrap());
        let (mut one, mut two) = (Sensors::new(7, &settings), Sensors::new(7, &settings));
        for second in 0..200 {
            let at = f64::from(second);
            for (channel, range) in [(Channel::Adc, 10.0..=20.0), (Channel::Temperature, -5.0..=5.0)] {
                let value = one.read(channel, at);
                assert!(range.contains(&value), "{channel:?} {value}");
                assert_eq!(value, two.read(channel, at));
            }
            assert_eq!(one.read(Channel::Gpio(4), at), two.read(Channel::Gpio(4), at));
        }
    }

    #[test]
    fn a_wrong_sensor_is_refused() {
        for text in [
            "adc",
            "adc=sine",
            "adc=sine:1:2",
            "adc=walk:2:1:1",
            "gpio13=const:1",
            "adc=const:NaN",
            "x=const:1",
        ] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}
