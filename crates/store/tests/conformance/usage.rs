//! How devices are used: what is kept of a day, and what it is made of.

use std::collections::HashSet;

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::device::{Presence, Reach};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::report::{Announcement, Report};
use motehub_domain::shadow::{Revision, Shadow};
use motehub_domain::time::Span;
use motehub_domain::usage::{Came, Usage};
use serde_json::json;

use crate::world::{NOW, World};

pub(crate) async fn a_day_is_kept_and_said_again(world: &mut World) {
    let day = |day: i64, active: i64| Usage {
        day,
        devices: 3,
        active,
        online: Span::minutes(90),
        switches: 7,
        firmware: vec![("1.2.0".into(), 2), ("<b>".into(), 1)],
    };
    assert_eq!(world.store.last_usage().await, Ok(None));
    let days = [day(20_001, 1), day(20_000, 1), day(20_001, 2)].map(|day| Save::Usage(Box::new(day)));
    world.save(days).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.usage(0, 30_000).await, Ok(vec![day(20_000, 1), day(20_001, 2)]));
    assert_eq!(world.store.usage(20_000, 20_001).await, Ok(vec![day(20_000, 1)]));
    assert_eq!(world.store.last_usage().await, Ok(Some(20_001)));
}

pub(crate) async fn a_day_is_made_of_presence_reports_and_firmware(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    assert_eq!(world.store.first_change().await, Ok(None));
    let presence = |device, online| {
        let address = "192.0.2.1".into();
        Save::Presence(Presence { device, reach: Reach::of(online), gateway: None, seen_at: NOW, address })
    };
    let came = |kind| Change {
        actor: Actor::Device("Lamp".into()),
        kind,
        subject: lamp.id.to_string(),
        subject_name: "Lamp".into(),
        device: Some(lamp.id),
        before: None,
        after: None,
    };
    let changes = vec![came(ChangeKind::DeviceOnline), came(ChangeKind::DeviceEdited)];
    let save = vec![presence(lamp.id, true), presence(fan.id, false)];
    world.store.commit(&Effects { save, changes, ..Effects::none() }, NOW).await.unwrap();
    assert_eq!(world.store.first_change().await, Ok(Some(NOW)));
    assert_eq!(world.store.online().await, Ok(HashSet::from([lamp.id])));
    assert_eq!(world.store.came(NOW).await, Ok(vec![Came { device: lamp.id, at: NOW, online: true }]));
    assert_eq!(world.store.came(NOW + Span(1)).await, Ok(Vec::new()));
    let says = |device, version: Option<&str>, firmware: Option<&str>| {
        let (version, firmware) = (version.map(str::to_owned), firmware.map(str::to_owned));
        let announcement = Announcement { version, firmware, ..Announcement::default() };
        Save::Report(Box::new(Report { device, announcement, at: NOW }))
    };
    world
        .save([says(lamp.id, Some("1.2.0"), Some("agent")), says(fan.id, None, Some("agent"))])
        .await
        .unwrap();
    assert_eq!(world.store.firmware_versions().await, Ok(vec![("1.2.0".into(), 1), ("agent".into(), 1)]));
    for (number, on) in [(1, false), (2, true)] {
        let shadow = Shadow { version: number, revision: number, ..Shadow::none(lamp.id, None) };
        let revision = Revision {
            revision: number,
            version: number,
            at: NOW + Span::seconds(number),
            actor: Actor::Device("Lamp".into()),
            desired: serde_json::Map::new(),
            reported: json!({ "on": on }).as_object().unwrap().clone(),
            is_deleted: false,
        };
        let at = revision.at;
        world.save_at(at, [Save::Shadow(Box::new(shadow), Some(Box::new(revision)))]).await.unwrap();
    }
    let of = |on: bool| json!({ "on": on }).as_object().unwrap().clone();
    let all = world.store.reports_between(NOW, NOW + Span::days(1), 10).await.unwrap();
    assert_eq!(all, [(serde_json::Map::new(), of(false)), (of(false), of(true))]);
    let later = world.store.reports_between(NOW + Span::seconds(2), NOW + Span::days(1), 10).await.unwrap();
    assert_eq!(later, [(of(false), of(true))], "what was before may be of the day before");
    assert_eq!(world.store.reports_between(NOW, NOW + Span::days(1), 1).await.unwrap().len(), 1);
}
