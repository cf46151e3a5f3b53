//! The inbox: who knocks is listed, and accepted, refused or ignored; strangers cannot fill anything.

use serde_json::{Value, json};

use crate::support::live::Reader;
use crate::support::mqtt::Publisher;
use crate::support::{Caller, Hub};

async fn waiting(hub: &Hub) -> Vec<Value> {
    hub.get("/inbox").await.json()["items"].as_array().unwrap().clone()
}

async fn knock(hub: &Hub, name: &str, password: &str) {
    assert!(Publisher::connect(hub, name, password).await.is_err(), "{name} was let in");
}

#[tokio::test]
async fn an_unknown_device_is_listed_with_what_it_said_and_never_with_its_secret() {
    let hub = Hub::start().await;
    let mut page = Reader::open(&hub, &hub.ada, "", None).await.unwrap();
    page.next().await.unwrap();
    for _ in 0..3 {
        knock(&hub, "lamp-1", "a secret word").await;
    }
    let told = loop {
        // That somebody was given a token may be told as well.
        let frame = page.next().await.unwrap();
        if frame["changes"].is_null() {
            break frame;
        }
    };
    assert_eq!(told, json!({ "inbox": { "waiting": 1 } }));
    let answer = hub.get("/inbox").await;
    assert!(!answer.text().contains("a secret word"), "{answer:?}");
    let mut list = answer.json();
    list["items"][0]["id"].take();
    let expected = json!({ "id": null, "name": "lamp-1", "dialect": "native", "client_id": null,
        "transport": "mqtt", "address": "127.0.0.1", "has_secret": true, "count": 3,
        "first_at": "2027-01-15T08:00:00.000Z", "last_at": "2027-01-15T08:00:00.000Z", "state": "new",
        "device": null });
    assert_eq!(list, json!({ "items": [expected], "total": 1, "waiting": 1 }));
}

#[tokio::test]
async fn accepting_registers_the_device_and_its_credential_works() {
    let hub = Hub::start().await;
    knock(&hub, "lamp-1", "guess").await;
    let id = waiting(&hub).await[0]["id"].as_str().unwrap().to_owned();
    let made = hub.post(&format!("/inbox/{id}/accept"), json!({ "name": "Lamp", "tags": ["hall"] })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let device = made.json();
    assert_eq!((&device["name"], &device["external_id"]), (&json!("Lamp"), &json!("lamp-1")));
    assert_eq!((&device["tags"], &device["dialect"]), (&json!(["hall"]), &json!("native")));
    assert!(waiting(&hub).await.is_empty());
    Publisher::connect(&hub, "lamp-1", &made.string("credential")).await.unwrap();
    hub.post(&format!("/inbox/{id}/accept"), json!({})).await.is(404, "not_found");
    knock(&hub, "lamp-1", "still wrong").await;
    let again = waiting(&hub).await;
    assert_eq!(again[0]["device"], device["id"], "a known device with a wrong secret is called so");
    let twin = hub.post(&format!("/inbox/{}/accept", again[0]["id"].as_str().unwrap()), json!({})).await;
    twin.is(409, "external_id_taken");
}

#[tokio::test]
async fn a_nodemcu_board_is_let_in_without_a_credential_only_if_a_person_says_so() {
    let hub = Hub::start().await;
    let poll = || hub.send("GET", "/node.php?id=10801015&update", &hub.ada, &[], None);
    assert_eq!((poll().await.text(), poll().await.text()), (String::new(), String::new()));
    let knock = waiting(&hub).await[0].clone();
    assert_eq!((&knock["dialect"], &knock["transport"]), (&json!("nodemcu"), &json!("http")));
    assert_eq!((&knock["has_secret"], &knock["count"]), (&json!(false), &json!(2)));
    let accept = format!("/inbox/{}/accept", knock["id"].as_str().unwrap());
    let native = json!({ "dialect": "native", "without_credential": true });
    hub.post(&accept, native).await.refuses("without_credential", "nodemcu");
    let made = hub.post(&accept, json!({ "name": "Board", "without_credential": true })).await;
    assert_eq!((made.status, &made.json()["unauthenticated_allowed"]), (201, &json!(true)));
    poll().await;
    let path = format!("/devices/{}", made.string("id"));
    hub.until("the board is heard", || async {
        hub.clock.advance(motehub_domain::time::Span::seconds(31));
        hub.get(&path).await.json()["last_seen"].as_str().map(str::to_owned)
    })
    .await;
    assert!(waiting(&hub).await.is_empty(), "it is no stranger any more");
}

#[tokio::test]
async fn the_refused_are_not_listed_again_and_the_ignored_only_when_they_change() {
    let hub = Hub::start().await;
    for name in ["eve", "bo"] {
        knock(&hub, name, "x").await;
    }
    for (name, verb, state) in [("eve", "refuse", "refused"), ("bo", "ignore", "ignored")] {
        let list = waiting(&hub).await;
        let id = list.iter().find(|knock| knock["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
        assert_eq!(hub.post(&format!("/inbox/{id}/{verb}"), json!({})).await.status, 204);
        knock(&hub, name, "y").await;
        assert!(waiting(&hub).await.iter().all(|knock| knock["name"] != name));
        let listed = hub.get(&format!("/inbox?state={state}")).await.json();
        assert_eq!((&listed["items"][0]["name"], &listed["items"][0]["count"]), (&json!(name), &json!(2)));
    }
    // Without a secret it says something else than before.
    let bare = hub.get("/inbox?state=ignored").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    hub.send("GET", "/node.php?id=7&update", &Caller::default(), &[], None).await;
    assert_eq!(waiting(&hub).await.len(), 1, "only the new one");
    assert_eq!(hub.post(&format!("/inbox/{bare}/reopen"), json!({})).await.status, 204);
    assert_eq!(hub.get("/inbox").await.json()["waiting"], 2);
    let refused = hub.get("/inbox?state=refused").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(hub.delete(&format!("/inbox/{refused}")).await.status, 204);
    hub.delete(&format!("/inbox/{refused}")).await.is(404, "not_found");
    knock(&hub, "eve", "z").await;
    assert_eq!(hub.get("/inbox").await.json()["waiting"], 3, "nothing is known of it any more");
    let kinds = hub.get("/activity?noun=knock").await.json();
    let kinds: Vec<&Value> =
        kinds["items"].as_array().unwrap().iter().map(|change| &change["kind"]).collect();
    assert_eq!(kinds, ["knock_deleted", "knock_returned", "knock_ignored", "knock_refused"]);
}

#[tokio::test]
async fn what_strangers_say_cannot_fill_or_break_the_inbox() {
    let hub = Hub::start().await;
    let (_, credential) = hub.board("Lamp", 7, &[]).await;
    knock(&hub, &credential, "it sent its password as its name").await;
    assert!(waiting(&hub).await.is_empty(), "a secret is never listed");
    let commits = hub.last_seq().await;
    for n in 0..300 {
        let path = format!("/node.php?id={}&update", 1000 + n);
        hub.send("GET", &path, &Caller::default(), &[], None).await;
    }
    let list = hub.get("/inbox?limit=1000").await.json();
    assert_eq!((&list["total"], &list["waiting"]), (&json!(100), &json!(100)), "one address, one minute");
    assert_eq!(hub.last_seq().await, commits, "strangers write no facts");
    knock(&hub, "<script>alert(1)</script>\u{202e}", "x").await;
    for query in ["?state=all", "?limit=0", "?limit=5000", "?state=", "?q=1"] {
        hub.get(&format!("/inbox{query}")).await.is(400, "invalid");
    }
    hub.post("/inbox/nobody/accept", json!({})).await.is(404, "not_found");
    let id = list["items"][0]["id"].as_str().unwrap();
    let accept = format!("/inbox/{id}/accept");
    hub.post(&accept, json!({ "tags": ["a b"] })).await.refuses("tags", "no blanks");
    hub.post(&accept, json!({ "dialect": "klingon" })).await.refuses("dialect", "native");
    hub.post(&accept, json!({ "external_id": "x" })).await.is(400, "invalid");
    hub.is_well().await;
}
