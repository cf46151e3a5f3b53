//! Import of many devices: good and bad tables, all or the good ones, the credentials once.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Answer, Hub};

async fn import(hub: &Hub, query: &str, table: &[u8]) -> Answer {
    let path = format!("/api/v1/devices/import{query}");
    hub.raw("POST", &path, &hub.ada, &[("Content-Type", "text/csv; charset=utf-8")], table).await
}

async fn total(hub: &Hub) -> i64 {
    hub.get("/devices?limit=1").await.json()["total"].as_i64().unwrap()
}

/// The rows of the credentials, each by its columns.
fn credentials(report: &Answer) -> Vec<Vec<String>> {
    let text = report.string("credentials");
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn a_good_table_is_registered_and_each_credential_works() {
    let hub = Hub::start().await;
    let table = "\u{feff}Name;Dialect;External_id;Tags;Description\r\n\
        \"Lamp; hall\";native;lamp-1;\"hall, light\";\r\nBoard;nodemcu;10801015;;by the door\r\n=1+1;native;;;";
    let preview = import(&hub, "?dry_run=true", table.as_bytes()).await;
    assert_eq!((preview.status, total(&hub).await), (200, 0), "{preview:?}");
    let told = preview.json();
    assert_eq!((&told["rows"], &told["good"], &told["registered"]), (&json!(3), &json!(3), &json!(0)));
    assert_eq!(
        told["preview"][0],
        json!({ "row": 2, "name": "Lamp; hall", "dialect": "native", "external_id": "lamp-1",
            "tags": ["hall", "light"] })
    );
    assert_eq!(told["credentials"], Value::Null);
    let done = import(&hub, "", table.as_bytes()).await;
    assert_eq!((done.status, &done.json()["registered"], total(&hub).await), (200, &json!(3), 3), "{done:?}");
    let rows = credentials(&done);
    assert_eq!(rows[0][..3], ["Lamp; hall", "native", "lamp-1"]);
    assert_eq!(rows[2][0], "'=1+1", "no spreadsheet takes a name for a formula");
    for row in &rows[..2] {
        Publisher::connect(&hub, &row[2], &row[4]).await.unwrap();
    }
    let device = hub.get(&format!("/devices/{}", rows[1][3])).await.json();
    assert_eq!((&device["description"], &device["has_credential"]), (&json!("by the door"), &json!(true)));
    assert_eq!(
        hub.get("/activity?kind=device_registered").await.json()["items"].as_array().unwrap().len(),
        3
    );
}

#[tokio::test]
async fn wrong_rows_are_named_and_stop_everything_unless_they_are_to_be_skipped() {
    let hub = Hub::start().await;
    hub.board("Old board", 77, &[]).await;
    let long = "x".repeat(81);
    let table = format!(
        "name,dialect,external_id,tags\ngood,native,g-1,a\nfar,nodemcu,abc,\n,native,,\n{long},native,,\n\
        klingon,klingon,,\ntwin,native,g-1,\nknown,nodemcu,77,\nnul\0,native,,\nshort,native\n\
        tagged,native,,ok <b>\nalso good,native,,\n"
    );
    let wrong = [
        (3, "external_id", "node.chipid()"),
        (4, "name", "1 to 80"),
        (5, "name", "1 to 80"),
        (6, "dialect", "native, micropython, nodemcu"),
        (7, "external_id", "g-1 is in row 2 already"),
        (8, "external_id", "77 is registered already, as \"Old board\""),
        (9, "name", "control characters"),
        (10, "row", "2 fields"),
        (11, "tags", "no blanks"),
    ];
    let report = import(&hub, "?dry_run=true", table.as_bytes()).await.json();
    assert_eq!((&report["errors_total"], &report["good"]), (&json!(wrong.len()), &json!(2)), "{report}");
    for (error, (row, field, part)) in report["errors"].as_array().unwrap().iter().zip(wrong) {
        assert_eq!((&error["row"], &error["field"]), (&json!(row), &json!(field)), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(part), "expected {part:?}: {error}");
    }
    let refused = import(&hub, "", table.as_bytes()).await;
    refused.is(422, "rows_refused");
    assert!(refused.string("detail").contains("9 of 11 rows are wrong"), "{refused:?}");
    assert_eq!(total(&hub).await, 1, "all or nothing");
    let done = import(&hub, "?on_error=skip", table.as_bytes()).await;
    assert_eq!((&done.json()["registered"], total(&hub).await), (&json!(2), 3), "{done:?}");
}

#[tokio::test]
async fn what_is_no_table_is_refused_with_a_sentence() {
    let hub = Hub::start().await;
    let open = "name,dialect\nfine,native\n\"open,native\nmore,native\n";
    let report = import(&hub, "?dry_run=true", open.as_bytes()).await.json();
    assert_eq!(report["errors"][0]["row"], 3, "{report}");
    let cases: [(&[u8], &str, &str); 4] = [
        (b"", "file", "empty"),
        (b"Lamp,native", "header", "no column"),
        (b"\0\0\0\0", "header", "no column"),
        (b"name,dialect\n\xff\xfe,native", "file", "line 2 is not UTF-8"),
    ];
    for (table, field, part) in cases {
        import(&hub, "", table).await.refuses(field, part);
    }
    for query in ["?on_error=maybe", "?dry_run=perhaps", "?x=1"] {
        import(&hub, query, b"name,dialect\n").await.is(400, "invalid");
    }
    let json = hub.post("/devices/import", json!({ "name": "x" })).await;
    json.is(415, "invalid");
    let many = format!("name,dialect\n{}", "x,native\n".repeat(20_001));
    import(&hub, "", many.as_bytes()).await.is(413, "too_large");
    assert_eq!(total(&hub).await, 0);
}

#[tokio::test]
async fn a_table_of_fifty_megabytes_is_refused_early() {
    let hub = Hub::start().await;
    let waiting = [("Content-Type", "text/csv"), ("Expect", "100-continue"), ("Content-Length", "52428800")];
    let asked = hub.raw("POST", "/api/v1/devices/import", &hub.ada, &waiting, b"").await;
    asked.is(413, "too_large");
    assert!(asked.string("detail").contains("8 MiB"), "{asked:?}");
    let row = b"a name that repeats itself,native,,\n";
    let table =
        [b"name,dialect,external_id,tags\n".as_slice(), &row.repeat(50 * 1024 * 1024 / row.len())].concat();
    import(&hub, "", &table).await.is(413, "too_large");
    hub.is_well().await;
}

#[tokio::test]
async fn ten_thousand_rows_are_one_import() {
    let hub = Hub::start().await;
    let mut table = "name,dialect,external_id,tags\n".to_owned();
    for n in 0..10_000 {
        writeln!(table, "Board {n},native,board-{n},\"floor-{} sensor\"", n % 10).unwrap();
    }
    let done = import(&hub, "", table.as_bytes()).await;
    assert_eq!((done.status, &done.json()["registered"]), (200, &json!(10_000)), "{done:?}");
    let rows = credentials(&done);
    let distinct: std::collections::HashSet<&String> = rows.iter().map(|row| &row[4]).collect();
    assert_eq!((rows.len(), distinct.len()), (10_000, 10_000));
    assert_eq!(hub.get("/devices?selector=tag%3Dfloor-3&limit=1").await.json()["total"], 1000);
    Publisher::connect(&hub, "board-9999", &rows[9999][4]).await.unwrap();
    let twice = import(&hub, "", table.as_bytes()).await;
    twice.is(422, "rows_refused");
    assert!(twice.string("detail").contains("registered already"), "{twice:?}");
}

#[tokio::test]
async fn units_have_their_addresses_in_the_table() {
    let hub = Hub::start().await;
    let table = "name,dialect,address\nhall,line,192.168.1.20\nno,line,\nfar,line,8.8.8.8:53\n\
        board,native,192.168.1.21\nodd,line,a b\n";
    let done = import(&hub, "?on_error=skip", table.as_bytes()).await.json();
    assert_eq!((&done["registered"], &done["errors_total"]), (&json!(1), &json!(4)), "{done}");
    for error in done["errors"].as_array().unwrap() {
        assert!(error["field"] == "address", "{error}");
    }
    let hall = hub.get("/devices?limit=1").await.json();
    assert_eq!(hall["items"][0]["address"], "192.168.1.20:8888", "{hall}");
}
