//! What tests about boards with ESP-FIRMWARE share: their addresses, how they are let in, and a flow over two of them.

use serde_json::{Value, json};

use crate::hub::Api;
use crate::wait::until;

/// An address of this machine that no other test process has.
pub fn own_address(number: u8) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{number}", high | 64)
}

/// A flow from the board that measures a temperature over another one, which is named, to the hub.
pub fn flow_over_two(name: &str, second: &str) -> Value {
    json!({
        "name": name,
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht11", "pin": 4, "every_ms": 500, "requires": ["temperature"]},
            {"id": "warm", "kind": "compare", "property": "temperature", "rules": [{"operator": "gt", "value": -50}],
             "runs_on": second},
            {"id": "out", "kind": "publish", "topic": "out"},
        ],
        "wires": [{"from": "th", "to": "warm"}, {"from": "warm", "to": "out"}],
    })
}

impl Api {
    /// Waits until a board knocks, and lets it in as it is. Gives its id.
    pub fn let_in(&self, address: &str) -> String {
        let knock = until("the board knocks", || {
            let waiting = self.get("/inbox");
            let items = waiting["items"].as_array().expect("a list").clone();
            items.into_iter().find(|knock| knock["name"] == address)
        });
        assert_eq!(knock["dialect"], "esp-firmware", "{knock}");
        let id = knock["id"].as_str().expect("an id");
        let made = self.post(&format!("/inbox/{id}/accept"), &json!({ "without_credential": true }));
        assert_eq!(
            (&made["unauthenticated_allowed"], &made["allowed_from"]),
            (&json!(true), &json!(address))
        );
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Deploys a flow as soon as its boards are there. Gives its id.
    pub fn deploy_flow(&self, flow: &Value) -> String {
        let id = self.post("/flows", flow)["id"].as_str().expect("an id").to_owned();
        until("its boards are there", || {
            (self.call("POST", &format!("/flows/{id}/deploy"), Some(&json!({}))).0 == 200).then_some(())
        });
        id
    }
}
