//! Lists of devices: selectors, search, sorting and pages, with 300 devices.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Answer, Hub};

/// Text as part of an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn select(hub: &Hub, selector: &str) -> Answer {
    hub.get(&format!("/devices?limit=1000&selector={}", encoded(selector))).await
}

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_wrong_selector_is_refused_with_its_position() {
    let hub = Hub::start().await;
    let cases = [
        ("tag", "position 4: expected =, !=, ~, in or exists"),
        ("tag=", "position 5: expected a value"),
        ("online and", "position 11"),
        ("online online", "position 8"),
        ("colour", "position 7: expected ="),
        ("free_ram < many", "position 12: expected a number"),
        ("seen > 10", "position 8: expected a span of time"),
        ("group = nobody", "there is no group nobody"),
        ("version=two", "a whole number"),
        ("name=\"x", "not closed"),
        ("!online", "position 1"),
        ("tag=a;drop table devices", "position 12"),
        ("Küche=1 x", "position 9"),
        ("\0", "position 1"),
        (&"(".repeat(1500), "50"),
        (&"not ".repeat(400), "50"),
        (&"tag=a or ".repeat(100), "50"),
        (&"x".repeat(2001), "2000"),
    ];
    for (text, part) in cases {
        select(&hub, text).await.refuses("selector", part);
        let meant = json!({ "selector": text });
        hub.post("/deployments/preview", meant).await.refuses("selector", part);
    }
    hub.is_well().await;
}

#[tokio::test]
async fn every_field_and_operator_picks_the_devices_it_says() {
    let hub = Hub::start().await;
    let (lamp, lamp_credential) = hub.board("Lamp", 10, &["kitchen", "light"]).await;
    let (_, fan_credential) = hub.board("Fan 100%_", 20, &["kitchen"]).await;
    hub.board("Äpfel \"rot\"", 21, &["garden"]).await;
    let native = json!({ "name": "native", "dialect": "native", "external_id": "Node:20" });
    assert_eq!(hub.post("/devices", native).await.status, 201);
    let script = hub.script("blink", "print(1)").await;
    let first = hub.deploy(&script, 1, &[&lamp]).await;
    hub.run_on_board(&lamp_credential, 10, &first).await;
    let _fan = Publisher::connect(&hub, "20", &fan_credential).await.unwrap();
    hub.until("the fan is online and the lamp is not", || async {
        (names(&select(&hub, "online").await) == ["Fan 100%_"]).then_some(())
    })
    .await;
    let (fan, apples) = ("Fan 100%_", "Äpfel \"rot\"");
    let cases: [(&str, &[&str]); 35] = [
        ("all", &[fan, "Lamp", "native", apples]),
        ("online", &[fan]),
        ("not online", &["Lamp", "native", apples]),
        ("failing", &[]),
        ("pending", &[]),
        ("tag=kitchen", &[fan, "Lamp"]),
        ("tag=Kitchen", &[]),
        ("TAG = kitchen AND NOT tag = light", &[fan]),
        ("tag!=kitchen", &["native", apples]),
        ("tag~ITCH", &[fan, "Lamp"]),
        ("name=Lamp", &["Lamp"]),
        ("name=lamp", &[]),
        ("name~lamp", &["Lamp"]),
        ("name~ÄPFEL", &[apples]),
        ("name!=Lamp", &[fan, "native", apples]),
        ("name=\"Äpfel \\\"rot\\\"\"", &[apples]),
        ("name~%", &[fan]),
        ("name~_", &[fan]),
        ("name~\"\\\\\"", &[]),
        ("external_id=10", &["Lamp"]),
        ("external_id=20", &[fan]),
        ("external_id~20", &[fan, "native"]),
        ("external_id~node", &["native"]),
        ("external_id!=10", &[fan, "native", apples]),
        ("dialect=native", &["native"]),
        ("dialect=nodemcu", &[fan, "Lamp", apples]),
        ("script=blink", &["Lamp"]),
        ("script~LIN", &["Lamp"]),
        ("script!=blink", &[fan, "native", apples]),
        ("version=1", &["Lamp"]),
        ("version!=1", &[fan, "native", apples]),
        ("tag=garden or name=Lamp and online", &[apples]),
        ("(tag=garden or name=Lamp) and not online", &["Lamp", apples]),
        ("name=\"' or 1=1 --\"", &[]),
        ("id=nothing", &[]),
    ];
    for (selector, expected) in cases {
        let found = select(&hub, selector).await;
        let mut found_names = names(&found);
        found_names.sort();
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found_names, expected, "{selector}");
        assert_eq!(found.json()["total"], expected.len(), "{selector}");
        let preview = hub.post("/deployments/preview", json!({ "selector": selector })).await;
        for key in ["items", "total"] {
            assert_eq!(preview.json()[key], found.json()[key], "the preview of {selector}");
        }
    }
    assert_eq!(names(&select(&hub, &format!("id={lamp}")).await), ["Lamp"]);
    assert_eq!(names(&select(&hub, &format!("id={}", lamp.to_uppercase())).await), ["Lamp"]);
    hub.is_well().await;
}

#[tokio::test]
async fn three_hundred_devices_are_paged_sorted_and_counted() {
    let hub = Hub::start().await;
    for number in 0..300_u32 {
        let name = if number % 2 == 0 { format!("lamp {number:03}") } else { format!("Fan {number:03}") };
        let tag = if number % 3 == 0 { "third" } else { "other" };
        hub.board(&name, 1000 + number, &[tag]).await;
    }
    for (number, minutes) in [(7_u32, 1), (4, 1), (299, 1)] {
        hub.clock.advance(Span::minutes(minutes));
        let found = hub.get(&format!("/devices?q={}", 1000 + number)).await.json();
        let path = format!("/devices/{}/credential", found["items"][0]["id"].as_str().unwrap());
        let credential = hub.call("POST", &path, &hub.ada, None).await.string("credential");
        let poll = format!("/d/{credential}/node.php?id={}&alive", 1000 + number);
        assert_eq!(hub.send("GET", &poll, &hub.ada, &[], None).await.status, 200);
        hub.clock.advance(Span::minutes(1));
        let device = path.trim_end_matches("/credential");
        hub.until("it was seen", || async {
            (!hub.get(device).await.json()["last_seen"].is_null()).then_some(())
        })
        .await;
    }
    let mut paged = Vec::new();
    for offset in (0..300).step_by(70) {
        let page = hub.get(&format!("/devices?limit=70&offset={offset}")).await;
        assert_eq!(page.json()["total"], 300);
        paged.extend(names(&page));
    }
    assert_eq!(paged.len(), 300);
    assert!(paged.is_sorted_by_key(|name| name.to_lowercase()), "{paged:?}");
    let whole = names(&hub.get("/devices?limit=1000").await);
    assert_eq!(paged, whole);
    let mut backwards = names(&hub.get("/devices?limit=1000&sort=-name").await);
    backwards.reverse();
    assert_eq!(backwards, whole);
    assert_eq!(names(&hub.get("/devices").await).len(), 50, "50 by default");
    let seen = names(&hub.get("/devices?sort=-last_seen&limit=4").await);
    assert_eq!(seen[..3], ["Fan 299", "lamp 004", "Fan 007"]);
    let seen = names(&hub.get("/devices?sort=last_seen&offset=297").await);
    assert_eq!(seen.len(), 3, "{seen:?}");
    let cases = [
        ("q=lamp", 150),
        ("q=FAN", 150),
        ("q=third", 100),
        ("q=10", 112),
        ("q=109", 11),
        ("q=%25", 0),
        ("q=_", 0),
        ("q=%27%20or%201%3D1", 0),
        ("selector=tag%3Dthird", 100),
        ("selector=tag%3Dthird&q=lamp", 50),
        ("selector=", 300),
        ("selector=%20&q=", 300),
        ("offset=1000", 300),
        ("offset=9223372036854775807", 300),
    ];
    for (query, total) in cases {
        let found = hub.get(&format!("/devices?{query}")).await;
        assert_eq!((found.status, &found.json()["total"]), (200, &json!(total)), "{query}: {found:?}");
    }
    assert_eq!(hub.get("/devices?offset=1000").await.json()["items"], json!([]));
    let refused = [
        ("limit=0", Some("limit")),
        ("limit=1001", Some("limit")),
        ("limit=-1", None),
        ("limit=x", None),
        ("limit=99999999999999999999", None),
        ("offset=-1", None),
        ("sort=colour", Some("sort")),
        ("sort=--name", Some("sort")),
        ("limit=1&limit=2", None),
        ("colour=red", None),
        ("selector=%FF", Some("selector")),
    ];
    for (query, field) in refused {
        let refused = hub.get(&format!("/devices?{query}")).await;
        refused.is(400, "invalid");
        assert_eq!(refused.json()["field"], field.map_or(Value::Null, Value::from), "{query}");
    }
    hub.is_well().await;
}
