//! Units of one process.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::unit::{Config, Order, Unit, run};

/// Facts that wait to be read; further ones are dropped, so that nobody waits for a reader.
const FACTS_MAX: usize = 16_384;

/// What is to be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// By which unit; all without it.
    unit: Option<String>,
    #[serde(rename = "do")]
    deed: String,
    to: Option<std::net::SocketAddr>,
    bytes: Option<usize>,
}

/// Units that run.
pub(super) struct Fleet {
    units: Vec<Arc<Unit>>,
    /// What happens.
    pub(super) facts: mpsc::Receiver<Value>,
    said: mpsc::Sender<Value>,
}

impl Fleet {
    pub(super) async fn start(configs: Vec<Config>) -> anyhow::Result<Self> {
        let (said, facts) = mpsc::channel(FACTS_MAX);
        let (mut units, mut places) = (Vec::new(), serde_json::Map::new());
        for config in configs {
            let (unit, listener, orders) = Unit::new(config, said.clone()).await?;
            places.insert(unit.config.name.clone(), json!(unit.address().to_string()));
            tokio::spawn(run(unit.clone(), listener, orders));
            units.push(unit);
        }
        let _ = said.try_send(json!({ "fact": "ready", "units": places }));
        Ok(Self { units, facts, said })
    }

    pub(super) fn order(&self, command: Command) {
        let Command { unit: name, deed, to, bytes } = command;
        let mut is_known = false;
        for unit in self.units.iter().filter(|unit| name.as_ref().is_none_or(|it| *it == unit.config.name)) {
            is_known = true;
            let order = match (deed.as_str(), to) {
                ("count", _) => {
                    let mut count = unit.count();
                    count["fact"] = json!("count");
                    let _ = self.said.try_send(count);
                    continue;
                }
                ("power_off", _) => Order::PowerOff,
                ("power_on", _) => Order::PowerOn(None),
                ("move", Some(to)) => Order::PowerOn(Some(to)),
                ("vanish", _) => Order::Vanish,
                ("garbage", _) => Order::Say(b"\x80\xff\x00\xfe garbage \x01\n".to_vec()),
                ("endless", _) => Order::Say(vec![b'7'; bytes.unwrap_or(1 << 20)]),
                ("slow", _) => Order::Slow,
                ("deaf", _) => Order::Deaf,
                ("well", _) => Order::Well,
                (other, _) => return eprintln!("{other:?} is nothing that units do, or it needs more"),
            };
            unit.order(order);
        }
        if !is_known {
            eprintln!("{name:?} is none of the units");
        }
    }

    /// What all said and were told.
    pub(super) fn summary(&self) -> Value {
        json!({ "fact": "summary", "units": self.units.iter().map(|unit| unit.count()).collect::<Vec<_>>() })
    }
}
