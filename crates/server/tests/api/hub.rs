//! The hub itself: overview, weaknesses, health, metrics, and the headers that every kind of answer carries.

use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Caller, Hub};

#[tokio::test]
async fn the_overview_counts_what_there_is() {
    let hub = Hub::start().await;
    let none = json!({ "total": 0, "online": 0, "offline": 0, "failing": 0, "pending": 0,
        "unauthenticated": 0 });
    assert_eq!(hub.get("/overview").await.json()["devices"], none);
    let (lamp, credential) = hub.board("Lamp", 1, &[]).await;
    let (fan, _) = hub.board("Fan", 2, &[]).await;
    hub.board("Heater", 3, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    hub.deploy(&script, 1, &[&fan]).await;
    let mut link = Publisher::connect(&hub, "1", &credential).await.unwrap();
    link.publish("devices/1/telemetry", br#"{"a":1,"b":2}"#).await.unwrap();
    let allowed = json!({ "unauthenticated_allowed": true });
    assert_eq!(hub.patch(&format!("/devices/{lamp}"), allowed).await.status, 200);
    let expected = json!({ "total": 3, "online": 1, "offline": 2, "failing": 0, "pending": 1,
        "unauthenticated": 1 });
    hub.until("the counts are right", || async {
        (hub.get("/overview").await.json()["devices"] == expected).then_some(())
    })
    .await;
    let overview = hub.get("/overview").await.json();
    assert_eq!((&overview["deployments"]["running"], &overview["points_per_minute"]), (&json!(1), &json!(2)));
    let activity = overview["activity"].as_array().unwrap();
    assert!(activity.len() > 5 && activity[0]["seq"].as_i64() > activity[1]["seq"].as_i64(), "{activity:?}");
    let metrics = hub.send("GET", "/metrics", &Caller::default(), &[], None).await.text();
    assert!(metrics.contains("\nmotehub_devices 3\n") && metrics.contains("\nmotehub_devices_online 1\n"));
}

#[tokio::test]
async fn what_makes_the_hub_weaker_is_said() {
    let codes = |system: Value| -> Vec<String> {
        let weaknesses = system["weaknesses"].as_array().unwrap().clone();
        let mut codes: Vec<String> =
            weaknesses.iter().map(|weakness| weakness["code"].as_str().unwrap().to_owned()).collect();
        // Every hub of these tests listens for what speaks mDash.
        assert!(codes.iter().any(|code| code == "mdash_open"), "{codes:?}");
        codes.retain(|code| code != "mdash_open");
        codes
    };
    let hub = Hub::start().await;
    let system = hub.get("/system").await.json();
    assert_eq!(
        (&system["version"], &system["started_at"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!("2027-01-15T08:00:00.000Z"))
    );
    assert_eq!(codes(system), [""; 0]);
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let path = format!("/devices/{lamp}");
    assert_eq!(hub.patch(&path, json!({ "unauthenticated_allowed": true })).await.status, 200);
    assert_eq!(codes(hub.get("/system").await.json()), ["unauthenticated_devices"]);
    assert_eq!(hub.patch(&path, json!({ "unauthenticated_allowed": false })).await.status, 200);
    assert_eq!(codes(hub.get("/system").await.json()), [""; 0]);
    let open = Hub::start_open_to(&["guests/#"]).await;
    let system = open.get("/system").await.json();
    assert!(system["weaknesses"][0]["sentence"].as_str().unwrap().contains("guests/#"), "{system}");
    assert_eq!(codes(system), ["mqtt_anonymous"]);
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_those_who_may_see() {
    let hub = Hub::start().await;
    let nobody = Caller::default();
    let get = async |caller: &Caller, headers: &[(&str, &str)]| {
        hub.send("GET", "/metrics", caller, headers, None).await
    };
    let here = get(&nobody, &[]).await;
    assert_eq!((here.status, here.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    for name in ["motehub_devices", "motehub_panics_total", "motehub_devices_online"] {
        assert!(here.text().contains(name), "no {name}");
    }
    for header in [("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.7")] {
        get(&nobody, &[header]).await.is(401, "unauthenticated");
        get(&Caller::token("mht_wrong"), &[header]).await.is(401, "unauthenticated");
        assert_eq!(get(&hub.ada, &[header]).await.status, 200);
    }
    let health = hub.send("GET", "/healthz", &nobody, &[], None).await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn every_kind_of_answer_carries_the_headers_that_protect_a_browser() {
    let hub = Hub::start().await;
    let nobody = Caller::default();
    let cases = [
        ("GET", "/", 200),
        ("GET", "/devices/anything", 200),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/api/v1/openapi.json", 200),
        ("GET", "/api/v1/setup", 200),
        ("GET", "/api/v1/devices", 401),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/devices", 401),
        ("DELETE", "/api/v1/login", 405),
        ("POST", "/api/v1/login", 415),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/.well-known/security.txt", 200),
        ("HEAD", "/", 200),
    ];
    for (method, path, status) in cases {
        let answer = hub.send(method, path, &nobody, &[], None).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{method} {path}"));
        for part in
            ["default-src 'self'", "script-src 'self';", "frame-ancestors 'none'", "object-src 'none'"]
        {
            assert!(policy.contains(part), "{method} {path}: {policy}");
        }
        assert!(!policy.contains("unsafe-eval"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{method} {path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{method} {path}");
        assert_eq!(answer.header("server"), None, "{method} {path}");
        let type_of = answer.header("content-type").unwrap_or_default();
        if path.starts_with("/api/") && status >= 400 {
            assert_eq!(type_of, "application/problem+json", "{method} {path}: {answer:?}");
        }
        if path.starts_with("/api/") {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
        }
    }
    let secret = hub.get("/devices").await;
    assert_eq!(secret.header("cache-control"), Some("no-store"));
    let squeezed =
        hub.send("GET", "/api/v1/openapi.json", &nobody, &[("Accept-Encoding", "gzip")], None).await;
    assert_eq!(squeezed.header("content-encoding"), Some("gzip"));
    assert!(squeezed.body.len() < 60_000, "{} bytes", squeezed.body.len());
    let description = hub.send("GET", "/api/v1/openapi.json", &nobody, &[], None).await.json();
    assert_eq!(description["info"]["title"], "Motehub");
}
