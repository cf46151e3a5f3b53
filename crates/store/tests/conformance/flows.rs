//! Flows, their versions and layouts, and the scripts that are generated for boards.

use motehub_domain::effects::Save;
use motehub_domain::flow::{self, Flow, FlowVersion, Layout, Limit, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::placement::Place;
use motehub_domain::time::Span;
use motehub_store::StoreError;
use serde_json::json;

use crate::world::{NOW, World, id, script};

fn flow(number: u128, name: &str) -> Flow {
    Flow {
        id: id(number),
        name: name.into(),
        description: "warns".into(),
        latest_version: 1,
        deployed: None,
        created_at: NOW + Span(number as i64),
        updated_at: NOW + Span::seconds(1),
        revision: 1,
    }
}

fn version(flow: FlowId, version: i64) -> FlowVersion {
    let document = json!({
        "steps": [
            { "id": "th", "name": "<b>Küche</b>", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 5000,
                "requires": ["temperature"], "prefers": ["humidity"], "x": -3, "y": 7 },
            { "id": "warm", "kind": "compare", "property": "temperature", "emits": "value",
                "rules": [{ "operator": "between", "value": 20.5, "to": version }] },
            { "id": "out", "kind": "publish", "topic": "kitchen/warm", "retain": true },
        ],
        "wires": [{ "from": "th", "to": "warm" }, { "from": "warm", "to": "out" }],
        "boards": "tag=kitchen", "take_over": true, "weights": { "load": 0.25 },
    });
    FlowVersion {
        flow,
        version,
        author: "Ada".into(),
        created_at: NOW + Span(version),
        comment: format!("number {version}"),
        graph: flow::graph(&document).unwrap(),
    }
}

fn layout(flow: FlowId, number: i64, on: DeviceId) -> Layout {
    let places = [("th", Place::Device(on)), ("out", Place::Hub)];
    Layout {
        flow,
        number,
        version: 1,
        at: NOW + Span(number),
        cause: format!("bench-{number} went away"),
        places: places.map(|(step, place)| (StepId::parse(step).unwrap(), place)).into(),
    }
}

fn save(flow: &Flow) -> Save {
    Save::Flow(Box::new(flow.clone()))
}

pub(crate) async fn a_flow_is_written_found_edited_and_deleted(world: &mut World) {
    let (climate, alarm) = (flow(1, "Climate"), flow(2, "alarm_1"));
    world.save([save(&climate), save(&alarm)]).await.unwrap();
    assert_eq!(world.store.flow(climate.id).await, Ok(Some(climate.clone())));
    let edited = Flow {
        name: "KLIMA".into(),
        description: String::new(),
        latest_version: 2,
        deployed: Some(1),
        updated_at: NOW + Span::days(1),
        revision: 2,
        ..climate.clone()
    };
    world.save([save(&edited)]).await.unwrap();
    for stale in [&climate, &edited, &Flow { revision: 4, ..edited.clone() }] {
        assert_eq!(world.save([save(stale)]).await, Err(StoreError::Conflict { what: "flow" }));
    }
    world.reopen().await;
    assert_eq!(world.store.flow_named("klima").await, Ok(Some(edited.clone())));
    assert_eq!(world.store.flow_named("climate").await, Ok(None));
    assert_eq!(world.store.deployed_flows().await, Ok(vec![edited.clone()]));
    let taken = Err(StoreError::Taken { field: "name" });
    assert_eq!(world.save([save(&flow(3, "Klima"))]).await, taken, "without regard to case");
    assert_eq!(world.save([save(&Flow { name: "klima".into(), revision: 2, ..alarm.clone() })]).await, taken);

    assert_eq!(world.store.flows(None, 0, 9).await, Ok((vec![alarm.clone(), edited.clone()], 2)));
    assert_eq!(world.store.flows(None, 1, 9).await, Ok((vec![edited.clone()], 2)));
    assert_eq!(world.store.flows(Some("IM"), 0, 9).await, Ok((vec![edited], 1)));
    assert_eq!(world.store.flows(Some("m_"), 0, 9).await, Ok((vec![alarm], 1)), "_ is a letter like others");
    assert_eq!(world.store.flows(Some("%"), 0, 9).await, Ok((vec![], 0)));

    world.save([Save::DeleteFlow(climate.id)]).await.unwrap();
    assert_eq!(world.store.flow(climate.id).await, Ok(None));
    let again = world.save([Save::DeleteFlow(climate.id)]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "flow" }));
}

pub(crate) async fn versions_of_flows_come_back_as_they_were_drawn(world: &mut World) {
    let climate = flow(1, "climate");
    let versions = [1, 2, 3].map(|number| version(climate.id, number));
    let of = |version: &FlowVersion| Save::FlowVersion(Box::new(version.clone()));
    world.save([save(&climate), of(&versions[0]), of(&versions[1]), of(&versions[2])]).await.unwrap();
    let twice = world.save([of(&versions[1])]).await;
    assert_eq!(twice, Err(StoreError::Conflict { what: "flow version" }), "a version is never replaced");
    let orphan = world.save([of(&version(id(9), 1))]).await;
    assert!(matches!(orphan, Err(StoreError::Conflict { .. })), "{orphan:?}");
    world.reopen().await;
    let [first, second, third] = versions;
    assert_eq!(world.store.flow_version(climate.id, 2).await, Ok(Some(second.clone())));
    assert_eq!(world.store.flow_version(climate.id, 4).await, Ok(None));
    assert_eq!(world.store.flow_versions(climate.id, 2).await, Ok(vec![third, second]), "newest first");
    world.save([Save::DeleteFlow(climate.id)]).await.unwrap();
    assert_eq!(world.store.flow_version(climate.id, first.version).await, Ok(None));
}

pub(crate) async fn the_newest_layouts_of_a_flow_are_kept(world: &mut World) {
    let lamp = world.device(1).await;
    let (climate, alarm) = (flow(1, "climate"), flow(2, "alarm"));
    let of = |layout: Layout| Save::Layout(Box::new(layout));
    world.save([save(&climate), save(&alarm), of(layout(alarm.id, 1, lamp.id))]).await.unwrap();
    assert_eq!(world.store.layout(climate.id).await, Ok(None));
    let many: Vec<Save> = (1..=502).map(|number| of(layout(climate.id, number, lamp.id))).collect();
    world.save(many).await.unwrap();
    let twice = world.save([of(layout(climate.id, 502, lamp.id))]).await;
    assert_eq!(twice, Err(StoreError::Conflict { what: "layout" }), "one plan at a time");
    world.reopen().await;
    assert_eq!(world.store.layout(climate.id).await, Ok(Some(layout(climate.id, 502, lamp.id))));
    let (newest, total) = world.store.layouts(climate.id, 1, 2).await.unwrap();
    assert_eq!(newest, [501, 500].map(|number| layout(climate.id, number, lamp.id)));
    assert_eq!(total, 500);
    let (oldest, _) = world.store.layouts(climate.id, 499, 10).await.unwrap();
    assert_eq!(oldest, [layout(climate.id, 3, lamp.id)]);
    assert_eq!(world.store.layouts(alarm.id, 0, 10).await.unwrap().1, 1, "those of others stay");
    world.save([Save::DeleteFlow(climate.id)]).await.unwrap();
    assert_eq!(world.store.layouts(climate.id, 0, 10).await, Ok((vec![], 0)));
}

pub(crate) async fn limits_end_with_flow_device_and_deployment(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    let (climate, alarm) = (flow(1, "climate"), flow(2, "alarm"));
    let limit = |flow: &Flow, device, steps| Limit {
        flow: flow.id,
        device,
        steps,
        reason: "MemoryError".into(),
        at: NOW + Span(3),
    };
    let of = |limit: &Limit| Save::Limit(Box::new(limit.clone()));
    let later = Limit { at: NOW + Span(4), reason: "again".into(), ..limit(&climate, lamp.id, 2) };
    let (other, third) = (limit(&alarm, lamp.id, 0), limit(&climate, fan.id, 7));
    let first = limit(&climate, lamp.id, 4);
    world.save([save(&climate), save(&alarm), of(&first), of(&other), of(&third), of(&later)]).await.unwrap();
    world.reopen().await;
    let all = async || {
        let mut all = world.store.flow_limits().await.unwrap();
        all.sort_by_key(|limit| (limit.flow, limit.device));
        all
    };
    assert_eq!(all().await, [later.clone(), third.clone(), other.clone()], "the last one learned holds");
    world.save([Save::ForgetLimits(alarm.id)]).await.unwrap();
    assert_eq!(all().await, [later, third.clone()]);
    world.save([Save::DeleteDevice(lamp.id)]).await.unwrap();
    assert_eq!(all().await, [third]);
    world.save([Save::DeleteFlow(climate.id)]).await.unwrap();
    assert_eq!(all().await, []);
}

pub(crate) async fn programs_are_not_in_the_library_and_go_with_their_device(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    let blink = world.script(1).await;
    let (of_lamp, of_fan) = (world.script(2).await, world.script(3).await);
    world.save([Save::Program(lamp.id, of_lamp.id), Save::Program(fan.id, of_fan.id)]).await.unwrap();
    let second = world.save([Save::Program(lamp.id, blink.id)]).await;
    assert_eq!(second, Err(StoreError::Conflict { what: "program" }), "a device has one");
    world.reopen().await;
    let programs = [(lamp.id, of_lamp.id), (fan.id, of_fan.id)].into();
    assert_eq!(world.store.programs().await, Ok(programs));
    let library = async |text| {
        let (found, total) = world.store.scripts(text, 0, 10).await.unwrap();
        (found.into_iter().map(|(script, _)| script.name).collect::<Vec<_>>(), total)
    };
    let only_blink = || (vec![blink.name.clone()], 1);
    assert_eq!(library(None).await, only_blink());
    assert_eq!(library(Some("blink")).await, only_blink());
    assert_eq!(world.store.words(10).await.unwrap().scripts, [blink.name.as_str()]);
    assert_eq!(world.store.script(of_lamp.id).await, Ok(Some(of_lamp.clone())), "it is there");

    world.save([Save::DeleteDevice(lamp.id)]).await.unwrap();
    assert_eq!(world.store.script(of_lamp.id).await, Ok(None));
    assert_eq!(world.store.version(of_lamp.id, 1).await, Ok(None));
    assert_eq!(world.store.programs().await, Ok([(fan.id, of_fan.id)].into()));
    assert_eq!(library(None).await, only_blink());
    world.save([Save::DeleteScript(of_fan.id)]).await.unwrap();
    assert_eq!(world.store.programs().await, Ok([].into()));
    world.save([Save::Script(Box::new(script(4)))]).await.unwrap();
    let number = world.store.script(id(4)).await.unwrap().unwrap().number;
    assert_eq!(number, 4, "numbers of programs are not given again either");
}
