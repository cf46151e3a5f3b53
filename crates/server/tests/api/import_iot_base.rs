//! Import from IoT base: both schemas of its dashboard become devices with their history and a dashboard, once.

use serde_json::{Value, json};

use crate::support::{Answer, Hub};

const UNITS: &str = "CREATE TABLE `units` (`id` int, `ip` varchar(255), `value` varchar(255), `created_at` timestamp, \
    `updated_at` timestamp);\nINSERT INTO `units` VALUES (1,'192.168.2.35','512','2020-01-01 00:00:00',\
    '2020-01-31 18:30:00'),(2,'192.168.2.36','#ff8800',NULL,'2020-01-31 18:31:00');\n";
const DEVICES: &str = "INSERT INTO `devices` (`id`, `uuid`, `name`, `type`, `active`) VALUES \
    (1,'11aa-01','Hall','readable',1),(2,'11aa-02','Lamp','updatable',1),(3,'11aa-03','Door','readable',0);\n\
    INSERT INTO `device_states` (`id`, `device_id`, `value`, `created_at`, `updated_at`) VALUES \
    (1,1,'20.5','2020-09-01 10:00:00',NULL),(2,1,'21','2020-09-01 10:00:00',NULL),\
    (3,1,'22','2020-09-01 11:00:00',NULL),(4,2,'#ff8800','2020-09-01 12:00:00',NULL),\
    (5,3,'it\\'s open','2020-09-01 13:00:00',NULL);\n\
    INSERT INTO `dashboard_blocks` (`id`, `device_id`, `order`) VALUES (1,1,2),(2,2,1);\n";

/// 2020-09-01 10:00:00 UTC.
const TEN: i64 = 1_598_954_400_000;

async fn import(hub: &Hub, query: &str, file: &str) -> Answer {
    let path = format!("/api/v1/import/iot-base{query}");
    hub.raw("POST", &path, &hub.ada, &[("Content-Type", "text/plain")], file.as_bytes()).await
}

/// Made devices and dashboards, known ones, points, and errors.
fn counts(report: &Answer) -> [i64; 5] {
    let json = report.json();
    let counts = [&json["made"]["devices"], &json["made"]["dashboards"], &json["known"], &json["points"]];
    [counts[0], counts[1], counts[2], counts[3], &json["errors_total"]].map(|count| count.as_i64().unwrap())
}

async fn named(hub: &Hub, name: &str) -> Value {
    let all = hub.get("/devices?limit=100").await.json();
    let found = all["items"].as_array().unwrap().iter().find(|device| device["name"] == name);
    let id = found.unwrap_or_else(|| panic!("{name} in {all}"))["id"].as_str().unwrap().to_owned();
    hub.get(&format!("/devices/{id}")).await.json()
}

/// The values that a device had, with their times in milliseconds since 1970, the earliest first.
async fn history(hub: &Hub, device: &Value) -> Vec<(i64, Value)> {
    let path = format!("/devices/{}/telemetry?metric=value", device["id"].as_str().unwrap());
    let points = hub.get(&path).await.json();
    let points = points["items"].as_array().unwrap_or_else(|| panic!("{points}")).clone();
    points.iter().map(|point| (point["time"].as_i64().unwrap(), point["value"].clone())).collect()
}

#[tokio::test]
async fn units_become_devices_with_their_last_value() {
    let hub = Hub::start().await;
    let done = import(&hub, "?offset_minutes=60", UNITS).await;
    assert_eq!((done.status, counts(&done)), (200, [2, 0, 0, 2, 0]), "{done:?}");
    let sensor = named(&hub, "Unit 192.168.2.35").await;
    assert_eq!(
        (&sensor["dialect"], &sensor["tags"], &sensor["line"]["address"], &sensor["line"]["kind"]),
        (&json!("line"), &json!(["iot-base"]), &json!("192.168.2.35:8888"), &json!("read")),
        "{sensor}"
    );
    assert_eq!(history(&hub, &sensor).await, [(1_580_491_800_000, json!(512))]);
    let lamp = named(&hub, "Unit 192.168.2.36").await;
    assert_eq!(lamp["line"]["kind"], "update", "{lamp}");
    assert_eq!(history(&hub, &lamp).await, [(1_580_491_860_000, json!("#ff8800"))]);
    hub.is_well().await;
}

#[tokio::test]
async fn devices_become_devices_with_their_history_and_their_dashboard() {
    let hub = Hub::start().await;
    let done = import(&hub, "", DEVICES).await;
    assert_eq!((done.status, counts(&done)), (200, [3, 1, 0, 5, 0]), "{done:?}");
    let hall = named(&hub, "Hall").await;
    assert_eq!(
        (&hall["external_id"], &hall["line"]["kind"], &hall["line"]["direction"], &hall["line"]["parser"]),
        (&json!("11aa-01"), &json!("read"), &json!("listen"), &json!("number")),
        "{hall}"
    );
    // Two values of the same second are both kept, in their order.
    assert_eq!(
        history(&hub, &hall).await,
        [(TEN, json!(20.5)), (TEN + 1, json!(21)), (TEN + 3_600_000, json!(22))]
    );
    let door = named(&hub, "Door").await;
    assert_eq!((&door["tags"], &door["line"]["parser"]), (&json!(["inactive", "iot-base"]), &json!("text")));
    assert_eq!(history(&hub, &door).await[0].1, "it's open");
    let lamp = named(&hub, "Lamp").await;
    let pages = hub.get("/dashboards").await.json();
    let page = &pages["items"][0];
    assert_eq!(
        (&page["name"], &page["shared"], &pages["total"]),
        (&json!("IoT base"), &json!(true), &json!(1))
    );
    let page = hub.get(&format!("/dashboards/{}", page["id"].as_str().unwrap())).await.json();
    let blocks = page["document"]["blocks"].as_array().unwrap().clone();
    let shown: Vec<_> =
        blocks.iter().map(|block| [&block["kind"], &block["x"], &block["y"], &block["title"]]).collect();
    assert_eq!(
        json!(shown),
        json!([["colour", 0, 0, "Lamp"], ["chart", 4, 0, "Hall"], ["value", 4, 4, "Hall"]])
    );
    assert_eq!((&blocks[0]["of"]["device"], &blocks[2]["of"]["device"]), (&lamp["id"], &hall["id"]));
    // Once somebody says where the lamp is, it is reached.
    let found = json!({ "address": "127.0.0.1:9", "line": { "direction": "dial", "greeting": null } });
    let path = format!("/devices/{}", lamp["id"].as_str().unwrap());
    assert_eq!(hub.call("PATCH", &path, &hub.ada, Some(&found)).await.status, 200);
    hub.is_well().await;
}

#[tokio::test]
async fn a_dry_run_and_a_second_import_change_nothing() {
    let hub = Hub::start().await;
    let both = [UNITS, DEVICES].concat();
    let before = hub.last_seq().await;
    let dry = import(&hub, "?dry_run=true", &both).await;
    assert_eq!((dry.status, counts(&dry)), (200, [5, 1, 0, 7, 0]), "{dry:?}");
    assert_eq!((hub.last_seq().await, &hub.get("/devices").await.json()["total"]), (before, &json!(0)));
    assert_eq!(counts(&import(&hub, "", &both).await), [5, 1, 0, 7, 0]);
    let (sensor, hall) = (named(&hub, "Unit 192.168.2.35").await, named(&hub, "Hall").await);
    let (before, was) = (hub.last_seq().await, [history(&hub, &sensor).await, history(&hub, &hall).await]);
    let again = import(&hub, "", &both).await;
    assert_eq!((again.status, counts(&again)), (200, [0, 0, 6, 7, 0]), "{again:?}");
    assert_eq!(hub.last_seq().await, before);
    assert_eq!([history(&hub, &sensor).await, history(&hub, &hall).await], was);
    hub.is_well().await;
}

#[tokio::test]
async fn wrong_rows_are_named_and_stop_everything_unless_they_are_to_be_skipped() {
    let hub = Hub::start().await;
    let csv = "id,uuid,name,type\n1,a-1,Hall,readable\n2,a 2,Lamp,updatable\n3,a-1,Twin,readable\n4,a-4,Old,readable\n\n\
        id,ip,value\n1,8.8.8.8,1\n\nid,device_id,value,created_at\n1,9,1,2020-01-01 00:00:00\n\
        2,4,1,1999-01-01 00:00:00\n\nid,device_id,order\n1,1,1\n2,2,2\n";
    let refused = import(&hub, "", csv).await;
    assert_eq!((refused.status, refused.string("code")), (422, "entries_refused".to_owned()), "{refused:?}");
    assert_eq!(hub.get("/devices").await.json()["total"], 0);
    let done = import(&hub, "?on_error=skip", csv).await;
    assert_eq!((done.status, counts(&done)), (200, [1, 1, 0, 0, 6]), "{done:?}");
    let errors = done.json()["errors"].clone();
    for (at, kind, name, why) in [
        (0, "device", "8.8.8.8", "outside the networks in which units may be"),
        (1, "device", "a 2", "external_id: "),
        (2, "device", "a-1", "another device of the file has this uuid"),
        (3, "device", "a-4", "a value of 1999-01-01T00:00:00.000Z, which is before 2000"),
        (4, "states", "of device 9", "there is no such row of devices"),
        (5, "dashboard", "block of device 2", "there is no such good row of devices"),
    ] {
        let error = &errors[at];
        assert_eq!((&error["kind"], &error["name"]), (&json!(kind), &json!(name)), "{errors}");
        assert!(error["detail"].as_str().unwrap().contains(why), "{error}");
    }
    let refused = import(&hub, "", "db.json").await;
    assert_eq!((refused.status, refused.string("code")), (400, "invalid".to_owned()), "{refused:?}");
    assert!(refused.text().contains("this is no dump with INSERT INTO"), "{refused:?}");
    hub.is_well().await;
}
