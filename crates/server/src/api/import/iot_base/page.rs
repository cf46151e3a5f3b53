//! The page of the dashboard of IoT base as one of ours.

use motehub_domain::dashboard::COLUMNS;
use motehub_domain::id::DeviceId;
use motehub_protocol::line;
use serde_json::{Value, json};

/// What the dashboard is called.
pub(super) const NAME: &str = "IoT base";
/// A third of the grid, as theirs has three columns.
const WIDTH: i64 = COLUMNS / 3;
/// Rows of the chart, and of the value below it; a colour takes both.
const HEIGHTS: (i64, i64) = (4, 2);
/// What the charts show, in seconds: a week.
const RANGE_S: i64 = 7 * 86_400;

/// A device that has a place on it.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) id: DeviceId,
    pub(super) name: String,
    pub(super) is_updatable: bool,
}

/// The document of the dashboard, with these devices in their order.
pub(super) fn document(devices: &[Placed]) -> Value {
    let mut blocks = Vec::with_capacity(devices.len() * 2);
    let places = (0..).map(|at: i64| (at % 3 * WIDTH, at / 3 * (HEIGHTS.0 + HEIGHTS.1)));
    for ((x, y), device) in places.zip(devices) {
        let of = json!({ "device": device.id.to_string() });
        let mut add = |y: i64, h: i64, kind: Value| {
            let mut block = kind;
            block["id"] = json!(format!("b{}", blocks.len() + 1));
            block["title"] = json!(device.name);
            (block["x"], block["y"], block["w"], block["h"]) = (json!(x), json!(y), json!(WIDTH), json!(h));
            blocks.push(block);
        };
        if device.is_updatable {
            add(y, HEIGHTS.0 + HEIGHTS.1, json!({ "kind": "colour", "of": of, "path": line::DESIRED }));
        } else {
            let series = json!([{ "of": of, "metric": line::VALUE }]);
            add(y, HEIGHTS.0, json!({ "kind": "chart", "series": series, "range": RANGE_S }));
            let read = json!({ "metric": line::VALUE });
            add(y + HEIGHTS.0, HEIGHTS.1, json!({ "kind": "value", "of": of, "read": read }));
        }
    }
    json!({ "format": "motehub-dashboard/1", "name": NAME, "blocks": blocks })
}
