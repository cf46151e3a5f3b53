//! Import from mDash: a file in its exact shape is taken as a whole or not at all, and what it held goes on working.

use serde_json::{Value, json};

use crate::mdash::{await_online, basic};
use crate::support::mdash::Socket;
use crate::support::{Answer, Caller, Hub};

const FILE: &str = include_str!("db.json");
const HALL: &str = "b1946ac92492d2347c6235b4";
const HALL_TOKEN: &str = "2611fa95c1d64b8a9d0d7e55";
const KEY: &str = "Bearer 3a2f1b0c9d8e7f6a5b4c3d2e";
const APP_USER: &str = "mos_app_k2j4h5g6f";
/// Of the password `password`.
const BCRYPT_OF_PASSWORD: &str = "$2a$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";

async fn import(hub: &Hub, query: &str, file: &str) -> Answer {
    let path = format!("/api/v1/import/mdash{query}");
    hub.raw("POST", &path, &hub.ada, &[("Content-Type", "application/json")], file.as_bytes()).await
}

/// The file with one place of it changed.
fn changed(pointer: &str, value: Value) -> String {
    let mut file: Value = serde_json::from_str(FILE).unwrap();
    *file.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    file.to_string()
}

async fn total(hub: &Hub, path: &str) -> i64 {
    hub.get(path).await.json()["total"].as_i64().unwrap()
}

async fn log_in(hub: &Hub, name: &str, password: &str) -> Answer {
    let login = json!({ "name": name, "password": password });
    hub.call("POST", "/login", &Caller::default(), Some(&login)).await
}

fn counts(report: &Value) -> Vec<i64> {
    let made = ["users", "keys", "devices", "shadows", "shares"].map(|name| &report["made"][name]);
    let rest = ["known", "left_out", "errors_total"].map(|name| &report[name]);
    made.iter().chain(&rest).map(|value| value.as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_made_and_makes_nothing() {
    let hub = Hub::start().await;
    let before = hub.last_seq().await;
    let report = import(&hub, "?dry_run=true", FILE).await;
    assert_eq!((report.status, counts(&report.json())), (200, vec![3, 1, 2, 1, 3, 0, 1, 0]), "{report:?}");
    assert!(!report.text().contains(HALL_TOKEN) && !report.text().contains("$2a$"), "{report:?}");
    let entries = report.json()["entries"].clone();
    let told = |name: &str| {
        let entry = entries.as_array().unwrap().iter().find(|entry| entry["name"] == name);
        let entry = entry.unwrap_or_else(|| panic!("{name} in {entries}"));
        format!(
            "{} {} {}",
            entry["kind"].as_str().unwrap(),
            entry["outcome"].as_str().unwrap(),
            entry["detail"]
        )
    };
    assert_eq!(told("admin"), "user made \"admin, with the same password\"");
    assert_eq!(told(HALL), format!("device made \"\\\"Hall Lamp\\\" of {APP_USER}\""));
    assert_eq!(
        told("591785b794601e212b260e25"),
        format!("device made \"\\\"Desk\\\" of lea@example.com, shared with {APP_USER}\"")
    );
    assert_eq!((total(&hub, "/devices?limit=1").await, hub.last_seq().await), (0, before));
}

#[tokio::test]
async fn what_was_imported_goes_on_working() {
    let hub = Hub::start_with_app_users().await;
    let done = import(&hub, "", FILE).await;
    assert_eq!((done.status, counts(&done.json())), (200, vec![3, 1, 2, 1, 3, 0, 1, 0]), "{done:?}");
    // The light connects with its token and is told what was desired of it, with the version that it knew.
    let mut light = Socket::device(&hub, HALL_TOKEN).await;
    let told = light.await_frame(|frame| frame["method"] == "Shadow.Delta").await;
    assert_eq!((&told["params"]["state"], &told["params"]["version"]), (&json!({ "on": true }), &json!(43)));
    let device = hub.axios("GET", &format!("/api/v2/devices/{HALL}"), KEY, None).await.json();
    assert_eq!(
        (&device["name"], &device["shared_with"], &device["created_at"], &device["shadow"]["tags"]),
        (
            &json!("Hall Lamp"),
            &json!(format!("email_{APP_USER}")),
            &json!("2018-09-03T10:20:00.987Z"),
            &json!({ "save": "on" })
        )
    );
    assert_eq!(device["shadow"]["timestamp"], 1_536_158_661, "{device}");
    await_online(&hub, HALL, true).await;
    // The administrator comes in with the password of mDash, on both doors; so does the user of the original app.
    let own = basic("admin", "a green bottle");
    assert_eq!(hub.axios("GET", "/api/v2/devices", &own, None).await.json().as_array().unwrap().len(), 2);
    assert_eq!(log_in(&hub, "admin", "a green bottle").await.string("role"), "admin");
    assert_eq!(log_in(&hub, "admin", "a green battle").await.status, 401);
    let listed = hub.axios("GET", "/api/v2/devices", &basic(APP_USER, APP_USER), None).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    // The phone app: the owner sees the own light, and switches it.
    let lea = log_in(&hub, "lea@example.com", "blue lantern 7").await;
    assert_eq!((lea.string("role"), &lea.json()["must_change_password"]), ("customer".into(), &json!(false)));
    let lea = crate::access::log_in(&hub, "lea@example.com", "blue lantern 7").await;
    let devices = hub.call("GET", "/devices", &lea, None).await.json();
    assert_eq!((&devices["total"], &devices["items"][0]["name"]), (&json!(1), &json!("Desk")), "{devices}");
    let desk = format!("/devices/{}/shadow", devices["items"][0]["id"].as_str().unwrap());
    let wish = json!({ "state": { "desired": { "on": true } } });
    assert_eq!(hub.call("PATCH", &desk, &lea, Some(&wish)).await.status, 200);
    hub.is_well().await;
}

#[tokio::test]
async fn a_second_import_changes_nothing() {
    let hub = Hub::start_with_app_users().await;
    assert_eq!(import(&hub, "", FILE).await.status, 200);
    // Also when a password was hashed anew, a device got another token and a person another role meanwhile.
    assert_eq!(log_in(&hub, "lea@example.com", "blue lantern 7").await.status, 200);
    let found = hub.get(&format!("/devices?selector=external_id%3D{HALL}")).await.json();
    let id = found["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(hub.post(&format!("/devices/{id}/credential"), json!({})).await.status, 200);
    let before = hub.last_seq().await;
    let again = import(&hub, "", FILE).await;
    assert_eq!((again.status, counts(&again.json())), (200, vec![0, 0, 0, 0, 0, 6, 1, 0]), "{again:?}");
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(log_in(&hub, "lea@example.com", "blue lantern 7").await.status, 200);
}

#[tokio::test]
async fn a_brought_password_is_taken_once_and_kept_as_all_others_are() {
    let hub = Hub::start().await;
    let weak = changed("/users/email_lea@example.com/token", json!(BCRYPT_OF_PASSWORD));
    assert_eq!(import(&hub, "", &weak).await.status, 200);
    // Many come at once with the same password, and all of them get in.
    let basic = basic("admin", "a green bottle");
    let both = tokio::join!(
        log_in(&hub, "admin", "a green bottle"),
        hub.axios("GET", "/api/v2/devices", &basic, None),
        log_in(&hub, "admin", "a green bottle"),
    );
    assert_eq!((both.0.status, both.1.status, both.2.status), (200, 200, 200), "{both:?}");
    assert_eq!(hub.stored_password("admin").await.split('$').nth(1), Some("argon2id"));
    assert_eq!(log_in(&hub, "admin", "a green bottle").await.status, 200);
    // One that anybody would try has to be changed first.
    let lea = log_in(&hub, "lea@example.com", "password").await;
    assert_eq!(lea.json()["must_change_password"], true, "{lea:?}");
    // A name is no secret, so it is no password where that was not asked for.
    assert_eq!(log_in(&hub, APP_USER, APP_USER).await.status, 401);
}

#[tokio::test]
async fn each_wrong_entry_is_named_and_stops_everything_unless_it_is_to_be_skipped() {
    let hub = Hub::start().await;
    let (_, other) = hub.board("Board", 77, &[]).await;
    let deep =
        json!({ "state": { "desired": { "a": { "b": { "c": { "d": { "e": { "f": { "g": 1 } } } } } } } } });
    let device = |field: &str| format!("/devices/{HALL_TOKEN}/{field}");
    let large = json!({ "state": { "reported": { "text": "x".repeat(9000) } } });
    let mut file: Value = serde_json::from_str(FILE).unwrap();
    let desk = file["devices"]["7d793037a0760186574b0282"].take();
    file["devices"].as_object_mut().unwrap().remove("7d793037a0760186574b0282");
    file["devices"][&other] = desk;
    file["devices"][&other]["token"] = json!(other);
    for (wrong, kind, part) in [
        (changed("/users/email_admin/token", json!("a green bottle")), "user", "bcrypt"),
        (changed("/users/email_admin/token", json!("$2a$31$eYs.Vdv7s9Ya6iZ")), "user", "bcrypt"),
        (changed("/users/email_lea@example.com/name", json!("ADMIN")), "user", "has this name"),
        (changed("/users/email_lea@example.com/name", json!("two\nlines")), "user", "control characters"),
        (changed("/apikeys/3a2f1b0c9d8e7f6a5b4c3d2e/user_id", json!("email_x")), "key", "\"email_x\""),
        (changed(&device("id"), json!("")), "device", "id"),
        (changed(&device("id"), json!("591785b794601e212b260e25")), "device", "has this id"),
        (changed(&device("token"), json!("another")), "device", "another one"),
        (changed(&device("name"), json!("x".repeat(81))), "device", "1 to 80"),
        (changed(&device("shared_with"), json!("email_eve")), "device", "\"email_eve\""),
        (changed(&device("shadow"), deep), "device", "levels"),
        (changed(&device("shadow"), large), "device", "shadow"),
        (changed(&device("shadow/state/desired"), json!([1])), "device", "Desired node"),
        (changed(&device("shadow/tags"), json!(7)), "device", "Tags node"),
        (file.to_string(), "device", "\"Board\" has it"),
        (FILE.replace(HALL_TOKEN, "short"), "device", "16 to 200"),
    ] {
        let report = import(&hub, "?dry_run=true", &wrong).await.json();
        let found = report["errors"]
            .as_array()
            .unwrap()
            .iter()
            .any(|error| error["kind"] == kind && error["detail"].as_str().unwrap().contains(part));
        assert!(found, "expected {part}: {report}");
        let refused = import(&hub, "", &wrong).await;
        refused.is(422, "entries_refused");
        assert_eq!((total(&hub, "/devices?limit=1").await, total(&hub, "/users").await), (1, 0), "{part}");
    }
    // Without the light whose shadow is wrong, the rest is taken.
    let wrong = changed(&device("shadow/state/desired"), json!([1]));
    let skipped = import(&hub, "?on_error=skip", &wrong).await;
    assert_eq!((skipped.status, counts(&skipped.json())), (200, vec![3, 1, 1, 0, 2, 0, 1, 1]), "{skipped:?}");
    // And when it is mended, only the light is new.
    let mended = import(&hub, "", FILE).await;
    assert_eq!((mended.status, counts(&mended.json())), (200, vec![0, 0, 1, 1, 1, 5, 1, 0]), "{mended:?}");
    hub.is_well().await;
}

#[tokio::test]
async fn what_is_no_such_file_is_refused() {
    let hub = Hub::start().await;
    for (file, part) in [
        ("", "JSON"),
        ("users", "JSON"),
        ("[]", "db.json"),
        ("{}", "db.json"),
        (r#"{"things":{}}"#, "db.json"),
        (r#"{"users":[]}"#, "users is an object"),
        (r#"{"devices":{"a":{},"a":{}}}"#, "twice"),
    ] {
        import(&hub, "", file).await.refuses("file", part);
    }
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(33 * 1024 * 1024));
    import(&hub, "", &large).await.is(413, "too_large");
    let many: serde_json::Map<String, Value> = (0..20_001).map(|n| (format!("u{n}"), json!({}))).collect();
    import(&hub, "", &json!({ "users": many }).to_string()).await.is(413, "too_large");
    let path = "/api/v1/import/mdash";
    hub.raw("POST", path, &hub.ada, &[("Content-Type", "text/csv")], b"{}").await.is(415, "invalid");
    import(&hub, "?on_error=maybe", FILE).await.refuses("on_error", "stop or skip");
    hub.is_well().await;
}
