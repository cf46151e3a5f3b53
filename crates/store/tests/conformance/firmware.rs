//! Firmware and its bytes, and bytes of which nothing tells.

use motehub_domain::deployment::{Cause, TaskState};
use motehub_domain::device::Software;
use motehub_domain::effects::Save;
use motehub_domain::firmware::{Firmware, Label};
use motehub_domain::id::FirmwareId;
use motehub_domain::time::Span;
use motehub_store::StoreError;

use crate::world::{NOW, World, deployment, id, task};

/// Longer than two pieces.
const LONG: usize = 600_000;

/// The firmware `light 1.number` for a platform, whose bytes are kept.
async fn firmware(world: &World, number: u128, platform: &str, bytes: Vec<u8>) -> Firmware {
    let size_bytes = bytes.len() as i64;
    let [name, version, platform] = ["light", &format!("1.{number}"), platform].map(str::to_owned);
    Firmware {
        id: id(number),
        label: Label { name, version, platform, build: format!("b{number}") },
        digest: world.store.put(bytes).await.unwrap(),
        size_bytes,
        manifest: (number == 2).then(|| [("arch".to_owned(), "<b>".into())].into_iter().collect()),
        notes: format!("100 % of {number}"),
        created_by: "Ada".into(),
        created_at: NOW + Span::seconds(number as i64),
        revision: 1,
    }
}

fn save(firmware: &Firmware) -> Save {
    Save::Firmware(Box::new(firmware.clone()))
}

async fn found(
    world: &World,
    text: Option<&str>,
    offset: usize,
    limit: usize,
) -> (Vec<(FirmwareId, i64)>, i64) {
    let (items, total) = world.store.firmware_list(text, offset, limit).await.unwrap();
    (items.into_iter().map(|(firmware, used_by)| (firmware.id, used_by)).collect(), total)
}

pub(crate) async fn a_firmware_is_written_found_edited_and_deleted(world: &mut World) {
    let one = firmware(world, 1, "esp32", b"one".to_vec()).await;
    let mut two = firmware(world, 2, "esp32", b"two".to_vec()).await;
    let three = firmware(world, 3, "stm32", b"two".to_vec()).await;
    world.save([save(&one), save(&two), save(&three)]).await.unwrap();
    let twice = Firmware { id: id(4), ..one.clone() };
    assert_eq!(world.save([save(&twice)]).await, Err(StoreError::Taken { field: "version" }));
    two.notes = "edited".into();
    two.revision = 2;
    world.save([save(&two)]).await.unwrap();
    assert!(matches!(world.save([save(&two)]).await, Err(StoreError::Conflict { .. })), "an old revision");
    world.reopen().await;
    for firmware in [&one, &two, &three] {
        assert_eq!(world.store.firmware(firmware.id).await, Ok(Some(firmware.clone())));
        assert_eq!(world.store.firmware_labelled(&firmware.label).await, Ok(Some(firmware.id)));
    }
    assert_eq!(world.store.firmware(id(9)).await, Ok(None));
    assert_eq!(found(world, None, 0, 2).await, (vec![(id(3), 0), (id(2), 0)], 3), "the newest first");
    assert_eq!(found(world, None, 2, 2).await, (vec![(id(1), 0)], 3));
    assert_eq!(found(world, Some("ESP32"), 0, 9).await, (vec![(id(2), 0), (id(1), 0)], 2));
    assert_eq!(found(world, Some("100 %"), 0, 9).await.1, 2, "a sign of the database is a sign");
    assert_eq!(found(world, Some("1_3"), 0, 9).await.1, 0);
    world.save([Save::DeleteFirmware(two.id, two.digest)]).await.unwrap();
    assert_eq!(world.store.artifact(two.digest).await, Ok(Some(b"two".to_vec())), "another one has the same");
    world.save([Save::DeleteFirmware(three.id, three.digest)]).await.unwrap();
    assert_eq!(world.store.artifact(three.digest).await, Ok(None));
    let gone = world.save([Save::DeleteFirmware(three.id, three.digest)]).await;
    assert!(matches!(gone, Err(StoreError::Conflict { .. })), "{gone:?}");
    assert_eq!(found(world, None, 0, 9).await, (vec![(id(1), 0)], 1));
}

pub(crate) async fn a_firmware_is_known_by_what_devices_say_and_by_who_uses_it(world: &mut World) {
    let devices = [world.device(1).await, world.device(2).await, world.device(3).await];
    let [runs, waits, is_at_it] = devices.map(|device| device.id);
    let one = firmware(world, 1, "esp32", b"one".to_vec()).await;
    let other = Firmware {
        id: id(7),
        label: Label { name: "fan".into(), platform: "esp8266".into(), ..one.label.clone() },
        created_at: NOW,
        ..one.clone()
    };
    world.save([save(&one), save(&other)]).await.unwrap();
    for (name, version, build, platform, expected) in [
        (None, "1.1", None, None, Some(&one)),
        (Some("fan"), "1.1", None, None, Some(&other)),
        (None, "1.1", Some("b1"), Some("ESP8266"), Some(&other)),
        (None, "1.1", Some("b2"), None, None),
        (None, "1.1", None, Some("stm32"), None),
        (Some("light"), "1.2", None, None, None),
    ] {
        let said = world.store.firmware_said(name, version, build, platform).await.unwrap();
        assert_eq!(said, expected.map(Firmware::artifact), "{name:?} {version} {build:?} {platform:?}");
    }
    let software = |device| Software { revision: 1, ..Software::none(device) };
    let mut at_it = task(id(5), is_at_it, TaskState::Fetching);
    at_it.artifact = one.artifact();
    at_it.previous = Some(other.artifact());
    world
        .save([
            Save::Software(Box::new(Software { firmware: Some(one.artifact()), ..software(runs) })),
            Save::Software(Box::new(Software { pending: Some((id(5), one.artifact())), ..software(waits) })),
            Save::Deployment(Box::new(deployment(5, Cause::Asked(one.artifact())))),
            Save::Task(Box::new(at_it.clone())),
        ])
        .await
        .unwrap();
    world.reopen().await;
    assert_eq!(world.store.firmware_used_by(one.id).await, Ok(3));
    assert_eq!(world.store.firmware_used_by(other.id).await, Ok(0), "what a device had before it may lose");
    assert_eq!(found(world, Some("light"), 0, 9).await, (vec![(one.id, 3)], 1));
    let (runners, total) = world.store.firmware_runners(one.id, 9).await.unwrap();
    assert_eq!((runners.iter().map(|it| it.device.id).collect::<Vec<_>>(), total), (vec![runs], 1));
    assert_eq!(world.store.task(id(5), is_at_it).await, Ok(Some(at_it)), "an artifact that is no script");
    let kept = world.store.software(waits).await.unwrap();
    assert_eq!(kept.pending, Some((id(5), one.artifact())));
}

pub(crate) async fn a_part_of_an_artifact_is_read(world: &mut World) {
    let bytes: Vec<u8> = (0..LONG as u32).map(|i| (i % 251) as u8).collect();
    let digest = world.store.put(bytes.clone()).await.unwrap();
    let empty = world.store.put(Vec::new()).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.artifact_size(digest).await, Ok(Some(LONG)));
    assert_eq!(world.store.artifact_size(empty).await, Ok(Some(0)));
    let piece = 256 * 1024;
    for part in [0..1, 0..LONG, piece - 1..piece + 1, piece..2 * piece, 2 * piece..LONG, LONG - 1..LONG, 7..7]
    {
        let got = world.store.artifact_part(digest, part.clone()).await.unwrap();
        assert!(got == bytes[part.clone()], "{part:?} is another");
    }
    assert!(world.store.artifact(digest).await.unwrap().unwrap() == bytes);
    assert_eq!(world.store.artifact(empty).await, Ok(Some(Vec::new())));
    let beyond = world.store.artifact_part(digest, LONG - 1..LONG + 1).await;
    assert!(matches!(beyond, Err(StoreError::Damaged { .. })), "{beyond:?}");
}

pub(crate) async fn bytes_of_which_nothing_tells_are_swept(world: &mut World) {
    let of_firmware = firmware(world, 1, "esp32", vec![1; LONG]).await;
    world.save([save(&of_firmware)]).await.unwrap();
    let of_script = world.store.put(b"print('hello')".to_vec()).await.unwrap();
    world.script_of(1, of_script).await;
    // The hub was killed between the bytes and what was to tell of them.
    let orphan = world.store.put(vec![7; LONG]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.artifact_size(orphan).await, Ok(Some(LONG)));
    assert_eq!(world.store.sweep_artifacts().await, Ok(1));
    assert_eq!(world.store.artifact(orphan).await, Ok(None));
    for kept in [of_firmware.digest, of_script] {
        assert!(matches!(world.store.artifact(kept).await, Ok(Some(_))), "{kept} is gone");
    }
    assert_eq!(world.store.sweep_artifacts().await, Ok(0));
    assert_eq!(world.store.put(vec![7; LONG]).await, Ok(orphan), "they may come again");
    assert!(world.store.artifact(orphan).await.unwrap().is_some_and(|bytes| bytes.len() == LONG));
    assert_eq!(world.store.check().await, Ok(()));
}
