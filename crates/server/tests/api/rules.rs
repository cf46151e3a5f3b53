//! Rules: written and checked by people, told what the hub takes, and replayed over what is stored.

use motehub_domain::time::Span;
use serde_json::{Value, json};

use crate::support::mqtt::Publisher;
use crate::support::{Hub, START};

const MINUTE: i64 = 60_000;

/// A board with the native protocol: its id, its credential and its name.
struct Board {
    id: String,
    credential: String,
    name: &'static str,
}

impl Board {
    async fn new(hub: &Hub, name: &'static str) -> Self {
        let new = json!({ "name": name, "dialect": "native", "external_id": name, "tags": ["week"] });
        let made = hub.post("/devices", new).await;
        Self { id: made.string("id"), credential: made.string("credential"), name }
    }

    /// It connects, and the hub has seen that.
    async fn comes(&self, hub: &Hub) -> Publisher {
        let link = Publisher::connect(hub, self.name, &self.credential).await.unwrap();
        self.is(hub, true).await;
        link
    }

    async fn goes(&self, hub: &Hub, link: Publisher) {
        drop(link);
        self.is(hub, false).await;
    }

    async fn is(&self, hub: &Hub, online: bool) {
        let path = format!("/devices/{}", self.id);
        hub.until("presence", || async { (hub.get(&path).await.json()["online"] == online).then_some(()) })
            .await;
    }

    async fn says(&self, link: &mut Publisher, kind: &str, what: Value) {
        link.publish(&format!("devices/{}/{kind}", self.name), what.to_string().as_bytes()).await.unwrap();
    }
}

async fn made(hub: &Hub, rule: Value) -> String {
    let made = hub.post("/rules", rule).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.string("id")
}

/// The firings of a rule, the first one first: at, device, when over, trace.
async fn firings(hub: &Hub, id: &str) -> Vec<Value> {
    let list = hub.get(&format!("/rules/{id}/firings?limit=1000")).await.json();
    let mut items = list["items"].as_array().unwrap().clone();
    items.reverse();
    items.iter().map(told).collect()
}

fn told(firing: &Value) -> Value {
    json!([firing["at"], firing["device"], firing["ended_at"], firing["trace"]])
}

/// The clock moves a little until a rule fired so often.
async fn fired(hub: &Hub, id: &str, times: usize) -> Vec<Value> {
    hub.until(&format!("{times} firings"), || async {
        hub.clock.advance(Span(1));
        let firings = firings(hub, id).await;
        assert!(firings.len() <= times, "too many: {firings:?}");
        (firings.len() == times).then_some(firings)
    })
    .await
}

fn hot(more: Value) -> Value {
    let mut rule = json!({
        "name": "Hot", "enabled": true, "when": { "metric": "t" }, "condition": "value > 30",
        "actions": [{ "alarm": { "severity": "critical", "message": "{{ device.name }} has {{ value }} °C" } }],
    });
    let Value::Object(more) = more else { panic!("no members") };
    rule.as_object_mut().unwrap().extend(more);
    rule
}

#[tokio::test]
async fn a_rule_is_written_checked_changed_and_deleted() {
    let hub = Hub::start().await;
    let id = made(&hub, hot(json!({ "enabled": false }))).await;
    let rule = hub.get(&format!("/rules/{id}")).await.json();
    assert_eq!(
        json!([rule["name"], rule["condition"], rule["enabled"], rule["firings"]]),
        json!(["Hot", "value > 30", false, 0])
    );
    hub.post("/rules", hot(json!({}))).await.is(409, "name_taken");
    let enabled = hub.post(&format!("/rules/{id}/enable"), json!({})).await.json();
    assert!(enabled["enabled"] == true && enabled["enabled_at"].is_string(), "{enabled}");
    let edited = hub.patch(&format!("/rules/{id}"), json!({ "for_s": 60, "condition": null })).await;
    edited.refuses("for_s", "nothing lasts here");
    let edited = hub.patch(&format!("/rules/{id}"), json!({ "for_s": 60, "name": "Warm" })).await.json();
    assert_eq!(json!([edited["name"], edited["for_s"]]), json!(["Warm", 60]));
    let cases = [
        (json!({ "condition": "value >" }), "condition", "column 8"),
        (json!({ "condition": "valeu > 3" }), "condition", "there are value, previous"),
        (json!({ "devices": "online" }), "devices", "picked by what they are"),
        (
            json!({ "actions": [{ "webhook": "01kabcdefghjkmnpqrstvwxyz0" }] }),
            "actions",
            "there is no webhook",
        ),
        (json!({ "when": { "presence": "away" } }), "when.presence", "online, offline or unreachable"),
    ];
    for (more, field, part) in cases {
        hub.post("/rules/check", hot(more)).await.refuses(field, part);
    }
    let checked = hub.post("/rules/check", hot(json!({}))).await.json();
    assert_eq!(checked, json!({ "devices": 0 }));
    assert_eq!(hub.post(&format!("/rules/{id}/disable"), json!({})).await.json()["enabled"], false);
    assert_eq!(hub.delete(&format!("/rules/{id}")).await.status, 204);
    hub.get(&format!("/rules/{id}")).await.is(404, "not_found");
    hub.is_well().await;
}

#[tokio::test]
async fn a_rule_raises_an_alarm_sets_what_is_desired_and_publishes() {
    let hub = Hub::start().await;
    let lamp = Board::new(&hub, "lamp").await;
    let actions = json!([
        { "alarm": { "severity": "critical", "message": "{{ device.name }} has {{ value }} °C" } },
        { "desired": { "path": "fan.speed", "value": "{{ value * 2 }}" } },
        { "command": { "name": "beep" } },
        { "publish": { "topic": "hot/{{ device.name }}", "payload": { "t": "{{ value }}" } } },
    ]);
    let id = made(&hub, hot(json!({ "actions": actions }))).await;
    hub.clock.advance(Span::seconds(1));
    let mut link = lamp.comes(&hub).await;
    lamp.says(&mut link, "telemetry", json!({ "t": 20 })).await;
    hub.clock.advance(Span::seconds(1));
    lamp.says(&mut link, "telemetry", json!({ "t": 31 })).await;
    let firing = fired(&hub, &id, 1).await.remove(0);
    assert_eq!(firing[3]["came"]["value"], 31, "{firing}");
    assert_eq!(firing[3]["previous"], 20);
    let alarm = hub.get("/alarms?state=raised").await.json()["items"][0].clone();
    assert_eq!(
        json!([
            alarm["message"],
            alarm["severity"],
            alarm["value"],
            alarm["device_name"],
            alarm["rule_name"]
        ]),
        json!(["lamp has 31 °C", "critical", 31, "lamp", "Hot"])
    );
    let shadow = hub
        .until("what is desired", || async {
            let shadow = hub.get(&format!("/devices/{}/shadow", lamp.id)).await;
            (shadow.status == 200).then(|| shadow.json())
        })
        .await;
    assert_eq!(shadow["state"]["desired"]["fan"]["speed"], 62, "{shadow}");
    hub.until("the command", || async {
        let commands = hub.get(&format!("/devices/{}/commands", lamp.id)).await.json();
        (commands["items"][0]["name"] == "beep").then_some(())
    })
    .await;
    let path = format!("/alarms/{}", alarm["id"].as_str().unwrap());
    let seen = hub.post(&format!("{path}/acknowledge"), json!({})).await.json();
    assert_eq!(json!([seen["state"], seen["acknowledged_by"]]), json!(["acknowledged", "ada"]));
    lamp.says(&mut link, "telemetry", json!({ "t": 25 })).await;
    hub.until("the alarm is cleared", || async {
        hub.clock.advance(Span(1));
        let alarm = hub.get(&path).await.json();
        (alarm["state"] == "cleared").then_some(())
    })
    .await;
    let kinds: Vec<Value> = hub.get("/activity?noun=alarm").await.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| json!([change["kind"], change["actor"]["name"], change["device"]]))
        .collect();
    let rule = "rule Hot";
    let expected = [("alarm_cleared", rule), ("alarm_acknowledged", "ada"), ("alarm_raised", rule)];
    assert_eq!(kinds, expected.map(|(kind, who)| json!([kind, who, lamp.id])));
    hub.is_well().await;
}

#[tokio::test]
async fn a_rule_that_sets_off_itself_is_held_up_and_others_go_on() {
    let hub = Hub::start().await;
    let lamp = Board::new(&hub, "lamp").await;
    let again = json!({ "name": "Again", "enabled": true, "when": { "state": "desired.n" },
        "actions": [{ "desired": { "path": "n", "value": "{{ desired.n + 1 }}" } }] });
    let again = made(&hub, again).await;
    let broken = made(&hub, hot(json!({ "name": "Broken", "condition": "value > device.limit" }))).await;
    let good = made(&hub, hot(json!({}))).await;
    hub.clock.advance(Span::seconds(1));
    let begin = json!({ "state": { "desired": { "n": 1 } } });
    assert_eq!(hub.patch(&format!("/devices/{}/shadow", lamp.id), begin).await.status, 200);
    let mut link = lamp.comes(&hub).await;
    lamp.says(&mut link, "telemetry", json!({ "t": 31 })).await;
    fired(&hub, &good, 1).await;
    fired(&hub, &again, 30).await;
    let errors = |id: String| {
        let hub = &hub;
        async move {
            let rule = hub.get(&format!("/rules/{id}")).await.json();
            (rule["errors"].as_u64().unwrap(), rule["last_error"].as_str().unwrap_or_default().to_owned())
        }
    };
    let (count, why) = errors(again).await;
    assert!(count >= 1 && why.contains("set off itself"), "{why}");
    let (count, why) = errors(broken).await;
    assert!(count == 1 && why.contains("there is no limit"), "{why}");
    assert_eq!(errors(good).await.0, 0);
    hub.is_well().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_wait_forgets_nothing() {
    let mut hub = Hub::start().await;
    let lamp = Board::new(&hub, "lamp").await;
    let id = made(&hub, hot(json!({ "for_s": 600, "quiet_s": 3600 }))).await;
    hub.clock.advance(Span::seconds(1));
    let mut link = lamp.comes(&hub).await;
    lamp.says(&mut link, "telemetry", json!({ "t": 31 })).await;
    let since = START.0 + 1_000;
    hub.clock.advance(Span::minutes(4));
    // Not told to rules before the end: it is read from the store after the next start.
    lamp.says(&mut link, "telemetry", json!({ "t": 32 })).await;
    drop(link);
    hub = hub.again(false).await;
    hub.clock.advance(Span::minutes(5));
    assert_eq!(firings(&hub, &id).await.len(), 0);
    hub.clock.advance(Span::minutes(2));
    let firing = fired(&hub, &id, 1).await.remove(0);
    assert_eq!(firing[3]["since"], since, "{firing}");
    assert_eq!(firing[3]["came"]["value"], 32, "{firing}");
    hub = hub.again(false).await;
    hub.clock.advance(Span::minutes(1));
    assert_eq!(fired(&hub, &id, 1).await.len(), 1, "it is not done twice");
    let replayed = hub.post(&format!("/rules/{id}/replay"), json!({ "from": START.0 })).await.json();
    assert_eq!(replayed["firings"].as_array().unwrap().iter().map(told).collect::<Vec<_>>(), [firing]);
    hub.is_well().await;
}

/// The rules of a week.
fn rules_of_a_week() -> Vec<Value> {
    let publish =
        json!([{ "publish": { "topic": "week", "payload": "{{ device.name }}: {{ value }} at {{ now }}" } }]);
    let with = |name: &str, more: Value| {
        let mut rule = hot(json!({ "name": name, "devices": "tag=week" }));
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let plain = |name: &str, when: Value| json!({ "name": name, "enabled": true, "devices": "tag=week", "when": when, "actions": publish });
    vec![
        with("hot", json!({})),
        with("hot for an hour", json!({ "for_s": 3600 })),
        with("hot until cold", json!({ "for_s": 1800, "until": "value < 15", "quiet_s": 7200 })),
        with(
            "both",
            json!({ "condition": "value > 25 && has(metrics.h) && metrics.h < 40 && reported.on == true" }),
        ),
        with("rising", json!({ "condition": "previous != null && value > previous + 8" })),
        plain("silent", json!({ "absence": { "metric": "t", "for_s": 7200 } })),
        plain("away", json!({ "absence": { "for_s": 10_800 } })),
        with("offline", json!({ "when": { "presence": "offline" }, "condition": null, "for_s": 1800 })),
        plain("switched", json!({ "state": "reported.on" })),
        plain("each morning", json!({ "schedule": { "cron": "30 6 * * *", "zone": "+01:00" } })),
        plain("every five hours", json!({ "schedule": { "every_s": 18_000 } })),
        with("button", json!({ "when": { "event": "button" }, "condition": "event.data.n % 3 == 0" })),
    ]
}

/// Numbers that look drawn at random, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % sides).unwrap()
    }
}

#[tokio::test]
async fn a_replay_of_a_week_fires_as_the_rules_did_live() {
    let mut hub = Hub::start().await;
    let mut boards = Vec::new();
    for name in ["north", "south", "west"] {
        boards.push(Board::new(&hub, name).await);
    }
    let mut ids = Vec::new();
    for rule in rules_of_a_week() {
        let mut rule = rule;
        rule.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        ids.push((rule["name"].clone(), made(&hub, rule).await));
    }
    let from = START;
    hub.clock.advance(Span::seconds(1));
    let mut dice = Dice(42);
    let mut links: Vec<Option<Publisher>> = Vec::new();
    for board in &boards {
        links.push(Some(board.comes(&hub).await));
    }
    // What boards measured and did not send yet.
    let mut kept: Vec<Vec<Value>> = vec![Vec::new(); 3];
    let mut n = 0;
    for step in 0..7 * 24 * 4 {
        hub.clock.advance(Span(15 * MINUTE + dice.roll(60_000)));
        if step == 300 {
            links.iter_mut().for_each(|link| drop(link.take()));
            hub = hub.again(false).await;
        }
        for (at, board) in boards.iter().enumerate() {
            let now = hub.clock.now().0;
            let point = json!({ "ts": now - dice.roll(5_000), "t": 5 + dice.roll(30), "h": dice.roll(100) });
            match (links[at].is_some(), dice.roll(40)) {
                // It goes, with or without measuring on.
                (true, 0) => board.goes(&hub, links[at].take().unwrap()).await,
                (true, 1 | 2) => {}
                (true, 3) => {
                    n += 1;
                    let link = links[at].as_mut().unwrap();
                    board.says(link, "event", json!({ "name": "button", "data": { "n": n } })).await;
                }
                (true, 4..=6) => {
                    let report = json!({ "state": { "reported": { "on": dice.roll(2) == 1 } } });
                    board.says(links[at].as_mut().unwrap(), "shadow", report).await;
                }
                // It keeps some back, and sends them later, out of order and some twice.
                (true, 7..=12) => kept[at].push(point),
                (true, _) => {
                    let mut all = std::mem::take(&mut kept[at]);
                    all.insert(0, point);
                    if all.len() > 2 {
                        let again = all[1].clone();
                        all.push(again);
                    }
                    let link = links[at].as_mut().unwrap();
                    for point in all {
                        board.says(link, "telemetry", json!([point])).await;
                    }
                }
                (false, 0..=9) => links[at] = Some(board.comes(&hub).await),
                (false, 10..=20) => kept[at].push(point),
                (false, _) => {}
            }
        }
    }
    hub.clock.advance(Span::minutes(1));
    let to = hub.clock.now();
    let mut total = 0;
    for (name, id) in &ids {
        let range = json!({ "from": from.0, "to": to.0 });
        let replayed = hub.post(&format!("/rules/{id}/replay"), range.clone()).await.json();
        let expected: Vec<Value> = replayed["firings"].as_array().unwrap().iter().map(told).collect();
        assert_eq!((&replayed["truncated"], &replayed["devices"]), (&Value::Null, &json!(3)), "{name}");
        let order = |firing: &Value| (firing[0].as_str().unwrap().to_owned(), firing[1].to_string());
        let live = hub
            .until(&format!("{name} fired {} times", expected.len()), || async {
                let mut live = firings(&hub, id).await;
                live.sort_by_key(order);
                (live.len() >= expected.len()).then_some(live)
            })
            .await;
        for (live, expected) in live.iter().zip(&expected) {
            assert_eq!(live, expected, "{name}");
        }
        assert_eq!(live.len(), expected.len(), "{name}");
        assert!(!live.is_empty(), "{name} never fired");
        let tried = json!({ "rule": tried(&hub, id).await, "from": from.0, "to": to.0 });
        let tried = hub.post("/rules/replay", tried).await.json();
        assert_eq!(tried["firings"], replayed["firings"], "{name}: saved or not is the same");
        total += live.len();
    }
    assert!(total > 300, "{total} firings");
    hub.is_well().await;
}

/// A rule as it is written, without how it is doing.
async fn tried(hub: &Hub, id: &str) -> Value {
    let mut rule = hub.get(&format!("/rules/{id}")).await.json();
    let own = [
        "id",
        "enabled_at",
        "firings",
        "fired_at",
        "errors",
        "last_error",
        "last_error_at",
        "created_at",
        "updated_at",
    ];
    rule.as_object_mut().unwrap().retain(|name, value| !own.contains(&name.as_str()) && !value.is_null());
    rule
}
