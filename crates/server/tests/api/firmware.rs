//! Firmware: what is taken and what is refused, how devices fetch it, and what a deployment of it says at the end.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Answer, Caller, Hub};

const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";
const BOUNDARY: &str = "------------------------motehub";

/// Made by Python's zipfile.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/firmware/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

pub(crate) fn form(file: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(part.into_bytes());
    }
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"fw\"";
    body.extend(
        format!("--{BOUNDARY}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n").into_bytes(),
    );
    body.extend(file);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    body
}

async fn upload(hub: &Hub, file: &[u8], fields: &[(&str, &str)]) -> Answer {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let headers = [("Content-Type", kind.as_str())];
    hub.raw("POST", "/api/v1/firmware", &hub.ada, &headers, &form(file, fields)).await
}

pub(crate) async fn uploaded(hub: &Hub, file: &str) -> String {
    let made = upload(hub, &sample(file), &[]).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.string("id")
}

#[tokio::test]
async fn a_zip_of_mongoose_os_says_itself_what_it_is() {
    let hub = Hub::start().await;
    let made = upload(&hub, &sample("light-1.2.zip"), &[("notes", "the first")]).await;
    assert_eq!(made.status, 201, "{made:?}");
    let got = hub.get(&format!("/firmware/{}", made.string("id"))).await.json();
    let fields = ["name", "version", "platform", "notes", "created_by", "used_by"].map(|field| &got[field]);
    assert_eq!(json!(fields), json!(["light", "1.2", "esp8266", "the first", "ada", 0]));
    assert_eq!(got["manifest"]["parts"]["fw"]["size"], 3000);
    let list = hub.get("/firmware?q=1.2").await.json();
    assert_eq!((&list["total"], &list["items"][0]), (&json!(1), &got));
    assert_eq!(hub.get("/firmware?q=stm32").await.json()["total"], 0);
    let id = made.string("id");
    let file = hub.get(&format!("/firmware/{id}/file")).await;
    assert_eq!(file.body, sample("light-1.2.zip"));
    assert!(file.header("content-disposition").unwrap().contains("light-1.2-esp8266.zip"), "{file:?}");
    let edited = hub.patch(&format!("/firmware/{id}"), json!({ "notes": "for the shop" })).await;
    assert_eq!(edited.json()["notes"], "for the shop");
    upload(&hub, &sample("light-1.2.zip"), &[]).await.is(409, "name_taken");
    assert_eq!(hub.delete(&format!("/firmware/{id}")).await.status, 204);
    hub.get(&format!("/firmware/{id}")).await.is(404, "not_found");
    assert_eq!(upload(&hub, &sample("light-1.2.zip"), &[]).await.status, 201, "it can come back");
    hub.is_well().await;
}

#[tokio::test]
async fn a_plain_image_is_what_the_caller_says() {
    let hub = Hub::start().await;
    let fields = [("name", "fan"), ("version", "2.0"), ("platform", "esp32")];
    let image = [b"\xe9\x05\x02\x20".as_slice(), &[7; 600_000]].concat();
    let made = upload(&hub, &image, &fields).await;
    assert_eq!((made.status, &made.json()["size_bytes"]), (201, &json!(600_004)), "{made:?}");
    assert_eq!(hub.get(&format!("/firmware/{}/file", made.string("id"))).await.body, image);
    upload(&hub, &image, &fields[..2]).await.refuses("platform", "say it");
    upload(&hub, b"<html>", &fields).await.is(422, "firmware_refused");
    let other = [("name", "a/b"), ("version", "1 0"), ("platform", "stm32")];
    upload(&hub, b"x", &other).await.refuses("version", "without blanks");
}

#[tokio::test]
async fn a_selection_is_given_a_firmware_in_one_go() {
    let hub = Hub::start().await;
    let firmware = uploaded(&hub, "light-1.2.zip").await;
    for name in ["Hall", "Attic"] {
        let light = json!({ "name": name, "dialect": "mongoose", "external_id": name, "tags": ["light"] });
        assert_eq!(hub.post("/devices", light).await.status, 201);
    }
    let action = json!({ "kind": "deploy", "firmware": firmware });
    let mut order = json!({ "selector": "tag=light", "action": action });
    let seen = hub.post("/devices/bulk/preview", order.clone()).await.json();
    assert_eq!((&seen["count"], &seen["left_out"]), (&json!(2), &json!(0)));
    order["token"] = seen["token"].clone();
    let last = hub.post("/devices/bulk", order).await.json();
    let begun = hub.get(&format!("/deployments/{}", last["deployment"].as_str().unwrap())).await.json();
    assert_eq!((&begun["title"], &begun["total"]), (&json!("light 1.2"), &json!(2)));
    let refused = hub.delete(&format!("/firmware/{firmware}")).await;
    assert_eq!(
        refused.json()["detail"],
        "2 devices run it, await it or return to it: give them another one first"
    );
}

#[tokio::test]
async fn what_is_no_firmware_is_refused_and_nothing_is_kept() {
    let hub = Hub::start().await;
    let good = sample("light-1.2.zip");
    let with = |from: &[u8], to: &[u8]| {
        let mut bytes = good.clone();
        let mut place = 0;
        while let Some(found) = bytes[place..].windows(from.len()).position(|window| window == from) {
            bytes[place + found..place + found + to.len()].copy_from_slice(to);
            place += found + to.len();
        }
        bytes
    };
    let cases = [
        (good[..good.len() / 2].to_vec(), "cut off or damaged"),
        (sample("light-bomb.zip"), "entry \"light-1.4/fw.bin\" is compressed"),
        (with(b"/fw.bin", b"/../a.b"), "a name has no \"..\""),
        (with(b"smart", b"spart"), "entry \"light-1.2/fs.bin\" is damaged: its CRC"),
        (with(b"/manifest.json", b"/manifesto.jso"), "the first entry is"),
    ];
    for (file, why) in cases {
        let refused = upload(&hub, &file, &[]).await;
        refused.is(422, "firmware_refused");
        assert!(refused.string("detail").contains(why), "expected {why:?}: {refused:?}");
    }
    upload(&hub, &good, &[("platform", "esp32")]).await.refuses("platform", "the manifest in the zip says");
    upload(&hub, &good, &[("color", "red")]).await.refuses("form", "the fields are");
    upload(&hub, &good, &[("notes", &"x".repeat(20_000))]).await.refuses("notes", "at most");
    hub.post("/firmware", json!({ "file": "x" })).await.is(415, "invalid");
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let empty = format!("--{BOUNDARY}--\r\n");
    let headers = [("Content-Type", kind.as_str())];
    let without = hub.raw("POST", "/api/v1/firmware", &hub.ada, &headers, empty.as_bytes()).await;
    without.refuses("file", "no file");
    let cut = &form(&good, &[])[..2000];
    hub.raw("POST", "/api/v1/firmware", &hub.ada, &headers, cut).await.is(400, "invalid");
    assert_eq!(hub.get("/firmware").await.json()["total"], 0);
    for path in ["/firmware/x", &format!("/firmware/{NO_ID}"), &format!("/firmware/{NO_ID}/file")] {
        hub.get(path).await.is(404, "not_found");
    }
    hub.is_well().await;
}

/// Here a firmware has at most 4 MiB.
#[tokio::test]
async fn three_gigabytes_are_refused_early() {
    let hub = Hub::start().await;
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let long = "3221225472";
    for expects in [("Expect", "100-continue"), ("X-Nothing", "")] {
        let headers = [("Content-Type", kind.as_str()), ("Content-Length", long), expects];
        let asked = hub.raw("POST", "/api/v1/firmware", &hub.ada, &headers, b"").await;
        asked.is(413, "too_large");
        assert!(asked.string("detail").contains("at most 4 MiB"), "{asked:?}");
    }
    let fields = [("name", "fan"), ("version", "2.0"), ("platform", "stm32")];
    upload(&hub, &vec![0xe9; 4 * 1024 * 1024 + 1], &fields).await.is(413, "too_large");
    assert_eq!(upload(&hub, &vec![0xe9; 4 * 1024 * 1024], &fields).await.status, 201, "the largest");
    hub.is_well().await;
}

/// A native device that has firmware.
struct Light<'a> {
    hub: &'a Hub,
    id: String,
    credential: String,
    link: Publisher,
}

impl<'a> Light<'a> {
    async fn new(hub: &'a Hub, name: &str, platform: &str) -> Self {
        let new = json!({ "name": name, "dialect": "native", "external_id": name });
        let made = hub.post("/devices", new).await;
        let (id, credential) = (made.string("id"), made.string("credential"));
        let link = Publisher::connect(hub, name, &credential).await.unwrap();
        let mut light = Self { hub, id, credential, link };
        light.announces(platform, "1.1", None).await;
        light
    }

    async fn says(&mut self, kind: &str, what: Value) {
        let topic = format!("devices/{}/{kind}", self.id);
        self.link.publish(&topic, what.to_string().as_bytes()).await.unwrap();
    }

    async fn announces(&mut self, platform: &str, version: &str, committed: Option<bool>) {
        let attributes = json!({ "platform": platform, "committed": committed });
        let said =
            json!({ "protocol": 1, "firmware": "light", "version": version, "attributes": attributes });
        self.says("announce", said).await;
    }

    async fn is_at(&self, deployment: &str) -> (String, String) {
        let tasks = self.hub.get(&format!("/devices/{}/tasks", self.id)).await.json();
        let task = tasks["items"].as_array().unwrap().iter().find(|task| task["deployment"] == deployment);
        let text = |field: &str| task.unwrap()[field].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }

    async fn fetches(&self, digest: &str, range: &str) -> Answer {
        let path = format!("/devices/{}/artifacts/{digest}", self.id);
        let headers = [("Range", range)];
        self.hub.send("GET", &path, &Caller::token(self.credential.clone()), &headers, None).await
    }
}

/// The deployment, once it ended so.
async fn ended(hub: &Hub, deployment: &str, state: &str) -> Value {
    hub.until("the end of a deployment", || async {
        let shown = hub.get(&format!("/deployments/{deployment}")).await.json();
        (shown["state"] == state).then_some(shown)
    })
    .await
}

async fn digest_of(hub: &Hub, firmware: &str) -> String {
    format!("sha256:{}", hub.get(&format!("/firmware/{firmware}")).await.string("digest"))
}

async fn deploy(hub: &Hub, firmware: &str, devices: &[&str]) -> String {
    let begun = hub.post("/deployments", json!({ "firmware": firmware, "devices": devices })).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    begun.string("id")
}

#[tokio::test]
async fn a_firmware_is_done_when_the_device_runs_it_and_stays() {
    let hub = Hub::start().await;
    let mut light = Light::new(&hub, "hall", "esp8266").await;
    let firmware = uploaded(&hub, "light-1.3.zip").await;
    let digest = digest_of(&hub, &firmware).await;
    assert_eq!(light.fetches(&digest, "bytes=0-3").await.status, 404, "it is not meant for it yet");
    let deployment = deploy(&hub, &firmware, &[&light.id]).await;
    let piece = light.fetches(&digest, "bytes=100-199").await;
    assert_eq!((piece.status, piece.body.as_slice()), (206, &sample("light-1.3.zip")[100..200]));
    assert_eq!(light.fetches(&digest, "bytes=99999-").await.status, 416);
    light.says("task", json!({ "digest": digest, "state": "Fetching" })).await;
    assert_eq!(light.is_at(&deployment).await.0, "Fetching");
    light.says("task", json!({ "digest": digest, "state": "Applying" })).await;
    light.says("task", json!({ "digest": digest, "state": "Done" })).await;
    assert_eq!(light.is_at(&deployment).await.0, "Applying", "a word is not the truth");
    light.announces("esp8266", "1.3", Some(false)).await;
    assert_eq!(light.is_at(&deployment).await.0, "Confirming");
    let device = hub.get(&format!("/devices/{}", light.id)).await.json();
    assert_eq!((&device["firmware"]["version"], &device["state"]), (&json!("1.3"), &json!("pending")));
    hub.delete(&format!("/firmware/{firmware}")).await.is(409, "in_use");
    light.says("task", json!({ "digest": digest, "state": "Done" })).await;
    assert_eq!(light.is_at(&deployment).await.0, "Done");
    let runs = hub.get(&format!("/firmware/{firmware}/devices")).await.json();
    assert_eq!((&runs["total"], &runs["items"][0]["name"]), (&json!(1), &json!("hall")));
    let shown = ended(&hub, &deployment, "Done").await;
    let facts = ["title", "script"].map(|field| &shown[field]);
    assert_eq!(json!(facts), json!(["light 1.3", null]));
    assert_eq!(shown["tasks"][0]["firmware"]["version"], "1.3");
    assert_eq!(hub.get(&format!("/deployments?firmware={firmware}")).await.json()["total"], 1);
}

#[tokio::test]
async fn a_device_that_goes_back_has_reverted() {
    let hub = Hub::start().await;
    let mut light = Light::new(&hub, "hall", "esp8266").await;
    let firmware = uploaded(&hub, "light-1.3.zip").await;
    let digest = digest_of(&hub, &firmware).await;
    let deployment = deploy(&hub, &firmware, &[&light.id]).await;
    for state in ["Fetching", "Applying"] {
        light.says("task", json!({ "digest": digest, "state": state })).await;
    }
    light.announces("esp8266", "1.3", None).await;
    hub.clock.advance(Span::seconds(5));
    light.announces("esp8266", "1.1", None).await;
    let (state, reason) = light.is_at(&deployment).await;
    assert_eq!((state.as_str(), reason.contains("is back on 1.1")), ("Reverted", true), "{reason}");
    let device = hub.get(&format!("/devices/{}", light.id)).await.json();
    assert_eq!((&device["state"], &device["firmware"]), (&json!("failing"), &Value::Null));
    ended(&hub, &deployment, "Failed").await;
    let again = hub.post(&format!("/deployments/{deployment}/retry"), json!({})).await.json();
    assert_eq!(again["tasks"], 1);
}

#[tokio::test]
async fn a_device_of_another_platform_is_not_offered_it() {
    let hub = Hub::start().await;
    let other = Light::new(&hub, "hall", "esp32").await;
    let (board, _) = hub.board("board", 7, &[]).await;
    let firmware = uploaded(&hub, "light-1.2.zip").await;
    let wanted = json!({ "firmware": firmware, "devices": [other.id] });
    let preview = hub.post("/deployments/preview", wanted).await.json();
    assert_eq!(preview["left_out_total"], 1, "{preview}");
    let deployment = deploy(&hub, &firmware, &[&other.id, &board]).await;
    let tasks = hub.get(&format!("/deployments/{deployment}")).await.json();
    let ends = |name: &str| {
        let tasks = tasks["tasks"].as_array().unwrap();
        let task = tasks.iter().find(|task| task["device_name"] == name).unwrap();
        (task["state"].as_str().unwrap().to_owned(), task["reason"].as_str().unwrap_or_default().to_owned())
    };
    let (state, reason) = ends("hall");
    assert_eq!(state, "Failed");
    assert_eq!(reason, "wrong platform: the firmware is for esp8266, the device is esp32");
    assert!(ends("board").1.contains("flashed by cable"), "{tasks}");
    let chosen = json!({ "firmware": firmware, "selector": "name=hall" });
    hub.post("/deployments", chosen).await.is(409, "wrong_platform");
    let script = hub.script("blink", "print(1)").await;
    for new in
        [json!({ "firmware": firmware, "script": script, "devices": [board] }), json!({ "devices": [board] })]
    {
        hub.post("/deployments", new).await.refuses("script", "one of them");
    }
    let versioned = json!({ "firmware": firmware, "version": 1, "devices": [board] });
    hub.post("/deployments", versioned).await.refuses("version", "leave it out");
    hub.post("/deployments", json!({ "firmware": NO_ID, "devices": [board] })).await.is(404, "not_found");
}

#[tokio::test]
async fn what_devices_say_of_their_firmware_is_shown_and_selects_them() {
    let hub = Hub::start().await;
    let mut hall = Light::new(&hub, "hall", "esp8266").await;
    let attributes =
        json!({ "platform": "esp8266", "build": "20180904/0bb1be7@master+", "committed": false });
    let said = json!({ "protocol": 1, "firmware": "light", "version": "1.3", "attributes": attributes });
    hall.says("announce", said).await;
    let shown = hub.get(&format!("/devices/{}", hall.id)).await.json();
    let report = &shown["report"];
    assert_eq!((&report["firmware"], &report["version"]), (&json!("light"), &json!("1.3")));
    assert_eq!(report["attributes"], attributes);
    Light::new(&hub, "porch", "esp32").await.announces("esp32", "1.3", Some(true)).await;
    for (selector, expected) in [
        ("reported.version=\"1.3\"", &["hall", "porch"][..]),
        ("platform=esp8266", &["hall"]),
        ("platform ~ esp", &["hall", "porch"]),
        ("committed=false", &["hall"]),
        ("reported.committed=true and firmware=light", &["porch"]),
        ("build=\"20180904/0bb1be7@master+\"", &["hall"]),
        ("platform=esp32 and not reported.version=\"1.3\"", &[]),
    ] {
        let path = selector.replace('+', "%2B").replace(' ', "%20").replace('"', "%22");
        let found = hub.get(&format!("/devices?selector={path}")).await.json();
        let names = found["items"].as_array().unwrap_or_else(|| panic!("{selector}: {found}"));
        let names: Vec<&str> = names.iter().map(|device| device["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{selector}");
    }
}
