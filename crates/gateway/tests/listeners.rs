//! The gateway over real sockets: TCP, TLS, WebSocket, back-pressure, take-over, shutdown. What the broker does is
//! told by the transcripts; here is what only sockets can show.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod packets;
mod recorder;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use motehub_domain::kept::Principal;
use motehub_gateway::http;
use motehub_gateway::mqtt::{Gateway, Handle, Limits, Listener, Settings, Version, Wanted};
use recorder::{PASSWORD, Recorder, device_of};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

struct House {
    hub: Arc<Recorder>,
    addresses: motehub_gateway::mqtt::Addresses,
    handle: Handle,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    roots: RootCertStore,
}

async fn house(hub: Recorder, limits: Limits) -> House {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let certificate = certified.cert.der().clone();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    let tls = Arc::new(tls.unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        tcp: Some(anywhere),
        tls: Some((anywhere, tls.clone())),
        ws: Some(anywhere),
        wss: Some((anywhere, tls)),
        limits,
        first_connection: 1,
        now_ms: 1_000_000,
        ..Settings::default()
    };
    let hub = Arc::new(hub);
    let gateway = Gateway::bind(settings, hub.clone()).await.unwrap();
    let (addresses, handle, shutdown) = (gateway.addresses(), gateway.handle(), CancellationToken::new());
    let running = tokio::spawn(gateway.run(shutdown.clone()));
    House { hub, addresses, handle, shutdown, running, roots }
}

/// A client that speaks in lines of text over any byte stream.
struct Talker<S> {
    stream: S,
    is_v5: bool,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talker<S> {
    async fn on(stream: S, is_v5: bool, client_id: &str, user: &str) -> Self {
        let mut this = Self { stream, is_v5, buffer: Vec::new() };
        let version = if is_v5 { "v=5 " } else { "" };
        this.say(&format!("CONNECT {version}id={client_id} user={user} password={PASSWORD}")).await;
        this.hear("CONNACK ok").await;
        this
    }

    async fn say(&mut self, line: &str) {
        self.stream.write_all(&packets::encode(self.is_v5, line)).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next packet, or "(closed)".
    async fn next(&mut self) -> String {
        loop {
            if let Some(text) = packets::decode(self.is_v5, &mut self.buffer) {
                return text;
            }
            let mut bytes = [0; 4096];
            match timeout(WAIT_MAX, self.stream.read(&mut bytes)).await.expect("nothing was heard") {
                Ok(0) | Err(_) => return "(closed)".to_owned(),
                Ok(length) => self.buffer.extend_from_slice(&bytes[..length]),
            }
        }
    }

    async fn hear(&mut self, expected: &str) {
        let heard = self.next().await;
        assert_eq!(heard.split(" \"").next().unwrap(), expected);
    }
}

async fn plain(house: &House, is_v5: bool, client_id: &str, user: &str) -> Talker<TcpStream> {
    let stream = TcpStream::connect(house.addresses.tcp.unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Talker::on(stream, is_v5, client_id, user).await
}

/// The same short story on each transport.
// 3.1.1 [MQTT-7.1.1-1] 5.0 [MQTT-4.2.0-1] all of them keep the order and lose nothing
async fn story<S: AsyncRead + AsyncWrite + Unpin>(house: &House, mut talker: Talker<S>, name: &str) {
    talker.say("SUBSCRIBE id=1 shared/#:1").await;
    talker.hear("SUBACK id=1 1").await;
    talker.say(&format!("PUBLISH qos=1 id=2 devices/7/telemetry {{\"{name}\":1}}")).await;
    talker.hear("PUBACK id=2").await;
    assert!(
        house.hub.heard().contains(&format!("{} {name}=1", device_of("7"))),
        "acknowledged before stored"
    );
    let payload = "x".repeat(300_000);
    talker.say(&format!("PUBLISH qos=1 id=3 shared/large {payload}")).await;
    talker.hear("PUBLISH qos=1 id=1 shared/large size=300000").await;
    talker.hear("PUBACK id=3").await;
    talker.say("DISCONNECT").await;
    talker.hear("(closed)").await;
}

#[tokio::test]
async fn every_transport_tells_the_same_story() {
    let house = house(Recorder::default(), Limits::default()).await;
    story(&house, plain(&house, false, "a", "7").await, "tcp").await;
    let config =
        Arc::new(ClientConfig::builder().with_root_certificates(house.roots.clone()).with_no_client_auth());
    let connector = tokio_rustls::TlsConnector::from(config);
    let name = || ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(house.addresses.tls.unwrap()).await.unwrap();
    let stream = connector.connect(name(), stream).await.unwrap();
    story(&house, Talker::on(stream, true, "b", "7").await, "tls").await;
    let stream = TcpStream::connect(house.addresses.ws.unwrap()).await.unwrap();
    story(&house, Talker::on(websocket(stream).await, true, "c", "7").await, "ws").await;
    let stream = TcpStream::connect(house.addresses.wss.unwrap()).await.unwrap();
    let stream = connector.connect(name(), stream).await.unwrap();
    story(&house, Talker::on(websocket(stream).await, false, "d", "7").await, "wss").await;
    house.hub.hears(&format!("attached {}", device_of("7")), 4).await;
    for connection in 1..=4 {
        house.hub.hears(&format!("detached {connection}"), 1).await;
    }
}

/// A byte stream over a WebSocket client, through a pipe.
async fn websocket<S>(stream: S) -> tokio::io::DuplexStream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    // 3.1.1 [MQTT-6.0.0-4] 5.0 [MQTT-6.0.0-4]
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        // An odd size, so that packets and messages do not end together:
        // 3.1.1 [MQTT-6.0.0-2] 5.0 [MQTT-6.0.0-2]
        let mut bytes = [0; 1021];
        loop {
            tokio::select! {
                read = theirs.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(length) => {
                        socket.send(Message::Binary(bytes[..length].to_vec().into())).await.unwrap();
                    }
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(message))) => theirs.write_all(&message).await.unwrap(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    });
    ours
}

#[tokio::test]
async fn a_websocket_without_the_sub_protocol_is_refused() {
    let house = house(Recorder::default(), Limits::default()).await;
    let stream = TcpStream::connect(house.addresses.ws.unwrap()).await.unwrap();
    assert!(tokio_tungstenite::client_async("ws://localhost/mqtt", stream).await.is_err());
}

#[tokio::test]
async fn a_text_message_closes_a_websocket() {
    // 3.1.1 [MQTT-6.0.0-1] 5.0 [MQTT-6.0.0-1] packets travel in binary messages, also ours
    let house = house(Recorder::default(), Limits::default()).await;
    let stream = TcpStream::connect(house.addresses.ws.unwrap()).await.unwrap();
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let connect = packets::encode(false, &format!("CONNECT id=a user=7 password={PASSWORD}"));
    socket.send(Message::Binary(connect.into())).await.unwrap();
    let answer = timeout(WAIT_MAX, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer, Message::Binary(vec![0x20, 2, 0, 0].into()));
    socket.send(Message::Text("PINGREQ".into())).await.unwrap();
    let end = timeout(WAIT_MAX, socket.next()).await.unwrap();
    assert!(matches!(end, None | Some(Ok(Message::Close(_)) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored_and_then_everything_in_order() {
    let (gate, is_open) = watch::channel(false);
    let house = house(Recorder::gated(is_open), Limits::default()).await;
    let mut device = plain(&house, false, "a", "7").await;
    let publish = |id| packets::encode(false, &format!("PUBLISH qos=1 id={id} devices/7/telemetry {id}"));
    // In a few pieces, so that there are several batches, and in any case fewer than may be on the way at once.
    for piece in (1..=200).collect::<Vec<u32>>().chunks(20) {
        let bytes: Vec<u8> = piece.iter().flat_map(|id| publish(*id)).collect();
        device.stream.write_all(&bytes).await.unwrap();
    }
    device.say("PINGREQ").await;
    device.hear("PINGRESP").await;
    assert!(!house.hub.heard().iter().any(|heard| heard.contains("value=")));
    gate.send(true).unwrap();
    for id in 1..=200 {
        device.hear(&format!("PUBACK id={id}")).await;
    }
    let stored = house.hub.heard().iter().filter(|heard| heard.contains("value=")).count();
    assert_eq!(stored, 200);
}

#[tokio::test]
async fn ten_requests_by_the_topics_of_aws_are_under_way_on_a_connection_and_the_others_are_told() {
    let (gate, is_open) = watch::channel(false);
    let house = house(Recorder::gated(is_open), Limits::default()).await;
    let mut device = plain(&house, false, "a", "7").await;
    for id in 1..=12 {
        let what = if id % 2 == 0 { "shadow/get" } else { "jobs/get" };
        device.say(&format!("PUBLISH qos=1 id={id} $aws/things/7/{what}")).await;
    }
    let mut other = plain(&house, false, "b", "8").await;
    other.say("PUBLISH qos=1 id=1 $aws/things/8/jobs/get").await;
    for (heard, times) in [("asked", 5), ("throttled", 1)] {
        house.hub.hears(&format!("{heard} $aws/things/7/shadow/get"), times).await;
        house.hub.hears(&format!("{heard} $aws/things/7/jobs/get"), times).await;
    }
    house.hub.hears("asked $aws/things/8/jobs/get", 1).await;
    gate.send(true).unwrap();
    for id in 1..=12 {
        device.hear(&format!("PUBACK id={id}")).await;
    }
    other.hear("PUBACK id=1").await;
    // Those are answered: there is room again.
    device.say("PUBLISH qos=1 id=13 $aws/things/7/shadow/get").await;
    device.hear("PUBACK id=13").await;
    house.hub.hears("asked $aws/things/7/shadow/get", 6).await;
}

#[tokio::test]
async fn a_client_that_floods_is_not_read_while_too_much_is_unacknowledged() {
    let (gate, is_open) = watch::channel(false);
    let limits = Limits { taken_unacknowledged_max: 8, ..Limits::default() };
    let house = house(Recorder::gated(is_open), limits).await;
    let mut device = plain(&house, false, "a", "7").await;
    // Far more than the buffers of a socket take, so that the writing must get stuck until the gate opens.
    let payload = format!("\"{}\"", "x".repeat(4000));
    let flood =
        |id: u32| packets::encode(false, &format!("PUBLISH qos=1 id={id} devices/7/telemetry {payload}"));
    let count = 10_000;
    let (mut reader, mut writer) = device.stream.split();
    let writing = async {
        let mut written = 0;
        for id in 1..=count {
            if timeout(Duration::from_millis(500), writer.write_all(&flood(id))).await.is_err() {
                break;
            }
            written = id;
        }
        written
    };
    let written = writing.await;
    assert!(written < count, "the gateway has taken {written} messages that nobody stored");
    gate.send(true).unwrap();
    let mut byte = [0; 4];
    timeout(WAIT_MAX, reader.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!(byte, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn downlinks_and_the_handle_reach_the_session() {
    let house = house(Recorder::default(), Limits::default()).await;
    let mut device = plain(&house, true, "a", "7").await;
    device.say("SUBSCRIBE id=1 /mutation/update:0 shared/#:1").await;
    device.hear("SUBACK id=1 0 1").await;
    house.hub.offer_to_all();
    device.hear("PUBLISH /mutation/update 7").await;
    assert!(house.handle.publish("shared/x", b"hello", 1, false));
    assert!(!house.handle.publish("shared/#", b"hello", 1, false));
    device.hear("PUBLISH qos=1 id=1 shared/x hello").await;
    let (views, total) = house.handle.sessions(&Wanted { limit: 10, ..Wanted::default() });
    assert_eq!((views.len(), total), (1, 1));
    assert_eq!((views[0].client_id.as_str(), views[0].principal), ("a", Principal::Device(device_of("7"))));
    assert_eq!((views[0].subscriptions.len(), views[0].in_flight, views[0].queued), (2, 1, 0));
    let live = views[0].connection.as_ref().unwrap();
    assert_eq!((live.listener, live.version, live.keep_alive_s), (Listener::Tcp, Version::V5, 60));
    assert_eq!(house.handle.totals().subscriptions, 2);
    house.handle.disconnect_device(device_of("7"));
    device.hear("DISCONNECT 0x98").await;
    device.hear("(closed)").await;
    house.hub.hears("detached 1", 1).await;
}

#[tokio::test]
async fn a_take_over_attaches_before_it_detaches() {
    let house = house(Recorder::default(), Limits::default()).await;
    let mut first = plain(&house, true, "a", "7").await;
    let mut second = plain(&house, true, "a", "7").await;
    first.hear("DISCONNECT 0x8e").await;
    first.hear("(closed)").await;
    house.hub.hears("detached 1", 1).await;
    let attached = format!("attached {}", device_of("7"));
    assert_eq!(house.hub.heard(), [attached.clone(), attached, "detached 1".to_owned()]);
    second.say("PINGREQ").await;
    second.hear("PINGRESP").await;
    drop(second);
    house.hub.hears("detached 2", 1).await;
}

#[tokio::test]
async fn a_shutdown_acknowledges_what_is_stored_and_says_good_bye() {
    let (gate, is_open) = watch::channel(false);
    let house = house(Recorder::gated(is_open), Limits::default()).await;
    let mut device = plain(&house, true, "a", "7").await;
    let mut idle = plain(&house, false, "b", "8").await;
    device.say("PUBLISH qos=1 id=1 devices/7/telemetry 1").await;
    device.say("PINGREQ").await;
    device.hear("PINGRESP").await;
    house.shutdown.cancel();
    idle.hear("(closed)").await;
    gate.send(true).unwrap();
    device.hear("PUBACK id=1").await;
    device.hear("DISCONNECT 0x8b").await;
    device.hear("(closed)").await;
    timeout(WAIT_MAX, house.running).await.expect("the gateway did not end").unwrap();
    house.hub.hears("detached 1", 1).await;
    house.hub.hears("detached 2", 1).await;
    assert!(TcpStream::connect(house.addresses.tcp.unwrap()).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_store_that_hangs() {
    let (_gate, is_open) = watch::channel(false);
    let house = house(Recorder::gated(is_open), Limits::default()).await;
    let mut device = plain(&house, true, "a", "7").await;
    device.say("PUBLISH qos=1 id=1 devices/7/telemetry 1").await;
    device.say("PINGREQ").await;
    device.hear("PINGRESP").await;
    house.shutdown.cancel();
    timeout(WAIT_MAX, house.running).await.expect("the gateway did not end").unwrap();
    device.hear("(closed)").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_places_come_back() {
    let house = house(Recorder::default(), Limits { connections_max: 2, ..Limits::default() }).await;
    let first = plain(&house, false, "a", "7").await;
    let _second = plain(&house, false, "b", "7").await;
    let mut third = TcpStream::connect(house.addresses.tcp.unwrap()).await.unwrap();
    assert_eq!(timeout(WAIT_MAX, third.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    drop(first);
    house.hub.hears("detached 1", 1).await;
    // The place is free only a moment after the hub heard of it.
    let again = timeout(WAIT_MAX, async {
        loop {
            let stream = TcpStream::connect(house.addresses.tcp.unwrap()).await.unwrap();
            let mut talker = Talker { stream, is_v5: false, buffer: Vec::new() };
            talker.say(&format!("CONNECT id=c user=7 password={PASSWORD}")).await;
            if talker.next().await == "CONNACK ok" {
                return;
            }
        }
    });
    assert!(again.await.is_ok());
}

/// A light on a listener for Mongoose OS with this pace; and who listens.
async fn lit(
    hub: Recorder,
    pace: http::Pace,
) -> (Arc<Recorder>, WebSocketStream<MaybeTlsStream<TcpStream>>, CancellationToken) {
    let hub = Arc::new(hub);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let router = http::mongoose_routes(hub.clone(), pace, http::Links::default(), shutdown.clone());
    tokio::spawn(http::serve(listener, router, hub.clone(), shutdown.clone()));
    let mut request = format!("ws://{address}/api/v2/rpc").into_client_request().unwrap();
    let bearer = HeaderValue::try_from(format!("Bearer {PASSWORD}")).unwrap();
    request.headers_mut().insert("Authorization", bearer);
    let (light, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    hub.hears(&format!("attached {}", device_of("light")), 1).await;
    (hub, light, shutdown)
}

/// Every thirty seconds, and for ninety; here in the tenth part of that.
#[tokio::test]
async fn a_light_that_does_not_answer_to_pings_is_given_up_and_one_that_does_is_not() {
    let usual = http::Pace::default();
    assert_eq!((usual.ping_every.as_secs(), usual.silence_max.as_secs()), (30, 90));
    let pace = http::Pace { ping_every: usual.ping_every / 10, silence_max: usual.silence_max / 10 };
    let lit = |pace| lit(Recorder::default(), pace);
    let (talks, silent) = tokio::join!(lit(pace), lit(pace));
    let answering = async {
        let (hub, mut light, shutdown) = talks;
        let mut pings = 0;
        // Longer than a silent one may be.
        while pings < 4 {
            let message = timeout(WAIT_MAX, light.next()).await.expect("nothing was heard");
            pings += usize::from(matches!(message.unwrap().unwrap(), Message::Ping(_)));
        }
        assert!(hub.heard().iter().all(|heard| !heard.starts_with("detached")), "{:?}", hub.heard());
        shutdown.cancel();
    };
    let falling = async {
        let (hub, mut light, shutdown) = silent;
        hub.hears_of("detached").await;
        let mut said = Vec::new();
        while let Some(Ok(message)) = timeout(WAIT_MAX, light.next()).await.expect("nothing was heard") {
            said.push(message);
        }
        let pings = said.iter().filter(|message| message.is_ping()).count();
        assert!(pings > 0, "{said:?}");
        shutdown.cancel();
    };
    tokio::join!(answering, falling);
}

#[tokio::test]
async fn a_light_whose_token_is_revoked_while_it_comes_in_is_closed() {
    let (hub, mut light, shutdown) = lit(Recorder::closing(), http::Pace::default()).await;
    hub.hears_of("detached").await;
    while let Some(Ok(message)) = timeout(WAIT_MAX, light.next()).await.expect("it is open") {
        assert!(!message.is_ping(), "{message:?}");
    }
    shutdown.cancel();
}
