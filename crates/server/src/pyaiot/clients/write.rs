//! What a client writes to a resource of a node: by a command, or where something is desired already, by desiring
//! something else.

use motehub_domain::access::Permission;
use motehub_domain::device::{Device, Dialect};
use motehub_domain::message::Outcome;
use motehub_domain::shadow::{Deed, Part, Patch, Request, Update};
use motehub_protocol::pyaiot;
use serde_json::Value;

use crate::api::Caller;
use crate::app::App;
use crate::commands::{NoAnswer, WAIT};

/// The device that is meant and who means it, or why nothing is done.
pub(super) async fn may_write(
    app: &App,
    caller: Option<Caller>,
    uid: &str,
    endpoint: &str,
) -> Result<(Device, Caller), String> {
    let caller = caller.filter(|caller| caller.role.may(Permission::Operate));
    let caller = caller.ok_or("you may look, and not write")?;
    pyaiot::resource(endpoint).ok_or("this is no name of a resource")?;
    let found = app.store.devices_by_external_id(uid).await.map_err(|error| error.to_string())?;
    let device = found.into_iter().find(|device| device.dialect == Dialect::Riot);
    Ok((device.ok_or("there is no such node")?, caller))
}

/// Writes to a resource of a node: by a command, or where something is desired already, by desiring something else.
pub(super) async fn write(
    app: App,
    device: Device,
    caller: Caller,
    uid: String,
    endpoint: String,
    payload: String,
) -> (String, String, Result<(), String>) {
    let resource = pyaiot::resource(&endpoint).unwrap_or_default().to_owned();
    let shadow = app.store.shadow(device.id, None).await.ok().flatten();
    let desired = shadow.as_ref().and_then(|shadow| shadow.desired.values.get(&resource));
    let outcome = match desired {
        Some(desired) => {
            let wanted = like(desired, &payload);
            desire(&app, &device, &caller, &resource, wanted).await
        }
        None => ask(&app, &device, &caller, &resource, payload).await,
    };
    (uid, endpoint, outcome)
}

async fn ask(
    app: &App,
    device: &Device,
    caller: &Caller,
    resource: &str,
    payload: String,
) -> Result<(), String> {
    match app.ask_device(device, resource, Value::String(payload), WAIT, &caller.actor()).await {
        Ok(Outcome::Done(_)) => Ok(()),
        Ok(Outcome::Failed(why) | Outcome::Refused { message: why, .. }) => Err(why),
        Err(NoAnswer::Away) => Err("the node is not there".to_owned()),
        Err(NoAnswer::Late) => Err("the node did not answer in time".to_owned()),
        Err(NoAnswer::Failure(failure)) => Err(failure.to_string()),
    }
}

async fn desire(
    app: &App,
    device: &Device,
    caller: &Caller,
    resource: &str,
    wanted: Value,
) -> Result<(), String> {
    let desired = Part::Merged([(resource.to_owned(), wanted)].into_iter().collect());
    let state = Patch::Parts { desired, reported: Part::Untouched };
    let update = Update { state, tags: None, version: None, token: None, expires_in: None };
    let request = Request { shadow: None, deed: Deed::Update(Box::new(update)) };
    let mut turn = app.shadows.line_up(device.id);
    turn.comes().await;
    match app.on_shadow(device.id, &request, Some(&caller.actor())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(failure) => Err(failure.to_string()),
    }
}

/// A text in the form of what is desired already.
fn like(desired: &Value, payload: &str) -> Value {
    match (desired, payload) {
        (Value::Bool(_), "1") => Value::Bool(true),
        (Value::Bool(_), "0") => Value::Bool(false),
        (Value::Number(_), text) => serde_json::from_str(text)
            .ok()
            .filter(Value::is_number)
            .unwrap_or_else(|| Value::String(text.to_owned())),
        (_, text) => Value::String(text.to_owned()),
    }
}
