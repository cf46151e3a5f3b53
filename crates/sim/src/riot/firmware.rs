//! What each firmware has and says, as the RIOT firmwares of 2019 do it: some answers are filled with NUL up to 64
//! bytes, one has its own name before it, and one resource is listed but not found.

/// A firmware of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// A node with an LED.
    Leds,
    /// A weather station with temperature, pressure and humidity.
    Bmx280,
    /// One with temperature and pressure, whose answers are filled with NUL.
    Bmp180,
    /// A gas sensor; one of its resources is listed and not found.
    Ccs811,
    /// A light sensor.
    Tsl2561,
    /// A motion sensor that posts ten times a second.
    Imu,
    /// A robot with a pad and a joystick.
    Robot,
    /// A node that runs a program that it is given.
    Script,
    /// A camera, which says where its picture is.
    Camera,
    /// A node that takes new firmware over and over.
    Update,
}

/// How long an update takes, from the trigger to the end, in milliseconds.
const UPDATE_MS: u64 = 60_000;

/// What a node measures at a moment.
pub(super) struct Moment {
    /// Milliseconds since it started.
    pub(super) at_ms: u64,
    /// Differs from node to node.
    pub(super) seed: u64,
}

impl Moment {
    /// A number that goes up and down, within so much of the middle.
    fn wave(&self, middle: f64, within: f64, period_s: f64) -> f64 {
        let phase = (self.seed % 628) as f64 / 100.0;
        let turns = self.at_ms as f64 / 1000.0 / period_s * std::f64::consts::TAU;
        middle + within * (turns + phase).sin()
    }
}

impl Firmware {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Leds,
        Self::Bmx280,
        Self::Bmp180,
        Self::Ccs811,
        Self::Tsl2561,
        Self::Imu,
        Self::Robot,
        Self::Script,
        Self::Camera,
        Self::Update,
    ];

    /// What it calls itself.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Leds => "Node LED",
            Self::Bmx280 | Self::Bmp180 => "Weather Sensor",
            Self::Ccs811 => "Gas Sensor",
            Self::Tsl2561 => "Light Sensor",
            Self::Imu => "IMU Unit",
            Self::Robot => "Robot",
            Self::Script => "Node JS",
            Self::Camera => "Camera",
            Self::Update => "Node SUIT",
        }
    }

    /// The resources that it lists, in its order.
    pub(super) fn resources(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::Leds => &["led"],
            Self::Bmx280 => &["humidity", "position", "pressure", "temperature"],
            Self::Bmp180 => &["position", "pressure", "temperature"],
            Self::Ccs811 => &["eco2", "position", "tvoc"],
            Self::Tsl2561 => &["illuminance", "position"],
            Self::Imu => &["imu"],
            Self::Robot => &["position", "ribot", "robot"],
            Self::Script => &["js"],
            Self::Camera => &["position", "webcam"],
            Self::Update => &["dwnld", "suit_state"],
        };
        let mut all = [&["board", "mcu", "name", "os"], own].concat();
        all.sort_unstable();
        all
    }

    /// How often it posts what it measures, in milliseconds.
    pub(super) fn period_ms(self) -> Option<u64> {
        match self {
            Self::Leds | Self::Robot | Self::Script | Self::Camera => None,
            Self::Update => Some(2_000),
            Self::Bmx280 | Self::Bmp180 | Self::Ccs811 | Self::Tsl2561 => Some(5_000),
            Self::Imu => Some(200),
        }
    }

    /// What it posts: `resource:value`.
    pub(super) fn posts(self, moment: &Moment) -> Vec<String> {
        let post = |name: &str| measured(name, moment).map(|value| format!("{name}:{value}"));
        match self {
            Self::Leds | Self::Robot | Self::Script | Self::Camera => Vec::new(),
            Self::Update => ["suit_state", "dwnld"].iter().filter_map(|name| post(name)).collect(),
            Self::Bmx280 => {
                ["temperature", "pressure", "humidity"].iter().filter_map(|name| post(name)).collect()
            }
            Self::Bmp180 => ["temperature", "pressure"].iter().filter_map(|name| post(name)).collect(),
            Self::Ccs811 => ["eco2", "tvoc"].iter().filter_map(|name| post(name)).collect(),
            Self::Tsl2561 => post("illuminance").into_iter().collect(),
            Self::Imu => ["acc", "gyro"].map(|kind| format!("imu:{}", motion(kind, moment))).into(),
        }
    }

    /// What a resource that can be written says before anybody writes it; `None` if it cannot be written.
    pub(super) fn at_start(self, name: &str) -> Option<&'static str> {
        match (self, name) {
            (Self::Leds, "led") => Some("0"),
            (Self::Robot, "robot") => Some("s"),
            (Self::Robot, "ribot") => Some("0:0:0\n"),
            (Self::Script, "js") => Some("// no program yet\n"),
            _ => None,
        }
    }

    /// Whether a text may be written to a resource that can be written.
    pub(super) fn takes(name: &str, text: &str) -> bool {
        match name {
            "led" => matches!(text, "0" | "1"),
            "robot" => matches!(text, "u" | "l" | "r" | "s"),
            "ribot" => text.strip_suffix('\n').is_some_and(|order| {
                let parts: Vec<Option<i16>> = order.split(':').map(|part| part.parse().ok()).collect();
                parts.len() == 3 && parts.iter().all(|part| part.is_some_and(|part| part.abs() <= 255))
            }),
            _ => !text.is_empty(),
        }
    }

    /// What it answers to a GET; `None` is not found.
    pub(super) fn answer(self, name: &str, moment: &Moment) -> Option<Vec<u8>> {
        let fixed = match name {
            "board" => Some("samr21-xpro"),
            "mcu" => Some("samd21"),
            "os" => Some("riot"),
            "name" => Some(self.name()),
            _ => None,
        };
        if !self.resources().contains(&name) || name == "eco2" {
            return None;
        }
        let text = match (fixed, name) {
            (Some(text), _) => text.to_owned(),
            (None, "imu") => format!("imu:{}", motion("acc", moment)),
            (None, "position") => position(moment.seed),
            (None, name) => measured(name, moment)?,
        };
        let mut bytes = text.into_bytes();
        if matches!(self, Self::Bmp180 | Self::Ccs811 | Self::Tsl2561) && fixed.is_none() {
            bytes.resize(64, 0);
        }
        Some(bytes)
    }
}

fn measured(name: &str, moment: &Moment) -> Option<String> {
    Some(match name {
        "temperature" => format!("{:.1}°C", moment.wave(21.0, 4.0, 600.0)),
        "pressure" => format!("{:.2}hPa", moment.wave(1013.0, 12.0, 3600.0)),
        "humidity" => format!("{:.2}%", moment.wave(45.0, 15.0, 900.0)),
        "eco2" => format!("{:.0}ppm", moment.wave(600.0, 190.0, 300.0)),
        "tvoc" => format!("{:.0}ppb", moment.wave(40.0, 30.0, 300.0)),
        "illuminance" => format!("{:.0}lx", moment.wave(320.0, 200.0, 120.0)),
        "suit_state" => update(moment).0.to_string(),
        "dwnld" => update(moment).1.to_string(),
        _ => return None,
    })
}

/// How far an update is: its state, and how many percent are there.
fn update(moment: &Moment) -> (u64, u64) {
    match moment.at_ms % UPDATE_MS * 100 / UPDATE_MS {
        0..4 => (1, 0),
        4..10 => (2, 0),
        at @ 10..80 => (6, (at - 10) * 100 / 70),
        80..90 => (9, 100),
        _ => (11, 100),
    }
}

/// Nodes are on one campus, each at a place of its own.
fn position(seed: u64) -> String {
    let lat = 48.714_784 + (seed * 37 % 101) as f64 / 50_000.0;
    let lng = 2.205_502 + (seed * 53 % 103) as f64 / 30_000.0;
    format!(r#"{{"lat":{lat:.6},"lng":{lng:.6}}}"#)
}

fn motion(kind: &str, moment: &Moment) -> String {
    let [x, y, z] = [3.0, 5.0, 7.0].map(|period| moment.wave(0.0, 500.0, period).round());
    format!(r#"[{{"type":"{kind}","values":[{x},{y},{z}]}}]"#)
}
