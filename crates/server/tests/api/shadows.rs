//! Shadows by the API: many at once change one, its history, conditions, and what is seen live.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use motehub_domain::time::Span;
use serde_json::{Map, Value, json};

use crate::support::live::Reader;
use crate::support::{Caller, Hub};

/// How many updates are sent, by how many at once.
const UPDATES: usize = 10_000;
const WRITERS: usize = 32;

async fn lamp(hub: &Hub, name: &str) -> String {
    let new = json!({ "name": name, "dialect": "native", "external_id": name });
    hub.post("/devices", new).await.string("id")
}

/// A document by its leaves: what the product does to trees is done here to paths.
#[derive(Clone, Default, PartialEq, Debug)]
struct Leaves(BTreeMap<Vec<String>, Value>);

impl Leaves {
    fn merge(&mut self, at: &[String], patch: &Value) {
        match patch {
            Value::Object(members) => {
                self.0.remove(at);
                for (name, value) in members {
                    self.merge(&[at, std::slice::from_ref(name)].concat(), value);
                }
            }
            leaf => {
                self.0.retain(|path, _| !path.starts_with(at));
                if !leaf.is_null() {
                    self.0.retain(|path, _| !at.starts_with(path));
                    self.0.insert(at.to_vec(), leaf.clone());
                }
            }
        }
    }

    fn minus(&self, other: &Self) -> Self {
        let differs = |(path, value): &(&Vec<String>, &Value)| other.0.get(*path) != Some(*value);
        let rest = self.0.iter().filter(differs);
        Self(rest.map(|(path, value)| (path.clone(), value.clone())).collect())
    }

    fn of(document: &Value) -> Self {
        let mut leaves = Self::default();
        if document.is_object() {
            leaves.merge(&[], document);
        }
        leaves
    }
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A few leaves, one or two levels deep; sometimes one is taken away.
    fn patch(&mut self) -> Value {
        let mut patch = Map::new();
        for _ in 0..=self.throw(2) {
            let value = match self.throw(6) {
                0 => Value::Null,
                1 => json!([self.throw(3), "x"]),
                2 => json!(self.throw(2) == 0),
                _ => json!(self.throw(4)),
            };
            let name = |sides: u64| ["a", "b", "c"][usize::try_from(sides).unwrap()].to_owned();
            let (outer, inner, is_deep) = (name(self.throw(3)), name(self.throw(3)), self.throw(2) == 0);
            patch.insert(outer, if is_deep { json!({ inner: value }) } else { value });
        }
        Value::Object(patch)
    }
}

/// What was accepted: the version it was given, the version it asked for, the update and the answer.
type Accepted = (i64, Option<i64>, Value, Value);

async fn write(hub: &Hub, paths: &[String], seed: u64) -> (Vec<(usize, Accepted)>, usize) {
    let mut dice = Dice(seed);
    let mut known = vec![0; paths.len()];
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for _ in 0..UPDATES / WRITERS {
        let shadow = usize::try_from(dice.throw(paths.len() as u64)).unwrap();
        let mut state = Map::new();
        for part in ["desired", "reported"] {
            if dice.throw(3) > 0 {
                let is_cleared = dice.throw(20) == 0;
                state.insert(part.to_owned(), if is_cleared { Value::Null } else { dice.patch() });
            }
        }
        let version = (dice.throw(3) == 0).then_some(known[shadow]);
        let update = json!({ "state": state, "version": version });
        let answer = hub.patch(&paths[shadow], update.clone()).await;
        if answer.status == 409 {
            assert!(version.is_some(), "{answer:?}");
            refused += 1;
            known[shadow] = hub.get(&paths[shadow]).await.json()["version"].as_i64().unwrap_or(0);
            continue;
        }
        assert_eq!(answer.status, 200, "{update} {answer:?}");
        let answer = answer.json();
        let given = answer["version"].as_i64().unwrap();
        known[shadow] = given;
        accepted.push((shadow, (given, version, update, answer)));
    }
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_updates_at_once_are_as_if_one_after_the_other() {
    let hub = Hub::start().await;
    let mut paths = Vec::new();
    for name in ["one", "two"] {
        let device = lamp(&hub, name).await;
        paths.extend([format!("/devices/{device}/shadow"), format!("/devices/{device}/shadow?name=n")]);
    }
    let written = join_all((0..WRITERS).map(|writer| write(&hub, &paths, writer as u64 + 1))).await;
    let refused: usize = written.iter().map(|(_, refused)| refused).sum();
    let mut of_shadow: Vec<Vec<Accepted>> = vec![Vec::new(); paths.len()];
    for (shadow, accepted) in written.into_iter().flat_map(|(accepted, _)| accepted) {
        of_shadow[shadow].push(accepted);
    }
    let total: usize = of_shadow.iter().map(Vec::len).sum();
    assert_eq!(total + refused, UPDATES / WRITERS * WRITERS);
    assert!(refused > 100, "{refused} were refused: they hardly met");
    for (path, mut accepted) in paths.iter().zip(of_shadow) {
        accepted.sort_by_key(|(version, ..)| *version);
        let (mut desired, mut reported) = (Leaves::default(), Leaves::default());
        for ((version, asked, update, answer), expected) in accepted.into_iter().zip(1..) {
            assert_eq!(version, expected, "each update has a version of its own");
            assert!(asked.is_none_or(|asked| asked == version - 1), "{update} became version {version}");
            for (name, leaves) in [("desired", &mut desired), ("reported", &mut reported)] {
                match update["state"].get(name) {
                    None => {}
                    Some(Value::Null) => *leaves = Leaves::default(),
                    Some(patch) => leaves.merge(&[], patch),
                }
                assert_eq!(Leaves::of(&answer["state"][name]), *leaves, "{name} after {update}: {answer}");
            }
            let delta = Leaves::of(&answer["state"]["delta"]);
            assert_eq!(delta, desired.minus(&reported), "after {update}: {answer}");
        }
        let state = hub.get(path).await.json()["state"].clone();
        assert_eq!((Leaves::of(&state["desired"]), Leaves::of(&state["reported"])), (desired, reported));
    }
    hub.is_well().await;
}

#[tokio::test]
async fn a_shadow_has_a_history_and_comes_back() {
    let hub = Hub::start().await;
    let path = format!("/devices/{}/shadow", lamp(&hub, "lamp").await);
    let desired = |value: Value| json!({ "state": { "desired": value } });
    for wish in [json!({ "on": true, "hue": 1 }), json!({ "on": false }), json!({ "hue": null })] {
        assert_eq!(hub.patch(&path, desired(wish)).await.status, 200);
        hub.clock.advance(Span::seconds(10));
    }
    let history = hub.get(&format!("{path}/history")).await.json();
    let known: Vec<Value> =
        history["items"].as_array().unwrap().iter().map(|made| made["desired"].clone()).collect();
    let first = json!({ "on": true, "hue": 1 });
    assert_eq!(known, [json!({ "on": false }), json!({ "on": false, "hue": 1 }), first.clone()]);
    let oldest = &history["items"][2];
    assert_eq!((&oldest["version"], &oldest["actor_kind"]), (&json!(1), &json!("token")));
    let page =
        hub.get(&format!("{path}/history?limit=1&before={}", oldest["revision"].as_i64().unwrap() + 1)).await;
    assert_eq!(page.json()["items"], json!([oldest]));
    let newest = &history["items"][0]["revision"];
    let diff = hub.get(&format!("{path}/diff?from={}&to={newest}", oldest["revision"])).await.json();
    assert_eq!(diff, json!({ "desired": { "on": false, "hue": null }, "reported": {} }));
    assert_eq!(hub.get(&format!("{path}/at?version=1")).await.json()["desired"], first);
    let time = crate::support::START.0 + 15_000;
    assert_eq!(hub.get(&format!("{path}/at?time={time}")).await.json()["version"], 2);
    hub.get(&format!("{path}/at?time=1")).await.is(404, "not_found");
    hub.get(&format!("{path}/at")).await.is(400, "invalid");
    let back = hub.post(&format!("{path}/restore"), json!({ "revision": oldest["revision"] })).await.json();
    assert_eq!((&back["state"]["desired"], &back["version"]), (&first, &json!(4)));
    hub.post(&format!("{path}/restore"), json!({ "revision": 99 })).await.is(404, "not_found");
    assert_eq!(hub.get(&format!("{path}/history?name=other")).await.json()["items"], json!([]));
    // A wish may have an end.
    let soon = json!({ "state": { "desired": { "boost": true } }, "expires_in_seconds": 60 });
    assert!(hub.patch(&path, soon).await.json()["expiry"]["boost"].is_i64());
    hub.clock.advance(Span::seconds(60));
    hub.until("the wish ends", || async {
        (hub.get(&path).await.json()["state"]["desired"] == first).then_some(())
    })
    .await;
    let newest = hub.get(&format!("{path}/history?limit=1")).await.json()["items"][0].clone();
    assert_eq!(newest["actor_kind"], "system");
    hub.is_well().await;
}

#[tokio::test]
async fn conditions_are_kept_and_a_second_reader_sees_the_change() {
    let hub = Hub::start().await;
    let device = lamp(&hub, "lamp").await;
    let path = format!("/api/v1/devices/{device}/shadow");
    let on = |value: bool| json!({ "state": { "desired": { "on": value } } });
    let mut reader = Reader::open(&hub, &hub.ada, "", None).await.unwrap();
    reader.next().await.unwrap();
    reader.say(&json!({ "watch": [device] }).to_string()).await;
    // It is watched when what was said after that is answered; that the lamp was made may come before.
    reader.say("x").await;
    while !reader.next().await.unwrap()["error"].is_string() {}
    let send = async |tag: &str, value: bool| {
        let answer = hub.send("PATCH", &path, &hub.ada, &[("If-Match", tag)], Some(&on(value))).await;
        (answer.status, answer.head.to_lowercase().contains("etag: \"1\""))
    };
    assert_eq!(send("*", true).await, (412, false));
    assert_eq!(hub.patch(&format!("/devices/{device}/shadow"), on(true)).await.status, 200);
    let frame = loop {
        let frame = reader.next().await.unwrap();
        if frame.get("shadow").is_some() {
            break frame;
        }
    };
    assert_eq!(frame["shadow"][&device]["state"]["delta"], json!({ "on": true }));
    assert_eq!(send("\"7\"", false).await, (412, false));
    assert_eq!(send("\"1\"", false).await.0, 200);
    let answer = hub.send("DELETE", &path, &hub.ada, &[("If-Match", "\"1\"")], None).await;
    answer.is(412, "version_conflict");
    assert_eq!(hub.delete(&format!("/devices/{device}/shadow")).await.status, 204);
    let list = hub.get(&format!("/devices/{device}/shadows")).await.json();
    assert_eq!(list["items"], json!([]));
    hub.send("PATCH", &path, &Caller::default(), &[], Some(&on(true))).await.is(401, "unauthenticated");
    hub.is_well().await;
}
