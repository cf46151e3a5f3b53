//! Where devices and their pictures are: what is fetched and what is not, and that nothing else passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::Hub;

/// The smallest GIF.
const PICTURE: &[u8] = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;";

/// A camera that counts how often it was asked.
struct Camera {
    origin: String,
    asked: Arc<AtomicUsize>,
}

impl Camera {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = socket.read_u8().await else { return };
                        request.push(byte);
                    }
                    let request = String::from_utf8(request).unwrap();
                    let _ = socket.write_all(&Self::answer(request.split(' ').nth(1).unwrap())).await;
                });
            }
        });
        Self { origin, asked }
    }

    fn answer(path: &str) -> Vec<u8> {
        let (status, header, body) = match path {
            "/now.gif?size=1" => ("200 OK", "Content-Type: image/gif", PICTURE.to_vec()),
            "/page" => ("200 OK", "Content-Type: text/html", b"<script>alert(1)</script>".to_vec()),
            "/svg" => ("200 OK", "Content-Type: image/svg+xml", b"<svg/>".to_vec()),
            "/large" => ("200 OK", "Content-Type: image/png", vec![0; 4 * 1024 * 1024 + 1]),
            "/elsewhere" => ("302 Found", "Location: /now.gif?size=1", Vec::new()),
            _ => ("404 Not Found", "Content-Type: image/gif", PICTURE.to_vec()),
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.into_bytes(), body].concat()
    }
}

async fn reports(hub: &Hub, device: &str, reported: Value) {
    let said = json!({ "state": { "reported": reported } });
    let answer = hub.patch(&format!("/devices/{device}/shadow"), said).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn node(hub: &Hub, name: &str) -> String {
    let new = json!({ "name": name, "dialect": "riot", "external_id": name });
    hub.post("/devices", new).await.string("id")
}

#[tokio::test]
async fn a_picture_is_fetched_from_where_it_was_allowed_and_from_nowhere_else() {
    let hub = Hub::start().await;
    let (camera, other) = (Camera::start().await, Camera::start().await);
    let id = node(&hub, "yard").await;
    let (path, picture) = (format!("/devices/{id}/camera"), format!("/devices/{id}/camera/picture"));
    hub.get(&picture).await.is(404, "no_camera");

    reports(&hub, &id, json!({ "webcam": format!("{}/now.gif?size=1", camera.origin) })).await;
    hub.get(&picture).await.is(409, "origin_not_allowed");
    let shown = hub.get(&path).await.json();
    assert_eq!((&shown["origin"], &shown["is_allowed"]), (&json!(camera.origin), &json!(false)));
    for wrong in ["", "*", "10.0.0.7", "ftp://cam", "http://cam/path", "http://a:b@cam"] {
        let answer = hub.call("PUT", &path, &hub.ada, Some(&json!({ "origin": wrong }))).await;
        answer.refuses("origin", "http://");
    }
    hub.call("PUT", &path, &hub.ada, Some(&json!({ "origin": other.origin }))).await;
    hub.get(&picture).await.is(409, "origin_not_allowed");
    assert_eq!(camera.asked.load(Ordering::SeqCst) + other.asked.load(Ordering::SeqCst), 0);

    let allowed = hub.call("PUT", &path, &hub.ada, Some(&json!({ "origin": camera.origin }))).await;
    assert_eq!((allowed.status, &allowed.json()["is_allowed"]), (200, &json!(true)));
    let fetched = hub.get(&picture).await;
    assert_eq!((fetched.status, fetched.header("content-type")), (200, Some("image/gif")));
    assert_eq!(fetched.body, PICTURE);
    assert_eq!(fetched.header("cache-control"), Some("no-store"));
    assert_eq!(fetched.header("x-content-type-options"), Some("nosniff"));

    // Only pictures pass, and only from there.
    for wrong in ["/page", "/svg", "/large", "/elsewhere", "/nothing"] {
        reports(&hub, &id, json!({ "webcam": format!("{}{wrong}", camera.origin) })).await;
        hub.get(&picture).await.is(422, "no_picture");
    }
    let before = other.asked.load(Ordering::SeqCst);
    for wrong in [
        format!("{}/now.gif?size=1", other.origin),
        format!("{}@{}/", camera.origin, other.origin.trim_start_matches("http://")),
        "file:///etc/passwd".to_owned(),
        "javascript:alert(1)".to_owned(),
    ] {
        reports(&hub, &id, json!({ "webcam": wrong })).await;
        hub.get(&picture).await.is(409, "origin_not_allowed");
    }
    assert_eq!(other.asked.load(Ordering::SeqCst), before);

    reports(&hub, &id, json!({ "webcam": format!("{}/now.gif?size=1", camera.origin) })).await;
    assert_eq!(hub.delete(&path).await.status, 204);
    hub.get(&picture).await.is(409, "origin_not_allowed");
    let kinds = hub.get("/activity?limit=20").await.json();
    let kinds: Vec<&str> =
        kinds["items"].as_array().unwrap().iter().filter_map(|it| it["kind"].as_str()).collect();
    assert!(kinds.contains(&"camera_allowed") && kinds.contains(&"camera_forbidden"), "{kinds:?}");
}

#[tokio::test]
async fn positions_are_those_that_are_on_earth() {
    let hub = Hub::start().await;
    for (name, reported) in [
        ("yard", json!({ "position": { "lat": 48.7, "lng": 2.2 } })),
        ("attic", json!({ "position": "{\"lat\":48.8,\"lng\":2.3}", "led": 1 })),
        ("moon", json!({ "position": { "lat": 480, "lng": 2.2 } })),
        ("odd", json!({ "text": "\"position\":" })),
    ] {
        let id = node(&hub, name).await;
        reports(&hub, &id, reported).await;
    }
    let list = hub.get("/positions").await.json();
    let items: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|it| (&it["name"], &it["lat"], &it["reach"])).collect();
    let offline = json!("offline");
    assert_eq!(items, [(&json!("attic"), &json!(48.8), &offline), (&json!("yard"), &json!(48.7), &offline)]);
    assert_eq!(list["more"], false);
}
