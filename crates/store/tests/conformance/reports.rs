//! What devices say of themselves: announcements, log lines, versions in quarantine.

use motehub_domain::effects::Save;
use motehub_domain::report::{Announcement, LOG_LINES_KEPT, Level, LogLine, Quarantine, Report, Running};
use motehub_domain::time::Span;

use crate::world::{NOW, World, device, digest, id};

pub(crate) async fn the_last_announcement_counts(world: &mut World) {
    world.save([Save::Device(Box::new(device(1)))]).await.unwrap();
    assert_eq!(world.store.report(id(1)).await, Ok(None));
    let mut report = Report { device: id(1), announcement: Announcement::default(), at: NOW };
    let runnings = [None, Some(Running::Nothing), Some(Running::Artifact(digest(3)))];
    for (number, running) in (0..).zip(runnings) {
        report.at = NOW + Span::seconds(number);
        report.announcement = Announcement {
            model: Some("<b>board</b>".into()),
            firmware: (number > 0).then(|| "agent".into()),
            version: Some(number.to_string()),
            reset: None,
            capabilities: vec!["bme280".into(), "relay".into()],
            free_memory: (number > 0).then_some(31_234),
            running,
            safe_mode: number == 2,
            attributes: serde_json::json!({ "rssi": -61, "room": "küche" }).as_object().unwrap().clone(),
        };
        world.save([Save::Report(Box::new(report.clone()))]).await.unwrap();
        assert_eq!(world.store.report(id(1)).await, Ok(Some(report.clone())));
    }
    // Of a device that is not there, or not any more, nothing is kept.
    world.save([Save::Report(Box::new(Report { device: id(2), ..report.clone() }))]).await.unwrap();
    assert_eq!(world.store.report(id(2)).await, Ok(None));
    world.save([Save::DeleteDevice(id(1))]).await.unwrap();
    assert_eq!(world.store.report(id(1)).await, Ok(None));
}

fn line(text: impl Into<String>) -> LogLine {
    LogLine { level: Level::Warn, text: text.into(), time: None }
}

pub(crate) async fn the_newest_log_lines_are_kept(world: &mut World) {
    world.save([1, 2].map(|n| Save::Device(Box::new(device(n))))).await.unwrap();
    let texts = async |device, before, limit| -> Vec<String> {
        let lines = world.store.log_lines(id(device), before, limit).await.unwrap();
        lines.into_iter().map(|logged| logged.line.text).collect()
    };
    let many: Vec<LogLine> = (0..LOG_LINES_KEPT + 5).map(|n| line(n.to_string())).collect();
    world.save([Save::Log(id(2), vec![line("of another")], NOW)]).await.unwrap();
    world.save([Save::Log(id(1), many, NOW)]).await.unwrap();
    world.save([Save::Log(id(1), vec![line("a"), line("b")], NOW)]).await.unwrap();
    let all = texts(1, None, LOG_LINES_KEPT * 2).await;
    assert_eq!(all.len(), LOG_LINES_KEPT);
    assert_eq!(all[..3], ["b", "a", "1004"]);
    assert_eq!(all.last().map(String::as_str), Some("7"));
    assert_eq!(texts(2, None, 10).await, ["of another"]);
    let newest = world.store.log_lines(id(1), None, 2).await.unwrap();
    assert_eq!((newest[0].at, newest[0].line.clone()), (NOW, line("b")));
    assert_eq!(texts(1, Some(newest[1].id), 1).await, ["1004"]);
    assert_eq!(texts(3, None, 10).await, [""; 0]);
}

pub(crate) async fn versions_in_quarantine_are_kept_until_they_are_lifted(world: &mut World) {
    world.save([1, 2].map(|n| Save::Device(Box::new(device(n))))).await.unwrap();
    let of = |device, number, reason: &str| Quarantine {
        device: id(device),
        digest: digest(number),
        reason: reason.into(),
        traceback: (number == 2).then(|| "init.lua:1: boom".into()),
        at: NOW + Span::seconds(i64::from(number)),
    };
    let all = [of(1, 1, "first"), of(1, 2, "boom"), of(2, 1, "elsewhere"), of(1, 1, "again")];
    world.save(all.clone().map(|quarantine| Save::Quarantine(Box::new(quarantine)))).await.unwrap();
    let [_, boom, elsewhere, again] = all;
    assert_eq!(world.store.quarantines(&[id(1)]).await, Ok(vec![boom.clone(), again]));
    let target = world.store.target(id(1)).await.unwrap().unwrap();
    assert_eq!(target.quarantined, [(digest(2), "boom".to_owned()), (digest(1), "again".to_owned())]);
    world.save([Save::LiftQuarantine(id(1), digest(1))]).await.unwrap();
    assert_eq!(world.store.quarantines(&[id(1), id(2)]).await, Ok(vec![boom, elsewhere]));
}
