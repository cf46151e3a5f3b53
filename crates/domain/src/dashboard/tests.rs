//! What documents of dashboards may say, and who may change them.

use serde_json::{Value, json};

use super::*;
use crate::id::PublicLinkId;
use crate::shadow;
use crate::time::Span;

const DEVICE: &str = "01k00000000000000000000000";

fn page(block: &Value) -> Value {
    let mut whole = json!({ "id": "b1", "x": 0, "y": 0, "w": 3, "h": 2 });
    whole.as_object_mut().unwrap().extend(block.as_object().unwrap().clone());
    json!({ "format": "motehub-dashboard/1", "name": "Greenhouse", "blocks": [whole] })
}

fn read(block: &Value) -> Result<Document, Rejection> {
    document(&page(block))
}

fn editor(user: u128) -> Editor {
    let user = (user > 0).then(|| UserId::from_parts(1, user));
    Editor { actor: Actor::User("ada".to_owned()), user, may_build: false }
}

#[test]
fn every_kind_of_block_is_read() {
    let of = json!({ "device": DEVICE });
    let group = json!({ "selector": "tag=kitchen" });
    let temperature = json!({ "metric": "temperature" });
    let blocks = [
        json!({ "kind": "value", "of": of, "read": temperature, "unit": "°C", "decimals": 1 }),
        json!({ "kind": "gauge", "of": of, "read": { "reported": "lamp.level" }, "min": 0, "max": 100,
            "bands": [{ "from": 0, "colour": "green" }, { "from": 80, "colour": "red" }] }),
        json!({ "kind": "chart", "range": 3600,
            "series": [{ "of": group, "metric": "temperature", "label": "air" }] }),
        json!({ "kind": "bar", "of": group, "metric": "temperature", "statistic": "mean", "range": 86400 }),
        json!({ "kind": "timeline", "of": group, "read": { "presence": true }, "range": 3600 }),
        json!({ "kind": "switch", "of": of, "path": "lamp.on" }),
        json!({ "kind": "slider", "of": of, "path": "level", "min": 0, "max": 10, "step": 0.5 }),
        json!({ "kind": "button", "of": group, "command": "blink", "arguments": { "times": 3 }, "confirm": true }),
        json!({ "kind": "colour", "of": of, "path": "value" }),
        json!({ "kind": "input", "of": of, "path": "text", "kind_of": "number" }),
        json!({ "kind": "table", "selector": "online", "columns": [temperature, { "desired": "lamp.on" }] }),
        json!({ "kind": "map", "selector": "not online" }),
        json!({ "kind": "image", "picture": "data:image/png;base64,iVBORw0KGgo=", "alt": "plan" }),
        json!({ "kind": "text", "markdown": "# Hello" }),
        json!({ "kind": "alarms" }),
        json!({ "kind": "flow", "flow": DEVICE }),
    ];
    for block in &blocks {
        read(block).unwrap_or_else(|error| panic!("{block}: {error}"));
    }
}

#[test]
fn a_mistake_is_said_with_its_block_and_field() {
    let of = json!({ "device": DEVICE });
    let value = json!({ "metric": "t" });
    let wrong = [
        (json!({ "kind": "values" }), "blocks[0].kind: there are value, gauge"),
        (json!({ "kind": "value" }), "blocks[0].of: say which"),
        (json!({ "kind": "value", "of": {}, "read": value }), "blocks[0].of.device: give"),
        (
            json!({ "kind": "value", "of": { "device": "x" }, "read": value }),
            "blocks[0].of.device: an id is 26",
        ),
        (json!({ "kind": "value", "of": { "selector": "tag=" }, "read": value }), "blocks[0].of.selector: "),
        (json!({ "kind": "value", "of": of, "read": {} }), "blocks[0].read.metric: give"),
        (
            json!({ "kind": "value", "of": of, "read": value, "colour": 1 }),
            "blocks[0].colour: there is no such",
        ),
        (
            json!({ "kind": "gauge", "of": of, "read": value, "min": 1, "max": 1 }),
            "blocks[0].max: it has to be",
        ),
        (
            json!({ "kind": "gauge", "of": of, "read": value, "min": 1, "max": 2,
                "bands": [{ "from": 1, "colour": "pink" }] }),
            "blocks[0].bands[0].colour: there are green",
        ),
        (json!({ "kind": "chart", "series": [], "range": 60 }), "blocks[0].series: 1 to 12"),
        (
            json!({ "kind": "chart", "series": [{ "of": of, "metric": "t" }], "range": 1 }),
            "blocks[0].range: a whole number from 60",
        ),
        (json!({ "kind": "switch", "of": of, "path": "a..b" }), "blocks[0].path: names with dots"),
        (
            json!({ "kind": "switch", "of": of, "path": "a", "on": 1, "off": 1 }),
            "blocks[0].off: two different",
        ),
        (json!({ "kind": "image", "picture": "https://example.com/x.png" }), "blocks[0].picture: data:image"),
        (
            json!({ "kind": "image", "picture": "data:image/svg+xml;base64,AAAA" }),
            "blocks[0].picture: data:image",
        ),
        (json!({ "kind": "text", "markdown": "x".repeat(16 * 1024 + 1) }), "blocks[0].markdown: at most"),
        (json!({ "kind": "flow", "flow": "x" }), "blocks[0].flow: an id is 26"),
        (json!({ "kind": "text", "markdown": "x", "w": 13 }), "blocks[0].w: a whole number from 1 to 12"),
        (json!({ "kind": "text", "markdown": "x", "x": 11 }), "blocks[0].w: the grid has 12 columns"),
        (json!({ "kind": "text", "markdown": "x", "id": "a b" }), "blocks[0].id: 1 to 32"),
    ];
    for (block, expected) in wrong {
        let said = read(&block).expect_err(&block.to_string()).sentence;
        assert!(said.starts_with(expected), "{said}\nexpected {expected}");
    }
}

#[test]
fn a_file_of_a_newer_hub_or_of_something_else_is_refused() {
    let said = |format: Value| {
        let mut page = page(&json!({ "kind": "alarms" }));
        page["format"] = format;
        document(&page).unwrap_err().sentence
    };
    assert_eq!(
        said(json!("motehub-dashboard/2")),
        "format: this file is of motehub-dashboard/2, this hub reads up to 1: update the hub"
    );
    assert!(said(json!("grafana")).contains("is this a dashboard?"));
    assert!(said(Value::Null).contains("\"motehub-dashboard/1\" is expected"));
    let block = page(&json!({ "kind": "alarms" }))["blocks"][0].clone();
    let twice = json!({ "format": "motehub-dashboard/1", "name": "a", "blocks": [block, block] });
    assert!(document(&twice).unwrap_err().sentence.starts_with("blocks[1].id: there are two"));
    let many = json!({ "format": "motehub-dashboard/1", "name": "a", "blocks": vec![block; 101] });
    assert_eq!(document(&many).unwrap_err().code, "too_large");
}

#[test]
fn a_dashboard_is_changed_by_its_owner_and_by_those_who_build() {
    let (ada, bob, eve) = (editor(1), editor(2), Editor { may_build: true, ..editor(3) });
    let id = DashboardId::from_parts(1, 1);
    let page = read(&json!({ "kind": "alarms" })).unwrap();
    let (own, _) = create(id, page.clone(), false, 0, &ada, Time(1)).unwrap();
    assert!(own.is_seen_by(ada.user) && !own.is_seen_by(bob.user) && !own.is_seen_by(None));
    assert!(!own.is_edited_by(&eve), "what is not shared is not for others");
    let (shared, _) = save(&own, page.clone(), Some(true), 1, &ada, Time(2)).unwrap();
    assert!(shared.is_seen_by(None) && shared.is_edited_by(&eve) && !shared.is_edited_by(&bob));
    assert_eq!(save(&shared, page.clone(), None, 2, &bob, Time(3)).unwrap_err().code, "forbidden");
    assert_eq!(save(&shared, page.clone(), None, 1, &ada, Time(3)).unwrap_err().code, "stale");
    let hidden = save(&shared, page.clone(), Some(false), 2, &eve, Time(3)).unwrap_err();
    assert_eq!(hidden.code, "forbidden", "nobody hides the page of another one");
    let (copied, _) = copy(DashboardId::from_parts(1, 2), &shared, None, 1, &bob, Time(3)).unwrap();
    assert_eq!(
        (copied.document.name.as_str(), copied.owner, copied.is_shared),
        ("Greenhouse (copy)", bob.user, false)
    );
    assert_eq!(copied.document.source["name"], "Greenhouse (copy)");
    let token = Editor { user: None, may_build: true, ..editor(0) };
    let (made, _) = create(id, page.clone(), false, 0, &token, Time(1)).unwrap();
    assert!(made.is_shared && made.owner.is_none());
    assert_eq!(create(id, page, false, 0, &editor(0), Time(1)).unwrap_err().code, "forbidden");
}

#[test]
fn a_public_link_ends() {
    let ada = editor(1);
    let page = read(&json!({ "kind": "alarms" })).unwrap();
    let (own, _) = create(DashboardId::from_parts(1, 1), page, false, 0, &ada, Time(1)).unwrap();
    let digest = crate::artifact::Digest([1; 32]);
    let make =
        |span| make_link(PublicLinkId::from_parts(1, 1), &own, ("door", span), digest, &[], &ada, Time(0));
    let (link, _) = make(Some(Span::seconds(60))).unwrap();
    assert!(!link.has_expired(Time(59_999)) && link.has_expired(Time(60_000)));
    assert!(!make(None).unwrap().0.has_expired(Time(i64::MAX)));
    assert_eq!(make(Some(Span(0))).unwrap_err().code, "invalid");
    assert_eq!(withdraw_link(&own, &link, &editor(2)).unwrap_err().code, "forbidden");
}

#[test]
fn a_block_takes_what_it_can_set_and_nothing_else() {
    let takes = |deed: &Deed, value: Value| deed.check(&value).is_ok();
    let switch = Deed::Switch(json!(true), json!(false));
    assert!(takes(&switch, json!(true)) && !takes(&switch, json!(1)));
    assert!(takes(&Deed::Slider(0.0, 10.0), json!(10)) && !takes(&Deed::Slider(0.0, 10.0), json!(10.1)));
    assert!(takes(&Deed::Colour, json!("#ff8800")) && !takes(&Deed::Colour, json!("#f80")));
    assert!(!takes(&Deed::Colour, json!("ü12345")));
    assert!(takes(&Deed::Text, json!("")) && !takes(&Deed::Text, json!("x".repeat(2000))));
    assert!(takes(&Deed::Number, json!(1.5)) && !takes(&Deed::Number, json!("1.5")));
    let nested = shadow::nested("lamp.on", json!(true));
    assert_eq!(nested, json!({ "lamp": { "on": true } }));
    assert_eq!(shadow::at_path(nested.as_object().unwrap(), "lamp.on"), Some(&json!(true)));
    assert_eq!(shadow::at_path(nested.as_object().unwrap(), "lamp.off.x"), None);
}
