//! Selectors: what they pick out of a fleet with tags, capabilities, reports and telemetry, compared with plain
//! code that reads the same facts; and groups.

use std::collections::BTreeMap;

use motehub_domain::capability::{Capability, Usage};
use motehub_domain::device::{Device, Presence, Reach};
use motehub_domain::effects::Save;
use motehub_domain::group::Group;
use motehub_domain::id::DeviceId;
use motehub_domain::selector::{Field, Known, Operator, Selector, Value};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{StoreError, Words};

use crate::world::{NOW, World, device, id, measured, point, script};

const HOUR: i64 = 3_600_000;
/// When the selectors are asked.
const LATER: Time = Time(NOW.0 + 2 * HOUR);
/// How many generated selectors are compared.
const GENERATED: usize = 400;

/// What plain code knows of a device.
struct Facts {
    id: DeviceId,
    name: String,
    tags: Vec<String>,
    capabilities: Vec<String>,
    online: bool,
    seen: Option<Time>,
    measured: BTreeMap<String, PointValue>,
    reported: BTreeMap<String, PointValue>,
}

fn text(text: &str) -> PointValue {
    PointValue::Text(text.to_owned())
}

/// Eight devices of which each knows something else; the telemetry of the first half is in chunks.
async fn fleet(world: &mut World) -> Vec<Facts> {
    let mut all = Vec::new();
    for number in 1..=8u128 {
        let tags: Vec<String> = ["kitchen", "Cellar", "b c"].map(str::to_owned).to_vec();
        let tags: Vec<String> =
            tags.into_iter().enumerate().filter(|(i, _)| number >> i & 1 == 1).map(|(_, tag)| tag).collect();
        let assigned: Vec<String> = (number % 2 == 0).then(|| "relay".to_owned()).into_iter().collect();
        let announced: Vec<String> = (number % 3 == 0).then(|| "bme280".to_owned()).into_iter().collect();
        let device = Device { tags, capabilities: assigned.clone(), ..device(number) };
        let seen = (number > 2).then(|| NOW + Span::minutes(number as i64));
        let online = number % 4 == 0;
        let mut reported = BTreeMap::new();
        if number > 3 {
            reported.insert("model".to_owned(), text(if number > 5 { "d1 mini" } else { "nodemcu" }));
            reported.insert("free_ram".to_owned(), PointValue::Number(9000.0));
            reported.insert("safe_mode".to_owned(), PointValue::Boolean(number == 7));
        }
        let measured_now = match number {
            1..=4 => BTreeMap::from([("free_ram".to_owned(), PointValue::Number(10000.0 * number as f64))]),
            5 => BTreeMap::from([("mode".to_owned(), text("Eco"))]),
            6 => BTreeMap::from([("mode".to_owned(), PointValue::Boolean(true))]),
            _ => BTreeMap::new(),
        };
        world
            .save([
                Save::Device(Box::new(device.clone())),
                Save::Announced(device.id, announced.clone()),
                Save::Reported(device.id, reported.clone().into_iter().collect()),
            ])
            .await
            .unwrap();
        if let Some(seen_at) = seen {
            let presence = Presence {
                device: device.id,
                reach: Reach::of(online),
                gateway: None,
                seen_at,
                address: String::new(),
            };
            world.save([Save::Presence(presence)]).await.unwrap();
        }
        for (metric, value) in &measured_now {
            let metric = Metric::parse(metric).unwrap();
            // An older value, which must not count, comes later.
            let newest = Point { metric: metric.clone(), time: When::At(NOW), value: value.clone() };
            let older = Point { metric, time: When::At(NOW - Span(5)), value: PointValue::Number(-1.0) };
            world.append([measured(device.id, NOW.0, vec![newest, older])]).await;
        }
        if number == 3 {
            world.store.merge(NOW + Span(2 * HOUR)).await.unwrap();
        }
        all.push(Facts {
            id: device.id,
            name: device.name,
            tags: device.tags,
            capabilities: [assigned, announced].concat(),
            online,
            seen,
            measured: measured_now,
            reported,
        });
    }
    all
}

impl Facts {
    fn satisfies(&self, selector: &Selector) -> bool {
        match selector {
            Selector::All => true,
            Selector::Online => self.online,
            Selector::Failing | Selector::Pending | Selector::Unauthenticated => false,
            Selector::Not(inner) => !self.satisfies(inner),
            Selector::And(left, right) => self.satisfies(left) && self.satisfies(right),
            Selector::Or(left, right) => self.satisfies(left) || self.satisfies(right),
            Selector::Compare(field, Operator::Unequal, value) => !self.is(field, Operator::Equal, value),
            Selector::Compare(field, operator, value) => self.is(field, *operator, value),
            Selector::Among(field, values) => {
                values.iter().any(|value| self.is(field, Operator::Equal, value))
            }
            Selector::Exists(Field::Known(Known::Seen)) => self.seen.is_some(),
            Selector::Exists(Field::Known(Known::Tag)) => !self.tags.is_empty(),
            Selector::Exists(field) => self.value(field).is_some(),
        }
    }

    fn value(&self, field: &Field) -> Option<&PointValue> {
        match field {
            Field::Telemetry(name) => self.measured.get(name),
            Field::Reported(name) => self.reported.get(name),
            Field::Either(name) => self.measured.get(name).or(self.reported.get(name)),
            Field::Known(_) => None,
        }
    }

    fn is(&self, field: &Field, operator: Operator, value: &Value) -> bool {
        let one_of = |texts: &[String]| match (operator, value) {
            (Operator::Contains, Value::Text(part)) => {
                texts.iter().any(|text| text.to_lowercase().contains(&part.to_lowercase()))
            }
            (_, Value::Text(whole)) => texts.contains(whole),
            _ => false,
        };
        match (field, value) {
            (Field::Known(Known::Tag), _) => one_of(&self.tags),
            (Field::Known(Known::Capability), _) => one_of(&self.capabilities),
            (Field::Known(Known::Name), _) => one_of(std::slice::from_ref(&self.name)),
            (Field::Known(Known::Seen), Value::Age(than)) => {
                let age = if self.online { Some(0) } else { self.seen.map(|at| (LATER - at).0) };
                let order = age.unwrap_or(i64::MAX).cmp(&than.0);
                match operator {
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
            (Field::Known(known), _) => panic!("{known:?} is not in the test"),
            _ => self.value(field).is_some_and(|known| value.satisfied(operator, known)),
        }
    }
}

/// Numbers that look like chance and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn selector(&mut self, depth: usize) -> String {
        const TERMS: [&str; 24] = [
            "online",
            "tag=kitchen",
            "tag~CELL",
            "tag != \"b c\"",
            "tag in (Cellar, \"b c\")",
            "tag exists",
            "capability=relay",
            "capability in (bme280)",
            "name ~ \"lamp 3\"",
            "seen > 1h",
            "seen <= 117m",
            "seen exists",
            "free_ram < 20000",
            "free_ram >= 9000",
            "telemetry.free_ram exists",
            "reported.free_ram = 9000",
            "model = \"d1 mini\"",
            "model ~ NODE",
            "safe_mode = true",
            "mode = Eco",
            "mode = true",
            "mode exists",
            "mode != Eco",
            "free_ram in (9000, 30000)",
        ];
        match self.below(if depth == 0 { 1 } else { 4 }) {
            0 => TERMS[self.below(TERMS.len())].to_owned(),
            1 => format!("not ({})", self.selector(depth - 1)),
            2 => format!("({}) and ({})", self.selector(depth - 1), self.selector(depth - 1)),
            _ => format!("({}) or ({})", self.selector(depth - 1), self.selector(depth - 1)),
        }
    }
}

pub(crate) async fn the_database_and_plain_code_agree_about_selectors(world: &mut World) {
    let all = fleet(world).await;
    for round in 0..2 {
        let mut chance = Chance(20_261_121 + round);
        for _ in 0..GENERATED {
            let text = chance.selector(3);
            let Ok(selector) = Selector::parse(&text) else { panic!("{text}") };
            assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(&selector), "{text}");
            let expected: Vec<DeviceId> =
                all.iter().filter(|facts| facts.satisfies(&selector)).map(|facts| facts.id).collect();
            let found = world.store.select_ids(&selector, LATER, 100).await.unwrap();
            assert_eq!(found, expected, "{text}");
            let counted = world.store.count_devices(&selector, LATER).await;
            assert_eq!(counted, Ok(expected.len() as i64), "{text}");
        }
        // The second time from the disk.
        world.reopen().await;
    }
}

pub(crate) async fn telemetry_and_reports_are_told_apart(world: &mut World) {
    fleet(world).await;
    let cases: &[(&str, &[u128])] = &[
        ("free_ram < 20000 and not online", &[1, 5, 6, 7]),
        ("telemetry.free_ram < 20000", &[1]),
        ("reported.free_ram < 20000", &[4, 5, 6, 7, 8]),
        ("reported.attributes.free_ram < 20000", &[4, 5, 6, 7, 8]),
        ("free_ram = \"9000\"", &[]),
        ("telemetry.mode = eco", &[]),
        ("mode ~ EC", &[5]),
        ("mode < 1", &[]),
        ("not mode exists and not model exists", &[1, 2, 3]),
        ("safe_mode = true", &[7]),
        ("seen > 1000w", &[1, 2]),
        ("registered <= 2h", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("registered < 2h", &[]),
        ("state = waiting_for_script and name in (\"Lamp 1\", \"Lamp 9\")", &[1]),
        ("version < 100 or script exists or problem exists", &[]),
        ("address exists or group = nobody", &[]),
        ("nothing = 1 or nothing != 1", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    for (text, expected) in cases {
        let selector = Selector::parse(text).unwrap();
        let expected: Vec<DeviceId> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(world.store.select_ids(&selector, LATER, 100).await, Ok(expected), "{text}");
    }
    let gone = world.store.select_ids(&Selector::parse("free_ram < 20000").unwrap(), LATER, 1).await.unwrap();
    world.save([Save::DeleteDevice(gone[0])]).await.unwrap();
    let left =
        world.store.select_ids(&Selector::parse("telemetry.free_ram < 20000").unwrap(), LATER, 9).await;
    assert_eq!(left, Ok(vec![]), "a deleted device has no latest value");
    let words = world.store.words(10).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(words.tags, names(&["Cellar", "b c", "kitchen"]));
    assert_eq!(words.capabilities, names(&["bme280", "relay"]));
    assert_eq!(words.metrics, names(&["free_ram", "mode"]));
    assert_eq!(words.attributes, names(&["free_ram", "model", "safe_mode"]));
    assert_eq!(world.store.words(1).await.unwrap().tags, names(&["Cellar"]));
}

pub(crate) async fn the_newest_value_counts_wherever_it_is(world: &mut World) {
    let lamp = world.device(1).await.id;
    let is = async |world: &World, value: i64| {
        let selector = Selector::parse(&format!("t = {value}")).unwrap();
        world.store.count_devices(&selector, NOW).await == Ok(1)
    };
    world.append([measured(lamp, NOW.0, vec![point("t", None, 1.0)])]).await;
    assert!(is(world, 1).await, "not merged yet");
    world.reopen().await;
    assert!(is(world, 1).await);
    world.store.merge(NOW + Span(HOUR)).await.unwrap();
    world.reopen().await;
    assert!(is(world, 1).await, "only in a chunk");
    world.append([measured(lamp, NOW.0 + HOUR, vec![point("t", Some(NOW.0 - HOUR), 2.0)])]).await;
    assert!(is(world, 1).await, "what arrived late is not the newest");
    world.append([measured(lamp, NOW.0 + HOUR, vec![point("t", Some(NOW.0 + 1), 3.0)])]).await;
    world.store.merge(NOW + Span(2 * HOUR)).await.unwrap();
    world.reopen().await;
    assert!(is(world, 3).await);
    assert_eq!(world.store.latest(lamp).await.unwrap()[0].time, NOW + Span(1));
}

pub(crate) async fn groups_have_unique_names(world: &mut World) {
    let group = |number: u128, name: &str| Group {
        id: id(number),
        name: name.into(),
        description: "of <b>lamps</b>".into(),
        selector: "tag=kitchen".into(),
        created_at: NOW,
        revision: 1,
    };
    let (kitchen, away) = (group(1, "Kitchen"), group(2, "away"));
    let save = [Save::Group(Box::new(kitchen.clone())), Save::Group(Box::new(away.clone()))];
    world.save(save).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.groups().await, Ok(vec![away.clone(), kitchen.clone()]));
    let twin = world.save([Save::Group(Box::new(group(3, "KITCHEN")))]).await;
    assert_eq!(twin, Err(StoreError::Taken { field: "name" }));
    let renamed = Group { name: "Galley".into(), revision: 2, ..kitchen.clone() };
    world.save([Save::Group(Box::new(renamed.clone()))]).await.unwrap();
    assert!(world.save([Save::Group(Box::new(renamed.clone()))]).await.is_err(), "a stale write");
    world.save([Save::DeleteGroup(away.id)]).await.unwrap();
    assert_eq!(world.store.groups().await, Ok(vec![renamed]));
    assert!(world.save([Save::DeleteGroup(away.id)]).await.is_err());
}

pub(crate) async fn capabilities_are_counted_by_who_has_and_needs_them(world: &mut World) {
    let described = Capability { name: "lidar".into(), description: "sees".into() };
    let relay = |capabilities: &[&str], revision| {
        let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        Save::Device(Box::new(Device { capabilities, revision, ..device(1) }))
    };
    let mut blink = script(1);
    blink.requires = vec!["relay".into()];
    let save = [relay(&["relay", "bme280"], 1), Save::Script(Box::new(blink.clone()))];
    world.save(save).await.unwrap();
    world.save([Save::Capability(described.clone()), relay(&["relay"], 2)]).await.unwrap();
    let two = vec!["relay".to_owned(), "x".to_owned()];
    world.save([Save::Announced(id(1), vec!["old".into()]), Save::Announced(id(1), two)]).await.unwrap();
    world.reopen().await;
    let bare = |name: &str| Capability { name: name.into(), description: String::new() };
    let usage = |assigned, announced, required| Usage { assigned, announced, required };
    let expected =
        [(described, usage(0, 0, 0)), (bare("relay"), usage(1, 1, 1)), (bare("x"), usage(0, 1, 0))];
    assert_eq!(world.store.capabilities(10).await, Ok(expected.to_vec()));
    let had = world.store.capabilities_of(&[id(1), id(2)]).await.unwrap();
    assert_eq!(had.get(&id(1)), Some(&vec!["relay".to_owned(), "x".to_owned()]));
    assert_eq!(had.len(), 1);
    assert_eq!(world.store.script(blink.id).await.unwrap().unwrap().requires, ["relay"]);
    world.save([Save::DeleteCapability("lidar".into()), Save::DeleteDevice(id(1))]).await.unwrap();
    assert_eq!(world.store.capabilities(10).await, Ok(vec![(bare("relay"), usage(0, 0, 1))]));
    world.save([Save::DeleteScript(blink.id)]).await.unwrap();
    assert_eq!(world.store.capabilities(10).await, Ok(vec![]));
    assert_eq!(world.store.words(5).await, Ok(Words::default()));
}
