//! Shadows of devices, what is due of them, and their history.

use motehub_domain::camera::Origin;
use motehub_domain::change::Actor;
use motehub_domain::device::Reach;
use motehub_domain::effects::Save;
use motehub_domain::shadow::{Expiry, REVISIONS_KEPT, Revision, Section, Shadow, ShadowName, Told};
use motehub_domain::time::{Span, Time};
use motehub_store::StoreError;
use serde_json::json;

use crate::world::{NOW, World, device, id};

fn shadow(number: u128, name: Option<&str>) -> Shadow {
    let tree = |value: serde_json::Value| value.as_object().unwrap().clone();
    Shadow {
        desired: Section {
            values: tree(json!({ "on": true, "rgb": [1, 2.5, "ä"] })),
            times: tree(json!({ "on": 1, "rgb": [2, 2, 2] })),
        },
        tags: tree(json!({ "room": "küche" })),
        version: 1,
        updated_at: NOW,
        revision: 1,
        ..Shadow::none(id(number), name.and_then(ShadowName::parse))
    }
}

fn revision(number: i64) -> Revision {
    Revision {
        revision: number,
        version: number,
        at: NOW + Span::seconds(number),
        actor: Actor::User("Ada".into()),
        desired: json!({ "n": number }).as_object().unwrap().clone(),
        reported: serde_json::Map::new(),
        is_deleted: number % 2 == 0,
    }
}

pub(crate) async fn shadows_are_guarded_complete_and_end_with_their_device(world: &mut World) {
    world.save([1, 2].map(|n| Save::Device(Box::new(device(n))))).await.unwrap();
    let save = |shadow: &Shadow| [Save::Shadow(Box::new(shadow.clone()), None)];
    let (plain, named) = (shadow(1, None), shadow(1, Some("colour")));
    world.save(save(&plain)).await.unwrap();
    world.save(save(&named)).await.unwrap();
    let conflict = Err(StoreError::Conflict { what: "shadow" });
    assert_eq!(world.save(save(&plain)).await, conflict);
    let told = Told { times: 4, at: NOW, again_at: Some(NOW + Span::seconds(8)) };
    let gone = Shadow { revision: 2, version: 9, is_deleted: true, told, ..plain.clone() };
    world.save(save(&gone)).await.unwrap();
    assert_eq!(world.save(save(&gone)).await, conflict);
    world.reopen().await;
    assert_eq!(world.store.shadow(id(1), None).await, Ok(Some(gone.clone())));
    assert_eq!(world.store.shadow(id(2), None).await, Ok(None));
    assert_eq!(world.store.shadows(id(1)).await, Ok(vec![gone.clone(), named.clone()]));
    let other = shadow(2, None);
    world.save(save(&other)).await.unwrap();
    // Of those that were deleted only their version is of interest.
    assert_eq!(world.store.plain_shadows(&[id(1), id(2), id(3)]).await, Ok(vec![other]));
    // Of a device that is not there nothing is kept.
    assert_eq!(world.save(save(&shadow(3, None))).await, conflict);
    world.save([Save::DeleteDevice(id(1))]).await.unwrap();
    assert_eq!(world.store.shadows(id(1)).await, Ok(Vec::new()));
}

pub(crate) async fn cameras_and_positions_end_with_their_device(world: &mut World) {
    world.save([1, 2, 3].map(|n| Save::Device(Box::new(device(n))))).await.unwrap();
    let origin = |text: &str| Origin::parse(text).unwrap();
    let save = |n, text: Option<&str>| [Save::Camera(id(n), text.map(origin))];
    world.save(save(1, Some("http://cam"))).await.unwrap();
    world.save(save(1, Some("https://cam:8443"))).await.unwrap();
    world.save(save(2, Some("http://cam"))).await.unwrap();
    world.save(save(2, None)).await.unwrap();
    // Of a device that is not there nothing is kept.
    world.save(save(9, Some("http://cam"))).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.camera(id(1)).await, Ok(Some(origin("https://cam:8443"))));
    assert_eq!(world.store.camera(id(2)).await, Ok(None));
    assert_eq!(world.store.camera(id(9)).await, Ok(None));

    let reports = |n, reported: serde_json::Value| {
        let values = reported.as_object().unwrap().clone();
        Save::Shadow(
            Box::new(Shadow { reported: Section { values, ..Section::default() }, ..shadow(n, None) }),
            None,
        )
    };
    let at = json!({ "position": { "lat": 1, "lng": 2 } });
    world
        .save([reports(1, at.clone()), reports(2, at.clone()), reports(3, json!({ "led": 1 }))])
        .await
        .unwrap();
    let (placed, more) = world.store.positions(1).await.unwrap();
    assert_eq!((placed.len(), more), (1, true));
    assert_eq!((placed[0].position.latitude, placed[0].reach), (1.0, Reach::Offline));
    world.save([Save::DeleteDevice(id(1))]).await.unwrap();
    let (placed, more) = world.store.positions(9).await.unwrap();
    assert_eq!((placed.len(), placed[0].device, more), (1, id(2), false));
    assert_eq!(world.store.camera(id(1)).await, Ok(None));
}

pub(crate) async fn shadows_are_due_by_their_deadline(world: &mut World) {
    world.save([1, 2, 3].map(|n| Save::Device(Box::new(device(n))))).await.unwrap();
    assert_eq!(world.store.next_shadow_deadline().await, Ok(None));
    let at = |seconds| NOW + Span::seconds(seconds);
    let ends = |at: Time| Expiry(json!({ "a": { "b": at.0 } }).as_object().unwrap().clone());
    let first = Shadow { expiry: ends(at(5)), ..shadow(1, None) };
    let second = Shadow { told: Told { times: 1, at: NOW, again_at: Some(at(3)) }, ..shadow(2, None) };
    for shadow in [&first, &second, &shadow(3, None)] {
        world.save([Save::Shadow(Box::new(shadow.clone()), None)]).await.unwrap();
    }
    assert_eq!(world.store.next_shadow_deadline().await, Ok(Some(at(3))));
    assert_eq!(world.store.due_shadows(at(2), 10).await, Ok(Vec::new()));
    assert_eq!(world.store.due_shadows(at(5), 10).await, Ok(vec![second.clone(), first]));
    assert_eq!(world.store.due_shadows(at(5), 1).await, Ok(vec![second]));
}

pub(crate) async fn the_newest_revisions_of_a_shadow_are_kept(world: &mut World) {
    world.save([Save::Device(Box::new(device(1)))]).await.unwrap();
    let colour = ShadowName::parse("colour");
    let last = i64::try_from(REVISIONS_KEPT).unwrap() + 3;
    for number in 1..=last {
        let shadow = Shadow { revision: number, ..shadow(1, None) };
        let kept = (number != 2).then(|| Box::new(revision(number)));
        world.save_at(revision(number).at, [Save::Shadow(Box::new(shadow), kept)]).await.unwrap();
    }
    let other = Save::Shadow(Box::new(shadow(1, Some("colour"))), Some(Box::new(revision(1))));
    world.save_at(revision(1).at, [other]).await.unwrap();
    let store = &world.store;
    let all = store.shadow_revisions(id(1), None, None, REVISIONS_KEPT * 2).await.unwrap();
    assert_eq!((all.len(), &all[0]), (REVISIONS_KEPT, &revision(last)));
    assert_eq!(all.last(), Some(&revision(4)));
    assert_eq!(store.shadow_revisions(id(1), None, Some(6), 1).await, Ok(vec![revision(5)]));
    assert_eq!(store.shadow_revisions(id(1), colour.as_ref(), None, 9).await, Ok(vec![revision(1)]));
    assert_eq!(store.shadow_revision(id(1), None, 7).await, Ok(Some(revision(7))));
    assert_eq!(store.shadow_revision(id(1), None, 3).await, Ok(None));
    assert_eq!(store.shadow_at_version(id(1), None, 8).await, Ok(Some(revision(8))));
    assert_eq!(store.shadow_at_version(id(1), None, i64::MAX).await, Ok(Some(revision(last))));
    assert_eq!(store.shadow_at(id(1), None, NOW + Span(9_500)).await, Ok(Some(revision(9))));
    assert_eq!(store.shadow_at(id(1), None, NOW).await, Ok(None));
}
