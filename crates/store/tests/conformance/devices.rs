//! Devices and what belongs to them.

use motehub_domain::certificate::Certificate;
use motehub_domain::credential::Rotation;
use motehub_domain::deployment::{Cause, TaskState};
use motehub_domain::device::{Assignment, Device, Dialect, Holder, Presence, Reach, Software};
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::knock::{Knock, Said, Standing, Via};
use motehub_domain::selector::Selector;
use motehub_domain::time::{Span, Time};
use motehub_store::{DeviceQuery, Sort, StoreError};

use crate::world::{NOW, World, artifact, deployment, device, digest, id, script, task};

fn presence(device: DeviceId, online: bool, seen_at: Time) -> Presence {
    Presence { device, reach: Reach::of(online), gateway: None, seen_at, address: "192.0.2.1".into() }
}

pub(crate) fn software(device: DeviceId) -> Software {
    Software {
        active: Some(artifact(1, 2)),
        pending: Some((id(9), artifact(1, 3))),
        running: Some(artifact(1, 1)),
        good: Some(artifact(2, 1)),
        fetched_at: Some(NOW),
        woken_at: Some(NOW + Span(1)),
        boots: vec![NOW, NOW + Span(5)],
        problem: Some("it \"loops\"".into()),
        revision: 1,
        ..Software::none(device)
    }
}

pub(crate) async fn a_device_is_written_found_edited_and_deleted(world: &mut World) {
    let mut lamp = world.device(1).await;
    assert_eq!(world.store.device(lamp.id).await, Ok(Some(lamp.clone())));
    lamp.name = "'; drop table devices; -- \u{1f4a1}".into();
    lamp.tags = vec!["a".into(), "Küche".into()];
    lamp.external_id = None;
    lamp.dialect = Dialect::Native;
    lamp.unauthenticated_allowed = true;
    lamp.revision = 2;
    world.save([Save::Device(Box::new(lamp.clone()))]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.device(lamp.id).await, Ok(Some(lamp.clone())));
    let view = world.store.device_view(lamp.id).await.unwrap().unwrap();
    assert_eq!((view.device, view.software), (lamp.clone(), Software::none(lamp.id)));
    assert_eq!((view.presence, view.has_credential, view.open_task), (None, false, None));
    world.save([Save::DeleteDevice(lamp.id)]).await.unwrap();
    assert_eq!(world.store.device(lamp.id).await, Ok(None));
    assert_eq!(world.store.device_view(lamp.id).await, Ok(None));
    assert_eq!(world.store.select_ids(&Selector::All, NOW, 10).await, Ok(Vec::new()));
}

pub(crate) async fn an_external_id_is_unique_in_its_dialect(world: &mut World) {
    let lamp = world.device(1).await;
    let twin = Device { id: id(2), ..lamp.clone() };
    let taken = Err(StoreError::Taken { field: "external_id" });
    assert_eq!(world.save([Save::Device(Box::new(twin.clone()))]).await, taken);
    let native = Device { dialect: Dialect::Native, ..twin };
    world.save([Save::Device(Box::new(native.clone()))]).await.unwrap();
    let found = world.store.devices_by_external_id("1001").await.unwrap();
    assert_eq!(found, [native.clone(), lamp.clone()]);
    assert_eq!(world.store.devices_by_external_id("1002").await, Ok(Vec::new()));
    let names: Vec<String> = (0..1200).map(|number: u32| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(world.store.devices_by_external_ids(&names).await.unwrap().len(), 2);
    let nameless = |number| Device { external_id: None, ..device(number) };
    for number in [3, 4] {
        world.save([Save::Device(Box::new(nameless(number)))]).await.unwrap();
    }
    let moved = Device { dialect: Dialect::Nodemcu, revision: 2, ..native };
    assert_eq!(world.save([Save::Device(Box::new(moved))]).await, taken);
}

pub(crate) async fn a_credential_finds_its_device(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    world.save([Save::Credential(lamp.id, Some(digest(1)))]).await.unwrap();
    world.save([Save::Credential(lamp.id, Some(digest(2)))]).await.unwrap();
    assert_eq!(world.store.device_by_credential(digest(1)).await, Ok(None), "the former one stopped");
    assert_eq!(world.store.device_by_credential(digest(2)).await, Ok(Some(lamp.clone())));
    assert_eq!(world.store.credential(lamp.id).await, Ok(Some(digest(2))));
    assert_eq!(world.store.credential(fan.id).await, Ok(None));
    let stolen = world.save([Save::Credential(fan.id, Some(digest(2)))]).await;
    assert_eq!(stolen, Err(StoreError::Taken { field: "credential" }));
    assert!(world.store.device_view(lamp.id).await.unwrap().unwrap().has_credential);
    world.save([Save::Credential(lamp.id, None)]).await.unwrap();
    assert_eq!(world.store.device_by_credential(digest(2)).await, Ok(None));
    let unknown = world.save([Save::Credential(id(9), Some(digest(3)))]).await;
    assert!(matches!(unknown, Err(StoreError::Conflict { .. })), "{unknown:?}");
}

pub(crate) async fn a_rotation_ends_with_the_next_credential(world: &mut World) {
    let lamp = world.device(1).await;
    let rotation = |sent_at| Rotation { device: lamp.id, started_at: NOW, sent_at };
    world.save([Save::Credential(lamp.id, Some(digest(1))), Save::Rotation(rotation(None))]).await.unwrap();
    assert_eq!(world.store.rotations(&[lamp.id, id(9)]).await, Ok(vec![rotation(None)]));
    assert_eq!(world.store.with_credential(&[lamp.id, id(9)]).await, Ok(vec![lamp.id]));
    for number in 2..8 {
        let at = NOW + Span(i64::from(number));
        let next = Save::NextCredential(lamp.id, digest(number), at);
        world.save([Save::Rotation(rotation(Some(at))), next]).await.unwrap();
    }
    world.reopen().await;
    for (number, found) in [(3, None), (4, Some(lamp.clone())), (7, Some(lamp.clone())), (1, None)] {
        assert_eq!(world.store.device_by_next_credential(digest(number)).await, Ok(found), "{number}");
    }
    world.save([Save::CredentialShared(lamp.id, NOW, "::1, ::2".into())]).await.unwrap();
    let view = world.store.device_view(lamp.id).await.unwrap().unwrap();
    assert_eq!(view.rotation, Some(rotation(Some(NOW + Span(7)))));
    assert_eq!(view.shared, Some((NOW, "::1, ::2".to_owned())));
    world.save([Save::Credential(lamp.id, Some(digest(5)))]).await.unwrap();
    let view = world.store.device_view(lamp.id).await.unwrap().unwrap();
    assert_eq!((view.rotation, view.shared, view.has_credential), (None, None, true));
    assert_eq!(world.store.device_by_next_credential(digest(7)).await, Ok(None));
    assert_eq!(world.store.device_by_credential(digest(5)).await, Ok(Some(lamp.clone())));
    world.save([Save::DeleteDevice(lamp.id)]).await.unwrap();
    assert_eq!(world.store.rotations(&[lamp.id]).await, Ok(Vec::new()));
}

pub(crate) async fn knocks_are_kept_moved_and_dropped(world: &mut World) {
    let knock = |number: u128, at: i64| Knock {
        id: id(number),
        said: Said::new(&format!("lamp-{number}"), Some("esp"), Via::Mqtt, "192.0.2.7".into(), true).unwrap(),
        count: 1,
        first_at: NOW,
        last_at: NOW + Span(at),
        standing: Standing::New,
    };
    let (first, mut second) = (knock(1, 1), knock(2, 2));
    world.save([&first, &second].map(|knock| Save::Knock(Box::new(knock.clone())))).await.unwrap();
    assert_eq!(world.store.knocks().await, Ok(vec![second.clone(), first.clone()]));
    second.said.client_id = None;
    (second.said.via, second.said.has_secret, second.said.address) = (Via::Http, false, "::1".into());
    (second.count, second.standing, second.last_at) = (9, Standing::Refused, NOW + Span(3));
    world.save([Save::Knock(Box::new(second.clone())), Save::DropKnock(first.id)]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.knocks().await, Ok(vec![second.clone()]));
    // Whoever counts does not know yet what was decided.
    let heard =
        |knock: &Knock| Save::KnockHeard(Box::new(Knock { standing: Standing::New, ..knock.clone() }));
    second.count = 10;
    world.save([heard(&second), heard(&first)]).await.unwrap();
    assert_eq!(world.store.knocks().await, Ok(vec![second.clone(), first]), "it stays refused");
    second.standing = Standing::Ignored;
    world.save([Save::Knock(Box::new(second.clone())), heard(&second)]).await.unwrap();
    assert_eq!(world.store.knocks().await.unwrap()[0].standing, Standing::Ignored);
    second.said.client_id = Some("other".to_owned());
    world.save([heard(&second)]).await.unwrap();
    assert_eq!(world.store.knocks().await.unwrap()[0].standing, Standing::New, "it says something else");
}

pub(crate) async fn software_is_guarded_and_complete(world: &mut World) {
    let lamp = world.device(1).await;
    assert_eq!(world.store.software(lamp.id).await, Ok(Software::none(lamp.id)));
    let mut software = software(lamp.id);
    world.save([Save::Software(Box::new(software.clone()))]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.software(lamp.id).await, Ok(software.clone()));
    let conflict = Err(StoreError::Conflict { what: "software" });
    assert_eq!(world.save([Save::Software(Box::new(software.clone()))]).await, conflict);
    software = Software { revision: 2, ..Software::none(lamp.id) };
    world.save([Save::Software(Box::new(software.clone()))]).await.unwrap();
    assert_eq!(world.store.software(lamp.id).await, Ok(software.clone()));
    software.revision = 4;
    assert_eq!(world.save([Save::Software(Box::new(software))]).await, conflict);
}

pub(crate) async fn presence_is_replaced_seen_and_ended(world: &mut World) {
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    assert_eq!(world.store.presence(lamp).await, Ok(None));
    world.save([Save::Presence(presence(lamp, false, NOW))]).await.unwrap();
    world.save([Save::Presence(presence(lamp, true, NOW + Span(1)))]).await.unwrap();
    world
        .save([Save::Seen(lamp, NOW + Span(9)), Save::Seen(fan, NOW), Save::Seen(id(77), NOW)])
        .await
        .unwrap();
    // What another node heard before is no news.
    world.save([Save::Seen(lamp, NOW + Span(8))]).await.unwrap();
    assert_eq!(world.store.presence(lamp).await, Ok(Some(presence(lamp, true, NOW + Span(9)))));
    let quiet = Presence { address: String::new(), ..presence(fan, false, NOW) };
    assert_eq!(world.store.presence(fan).await, Ok(Some(quiet)));
    assert_eq!(world.store.all_offline(NOW + Span(5)).await, Ok(1));
    assert_eq!(world.store.presence(lamp).await, Ok(Some(presence(lamp, false, NOW + Span(5)))));
    assert_eq!(world.store.all_offline(NOW).await, Ok(0));
}

pub(crate) async fn a_device_has_one_holder_and_a_fence(world: &mut World) {
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    let held = |device, node: Option<&str>, fence| Holder { device, node: node.map(str::to_owned), fence };
    let conflict = Err(StoreError::Conflict { what: "holder" });
    world.save([Save::Holder(held(lamp, Some("a"), 1))]).await.unwrap();
    assert_eq!(world.save([Save::Holder(held(lamp, Some("b"), 1))]).await, conflict, "both want it at once");
    world
        .save([Save::Holder(held(lamp, Some("b"), 2)), Save::Holder(held(fan, Some("a"), 1))])
        .await
        .unwrap();
    assert_eq!(world.save([Save::Holder(held(lamp, None, 2))]).await, conflict, "a did not hear of b yet");
    world.save([Save::Holder(held(fan, None, 2))]).await.unwrap();
    assert_eq!(world.store.held().await, Ok(vec![held(lamp, Some("b"), 2)]));
    let all = world.store.holders(&[lamp, fan, id(77)]).await.unwrap();
    assert_eq!((all.len(), &all[&fan], &all[&lamp]), (2, &held(fan, None, 2), &held(lamp, Some("b"), 2)));
    world.save([Save::Presence(presence(lamp, true, NOW))]).await.unwrap();
    let seen = world.store.presences(&[fan, lamp, id(77)]).await.unwrap();
    let of = |device| seen.iter().find(|(found, _)| found.id == device).map(|(_, presence)| presence.clone());
    assert_eq!((seen.len(), of(fan), of(lamp)), (2, Some(None), Some(Some(presence(lamp, true, NOW)))));
}

/// Four devices: a lamp that runs a script and is online, a fan with a problem, a pump with an open task,
/// and a sensor of the other dialect about which nothing is known.
async fn fleet(world: &World) {
    world.script(1).await;
    for number in 1..=3 {
        world.device(number).await;
    }
    let sensor = Device {
        name: "Sensor 100%_\\".into(),
        tags: vec!["Cellar".into(), "kitchen".into()],
        dialect: Dialect::Native,
        external_id: Some("Sensor-4".into()),
        ..device(4)
    };
    let running = Software {
        running: Some(artifact(1, 7)),
        active: Some(artifact(1, 7)),
        revision: 1,
        ..Software::none(id(1))
    };
    let failing = Software { problem: Some("loops".into()), revision: 1, ..Software::none(id(2)) };
    world
        .save([
            Save::Device(Box::new(sensor)),
            Save::Presence(presence(id(1), true, NOW)),
            Save::Presence(presence(id(2), false, NOW + Span(1))),
            Save::Software(Box::new(running)),
            Save::Software(Box::new(failing)),
            Save::Deployment(Box::new(deployment(1, Cause::Asked(artifact(1, 2))))),
            Save::Task(Box::new(task(id(1), id(3), TaskState::Applying))),
        ])
        .await
        .unwrap();
}

pub(crate) async fn selectors_pick_devices(world: &mut World) {
    fleet(world).await;
    let cases: &[(&str, &[u128])] = &[
        ("all", &[1, 2, 3, 4]),
        ("online", &[1]),
        ("not online", &[2, 3, 4]),
        ("failing", &[2]),
        ("not failing", &[1, 3, 4]),
        ("pending", &[3]),
        ("tag=kitchen", &[1, 2, 3, 4]),
        ("tag=Cellar", &[4]),
        ("tag=cellar", &[]),
        ("tag~ELL", &[4]),
        ("tag!=Cellar", &[1, 2, 3]),
        ("name=\"Lamp 1\"", &[1]),
        ("name~LAMP", &[1, 2, 3]),
        ("name!=\"Lamp 1\"", &[2, 3, 4]),
        ("name~\"%_\"", &[4]),
        ("name~\"\\\\\"", &[4]),
        ("dialect=native", &[4]),
        ("external_id=1002", &[2]),
        ("external_id~SENSOR", &[4]),
        ("script=\"Blink 1\"", &[1]),
        ("script!=\"Blink 1\"", &[2, 3, 4]),
        ("script~blink", &[1]),
        ("version=7", &[1]),
        ("version!=7", &[2, 3, 4]),
        ("version>6", &[1]),
        ("version<7", &[]),
        ("online or failing and not tag=kitchen", &[1]),
        ("(online or failing) and tag=kitchen", &[1, 2]),
        ("not not not online", &[2, 3, 4]),
        ("name=\"' or 1=1 --\"", &[]),
    ];
    for (text, expected) in cases {
        let selector = Selector::parse(text).unwrap();
        let expected: Vec<DeviceId> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(world.store.select_ids(&selector, NOW, 100).await, Ok(expected), "{text}");
    }
    let lamp: DeviceId = id(1);
    for text in [format!("id={lamp}"), format!("id={}", lamp.to_string().to_uppercase())] {
        let selector = Selector::parse(&text).unwrap();
        assert_eq!(world.store.select_ids(&selector, NOW, 100).await, Ok(vec![lamp]));
    }
    let deep = (0..49).fold("online".to_owned(), |text, _| format!("({text}) and all"));
    let deep = Selector::parse(&deep).unwrap_or(Selector::Online);
    assert_eq!(world.store.select_ids(&deep, NOW, 1).await, Ok(vec![lamp]));
    assert_eq!(world.store.select_ids(&Selector::All, NOW, 2).await, Ok(vec![id(1), id(2)]));
}

pub(crate) async fn lists_are_sorted_searched_and_paged(world: &mut World) {
    fleet(world).await;
    let list = async |query: DeviceQuery| -> (Vec<u128>, i64) {
        let (views, total) = world.store.devices(query).await.unwrap();
        let number = |view: &motehub_store::DeviceView| view.device.id.to_u128() & 0xffff;
        (views.iter().map(number).collect(), total)
    };
    let all = || DeviceQuery { limit: 10, ..DeviceQuery::default() };
    assert_eq!(list(all()).await, (vec![1, 2, 3, 4], 4));
    assert_eq!(list(DeviceQuery { descending: true, ..all() }).await, (vec![4, 3, 2, 1], 4));
    assert_eq!(list(DeviceQuery { limit: 2, offset: 1, ..all() }).await, (vec![2, 3], 4));
    assert_eq!(list(DeviceQuery { sort: Sort::LastSeen, ..all() }).await, (vec![3, 4, 1, 2], 4));
    let newest = DeviceQuery { sort: Sort::LastSeen, descending: true, ..all() };
    assert_eq!(list(newest).await, (vec![2, 1, 3, 4], 4));
    assert_eq!(list(DeviceQuery { sort: Sort::State, ..all() }).await, (vec![2, 3, 4, 1], 4));
    for (text, expected) in
        [("lamp", vec![1, 2, 3]), ("CELLAR", vec![4]), ("1002", vec![2]), ("100%", vec![4])]
    {
        let total = expected.len() as i64;
        assert_eq!(list(DeviceQuery { text: Some(text.into()), ..all() }).await, (expected, total), "{text}");
    }
    let both = DeviceQuery { text: Some("lamp".into()), selector: Some(Selector::Online), ..all() };
    assert_eq!(list(both).await, (vec![1], 1));
    assert_eq!(list(DeviceQuery { text: Some("x".repeat(100_000)), ..all() }).await, (vec![], 0));
    let (views, _) = world.store.devices(all()).await.unwrap();
    assert_eq!(views[0].running_name.as_deref(), Some("Blink 1"));
    assert_eq!(views[0].active_name.as_deref(), Some("Blink 1"));
    assert_eq!(views[0].pending_name, None);
    assert_eq!(views[0].presence, Some(presence(id(1), true, NOW)));
    assert_eq!(views[2].open_task, Some(TaskState::Applying));
    assert_eq!(views[1].software.problem.as_deref(), Some("loops"));
}

pub(crate) async fn assignments_say_which_is_active(world: &mut World) {
    let lamp = world.device(1).await.id;
    let (one, two) = (world.script(1).await, world.script(2).await);
    let assign = |number| Save::Assign(Assignment { device: lamp, script: id(number) });
    world.save([assign(2), assign(1), assign(1), Save::Software(Box::new(software(lamp)))]).await.unwrap();
    let assigned = world.store.assignments(lamp).await.unwrap();
    assert_eq!(assigned, [(one, true), (two.clone(), false)]);
    world.save([Save::Unassign(Assignment { device: lamp, script: id(1) })]).await.unwrap();
    assert_eq!(world.store.assignments(lamp).await, Ok(vec![(two, false)]));
    let unknown = Save::Assign(Assignment { device: lamp, script: script(9).id });
    assert!(matches!(world.save([unknown]).await, Err(StoreError::Conflict { .. })));
}

pub(crate) async fn a_certificate_finds_its_device_until_it_is_revoked(world: &mut World) {
    world.save([1, 2].map(|n| Save::Device(Box::new(device(n))))).await.unwrap();
    let of = |number: u8| Certificate {
        digest: digest(number),
        device: id(u128::from(number)),
        issued_at: NOW,
        expires_at: NOW + Span::days(3650),
    };
    world.save([1, 2].map(|number| Save::Certificate(of(number)))).await.unwrap();
    assert_eq!(world.save([Save::Certificate(of(1))]).await, Err(StoreError::Conflict { what: "record" }));
    let found = world.store.device_by_certificate(digest(2)).await.unwrap();
    assert_eq!(found.map(|device| device.id), Some(id(2)));
    assert_eq!(world.store.certificates(id(1)).await, Ok(vec![of(1)]));
    world.save([Save::RevokeCertificate(digest(1))]).await.unwrap();
    assert_eq!(world.store.device_by_certificate(digest(1)).await, Ok(None));
    world.save([Save::DeleteDevice(id(2))]).await.unwrap();
    assert_eq!(world.store.device_by_certificate(digest(2)).await, Ok(None));
}
