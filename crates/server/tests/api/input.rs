//! Input that is no request: each gets a clear refusal and changes nothing, never a 5xx.

use serde_json::json;

use crate::support::{Caller, Hub};

const NO_ID: &str = "01kabcdefghjkmnpqrstvwxyz0";

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let hub = Hub::start().await;
    let before = hub.last_seq().await;
    let json_type: &[(&str, &str)] = &[("Content-Type", "application/json")];
    let deep = "[".repeat(200_000);
    let deep_object = format!("{}1{}", "{\"name\":".repeat(100_000), "}".repeat(100_000));
    let bodies: Vec<&[u8]> = vec![
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"null",
        b"[]",
        b"1",
        b"\"x\"",
        b"{\"name\":1e400}",
        b"{\"name\":\"\xff\xfe\"}",
        b"\xff\xfe{\x00}\x00",
        b"{\"name\":\"\\ud800\"}",
        b"{\"name\":\"a\x00b\"}",
        b"{\"name\":\"a\",\"name\":\"b\",\"dialect\":\"native\"}",
        b"{\"name\":\"a\",\"dialect\":\"native\"} more",
        b"{'name':'a'}",
        b"{\"name\":NaN}",
        b"{\"name\":\"a\",\"dialect\":\"native\",}",
        b"\xef\xbb\xbf{\"name\":\"a\",\"dialect\":\"native\"}",
        b"PK\x03\x04",
        deep.as_bytes(),
        deep_object.as_bytes(),
    ];
    let paths =
        ["/devices", "/scripts", "/deployments", "/users", "/tokens", "/grants", "/deployments/preview"];
    for path in paths {
        for body in &bodies {
            let answer = hub.raw("POST", &format!("/api/v1{path}"), &hub.ada, json_type, body).await;
            answer.is(400, "invalid");
        }
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""] {
        let headers: &[(&str, &str)] = &[("Content-Type", kind)];
        let body = b"{\"name\":\"a\",\"dialect\":\"native\"}";
        hub.raw("POST", "/api/v1/devices", &hub.ada, headers, body).await.is(415, "invalid");
    }
    assert_eq!(hub.last_seq().await, before, "something was changed");
    let other_json: &[(&str, &str)] = &[("Content-Type", "application/json; charset=utf-8")];
    let body = "{\"name\":\"a\\u0301 \\ud83c\\udf72\",\"dialect\":\"native\"}";
    let made = hub.raw("POST", "/api/v1/devices", &hub.ada, other_json, body.as_bytes()).await;
    assert_eq!((made.status, made.string("name").as_str()), (201, "a\u{301} 🍲"));
    hub.is_well().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let hub = Hub::start().await;
    let before = hub.last_seq().await;
    let json_type: &[(&str, &str)] = &[("Content-Type", "application/json")];
    let megabyte = 1024 * 1024;
    for size in [megabyte + 1, 10 * 1000 * 1000] {
        let body = format!("{{\"name\":\"{}\",\"dialect\":\"native\"}}", "x".repeat(size));
        for path in ["/devices", "/login", "/setup", &format!("/deployments/{NO_ID}/retry")] {
            let answer =
                hub.raw("POST", &format!("/api/v1{path}"), &hub.ada, json_type, body.as_bytes()).await;
            answer.is(413, "too_large");
        }
    }
    let below = format!("{{\"name\":\"{}\",\"dialect\":\"native\"}}", "x".repeat(megabyte - 100));
    let answer = hub.raw("POST", "/api/v1/devices", &hub.ada, json_type, below.as_bytes()).await;
    answer.refuses("name", "1 to 80");
    let token = hub.ada.token.as_deref().unwrap();
    // The length is not said: the body is refused when it has become too large.
    let chunk = format!("{:x}\r\n{}\r\n", 65_536, "x".repeat(65_536)).repeat(40);
    let request = format!(
        "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    hub.exchange(request.as_bytes()).await.is(413, "too_large");
    // Nobody's megabytes are not even read.
    let stranger =
        hub.raw("POST", "/api/v1/devices", &Caller::default(), json_type, &vec![b'x'; 10 * megabyte]).await;
    stranger.is(401, "unauthenticated");
    assert_eq!(hub.last_seq().await, before);
    hub.is_well().await;
}

#[tokio::test]
async fn paths_and_ids_of_any_shape_name_nothing() {
    let hub = Hub::start().await;
    let before = hub.last_seq().await;
    let ids = [
        "x",
        "0",
        "-1",
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "%00",
        "%ff%fe",
        "%0d%0aSet-Cookie:%20a=b",
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "'%20or%20'1'='1",
        "zzzzzzzzzzzzzzzzzzzzzzzzzz",
        NO_ID,
        &"x".repeat(8000),
        "%F0%9F%8D%B2",
    ];
    let nouns = ["devices", "scripts", "deployments", "users", "tokens", "grants"];
    for noun in nouns {
        for id in ids {
            for (method, body) in [("GET", None), ("PATCH", Some(json!({}))), ("DELETE", None)] {
                let answer = hub.call(method, &format!("/{noun}/{id}"), &hub.ada, body.as_ref()).await;
                assert!(matches!(answer.status, 400 | 404 | 405), "{method} {noun} {id}: {answer:?}");
                assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
                assert_eq!(answer.header("set-cookie"), None);
                assert!(answer.body.len() < 1000, "{answer:?}");
            }
        }
    }
    for path in [
        "/api/v1/../../etc/passwd",
        "/../etc/passwd",
        "/assets/../../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/assets/%2e%2e%2f%2e%2e%2fCargo.toml",
        "//etc/passwd",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/devices",
    ] {
        let answer = hub.send("GET", path, &hub.ada, &[], None).await;
        assert!(
            !answer.text().contains("[package]") && !answer.text().contains("root:"),
            "{path}: {answer:?}"
        );
        assert!(matches!(answer.status, 200 | 404), "{path}: {answer:?}");
    }
    assert_eq!(hub.last_seq().await, before);
    hub.is_well().await;
}

#[tokio::test]
async fn methods_that_a_path_does_not_have_are_refused_with_those_it_has() {
    let hub = Hub::start().await;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = hub.call(method, "/devices", &hub.ada, None).await;
        answer.is(405, "method_not_allowed");
        let allowed = answer.header("allow").unwrap();
        assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    }
    let head = hub.call("HEAD", "/devices", &hub.ada, None).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(hub.call("HEAD", "/devices", &Caller::default(), None).await.status, 401);
    let nothing = hub.call("GET", "/nothing", &hub.ada, None).await;
    nothing.is(404, "not_found");
    hub.call("POST", "/nothing", &hub.ada, None).await.is(404, "not_found");
    let own = format!("http://{}", hub.http);
    for origin in [own.as_str(), "https://evil.example", "null"] {
        let answer =
            hub.send("OPTIONS", "/api/v1/devices", &Caller::default(), &[("Origin", origin)], None).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "nobody else's page reads us");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn proofs_of_any_shape_let_nobody_in() {
    let hub = Hub::start().await;
    let token = hub.ada.token.clone().unwrap();
    let long = "x".repeat(20_000);
    let proofs = [
        ("Authorization", "Bearer".to_owned()),
        ("Authorization", "Bearer ".to_owned()),
        ("Authorization", token.clone()),
        ("Authorization", format!("Basic {token}")),
        ("Authorization", format!("Bearer {token}x")),
        ("Authorization", format!("Bearer {}", &token[..token.len() - 1])),
        ("Authorization", format!("Bearer {token}, Bearer {token}")),
        ("Authorization", format!("Bearer {long}")),
        ("Authorization", "Bearer \u{e9}\u{ff}".to_owned()),
        ("Cookie", "motehub_session=".to_owned()),
        ("Cookie", format!("motehub_session={token}")),
        ("Cookie", "motehub_session=x; motehub_session=y".to_owned()),
        ("Cookie", format!("motehub_session={long}")),
        ("X-Forwarded-For", "127.0.0.1".to_owned()),
        ("X-CSRF-Token", token.clone()),
    ];
    for (name, value) in &proofs {
        let answer = hub.send("GET", "/api/v1/devices", &Caller::default(), &[(name, value)], None).await;
        answer.is(401, "unauthenticated");
    }
    for path in ["/api/v1/devices?token=", "/api/v1/devices?access_token="] {
        let answer = hub.send("GET", &format!("{path}{token}"), &Caller::default(), &[], None).await;
        answer.is(401, "unauthenticated");
    }
    let lower = [("authorization", format!("bearer {token}"))];
    let lower = lower.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = hub.send("GET", "/api/v1/me", &Caller::default(), &lower, None).await;
    assert_eq!(answer.status, 200, "the scheme is written in any case");
    hub.is_well().await;
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    let hub = Hub::start().await;
    let broken = [
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET /\u{0} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(),
        "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"
            .to_owned(),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200)),
    ];
    for text in broken {
        let answer = hub.exchange(text.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{text:.60}: {answer:?}");
    }
    hub.is_well().await;
}
