//! The API of mDash: programs that were made for it work as they are, and get no further than they may.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mdash::Socket;
use crate::support::{Caller, Hub};

pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// Registers a light. Gives its id with mDash and its token.
pub(crate) async fn light(hub: &Hub, name: &str) -> (String, String) {
    let made = hub.axios("POST", "/api/v2/devices", &hub.key(), Some(&json!({ "name": name }))).await;
    assert_eq!(made.status, 200, "{made:?}");
    (made.string("id"), made.string("token"))
}

pub(crate) async fn await_online(hub: &Hub, id: &str, online: bool) {
    hub.until("presence", || async {
        let device = hub.axios("GET", &format!("/api/v2/devices/{id}"), &hub.key(), None).await.json();
        (device["online"] == online).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_device_is_registered_as_the_readme_says() {
    let hub = Hub::start().await;
    let password = "a green bottle";
    let set_up = json!({ "code": hub.setup_code, "name": "admin", "password": password });
    assert_eq!(hub.post("/setup", set_up).await.status, 200);
    let made = hub.curl("POST", "/api/v2/devices", &basic("admin", password), Some(&json!({}))).await;
    assert_eq!(made.status, 200, "{made:?}");
    let (id, token) = (made.string("id"), made.string("token"));
    let is_hex = |text: &str| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hex(&id) && is_hex(&token), "{made:?}");
    let _light = Socket::device(&hub, &token).await;
    await_online(&hub, &id, true).await;
    // The token is shown once, and the list is an array.
    let listed = hub.axios("GET", "/api/v2/devices", &basic("email_admin", password), None).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed[0]["id"], listed[0].get("token")), (&json!(id), None), "{listed}");
    // PUT and POST change it alike.
    let path = format!("/api/v2/devices/{id}");
    for (method, name) in [("PUT", "Hall"), ("POST", "Kitchen")] {
        let changed = hub.axios(method, &path, &hub.key(), Some(&json!({ "name": name }))).await;
        assert_eq!((changed.status, changed.string("name").as_str()), (200, name));
    }
    assert_eq!(hub.axios("DELETE", &path, &hub.key(), None).await.json(), true);
    assert_eq!(hub.axios("GET", &path, &hub.key(), None).await.status, 404);
    hub.is_well().await;
}

#[tokio::test]
async fn nobody_unknown_gets_in_and_no_id_becomes_an_address() {
    let hub = Hub::start().await;
    let (id, token) = light(&hub, "Hall").await;
    for auth in ["", "Bearer x", "Basic eA==", &basic("admin", "admin"), &format!("Bearer {token}")] {
        let answer = hub.axios("GET", "/api/v2/devices", auth, None).await;
        assert_eq!(answer.status, 401, "{auth}: {answer:?}");
        assert_eq!(answer.json()["code"], 401);
        assert_eq!(
            Socket::open(&hub, "/api/v2/rpc", auth).await.err(),
            (!auth.ends_with(&token)).then_some(401)
        );
    }
    let key = hub.ada.token.clone().unwrap();
    let by_query = hub.axios("GET", &format!("/api/v2/devices?access_token={key}"), "", None).await;
    assert_eq!(by_query.status, 200);
    for odd in ["..%2Fkeys", "x%2Frpc%2FSys.Reboot", "%00", "x".repeat(2000).as_str()] {
        let answer = hub.axios("GET", &format!("/api/v2/devices/{odd}"), &hub.key(), None).await;
        assert_eq!(answer.status, 404, "{odd}: {answer:?}");
    }
    let answer = hub.axios("PUT", &format!("/api/v2/devices/{id}"), &hub.key(), Some(&json!("x"))).await;
    assert_eq!(answer.status, 200, "nothing is changed by what says nothing");
    hub.is_well().await;
}

#[tokio::test]
async fn a_call_is_answered_as_the_device_answers_it() {
    let hub = Hub::start().await;
    let (id, token) = light(&hub, "Hall").await;
    let path = format!("/api/v2/devices/{id}/rpc/Config.Get");
    let call = |body: Option<Value>| {
        let (hub, path) = (&hub, &path);
        async move { hub.axios("POST", path, &hub.key(), body.as_ref()).await }
    };
    assert_eq!(call(None).await.status, 503, "it is offline");
    let mut light = Socket::device(&hub, &token).await;
    await_online(&hub, &id, true).await;
    let answers = [
        (json!({ "result": { "wifi": { "sta": { "pass": "s3cret" } } } }), 200),
        (json!({ "result": null }), 200),
        (json!({ "error": { "code": 404, "message": "No handler for Config.Get" } }), 404),
        (json!({ "error": { "code": -32601, "message": "method not found" } }), 500),
    ];
    for (answer, status) in answers {
        let answering = async {
            let asked = light.await_frame(|frame| frame["method"] == "Config.Get").await;
            assert_eq!(asked["params"], json!({ "key": "wifi" }));
            let mut frame = answer.clone();
            frame["id"] = asked["id"].clone();
            light.say(&frame).await;
        };
        let (got, ()) = tokio::join!(call(Some(json!({ "key": "wifi" }))), answering);
        assert_eq!(got.status, status, "{got:?}");
        match answer.get("result") {
            Some(result) => assert_eq!(got.json(), *result),
            None => assert_eq!(got.json(), answer["error"]),
        }
    }
    // What is kept of it holds no password.
    let device = hub.get(&format!("/devices?selector=external_id%3D{id}")).await.json()["items"][0].clone();
    let kept = hub.get(&format!("/devices/{}/commands", device["id"].as_str().unwrap())).await.text();
    assert!(kept.contains("(not kept)") && !kept.contains("s3cret"), "{kept}");
    // One that does not answer is not waited for for ever, and one that goes in the middle of it not at all.
    let mut observer = Socket::open(&hub, "/api/v2/notify", &hub.key()).await.unwrap();
    let (got, ()) = tokio::join!(call(None), async {
        let asked = light.await_frame(|frame| frame["method"] == "Config.Get").await;
        let notice = observer.await_frame(|frame| frame["name"] == "rpc.in.Config.Get").await;
        assert_eq!(notice["id"], json!(id));
        hub.clock.advance(Span::seconds(11));
        light.say(&json!({ "id": asked["id"], "result": "too late" })).await;
    });
    assert_eq!(got.status, 504, "{got:?}");
    let (got, ()) = tokio::join!(call(None), async {
        light.await_frame(|frame| frame["method"] == "Config.Get").await;
        drop(light);
    });
    assert_eq!(got.status, 503, "{got:?}");
    hub.is_well().await;
}

#[tokio::test]
async fn keys_are_made_shown_once_and_revoked() {
    let hub = Hub::start().await;
    let made = hub.axios("POST", "/api/v2/keys", &hub.key(), Some(&json!({}))).await;
    let secret = made.string("id");
    let own = format!("Bearer {secret}");
    assert_eq!(hub.axios("GET", "/api/v2/devices", &own, None).await.status, 200);
    assert_eq!(hub.axios("GET", "/api/v2/keys", &own, None).await.status, 403, "a key is no administrator");
    let listed = hub.axios("GET", "/api/v2/keys", &hub.key(), None).await;
    assert!(!listed.text().contains(&secret), "{listed:?}");
    let revoked = hub.axios("DELETE", &format!("/api/v2/keys/{secret}"), &hub.key(), None).await;
    assert_eq!((revoked.status, revoked.json()), (200, json!(true)));
    assert_eq!(hub.axios("GET", "/api/v2/devices", &own, None).await.status, 401);
}

#[tokio::test]
async fn the_original_app_pairs_a_light_and_nobody_takes_it_away() {
    let hub = Hub::start_with_app_users().await;
    let (id, _) = light(&hub, "Light 1").await;
    let app = |name: &'static str| {
        let add = json!({ "name": name, "pass": name });
        let hub = &hub;
        async move {
            // The user is made and not waited for; the list is asked for meanwhile.
            let (key, own) = (hub.key(), basic(name, name));
            let added = hub.axios("POST", "/api/v2/user/add", &key, Some(&add));
            let listed = hub.axios("GET", "/api/v2/devices", &own, None);
            let (added, listed) = tokio::join!(added, listed);
            assert_eq!((added.status, listed.status), (200, 200), "{added:?} {listed:?}");
            assert_eq!(added.string("id"), format!("email_{name}"));
            listed.json()
        }
    };
    assert_eq!(app("mos_app_k2j4h5g6f").await, json!([]));
    assert_eq!(app("mos_app_k2j4h5g6f").await, json!([]), "it is asked at every connection");
    let path = format!("/api/v2/devices/{id}");
    let pair = |user: &str, name: &str| json!({ "shared_with": format!("email_{user}"), "name": name });
    let paired = hub.axios("PUT", &path, &hub.key(), Some(&pair("mos_app_k2j4h5g6f", "Hall Lamp"))).await;
    assert_eq!(
        (paired.status, paired.string("id"), paired.string("name")),
        (200, id.clone(), "Hall Lamp".into())
    );
    let listed = app("mos_app_k2j4h5g6f").await;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["name"], &listed[0]["online"]),
        (&json!(id), &json!("Hall Lamp"), &json!(false))
    );
    assert!(listed[0].get("token").is_none() && listed[0].get("shared_with").is_none(), "{listed}");
    // Another phone cannot take it, and sees nothing of it.
    app("mos_app_evil00000").await;
    let stolen = hub.axios("PUT", &path, &hub.key(), Some(&pair("mos_app_evil00000", "Mine"))).await;
    assert_eq!(stolen.status, 409, "{stolen:?}");
    assert_eq!(app("mos_app_evil00000").await, json!([]));
    let eve = basic("mos_app_evil00000", "mos_app_evil00000");
    assert_eq!(hub.axios("GET", &path, &eve, None).await.status, 404);
    assert_eq!(hub.axios("PUT", &path, &eve, Some(&json!({ "name": "Mine" }))).await.status, 403);
    assert_eq!(app("mos_app_k2j4h5g6f").await[0]["name"], "Hall Lamp");
    // The vendor's own name for it is another one.
    assert_eq!(hub.axios("GET", &path, &hub.key(), None).await.string("name"), "Light 1");
    hub.is_well().await;
}

#[tokio::test]
async fn a_name_that_is_its_own_password_is_let_in_only_where_that_was_asked_for() {
    let hub = Hub::start().await;
    let (id, _) = light(&hub, "Light 1").await;
    let add = json!({ "name": "mos_app_k2j4h5g6f", "pass": "mos_app_k2j4h5g6f" });
    assert_eq!(hub.axios("POST", "/api/v2/user/add", &hub.key(), Some(&add)).await.status, 403);
    let own = basic("mos_app_k2j4h5g6f", "mos_app_k2j4h5g6f");
    assert_eq!(hub.axios("GET", "/api/v2/devices", &own, None).await.status, 401);
    let pair = json!({ "shared_with": "email_mos_app_k2j4h5g6f", "name": "Hall" });
    assert_eq!(hub.axios("PUT", &format!("/api/v2/devices/{id}"), &hub.key(), Some(&pair)).await.status, 403);
    let posture = hub.get("/system").await.json()["weaknesses"].to_string();
    assert!(posture.contains("mdash_open") && !posture.contains("mdash_app_users"), "{posture}");
}

#[tokio::test]
async fn a_light_is_switched_and_everybody_who_may_is_notified() {
    let hub = Hub::start().await;
    let (id, token) = light(&hub, "Hall").await;
    let key = hub.ada.token.clone().unwrap();
    // The observer of the original has its key in the address, and no other header.
    let mut observer = Socket::open(&hub, &format!("/api/v2/notify?access_token={key}"), "").await.unwrap();
    assert_eq!(Socket::open(&hub, "/api/v2/notify", "").await.err(), Some(401));
    let mut light = Socket::device(&hub, &token).await;
    for name in ["online", "updated"] {
        let notice = observer.await_frame(|frame| frame["name"] == name).await;
        assert_eq!(notice, json!({ "name": name, "id": id }));
    }
    let path = format!("/api/v2/devices/{id}/shadow");
    let wanted = json!({ "state": { "desired": { "on": true } } });
    let switched = hub.axios("POST", &path, &hub.key(), Some(&wanted)).await;
    assert_eq!((switched.status, &switched.json()["state"]["delta"]), (200, &json!({ "on": true })));
    let told = light.await_frame(|frame| frame["method"] == "Shadow.Delta").await;
    assert_eq!((&told["params"]["state"], &told["params"]["version"]), (&json!({ "on": true }), &json!(1)));
    light
        .say(
            &json!({ "method": "Dash.Shadow.Update", "params": { "state": { "reported": { "on": true } } } }),
        )
        .await;
    light.say(&json!({ "id": told["id"], "result": null })).await;
    let reported = |frame: &Value| {
        frame["name"] == "rpc.out.Dash.Shadow.Update" && frame["data"]["state"]["reported"]["on"] == true
    };
    assert_eq!(observer.await_frame(reported).await["id"], json!(id));
    let listed = hub.axios("GET", "/api/v2/devices", &hub.key(), None).await.json();
    let state = &listed[0]["shadow"]["state"];
    assert_eq!((&state["reported"]["on"], state.get("delta")), (&json!(true), None), "{listed}");
    light.say(&json!({ "method": "MyStat", "params": { "presses": 3 } })).await;
    let stat = observer.await_frame(|frame| frame["name"] == "rpc.out.MyStat").await;
    assert_eq!(stat, json!({ "name": "rpc.out.MyStat", "id": id, "data": { "presses": 3 } }));
    drop(light);
    observer.await_frame(|frame| frame["name"] == "offline").await;
    hub.axios("DELETE", &format!("/api/v2/devices/{id}"), &hub.key(), None).await;
    observer.await_frame(|frame| frame["name"] == "deleted").await;
    let stored = hub.axios("POST", "/api/v2/logs", &hub.key(), Some(&json!({ "start": 0 }))).await.text();
    assert!(stored.contains("\"created\"") && stored.contains("\"deleted\""), "{stored}");
    hub.is_well().await;
}

#[tokio::test]
async fn a_customer_hears_of_the_own_light_and_of_no_other() {
    let hub = Hub::start_with_app_users().await;
    let ((own, token), (_, other)) = (light(&hub, "Hall").await, light(&hub, "Desk").await);
    let (name, user) = ("mos_app_k2j4h5g6f", basic("mos_app_k2j4h5g6f", "mos_app_k2j4h5g6f"));
    let add = json!({ "name": name, "pass": name });
    assert_eq!(hub.axios("POST", "/api/v2/user/add", &hub.key(), Some(&add)).await.status, 200);
    let pair = json!({ "shared_with": format!("email_{name}"), "name": "Mine" });
    let path = format!("/api/v2/devices/{own}");
    assert_eq!(hub.axios("PUT", &path, &hub.key(), Some(&pair)).await.status, 200);
    let mut vendor = Socket::open(&hub, "/api/v2/notify", &hub.key()).await.unwrap();
    let mut customer = Socket::open(&hub, "/api/v2/notify", &user).await.unwrap();
    let mut other = Socket::device(&hub, &other).await;
    let mut light = Socket::device(&hub, &token).await;
    for light in [&mut other, &mut light] {
        light.say(&json!({ "method": "Log", "params": { "fd": 1, "data": "hello" } })).await;
        vendor.await_frame(|frame| frame["name"] == "rpc.out.Log").await;
    }
    let report = json!({ "state": { "reported": { "on": true } } });
    let mut heard = Vec::new();
    for _ in 0..2 {
        heard.push(customer.next().await.unwrap()["name"].as_str().unwrap().to_owned());
    }
    light.say(&json!({ "method": "Dash.Shadow.Update", "params": report })).await;
    while heard.last().is_none_or(|name| name != "rpc.out.Dash.Shadow.Update") {
        let notice = customer.next().await.unwrap();
        assert_eq!(notice["id"], json!(own), "{notice}");
        heard.push(notice["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(heard[..2], ["online", "updated"], "{heard:?}");
    assert!(!heard.contains(&"rpc.out.Log".to_owned()), "{heard:?}");
}

#[tokio::test]
async fn an_observer_that_never_reads_is_cut_off_and_others_notice_nothing() {
    let hub = Hub::start().await;
    let (id, token) = light(&hub, "Hall").await;
    let path = format!("/api/v2/notify?access_token={}", hub.ada.token.clone().unwrap());
    let deaf = Socket::deaf(&hub, &path).await;
    let mut observer = Socket::open(&hub, &path, "").await.unwrap();
    let mut light = Socket::device(&hub, &token).await;
    observer.await_frame(|frame| frame["name"] == "online").await;
    let cut = || async {
        let metrics = hub.send("GET", "/metrics", &Caller::default(), &[], None).await.text();
        let counter = r#"motehub_mdash_notify_ended_total{reason="too_slow"} "#;
        metrics.lines().find_map(|line| line.strip_prefix(counter)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = cut().await;
    // What the system keeps for a reader is some megabytes; then it is waited for a while, and no longer.
    let lines = vec!["x".repeat(900); 60].join("\n");
    let flood = async {
        for number in 0.. {
            let (text, last) = (format!("{lines}\nline {number}"), json!(format!("line {number}")));
            light.say(&json!({ "method": "Log", "params": { "fd": 1, "data": text } })).await;
            let notice = observer.await_frame(|frame| frame["data"]["data"] == last).await;
            assert_eq!((&notice["name"], &notice["id"]), (&json!("rpc.out.Log"), &json!(id)));
            if cut().await > before {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), flood).await.expect("the deaf observer is cut off");
    drop(deaf);
    hub.is_well().await;
}

#[tokio::test]
async fn the_values_of_chosen_keys_are_kept() {
    let hub = Hub::start().await;
    let (id, _) = light(&hub, "Hall").await;
    let path = format!("/api/v2/devices/{id}/shadow");
    let post = |body: Value| {
        let (hub, path) = (&hub, &path);
        async move { assert_eq!(hub.axios("POST", path, &hub.key(), Some(&body)).await.status, 200) }
    };
    post(json!({ "tags": { "save": "ota.percent,on" } })).await;
    for percent in [10, 10, 20] {
        post(json!({ "state": { "reported": { "ota": { "percent": percent } } } })).await;
    }
    let data = hub.axios("GET", &format!("/api/v2/devices/{id}/data"), &hub.key(), None).await.json();
    let values: Vec<&Value> =
        data["ota.percent"].as_array().unwrap().iter().map(|point| &point["value"]).collect();
    assert_eq!(values, [20, 10], "{data}");
    let all = hub.axios("GET", "/api/v2/devices/data", &hub.key(), None).await.json();
    assert_eq!(all[&id], data);
    let wrong = hub.axios("POST", &path, &hub.key(), Some(&json!({ "state": { "reported": 1 } }))).await;
    assert_eq!((wrong.status, wrong.json()["code"].clone()), (400, json!(400)));
    let stale = json!({ "state": { "reported": { "on": true } }, "version": 1 });
    assert_eq!(hub.axios("POST", &path, &hub.key(), Some(&stale)).await.status, 409);
}
