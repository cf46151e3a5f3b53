//! The HTTP data plane of AWS IoT: who reaches which thing, what is asked of a shadow, and what is no signature.

use motehub_domain::time::Span;
use serde_json::json;

use crate::support::aws::{AccessKey, Proof};
use crate::support::{Answer, Caller, Hub};

const LAMP: &str = "/things/lamp-1/shadow";
const ON: &[u8] = br#"{"state":{"desired":{"on":true}},"clientToken":"t"}"#;

async fn lamp(hub: &Hub, name: &str) -> String {
    let new = json!({ "name": name, "dialect": "native", "external_id": name });
    hub.post("/devices", new).await.string("id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_changes_lists_and_deletes_shadows() {
    let hub = Hub::start().await;
    let id = lamp(&hub, "lamp-1").await;
    let key = Proof::Key(hub.access_key("ci", "manager").await);
    let call = async |method, path: &str, body: &[u8]| hub.aws(method, path, &key, body).await;
    let none = call("GET", LAMP, b"").await.is_aws(404, "ResourceNotFoundException");
    assert_eq!(none, "No shadow exists with name: 'lamp-1'");
    let taken = call("POST", LAMP, ON).await.json();
    assert_eq!((&taken["state"], &taken["version"]), (&json!({ "desired": { "on": true } }), &json!(1)));
    assert_eq!((&taken["clientToken"], &taken["timestamp"]), (&json!("t"), &json!(1_800_000_000)));
    assert_eq!(taken["metadata"]["desired"]["on"], json!({ "timestamp": 1_800_000_000 }));
    let whole = call("GET", &format!("/things/{id}/shadow"), b"").await.json();
    assert_eq!(whole["state"]["delta"], json!({ "on": true }), "also by the other id of the thing");
    let history = hub.get(&format!("/devices/{id}/shadow/history")).await.json();
    assert_eq!(history["items"][0]["actor"], "ci", "{history}");
    for name in ["c", "a", "b"] {
        assert_eq!(call("POST", &format!("{LAMP}?name={name}"), ON).await.status, 200);
    }
    let list = "/api/things/shadow/ListNamedShadowsForThing";
    let page = call("GET", &format!("{list}/lamp-1?pageSize=2"), b"").await.json();
    assert_eq!((&page["results"], &page["nextToken"]), (&json!(["a", "b"]), &json!("b")));
    let page = call("GET", &format!("{list}/lamp-1?nextToken=b&pageSize=2"), b"").await.json();
    assert_eq!((&page["results"], page.get("nextToken")), (&json!(["c"]), None));
    assert_eq!(call("GET", &format!("{list}/nobody"), b"").await.json()["results"], json!([]));
    let version = call("DELETE", &format!("{LAMP}?name=a"), b"").await.json()["version"].clone();
    assert_eq!(version, 1);
    let gone = call("DELETE", &format!("{LAMP}?name=a"), b"").await;
    assert_eq!(gone.is_aws(404, "ResourceNotFoundException"), "No shadow exists with name: 'a'");
    let unknown = call("POST", "/things/nobody/shadow", ON).await;
    assert_eq!(unknown.is_aws(404, "ResourceNotFoundException"), "Thing not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_update_is_refused_as_aws_does_and_changes_nothing() {
    let hub = Hub::start().await;
    lamp(&hub, "lamp-1").await;
    let key = Proof::Key(hub.access_key("ci", "manager").await);
    hub.aws("POST", LAMP, &key, ON).await.json();
    let desired = |value: &str| format!(r#"{{"state":{{"desired":{value}}}}}"#).into_bytes();
    let (invalid, large) = ("InvalidRequestException", "RequestEntityTooLargeException");
    let cases: [(Vec<u8>, u16, &str, &str); 14] = [
        (b"".to_vec(), 400, invalid, "Invalid JSON"),
        (b"[]".to_vec(), 400, invalid, "Invalid JSON"),
        (desired(r#"{"a":NaN}"#), 400, invalid, "Invalid JSON"),
        (desired(r#"{"a":1,"a":2}"#), 400, invalid, "Invalid JSON"),
        (b"{}".to_vec(), 400, invalid, "Missing required node: state"),
        (br#"{"state":1}"#.to_vec(), 400, invalid, "State node must be an object"),
        (desired("1"), 400, invalid, "Desired node must be an object"),
        (br#"{"state":{"wanted":{}}}"#.to_vec(), 400, invalid, "State contains an invalid node: 'wanted'"),
        (desired(r#"{"a":[null]}"#), 400, invalid, "State contains an invalid node: 'a'"),
        (
            desired(r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}"#),
            400,
            invalid,
            "JSON contains too many levels of nesting; maximum is 6",
        ),
        (br#"{"state":{},"version":7}"#.to_vec(), 409, "ConflictException", "Version conflict"),
        (
            b"{\"state\":\xff}".to_vec(),
            415,
            "UnsupportedDocumentEncodingException",
            "Unsupported documented encoding; supported encoding is UTF-8",
        ),
        (
            desired(&json!({ "a": "x".repeat(9_000) }).to_string()),
            413,
            large,
            "The payload exceeds the maximum size allowed",
        ),
        (vec![b' '; 200_000], 413, large, "The payload exceeds the maximum size allowed"),
    ];
    for (body, status, kind, sentence) in cases {
        let text = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let refused = hub.aws("POST", LAMP, &key, &body).await;
        assert_eq!(refused.is_aws(status, kind), sentence, "{text}");
    }
    for path in ["?name=", "?name=a%2Fb", "?name=a&name=b"] {
        hub.aws("GET", &format!("{LAMP}{path}"), &key, b"").await.is_aws(400, invalid);
    }
    for page in ["nextToken=%20", "pageSize=0", "pageSize=101", "pageSize=x"] {
        let path = format!("/api/things/shadow/ListNamedShadowsForThing/lamp-1?{page}");
        hub.aws("GET", &path, &key, b"").await.is_aws(400, invalid);
    }
    hub.aws("PUT", LAMP, &key, ON).await.is_aws(405, "MethodNotAllowedException");
    hub.aws("GET", "/things", &key, b"").await.is_aws(404, "UnknownOperationException");
    assert_eq!(hub.aws("GET", LAMP, &key, b"").await.json()["version"], 1);
    hub.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reaches_its_own_thing_by_its_certificate_and_no_other() {
    let hub = Hub::start().await;
    let (own, other) = (lamp(&hub, "lamp-1").await, lamp(&hub, "lamp-2").await);
    let (certificate, fingerprint) = hub.certificate(&own).await;
    let reported = br#"{"state":{"reported":{"on":false}}}"#;
    assert_eq!(hub.aws("POST", LAMP, &certificate, reported).await.status, 200);
    let whole = hub.aws("GET", &format!("/things/{own}/shadow"), &certificate, b"").await;
    assert_eq!(whole.json()["state"]["reported"], json!({ "on": false }));
    let list = "/api/things/shadow/ListNamedShadowsForThing";
    assert_eq!(hub.aws("GET", &format!("{list}/lamp-1"), &certificate, b"").await.status, 200);
    let mut refusals: Vec<Answer> = Vec::new();
    for thing in ["lamp-2", &*other, "nobody", "01kabcdefghjkmnpqrstvwxyz0"] {
        for (method, path) in [("GET", format!("/things/{thing}/shadow")), ("GET", format!("{list}/{thing}"))]
        {
            refusals.push(hub.aws(method, &path, &certificate, b"").await);
        }
        refusals.push(hub.aws("POST", &format!("/things/{thing}/shadow"), &certificate, ON).await);
    }
    for refused in &refusals {
        assert_eq!(refused.is_aws(403, "ForbiddenException"), "Forbidden");
        assert_eq!(refused.body, refusals[0].body, "what is there looks like what is not");
    }
    hub.get(&format!("/devices/{other}/shadow")).await.is(404, "not_found");
    let path = format!("/devices/{own}/certificates/{fingerprint}");
    assert_eq!(hub.delete(&path).await.status, 204);
    hub.aws("GET", LAMP, &certificate, b"").await.is_aws(403, "ForbiddenException");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_secret_of_a_token_that_holds_is_let_in() {
    let hub = Hub::start().await;
    lamp(&hub, "lamp-1").await;
    // So late that it waits for no try before it.
    let get = async |proof: Proof| {
        hub.clock.advance(Span::minutes(16));
        hub.aws("GET", LAMP, &proof, b"").await
    };
    let is_in = async |key: &AccessKey| {
        get(Proof::Key(key.clone())).await.is_aws(404, "ResourceNotFoundException");
    };
    let key = hub.access_key("ci", "viewer").await;
    is_in(&key).await;
    hub.aws("POST", LAMP, &Proof::Key(key.clone()), ON).await.is_aws(403, "ForbiddenException");
    get(Proof::Nothing).await.is_aws(403, "MissingAuthenticationTokenException");
    let invalid = "InvalidSignatureException";
    let wrong = get(Proof::Key(AccessKey { secret: "wrong".to_owned(), ..key.clone() })).await;
    wrong.is_aws(403, invalid);
    let plain = hub.post("/tokens", json!({ "name": "plain", "role": "admin" })).await;
    assert_eq!(plain.json()["access_key_id"], json!(null));
    let no_id = "01kabcdefghjkmnpqrstvwxyz0".to_owned();
    let all_the_same = [
        ("a key that nobody has", AccessKey { id: no_id, ..key.clone() }),
        ("a key that is no id", AccessKey { id: "AKIDEXAMPLE".to_owned(), ..key.clone() }),
        (
            "a token without a key",
            AccessKey { id: plain.string("id"), secret: plain.string("token"), ..key.clone() },
        ),
        ("another body", AccessKey { body: Some(b"another"), ..key.clone() }),
        ("no body", AccessKey { also: Some(("x-amz-content-sha256", "UNSIGNED-PAYLOAD")), ..key.clone() }),
    ];
    for (what, other) in all_the_same {
        let refused = get(Proof::Key(other)).await;
        assert_eq!((refused.status, &refused.body), (403, &wrong.body), "{what}");
    }
    for ahead in [Span::minutes(16), Span::minutes(-16)] {
        let sentence = get(Proof::Key(AccessKey { ahead, ..key.clone() })).await.is_aws(403, invalid);
        assert!(sentence.contains("15 minutes"), "{sentence}");
    }
    let session = AccessKey { also: Some(("x-amz-security-token", "s")), ..key.clone() };
    get(Proof::Key(session)).await.is_aws(403, "IncompleteSignatureException");
    is_in(&key).await;
    assert_eq!(hub.delete(&format!("/tokens/{}", key.token)).await.status, 204);
    assert_eq!(get(Proof::Key(key.clone())).await.body, wrong.body, "a revoked one");
    let expires_at = "2027-01-16T08:00:00Z";
    let new = json!({ "name": "short", "role": "viewer", "access_key": true, "expires_at": expires_at });
    let made = hub.post("/tokens", new).await;
    let short =
        AccessKey { id: made.string("access_key_id"), secret: made.string("secret_access_key"), ..key };
    is_in(&short).await;
    hub.clock.advance(Span::days(1));
    assert_eq!(get(Proof::Key(short)).await.body, wrong.body, "an expired one");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_down_told_and_keep_nobody_out() {
    let hub = Hub::start().await;
    lamp(&hub, "lamp-1").await;
    let key = hub.access_key("ci", "viewer").await;
    let wrong = Proof::Key(AccessKey { secret: "wrong".to_owned(), ..key.clone() });
    for _ in 0..5 {
        hub.aws("GET", LAMP, &wrong, b"").await.is_aws(403, "InvalidSignatureException");
    }
    let slowed = hub.aws("GET", LAMP, &wrong, b"").await;
    slowed.is_aws(429, "ThrottlingException");
    assert_eq!(slowed.header("retry-after"), Some("2"));
    hub.aws("GET", LAMP, &Proof::Key(key.clone()), b"").await.is_aws(404, "ResourceNotFoundException");
    let told = hub.get("/activity?kind=login_failed").await.json();
    assert_eq!(told["items"].as_array().map(Vec::len), Some(5), "{told}");
    assert_eq!(told["items"][0]["subject_name"], json!(key.id));
    let made = hub.post("/users", json!({ "name": "bo", "role": "admin" })).await;
    let login = json!({ "name": "bo", "password": made.string("password") });
    let entered = hub.call("POST", "/login", &Caller::default(), Some(&login)).await;
    assert_eq!(entered.status, 200, "people at its address are not slowed down: {entered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_an_access_key_is_nowhere_in_the_data_folder() {
    let hub = Hub::start().await;
    let key = hub.access_key("ci", "viewer").await;
    hub.aws("GET", LAMP, &Proof::Key(key.clone()), b"").await;
    let mut files = 0;
    for entry in std::fs::read_dir(hub.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let is_there = bytes.windows(key.secret.len()).any(|part| part == key.secret.as_bytes());
            assert!(!is_there, "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 2, "{files}");
    let listed = hub.get("/tokens").await;
    assert!(listed.text().contains(&key.id) && !listed.text().contains(&key.secret), "{listed:?}");
}
