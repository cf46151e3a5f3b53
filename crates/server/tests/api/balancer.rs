//! A balancer before the hub: who connects is who it says, and nobody else is believed.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::Hub;

/// Where the balancer is; the tests themselves are at 127.0.0.1.
const BALANCER: [u8; 4] = [127, 0, 0, 9];
const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 40000 8080\r\n";

/// Connects from an address and says something.
async fn said(from: [u8; 4], to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// The first line of what is answered; empty if nothing is.
async fn status(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn who_comes_by_http_through_a_balancer_is_who_it_says() {
    let hub = Hub::start_behind(BALANCER.into()).await;
    // Metrics are open on the machine itself and nowhere else.
    let request = "GET /metrics HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";
    let through = format!("{HEADER}{request}");
    let here = [127, 0, 0, 1];
    assert_eq!(status(said(here, hub.http, request.as_bytes()).await).await, "HTTP/1.1 200 OK");
    let refused = status(said(BALANCER, hub.http, through.as_bytes()).await).await;
    assert_eq!(refused, "HTTP/1.1 401 Unauthorized");
    let local = through.replace("192.0.2.7", "127.0.0.1");
    assert_eq!(status(said(BALANCER, hub.http, local.as_bytes()).await).await, "HTTP/1.1 200 OK");
    assert_eq!(status(said(BALANCER, hub.http, request.as_bytes()).await).await, "", "without a header");
    let forged = status(said(here, hub.http, local.as_bytes()).await).await;
    assert_eq!(forged, "HTTP/1.1 400 Bad Request", "a client cannot say that it is somebody else");
}

#[tokio::test]
async fn who_comes_by_mqtt_through_a_balancer_is_shown_with_its_own_address() {
    let hub = Hub::start_behind(BALANCER.into()).await;
    let (_, credential) = hub.board("Lamp", 1, &[]).await;
    let connect = |header: &str| {
        let field =
            |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let rest =
            [&field("MQTT")[..], &[4, 0xc2, 0, 60], &field("1"), &field("1"), &field(&credential)].concat();
        [header.as_bytes(), &[0x10, u8::try_from(rest.len()).unwrap()], &rest].concat()
    };
    let mut lamp = said(BALANCER, hub.mqtt, &connect(HEADER)).await;
    let mut answer = [0; 4];
    lamp.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    let found = hub.get("/connections").await.json();
    assert_eq!(found["items"][0]["address"], json!("192.0.2.7:40000"), "{found}");
    assert_eq!(status(said(BALANCER, hub.mqtt, &connect("")).await).await, "", "without a header");
    assert_eq!(status(said([127, 0, 0, 1], hub.mqtt, &connect(HEADER)).await).await, "");
}
