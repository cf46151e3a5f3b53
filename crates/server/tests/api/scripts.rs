//! Scripts: versions, differences, the syntax check, and what no script can be.

use serde_json::{Value, json};

use crate::support::{Answer, Hub};

const SOURCE_MAX: usize = 64 * 1024;

async fn create(hub: &Hub, fields: Value) -> Answer {
    let mut new = json!({ "name": "blink", "language": "lua", "source": "print(1)" });
    for (field, value) in fields.as_object().unwrap() {
        new[field] = value.clone();
    }
    hub.post("/scripts", new).await
}

#[tokio::test]
async fn a_script_has_numbered_versions_that_do_not_change() {
    let hub = Hub::start().await;
    let made =
        create(&hub, json!({ "description": "two\nlines", "category": " light ", "comment": "first" })).await;
    assert_eq!(made.status, 201);
    let id = made.string("id");
    assert_eq!(made.json(), json!({ "id": id, "version": 1, "number": 1, "syntax": { "ok": true } }));
    let path = format!("/scripts/{id}");
    let expected = json!({
        "id": id, "number": 1, "name": "blink", "description": "two\nlines", "category": "light",
        "language": "lua", "requires": [], "latest_version": 1, "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z", "devices": 0,
    });
    assert_eq!(hub.get(&path).await.json(), expected);
    assert_eq!(hub.get("/scripts").await.json(), json!({ "items": [expected], "total": 1 }));
    let versions = format!("{path}/versions");
    let second =
        hub.post(&versions, json!({ "source": "print(2)", "comment": "second", "based_on": 1 })).await;
    assert_eq!((second.status, second.json()), (201, json!({ "version": 2, "syntax": { "ok": true } })));
    let before = hub.last_seq().await;
    hub.post(&versions, json!({ "source": "print(3)", "based_on": 1 })).await.is(409, "stale");
    hub.post(&versions, json!({ "source": "print(3)", "based_on": 9 })).await.is(409, "stale");
    let same = hub.post(&versions, json!({ "source": "print(2)", "comment": "again", "based_on": 2 })).await;
    assert_eq!((same.status, &same.json()["version"]), (200, &json!(2)), "the same source is no new version");
    assert_eq!(hub.last_seq().await, before);
    let back = hub.post(&versions, json!({ "source": "print(1)" })).await;
    assert_eq!((back.status, &back.json()["version"]), (201, &json!(3)), "an older source is a new version");
    let listed = hub.get(&versions).await.json();
    let numbers: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|v| &v["version"]).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let first = hub.get(&format!("{versions}/1")).await.json();
    assert_eq!((&first["source"], &first["comment"]), (&json!("print(1)"), &json!("first")));
    assert_eq!((&first["author"], &first["size_bytes"]), (&json!("ada"), &json!(8)));
    assert_eq!(first["digest"], listed["items"][0]["digest"], "the same bytes");
    for number in ["0", "4", "-1", "x", "9223372036854775808", "1.0", "%2e%2e"] {
        hub.get(&format!("{versions}/{number}")).await.is(404, "not_found");
    }
    let other = create(&hub, json!({ "name": "other" })).await;
    assert_eq!(other.json()["number"], 2);
}

#[tokio::test]
async fn two_who_save_at_once_get_two_versions_or_a_refusal() {
    let hub = Hub::start().await;
    let id = hub.script("blink", "print(0)").await;
    let path = format!("/scripts/{id}/versions");
    let saves = (0..8).map(|n| hub.post(&path, json!({ "source": format!("print('a{n}')"), "based_on": 1 })));
    let answers: Vec<Answer> = futures_util::future::join_all(saves).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    answers.iter().filter(|answer| answer.status != 201).for_each(|answer| answer.is(409, "stale"));
    let saves = (0..8).map(|n| hub.post(&path, json!({ "source": format!("print('b{n}')") })));
    let answers: Vec<Answer> = futures_util::future::join_all(saves).await;
    let mut numbers: Vec<i64> = answers.iter().map(|a| a.json()["version"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (3..=10).collect::<Vec<i64>>(), "each has its own");
}

#[tokio::test]
async fn what_no_script_can_be_is_refused_and_changes_nothing() {
    let hub = Hub::start().await;
    let id = hub.script("taken", "print(1)").await;
    let before = hub.last_seq().await;
    let huge = "-".repeat(SOURCE_MAX + 1);
    let cases = [
        ("name", json!({ "name": "" }), "1 to 80"),
        ("name", json!({ "name": "x".repeat(10_000) }), "1 to 80"),
        ("name", json!({ "name": "a\0" }), "control"),
        ("language", json!({ "language": "basic" }), "lua"),
        ("source", json!({ "source": "" }), "empty"),
        ("source", json!({ "source": " \n\t " }), "empty"),
        ("source", json!({ "source": "print(1)\0" }), "NUL"),
        ("description", json!({ "description": "x".repeat(2001) }), "2000"),
        ("category", json!({ "category": "x".repeat(41) }), "40"),
        ("comment", json!({ "comment": "x".repeat(2001) }), "2000"),
    ];
    for (field, fields, part) in cases {
        create(&hub, fields).await.refuses(field, part);
    }
    create(&hub, json!({ "name": "taken" })).await.is(409, "name_taken");
    let path = format!("/scripts/{id}");
    for answer in [
        create(&hub, json!({ "source": huge })).await,
        hub.post(&format!("{path}/versions"), json!({ "source": huge })).await,
        hub.post("/scripts/check", json!({ "language": "lua", "source": huge })).await,
    ] {
        answer.is(413, "too_large");
        assert_eq!(answer.json()["field"], "source");
    }
    for body in [json!({ "source": "" }), json!({ "source": "\0" }), json!({ "comment": "x" })] {
        hub.post(&format!("{path}/versions"), body).await.is(400, "invalid");
    }
    for fields in
        [json!({ "number": 1 }), json!({ "id": id }), json!({ "source": 1 }), json!({ "source": null })]
    {
        create(&hub, fields).await.is(400, "invalid");
    }
    hub.patch(&path, json!({ "source": "print(2)" })).await.is(400, "invalid");
    hub.patch(&path, json!({ "name": "" })).await.refuses("name", "1 to 80");
    assert_eq!(hub.last_seq().await, before);
    assert_eq!(hub.get("/scripts").await.json()["total"], 1);
    let largest = create(&hub, json!({ "source": "-".repeat(SOURCE_MAX) })).await;
    assert_eq!(largest.status, 201, "{largest:?}");
    for method in ["GET", "PATCH", "DELETE"] {
        for no in ["01kabcdefghjkmnpqrstvwxyz0", "1", "..%2f..", "x"] {
            let body = (method == "PATCH").then(|| json!({}));
            let answer = hub.call(method, &format!("/scripts/{no}"), &hub.ada, body.as_ref()).await;
            answer.is(404, "not_found");
        }
    }
    hub.is_well().await;
}

#[tokio::test]
async fn a_script_that_does_not_compile_is_kept_but_not_deployed() {
    let hub = Hub::start().await;
    let (device, _) = hub.board("Lamp", 1, &[]).await;
    let cases = [
        ("print(1)\nlocal x = = 2", 2),
        ("for i = 1, 3 do\nprint(i)\n", 3),
        ("\u{1b}Lua", 1),
        ("print('\u{fffd}\n", 1),
        (&"(".repeat(60_000), 1),
        (&"{".repeat(60_000), 1),
        (&format!("x = {}1", "not ".repeat(15_000)), 1),
        (&format!("return {}", "a..".repeat(20_000)), 1),
    ];
    for (number, (source, line)) in cases.into_iter().enumerate() {
        let checked = hub.post("/scripts/check", json!({ "language": "lua", "source": source })).await;
        assert_eq!(
            (checked.status, &checked.json()["ok"]),
            (200, &json!(false)),
            "{source:.20}: {checked:?}"
        );
        assert_eq!(checked.json()["line"], line, "{source:.20}: {}", checked.text());
        let made = create(&hub, json!({ "name": format!("broken {number}"), "source": source })).await;
        assert_eq!((made.status, &made.json()["syntax"]), (201, &checked.json()));
        let deployment = json!({ "script": made.string("id"), "version": 1, "devices": [device] });
        let refused = hub.post("/deployments", deployment).await;
        refused.is(422, "script_syntax");
        assert_eq!(refused.json()["line"], line);
    }
    let checked = hub.post("/scripts/check", json!({ "language": "lua", "source": "" })).await;
    assert_eq!(checked.json(), json!({ "ok": true }), "an empty editor has no error");
    let mended = hub.script("mended", "print(").await;
    let saved = hub.post(&format!("/scripts/{mended}/versions"), json!({ "source": "print()" })).await;
    assert_eq!(saved.json()["syntax"], json!({ "ok": true }));
    assert_eq!(hub.post("/deployments", json!({ "script": mended, "devices": [device] })).await.status, 201);
    hub.is_well().await;
}

#[tokio::test]
async fn differences_are_told_line_by_line() {
    let hub = Hub::start().await;
    let id = hub.script("blink", "a = 1\nb = 2\nc = 3").await;
    let saved = json!({ "source": "a = 1\nb = 22\nc = 3\nd = 4\n" });
    assert_eq!(hub.post(&format!("/scripts/{id}/versions"), saved).await.status, 201);
    let line = |op: &str, old: Option<i64>, new: Option<i64>, text: &str| json!({ "op": op, "old": old, "new": new, "text": text });
    let diff = hub.get(&format!("/scripts/{id}/diff?from=1&to=2")).await.json();
    let lines = diff["lines"].as_array().unwrap();
    assert_eq!(
        lines[..3],
        [
            line(" ", Some(1), Some(1), "a = 1"),
            line("-", Some(2), None, "b = 2"),
            line("+", None, Some(2), "b = 22"),
        ],
        "{diff}"
    );
    assert_eq!(lines.last().unwrap(), &line("+", None, Some(4), "d = 4"));
    let same = hub.get(&format!("/scripts/{id}/diff?from=2&to=2")).await.json();
    assert!(same["lines"].as_array().unwrap().iter().all(|line| line["op"] == " "));
    hub.get(&format!("/scripts/{id}/diff?from=1&to=3")).await.is(404, "not_found");
    for query in ["", "?from=1", "?from=x&to=1", "?from=1&to=99999999999999999999"] {
        hub.get(&format!("/scripts/{id}/diff{query}")).await.is(400, "invalid");
    }
}

#[tokio::test]
async fn two_large_versions_are_compared_in_a_moment() {
    let hub = Hub::start().await;
    let lines = |seed: u64| (0..8000).map(|n| format!("{}\n", (n * seed) % 7919 % 97)).collect::<String>();
    let id = hub.script("large", &format!("--[[\n{}]]", lines(31))).await;
    let saved = json!({ "source": format!("--[[\n{}]]", lines(57)) });
    assert_eq!(hub.post(&format!("/scripts/{id}/versions"), saved).await.status, 201);
    let diff = hub.get(&format!("/scripts/{id}/diff?from=1&to=2")).await;
    assert_eq!(diff.status, 200);
}

#[tokio::test]
async fn words_are_changed_and_a_script_in_use_is_not_deleted() {
    let hub = Hub::start().await;
    let (device, _) = hub.board("Lamp", 1, &[]).await;
    let id = hub.script("blink", "print(1)").await;
    let other = hub.script("other", "print(1)").await;
    let path = format!("/scripts/{id}");
    let edited = hub.patch(&path, json!({ "name": "<i>'blink'</i>", "category": "x" })).await.json();
    assert_eq!((&edited["name"], &edited["category"]), (&json!("<i>'blink'</i>"), &json!("x")));
    hub.patch(&path, json!({ "name": "other" })).await.is(409, "name_taken");
    assert_eq!(hub.put(&format!("/devices/{device}/scripts/{id}")).await.status, 204);
    let refused = hub.delete(&path).await;
    refused.is(409, "in_use");
    assert!(refused.string("detail").contains("1 device"), "{}", refused.text());
    assert_eq!(hub.get(&path).await.json()["devices"], 1);
    assert_eq!(hub.delete(&format!("/devices/{device}/scripts/{id}")).await.status, 204);
    assert_eq!(hub.delete(&path).await.status, 204);
    hub.get(&path).await.is(404, "not_found");
    hub.get(&format!("{path}/versions")).await.is(404, "not_found");
    hub.deploy(&other, 1, &[&device]).await;
    hub.delete(&format!("/scripts/{other}")).await.is(409, "in_use");
    let found = hub.get("/scripts?q=OTH").await.json();
    assert_eq!((&found["total"], &found["items"][0]["name"]), (&json!(1), &json!("other")));
    assert_eq!(hub.get("/scripts?q=%25").await.json()["total"], 0);
}

#[tokio::test]
async fn a_deleted_script_leaves_history_readable() {
    let hub = Hub::start().await;
    let (device, _) = hub.board("Lamp", 1, &[]).await;
    let id = hub.script("blink", "print(1)").await;
    let deployment = hub.deploy(&id, 1, &[&device]).await;
    assert_eq!(hub.delete(&format!("/devices/{device}")).await.status, 204);
    assert_eq!(hub.delete(&format!("/scripts/{id}")).await.status, 204);
    let left = hub.get(&format!("/deployments/{deployment}")).await;
    assert_eq!(left.status, 200, "{left:?}");
    assert_eq!(hub.get("/deployments").await.status, 200);
    assert_eq!(hub.get(&format!("/deployments?script={id}")).await.status, 200);
    for action in ["retry", "rollback"] {
        let answer = hub.post(&format!("/deployments/{deployment}/{action}"), json!({})).await;
        answer.is(409, "conflict");
    }
    hub.is_well().await;
}
