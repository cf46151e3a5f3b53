//! What the hub says on its own channels: changes, telemetry and shadows of devices, as they are on disk.

use motehub_domain::id::DeviceId;
use motehub_protocol::pusher::channel::DEVICES;
use motehub_protocol::pusher::{Channel, DATA_BYTES_MAX, frame};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::api::{ChangeDto, ShadowDto};
use crate::app::App;
use crate::live::News;

/// A point, a change, a shadow that would be larger is left out of an event, and that is said.
const PART_BYTES_MAX: usize = DATA_BYTES_MAX - 1024;

/// Until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut news = app.live.subscribe();
    loop {
        let item = tokio::select! {
            item = news.recv() => item,
            () = shutdown.cancelled() => return,
        };
        match item {
            Ok(news) => app.tell_own_channels(news),
            // Something was missed: whoever shows devices loads them again.
            Err(RecvError::Lagged(_)) => app.pusher.rooms.publish_own("missed", "{}"),
            Err(RecvError::Closed) => return,
        }
    }
}

impl App {
    fn tell_own_channels(&self, news: News) {
        if !self.pusher.rooms.is_own_heard() {
            return;
        }
        match news {
            News::Changes(changes) => {
                for recorded in changes.iter() {
                    if let Some(device) = recorded.change.device {
                        self.say_of(
                            device,
                            "change",
                            &small(json!(ChangeDto::from(recorded.clone())), &["before", "after"]),
                        );
                    }
                }
            }
            News::Telemetry(shown) => {
                for shown in shown.iter() {
                    let points = shown.points.iter().map(|(metric, time, value)| {
                        let point =
                            json!({ "metric": metric.as_str(), "time": time.0, "value": value.to_json() });
                        small(point, &["value"])
                    });
                    for points in parts(points) {
                        let data = json!({ "device": shown.device.to_string(), "points": points });
                        self.say_of(shown.device, "telemetry", &data);
                    }
                }
            }
            News::Shadows(shadows) => {
                for shadow in shadows.iter() {
                    let device = shadow.device;
                    let shadow = small(json!(ShadowDto::from(shadow.clone())), &["metadata", "state"]);
                    self.say_of(device, "shadow", &json!({ "device": device.to_string(), "shadow": shadow }));
                }
            }
            News::Inbox(_) | News::Flow(..) | News::Log(_) => {}
        }
    }

    /// Says something of a device to those who hear it, and to those who hear all.
    fn say_of(&self, device: DeviceId, event: &str, data: &Value) {
        let data = data.to_string();
        for channel in [Channel::of_device(device), Channel::own_named(DEVICES)] {
            let said = frame::event(channel.as_str(), event, &data, None);
            self.pusher.rooms.publish_all(&channel, &said);
        }
    }
}

/// Leaves members out, one after the other, until it fits into an event; `too_large` says so.
fn small(mut object: Value, members: &[&str]) -> Value {
    for member in members {
        if object.to_string().len() <= PART_BYTES_MAX {
            break;
        }
        object[*member] = Value::Null;
        object["too_large"] = json!(true);
    }
    object
}

/// As few lists as possible that fit into an event each.
fn parts(points: impl Iterator<Item = Value>) -> Vec<Vec<Value>> {
    let (mut lists, mut bytes) = (vec![Vec::new()], 0);
    for point in points {
        let more = point.to_string().len() + 1;
        if bytes + more > PART_BYTES_MAX {
            lists.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(list) = lists.last_mut() {
            list.push(point);
        }
    }
    lists.retain(|list| !list.is_empty());
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_an_event_is_divided_or_left_out() {
        let point = |value: &str| json!({ "metric": "t", "time": 0, "value": value });
        let many = parts((0..1000).map(|_| point("twelve signs")));
        assert!(many.len() > 1 && many.iter().all(|list| json!(list).to_string().len() <= DATA_BYTES_MAX));
        assert_eq!(many.iter().map(Vec::len).sum::<usize>(), 1000);
        let large = small(point(&"x".repeat(20_000)), &["value"]);
        assert_eq!(large, json!({ "metric": "t", "time": 0, "value": null, "too_large": true }));
        assert_eq!(small(point("x"), &["value"]), point("x"));
    }
}
