//! Pyaiot: its gateways come in by both handshakes and speak for their own nodes only, its clients see what is there and
//! write, and nothing that anybody says stops an original gateway.

use motehub_domain::time::Span;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::pyaiot::Socket;
use crate::support::{Answer, Caller, Hub};

async fn reported(hub: &Hub, device: &str) -> Value {
    hub.get(&format!("/devices/{device}/shadow")).await.json()["state"]["reported"].clone()
}

async fn await_reported(hub: &Hub, device: &str, expected: &Value) {
    hub.until(&format!("{device} reports {expected}"), || async {
        (reported(hub, device).await == *expected).then_some(())
    })
    .await;
}

async fn is_online(hub: &Hub, device: &str) -> bool {
    hub.get(&format!("/devices/{device}")).await.json()["online"] == true
}

async fn await_online(hub: &Hub, device: &str, online: bool) {
    hub.until("presence", || async { (is_online(hub, device).await == online).then_some(()) }).await;
}

/// The newest command of a device, when it stands so.
async fn await_execution(hub: &Hub, device: &str, state: &str) -> Value {
    let path = format!("/devices/{device}/commands");
    hub.until(state, || async {
        let newest = hub.get(&path).await.json()["items"][0].clone();
        (newest["state"] == state).then_some(newest)
    })
    .await
}

fn is_result(frame: &Value) -> bool {
    frame["type"] == "result"
}

#[tokio::test]
async fn a_gateway_of_today_comes_in_with_its_token_and_its_nodes_are_seen() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("protocol", "CoAP"), ("led", "0"), ("temperature", "23.4°C")]).await;
    gateway.say(&json!({ "type": "update", "uid": "alive" })).await;
    await_reported(&hub, &node, &json!({ "protocol": "CoAP", "led": 0, "temperature": 23.4 })).await;
    await_online(&hub, &node, true).await;
    let metric = hub.get("/metrics?q=temperature").await.json();
    assert_eq!(metric["items"][0]["unit"], "°C", "{metric}");
    let listed = hub.get("/pyaiot-keys").await.json();
    let gateways = &listed["items"][0]["gateways"];
    assert_eq!((&gateways[0]["devices"], &gateways[0]["listens"]), (&json!(1), &json!(true)), "{listed}");
    gateway.say(&json!({ "type": "reset", "uid": "1234" })).await;
    gateway.update("1234", "led", "1").await;
    await_reported(&hub, &node, &json!({ "led": 1 })).await;
    gateway.say(&json!({ "type": "out", "uid": "1234" })).await;
    await_online(&hub, &node, false).await;
    gateway.node("1234", &[]).await;
    await_online(&hub, &node, true).await;
    drop(gateway);
    await_online(&hub, &node, false).await;
    hub.is_well().await;
}

#[tokio::test]
async fn an_older_gateway_sends_its_token_as_the_first_frame() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("attic", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::open(&hub, "/gw", &[]).await.unwrap();
    gateway.send(Message::text(key.token(hub.clock.now(), 1))).await;
    assert_eq!(gateway.next().await.unwrap()["src"], "motehub");
    gateway.node("1234", &[("led", "1")]).await;
    await_online(&hub, &node, true).await;
    // It says nothing of itself, and is not cut off for that.
    hub.clock.advance(Span::seconds(100));
    gateway.update("1234", "led", "0").await;
    await_reported(&hub, &node, &json!({ "led": 0 })).await;
    for first in [Message::text("hello"), Message::text("A".repeat(140)), Message::binary(vec![1, 2, 3])] {
        let mut stranger = Socket::open(&hub, "/gw", &[]).await.unwrap();
        stranger.send(first).await;
        assert_eq!(stranger.next().await, Err((0, String::new())), "closed without a code");
    }
    let mut silent = Socket::open(&hub, "/gw", &[]).await.unwrap();
    assert_eq!(silent.next_as_time_passes(&hub, Span::seconds(6)).await, Err((0, String::new())));
}

#[tokio::test]
async fn who_cannot_prove_to_be_a_gateway_gets_401() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let other = hub.pyaiot_key("other", json!({})).await;
    assert_eq!(hub.delete(&format!("/pyaiot-keys/{}", other.id)).await.status, 204);
    let now = hub.clock.now();
    let token = key.token(now, 1);
    let offers = [
        format!("token,{}", other.token(now, 1)),
        "token,garbage".to_owned(),
        format!("token,{}", "A".repeat(140)),
        "token".to_owned(),
        token.clone(),
        format!("tokens,{token}"),
        format!("token,{token},more"),
        format!("{token},token"),
    ];
    for offer in offers {
        let opened = Socket::open(&hub, "/gw", &[("Sec-WebSocket-Protocol", &offer)]).await.err();
        assert_eq!(opened, Some(401), "{offer}");
    }
    assert!(Socket::gateway(&hub, &token).await.is_ok());
    assert!(Socket::gateway(&hub, &token).await.is_ok(), "tokens of Pyaiot serve for ever");
    assert_eq!(Socket::open(&hub, "/elsewhere", &[]).await.err(), Some(404));
}

#[tokio::test]
async fn with_a_greatest_age_a_token_serves_once() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({ "token_age_max_seconds": 60 })).await;
    let now = hub.clock.now();
    assert!(Socket::gateway(&hub, &key.token(now, 1)).await.is_ok());
    assert_eq!(Socket::gateway(&hub, &key.token(now, 1)).await.err(), Some(401), "a replay");
    assert!(Socket::gateway(&hub, &key.token(now, 2)).await.is_ok());
    for at in [now - Span::seconds(61), now + Span::seconds(61)] {
        assert_eq!(Socket::gateway(&hub, &key.token(at, 3)).await.err(), Some(401), "{at:?}");
    }
    assert!(Socket::gateway(&hub, &key.token(now + Span::seconds(30), 4)).await.is_ok());
}

#[tokio::test]
async fn a_revoked_key_cuts_its_gateways_off() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[]).await;
    await_online(&hub, &node, true).await;
    assert_eq!(hub.delete(&format!("/pyaiot-keys/{}", key.id)).await.status, 204);
    assert_eq!(gateway.next().await, Err((1008, "the key was revoked".to_owned())));
    await_online(&hub, &node, false).await;
    assert_eq!(Socket::gateway(&hub, &key.token(hub.clock.now(), 2)).await.err(), Some(401));
}

#[tokio::test]
async fn a_silent_gateway_of_today_is_given_up() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    hub.clock.advance(Span::seconds(91));
    assert_eq!(gateway.next().await, Err((1008, "nothing was heard for 90 seconds".to_owned())));
}

#[tokio::test]
async fn a_key_is_made_or_imported_once_and_shown_once() {
    let hub = Hub::start().await;
    let made = hub.pyaiot_key("lab", json!({ "devices": "tag=lab" })).await;
    assert!(made.text.starts_with("[keys]\nsecret = "), "{}", made.text);
    let listed = hub.get("/pyaiot-keys").await;
    for secret in made.text.lines().filter_map(|line| line.split_once(" = ")).map(|(_, value)| value) {
        assert!(!listed.text().contains(secret), "{listed:?}");
        assert!(!hub.get("/activity").await.text().contains(secret));
    }
    let again = |name: &str, file: &str| json!({ "name": name, "file": file });
    hub.post("/pyaiot-keys", again("twin", &made.text)).await.is(409, "key_taken");
    hub.post("/pyaiot-keys", json!({ "name": "lab" })).await.is(409, "name_taken");
    hub.post("/pyaiot-keys", again("bad", "secret = x")).await.refuses("file", "secret is missing");
    hub.post("/pyaiot-keys", json!({ "name": "x", "devices": "tag=" }))
        .await
        .refuses("selector", "expected a value");
    assert_eq!(hub.delete(&format!("/pyaiot-keys/{}", made.id)).await.status, 204);
    let imported: Answer = hub.post("/pyaiot-keys", again("lab", &made.text)).await;
    assert_eq!((imported.status, &imported.json()["file"]), (201, &Value::Null));
    assert!(Socket::gateway(&hub, &made.token(hub.clock.now(), 1)).await.is_ok());
}

#[tokio::test]
async fn a_gateway_speaks_for_nodes_it_announced_and_devices_it_may_speak_for_only() {
    let hub = Hub::start().await;
    let lab = hub.pyaiot_key("lab", json!({ "devices": "tag=lab" })).await;
    let attic = hub.pyaiot_key("attic", json!({})).await;
    let (mine, other) = (hub.node("1234", &["lab"]).await, hub.node("5678", &[]).await);
    let native = json!({ "name": "Lamp", "dialect": "native", "external_id": "lamp" });
    assert_eq!(hub.post("/devices", native).await.status, 201);
    let mut gateway = Socket::let_in(&hub, &lab).await;
    gateway.node("5678", &[("led", "1")]).await;
    gateway.node("lamp", &[("led", "1")]).await;
    gateway.update("1234", "led", "1").await;
    gateway.node("1234", &[("name", "mine")]).await;
    await_reported(&hub, &mine, &json!({ "name": "mine" })).await;
    assert_eq!(reported(&hub, &other).await, Value::Null);
    assert!(!is_online(&hub, &other).await);
    // Another gateway takes the node over; what the first one says of it counts no more.
    let mut second = Socket::let_in(&hub, &attic).await;
    second.node("1234", &[("led", "1")]).await;
    await_reported(&hub, &mine, &json!({ "name": "mine", "led": 1 })).await;
    gateway.update("1234", "name", "stolen").await;
    gateway.say(&json!({ "type": "reset", "uid": "1234" })).await;
    gateway.say(&json!({ "type": "out", "uid": "1234" })).await;
    second.update("1234", "led", "0").await;
    await_reported(&hub, &mine, &json!({ "name": "mine", "led": 0 })).await;
    assert!(is_online(&hub, &mine).await);
}

#[tokio::test]
async fn unknown_nodes_wait_in_the_inbox_and_are_asked_for_when_they_are_accepted() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    let long = "u".repeat(10_000);
    gateway.node("", &[("led", "1")]).await;
    gateway.node(&long, &[("led", "1")]).await;
    gateway.node("<b>", &[]).await;
    gateway.node("82a395cc-29a1-4375-9e88-a1b92f9b0906", &[("id", "mqtt_test_node"), ("led", "1")]).await;
    let waiting = hub
        .until("the inbox", || async {
            let items = hub.get("/inbox").await.json()["items"].as_array()?.clone();
            (!items.is_empty()).then_some(items)
        })
        .await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((&waiting[0]["name"], &waiting[0]["dialect"]), (&json!("mqtt_test_node"), &json!("riot")));
    assert_eq!(waiting[0]["transport"], "pyaiot");
    let accept = format!("/inbox/{}/accept", waiting[0]["id"].as_str().unwrap());
    let made = hub.post(&accept, json!({ "name": "Test node" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(gateway.next_as_time_passes(&hub, Span::seconds(1)).await.unwrap()["src"], "motehub");
    gateway.node("82a395cc-29a1-4375-9e88-a1b92f9b0906", &[("id", "mqtt_test_node"), ("led", "1")]).await;
    await_reported(&hub, &made.string("id"), &json!({ "id": "mqtt_test_node", "led": 1 })).await;
}

#[tokio::test]
async fn what_is_no_message_ends_a_gateway_with_1003_and_costs_nobody_else_anything() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut good = Socket::let_in(&hub, &key).await;
    let garbage = "x".repeat(200);
    let frames = [
        Message::text("hello"),
        Message::text(garbage),
        Message::text("null"),
        Message::text("[1]"),
        Message::text("3"),
        Message::text("\"new\""),
        Message::text("{}"),
        Message::text(r#"{"data":"x"}"#),
        Message::text(r#"{"type":"foo","uid":"1"}"#),
        Message::text(r#"{"type":"update","endpoint":"led","data":"1","dst":"all"}"#),
        Message::text(r#"{"type":"new","dst":"all"}"#),
        Message::binary(vec![0xff, 0xfe]),
    ];
    for frame in frames {
        let mut bad = Socket::let_in(&hub, &key).await;
        bad.send(frame.clone()).await;
        let (code, reason) = bad.next().await.unwrap_err();
        assert!(code == 1003 && reason.len() <= 123 && !reason.is_empty(), "{frame:?}: {code} {reason}");
    }
    good.node("1234", &[("led", "1")]).await;
    good.send(Message::binary(
        br#"{"type":"update","uid":"1234","endpoint":"led","data":2,"dst":"all"}"#.to_vec(),
    ))
    .await;
    await_reported(&hub, &node, &json!({ "led": 2 })).await;
    hub.is_well().await;
}

#[tokio::test]
async fn what_is_desired_is_written_and_reported_as_it_was_desired() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("led", "0")]).await;
    await_reported(&hub, &node, &json!({ "led": 0 })).await;
    let path = format!("/devices/{node}/shadow");
    assert_eq!(hub.patch(&path, json!({ "state": { "desired": { "led": true } } })).await.status, 200);
    let command = gateway.next().await.unwrap();
    let data = json!({ "uid": "1234", "endpoint": "led", "payload": "1" });
    assert_eq!(command, json!({ "type": "update", "data": data }));
    gateway.update("1234", "led", "1").await;
    await_reported(&hub, &node, &json!({ "led": true })).await;
}

#[tokio::test]
async fn a_command_is_done_when_the_node_says_so_and_fails_when_nothing_comes() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("led", "0")]).await;
    await_online(&hub, &node, true).await;
    let send = |args: Value| hub.post("/commands", json!({ "name": "led", "args": args, "devices": [node] }));
    let await_state = |state: &'static str| await_execution(&hub, &node, state);
    assert_eq!(send(json!("1")).await.status, 201);
    assert_eq!(gateway.next().await.unwrap()["data"]["payload"], "1");
    gateway.update("1234", "led", "1").await;
    await_state("Done").await;
    // Nothing comes: it is asked whether it is through, and the command fails when it is or when time is up.
    hub.clock.advance(Span::seconds(1));
    assert_eq!(send(json!("0")).await.status, 201);
    assert_eq!(gateway.next().await.unwrap()["data"]["payload"], "0");
    hub.clock.advance(Span::seconds(1));
    assert_eq!(gateway.next().await.unwrap(), json!({ "type": "new", "data": "client", "src": "motehub-2" }));
    gateway.say(&json!({ "type": "new", "uid": "1234", "dst": "motehub-2" })).await;
    gateway.update("1234", "name", "lamp").await;
    await_reported(&hub, &node, &json!({ "led": 1, "name": "lamp" })).await;
    hub.clock.advance(Span::seconds(10));
    let failed = await_state("Failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("did not confirm"), "{failed}");
    // What would stop the gateway is never said to it.
    hub.clock.advance(Span::seconds(1));
    assert_eq!(send(json!("grün")).await.status, 201);
    let refused = await_state("Failed").await;
    assert!(refused["reason"].as_str().unwrap().contains("ASCII"), "{refused}");
    hub.clock.advance(Span::seconds(1));
    assert_eq!(send(json!(1)).await.status, 201);
    assert_eq!(gateway.next().await.unwrap()["data"]["payload"], "1", "the next thing that it is told");
}

#[tokio::test]
async fn clients_see_what_is_there_and_write() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    hub.node("away", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("led", "0"), ("temperature", "23.4°C")]).await;
    await_reported(&hub, &node, &json!({ "led": 0, "temperature": 23.4 })).await;
    await_online(&hub, &node, true).await;
    let mut client = Socket::client(&hub, &hub.ada).await;
    let update = |endpoint: &str, data: &str| json!({ "type": "update", "uid": "1234", "endpoint": endpoint, "data": data, "dst": "all" });
    let shown = client.until(|frame| *frame == update("temperature", "23.4°C")).await;
    let new = json!({ "type": "new", "uid": "1234", "dst": "all" });
    assert_eq!(shown, [new, update("led", "0"), update("temperature", "23.4°C")]);
    let write = |uid: &str, payload: &str| json!({ "type": "update", "data": { "uid": uid, "endpoint": "led", "payload": payload } });
    client.say(&write("1234", "1")).await;
    assert_eq!(gateway.next().await.unwrap(), write("1234", "1"));
    gateway.update("1234", "led", "1").await;
    let done = client.until(is_result).await;
    assert!(
        done.contains(&json!({ "type": "result", "uid": "1234", "endpoint": "led", "done": true })),
        "{done:?}"
    );
    client.say(&write("away", "1")).await;
    assert_eq!(client.until(is_result).await.last().unwrap()["reason"], "the node is not there");
    client.say(&write("nobody", "1")).await;
    assert_eq!(client.until(is_result).await.last().unwrap()["reason"], "there is no such node");
    client.say(&write("1234", "grün")).await;
    assert!(client.until(is_result).await.last().unwrap()["reason"].as_str().unwrap().contains("ASCII"));
    drop(gateway);
    client.until(|frame| *frame == json!({ "type": "out", "uid": "1234" })).await;
}

/// Must show 4 of the family: such a frame stops the reader of an original gateway for good.
#[tokio::test]
async fn a_frame_that_stops_an_original_gateway_is_refused_and_not_passed_on() {
    let hub = Hub::start().await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("led", "0")]).await;
    await_online(&hub, &node, true).await;
    let frames = [
        r#"{"type":"update"}"#,
        r#"{"type":"update","data":"x"}"#,
        r#"{"type":"update","data":{"uid":"1234","endpoint":"led","payload":1}}"#,
        r#"{"type":"update","data":{"uid":"1234","endpoint":"led","payload":"1","more":1}}"#,
        r#"{"type":"out"}"#,
        r#"{"type":"out","uid":"1234"}"#,
        r#"{"type":"reset","uid":"1234"}"#,
        r#"{"type":"foo"}"#,
        "nonsense",
        "null",
    ];
    for frame in frames {
        let mut client = Socket::client(&hub, &hub.ada).await;
        client.until(|frame| frame["endpoint"] == "led").await;
        client.send(Message::text(frame)).await;
        let (code, reason) = client.next().await.unwrap_err();
        assert!(code == 1003 && !reason.is_empty() && reason.len() <= 123, "{frame}: {code} {reason}");
    }
    let mut client = Socket::client(&hub, &hub.ada).await;
    let write = json!({ "type": "update", "data": { "uid": "1234", "endpoint": "led", "payload": "1" } });
    client.say(&write).await;
    assert_eq!(gateway.next().await.unwrap(), write, "the first thing that the gateway is told");
}

#[tokio::test]
async fn clients_are_let_in_by_login_token_or_by_choice_and_do_what_their_role_lets_them() {
    let hub = Hub::start_with_pyaiot(false, &["http://lab:8080"]).await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("led", "0")]).await;
    await_online(&hub, &node, true).await;
    let made = hub.post("/tokens", json!({ "name": "viewer", "role": "viewer" })).await;
    let viewer = Caller::token(made.string("token"));
    let mut client = Socket::client(&hub, &viewer).await;
    client.until(|frame| frame["endpoint"] == "led").await;
    let write = json!({ "type": "update", "data": { "uid": "1234", "endpoint": "led", "payload": "1" } });
    client.say(&write).await;
    assert_eq!(client.until(is_result).await.last().unwrap()["reason"], "you may look, and not write");
    assert_eq!(hub.delete(&format!("/tokens/{}", made.string("id"))).await.status, 204);
    loop {
        match client.next().await {
            Ok(_) => {}
            Err((code, _)) => break assert_eq!(code, 1008, "a revoked token"),
        }
    }
    let offer = format!("token, {}", hub.ada.token.as_deref().unwrap());
    assert!(Socket::open(&hub, "/ws", &[("Sec-WebSocket-Protocol", &offer)]).await.is_ok());
    let query = format!("/ws?token={}", hub.ada.token.as_deref().unwrap());
    assert_eq!(Socket::open(&hub, &query, &[]).await.err(), Some(401), "no secret in an address");
    assert_eq!(Socket::open(&hub, "/ws", &[]).await.err(), Some(401));
    let code = json!({ "code": hub.setup_code, "name": "ada", "password": "correct horse battery" });
    let set_up = hub.call("POST", "/setup", &Caller::default(), Some(&code)).await;
    let cookie = set_up.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let own = format!("http://{}", hub.pyaiot);
    for (origin, status) in
        [("http://lab:8080", None), (&*own, None), ("http://evil", Some(401)), ("null", Some(401))]
    {
        let opened = Socket::open(&hub, "/ws", &[("Cookie", &cookie), ("Origin", origin)]).await.err();
        assert_eq!(opened, status, "{origin}");
    }
}

#[tokio::test]
async fn anybody_may_look_where_that_was_chosen_and_the_dashboard_says_so() {
    let hub = Hub::start_with_pyaiot(true, &[]).await;
    let key = hub.pyaiot_key("lab", json!({})).await;
    let node = hub.node("1234", &[]).await;
    let mut gateway = Socket::let_in(&hub, &key).await;
    gateway.node("1234", &[("led", "0")]).await;
    await_online(&hub, &node, true).await;
    let mut client = Socket::open(&hub, "/ws", &[("Origin", "http://evil")]).await.unwrap();
    client.say(&json!({ "type": "new", "data": "client", "results": true })).await;
    client.until(|frame| frame["endpoint"] == "led").await;
    let write = json!({ "type": "update", "data": { "uid": "1234", "endpoint": "led", "payload": "1" } });
    client.say(&write).await;
    assert_eq!(client.until(is_result).await.last().unwrap()["reason"], "you may look, and not write");
    let posture = hub.get("/system").await.text();
    assert!(posture.contains("pyaiot_anonymous") && posture.contains("pyaiot_tokens"), "{posture}");
}
