//! Activity: filters, pages in both directions, and the export, which is complete and in order.

use serde_json::{Value, json};

use crate::support::Hub;

fn seqs(items: &Value) -> Vec<i64> {
    items.as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn activity_is_filtered_and_paged() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let (fan, _) = hub.board("Fan", 2, &[]).await;
    let script = hub.script("blink", "print(1)").await;
    for number in 0..60 {
        let edit = json!({ "name": format!("Lamp {number}") });
        assert_eq!(hub.patch(&format!("/devices/{lamp}"), edit).await.status, 200);
    }
    let total = |query: String| {
        let hub = &hub;
        async move {
            let answer = hub.get(&format!("/activity?limit=1000&{query}")).await;
            assert_eq!((answer.status, &answer.json()["more"]), (200, &json!(false)), "{query}: {answer:?}");
            answer.json()["items"].as_array().unwrap().len()
        }
    };
    let cases = [
        (String::new(), 64),
        ("kind=device_edited".to_owned(), 60),
        ("noun=device".to_owned(), 62),
        ("noun=script".to_owned(), 1),
        ("noun=nothing".to_owned(), 0),
        (format!("device={lamp}"), 61),
        (format!("device={fan}&kind=device_edited"), 0),
        (format!("subject={script}"), 1),
        ("actor=ada".to_owned(), 63),
        ("actor=motehub&kind=token_created".to_owned(), 1),
        ("actor=%27%20or%201%3D1".to_owned(), 0),
        ("before=0".to_owned(), 0),
        ("after=9223372036854775807".to_owned(), 0),
        ("after=-9223372036854775808".to_owned(), 64),
    ];
    for (query, expected) in cases {
        assert_eq!(total(query.clone()).await, expected, "{query}");
    }
    let first = hub.get("/activity?limit=40").await.json();
    assert_eq!(first["more"], true);
    let newest = seqs(&first["items"]);
    assert!(newest.is_sorted_by(|a, b| a > b), "{newest:?}");
    assert_eq!(hub.get("/activity").await.json()["items"].as_array().unwrap().len(), 50, "50 by default");
    let older = hub.get(&format!("/activity?limit=40&before={}", newest[39])).await.json();
    assert_eq!((older["items"].as_array().unwrap().len(), &older["more"]), (24, &json!(false)));
    let whole = [newest.clone(), seqs(&older["items"])].concat();
    assert_eq!(whole, (1..=64).rev().collect::<Vec<i64>>());
    let since = hub.get(&format!("/activity?after={}", newest[3])).await.json();
    assert_eq!(seqs(&since["items"]), newest[..3]);
    let refused = [
        "kind=nothing",
        "limit=0",
        "limit=1001",
        "before=x",
        "after=",
        "device=",
        "since=1",
        "kind=a&kind=b",
    ];
    for query in refused {
        let answer = hub.get(&format!("/activity?{query}")).await;
        assert!(matches!(answer.status, 400 | 404), "{query}: {answer:?}");
    }
    hub.is_well().await;
}

#[tokio::test]
async fn the_export_is_every_fact_in_order() {
    let hub = Hub::start().await;
    let (lamp, _) = hub.board("Lamp", 1, &[]).await;
    let path = format!("/devices/{lamp}");
    for number in 0..1100 {
        let edit = json!({ "description": format!("line {number}\nwith \"quotes\" and \u{2028} and 🍲") });
        assert_eq!(hub.patch(&path, edit).await.status, 200);
    }
    let last = hub.last_seq().await;
    let export = hub.get("/activity/export").await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(export.header("content-disposition"), Some("attachment; filename=\"activity.ndjson\""));
    let facts: Vec<Value> =
        export.text().split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<i64> = facts.iter().map(|fact| fact["seq"].as_i64().unwrap()).collect();
    assert_eq!(found, (1..=last).collect::<Vec<i64>>(), "complete and oldest first, across its batches");
    assert_eq!(facts[2]["after"]["description"], "line 0\nwith \"quotes\" and \u{2028} and 🍲");
    assert_eq!(facts[3]["before"], facts[2]["after"]);
    let some =
        hub.get(&format!("/activity/export?kind=device_edited&after={}&before={}", last - 10, last)).await;
    assert_eq!(some.text().lines().count(), 9);
    let limited = hub.get("/activity/export?limit=5").await;
    assert_eq!(limited.text().lines().count(), 5, "a limit holds for an export too");
    assert_eq!(hub.get("/activity/export?kind=user_deleted").await.text(), "");
    hub.get("/activity/export?kind=nothing").await.is(400, "invalid");
    hub.get("/activity/export?limit=0").await.is(400, "invalid");
}
