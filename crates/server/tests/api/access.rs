//! Every route of the API with every kind of caller, compared with a table, and requests that pages of other
//! sites make a browser send.

use std::fmt::Write as _;
use std::path::Path;

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Hub};

/// An id that nothing has.
const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";
const PASSWORD: &str = "nine brown horses";

/// One operation of the API's description.
struct Route {
    method: String,
    path: String,
    access: String,
}

impl Route {
    /// Every route, in the order of the description.
    fn all() -> Vec<Self> {
        let description: Value = serde_json::from_str(&motehub_server::openapi().to_json().unwrap()).unwrap();
        let mut routes = Vec::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let access = operation["x-access"].as_str();
                let access = access.unwrap_or_else(|| panic!("{method} {path} says nothing of access"));
                routes.push(Self {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    access: access.to_owned(),
                });
            }
        }
        assert!(routes.len() > 50, "{} routes", routes.len());
        routes
    }

    /// Calls it on things that do not exist, with a body that asks for nothing.
    async fn call(&self, hub: &Hub, caller: &Caller, headers: &[(&str, &str)]) -> Answer {
        let ids = [
            "{id}",
            "{device}",
            "{script}",
            "{digest}",
            "{user}",
            "{invitation}",
            "{fingerprint}",
            "{block}",
            "{link}",
            "{delivery}",
        ]
        .iter()
        .fold(self.path.clone(), |path, part| path.replace(part, NO_ID));
        let path = ids.replace("{version}", "1").replace("{name}", "relay");
        // A stream does not end, unless it is asked for what it does not know.
        let path = path.replace("/activity/stream", "/activity/stream?kind=nothing");
        assert!(!path.contains('{'), "{path}");
        let body = (self.method != "GET").then(|| json!({}));
        hub.send(&self.method, &path, caller, headers, body.as_ref()).await
    }
}

/// Makes a user. Returns the id and the one-time password.
async fn person(hub: &Hub, name: &str, role: &str) -> (String, String) {
    let made = hub.post("/users", json!({ "name": name, "role": role })).await;
    assert_eq!(made.status, 201, "{made:?}");
    (made.string("id"), made.string("password"))
}

pub(crate) async fn log_in(hub: &Hub, name: &str, password: &str) -> Caller {
    let login = json!({ "name": name, "password": password });
    let came = hub.call("POST", "/login", &Caller::default(), Some(&login)).await;
    assert_eq!(came.status, 200, "{came:?}");
    let cookie = came.header("set-cookie").unwrap().strip_prefix("motehub_session=").unwrap();
    let secret = cookie.split(';').next().unwrap().to_owned();
    Caller { cookie: Some(secret), csrf: Some(came.string("csrf")), token: None }
}

/// A customer who signed up with an invitation.
async fn customer(hub: &Hub, name: &str) -> Caller {
    let code = hub.post("/invitations", json!({})).await.string("code");
    let sign_up = json!({ "code": code, "name": name, "password": PASSWORD });
    let came = hub.call("POST", "/sign-up", &Caller::default(), Some(&sign_up)).await;
    assert_eq!(came.status, 200, "{came:?}");
    log_in(hub, name, PASSWORD).await
}

/// A person of a role who is logged in and has chosen a password.
pub(crate) async fn somebody(hub: &Hub, name: &str, role: &str) -> Caller {
    let (_, password) = person(hub, name, role).await;
    let caller = log_in(hub, name, &password).await;
    let change = json!({ "current": password, "new": PASSWORD });
    assert_eq!(hub.call("POST", "/me/password", &caller, Some(&change)).await.status, 204);
    caller
}

async fn token(hub: &Hub, name: &str, role: &str, expires_at: Option<&str>) -> Caller {
    let made = hub.post("/tokens", json!({ "name": name, "role": role, "expires_at": expires_at })).await;
    Caller::token(made.string("token"))
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says() {
    let hub = Hub::start().await;
    let mut table = String::from(
        "# Who may call what. `make check` compares; UPDATE_GOLDEN=1 writes it again.\n# route, what it needs |",
    );
    // The set-up is over first: there is an administrator with a password.
    let first = json!({ "code": hub.setup_code, "name": "ann", "password": PASSWORD });
    assert_eq!(hub.call("POST", "/setup", &Caller::default(), Some(&first)).await.status, 200);
    let expired = token(&hub, "expired", "admin", Some("2027-01-15T08:30:00Z")).await;
    let (gone, password) = person(&hub, "gone", "admin").await;
    let disabled = log_in(&hub, "gone", &password).await;
    let revoked = token(&hub, "revoked", "admin", None).await;
    let tokens = hub.get("/tokens").await.json();
    let found = tokens["items"].as_array().unwrap().iter().find(|token| token["name"] == "revoked").unwrap();
    assert_eq!(hub.delete(&format!("/tokens/{}", found["id"].as_str().unwrap())).await.status, 204);
    let mut callers = vec![("nobody", Caller::default())];
    callers.push(("customer", customer(&hub, "customer").await));
    for role in ["viewer", "manager", "engineer", "admin"] {
        callers.push((role, somebody(&hub, role, role).await));
    }
    let (_, one_time) = person(&hub, "newcomer", "admin").await;
    callers.push(("newcomer", log_in(&hub, "newcomer", &one_time).await));
    for role in ["viewer", "admin"] {
        let name = if role == "viewer" { "viewer-token" } else { "admin-token" };
        callers.push((name, token(&hub, name, role, None).await));
    }
    callers.extend([("expired-token", expired), ("revoked-token", revoked), ("disabled", disabled)]);
    assert_eq!(hub.patch(&format!("/users/{gone}"), json!({ "disabled": true })).await.status, 200);
    hub.clock.advance(Span::minutes(31));
    for (name, _) in &callers {
        write!(table, " {name}").unwrap();
    }
    table.push('\n');
    for route in Route::all() {
        write!(table, "{} {} {} |", route.method, route.path, route.access).unwrap();
        for (name, caller) in &mut callers {
            let answer = route.call(&hub, caller, &[]).await;
            let word = match answer.status {
                401 => "401",
                403 => "403",
                // To a customer the device does not exist.
                404 if *name == "customer" => "404",
                _ => "allowed",
            };
            write!(table, " {word}").unwrap();
            let ends_login = route.path.contains("/logout") && answer.status == 204;
            if ends_login {
                let password = if *name == "newcomer" { one_time.as_str() } else { PASSWORD };
                *caller = log_in(&hub, name, password).await;
            }
        }
        table.push('\n');
    }
    same_as_golden("tests/golden/access.txt", &table);
    hub.is_well().await;
}

/// Compares with a file of this crate; `UPDATE_GOLDEN=1` writes the file.
fn same_as_golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "{file} says something else; UPDATE_GOLDEN=1 writes it again");
    }
    assert_eq!(text, golden, "{file} has other lines; UPDATE_GOLDEN=1 writes it again");
}

#[test]
fn the_description_of_the_api_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let now = motehub_server::openapi().to_pretty_json().unwrap();
    assert!(kept.trim_end() == now.trim_end(), "docs/openapi.json is not what the API is: run make gen");
}

#[tokio::test]
async fn what_pages_of_other_sites_send_is_refused_on_every_route() {
    let hub = Hub::start().await;
    let first = json!({ "code": hub.setup_code, "name": "ann", "password": PASSWORD });
    assert_eq!(hub.call("POST", "/setup", &Caller::default(), Some(&first)).await.status, 200);
    let ann = log_in(&hub, "ann", PASSWORD).await;
    let before = hub.last_seq().await;
    let without = Caller { csrf: None, ..ann.clone() };
    let wrong = Caller { csrf: Some("x".repeat(32)), ..ann.clone() };
    let foreign = ("Origin", "https://evil.example");
    let own_port = ("Origin", "http://127.0.0.1:1");
    let cases: [(&Caller, &[(&str, &str)]); 6] = [
        (&without, &[]),
        (&without, &[foreign]),
        (&wrong, &[]),
        (&ann, &[foreign]),
        (&ann, &[("Origin", "null")]),
        (&ann, &[own_port]),
    ];
    let mut routes = 0;
    for route in Route::all().iter().filter(|route| route.method != "GET" && route.access != "open") {
        for (caller, headers) in cases {
            route.call(&hub, caller, headers).await.is(403, "csrf");
        }
        routes += 1;
    }
    assert!(routes > 25, "{routes} routes");
    assert_eq!(hub.last_seq().await, before, "something was changed");
    assert_eq!(hub.call("GET", "/me", &ann, None).await.status, 200, "the login goes on");
}
