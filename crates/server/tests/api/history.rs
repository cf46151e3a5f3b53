//! History, export and the catalogue of metrics: what months of points become for people and programs.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Hub, START};

const HOUR: i64 = 3_600_000;

/// A board with three hours of two metrics, a point a minute, half of it merged; its id and its connection.
async fn filled(hub: &Hub) -> (String, Publisher) {
    let (id, credential) = hub.board("Lamp", 1, &["kitchen"]).await;
    let mut board = Publisher::connect(hub, "1", &credential).await.unwrap();
    let begin = START.0 - START.0 % HOUR - 4 * HOUR;
    for hour in 0..3 {
        let point = |i: i64| json!({ "ts": begin + hour * HOUR + i * 60_000, "t": i, "door": if i < 30 { "open" } else { "shut" } });
        let all: Vec<Value> = (0..60).map(point).collect();
        board.publish("devices/1/telemetry", json!(all).to_string().as_bytes()).await.unwrap();
        if hour == 1 {
            hub.clock.advance(Span::minutes(61));
        }
    }
    (id, board)
}

#[tokio::test]
async fn a_range_comes_in_buckets() {
    let hub = Hub::start().await;
    let (id, _board) = filled(&hub).await;
    let begin = START.0 - START.0 % HOUR - 4 * HOUR;
    let range = format!("from={begin}&to={}", begin + 3 * HOUR);
    let answer = hub
        .get(&format!("/telemetry?series={id}:t&series={id}:door&series={id}:none&{range}&buckets=3"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let history = answer.json();
    assert_eq!((&history["width"], &history["from"]), (&json!(HOUR), &json!(begin)));
    let number = &history["series"][0];
    let starts = [begin, begin + HOUR, begin + 2 * HOUR];
    assert_eq!(number["start"], json!(starts));
    assert_eq!((&number["count"], &number["min"]), (&json!([60, 60, 60]), &json!([0.0, 0.0, 0.0])));
    assert_eq!((&number["max"], &number["avg"]), (&json!([59.0, 59.0, 59.0]), &json!([29.5, 29.5, 29.5])));
    assert_eq!((&number["sum"], &number["value"]), (&json!([1770.0, 1770.0, 1770.0]), &json!([59, 59, 59])));
    assert_eq!(number["last"][0], json!(begin + 59 * 60_000));
    let door = &history["series"][1];
    assert_eq!((&door["value"], &door["changes"]), (&json!(["shut", "shut", "shut"]), &json!([1, 1, 1])));
    assert_eq!(door["min"], json!([null, null, null]));
    assert_eq!(history["series"][2]["start"], json!([]), "nothing is known of it");
    let own = hub.get(&format!("/devices/{id}/telemetry?buckets=2")).await.json();
    assert_eq!(own["series"].as_array().unwrap().len(), 2);
    assert_eq!(
        own["series"][1]["count"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).sum::<i64>(),
        180
    );
    let edge = format!("from={}&to={}", begin + 90_000, begin + 200_000);
    let edge = hub.get(&format!("/telemetry?series={id}:t&{edge}&buckets=100")).await.json();
    assert_eq!(edge["series"][0]["value"], json!([2, 3]), "exact at the edges: {edge}");
}

#[tokio::test]
async fn what_cannot_be_asked_of_history_is_refused() {
    let hub = Hub::start().await;
    let (id, _) = hub.board("Lamp", 1, &[]).await;
    let cases = [
        (String::new(), "series"),
        (format!("series={id}"), "series"),
        (format!("series={id}:"), "series"),
        (format!("series={id}:t&buckets=0"), "buckets"),
        (format!("series={id}:t&buckets=1"), "buckets"),
        (format!("series={id}:t&buckets=5001"), "buckets"),
        (format!("series={id}:t&buckets=-1"), "buckets"),
        (format!("series={id}:t&from=2&to=1"), "to"),
        (format!("series={id}:t&from=NaN"), "from"),
        (format!("series={id}:t&colour=red"), "query"),
        (vec![format!("series={id}:t"); 51].join("&"), "series"),
    ];
    for (query, field) in cases {
        hub.get(&format!("/telemetry?{query}")).await.refuses(field, "");
    }
    assert_eq!(hub.get("/telemetry?series=01kabcdefghjkmnpqrstvwxyz0:t").await.status, 404);
    hub.get(&format!("/devices/{id}/telemetry?buckets=0")).await.refuses("buckets", "2 to 5000");
    hub.get(&format!("/devices/{id}/telemetry?buckets=9&from=2&to=1"))
        .await
        .refuses("to", "before it begins");
    let wide = format!("/telemetry?series={id}:t&from={}&to={}", i64::MIN, i64::MAX);
    assert_eq!(hub.get(&wide).await.status, 200);
    for (query, field) in [
        (format!("device={id}"), "format"),
        ("format=csv".to_owned(), "selector"),
        (format!("format=xls&device={id}"), "format"),
        (format!("format=csv&device={id}&from=2&to=1"), "to"),
        ("format=csv&selector=tag%3D".to_owned(), "selector"),
        (format!("format=csv&device={id}&x=y"), "query"),
    ] {
        hub.get(&format!("/telemetry/export?{query}")).await.refuses(field, "");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn the_greatest_numbers_have_an_average() {
    let hub = Hub::start().await;
    let (id, credential) = hub.board("Lamp", 1, &[]).await;
    let mut board = Publisher::connect(&hub, "1", &credential).await.unwrap();
    let all = format!("[{{\"ts\":{0},\"t\":1e308}},{{\"ts\":{1},\"t\":1.5e308}}]", START.0, START.0 + 1);
    board.publish("devices/1/telemetry", all.as_bytes()).await.unwrap();
    let history = hub
        .get(&format!("/telemetry?series={id}:t&buckets=2&from={}&to={}", START.0, START.0 + 60_000))
        .await
        .json();
    let series = &history["series"][0];
    assert_eq!((&series["avg"], &series["sum"]), (&json!([1.25e308]), &json!([null])));
}

#[tokio::test]
async fn an_export_has_every_point() {
    let hub = Hub::start().await;
    let (id, mut board) = filled(&hub).await;
    board.publish("devices/1/telemetry", br#"{"note":"a \"b\", c"}"#).await.unwrap();
    let csv = hub.get("/telemetry/export?format=csv&selector=tag%3Dkitchen").await;
    assert_eq!((csv.status, csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let text = csv.text();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!((lines.len(), lines[0]), (362, "device,name,metric,time,time_ms,arrived_ms,value"));
    assert!(lines.iter().any(|line| line.ends_with(r#","a ""b"", c""#)), "{lines:?}");
    let lines = hub.get(&format!("/telemetry/export?format=ndjson&series={id}:t")).await.text();
    let values: Vec<i64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].as_i64().unwrap())
        .collect();
    assert_eq!(values, (0..3).flat_map(|_| 0..60).collect::<Vec<_>>());
    let some =
        hub.get(&format!("/telemetry/export?format=ndjson&device={id}&metric=note&from=0")).await.text();
    assert_eq!(some.lines().count(), 1);
    let empty = hub.get("/telemetry/export?format=csv&selector=tag%3Dnone").await.text();
    assert_eq!(empty.lines().count(), 1, "the head alone");
}

#[tokio::test]
async fn metrics_have_units_and_names() {
    let hub = Hub::start().await;
    let (id, _board) = filled(&hub).await;
    let edited =
        hub.patch("/metrics/t", json!({ "unit": "°C", "display_name": "Temperature", "decimals": 1 })).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    assert_eq!((&edited.json()["unit"], &edited.json()["devices"]), (&json!("°C"), &json!(1)));
    hub.patch("/metrics/do*", json!({ "points_days": 7 })).await;
    let list = hub.get("/metrics").await.json();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["do*", "door", "t"]);
    assert_eq!((&list["items"][1]["points_days"], &list["items"][2]["points_days"]), (&json!(7), &json!(90)));
    let history = hub.get(&format!("/telemetry?series={id}:t")).await.json();
    let series = &history["series"][0];
    assert_eq!(
        (&series["unit"], &series["display_name"], &series["decimals"]),
        (&json!("°C"), &json!("Temperature"), &json!(1))
    );
    hub.patch("/metrics/t", json!({ "unit": null })).await;
    assert_eq!(hub.get("/metrics?q=T").await.json()["items"][0]["unit"], json!(null));
    for (body, field) in [
        (json!({ "unit": "a unit that is long" }), "unit"),
        (json!({ "display_name": "" }), "display_name"),
        (json!({ "decimals": 10 }), "decimals"),
        (json!({ "points_days": 40_000 }), "points_days"),
    ] {
        hub.patch("/metrics/t", body).await.refuses(field, "");
    }
    hub.patch("/metrics/t", json!({ "color": "red" })).await.is(400, "invalid");
    hub.patch(&format!("/metrics/{}", "x".repeat(65)), json!({})).await.refuses("metric", "64");
    assert_eq!(hub.delete("/metrics/t").await.status, 204);
    assert_eq!(hub.delete("/metrics/t").await.status, 404);
    assert_eq!(hub.get("/activity?kind=metric_edited").await.json()["items"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn old_points_go_and_their_roll_ups_stay() {
    let hub = Hub::start().await;
    let (id, _board) = filled(&hub).await;
    hub.patch("/metrics/t", json!({ "points_days": 2 })).await;
    hub.until("old points are removed", || async {
        // What is not merged yet goes a day later.
        hub.clock.advance(Span::days(1));
        let facts = hub.get("/activity?kind=telemetry_aged").await.json();
        let facts = facts["items"].as_array().unwrap().clone();
        let removed: i64 = facts.iter().map(|fact| fact["before"]["points"].as_i64().unwrap()).sum();
        (removed == 180).then_some(())
    })
    .await;
    let points = hub.get(&format!("/devices/{id}/telemetry?metric=t")).await.json();
    assert_eq!(points["items"], json!([]));
    let door = hub.get(&format!("/devices/{id}/telemetry?metric=door")).await.json();
    assert_eq!(door["items"].as_array().unwrap().len(), 180, "others stay");
    let history = hub.get(&format!("/telemetry?series={id}:t&buckets=1000")).await.json();
    let count: i64 =
        history["series"][0]["count"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).sum();
    assert_eq!(count, 180);
    assert_eq!(hub.get("/metrics").await.json()["retention"]["state"], json!("fine"));
}
