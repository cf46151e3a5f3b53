//! One hub: binds every socket, knows its addresses, then runs until it is told to stop.

mod addresses;
mod housekeeping;
pub(crate) mod listen;
mod ready;
pub(crate) mod start;
pub(crate) mod workers;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use motehub_domain::time::Span;
use motehub_gateway::balancer::{Balancers, Listener};
use motehub_gateway::hub::Hub;
use motehub_gateway::{coap, http, mqtt};
use motehub_store::Store;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::app::{App, Parts};
use crate::boards::Called;
use crate::claims::Claims;
use crate::cluster::heart;
use crate::dashboards;
use crate::flows;
use crate::gateways::{self, Gateways};
use crate::inbox::Knocks;
use crate::ingest::{self, Intake};
use crate::live::Live;
use crate::mailer::Mailer;
use crate::outside::Outside;
use crate::presence::Connections;
use crate::presence::elsewhere::Elsewhere;
use crate::pusher::{self, Pusher};
use crate::pyaiot::{self, Pyaiot};
use crate::rotation::Origins;
use crate::settings::Settings;
use crate::units::Reached;
use crate::{
    access_key, api, assets, aws, backup, cluster, commands, exposition, hub, mdash, mip, nodes, random,
    reports, retention, rollouts, secrets, shadows, tls, webhooks,
};
pub use addresses::Addresses;
use listen::about;

/// How long the one-time set-up link works.
const SETUP_MAX: Span = Span::minutes(60);
/// How long everything may take to end after the first signal.
const STOP_MAX: Duration = Duration::from_secs(4);

/// A hub whose sockets are bound.
pub struct Server {
    app: App,
    http: TcpListener,
    https: Option<(TcpListener, Arc<ServerConfig>)>,
    mdash: Option<TcpListener>,
    aws: Option<(TcpListener, Arc<ServerConfig>)>,
    pyaiot: Option<TcpListener>,
    pusher: pusher::Listeners,
    logstash: Option<TcpListener>,
    line: Option<TcpListener>,
    nodes: nodes::Listeners,
    mqtt: mqtt::Gateway,
    coap: Vec<coap::Gateway>,
    addresses: Addresses,
    offered: tokio::sync::mpsc::Receiver<motehub_gateway::hub::Arrival>,
    errands: tokio::sync::mpsc::Receiver<flows::reach::Errand>,
    setup_code: Option<String>,
    /// Held while this hub runs.
    _lock: std::fs::File,
}

impl Server {
    /// Opens the data folder and binds every socket. Nothing is served yet.
    pub async fn bind(settings: Settings) -> io::Result<Self> {
        std::fs::create_dir_all(&settings.data)
            .map_err(|e| about(&settings.data.display().to_string(), &e))?;
        std::fs::set_permissions(&settings.data, std::fs::Permissions::from_mode(0o700))?;
        backup::refuse_half_restored(&settings.data)?;
        let _lock = lock(&settings.data)?;
        backup::remove_sent_parts(&settings.data);
        let store = Store::open(&settings.store).await.map_err(io::Error::other)?;
        let gateways = Gateways::new(gateways::hub_name(&store).await.map_err(io::Error::other)?);
        let access_keys = access_key::Origin::open(&settings.data)?;
        let cluster = cluster::begin::begin(&settings, &store, &gateways.hub).await?;
        let now = settings.clock.now();
        let rules = start::first(&store, &cluster, now).await.map_err(io::Error::other)?;
        let last_seq = store.last_seq().await.map_err(io::Error::other)?;
        let knocks = store.knocks().await.map_err(io::Error::other)?;
        let pyaiot_keys = store.pyaiot_keys().await.map_err(io::Error::other)?;
        let pusher_apps = store.pusher_apps().await.map_err(io::Error::other)?;
        let needs_setup = store.admins().await.map_err(io::Error::other)? == 0;
        let setup_code = needs_setup.then(random::secret);
        let setup = setup_code.as_ref().map(|code| (secrets::digest(code), now + SETUP_MAX));
        start::keep_setup(&store, &cluster, setup).await.map_err(io::Error::other)?;

        let http = listen::tcp("--http", settings.http).await?;
        let https = match settings.https {
            Some(address) => Some((listen::tcp("--https", address).await?, tls::server_config(&settings)?)),
            None => None,
        };
        let mdash = listen::tcp_if("--mdash", settings.mdash).await?;
        let aws = match settings.aws {
            Some(address) => Some((listen::tcp("--aws", address).await?, tls::server_config(&settings)?)),
            None => None,
        };
        let pyaiot = listen::tcp_if("--pyaiot", settings.pyaiot.address).await?;
        let pusher = pusher::Listeners::bind(&settings).await?;
        let logstash = settings.esp_firmware.as_ref().and_then(|settings| settings.logstash);
        let logstash = listen::tcp_if("--logstash", logstash).await?;
        let line = listen::tcp_if("--line-listen", settings.line.listen).await?;
        let tls = match settings.mqtt_tls {
            Some(address) => Some((address, tls::server_config(&settings)?)),
            None => None,
        };
        let (intake, offered) = Intake::new();
        let (flows, errands) = flows::Flows::new();
        let app = App::new(Parts {
            store,
            clock: settings.clock.clone(),
            cluster,
            started_at: now,
            live: Live::new(last_seq),
            elsewhere: Elsewhere::default(),
            connections: Connections::default(),
            gateways,
            origins: Origins::default(),
            knocks: Knocks::new(knocks),
            intake,
            events: reports::Events::default(),
            rollouts: rollouts::Rollouts::default(),
            commands: commands::Commands::default(),
            flows,
            rules,
            shadows: shadows::Shadows::default(),
            retention: retention::Retention::default(),
            access_keys,
            throttle: api::Throttle::default(),
            guesses: api::Throttle::default(),
            claims: Claims::default(),
            pyaiot: Pyaiot::new(pyaiot_keys),
            pusher: Pusher::new(pusher_apps),
            bulk: Arc::new(tokio::sync::Semaphore::new(api::BULK_AT_ONCE_MAX)),
            doors: tokio::sync::Semaphore::new(hub::DOORS),
            uploads: tokio::sync::Semaphore::new(api::UPLOADS_AT_ONCE_MAX as usize),
            streams: Arc::new(tokio::sync::Semaphore::new(api::STREAMS_MAX)),
            looks: Arc::new(tokio::sync::Semaphore::new(dashboards::live::LOOKS_MAX)),
            public_looks: Arc::new(tokio::sync::Semaphore::new(dashboards::live::PUBLIC_LOOKS_MAX)),
            setup: Mutex::new(setup),
            points: ingest::Rate::default(),
            bound: OnceLock::new(),
            broker: crate::cluster::mqtt::Broker::default(),
            mqtt: OnceLock::new(),
            outside: OnceLock::new(),
            mailer: settings.smtp.as_ref().map(Mailer::new),
            webhooks: webhooks::Webhooks::default(),
            called: Called::default(),
            lent: http::Links::default(),
            units: Reached::default(),
            metrics: exposition::recorder(),
            settings: settings.clone(),
        });
        if !app.cluster.is_alone() {
            tracing::info!(node = app.cluster.node(), "this node is one of several");
        }
        app.refresh_elsewhere().await.map_err(io::Error::other)?;
        let hub: Arc<dyn Hub> = Arc::new(app.clone());
        let listeners = mqtt::Settings {
            tcp: Some(settings.mqtt),
            tls,
            ws: settings.mqtt_ws,
            balancers: Balancers::within(&settings.balancers),
            limits: settings.mqtt_limits.clone(),
            now_ms: now.0.unsigned_abs(),
            // Larger than any of a former life: identifiers that clients are given are made of it.
            first_connection: now.0.unsigned_abs() << 10,
            ..mqtt::Settings::default()
        };
        let mqtt = mqtt::Gateway::bind(listeners, hub.clone()).await?;
        let nodes = nodes::Listeners::bind(&settings.nodes, &hub).await?;
        let [plain, secure] = listen::coap(&settings, &hub)?;
        let _ = app.mqtt.set(mqtt.handle());
        if settings.esp_firmware.is_some() {
            app.called.begin(hub.clone());
            app.know_boards().await.map_err(io::Error::other)?;
        }
        app.units.begin(hub.clone(), settings.line.networks.clone(), settings.clock.clone());
        app.know_units().await.map_err(io::Error::other)?;
        app.know_units_of_bases().await.map_err(io::Error::other)?;
        let bound = mqtt.addresses();
        let missing = || io::Error::other("the MQTT listener has no address");
        let addresses = Addresses {
            http: http.local_addr()?,
            https: https.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?,
            mqtt: bound.tcp.ok_or_else(missing)?,
            mqtt_tls: bound.tls,
            mqtt_ws: bound.ws,
            coap: plain.as_ref().map(coap::Gateway::address),
            coaps: secure.as_ref().map(coap::Gateway::address),
            mdash: mdash.as_ref().map(TcpListener::local_addr).transpose()?,
            aws: aws.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?,
            pyaiot: pyaiot.as_ref().map(TcpListener::local_addr).transpose()?,
            pusher: pusher.addresses()?,
            nodes: nodes.addresses()?,
            logstash: logstash.as_ref().map(TcpListener::local_addr).transpose()?,
            line: line.as_ref().map(TcpListener::local_addr).transpose()?,
        };
        let _ = app.bound.set(addresses);
        let _ = app.outside.set(Outside::new(&settings.webhook_networks, addresses.ports()));
        let coap = plain.into_iter().chain(secure).collect();
        Ok(Self {
            app,
            http,
            https,
            mdash,
            aws,
            pyaiot,
            pusher,
            logstash,
            line,
            nodes,
            mqtt,
            coap,
            addresses,
            offered,
            errands,
            setup_code,
            _lock,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The one-time link that makes the first administrator, if there is none yet. The code stands behind `#`,
    /// so that no browser sends it in an address.
    pub fn setup_link(&self) -> Option<String> {
        self.setup_code.as_ref().map(|code| format!("http://{}/setup#{code}", self.addresses.http))
    }

    /// Runs until `shutdown`, then drains: sockets first, then the workers.
    pub async fn run(self, shutdown: CancellationToken) -> io::Result<()> {
        let Self {
            app,
            http,
            https,
            mdash,
            aws,
            pyaiot,
            pusher,
            logstash,
            line,
            nodes,
            mqtt,
            coap,
            offered,
            errands,
            _lock,
            ..
        } = self;
        let before = |tcp| Listener { tcp, balancers: Balancers::within(&app.settings.balancers) };
        let gateways = TaskTracker::new();
        let workers = TaskTracker::new();
        let stop_workers = CancellationToken::new();
        let (told_to_end, shutdown) = (shutdown, CancellationToken::new());
        gateways.spawn(mqtt.run(shutdown.clone()));
        gateways.spawn(crate::cluster::mqtt::listen(app.clone(), shutdown.clone()));
        gateways.spawn(crate::cluster::ask::listen(app.clone(), shutdown.clone()));
        for coap in coap {
            gateways.spawn(coap.run(shutdown.clone()));
        }
        let hub: Arc<dyn Hub> = Arc::new(app.clone());
        if let Some(mdash) = mdash {
            let router = mdash::router(&app, shutdown.clone()).layer(CatchPanicLayer::custom(panicked));
            gateways.spawn(http::serve(before(mdash), router, hub.clone(), shutdown.clone()));
        }
        if let Some((aws, tls)) = aws {
            let router = aws::router(&app).layer(CatchPanicLayer::custom(panicked));
            gateways.spawn(http::serve_tls(before(aws), tls, router, hub.clone(), shutdown.clone()));
        }
        if let Some((listener, tls)) = https {
            let router = router(&app, shutdown.clone());
            gateways.spawn(http::serve_tls(before(listener), tls, router, hub.clone(), shutdown.clone()));
        }
        if let Some(listener) = pyaiot {
            let router = pyaiot::router(&app, shutdown.clone()).layer(CatchPanicLayer::custom(panicked));
            gateways.spawn(http::serve(before(listener), router, hub.clone(), shutdown.clone()));
        }
        pusher.serve(&app, &hub, &gateways, &shutdown);
        nodes.serve(&hub, &gateways, &shutdown);
        if let Some(boards) = app.called.boards() {
            gateways.spawn(boards.clone().run(shutdown.clone()));
            if let Some(listener) = logstash {
                gateways.spawn(boards.clone().take_logs(listener, shutdown.clone()));
            }
        }
        if let Some(units) = app.units.here() {
            gateways.spawn(units.clone().run(shutdown.clone()));
            if let Some(listener) = line {
                gateways.spawn(units.clone().listen(listener, shutdown.clone()));
            }
        }
        gateways.spawn(http::serve(before(http), router(&app, shutdown.clone()), hub, shutdown.clone()));
        workers::spawn(&app, &workers, offered, errands, &stop_workers);
        told_to_end.cancelled().await;
        ready::drain(&app).await;
        shutdown.cancel();
        gateways.close();
        workers.close();
        let drained = tokio::time::timeout(STOP_MAX, async {
            gateways.wait().await;
            stop_workers.cancel();
            workers.wait().await;
        });
        if drained.await.is_err() {
            tracing::warn!("not everything ended in time; what was acknowledged is on disk");
        }
        heart::end(&app).await;
        Ok(())
    }
}

fn router(app: &App, shutdown: CancellationToken) -> Router {
    let hub: Arc<dyn Hub> = Arc::new(app.clone());
    let own = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::readyz))
        .route("/metrics", get(exposition::metrics))
        .route("/.well-known/security.txt", get(security_txt))
        .merge(mip::routes())
        .with_state(app.clone());
    let pages = api::router(app)
        .merge(own)
        .fallback_service(assets::routes())
        .layer(axum::Extension(shutdown.clone()))
        .layer(axum::middleware::from_fn(api::answers))
        .layer(CompressionLayer::new())
        .layer(axum::middleware::from_fn(assets::with_headers));
    let devices = http::nodemcu_routes(hub.clone()).merge(http::native_routes(hub, shutdown.clone()));
    pages.merge(devices).merge(gateways::routes(app, shutdown)).layer(CatchPanicLayer::custom(panicked))
}

/// A panic is a defect of ours: counted, logged, and answered without a word of what was inside.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    metrics::counter!("motehub_panics_total").increment(1);
    tracing::error!("a request made the program panic: please report it");
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONNECTION, "close")]).into_response()
}

async fn security_txt() -> Response {
    let text = "Contact: https://github.com/motehub/motehub/security/advisories/new\n\
        Expires: 2028-12-31T00:00:00.000Z\nPreferred-Languages: en\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Keeps hubs from a data folder as long as what this returns is kept: two on one would contradict each other.
///
/// # Errors
/// If a hub runs on it, or the folder cannot be written.
pub fn lock(data: &std::path::Path) -> io::Result<std::fs::File> {
    let path = data.join(backup::LOCK);
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| about(&path.display().to_string(), &e))?;
    file.try_lock().map_err(|_| {
        let sentence = format!("another hub runs on {}: stop it, or choose another --data", data.display());
        io::Error::new(io::ErrorKind::AddrInUse, sentence)
    })?;
    Ok(file)
}
