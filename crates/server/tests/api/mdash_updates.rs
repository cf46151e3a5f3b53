//! Firmware as mDash takes it and as its devices take it: pushed, fetched from an address by a call, or by a delta.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::crossing::nodes::Nodes;
use crate::firmware::{form, sample, uploaded};
use crate::mdash::{await_online, light};
use crate::support::mdash::Socket;
use crate::support::{Answer, Hub};

const ZIP: &str = "light-1.2.zip";

/// A light that has said what it is.
struct Light<'a> {
    hub: &'a Hub,
    id: String,
    token: String,
    socket: Socket,
}

impl<'a> Light<'a> {
    async fn new(hub: &'a Hub, platform: &str) -> Self {
        let (id, token) = light(hub, "Hall").await;
        let socket = Socket::device(hub, &token).await;
        let mut light = Self { hub, id, token, socket };
        light.introduces_itself(platform, "1.0").await;
        await_online(hub, &light.id, true).await;
        light
    }

    async fn introduces_itself(&mut self, platform: &str, version: &str) {
        let info = json!({ "app": "light", "arch": platform, "fw_version": version });
        self.socket.say(&json!({ "id": 1, "result": info })).await;
        self.answers("OTA.GetBootState", json!({ "result": { "is_committed": version == "1.0" } })).await;
        let path = format!("/api/v2/devices/{}", self.id);
        self.hub
            .until("what the light said", || async {
                let shown = self.hub.axios("GET", &path, &self.hub.key(), None).await.json();
                (shown["shadow"]["state"]["reported"]["ota"]["fw_version"] == version).then_some(())
            })
            .await;
    }

    /// Waits to be called so, and answers. Gives the parameters.
    async fn answers(&mut self, method: &str, mut answer: Value) -> Value {
        let called = self.socket.await_frame(|frame| frame["method"] == method).await;
        answer["id"] = called["id"].clone();
        self.socket.say(&answer).await;
        called["params"].clone()
    }

    /// Takes what is pushed, to its end. Gives all of it.
    async fn takes(&mut self) -> Vec<u8> {
        let size = self.answers("OTA.Begin", json!({ "result": true })).await["size"].as_u64().unwrap();
        let mut taken = Vec::new();
        while (taken.len() as u64) < size {
            let piece = self.answers("OTA.Write", json!({ "result": true })).await;
            taken.extend(BASE64_STANDARD.decode(piece["data"].as_str().unwrap()).unwrap());
        }
        self.answers("OTA.End", json!({ "result": true })).await;
        taken
    }

    async fn starts_with(&mut self, version: &str) {
        self.socket = Socket::device(self.hub, &self.token).await;
        self.introduces_itself("esp8266", version).await;
    }

    async fn ota(&self, file: &[u8], fields: &[(&str, &str)]) -> Answer {
        let path = format!("/api/v2/devices/{}/ota", self.id);
        self.hub.mdash_form(&path, &self.hub.key(), &form(file, fields)).await
    }

    /// Its newest task, when it stands so.
    async fn is_at(&self, state: &str) -> Value {
        let found = self.hub.get(&format!("/devices?selector=external_id%3D{}", self.id)).await.json();
        let path = format!("/devices/{}/tasks", found["items"][0]["id"].as_str().unwrap());
        self.hub
            .until(state, || async {
                let task = self.hub.get(&path).await.json()["items"][0].clone();
                (task["state"] == state).then_some(task)
            })
            .await
    }
}

#[tokio::test]
async fn an_upload_is_answered_when_the_light_has_all_of_it() {
    let hub = Hub::start().await;
    let mut light = Light::new(&hub, "esp8266").await;
    let file = sample(ZIP);
    let path = format!("/api/v2/devices/{}/ota", light.id);
    let (upload, key) = (form(&file, &[]), hub.key());
    let (said, taken) = tokio::join!(hub.mdash_form(&path, &key, &upload), light.takes());
    assert_eq!((said.status, said.json()), (200, json!(true)), "{said:?}");
    assert_eq!(taken, file);
    // It is kept like any other, and watched until the light stays with it.
    assert_eq!(hub.get("/firmware").await.json()["items"][0]["version"], "1.2");
    light.starts_with("1.2").await;
    light.is_at("Confirming").await;
    // The same file again is the same firmware.
    let (said, taken) = tokio::join!(hub.mdash_form(&path, &key, &upload), light.takes());
    assert_eq!((said.status, taken.len()), (200, file.len()), "{said:?}");
    assert_eq!(hub.get("/firmware").await.json()["total"], 1);
    // What the light answers is what the caller is told.
    let refuses = async {
        light.answers("OTA.Begin", json!({ "error": { "code": 500, "message": "no space" } })).await;
    };
    let (said, ()) = tokio::join!(hub.mdash_form(&path, &key, &upload), refuses);
    assert_eq!((said.status, said.json()["message"].clone()), (500, json!("no space (code 500)")));
    hub.is_well().await;
}

#[tokio::test]
async fn what_cannot_be_given_is_refused_before_anything_is_done() {
    let hub = Hub::start().await;
    let other = Light::new(&hub, "esp32").await;
    let file = sample(ZIP);
    for (status, said) in [
        (400, other.ota(&file, &[]).await),
        (422, other.ota(&file[..200], &[]).await),
        (413, other.ota(&vec![0; 5 * 1024 * 1024], &[]).await),
        (400, other.ota(&file, &[("version", "7")]).await),
    ] {
        assert_eq!((said.status, &said.json()["code"]), (status, &json!(status)), "{said:?}");
    }
    let path = format!("/api/v2/devices/{}/ota", other.id);
    let key = hub.axios("POST", "/api/v2/keys", &hub.key(), Some(&json!({ "role": "viewer" }))).await;
    let viewer = format!("Bearer {}", key.string("id"));
    for (status, path, auth) in
        [(401, path.as_str(), ""), (403, &path, &viewer), (404, "/api/v2/devices/nothing/ota", &hub.key())]
    {
        assert_eq!(hub.mdash_form(path, auth, &form(&file, &[])).await.status, status, "{path}");
    }
    assert_eq!(hub.axios("POST", &path, &hub.key(), Some(&json!({}))).await.status, 415);
    drop(other.socket);
    await_online(&hub, &other.id, false).await;
    assert_eq!(hub.mdash_form(&path, &hub.key(), &form(&file, &[])).await.status, 503);
    assert_eq!(hub.get("/deployments").await.json()["total"], 0);
    hub.is_well().await;
}

#[tokio::test]
async fn a_light_that_cannot_be_pushed_to_fetches_it() {
    let hub = Hub::start().await;
    let mut light = Light::new(&hub, "esp8266").await;
    let file = sample(ZIP);
    let path = format!("/api/v2/devices/{}/ota", light.id);
    let unknown = || json!({ "error": { "code": 404, "message": "No handler for OTA.Begin" } });
    let (upload, key) = (form(&file, &[]), hub.key());
    let fetching = async {
        light.answers("OTA.Begin", unknown()).await;
        let called = light.socket.await_frame(|frame| frame["method"] == "OTA.Update").await;
        assert_eq!(called["params"]["commit_timeout"], 105, "{called}");
        let url = called["params"]["url"].as_str().unwrap().to_owned();
        let got = hub.mdash_get(&url, "").await;
        assert_eq!((got.status, got.header("content-length")), (200, Some(&*file.len().to_string())));
        assert_eq!(got.body, file);
        assert_eq!(light.is_at("Fetching").await["reason"], "the device fetches it by itself");
        let piece = hub.mdash_get(&url, "Range: bytes=100-199\r\n").await;
        assert_eq!((piece.status, piece.body.as_slice()), (206, &file[100..200]));
        for wrong in [url.replace(".zip", ""), url.replace("firmware/", "firmware/0")] {
            assert_eq!(hub.mdash_get(&wrong, "").await.status, 404);
        }
        // Old firmware says in the form of an error that all went well.
        let done = json!({ "code": 0, "message": "Update applied, finalizing" });
        light.socket.say(&json!({ "id": called["id"], "error": done })).await;
        url
    };
    let (said, url) = tokio::join!(hub.mdash_form(&path, &key, &upload), fetching);
    assert_eq!((said.status, said.json()), (200, json!(true)), "{said:?}");
    light.is_at("Applying").await;
    assert_eq!(hub.mdash_get(&url, "").await.status, 404, "the address was good for this once");
    light.starts_with("1.2").await;
    light.is_at("Confirming").await;
    hub.is_well().await;
}

#[tokio::test]
async fn a_light_fetches_at_whatever_node_of_the_hub_it_comes_to() {
    let nodes = Nodes::start().await;
    let mut light = Light::new(&nodes.a, "esp8266").await;
    let file = sample(ZIP);
    let path = format!("/api/v2/devices/{}/ota", light.id);
    let unknown = || json!({ "error": { "code": 404, "message": "No handler for OTA.Begin" } });
    let (upload, key) = (form(&file, &[]), nodes.a.key());
    let fetching = async {
        light.answers("OTA.Begin", unknown()).await;
        let called = light.socket.await_frame(|frame| frame["method"] == "OTA.Update").await;
        let url = called["params"]["url"].as_str().unwrap();
        let there = url.replace(&nodes.a.mdash.to_string(), &nodes.b.mdash.to_string());
        assert_eq!(nodes.b.mdash_get(&there, "").await.body, file);
        let wrong = there.replace("firmware/", "firmware/0");
        assert_eq!(nodes.b.mdash_get(&wrong, "").await.status, 404);
        let done = json!({ "code": 0, "message": "Update applied, finalizing" });
        light.socket.say(&json!({ "id": called["id"], "error": done })).await;
        there
    };
    let (said, there) = tokio::join!(nodes.b.mdash_form(&path, &key, &upload), fetching);
    assert_eq!((said.status, said.json()), (200, json!(true)), "{said:?}");
    light.is_at("Applying").await;
    assert_eq!(nodes.b.mdash_get(&there, "").await.status, 404, "the address was good for this once");
}

#[tokio::test]
async fn a_light_that_knows_no_call_for_it_is_told_in_a_delta() {
    let hub = Hub::start().await;
    let mut light = Light::new(&hub, "esp8266").await;
    let made = uploaded(&hub, ZIP).await;
    let found = hub.get(&format!("/devices?selector=external_id%3D{}", light.id)).await.json();
    let wanted = json!({ "firmware": made, "devices": [found["items"][0]["id"]] });
    let unknown = || json!({ "error": { "code": -32601, "message": "method not found" } });
    assert_eq!(hub.post("/deployments", wanted.clone()).await.status, 201);
    light.answers("OTA.Begin", unknown()).await;
    light.answers("OTA.Update", unknown()).await;
    let told = light.answers("Shadow.Delta", json!({ "result": null })).await;
    let url = told["state"]["ota"]["url"].as_str().unwrap();
    assert_eq!(hub.mdash_get(url, "").await.body, sample(ZIP));
    light.is_at("Fetching").await;
    // The shadow itself knows nothing of the address.
    let shadow = hub.axios("GET", &format!("/api/v2/devices/{}/shadow", light.id), &hub.key(), None).await;
    assert!(!shadow.text().contains("url"), "{shadow:?}");
    light.starts_with("1.2").await;
    light.is_at("Confirming").await;
    // One that takes none of the ways cannot be updated over the air.
    hub.clock.advance(Span::seconds(1));
    assert_eq!(hub.post("/deployments", wanted).await.status, 201);
    for method in ["OTA.Begin", "OTA.Update", "Shadow.Delta"] {
        light.answers(method, unknown()).await;
    }
    let failed = light.is_at("Failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("cannot be updated over the air"), "{failed}");
    hub.is_well().await;
}
