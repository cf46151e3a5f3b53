//! Telemetry: what devices publish is what the API answers, in ranges, and what cannot be true is refused.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Answer, Hub, START};

/// A hub, the path of a board, and the board's connection.
async fn board(hub: &Hub) -> (String, Publisher) {
    let (id, credential) = hub.board("Lamp", 1, &[]).await;
    let publisher = Publisher::connect(hub, "1", &credential).await.unwrap();
    (format!("/devices/{id}"), publisher)
}

/// Metric, time and value of each point.
fn points(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| json!([item["metric"], item["time"], item["value"]])).collect()
}

#[tokio::test]
async fn every_form_of_payload_is_stored_as_it_was_meant() {
    let hub = Hub::start().await;
    let (path, mut board) = board(&hub).await;
    let t = START.0;
    let cases = [
        ("21.5", json!([["value", t, 21.5]])),
        ("-0", json!([["value", t, 0]])),
        ("true", json!([["value", t, true]])),
        ("\"<b>open</b>\"", json!([["value", t, "<b>open</b>"]])),
        (r#"{"t":21.5,"open":false,"none":null}"#, json!([["open", t, false], ["t", t, 21.5]])),
        (r#"{"ts":1700000000000,"t":1}"#, json!([["t", 1_700_000_000_000_i64, 1]])),
        (r#"{"ts":1700000000,"values":{"t":1}}"#, json!([["t", 1_700_000_000_000_i64, 1]])),
        (r#"{"metric":"t","value":1,"timestamp":1700000000000}"#, json!([["t", 1_700_000_000_000_i64, 1]])),
        (
            r#"[{"ts":1700000001000,"t":2},{"ts":1700000000000,"t":1}]"#,
            json!([["t", 1_700_000_000_000_i64, 1], ["t", 1_700_000_001_000_i64, 2]]),
        ),
        (r#"{"p":{"x":[1,2]}}"#, json!([["p", t, { "x": [1, 2] }]])),
        (r#"{"a/b c<i>'\"":1}"#, json!([["a/b c<i>'\"", t, 1]])),
        (
            r#"{"n":9007199254740993,"e":1e300}"#,
            json!([["e", t, 1e300], ["n", t, 9_007_199_254_740_992_f64]]),
        ),
    ];
    for (number, (payload, expected)) in (2_u32..).zip(cases) {
        let (id, credential) = hub.board("Lamp", number, &[]).await;
        let mut own = Publisher::connect(&hub, &number.to_string(), &credential).await.unwrap();
        own.publish(&format!("devices/{number}/telemetry"), payload.as_bytes()).await.unwrap();
        let mut got = points(&hub.get(&format!("/devices/{id}/telemetry")).await);
        got.as_array_mut().unwrap().sort_by_key(|point| (point[1].as_i64(), point[0].to_string()));
        assert_eq!(got, expected, "{payload}");
    }
    board.publish("devices/1/telemetry", br#"{"t":21.5,"on":true,"s":"x","j":[1]}"#).await.unwrap();
    let metrics = hub.get(&format!("{path}/metrics")).await.json();
    let mut kinds: Vec<Value> =
        metrics["items"].as_array().unwrap().iter().map(|m| json!([m["metric"], m["kind"]])).collect();
    kinds.sort_by_key(Value::to_string);
    assert_eq!(json!(kinds), json!([["j", "json"], ["on", "boolean"], ["s", "text"], ["t", "number"]]));
    hub.is_well().await;
}

#[tokio::test]
async fn a_range_is_the_newest_points_of_it_oldest_first() {
    let hub = Hub::start().await;
    let (path, mut board) = board(&hub).await;
    let t = 1_700_000_000_000_i64;
    // Out of order, one of them twice, two values at one time, and late ones after a newer one was stored.
    let sent = [(5, 5.0), (1, 1.0), (3, 3.0), (3, 3.0), (3, 3.5), (2, 2.0), (4, 4.0)];
    for (second, value) in sent {
        let payload = json!({ "ts": t + second * 1000, "values": { "t": value } }).to_string();
        board.publish("devices/1/telemetry", payload.as_bytes()).await.unwrap();
    }
    let other = json!({ "ts": t + 2500, "values": { "other": "x" } }).to_string();
    board.publish("devices/1/telemetry", other.as_bytes()).await.unwrap();
    let get = |query: String| {
        let (hub, path) = (&hub, &path);
        async move { hub.get(&format!("{path}/telemetry?{query}")).await }
    };
    let values = |answer: &Answer| -> Vec<f64> {
        let points = points(answer);
        points.as_array().unwrap().iter().map(|point| point[2].as_f64().unwrap()).collect()
    };
    let all = get("metric=t".to_owned()).await;
    let mut found = values(&all);
    let times: Vec<i64> =
        all.json()["items"].as_array().unwrap().iter().map(|item| item["time"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    found.sort_by(f64::total_cmp);
    assert_eq!(found, [1.0, 2.0, 3.0, 3.5, 4.0, 5.0], "twice the same is one, two values are both kept");
    assert_eq!((&all.json()["more"], &all.json()["items"][0]["arrived"]), (&json!(false), &json!(START.0)));
    let newest = get("metric=t&limit=2".to_owned()).await;
    assert_eq!((values(&newest), &newest.json()["more"]), (vec![4.0, 5.0], &json!(true)));
    assert_eq!(get("limit=6".to_owned()).await.json()["items"].as_array().unwrap().len(), 6);
    let range = format!("metric=t&from={}&to={}", t + 2000, t + 4000);
    assert_eq!(values(&get(range).await).len(), 3, "from is in the range, to is not");
    let range = "metric=t&from=2023-11-14T22:13:24Z&to=2023-11-14T23:13:26%2B01:00".to_owned();
    assert_eq!(values(&get(range).await), [4.0, 5.0]);
    for empty in [
        "metric=unknown".to_owned(),
        "metric=".to_owned(),
        format!("from={}&to={}", t + 4000, t + 2000),
        format!("from={t}&to={t}"),
        format!("from={}", i64::MAX),
        format!("to={}", i64::MIN),
        "metric=%00".to_owned(),
        format!("metric={}", "x".repeat(5000)),
    ] {
        let answer = get(empty.clone()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "items": [], "more": false })), "{empty}");
    }
    let whole = format!("from={}&to={}&limit=100000", i64::MIN, i64::MAX);
    assert_eq!(get(whole).await.json()["items"].as_array().unwrap().len(), 7);
    let refused = [
        ("from=yesterday", "from"),
        ("from=", "from"),
        ("to=2023-13-45T00:00:00Z", "to"),
        ("to=9223372036854775808", "to"),
        ("from=1e5", "from"),
        ("limit=0", "limit"),
        ("limit=100001", "limit"),
    ];
    for (query, field) in refused {
        get(query.to_owned()).await.refuses(field, "");
    }
    for query in ["limit=-1", "limit=x", "metrics=t", "from=1&from=2"] {
        get(query.to_owned()).await.is(400, "invalid");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn telemetry_survives_its_merging() {
    let hub = Hub::start().await;
    let (path, mut board) = board(&hub).await;
    let before = json!({ "t": 1, "text": "x", "json": { "a": 1 }, "on": true }).to_string();
    board.publish("devices/1/telemetry", before.as_bytes()).await.unwrap();
    let sorted = |answer: Answer| {
        let mut items = answer.json()["items"].as_array().unwrap().clone();
        items.sort_by_key(Value::to_string);
        items
    };
    let expected = sorted(hub.get(&format!("{path}/telemetry")).await);
    for _ in 0..4 {
        hub.clock.advance(Span::minutes(61));
        let late = json!({ "ts": START.0, "values": { "late": 1 } }).to_string();
        board.publish("devices/1/telemetry", late.as_bytes()).await.unwrap();
        let found = sorted(hub.get(&format!("{path}/telemetry?to={}", START.0 + 1)).await);
        let old: Vec<Value> = found.into_iter().filter(|item| item["metric"] != "late").collect();
        assert_eq!(old, expected);
    }
    let late = hub.get(&format!("{path}/telemetry?metric=late")).await;
    assert_eq!(points(&late), json!([["late", START.0, 1]]), "a repeated point is stored once");
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_years_is_mended_and_its_owner_is_told() {
    let hub = Hub::start().await;
    let day = 86_400_000;
    for (number, time) in (1_u32..).zip([946_684_799_999, START.0 + day + 1, i64::MAX, i64::MIN, 5]) {
        let (id, credential) = hub.board("Lamp", number, &[]).await;
        let mut own = Publisher::connect(&hub, &number.to_string(), &credential).await.unwrap();
        let payload = json!([{ "ok": 1 }, { "ts": time, "t": 1 }]).to_string();
        own.publish(&format!("devices/{number}/telemetry"), payload.as_bytes()).await.unwrap();
        let points = hub.get(&format!("/devices/{id}/telemetry")).await.json();
        let times: Vec<_> = points["items"].as_array().unwrap().iter().map(|p| p["time"].as_i64()).collect();
        assert_eq!(times, [Some(START.0), Some(START.0)], "{time}");
        let facts = hub.get(&format!("/activity?device={id}&kind=clock_wrong")).await.json();
        assert_eq!(facts["items"].as_array().map(Vec::len), Some(1), "{time}");
    }
}

#[tokio::test]
async fn what_cannot_be_true_is_refused_and_its_owner_is_told() {
    let hub = Hub::start().await;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (br#"{"ts":"now","t":1}"#.to_vec(), "a time is"),
        (b"nonsense".to_vec(), "JSON"),
        (b"".to_vec(), "JSON"),
        (b"\xff\xfe".to_vec(), "byte 0"),
        (b"null".to_vec(), "no measurement"),
        (b"[]".to_vec(), "no measurement"),
        (b"1e999".to_vec(), "JSON"),
        (b"{\"a\\u0000\":1}".to_vec(), "control"),
        (b"\"a\\u0000b\"".to_vec(), "NUL"),
        (format!("\"{}\"", "x".repeat(5000)).into(), "4096"),
        (format!("{{\"{}\":1}}", "x".repeat(65)).into(), "64"),
        (format!("[{}]", vec![r#"{"a":1}"#; 1001].join(",")).into(), "1000"),
        ("[".repeat(100_000).into(), "JSON"),
    ];
    for (number, (payload, part)) in (1_u32..).zip(cases) {
        let (id, credential) = hub.board("Lamp", number, &[]).await;
        let mut own = Publisher::connect(&hub, &number.to_string(), &credential).await.unwrap();
        let _ = own.publish(&format!("devices/{number}/telemetry"), &payload).await;
        let fact = hub
            .until(part, || async {
                let facts = hub.get(&format!("/activity?device={id}&kind=uplink_refused")).await.json();
                facts["items"].get(0).cloned()
            })
            .await;
        let reason = fact["after"]["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(part), "{number}: expected {part:?}: {reason}");
        let kept = hub.get(&format!("/devices/{id}/telemetry")).await.json();
        assert_eq!(kept["items"], json!([]), "{number}: nothing of it is stored");
        own.publish(&format!("devices/{number}/telemetry"), b"1").await.unwrap_or_default();
    }
    let (_, mut lamp) = {
        let (id, credential) = hub.board("Lamp", 1000, &[]).await;
        (id, Publisher::connect(&hub, "1000", &credential).await.unwrap())
    };
    let (fan, _) = hub.board("Fan", 2000, &[]).await;
    let _ = lamp.publish("devices/2000/telemetry", b"1").await;
    assert_eq!(hub.get(&format!("/devices/{fan}/telemetry")).await.json()["items"], json!([]));
    hub.is_well().await;
}
