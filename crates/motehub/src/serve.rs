//! `motehub serve`: settings from the command line, the environment and a file, in this order of precedence.

mod announce;
mod boards;
mod file;
mod outside;
mod pusher;
mod several;
pub(crate) mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use motehub_domain::topic::TopicFilter;
use motehub_gateway::http::CONNECTIONS_MAX as HTTP_CONNECTIONS_MAX;
use motehub_server::{Clock, Keep, Nodes, Pyaiot, Server, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::open_files;
use file::{File, read_file};

/// Exit code after a second signal.
const EXIT_FORCED: i32 = 130;

/// The largest firmware by default: the whole flash of an ESP32.
const FIRMWARE_MAX_MIB: usize = 16;

/// Settings of a hub. Each can also be set by the environment variable shown, or in a TOML file under its long
/// name without the dashes, such as `mqtt-tls = "0.0.0.0:8883"`.
#[derive(clap::Args, Default)]
#[command(
    after_help = "Example:\n  motehub serve --data /var/lib/motehub --http 0.0.0.0:8080 --mqtt 0.0.0.0:1883\n\n\
    When everything is bound, one line of JSON on the standard output says so, with the addresses.\n\
    At the first start a one-time link for the first administrator is printed on the standard error."
)]
pub(crate) struct Options {
    /// The folder that holds everything the hub keeps
    #[arg(long, value_name = "DIR", env = "MOTEHUB_DATA")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) several: several::NodeOptions,
    /// Where the dashboard, the API and device-facing HTTP listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_HTTP")]
    pub(crate) http: Option<String>,
    /// Where the same is served over TLS, and gateways on other hosts come in; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_HTTPS")]
    pub(crate) https: Option<String>,
    /// Where MQTT listens [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MQTT")]
    pub(crate) mqtt: Option<String>,
    /// Where MQTT over TLS listens; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MQTT_TLS")]
    pub(crate) mqtt_tls: Option<String>,
    /// Where MQTT over WebSocket listens; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MQTT_WS")]
    pub(crate) mqtt_ws: Option<String>,
    /// Where CoAP listens, such as 0.0.0.0:5683; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_COAP")]
    pub(crate) coap: Option<String>,
    /// Where CoAP over DTLS listens, such as 0.0.0.0:5684, for devices with keys; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_COAPS")]
    pub(crate) coaps: Option<String>,
    /// Where WebSocket nodes of the Pyaiot family come in (/node), such as 0.0.0.0:8001; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_NODES_WS")]
    pub(crate) nodes_ws: Option<String>,
    /// Where MQTT nodes of the Pyaiot family come in, without a credential, such as 0.0.0.0:1886; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_NODES_MQTT")]
    pub(crate) nodes_mqtt: Option<String>,
    /// Where MQTT-SN nodes of the Pyaiot family come in, over UDP, such as 0.0.0.0:1885; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MQTT_SN")]
    pub(crate) mqtt_sn: Option<String>,
    /// Where Mongoose OS devices and programs made for mDash are served; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MDASH")]
    pub(crate) mdash: Option<String>,
    /// Where the HTTP data plane of AWS IoT is served, over TLS (shadows); off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_AWS")]
    pub(crate) aws: Option<String>,
    /// Let the users of the original phone app in at --mdash, whose name is their password, and let it pair devices
    /// without a proof of possession (a weakness that the dashboard shows)
    #[arg(long, env = "MOTEHUB_MDASH_APP_USERS")]
    pub(crate) mdash_app_users: bool,
    /// Where Pyaiot gateways (/gw) and programs made for Pyaiot (/ws) are served; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_PYAIOT")]
    pub(crate) pyaiot: Option<String>,
    /// Show all nodes at --pyaiot to anybody, without a login (a weakness that the dashboard shows)
    #[arg(long, env = "MOTEHUB_PYAIOT_ANONYMOUS")]
    pub(crate) pyaiot_anonymous: bool,
    /// A page whose visitors may use their login at --pyaiot, such as http://lab:8080; repeatable
    #[arg(long, value_name = "ORIGIN", env = "MOTEHUB_PYAIOT_ORIGIN", value_delimiter = ',')]
    pub(crate) pyaiot_origin: Vec<String>,
    #[command(flatten)]
    pub(crate) pusher: pusher::PusherOptions,
    #[command(flatten)]
    pub(crate) boards: boards::BoardOptions,
    #[command(flatten)]
    pub(crate) units: units::UnitOptions,
    /// Open these topics to MQTT clients without credentials (a weakness that the dashboard shows); repeatable
    #[arg(long, value_name = "FILTER", env = "MOTEHUB_MQTT_ANONYMOUS", value_delimiter = ',')]
    pub(crate) mqtt_anonymous: Vec<String>,
    /// A balancer in this network says from whom each TCP connection comes (the PROXY protocol), such as 10.0.0.7;
    /// repeatable
    #[arg(long, value_name = "NETWORK", env = "MOTEHUB_BALANCER", value_delimiter = ',')]
    pub(crate) balancer: Vec<String>,
    /// A certificate chain in PEM for the TLS listeners; without it the hub makes its own authority (DIR/tls/ca.pem)
    #[arg(long, value_name = "FILE", env = "MOTEHUB_TLS_CERTIFICATE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The private key of that certificate in PEM
    #[arg(long, value_name = "FILE", env = "MOTEHUB_TLS_KEY", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How many days the points of telemetry are kept, 0 for ever; single metrics may say otherwise [default: 90]
    #[arg(long, value_name = "DAYS", env = "MOTEHUB_KEEP_POINTS")]
    pub(crate) keep_points: Option<u32>,
    /// How many days its summaries of minutes are kept, 0 for ever [default: 400]
    #[arg(long, value_name = "DAYS", env = "MOTEHUB_KEEP_MINUTES")]
    pub(crate) keep_minutes: Option<u32>,
    /// How many days its summaries of hours are kept, 0 for ever; those of days stay [default: 3660]
    #[arg(long, value_name = "DAYS", env = "MOTEHUB_KEEP_HOURS")]
    pub(crate) keep_hours: Option<u32>,
    #[command(flatten)]
    pub(crate) outside: outside::OutsideOptions,
    /// Append every change as a line of JSON to this file, for other tools
    #[arg(long, value_name = "FILE", env = "MOTEHUB_ACTIVITY_FILE")]
    pub(crate) activity_file: Option<PathBuf>,
    /// Where devices reach --http, such as https://hub.example: jobs for AWS IoT SDKs name it
    #[arg(long, value_name = "URL", env = "MOTEHUB_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// The largest firmware file that is taken, in MiB [default: 16]
    #[arg(long, value_name = "MIB", env = "MOTEHUB_FIRMWARE_MAX_MIB")]
    pub(crate) firmware_max_mib: Option<usize>,
    /// A TOML file with any of these settings, and the section [mqtt-limits] (docs/reference/mqtt-limits.md)
    #[arg(long, value_name = "FILE", env = "MOTEHUB_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// Runs a hub until a signal ends it.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    log_to_stderr();
    let settings = settings(options)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let shutdown = on_signals()?;
        serve(settings, shutdown, |_| {}).await
    })
}

/// Binds, announces, runs. `bound` is told the addresses.
pub(crate) async fn serve(
    settings: Settings,
    shutdown: CancellationToken,
    bound: impl FnOnce(&Server),
) -> anyhow::Result<()> {
    open_files::raise(settings.mqtt_limits.connections_max + HTTP_CONNECTIONS_MAX);
    let data = settings.data.display().to_string();
    let server = Server::bind(settings).await.with_context(|| format!("starting a hub on {data}"))?;
    announce::ready(&server);
    bound(&server);
    server.run(shutdown).await?;
    Ok(())
}

/// Puts the three sources of settings together and checks each.
pub(crate) fn settings(options: Options) -> anyhow::Result<Settings> {
    let file = match &options.config {
        Some(path) => read_file(path)?,
        None => File::default(),
    };
    let Some(data) = options.data.or(file.data) else {
        bail!(
            "data: say where the hub keeps its data: --data DIR, MOTEHUB_DATA, or data in the settings file"
        );
    };
    let http = options.http.or(file.http).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let mqtt = options.mqtt.or(file.mqtt).unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    let https = options.https.or(file.https);
    let mqtt_tls = options.mqtt_tls.or(file.mqtt_tls);
    let mqtt_ws = options.mqtt_ws.or(file.mqtt_ws);
    let coap = options.coap.or(file.coap);
    let coaps = options.coaps.or(file.coaps);
    let bound = |name: &str, text: Option<String>| text.map(|text| address(name, &text)).transpose();
    let nodes = Nodes {
        websocket: bound("nodes-ws", options.nodes_ws.or(file.nodes_ws))?,
        mqtt: bound("nodes-mqtt", options.nodes_mqtt.or(file.nodes_mqtt))?,
        mqtt_sn: bound("mqtt-sn", options.mqtt_sn.or(file.mqtt_sn))?,
    };
    let mdash = options.mdash.or(file.mdash);
    let aws = options.aws.or(file.aws);
    let pyaiot = options.pyaiot.or(file.pyaiot);
    let origins = if options.pyaiot_origin.is_empty() { file.pyaiot_origin } else { options.pyaiot_origin };
    let pyaiot = Pyaiot {
        address: pyaiot.map(|text| address("pyaiot", &text)).transpose()?,
        anonymous: options.pyaiot_anonymous || file.pyaiot_anonymous,
        origins: origins.iter().map(|text| origin("pyaiot-origin", text)).collect::<Result<_, _>>()?,
    };
    let of_file = pusher::PusherOptions {
        pusher: file.pusher,
        pusher_tls: file.pusher_tls,
        pusher_origin: file.pusher_origin,
    };
    let pusher = pusher::settings(options.pusher, of_file)?;
    let of_file = boards::BoardOptions {
        esp_firmware: file.esp_firmware,
        esp_firmware_port: file.esp_firmware_port,
        esp_firmware_network: file.esp_firmware_network,
        logstash: file.logstash,
    };
    let line = units::UnitOptions { line_listen: file.line_listen, line_network: file.line_network };
    let several = options.several.or(several::NodeOptions {
        store: file.store,
        bus: file.bus,
        bus_ca: file.bus_ca,
        bus_key: file.bus_key,
        node: file.node,
    });
    let (store, bus, node) = several.settings(&data)?;
    let outside = options.outside.or(outside::OutsideOptions {
        webhook_network: file.webhook_network,
        smtp: file.smtp,
        smtp_password_file: file.smtp_password_file,
        mail_from: file.mail_from,
    });
    let before = if options.balancer.is_empty() { file.balancer } else { options.balancer };
    let balancers = before.iter().map(|text| outside::network("balancer", text)).collect::<Result<_, _>>()?;
    let open = if options.mqtt_anonymous.is_empty() { file.mqtt_anonymous } else { options.mqtt_anonymous };
    let mqtt_anonymous = open.iter().map(|text| filter(text)).collect::<Result<_, _>>()?;
    let certificate = options.tls_certificate.or(file.tls_certificate);
    let tls_files = match (certificate, options.tls_key.or(file.tls_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => bail!("tls-certificate and tls-key: give both or none"),
    };
    let usual = Keep::default();
    let keep = Keep {
        points_days: options.keep_points.or(file.keep_points).unwrap_or(usual.points_days),
        minutes_days: options.keep_minutes.or(file.keep_minutes).unwrap_or(usual.minutes_days),
        hours_days: options.keep_hours.or(file.keep_hours).unwrap_or(usual.hours_days),
    };
    let firmware_max_mib = options.firmware_max_mib.or(file.firmware_max_mib);
    let firmware_bytes_max = match firmware_max_mib.unwrap_or(FIRMWARE_MAX_MIB) {
        mib @ 1..=1024 => mib * 1024 * 1024,
        _ => bail!("firmware-max-mib: 1 to 1024"),
    };
    Ok(Settings {
        store,
        data,
        bus,
        node,
        webhook_networks: outside.networks()?,
        smtp: outside.mail(std::env::var("MOTEHUB_SMTP_PASSWORD").ok())?,
        activity_file: options.activity_file.or(file.activity_file),
        http: address("http", &http)?,
        https: https.map(|text| address("https", &text)).transpose()?,
        mqtt: address("mqtt", &mqtt)?,
        mqtt_tls: mqtt_tls.map(|text| address("mqtt-tls", &text)).transpose()?,
        mqtt_ws: mqtt_ws.map(|text| address("mqtt-ws", &text)).transpose()?,
        coap: coap.map(|text| address("coap", &text)).transpose()?,
        coaps: coaps.map(|text| address("coaps", &text)).transpose()?,
        nodes,
        riot_port: motehub_gateway::coap::NODE_PORT,
        mdash: mdash.map(|text| address("mdash", &text)).transpose()?,
        aws: aws.map(|text| address("aws", &text)).transpose()?,
        mdash_app_users: options.mdash_app_users || file.mdash_app_users,
        pyaiot,
        pusher,
        esp_firmware: boards::settings(options.boards, of_file)?,
        line: units::settings(options.units, line)?,
        mqtt_anonymous,
        balancers,
        mqtt_limits: crate::limits::limits(&file.mqtt_limits)?,
        tls_files,
        keep,
        public_url: options.public_url.or(file.public_url).map(|text| base(&text)).transpose()?,
        firmware_bytes_max,
        clock: Clock::System,
    })
}

pub(crate) fn address(name: &str, text: &str) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    resolved.with_context(|| {
        format!("{name}: {text:?} is not an address and a port, such as 0.0.0.0:8080 (port 0: any)")
    })
}

fn base(text: &str) -> anyhow::Result<String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |host: &str| !host.is_empty() && !host.contains(['?', '#', '@', ' ']);
    if !host.is_some_and(is_plain) {
        bail!("public-url: {text:?} is not http:// or https:// with a host, such as https://hub.example");
    }
    Ok(text.to_owned())
}

fn origin(name: &str, text: &str) -> anyhow::Result<String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host.filter(|host| !host.is_empty() && !host.contains(['/', ' ', '*'])) {
        Some(_) => Ok(text.to_owned()),
        None => bail!("{name}: {text:?} is no origin, such as http://lab:8080"),
    }
}

fn filter(text: &str) -> anyhow::Result<TopicFilter> {
    if text.starts_with('$') {
        bail!("mqtt-anonymous: {text:?}: topics that begin with $ are the hub's own");
    }
    TopicFilter::parse(text).map_err(|rejection| anyhow::anyhow!("mqtt-anonymous: {text:?}: {rejection}"))
}

/// The first signal drains, the second ends at once.
pub(crate) fn on_signals() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(EXIT_FORCED);
            }
            token.cancel();
        }
    });
    Ok(shutdown)
}

/// Structured logs on the standard error; `RUST_LOG` chooses, warnings and information by default.
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,async_nats=off"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named() {
        type Mistake = fn(&mut Options);
        let with = |change: Mistake| {
            let mut options = Options { data: Some("data".into()), ..Options::default() };
            change(&mut options);
            format!("{:#}", settings(options).expect_err("it is wrong"))
        };
        let cases: [(Mistake, &str); 12] = [
            (|o| o.several.store = Some("mysql://db".into()), "store:"),
            (|o| o.several.node = Some("Kitchen".into()), "node:"),
            (|o| o.several.bus = Some("nats://bus".into()), "bus: several nodes share one PostgreSQL"),
            (|o| o.several.bus_ca = Some("ca.pem".into()), "bus-ca"),
            (|o| o.data = None, "data:"),
            (|o| o.http = Some("nowhere".into()), "http:"),
            (|o| o.mqtt_tls = Some("1.2.3.4".into()), "mqtt-tls:"),
            (|o| o.mqtt_anonymous = vec!["a/#/b".into()], "mqtt-anonymous:"),
            (|o| o.boards.esp_firmware_port = Some(8080), "esp-firmware:"),
            (
                |o| {
                    o.boards.esp_firmware = true;
                    o.boards.esp_firmware_network = vec!["lab".into()];
                },
                "esp-firmware-network:",
            ),
            (|o| o.public_url = Some("hub.example".into()), "public-url:"),
            (|o| o.config = Some("/does/not/exist.toml".into()), "config:"),
        ];
        for (change, expected) in cases {
            let error = with(change);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_file_with_an_unknown_setting_is_refused_by_name() {
        let error = toml::from_str::<File>("htpp = \"1.2.3.4:80\"").err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("htpp")));
    }
}
