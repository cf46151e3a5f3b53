//! Customers: how they come in, what they see and may do, what stays hidden from them and from the vendor, and
//! when it ends.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::live::Reader;
use crate::support::mqtt::Publisher;
use crate::support::{Answer, Caller, Hub, START};

const PASSWORD: &str = "nine brown horses";
/// An id that nothing has.
const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";

fn entered(came: &Answer) -> Caller {
    assert_eq!(came.status, 200, "{came:?}");
    let cookie = came.header("set-cookie").unwrap().strip_prefix("motehub_session=").unwrap();
    let secret = cookie.split(';').next().unwrap().to_owned();
    Caller { cookie: Some(secret), csrf: Some(came.string("csrf")), token: None }
}

async fn sign_up(hub: &Hub, name: &str, code: &str) -> Answer {
    let body = json!({ "name": name, "password": PASSWORD, "code": code });
    hub.call("POST", "/sign-up", &Caller::default(), Some(&body)).await
}

/// A customer with an account and nothing else.
async fn customer(hub: &Hub, name: &str) -> Caller {
    let code = hub.post("/invitations", json!({})).await.string("code");
    entered(&sign_up(hub, name, &code).await)
}

async fn claim_code(hub: &Hub, device: &str) -> String {
    let made = hub.post(&format!("/devices/{device}/claim-code"), json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.string("code")
}

async fn claim(hub: &Hub, who: &Caller, code: &str) -> Answer {
    hub.call("POST", "/claims", who, Some(&json!({ "code": code }))).await
}

async fn give(hub: &Hub, who: &Caller, device: &str, share: Value) -> Answer {
    hub.call("POST", &format!("/devices/{device}/shares"), who, Some(&share)).await
}

async fn seen(hub: &Hub, who: &Caller) -> Vec<String> {
    let list = hub.call("GET", "/devices", who, None).await.json();
    assert_eq!(list["total"], list["items"].as_array().unwrap().len(), "{list}");
    list["items"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_person_signs_up_with_the_code_that_came_with_the_device() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("SN-1", 1, &["vip"]).await;
    let made =
        hub.post(&format!("/devices/{lamp}/claim-code?address=https://lights.example"), json!({})).await;
    let code = made.string("code");
    assert_eq!(code.replace('-', "").len(), 16, "80 bits of 32 digits: {code}");
    assert_eq!(made.string("link"), format!("https://lights.example/app/#code={code}"));
    assert!(made.string("qr").contains("<svg"), "{made:?}");
    for (name, password, wrong) in [("", PASSWORD, "name"), ("ada", "short", "password")] {
        let body = json!({ "name": name, "password": password, "code": code });
        hub.call("POST", "/sign-up", &Caller::default(), Some(&body)).await.refuses(wrong, "");
    }
    let ada = entered(&sign_up(&hub, "Ada", &code.to_lowercase().replace('-', " ")).await);
    let me = hub.call("GET", "/me", &ada, None).await;
    assert_eq!(me.string("role"), "customer");
    assert!(me.json().get("seq").is_none(), "how much happens is the vendor's: {me:?}");
    let own = hub.call("GET", &format!("/devices/{lamp}"), &ada, None).await.json();
    assert_eq!((&own["name"], &own["right"]), (&json!("SN-1"), &json!("owner")));
    let told = own.to_string();
    for hidden in ["tags", "vip", "external_id", "credential", "address", "description"] {
        assert!(!told.contains(hidden), "{hidden} is the vendor's: {told}");
    }
    sign_up(&hub, "Bo", &code).await.refuses("code", "wrong, used or expired");
    let other = claim_code(&hub, &hub.board("SN-2", 2, &[]).await.0).await;
    sign_up(&hub, "aDa", &other).await.is(409, "name_taken");
    assert_eq!(claim(&hub, &ada, &other).await.status, 200, "a refused sign-up uses nothing up");
    assert_eq!(seen(&hub, &ada).await, ["SN-1", "SN-2"]);
    hub.is_well().await;
}

#[tokio::test]
async fn another_ones_device_does_not_exist_for_a_customer() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("SN-1", 1, &["vip"]).await;
    let (ada, eve) = (customer(&hub, "ada").await, customer(&hub, "eve").await);
    claim(&hub, &ada, &claim_code(&hub, &lamp).await).await;
    let before = hub.last_seq().await;
    let routes = [
        ("GET", ""),
        ("GET", "/metrics"),
        ("GET", "/telemetry"),
        ("GET", "/shadow/history"),
        ("GET", "/shares"),
        ("POST", "/shares"),
        ("GET", "/invitations"),
        ("POST", "/invitations"),
        ("DELETE", "/claim"),
        ("PATCH", "/share"),
        ("DELETE", "/share"),
    ];
    for (method, rest) in routes {
        let body = (method != "GET").then(|| json!({ "user": "eve", "right": "view", "name": "mine" }));
        let theirs = hub.call(method, &format!("/devices/{lamp}{rest}"), &eve, body.as_ref()).await;
        let none = hub.call(method, &format!("/devices/{NO_ID}{rest}"), &eve, body.as_ref()).await;
        theirs.is(404, "not_found");
        assert_eq!(theirs.text().replace(&lamp, NO_ID), none.text(), "{method} {rest}");
        assert_eq!(hub.call(method, "/devices/x", &eve, None).await.status / 100, 4);
    }
    assert_eq!(seen(&hub, &eve).await, Vec::<String>::new());
    for query in ["selector=tag%3Dvip", "selector=not%20failing", "selector=name%3D%2A", "q=SN", "q=%25"] {
        let refused = hub.call("GET", &format!("/devices?{query}"), &eve, None).await;
        refused.refuses(query.split_once('=').unwrap().0, "leave it out");
    }
    for path in ["/activity", "/overview", "/groups", "/telemetry?devices=x", "/customers", "/users"] {
        hub.call("GET", path, &eve, None).await.is(403, "forbidden");
    }
    for refused in
        [Publisher::connect(&hub, "eve", PASSWORD).await, Publisher::connect(&hub, "ada", PASSWORD).await]
    {
        assert!(refused.is_err(), "customers have no MQTT");
    }
    assert_eq!(hub.last_seq().await, before, "nothing changed");
    let staff = hub.call("POST", "/claims", &hub.ada, Some(&json!({ "code": "x" }))).await;
    staff.is(403, "forbidden");
    hub.is_well().await;
}

#[tokio::test]
async fn an_owner_shares_until_a_time_and_takes_back() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("SN-1", 1, &[]).await;
    let path = format!("/devices/{lamp}");
    let (ada, bo, eve) =
        (customer(&hub, "ada").await, customer(&hub, "bo").await, customer(&hub, "eve").await);
    claim(&hub, &ada, &claim_code(&hub, &lamp).await).await;
    let name = json!({ "name": "Kitchen" });
    assert_eq!(
        hub.call("PATCH", &format!("{path}/share"), &ada, Some(&name)).await.string("name"),
        "Kitchen"
    );
    let until = START + Span::minutes(10);
    assert_eq!(
        give(&hub, &ada, &lamp, json!({ "user": "Bo", "right": "view", "until": until.0.to_string() }))
            .await
            .status,
        204
    );
    assert_eq!(seen(&hub, &bo).await, ["Kitchen"], "a guest begins with the owner's name for it");
    hub.call("GET", &format!("{path}/shares"), &bo, None).await.is(403, "forbidden");
    give(&hub, &bo, &lamp, json!({ "user": "eve", "right": "view" })).await.is(403, "forbidden");
    for (share, field) in [
        (json!({ "user": "nobody", "right": "view" }), "user"),
        (json!({ "user": "bo", "right": "owner" }), "right"),
        (json!({ "user": "bo", "right": "all" }), "right"),
        (json!({ "user": "bo", "right": "view", "until": "2020-01-01T00:00:00Z" }), "until"),
        (json!({ "user": "bo", "right": "view", "until": "soon" }), "until"),
    ] {
        give(&hub, &ada, &lamp, share).await.refuses(field, "");
    }
    let mut live = Reader::open(&hub, &bo, "", Some(&format!("http://{}", hub.http))).await.unwrap();
    assert_eq!(live.next().await.unwrap(), json!({ "hello": {} }));
    assert_eq!(live.next().await.unwrap()["devices"][0]["name"], "Kitchen");
    hub.clock.advance(Span::minutes(10));
    assert_eq!(live.next().await, Some(json!({ "gone": [lamp] })), "its time is over");
    assert_eq!(seen(&hub, &bo).await, Vec::<String>::new());
    hub.call("GET", &path, &bo, None).await.is(404, "not_found");
    let shares = hub.call("GET", &format!("{path}/shares"), &ada, None).await.json();
    assert_eq!(shares["items"][1]["ended"], true, "{shares}");
    assert_eq!(shares["items"][0]["name"], Value::Null, "private names are not told");
    give(&hub, &ada, &lamp, json!({ "user": "bo", "right": "control" })).await;
    assert_eq!(live.next().await.unwrap()["devices"][0]["right"], "control");
    let user = shares["items"][1]["user"].as_str().unwrap();
    assert_eq!(hub.call("DELETE", &format!("{path}/shares/{user}"), &ada, None).await.status, 204);
    assert_eq!(live.next().await, Some(json!({ "gone": [lamp] })), "revoked");
    let invited = json!({ "right": "control" });
    let code = hub.call("POST", &format!("{path}/invitations"), &ada, Some(&invited)).await.string("code");
    assert_eq!(claim(&hub, &eve, &code).await.status, 200);
    claim(&hub, &bo, &code).await.refuses("code", "used");
    hub.call("DELETE", &format!("{path}/share"), &ada, None).await.is(409, "conflict");
    let own = hub.call("DELETE", &format!("{path}/claim"), &eve, None).await;
    own.is(403, "forbidden");
    let next = hub.call("DELETE", &format!("{path}/claim"), &ada, None).await.string("code");
    for who in [&ada, &bo, &eve] {
        assert_eq!(seen(&hub, who).await, Vec::<String>::new());
    }
    assert_eq!(claim(&hub, &bo, &next).await.status, 200);
    assert_eq!(seen(&hub, &bo).await, ["SN-1"], "private names are gone");
    hub.is_well().await;
}

#[tokio::test]
async fn the_vendor_sees_no_private_name_unless_the_customer_says_so() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("SN-1", 1, &[]).await;
    let path = format!("/devices/{lamp}");
    let ada = customer(&hub, "ada").await;
    claim(&hub, &ada, &claim_code(&hub, &lamp).await).await;
    let rename = |body: Value| {
        let (hub, ada, path) = (&hub, &ada, format!("{path}/share"));
        async move { hub.call("PATCH", &path, ada, Some(&body)).await }
    };
    assert_eq!(rename(json!({ "name": "Grandmother" })).await.status, 200);
    let told = [
        hub.get(&path).await.text(),
        hub.get("/devices").await.text(),
        hub.get("/activity").await.text(),
        hub.get(&format!("{path}/shares")).await.text(),
        hub.get("/customers").await.text(),
    ];
    assert!(!told.concat().contains("Grandmother"), "{told:?}");
    assert_eq!(rename(json!({ "name_shown": true })).await.status, 200);
    assert_eq!(hub.get(&format!("{path}/shares")).await.json()["items"][0]["name"], "Grandmother");
    rename(json!({ "name": "x".repeat(81) })).await.refuses("name", "80");
    let taken = hub.get("/customers?q=AD").await.json();
    assert_eq!((&taken["total"], &taken["items"][0]["devices"]), (&json!(1), &json!(1)));
    hub.post(&format!("{path}/claim-code"), json!({})).await.is(409, "claimed");
}

#[tokio::test]
async fn a_press_of_the_button_within_a_minute_claims_a_device() {
    let hub = Hub::start().await;
    let new = json!({ "name": "SN-9", "dialect": "native", "external_id": "light-9" });
    let made = hub.post("/devices", new).await;
    let mut light = Publisher::connect(&hub, "light-9", &made.string("credential")).await.unwrap();
    let (ada, bo) = (customer(&hub, "ada").await, customer(&hub, "bo").await);
    let ask = |who: Caller, label: &'static str| {
        let hub = &hub;
        async move { hub.call("POST", "/claims", &who, Some(&json!({ "device": label }))).await }
    };
    for label in ["light-9", "light-10", "", "../x"] {
        let asked = ask(ada.clone(), label).await;
        assert_eq!(
            (asked.status, asked.text()),
            (202, r#"{"press_within_seconds":60}"#.to_owned()),
            "{label}"
        );
    }
    ask(bo.clone(), "light-9").await;
    let press = br#"{"name":"button"}"#;
    light.publish("devices/light-9/event", press).await.unwrap();
    hub.until("the press is in the log", || async {
        (hub.get("/activity?kind=device_event").await.json()["items"][0]["kind"] == "device_event")
            .then_some(())
    })
    .await;
    for who in [&ada, &bo] {
        assert_eq!(seen(&hub, who).await, Vec::<String>::new(), "two asked: nobody knows who pressed");
    }
    hub.clock.advance(Span::minutes(2));
    ask(bo.clone(), "light-9").await;
    light.publish("devices/light-9/event", press).await.unwrap();
    hub.until("bo owns it", || async { (seen(&hub, &bo).await == ["SN-9"]).then_some(()) }).await;
    assert_eq!(seen(&hub, &ada).await, Vec::<String>::new());
}

#[tokio::test]
async fn guessing_codes_is_slowed_down_and_tells_nothing() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("SN-1", 1, &[]).await;
    let (eve, right) = (customer(&hub, "eve").await, claim_code(&hub, &lamp).await);
    let (mut checked, mut waits) = (0, Vec::new());
    for guess in 0..1000 {
        let code = format!("abcd-efgh-ijkm-{guess:04}");
        let answer =
            if guess % 2 == 0 { claim(&hub, &eve, &code).await } else { sign_up(&hub, "x", &code).await };
        match answer.status {
            400 => {
                answer.refuses("code", "wrong, used or expired");
                checked += 1;
            }
            _ => {
                answer.is(429, "too_many_tries");
                waits.push(answer.header("retry-after").unwrap().parse::<u64>().unwrap());
            }
        }
        if guess % 100 == 99 {
            hub.clock.advance(Span::seconds(61));
        }
    }
    assert!(checked <= 20, "{checked} of 1000 guesses in ten minutes were looked at");
    assert!(waits.iter().max() > waits.first(), "the wait grows: {waits:?}");
    hub.clock.advance(Span::minutes(16));
    assert_eq!(claim(&hub, &eve, &right).await.status, 200, "the right one works when the wait is over");
    hub.is_well().await;
}

#[tokio::test]
async fn a_customers_live_connection_has_its_devices_and_nothing_else() {
    let hub = Hub::start().await;
    let (lamp, lamp_credential) = hub.board("SN-1", 1, &["vip"]).await;
    let (fan, fan_credential) = hub.board("SN-2", 2, &[]).await;
    let ada = customer(&hub, "ada").await;
    claim(&hub, &ada, &claim_code(&hub, &lamp).await).await;
    let mut live = Reader::open(&hub, &ada, "", Some(&format!("http://{}", hub.http))).await.unwrap();
    assert_eq!(live.next().await, Some(json!({ "hello": {} })));
    assert_eq!(live.next().await.unwrap()["devices"][0]["online"], false);
    live.say(&json!({ "watch": [fan] }).to_string()).await;
    let theirs = live.next().await.unwrap();
    live.say(&json!({ "watch": [NO_ID] }).to_string()).await;
    assert_eq!(live.next().await, Some(theirs.clone()), "one answer for both");
    assert!(theirs["error"].is_string(), "{theirs}");
    live.say(&json!({ "watch": [lamp] }).to_string()).await;
    hub.patch(&format!("/devices/{lamp}"), json!({ "tags": ["recall"] })).await;
    hub.patch(&format!("/devices/{fan}"), json!({ "name": "secret" })).await;
    let mut of_fan = Publisher::connect(&hub, "2", &fan_credential).await.unwrap();
    let mut of_lamp = Publisher::connect(&hub, "1", &lamp_credential).await.unwrap();
    let shown = live.next().await.unwrap();
    assert_eq!((&shown["devices"][0]["id"], &shown["devices"][0]["online"]), (&json!(lamp), &json!(true)));
    assert!(!shown.to_string().contains("recall"), "{shown}");
    of_fan.publish("devices/2/telemetry", b"7").await.unwrap();
    of_lamp.publish("devices/1/telemetry", b"8").await.unwrap();
    let shown = live.next().await.unwrap();
    assert_eq!(shown["telemetry"].as_object().unwrap().keys().collect::<Vec<_>>(), [&lamp], "{shown}");
    let before = format!(r#"{{"ts":{},"values":{{"value":123456}}}}"#, (START - Span::days(1)).0);
    of_lamp.publish("devices/1/telemetry", before.as_bytes()).await.unwrap();
    let path = format!("/devices/{lamp}");
    for query in ["telemetry", "telemetry?from=0", "telemetry?buckets=10", "metrics"] {
        let theirs = hub.call("GET", &format!("{path}/{query}"), &ada, None).await.text();
        assert!(theirs.contains('8') && !theirs.contains("123456"), "what was before is not shown: {theirs}");
        let all = hub.get(&format!("{path}/{query}")).await.text();
        assert!(query == "metrics" || all.contains("123456"), "{query}: {all}");
    }
    let user = hub.get("/customers").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(hub.patch(&format!("/users/{user}"), json!({ "disabled": true })).await.status, 200);
    while let Some(frame) = live.next().await {
        assert!(frame.get("changes").is_none(), "{frame}");
    }
    hub.patch(&format!("/users/{user}"), json!({ "role": "admin" }))
        .await
        .refuses("role", "stays a customer");
    hub.post("/users", json!({ "name": "x", "role": "customer" })).await.refuses("role", "signs up");
    hub.post("/tokens", json!({ "name": "x", "role": "customer" })).await.refuses("role", "signs up");
    hub.is_well().await;
}

#[tokio::test]
async fn who_may_control_changes_what_is_desired_and_nothing_else() {
    let hub = Hub::start().await;
    let new = json!({ "name": "SN-9", "dialect": "native", "external_id": "light-9" });
    let made = hub.post("/devices", new).await;
    let (light, credential) = (made.string("id"), made.string("credential"));
    let path = format!("/devices/{light}/shadow");
    let (ada, bo) = (customer(&hub, "ada").await, customer(&hub, "bo").await);
    let eve = customer(&hub, "eve").await;
    claim(&hub, &ada, &claim_code(&hub, &light).await).await;
    give(&hub, &ada, &light, json!({ "user": "bo", "right": "view" })).await;
    let tagged = json!({ "state": { "desired": { "on": false } }, "tags": { "batch": "secret" } });
    assert_eq!(hub.patch(&path, tagged).await.status, 200);
    let mut live = Reader::open(&hub, &bo, "", Some(&format!("http://{}", hub.http))).await.unwrap();
    live.next().await.unwrap();
    assert_eq!(live.next().await.unwrap()["devices"][0]["shadow"]["desired"], json!({ "on": false }));
    let wish = json!({ "state": { "desired": { "on": true } } });
    hub.call("PATCH", &path, &eve, Some(&wish)).await.is(404, "not_found");
    hub.call("PATCH", &path, &bo, Some(&wish)).await.is(403, "forbidden");
    hub.call("DELETE", &path, &ada, None).await.is(403, "forbidden");
    for wrong in [
        json!({ "state": { "reported": { "on": true } } }),
        json!({ "state": { "desired": { "on": true }, "reported": { "on": true } } }),
        json!({ "state": null }),
        json!({ "state": { "desired": {} }, "tags": { "batch": null } }),
    ] {
        hub.call("PATCH", &path, &ada, Some(&wrong)).await.is(403, "forbidden");
    }
    hub.call("PATCH", &format!("{path}?name=vendor"), &ada, Some(&wish)).await.is(403, "forbidden");
    let changed = hub.call("PATCH", &path, &ada, Some(&wish)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(live.next().await.unwrap()["devices"][0]["shadow"]["desired"], json!({ "on": true }));
    let mut board = Publisher::connect(&hub, "light-9", &credential).await.unwrap();
    let report = br#"{"state":{"reported":{"on":true}}}"#;
    board.publish("devices/light-9/shadow", report).await.unwrap();
    let reported = loop {
        let frame = live.next().await.unwrap();
        if frame["devices"][0]["shadow"]["reported"] == json!({ "on": true }) {
            break frame;
        }
    };
    let read = hub.call("GET", &path, &bo, None).await;
    for told in [changed.text(), reported.to_string(), read.text()] {
        assert!(!told.contains("secret"), "what the vendor notes is hidden: {told}");
    }
    hub.call("GET", &format!("{path}?name=vendor"), &ada, None).await.is(404, "not_found");
    hub.is_well().await;
}

/// What a customer is told of the history of a shadow: who, by which name, wanted what; newest first.
async fn told(hub: &Hub, who: &Caller, path: &str) -> Vec<Value> {
    let history = hub.call("GET", &format!("{path}/history"), who, None).await;
    assert_eq!(history.status, 200, "{history:?}");
    assert!(!history.text().contains("secret"), "what the vendor notes is hidden: {history:?}");
    let items = history.json()["items"].as_array().unwrap().clone();
    items.iter().map(|made| json!([made["actor_kind"], made["actor"], made["desired"]["n"]])).collect()
}

#[tokio::test]
async fn customers_see_who_switched_since_it_is_shared_and_no_name_that_is_hidden() {
    let hub = Hub::start().await;
    let new = json!({ "name": "SN-9", "dialect": "native", "external_id": "light-9" });
    let made = hub.post("/devices", new).await;
    let (light, credential) = (made.string("id"), made.string("credential"));
    let path = format!("/devices/{light}/shadow");
    let wish = |n: i64| json!({ "state": { "desired": { "n": n } } });
    let tagged = json!({ "state": { "desired": { "n": 1 } }, "tags": { "batch": "secret" } });
    assert_eq!(hub.patch(&path, tagged).await.status, 200);
    assert_eq!(hub.patch(&format!("{path}?name=vendor"), wish(1)).await.status, 200);
    hub.clock.advance(Span::seconds(1));
    let (ada, bo, cy) =
        (customer(&hub, "ada-c").await, customer(&hub, "bo").await, customer(&hub, "cy").await);
    claim(&hub, &ada, &claim_code(&hub, &light).await).await;
    assert_eq!(told(&hub, &ada, &path).await, Vec::<Value>::new(), "nothing from before");
    hub.call("PATCH", &path, &ada, Some(&wish(2))).await;
    hub.clock.advance(Span::seconds(1));
    for name in ["bo", "cy"] {
        give(&hub, &ada, &light, json!({ "user": name, "right": "control" })).await;
    }
    for (who, n) in [(&ada, 3), (&bo, 4), (&cy, 5), (&hub.ada, 6)] {
        assert_eq!(hub.call("PATCH", &path, who, Some(&wish(n))).await.status, 200);
    }
    let mut board = Publisher::connect(&hub, "light-9", &credential).await.unwrap();
    let report = br#"{"state":{"reported":{"n":6}}}"#;
    board.publish("devices/light-9/shadow", report).await.unwrap();
    let newest = [json!(["device", "", 6]), json!(["vendor", "", 6])];
    let owners = [json!(["user", "cy", 5]), json!(["user", "bo", 4]), json!(["you", "ada-c", 3])];
    assert_eq!(told(&hub, &ada, &path).await, [&newest[..], &owners, &[json!(["you", "ada-c", 2])]].concat());
    let guests = [json!(["user", "", 5]), json!(["you", "bo", 4]), json!(["user", "ada-c", 3])];
    assert_eq!(told(&hub, &bo, &path).await, [&newest[..], &guests].concat());
    hub.call("GET", &format!("{path}/history?name=vendor"), &ada, None).await.is(404, "not_found");
    for rest in ["at?version=1", "diff?from=1&to=2"] {
        hub.call("GET", &format!("{path}/{rest}"), &ada, None).await.is(403, "forbidden");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn usage_is_counted_by_days() {
    let hub = Hub::start().await;
    let new = json!({ "name": "SN-9", "dialect": "native", "external_id": "light-9" });
    let made = hub.post("/devices", new).await;
    let mut light = Publisher::connect(&hub, "light-9", &made.string("credential")).await.unwrap();
    hub.device_is(&made.string("id"), "online").await;
    light.publish("devices/light-9/announce", br#"{"protocol":1,"version":"1.2.0"}"#).await.unwrap();
    for on in [false, true, false] {
        let report = json!({ "state": { "reported": { "on": on } } }).to_string();
        light.publish("devices/light-9/shadow", report.as_bytes()).await.unwrap();
        hub.clock.advance(Span::minutes(30));
    }
    let today = hub.get("/usage").await.json();
    let firmware = json!([{ "version": "1.2.0", "devices": 1 }]);
    let day = |complete: bool, seconds: i64, switches: i64, day: &str| {
        json!({ "day": day, "complete": complete, "devices": 1, "active": 1, "online_seconds": seconds,
            "switches": switches, "firmware": firmware })
    };
    assert_eq!(today["items"], json!([day(false, 90 * 60, 2, "2027-01-15")]));
    hub.clock.advance(Span::minutes(16 * 60));
    let items = hub
        .until("the day is closed", || async {
            let items = hub.get("/usage?days=2").await.json()["items"].clone();
            (items.as_array()?.len() == 2).then_some(items)
        })
        .await;
    assert_eq!(items[0], day(true, 16 * 3600, 2, "2027-01-15"), "from 8 in the morning to midnight");
    assert_eq!(items[1]["switches"], 0);
    hub.get("/usage?days=0").await.refuses("days", "1 to 400");
}
