//! Rotation of credentials over the air, and one credential in two hands.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::aws::Proof;
use crate::support::mqtt::Publisher;

async fn lamp(hub: &Hub, name: &str) -> (String, String) {
    let new = json!({ "name": name, "dialect": "native", "external_id": name, "tags": ["hall"] });
    let made = hub.post("/devices", new).await;
    (made.string("id"), made.string("credential"))
}

async fn device(hub: &Hub, id: &str) -> Value {
    hub.get(&format!("/devices/{id}")).await.json()
}

/// The secret that a connected device is sent.
async fn told(link: &mut Publisher, id: &str) -> String {
    let (topic, payload) = link.next_message().await.unwrap();
    assert_eq!(topic, format!("devices/{id}/credential"));
    let said: Value = serde_json::from_slice(&payload).unwrap();
    said["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_old_credential_is_valid_until_the_new_one_was_used() {
    let hub = Hub::start().await;
    let (id, old) = lamp(&hub, "lamp-1").await;
    let mut link = Publisher::connect(&hub, "lamp-1", &old).await.unwrap();
    link.subscribe(&format!("devices/{id}/#")).await.unwrap();
    hub.until("it is online", || async { device(&hub, &id).await["online"].as_bool().filter(|on| *on) })
        .await;
    let started = hub.post(&format!("/devices/{id}/credential/rotate"), json!({})).await;
    assert_eq!((started.status, &started.json()["rotation"]["state"]), (200, &json!("sent")), "{started:?}");
    let new = told(&mut link, &id).await;
    assert_ne!(new, old);
    let text = hub.get("/activity").await.text();
    assert!(!text.contains(&new), "a secret is in no log");
    Publisher::connect(&hub, "lamp-1", &old).await.unwrap();
    assert!(Publisher::connect(&hub, "lamp-2", &new).await.is_err(), "it is nobody else's");
    assert!(!device(&hub, &id).await["rotation"].is_null(), "nobody used it yet");
    Publisher::connect(&hub, "lamp-1", &new).await.unwrap();
    assert_eq!(device(&hub, &id).await["rotation"], Value::Null);
    assert!(Publisher::connect(&hub, "lamp-1", &old).await.is_err(), "the old one stopped");
    Publisher::connect(&hub, "lamp-1", &new).await.unwrap();
    let facts = hub.get(&format!("/activity?device={id}&kind=credential_rotated")).await.json();
    assert_eq!(facts["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_device_that_was_away_is_told_when_it_comes_and_again_if_it_may_have_missed_it() {
    let hub = Hub::start().await;
    let (id, old) = lamp(&hub, "lamp-1").await;
    // A session that is kept, so that what is said at once when it comes back is heard.
    let mut link = Publisher::connect_kept(&hub, "lamp-1", &old).await.unwrap();
    link.subscribe(&format!("devices/{id}/#")).await.unwrap();
    drop(link);
    hub.until("it is offline", || async { device(&hub, &id).await["online"].as_bool().filter(|on| !*on) })
        .await;
    let started = hub.post(&format!("/devices/{id}/credential/rotate"), json!({})).await;
    assert_eq!(started.json()["rotation"]["state"], "waiting", "{started:?}");
    let mut link = Publisher::connect_kept(&hub, "lamp-1", &old).await.unwrap();
    let first = told(&mut link, &id).await;
    drop(link);
    hub.until("it is offline", || async { device(&hub, &id).await["online"].as_bool().filter(|on| !*on) })
        .await;
    let mut link = Publisher::connect_kept(&hub, "lamp-1", &old).await.unwrap();
    let mut second = told(&mut link, &id).await;
    if second == first {
        // The first was not acknowledged, and comes again before the fresh one.
        second = told(&mut link, &id).await;
    }
    assert_ne!(first, second);
    // The device had written the first one just before it lost its power: it is not locked out.
    Publisher::connect(&hub, "lamp-1", &first).await.unwrap();
    assert!(Publisher::connect(&hub, "lamp-1", &second).await.is_err(), "the rotation is over");
    assert!(Publisher::connect(&hub, "lamp-1", &old).await.is_err());
}

#[tokio::test]
async fn many_are_rotated_at_once_and_those_that_cannot_are_named() {
    let hub = Hub::start().await;
    for n in 0..600 {
        lamp(&hub, &format!("lamp-{n}")).await;
    }
    let (board, _) = hub.board("Board", 7, &["hall"]).await;
    let rotate = async || {
        let mut order = json!({ "selector": "tag=hall", "action": { "kind": "rotate" } });
        order["token"] = hub.post("/devices/bulk/preview", order.clone()).await.json()["token"].clone();
        let text = hub.post("/devices/bulk", order).await.text();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    let done = rotate().await;
    assert_eq!((&done["changed"], &done["refused"]), (&json!(600), &json!(1)), "{done}");
    assert_eq!(done["refusals"][0]["device"], json!(board));
    let again = rotate().await;
    assert_eq!((&again["changed"], &again["refused"]), (&json!(0), &json!(1)), "what goes on goes on");
    let facts = hub.get("/activity?kind=credential_rotation_started&limit=1000").await.json();
    assert_eq!(facts["items"].as_array().unwrap().len(), 600);
    hub.post(&format!("/devices/{board}/credential/rotate"), json!({})).await.is(409, "cannot_rotate");
    let issued = hub.get("/devices?q=lamp-0&limit=1").await.json();
    let id = issued["items"][0]["id"].as_str().unwrap().to_owned();
    hub.delete(&format!("/devices/{id}/credential")).await;
    assert_eq!(device(&hub, &id).await["rotation"], Value::Null, "without a credential nothing is rotated");
    hub.post(&format!("/devices/{id}/credential/rotate"), json!({})).await.is(409, "cannot_rotate");
}

#[tokio::test]
async fn two_that_stay_connected_with_one_credential_raise_one_warning() {
    let hub = Hub::start().await;
    let (id, secret) = lamp(&hub, "lamp-1").await;
    let _one = Publisher::connect_from(&hub, 2, "lamp-1", &secret).await.unwrap();
    let _other = Publisher::connect_from(&hub, 3, &id, &secret).await.unwrap();
    hub.until("both are there", || async { device(&hub, &id).await["online"].as_bool().filter(|on| *on) })
        .await;
    let shared = async || device(&hub, &id).await["credential_shared"].clone();
    assert_eq!(shared().await, Value::Null, "the first may be what a change of network left behind");
    hub.until("the warning", || async {
        hub.clock.advance(Span::minutes(1));
        Some(shared().await).filter(|shared| !shared.is_null())
    })
    .await;
    assert_eq!(shared().await["addresses"], "127.0.0.2, 127.0.0.3");
    let facts = hub.get(&format!("/activity?device={id}&kind=credential_shared")).await.json();
    assert_eq!(facts["items"].as_array().unwrap().len(), 1, "{facts}");
}

#[tokio::test]
async fn two_addresses_that_take_turns_with_one_credential_raise_one_warning() {
    let hub = Hub::start().await;
    let (id, secret) = lamp(&hub, "lamp-1").await;
    for from in [2, 2, 3, 2, 3, 2, 3] {
        hub.clock.advance(Span::seconds(5));
        Publisher::connect_from(&hub, from, "lamp-1", &secret).await.unwrap();
    }
    let shared = device(&hub, &id).await["credential_shared"].clone();
    assert_eq!(shared["addresses"], "127.0.0.2, 127.0.0.3", "{shared}");
    let facts = hub.get(&format!("/activity?device={id}&kind=credential_shared")).await.json();
    assert_eq!(facts["items"].as_array().unwrap().len(), 1, "{facts}");
    let (moving, secret) = lamp(&hub, "lamp-2").await;
    for from in [2, 2, 3, 4, 4] {
        Publisher::connect_from(&hub, from, "lamp-2", &secret).await.unwrap();
    }
    assert_eq!(device(&hub, &moving).await["credential_shared"], Value::Null, "a change of network is none");
    hub.post(&format!("/devices/{id}/credential"), json!({})).await;
    assert_eq!(device(&hub, &id).await["credential_shared"], Value::Null, "a new credential ends it");
}

#[tokio::test]
async fn certificates_are_issued_listed_and_revoked() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let path = format!("/devices/{lamp}");
    let mut fingerprints = Vec::new();
    for number in 0..8 {
        let made = hub.post(&format!("{path}/certificate"), json!({})).await;
        assert_eq!(made.status, 201, "{number}: {made:?}");
        assert!(made.string("certificate").starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(made.string("private_key").starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(made.string("expires_at").starts_with("2037-"), "{made:?}");
        fingerprints.push(made.string("fingerprint"));
    }
    hub.post(&format!("{path}/certificate"), json!({})).await.is(409, "too_many_certificates");
    let list = hub.get(&format!("{path}/certificates")).await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(8));
    assert!(!list.to_string().contains("PRIVATE"), "{list}");
    let first = format!("{path}/certificates/{}", fingerprints[0]);
    assert_eq!(hub.delete(&first).await.status, 204);
    hub.delete(&first).await.is(404, "not_found");
    assert_eq!(hub.post(&format!("{path}/certificate"), json!({})).await.status, 201);
    let facts = hub.get("/activity?kind=certificate_revoked").await.json();
    assert_eq!(facts["items"][0]["before"]["fingerprint"], fingerprints[0].as_str());
    let authority = hub.get("/authority").await;
    assert_eq!(authority.header("content-type"), Some("application/x-pem-file"));
    assert!(authority.text().starts_with("-----BEGIN CERTIFICATE-----"));
    hub.is_well().await;
}

#[tokio::test]
async fn a_device_that_made_its_key_itself_gets_a_certificate_for_it() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let path = format!("/devices/{lamp}/certificate");
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(vec!["somebody-else".to_owned()]).unwrap();
    let csr = request.serialize_request(&key).unwrap().pem().unwrap();
    let made = hub.post(&path, json!({ "csr": csr })).await;
    assert_eq!((made.status, &made.json()["private_key"]), (201, &Value::Null), "{made:?}");
    let plain = hub.raw("POST", &format!("/api/v1{path}"), &hub.ada, &[], csr.as_bytes()).await;
    assert_eq!(plain.status, 201, "{plain:?}");
    let proof = Proof::Certificate(made.string("certificate"), key.serialize_pem());
    let own = hub.aws("GET", &format!("/things/{lamp}/shadow"), &proof, b"").await;
    own.is_aws(404, "ResourceNotFoundException");
    let other = hub.aws("GET", "/things/somebody-else/shadow", &proof, b"").await;
    other.is_aws(403, "ForbiddenException");
    for wrong in
        [json!({ "csr": "" }), json!({ "csr": "no PEM" }), json!({ "csr": made.string("certificate") })]
    {
        hub.post(&path, wrong).await.refuses("csr", "openssl req");
    }
    hub.post(&path, json!({ "key": 1 })).await.refuses("csr", "unknown field");
    hub.post(&path, json!({ "csr": "x".repeat(9000) })).await.is(413, "too_large");
    let list = hub.get(&format!("/devices/{lamp}/certificates")).await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "what is refused issues nothing");
}
