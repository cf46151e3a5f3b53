//! Boards that run steps of flows, and what is seen of flows through the API.

use serde_json::{Value, json};

use super::mqtt::Publisher;
use super::{Caller, Hub};

/// A board with the agent for MicroPython that is connected until it is dropped. What it runs it does not do: the test
/// says what its steps say.
pub(crate) struct Board {
    pub(crate) id: String,
    pub(crate) name: String,
    credential: String,
    link: Publisher,
}

impl Board {
    /// A new board that can do this.
    pub(crate) async fn new(hub: &Hub, name: &str, capabilities: &[&str]) -> Self {
        let new = json!({ "name": name, "dialect": "micropython", "external_id": name });
        let made = hub.post("/devices", new).await;
        let (id, credential) = (made.string("id"), made.string("credential"));
        let link = Publisher::connect(hub, name, &credential).await.unwrap();
        let mut board = Self { id, name: name.to_owned(), credential, link };
        board.begin(hub, capabilities).await;
        board
    }

    /// The board again, after it was away.
    pub(crate) async fn comes_back(hub: &Hub, gone: (String, String, String), can: &[&str]) -> Self {
        let (id, name, credential) = gone;
        let link = Publisher::connect(hub, &name, &credential).await.unwrap();
        let mut board = Self { id, name, credential, link };
        board.begin(hub, can).await;
        board
    }

    /// Its link is cut, and the hub has seen that. Gives what is needed to come back.
    pub(crate) async fn goes_away(self, hub: &Hub) -> (String, String, String) {
        let gone = self.gone();
        hub.until("the board is away", || async { (!is_online(hub, &gone.0).await).then_some(()) }).await;
        gone
    }

    /// What is needed to come back after its link was cut.
    pub(crate) fn gone(self) -> (String, String, String) {
        (self.id, self.name, self.credential)
    }

    async fn begin(&mut self, hub: &Hub, capabilities: &[&str]) {
        self.link.subscribe(&format!("devices/{}/#", self.id)).await.unwrap();
        let said = json!({ "protocol": 1, "firmware": "motehub-micropython", "capabilities": capabilities,
            "free_memory": 98_304 });
        self.says("announce", said).await;
        hub.until("the board is there", || async { is_online(hub, &self.id).await.then_some(()) }).await;
    }

    pub(crate) async fn says(&mut self, kind: &str, what: Value) {
        let topic = format!("devices/{}/{kind}", self.id);
        self.link.publish(&topic, what.to_string().as_bytes()).await.unwrap();
    }

    /// The next message of this kind.
    pub(crate) async fn hears(&mut self, kind: &str) -> Value {
        let topic = format!("devices/{}/{kind}", self.id);
        loop {
            let next = tokio::time::timeout(super::wait::WAIT_MAX, self.link.next_message()).await;
            let (heard, payload) = next.unwrap_or_else(|_| panic!("waited in vain for {kind}")).unwrap();
            if heard == topic {
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// It takes the program that it is offered next, and begins to run it. Gives the program.
    pub(crate) async fn takes(&mut self, hub: &Hub) -> String {
        let digest = self.hears("offer").await["digest"].as_str().unwrap().to_owned();
        let path = format!("/devices/{}/artifacts/{digest}", self.id);
        let program = hub.send("GET", &path, &Caller::token(self.credential.clone()), &[], None).await;
        assert_eq!(program.status, 200, "{program:?}");
        self.says("task", json!({ "digest": digest, "state": "Fetching" })).await;
        self.says("task", json!({ "digest": digest, "state": "Applying" })).await;
        program.text()
    }

    /// It takes the program that it is offered next, which fails for this reason.
    pub(crate) async fn fails(&mut self, reason: &str) {
        let digest = self.hears("offer").await["digest"].as_str().unwrap().to_owned();
        self.says("task", json!({ "digest": digest, "state": "Failed", "reason": reason })).await;
    }

    /// A step on it emits a value.
    pub(crate) async fn emits(&mut self, flow: &str, step: &str, number: i64, value: Value) {
        self.says("flow-out", json!({ "w": format!("{flow}/{step}"), "i": number, "v": value })).await;
    }
}

async fn is_online(hub: &Hub, device: &str) -> bool {
    hub.get(&format!("/devices/{device}")).await.json()["online"] == true
}

impl Hub {
    /// Saves a new flow. Gives its id.
    pub(crate) async fn flow(&self, document: Value) -> String {
        let made = self.post("/flows", document).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.string("id")
    }

    /// Saves a new flow and runs it. Gives its id.
    pub(crate) async fn running_flow(&self, document: Value) -> String {
        let id = self.flow(document).await;
        let run = self.post(&format!("/flows/{id}/deploy"), json!({})).await;
        assert_eq!(run.status, 200, "{run:?}");
        id
    }

    /// Where its steps run now.
    pub(crate) async fn placement(&self, flow: &str) -> Value {
        self.get(&format!("/flows/{flow}/placement")).await.json()
    }

    /// Waits until a step runs there: on a board by its name, on `hub`, or `nowhere`.
    pub(crate) async fn until_placed(&self, flow: &str, step: &str, place: &str) -> Value {
        let what = format!("{step} runs on {place}");
        self.until(&what, || async {
            let placement = self.placement(flow).await;
            (place_of(&placement, step) == place).then_some(placement)
        })
        .await
    }

    /// Waits until a step reported a mistake. Gives its message.
    pub(crate) async fn until_failed(&self, flow: &str, step: &str) -> String {
        self.until("a step says what is wrong", || async {
            let placement = self.placement(flow).await;
            let mut errors = placement["errors"].as_array().unwrap().iter();
            let error = errors.find(|error| error["step"] == step)?;
            Some(error["message"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// Why it was placed anew, newest first.
    pub(crate) async fn causes(&self, flow: &str) -> Vec<String> {
        let list = self.get(&format!("/flows/{flow}/placements")).await.json();
        let causes = list["items"].as_array().unwrap().iter();
        causes.map(|item| item["cause"].as_str().unwrap().to_owned()).collect()
    }

    /// Somebody who hears what is published to a topic.
    pub(crate) async fn reader(&self, topic: &str) -> Publisher {
        let mut reader = Publisher::connect(self, "reader", self.ada.token.as_ref().unwrap()).await.unwrap();
        reader.subscribe(topic).await.unwrap();
        reader
    }
}

/// Where a step runs: the name of a board, `hub` or `nowhere`.
pub(crate) fn place_of(placement: &Value, step: &str) -> String {
    match &of_step(placement, step)["place"] {
        Value::Null => "nowhere".to_owned(),
        place if place["hub"] == true => "hub".to_owned(),
        place => place["name"].as_str().unwrap().to_owned(),
    }
}

/// What is said of a step.
pub(crate) fn of_step<'a>(placement: &'a Value, step: &str) -> &'a Value {
    let mut steps = placement["steps"].as_array().unwrap_or_else(|| panic!("{placement}")).iter();
    steps.find(|placed| placed["step"] == step).unwrap()
}

/// What is said of a board as the place of a step.
pub(crate) fn candidate<'a>(placement: &'a Value, step: &str, board: &str) -> &'a Value {
    let mut candidates = of_step(placement, step)["candidates"].as_array().unwrap().iter();
    candidates.find(|candidate| candidate["name"] == board).unwrap_or_else(|| panic!("{placement}"))
}

/// A wire and what passed along it.
pub(crate) fn wire<'a>(placement: &'a Value, from: &str, to: &str) -> &'a Value {
    let mut wires = placement["wires"].as_array().unwrap().iter();
    wires.find(|wire| wire["from"] == from && wire["to"] == to).unwrap()
}
