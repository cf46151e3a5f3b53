//! Groups: selectors with a name, whose members are who satisfies them now.

use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::mqtt::Publisher;

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn membership_is_live_and_follows_what_is_measured() {
    let hub = Hub::start().await;
    let (lamp, credential) = hub.board("Lamp", 1, &["kitchen"]).await;
    hub.board("Fan", 2, &["kitchen"]).await;
    let hot = json!({ "name": "Hot", "selector": "t > 30 and group=kitchen", "description": "too hot" });
    hub.post("/groups", hot.clone()).await.refuses("selector", "there is no group kitchen");
    let made = hub.post("/groups", json!({ "name": "Kitchen", "selector": "tag=kitchen" })).await;
    assert_eq!((made.status, &made.json()["members"]), (201, &json!(2)), "{made:?}");
    let hot = hub.post("/groups", hot).await;
    assert_eq!((hot.status, &hot.json()["members"]), (201, &json!(0)), "{hot:?}");
    let members = format!("/groups/{}/members", hot.string("id"));
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    board.publish("devices/1/telemetry", br#"{"t":31.5,"soil moisture":7}"#).await.unwrap();
    assert_eq!(names(&hub.get(&members).await.json()), ["Lamp"]);
    let list = hub.get("/groups").await.json();
    assert_eq!((names(&list), &list["items"][0]["members"]), (vec!["Hot", "Kitchen"], &json!(1)));
    board.publish("devices/1/telemetry", br#"{"t":29}"#).await.unwrap();
    assert_eq!(hub.get(&members).await.json()["total"], 0);
    let found = hub.get("/devices?selector=%22soil%20moisture%22%20%3D%207%20and%20group%3DKITCHEN").await;
    assert_eq!(names(&found.json()), ["Lamp"]);
    let words = hub.get("/selectors/words").await.json();
    assert_eq!(words["metrics"], json!(["soil moisture", "t"]));
    assert_eq!((&words["tags"], &words["groups"]), (&json!(["kitchen"]), &json!(["Hot", "Kitchen"])));
    assert!(words["fields"].as_array().unwrap().iter().any(|field| field["word"] == "seen"));
    assert_eq!(hub.get(&format!("/devices/{lamp}")).await.status, 200);
}

#[tokio::test]
async fn a_group_is_made_changed_and_deleted_and_never_contains_itself() {
    let hub = Hub::start().await;
    hub.board("Lamp", 1, &["kitchen"]).await;
    let made = hub.post("/groups", json!({ "name": "a", "selector": "tag=kitchen" })).await;
    let other = hub.post("/groups", json!({ "name": "b", "selector": "not group=a" })).await;
    let (a, b) = (format!("/groups/{}", made.string("id")), format!("/groups/{}", other.string("id")));
    hub.post("/groups", json!({ "name": "A", "selector": "all" })).await.is(409, "name_taken");
    let wrong = hub.post("/groups", json!({ "name": "c", "selector": "tag <" })).await;
    wrong.refuses("selector", "position 5");
    assert_eq!(wrong.json()["position"], 5);
    hub.patch(&a, json!({ "selector": "group=b" })).await.refuses("selector", "a → b → a");
    hub.patch(&a, json!({ "name": "z" })).await.is(409, "conflict");
    hub.delete(&a).await.is(409, "conflict");
    let edited = hub.patch(&a, json!({ "selector": "online", "description": "who is there" })).await;
    assert_eq!((edited.status, &edited.json()["members"]), (200, &json!(0)));
    assert_eq!(hub.get(&b).await.json()["members"], 1);
    let deployed = json!({ "selector": "group=b" });
    assert_eq!(hub.post("/deployments/preview", deployed).await.json()["total"], 1);
    assert_eq!(hub.delete(&b).await.status, 204);
    assert_eq!(hub.delete(&a).await.status, 204);
    hub.get(&a).await.is(404, "not_found");
    hub.get("/groups/nonsense/members").await.is(404, "not_found");
    let facts = hub.get("/activity?noun=group").await.json();
    let kinds: Vec<&str> =
        facts["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    let expected = ["group_deleted", "group_deleted", "group_edited", "group_created", "group_created"];
    assert_eq!(kinds, expected);
    hub.is_well().await;
}
