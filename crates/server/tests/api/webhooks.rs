//! Webhooks: what is posted to whom, in which order, how it is signed, and what becomes of it when nobody takes it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::time::Span;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::target::{Posted, Target};

impl Hub {
    /// Makes a webhook. Returns its path and its secret.
    async fn webhook(&self, name: &str, target: &Target, changes: &[&str]) -> (String, String) {
        let new = json!({ "name": name, "url": target.url(), "changes": changes });
        let made = self.post("/webhooks", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        (format!("/webhooks/{}", made.string("id")), made.string("secret"))
    }

    async fn makes_group(&self, number: usize) {
        let new = json!({ "name": format!("group {number}"), "selector": "online" });
        assert_eq!(self.post("/groups", new).await.status, 201);
    }

    async fn counts(&self, webhook: &str) -> [i64; 3] {
        let shown = self.get(webhook).await.json();
        ["waiting", "delivered", "dead"].map(|count| shown[count].as_i64().unwrap())
    }

    async fn until_counts(&self, webhook: &str, wanted: [i64; 3]) {
        self.until(&format!("{webhook} has {wanted:?}"), || async {
            (self.counts(webhook).await == wanted).then_some(())
        })
        .await;
    }

    /// The dead letters of a webhook, once there are so many.
    async fn dead(&self, webhook: &str, count: usize) -> Vec<Value> {
        self.until(&format!("{count} dead letters"), || async {
            let dead = self.get(&format!("{webhook}/deliveries?state=dead")).await.json();
            let items = dead["items"].as_array()?.clone();
            (items.len() == count).then_some(items)
        })
        .await
    }
}

/// Whether a signature fits, as the libraries of Standard Webhooks look at it.
fn verifies(post: &Posted, secret: &str) -> bool {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = format!("{}.{}.{}", post.header("webhook-id"), post.header("webhook-timestamp"), post.bytes);
    post.header("webhook-signature").split(' ').any(|one| {
        let tag = BASE64_STANDARD.decode(one.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
    })
}

fn names(posts: &[Posted]) -> Vec<String> {
    let name = |post: &Posted| post.body()["change"]["subject_name"].as_str().unwrap().to_owned();
    posts.iter().map(name).collect()
}

fn groups(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| format!("group {number}")).collect()
}

#[tokio::test]
async fn wanted_changes_are_posted_and_signed() {
    let (hub, target) = (Hub::start().await, Target::start().await);
    hub.makes_group(0).await;
    let (path, secret) = hub.webhook("ci", &target, &["group_*"]).await;
    hub.makes_group(1).await;
    hub.post("/devices", json!({ "name": "lamp", "dialect": "native" })).await;
    hub.makes_group(2).await;
    let taken = target.taken(2).await;
    assert_eq!(names(&taken), ["group 1", "group 2"], "what was before is not told");
    let body = taken[0].body();
    let listed = hub.get("/activity?kind=group_created&limit=2").await.json()["items"][1].clone();
    assert_eq!(body["change"], listed, "a change as in the activity");
    assert_eq!((&body["event"], &body["at"]), (&json!("group_created"), &json!("2027-01-15T08:00:00.000Z")));
    assert_eq!(body["id"], taken[0].header("webhook-id"));
    assert_eq!(taken[0].header("webhook-timestamp"), "1800000000");
    assert!(taken.iter().all(|post| verifies(post, &secret)));
    assert!(!verifies(
        &Posted { bytes: taken[0].bytes.replace("group 1", "group 9"), ..taken[0].clone() },
        &secret
    ));

    // A new secret: the old one signs beside it for a day.
    let new = hub.post(&format!("{path}/secret"), json!({})).await.string("secret");
    hub.makes_group(3).await;
    let third = target.taken(3).await[2].clone();
    assert!(new != secret && verifies(&third, &new) && verifies(&third, &secret));
    hub.clock.advance(Span::days(1));
    let ping = hub.post(&format!("{path}/ping"), json!({})).await.json();
    assert_eq!(ping, json!({ "taken": true, "status": 200, "answer": "thanks" }));
    let pinged = target.taken(4).await[3].clone();
    assert_eq!(pinged.body()["event"], "ping");
    assert!(verifies(&pinged, &new) && !verifies(&pinged, &secret));
    hub.until_counts(&path, [0, 3, 0]).await;
    for secret in [secret, new] {
        let stored = servers::stored(hub.folder());
        let bare = secret.trim_start_matches("whsec_").as_bytes();
        assert!(!stored.windows(bare.len()).any(|part| part == bare), "a secret is stored");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn a_target_that_was_down_for_an_hour_gets_everything_in_order_and_once() {
    let (mut hub, mut target) = (Hub::start().await, Target::start().await);
    let (path, _) = hub.webhook("ci", &target, &["group_*"]).await;
    hub.makes_group(0).await;
    target.taken(1).await;
    hub.until_counts(&path, [0, 1, 0]).await;
    target.down().await;
    let mut made = 0;
    for minute in 0..60 {
        made += 1;
        hub.makes_group(made).await;
        hub.clock.advance(Span::minutes(1));
        if minute == 30 {
            // Restarted in the middle of it.
            hub = hub.again(true).await;
        }
    }
    hub.until_counts(&path, [60, 1, 0]).await;
    let waiting = hub.get(&format!("{path}/deliveries?limit=1")).await.json()["items"][0].clone();
    assert!(waiting["tries"].as_i64().unwrap() >= 1, "{waiting}");
    assert!(waiting["answer"].as_str().is_some_and(|why| !why.is_empty()), "{waiting}");
    target.up().await;
    hub.until("it is tried within the next hour", || async {
        hub.clock.advance(Span::minutes(5));
        (target.posted().len() > 1).then_some(())
    })
    .await;
    let taken = target.taken(61).await;
    assert_eq!(names(&taken), groups(0..61));
    let seqs: Vec<i64> = taken.iter().map(|post| post.body()["change"]["seq"].as_i64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    hub.until_counts(&path, [0, 61, 0]).await;
    assert_eq!(target.posted().len(), 61, "each was acknowledged once and not posted again");
    hub.is_well().await;
}

#[tokio::test]
async fn what_is_refused_is_a_dead_letter_that_can_be_sent_again() {
    let (hub, target) = (Hub::start().await, Target::start().await);
    let (path, _) = hub.webhook("ci", &target, &["group_created"]).await;
    target.answers(422, "no such\u{0} channel");
    for number in 1..=3 {
        hub.makes_group(number).await;
    }
    let dead = hub.dead(&path, 3).await;
    let facts = ["state", "status", "answer", "tries"].map(|fact| &dead[0][fact]);
    assert_eq!(json!(facts), json!(["dead", 422, "no such\u{fffd} channel", 1]));
    let ids: Vec<&str> = dead.iter().rev().map(|one| one["id"].as_str().unwrap()).collect();
    let whole = hub.get(&format!("{path}/deliveries/{}", ids[0])).await.json();
    assert_eq!(whole["body"]["change"]["subject_name"], "group 1");

    target.answers(204, "");
    let again = hub.post(&format!("{path}/deliveries/{}/resend", ids[1]), json!({})).await;
    assert_eq!(again.json(), json!({ "resent": 1 }));
    let taken = target.taken(1).await;
    assert_eq!(taken[0].header("webhook-id"), ids[1], "with its id");
    hub.until_counts(&path, [0, 1, 2]).await;
    hub.post(&format!("{path}/deliveries/{}/resend", ids[1]), json!({})).await.is(409, "conflict");
    let all = hub.post(&format!("{path}/deliveries/resend"), json!({})).await;
    assert_eq!(all.json(), json!({ "resent": 2 }));
    assert_eq!(names(&target.taken(3).await), ["group 2", "group 1", "group 3"]);
    hub.until_counts(&path, [0, 3, 0]).await;
    let said = hub.get("/activity?kind=deliveries_resent").await.json();
    assert_eq!(said["items"][0]["after"], json!({ "deliveries": 2 }));
}

#[tokio::test]
async fn a_target_that_is_gone_is_disabled_until_a_person_enables_it() {
    let (hub, target) = (Hub::start().await, Target::start().await);
    let (path, _) = hub.webhook("ci", &target, &["group_created"]).await;
    target.answers(410, "gone");
    hub.makes_group(1).await;
    let shown = hub
        .until("it is disabled", || async {
            let shown = hub.get(&path).await.json();
            (shown["enabled"] == false).then_some(shown)
        })
        .await;
    assert_eq!(shown["disabled_because"], "it answered 410: it is gone for good");
    let said = hub.get("/activity?kind=webhook_disabled").await.json();
    assert_eq!(said["items"][0]["actor"]["kind"], "system");
    hub.makes_group(2).await;
    hub.clock.advance(Span::days(1));
    assert_eq!(hub.counts(&path).await, [1, 0, 0], "what waits stays, nothing is added");
    target.answers(200, "");
    hub.patch(&path, json!({ "enabled": true })).await;
    hub.makes_group(3).await;
    assert_eq!(names(&target.taken(2).await), ["group 1", "group 3"]);
}

#[tokio::test]
async fn a_target_that_hangs_holds_up_nobody() {
    let (hub, slow, target) = (Hub::start().await, Target::start().await, Target::start().await);
    slow.hangs();
    let (hanging, _) = hub.webhook("slow", &slow, &["*"]).await;
    let (path, _) = hub.webhook("ci", &target, &["group_created"]).await;
    for number in 0..50 {
        hub.makes_group(number).await;
    }
    assert_eq!(names(&target.taken(50).await), groups(0..50));
    let [waiting, delivered, _] = hub.counts(&hanging).await;
    assert!(waiting > 50 && delivered == 0, "it takes one at a time, and none: {waiting}, {delivered}");
    assert_eq!(hub.delete(&hanging).await.status, 204);
    hub.until_counts(&path, [0, 50, 0]).await;
    hub.is_well().await;
}

#[tokio::test]
async fn a_webhook_is_about_the_devices_of_its_selector() {
    let (hub, target) = (Hub::start().await, Target::start().await);
    let new =
        json!({ "name": "kitchen", "url": target.url(), "changes": ["device_*"], "devices": "tag=kitchen" });
    let made = hub.post("/webhooks", new).await;
    hub.board("attic", 1, &["attic"]).await;
    hub.board("lamp", 2, &["kitchen"]).await;
    assert_eq!(names(&target.taken(1).await), ["lamp"]);
    let path = format!("/webhooks/{}", made.string("id"));
    let edited = hub.patch(&path, json!({ "devices": "", "changes": ["device_registered"] })).await.json();
    assert_eq!(json!([edited["devices"], edited["changes"]]), json!([null, ["device_registered"]]));
    hub.board("cellar", 3, &[]).await;
    assert_eq!(names(&target.taken(2).await), ["lamp", "cellar"]);
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let (hub, target) = (Hub::start().await, Target::start().await);
    let (path, _) = hub.webhook("ci", &target, &[]).await;
    let new = |name: &str, url: &str| json!({ "name": name, "url": url, "changes": ["*"] });
    hub.post("/webhooks", new("CI", "https://example.org/")).await.is(409, "name_taken");
    hub.post("/webhooks", new("x", "ftp://example.org/")).await.refuses("url", "http://");
    hub.post("/webhooks", new("x", "https://ada:pw@example.org/")).await.refuses("url", "password");
    let wrong = json!({ "name": "x", "url": "https://a/", "changes": ["telemetry"] });
    hub.post("/webhooks", wrong).await.refuses("changes", "device_*");
    let wrong = json!({ "name": "x", "url": "https://a/", "devices": "group=nobody" });
    hub.post("/webhooks", wrong).await.refuses("selector", "there is no group");
    hub.patch(&path, json!({ "devices": "tag <" })).await.is(400, "invalid");
    hub.get(&format!("{path}/deliveries?state=lost")).await.refuses("state", "dead");
    hub.get("/webhooks/nobody/deliveries").await.is(404, "not_found");
    hub.get("/webhooks/mail/deliveries").await;
    hub.post(&format!("{path}/deliveries/01kabcdefghjkmnpqrstvwxyz0/resend"), json!({}))
        .await
        .is(404, "not_found");
    let inside = new("inside", &format!("http://{}/", hub.http));
    let inside = hub.post("/webhooks", inside).await.string("id");
    let ping = hub.post(&format!("/webhooks/{inside}/ping"), json!({})).await.json();
    assert!(ping["answer"].as_str().unwrap().contains("the hub itself"), "{ping}");
}
