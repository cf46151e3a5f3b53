//! How people and programs come in, over real sockets: set-up, login, passwords, users, tokens and topic
//! grants. Each test has its own hub on its own data folder, with a clock that is moved by hand.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "people/hub.rs"]
mod hub;

use hub::{Caller, Hub, PASSWORD, nobody, program};
use motehub_domain::access::Role;
use motehub_domain::time::Span;
use motehub_server::{add_token, add_user};
use serde_json::{Value, json};

#[tokio::test]
async fn the_set_up_code_makes_one_administrator_and_no_other() {
    let hub = Hub::start().await;
    assert_eq!(hub.get("/setup", &nobody()).await.json(), json!({ "needed": true }));
    hub.log_in("ada", PASSWORD).await.is(403, "setup_required");
    let wrong = json!({ "code": "guessed", "name": "eve", "password": PASSWORD });
    hub.post("/setup", &nobody(), wrong).await.is(403, "forbidden");
    let weak = json!({ "code": hub.setup_code, "name": "ada", "password": "password" });
    hub.post("/setup", &nobody(), weak).await.is(400, "invalid");
    let nameless = json!({ "code": hub.setup_code, "name": "a\0da", "password": PASSWORD });
    hub.post("/setup", &nobody(), nameless).await.is(400, "invalid");

    let (first, second) = tokio::join!(hub.set_up("ada"), hub.set_up("bo"));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
    let made = if first.status == 200 { first } else { second };
    assert_eq!((&made.json()["role"], &made.json()["kind"]), (&json!("admin"), &json!("user")));
    assert_eq!(hub.get("/users", &made.caller()).await.json()["total"], 1);
    hub.set_up("eve").await.is(403, "forbidden");
    assert_eq!(hub.get("/setup", &nobody()).await.json(), json!({ "needed": false }));
}

#[tokio::test]
async fn the_set_up_code_expires() {
    let hub = Hub::start().await;
    hub.clock.advance(Span::days(1));
    let late = hub.set_up("ada").await;
    late.is(403, "forbidden");
    assert!(late.json()["detail"].as_str().unwrap().contains("restart the hub"));
}

#[tokio::test]
async fn an_administrator_made_at_the_console_ends_the_set_up() {
    let hub = Hub::start().await;
    let password =
        add_user(&servers::store_of(hub.data.path()).parse().unwrap(), "Ada", Role::Admin).await.unwrap();
    assert_eq!(hub.get("/setup", &nobody()).await.json(), json!({ "needed": false }));
    hub.set_up("eve").await.is(403, "forbidden");
    let me = hub.log_in("ADA", &password).await;
    assert_eq!(me.json()["must_change_password"], true);
    assert!(
        add_user(&servers::store_of(hub.data.path()).parse().unwrap(), "aDa", Role::Viewer).await.is_err()
    );
    let token =
        add_token(&servers::store_of(hub.data.path()).parse().unwrap(), "ci", Role::Admin).await.unwrap();
    assert!(token.starts_with("mht_"));
    assert_eq!(hub.get("/users", &program(&json!(token))).await.status, 200);
}

#[tokio::test]
async fn who_guesses_waits_and_who_knows_comes_in() {
    let (hub, _) = Hub::with_ada().await;
    for _ in 0..5 {
        hub.log_in("ada", "a wrong guess").await.is(401, "bad_login");
    }
    for wait in [2, 4, 8, 16, 32, 60, 60] {
        let refused = hub.log_in("Ada", PASSWORD).await;
        refused.is(429, "too_many_logins");
        assert_eq!(refused.header("retry-after"), Some(wait.to_string().as_str()));
        hub.clock.advance(Span(wait * 1000 - 1));
        hub.log_in("ada", PASSWORD).await.is(429, "too_many_logins");
        hub.clock.advance(Span(1));
        hub.log_in("ada", "a wrong guess").await.is(401, "bad_login");
    }
    hub.clock.advance(Span::seconds(60));
    assert_eq!(hub.log_in("ada", PASSWORD).await.status, 200);
    hub.log_in("ada", "a wrong guess").await.is(401, "bad_login");
}

#[tokio::test]
async fn many_guesses_at_once_are_counted_before_the_first_is_checked() {
    let (hub, _) = Hub::with_ada().await;
    let tries = (0..20).map(|_| hub.log_in("ada", "a wrong guess"));
    let answers = futures_util::future::join_all(tries).await;
    let checked = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(checked, 5, "{answers:?}");
}

#[tokio::test]
async fn an_unknown_name_a_wrong_password_and_a_disabled_user_get_the_same_answer() {
    let (hub, ada) = Hub::with_ada().await;
    let (bo, _) = hub.person(&ada, "bo", "viewer").await;
    assert_eq!(hub.patch(&format!("/users/{bo}"), &ada, json!({ "disabled": true })).await.status, 200);
    let answers = [
        hub.log_in("nobody", PASSWORD).await,
        hub.log_in("ada", "a wrong guess").await,
        hub.log_in("bo", PASSWORD).await,
        hub.log_in(&"x".repeat(5000), &"y".repeat(5000)).await,
    ];
    for answer in &answers {
        answer.is(401, "bad_login");
        assert_eq!(answer.text, answers[0].text);
    }
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let (hub, ada) = Hub::with_ada().await;
    let body = json!({ "name": "ada", "password": PASSWORD });
    for (proto, is_secure) in [("http", false), ("https", true)] {
        let answer =
            hub.send("POST", "/login", &nobody(), Some(&body), &[("X-Forwarded-Proto", proto)]).await;
        let cookie = answer.header("set-cookie").unwrap();
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=2592000"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), is_secure, "{cookie}");
        assert_ne!(answer.caller().cookie, ada.cookie, "every login has its own secret");
    }
    let left = hub.send("POST", "/logout", &ada, None, &[]).await;
    assert_eq!(left.status, 204);
    assert!(left.header("set-cookie").unwrap().starts_with("motehub_session=; "));
    assert!(left.header("set-cookie").unwrap().contains("Max-Age=0"));
    hub.get("/me", &ada).await.is(401, "unauthenticated");
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let (hub, ada) = Hub::with_ada().await;
    let body = json!({ "name": "eve", "role": "admin" });
    let own = format!("http://{}", hub.http);
    let without = Caller { csrf: None, ..ada.clone() };
    let guessed = Caller { csrf: Some("guessed".to_owned()), ..ada.clone() };
    let cases: [(&Caller, &[(&str, &str)]); 5] = [
        (&without, &[]),
        (&without, &[("Origin", &own)]),
        (&guessed, &[]),
        (&ada, &[("Origin", "https://evil.example")]),
        (&ada, &[("Origin", "null")]),
    ];
    for (caller, headers) in cases {
        hub.send("POST", "/users", caller, Some(&body), headers).await.is(403, "csrf");
    }
    assert_eq!(hub.get("/users", &ada).await.json()["total"], 1);
    let made = hub.send("POST", "/users", &ada, Some(&body), &[("Origin", &own)]).await;
    assert_eq!(made.status, 201);
    let form = [("Content-Type", "text/plain")];
    assert_eq!(hub.send("POST", "/login", &nobody(), None, &form).await.status, 415);
}

#[tokio::test]
async fn a_one_time_password_is_changed_before_anything_else() {
    let (hub, ada) = Hub::with_ada().await;
    let made = hub.post("/users", &ada, json!({ "name": "bo", "role": "engineer" })).await;
    let one_time = made.json()["password"].as_str().unwrap().to_owned();
    let bo = hub.log_in("bo", &one_time).await.caller();
    assert_eq!(hub.get("/me", &bo).await.json()["must_change_password"], true);
    for path in ["/grants", "/users"] {
        hub.get(path, &bo).await.is(403, "password_change_required");
    }
    let refused = [
        ("a wrong guess", PASSWORD, "current"),
        (&one_time, "password", "new"),
        (&one_time, &one_time, "new"),
    ];
    for (current, new, field) in refused {
        let answer = hub.post("/me/password", &bo, changed(current, new)).await;
        answer.is(400, "invalid");
        assert_eq!(answer.json()["field"], field);
    }
    assert_eq!(hub.post("/me/password", &bo, changed(&one_time, PASSWORD)).await.status, 204);
    assert_eq!(hub.get("/me", &bo).await.json()["must_change_password"], false);
    assert_eq!(hub.get("/grants", &bo).await.status, 200);
    hub.log_in("bo", &one_time).await.is(401, "bad_login");
}

fn changed(current: &str, new: &str) -> Value {
    json!({ "current": current, "new": new })
}

#[tokio::test]
async fn another_password_ends_the_other_logins_and_log_out_everywhere_ends_all() {
    let (hub, here) = Hub::with_ada().await;
    let there = hub.log_in("ada", PASSWORD).await.caller();
    assert_eq!(hub.post("/me/password", &here, changed(PASSWORD, "ten green horses")).await.status, 204);
    hub.get("/me", &there).await.is(401, "unauthenticated");
    assert_eq!(hub.get("/me", &here).await.status, 200);
    let there = hub.log_in("ada", "ten green horses").await.caller();
    assert_eq!(hub.send("POST", "/logout-everywhere", &here, None, &[]).await.status, 204);
    for caller in [&here, &there] {
        hub.get("/me", caller).await.is(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_login_ends_when_it_is_not_used_and_after_a_month() {
    let (hub, ada) = Hub::with_ada().await;
    for _ in 0..5 {
        hub.clock.advance(Span::days(6));
        assert_eq!(hub.get("/me", &ada).await.status, 200);
    }
    hub.clock.advance(Span::days(1));
    hub.get("/me", &ada).await.is(401, "unauthenticated");
    let ada = hub.log_in("ada", PASSWORD).await.caller();
    hub.clock.advance(Span::days(8));
    hub.get("/me", &ada).await.is(401, "unauthenticated");
}

#[tokio::test]
async fn one_active_administrator_remains() {
    let (hub, ada) = Hub::with_ada().await;
    let users = hub.get("/users", &ada).await.json();
    let ada_path = format!("/users/{}", users["items"][0]["id"].as_str().unwrap());
    let (bo_id, bo) = hub.person(&ada, "bo", "admin").await;
    let bo_path = format!("/users/{bo_id}");
    let demote = json!({ "role": "viewer" });
    let (one, other) =
        tokio::join!(hub.patch(&bo_path, &ada, demote.clone()), hub.patch(&ada_path, &bo, demote.clone()));
    assert!(one.status == 200 || other.status == 200, "{one:?} {other:?}");
    assert!(one.status != 200 || other.status != 200, "{one:?} {other:?}");
    let (left, left_path) = if one.status == 200 { (&ada, &ada_path) } else { (&bo, &bo_path) };
    for change in [demote, json!({ "disabled": true })] {
        hub.patch(left_path, left, change).await.is(409, "conflict");
    }
    hub.delete(left_path, left).await.is(409, "conflict");
    assert_eq!(hub.get("/users", left).await.json()["total"], 2);
}

#[tokio::test]
async fn a_user_who_is_shut_out_reset_or_deleted_is_out_at_once() {
    let (hub, ada) = Hub::with_ada().await;
    let (bo, here) = hub.person(&ada, "bo", "viewer").await;
    let path = format!("/users/{bo}");
    let edited = hub.patch(&path, &ada, json!({ "disabled": true })).await.json();
    assert_eq!((&edited["disabled"], &edited["role"]), (&json!(true), &json!("viewer")));
    hub.get("/me", &here).await.is(401, "unauthenticated");
    assert_eq!(hub.patch(&path, &ada, json!({ "disabled": false })).await.status, 200);
    hub.get("/me", &here).await.is(401, "unauthenticated");

    let here = hub.log_in("bo", PASSWORD).await.caller();
    let reset = hub.send("POST", &format!("{path}/password"), &ada, None, &[]).await;
    hub.get("/me", &here).await.is(401, "unauthenticated");
    hub.log_in("bo", PASSWORD).await.is(401, "bad_login");
    let here = hub.log_in("bo", reset.json()["password"].as_str().unwrap()).await.caller();
    assert_eq!(hub.delete(&path, &ada).await.status, 204);
    hub.get("/me", &here).await.is(401, "unauthenticated");
    hub.delete(&path, &ada).await.is(404, "not_found");
    hub.patch("/users/no-id", &ada, json!({})).await.is(404, "not_found");
}

#[tokio::test]
async fn only_administrators_see_and_change_people() {
    let (hub, ada) = Hub::with_ada().await;
    for role in ["viewer", "manager", "engineer"] {
        let (id, caller) = hub.person(&ada, role, role).await;
        for path in ["/users", "/tokens"] {
            hub.get(path, &caller).await.is(403, "forbidden");
            hub.post(path, &caller, json!({ "name": "eve", "role": "admin" })).await.is(403, "forbidden");
        }
        hub.patch(&format!("/users/{id}"), &caller, json!({ "role": "admin" })).await.is(403, "forbidden");
        hub.get("/users", &nobody()).await.is(401, "unauthenticated");
    }
}

#[tokio::test]
async fn fields_that_are_not_offered_are_refused() {
    let (hub, ada) = Hub::with_ada().await;
    let (bo, _) = hub.person(&ada, "bo", "viewer").await;
    let cases = [
        ("POST", "/users".to_owned(), json!({ "name": "eve", "role": "viewer", "id": bo })),
        (
            "POST",
            "/users".to_owned(),
            json!({ "name": "eve", "role": "viewer", "must_change_password": false }),
        ),
        ("POST", "/users".to_owned(), json!({ "name": "eve", "role": "viewer", "password": PASSWORD })),
        ("POST", "/users".to_owned(), json!({ "name": "eve", "role": "root" })),
        ("PATCH", format!("/users/{bo}"), json!({ "name": "eve" })),
        ("PATCH", format!("/users/{bo}"), json!({ "password_hash": "x" })),
        ("PATCH", format!("/users/{bo}"), json!({ "disabled": "yes" })),
        ("POST", "/tokens".to_owned(), json!({ "name": "eve", "role": "viewer", "digest": "00" })),
        ("POST", "/grants".to_owned(), json!({ "tag": "x", "filter": "a", "publish": true, "id": bo })),
        (
            "POST",
            "/me/password".to_owned(),
            json!({ "current": PASSWORD, "new": "another one", "name": "bo" }),
        ),
        ("POST", "/login".to_owned(), json!({ "name": "ada", "password": PASSWORD, "role": "admin" })),
        (
            "POST",
            "/setup".to_owned(),
            json!({ "code": "x", "name": "eve", "password": PASSWORD, "role": "admin" }),
        ),
    ];
    for (method, path, body) in cases {
        let answer = hub.send(method, &path, &ada, Some(&body), &[]).await;
        assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
    }
    assert_eq!(hub.get("/users", &ada).await.json()["total"], 2);
}

#[tokio::test]
async fn names_are_text_and_nothing_else() {
    let (hub, ada) = Hub::with_ada().await;
    for path in ["/users", "/tokens"] {
        let markup = "<script>alert('&\"')</script> Küche 🍲";
        let made = hub.post(path, &ada, json!({ "name": format!("  {markup} "), "role": "viewer" })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let listed = hub.get(path, &ada).await;
        assert!(listed.header("content-type").unwrap().starts_with("application/json"));
        let names: Vec<_> =
            listed.json()["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
        assert!(names.contains(&json!(markup)), "{names:?}");
        hub.post(path, &ada, json!({ "name": markup, "role": "viewer" })).await.is(409, "name_taken");
        for name in ["", "  ", "a\0b", "two\nlines", "esc\u{1b}[31m", &"x".repeat(81)] {
            let refused = hub.post(path, &ada, json!({ "name": name, "role": "viewer" })).await;
            refused.is(400, "invalid");
            assert_eq!(refused.json()["field"], "name");
        }
    }
}

#[tokio::test]
async fn a_token_works_until_it_expires_or_is_revoked() {
    let (hub, ada) = Hub::with_ada().await;
    let make =
        |name: &str, expires_at: Value| json!({ "name": name, "role": "viewer", "expires_at": expires_at });
    // The clock stands at 2027-01-15T08:00:00Z.
    for wrong in ["2027-01-15T07:59:59Z", "2027-01-15T08:00:00Z", "tomorrow", "", "1900000000000"] {
        let refused = hub.post("/tokens", &ada, make("late", json!(wrong))).await;
        refused.is(400, "invalid");
        assert_eq!(refused.json()["field"], "expires_at");
    }
    let short = hub.post("/tokens", &ada, make("short", json!("2027-01-15T10:00:00+01:00"))).await.json();
    let long = hub.post("/tokens", &ada, make("long", Value::Null)).await.json();
    let (short, program_long) = (program(&short["token"]), program(&long["token"]));
    let me = hub.get("/me", &short).await.json();
    assert_eq!(
        me,
        json!({ "name": "short", "role": "viewer", "kind": "token", "must_change_password": false,
            "csrf": "", "seq": me["seq"] })
    );
    assert!(me["seq"].is_i64(), "{me}");
    let items = hub.get("/tokens", &ada).await.json()["items"].clone();
    assert_eq!(items[1]["expires_at"], "2027-01-15T09:00:00.000Z");
    assert_eq!(items[1]["last_used_at"], "2027-01-15T08:00:00.000Z");
    assert!(!items.to_string().contains("mht_"));

    hub.clock.advance(Span::minutes(60));
    hub.get("/me", &short).await.is(401, "unauthenticated");
    assert_eq!(hub.get("/me", &program_long).await.status, 200);
    for path in ["/logout", "/logout-everywhere"] {
        hub.send("POST", path, &program_long, None, &[]).await.is(403, "forbidden");
    }
    let path = format!("/tokens/{}", long["id"].as_str().unwrap());
    assert_eq!(hub.delete(&path, &ada).await.status, 204);
    hub.get("/me", &program_long).await.is(401, "unauthenticated");
    hub.delete(&path, &ada).await.is(404, "not_found");
}

#[tokio::test]
async fn secrets_are_shown_once_and_stored_nowhere() {
    let (hub, ada) = Hub::with_ada().await;
    let token = hub.post("/tokens", &ada, json!({ "name": "ci", "role": "viewer" })).await.json();
    let made = hub.post("/users", &ada, json!({ "name": "bo", "role": "viewer" })).await.json();
    let secrets = [&json!(PASSWORD), &json!(ada.cookie), &token["token"], &made["password"]];
    let kept = hub.bytes_on_disk();
    assert!(kept.windows(9).any(|part| part == b"$argon2id"), "the test looks in the wrong place");
    for secret in secrets {
        let secret = secret.as_str().unwrap().as_bytes();
        assert!(!kept.windows(secret.len()).any(|part| part == secret), "a secret is on disk");
    }
}

#[tokio::test]
async fn a_grant_is_to_a_device_or_a_tag() {
    let (hub, ada) = Hub::with_ada().await;
    let (_, viewer) = hub.person(&ada, "bo", "viewer").await;
    let grant = json!({ "tag": "kitchen", "filter": "house/+/light", "subscribe": true });
    hub.post("/grants", &viewer, grant.clone()).await.is(403, "forbidden");
    let no_device = "01kabcdefghjkmnpqrstvwxyz0";
    let refused = [
        (json!({ "filter": "a", "publish": true }), "device"),
        (json!({ "device": no_device, "tag": "x", "filter": "a", "publish": true }), "device"),
        (json!({ "device": no_device, "filter": "a", "publish": true }), "device"),
        (json!({ "tag": "x y", "filter": "a", "publish": true }), "tag"),
        (json!({ "tag": "x", "filter": "$SYS/#", "subscribe": true }), "filter"),
        (json!({ "tag": "x", "filter": "a#", "subscribe": true }), "filter"),
        (json!({ "tag": "x", "filter": "a" }), "publish"),
    ];
    for (body, field) in refused {
        let answer = hub.post("/grants", &ada, body).await;
        answer.is(400, "invalid");
        assert_eq!(answer.json()["field"], field);
    }
    let made = hub.post("/grants", &ada, grant.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    hub.post("/grants", &ada, grant).await.is(409, "conflict");
    let listed = hub.get("/grants", &viewer).await.json();
    assert_eq!(
        listed["items"][0],
        json!({ "id": made.json()["id"], "device": null, "tag": "kitchen", "filter": "house/+/light",
            "publish": false, "subscribe": true })
    );
    let path = format!("/grants/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(hub.delete(&path, &ada).await.status, 204);
    hub.delete(&path, &ada).await.is(404, "not_found");
}

#[tokio::test]
async fn who_came_in_and_who_did_not_is_in_the_activity_log() {
    let (hub, ada) = Hub::with_ada().await;
    hub.log_in("eve\r\nada logged in", "a wrong guess").await.is(401, "bad_login");
    let log = hub.get("/activity?noun=login", &ada).await.json();
    let facts: Vec<_> =
        log["items"].as_array().unwrap().iter().map(|c| (&c["kind"], &c["subject_name"])).collect();
    let (failed, entered) = (json!("login_failed"), json!("login_succeeded"));
    assert_eq!(facts, [(&failed, &json!("eveada logged in")), (&entered, &json!("ada"))]);
    assert_eq!(log["items"][0]["after"], json!({ "address": "127.0.0.1" }));
}
