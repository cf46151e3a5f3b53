//! `motehub gateway`: a gateway on another host than its hub, and the join file that lets it in.

mod join;
mod kept;
mod tcp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use motehub_domain::time::Span;
use motehub_gateway::hub::Hub;
use motehub_gateway::link::{Ends, Full, RemoteHub, SpoolSettings};
use motehub_gateway::{coap, http, mqtt, nodes};
use motehub_server::Clock;
use motehub_store::StoreUrl;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{open_files, serve};
use join::Join;

/// Gateways on other hosts.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Register a gateway on the hub of a data folder, and print its join file on the standard output
    New(NewOptions),
    /// Serve MQTT clients here, for a hub elsewhere
    Mqtt(MqttOptions),
    /// Serve CoAP nodes here, for a hub elsewhere
    Coap(CoapOptions),
    /// Serve nodes of the Pyaiot family that come by WebSocket, MQTT or MQTT-SN here, for a hub elsewhere
    Ws(NodesOptions),
    /// Reach plain TCP units here, for a hub elsewhere
    Tcp(tcp::TcpOptions),
}

/// What makes a join file.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  motehub gateway new cellar --hub https://10.0.0.5:8443 --data /var/lib/motehub > cellar.join\n\n\
    The file holds the gateway's private key and is shown only now. For a hub on another machine:\n  \
    motehub ctl gateway new"
)]
pub(crate) struct NewOptions {
    /// A name that is not taken
    name: String,
    /// Where the gateway reaches the hub; of a hub of several nodes all of them, with commas between
    #[arg(long, value_name = "URLS")]
    hub: String,
    /// For which devices it may speak; without it for all that show their own credential to it
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// The hub is reached through a proxy, or has a certificate that machines know: its own authority is not used
    #[arg(long)]
    public_certificate: bool,
    /// The data folder of the hub
    #[arg(long, value_name = "DIR", env = "MOTEHUB_DATA")]
    data: PathBuf,
    /// The store of the hub, if it is not in its data folder
    #[arg(long, value_name = "URL", env = "MOTEHUB_STORE", hide_env_values = true)]
    store: Option<StoreUrl>,
}

/// How the hub is reached.
#[derive(clap::Args)]
pub(crate) struct LinkOptions {
    /// The join file of this gateway
    #[arg(long, value_name = "FILE", env = "MOTEHUB_GATEWAY_KEY")]
    key: PathBuf,
    /// Where the hub is, if not where the join file says; several nodes with commas between
    #[arg(long, value_name = "URLS", env = "MOTEHUB_HUB")]
    hub: Option<String>,
    /// Believe this authority (certificates in PEM) and no other [default: that of the join file, or those of this
    /// machine]
    #[arg(long, value_name = "FILE", env = "MOTEHUB_CA")]
    ca: Option<PathBuf>,
    /// The folder for what waits while the link is down [default: the name of the join file with .spool]
    #[arg(long, value_name = "DIR", env = "MOTEHUB_SPOOL")]
    spool: Option<PathBuf>,
    /// How much may wait there, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, env = "MOTEHUB_SPOOL_MIB",
        value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    spool_mib: u32,
    /// How many days it may wait, 0 for ever
    #[arg(long, value_name = "DAYS", default_value_t = 30, env = "MOTEHUB_SPOOL_DAYS",
        value_parser = clap::value_parser!(u32).range(0..=36_500))]
    spool_days: u32,
    /// What happens when it is full
    #[arg(long, value_name = "WHAT", default_value = "drop-oldest", env = "MOTEHUB_SPOOL_FULL")]
    spool_full: WhenFull,
}

/// What happens when a spool is full.
#[derive(Clone, Copy, clap::ValueEnum)]
enum WhenFull {
    /// The oldest messages are dropped, and counted
    DropOldest,
    /// New messages are not acknowledged: devices that want that send them again
    RefuseNewest,
}

/// Where MQTT clients are served.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  motehub gateway mqtt --key cellar.join --mqtt 0.0.0.0:1883\n\n\
    When everything is bound, one line of JSON on the standard output says so, with the addresses.")]
pub(crate) struct MqttOptions {
    #[command(flatten)]
    link: LinkOptions,
    /// Where MQTT listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883", env = "MOTEHUB_MQTT")]
    mqtt: String,
    /// Where MQTT over WebSocket listens; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MQTT_WS")]
    mqtt_ws: Option<String>,
}

/// Where CoAP nodes are served.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  motehub gateway coap --key cellar.join --coap '[::]:5683'\n\n\
    When everything is bound, one line of JSON on the standard output says so, with the address.")]
pub(crate) struct CoapOptions {
    #[command(flatten)]
    link: LinkOptions,
    /// Where CoAP listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5683", env = "MOTEHUB_COAP")]
    coap: String,
    /// Where CoAP over DTLS listens, for devices with keys; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_COAPS")]
    coaps: Option<String>,
}

/// Where nodes of the Pyaiot family are served.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  motehub gateway ws --key cellar.join --nodes-ws 0.0.0.0:8001\n\n\
    When everything is bound, one line of JSON on the standard output says so, with the addresses.")]
pub(crate) struct NodesOptions {
    #[command(flatten)]
    link: LinkOptions,
    /// Where WebSocket nodes come in (/node)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001", env = "MOTEHUB_NODES_WS")]
    nodes_ws: String,
    /// Where MQTT nodes come in; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_NODES_MQTT")]
    nodes_mqtt: Option<String>,
    /// Where MQTT-SN nodes come in, over UDP; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_MQTT_SN")]
    mqtt_sn: Option<String>,
}

/// Runs a command about gateways.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    if !matches!(command, Command::New(_)) {
        serve::log_to_stderr();
    }
    match command {
        Command::New(options) => runtime.block_on(new(options)),
        Command::Mqtt(options) => runtime.block_on(serve_mqtt(options)),
        Command::Coap(options) => runtime.block_on(serve_coap(options)),
        Command::Ws(options) => runtime.block_on(serve_nodes(options)),
        Command::Tcp(options) => runtime.block_on(tcp::serve(options)),
    }
}

#[expect(clippy::print_stdout, reason = "the file is what the command is for")]
async fn new(options: NewOptions) -> anyhow::Result<()> {
    let NewOptions { name, hub, selector, public_certificate, data, store } = options;
    let store = store.unwrap_or_else(|| motehub_server::store_in(&data));
    let made = motehub_server::add_gateway(&store, &data, &name, &selector, &hub, !public_certificate).await;
    print!("{}", made.with_context(|| format!("making the gateway {name:?}"))?);
    Ok(())
}

/// A gateway's end of the link, and the task that keeps it.
struct Linked {
    hub: RemoteHub,
    ends: Ends,
    shutdown: CancellationToken,
}

/// Reads the join file and opens the folder; nothing is reached yet.
async fn linked(options: LinkOptions, serves: &str) -> anyhow::Result<Linked> {
    let LinkOptions { key, hub, ca, spool, spool_mib, spool_days, spool_full } = options;
    let folder = spool.unwrap_or_else(|| key.with_extension("spool"));
    let join = Join::read(&key)?;
    let notes = kept::OwnDisk::open(&folder).await?;
    let spool = SpoolSettings {
        folder,
        bytes_max: u64::from(spool_mib) * 1024 * 1024,
        age_max: (spool_days > 0).then(|| Span::minutes(i64::from(spool_days) * 24 * 60)),
        full: match spool_full {
            WhenFull::DropOldest => Full::DropOldest,
            WhenFull::RefuseNewest => Full::RefuseNewest,
        },
    };
    let settings = join.settings(hub, ca.as_deref(), serves, Box::new(notes), spool)?;
    let (hub, ends) = RemoteHub::new(settings);
    Ok(Linked { hub, ends, shutdown: serve::on_signals()? })
}

async fn serve_mqtt(options: MqttOptions) -> anyhow::Result<()> {
    let Linked { hub, mut ends, shutdown } = linked(options.link, "mqtt").await?;
    let now = Clock::System.now();
    let limits = mqtt::Limits::default();
    open_files::raise(limits.connections_max);
    let settings = mqtt::Settings {
        tcp: Some(serve::address("mqtt", &options.mqtt)?),
        ws: options.mqtt_ws.as_deref().map(|text| serve::address("mqtt-ws", text)).transpose()?,
        limits,
        now_ms: now.0.unsigned_abs(),
        // Larger than any of a former life: identifiers that clients are given are made of it.
        first_connection: now.0.unsigned_abs() << 10,
        ..mqtt::Settings::default()
    };
    let mut orders = ends.take_orders();
    let link = tokio::spawn(hub.clone().run(ends, shutdown.clone()));
    let gateway = mqtt::Gateway::bind(settings, Arc::new(hub) as Arc<dyn Hub>).await?;
    let handle = gateway.handle();
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            order.obey(&handle);
        }
    });
    let bound = gateway.addresses();
    announce([("mqtt", bound.tcp), ("mqtt_ws", bound.ws)]);
    gateway.run(shutdown).await;
    link.await?;
    Ok(())
}

async fn serve_coap(options: CoapOptions) -> anyhow::Result<()> {
    let Linked { hub, ends, shutdown } = linked(options.link, "coap").await?;
    let hub = Arc::new(hub);
    let plain = bind_coap("coap", &options.coap, &hub)?;
    let secure = options.coaps.as_deref().map(|text| bind_coap("coaps", text, &hub)).transpose()?;
    announce([("coap", Some(plain.address())), ("coaps", secure.as_ref().map(coap::Gateway::address))]);
    let link = tokio::spawn(hub.as_ref().clone().run(ends, shutdown.clone()));
    let secure = async {
        if let Some(secure) = secure {
            secure.run(shutdown.clone()).await;
        }
    };
    tokio::join!(plain.run(shutdown.clone()), secure);
    link.await?;
    Ok(())
}

async fn serve_nodes(options: NodesOptions) -> anyhow::Result<()> {
    let Linked { hub, ends, shutdown } = linked(options.link, "ws").await?;
    open_files::raise(http::CONNECTIONS_MAX);
    let remote = hub.clone();
    let hub: Arc<dyn Hub> = Arc::new(hub);
    let websocket = listener("nodes-ws", &options.nodes_ws).await?;
    let mqtt = match &options.nodes_mqtt {
        Some(text) => Some(listener("nodes-mqtt", text).await?),
        None => None,
    };
    let sensors = match &options.mqtt_sn {
        Some(text) => {
            let address = serve::address("mqtt-sn", text)?;
            let bound = nodes::mqtt_sn::Gateway::bind(address, hub.clone(), nodes::Pace::by_topics());
            Some(bound.with_context(|| format!("mqtt-sn: {text} cannot be bound"))?)
        }
        None => None,
    };
    announce([
        ("nodes_ws", websocket.local_addr().ok()),
        ("nodes_mqtt", mqtt.as_ref().and_then(|mqtt| mqtt.local_addr().ok())),
        ("mqtt_sn", sensors.as_ref().map(nodes::mqtt_sn::Gateway::address)),
    ]);
    let link = tokio::spawn(remote.run(ends, shutdown.clone()));
    let routes = nodes::routes(hub.clone(), nodes::Pace::default(), shutdown.clone());
    let of_mqtt = async {
        if let Some(mqtt) = mqtt {
            nodes::mqtt::serve(mqtt, hub.clone(), nodes::Pace::by_topics(), shutdown.clone()).await;
        }
    };
    let of_sensors = async {
        if let Some(sensors) = sensors {
            sensors.run(shutdown.clone()).await;
        }
    };
    tokio::join!(http::serve(websocket, routes, hub.clone(), shutdown.clone()), of_mqtt, of_sensors);
    link.await?;
    Ok(())
}

async fn listener(name: &str, text: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(serve::address(name, text)?).await;
    bound.with_context(|| format!("{name}: {text} cannot be bound"))
}

fn bind_coap(name: &str, text: &str, hub: &Arc<RemoteHub>) -> anyhow::Result<coap::Gateway> {
    let settings = coap::Settings {
        udp: serve::address(name, text)?,
        is_secure: name == "coaps",
        node_port: coap::NODE_PORT,
        limits: coap::Limits::default(),
        draw: coap::draw,
    };
    coap::Gateway::bind(settings, hub.clone()).with_context(|| format!("{name}: {text} cannot be bound"))
}

/// One line of JSON that programs wait for.
#[expect(clippy::print_stdout, reason = "the ready line is part of the command line's contract")]
fn announce(addresses: impl IntoIterator<Item = (&'static str, Option<SocketAddr>)>) {
    let mut line = json!({ "ready": true });
    for (name, address) in addresses {
        if let Some(address) = address {
            line[name] = Value::from(address.to_string());
        }
    }
    println!("{line}");
}
