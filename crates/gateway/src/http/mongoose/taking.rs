//! What a device said is taken by the hub, in the order in which it was said, and answered if it wants an answer.

use motehub_domain::id::DeviceId;
use motehub_domain::message::Uplink;
use motehub_domain::shadow::{self, Deed, Refusal, Request, Shadow};
use motehub_protocol::mongoose::{self, Fault, Heard};
use serde_json::{Value, json};

use crate::hub::{Arrival, Hub, UplinkError};

/// The code of the answer to what is not taken.
const CODE_FAILED: i64 = 500;
/// It cannot be stored at present.
const CODE_UNAVAILABLE: i64 = 503;

/// Something a device said that is not taken yet.
pub(super) struct Waiting {
    /// With which id it wants an answer, if it wants one.
    pub(super) id: Option<Value>,
    pub(super) said: Heard,
}

impl From<Uplink> for Waiting {
    fn from(uplink: Uplink) -> Self {
        Self { id: None, said: Heard::Said(uplink) }
    }
}

/// What came of messages of a device.
pub(super) struct Taken {
    /// To send to it.
    pub(super) answers: Vec<String>,
    /// Whether something that it wants no answer to could not be stored at present.
    pub(super) is_lost: bool,
}

/// Takes messages in their order.
pub(super) async fn take(hub: &dyn Hub, device: DeviceId, waiting: Vec<Waiting>) -> Taken {
    let mut taken = Taken { answers: Vec::new(), is_lost: false };
    for Waiting { id, said } in waiting {
        let done = match (said, &id) {
            (Heard::Shadow(request), Some(_)) => asked(hub, device, request).await,
            (Heard::Shadow(request), None) => told(hub, device, Uplink::Shadow(request)).await,
            (Heard::Said(uplink), _) => told(hub, device, uplink).await,
        };
        match (id, done) {
            (Some(id), Ok(result)) => taken.answers.push(mongoose::result(&id, &result)),
            (Some(id), Err(fault)) => taken.answers.push(mongoose::error(&id, &fault)),
            (None, Err(fault)) => taken.is_lost |= fault.code == CODE_UNAVAILABLE,
            (None, Ok(_)) => {}
        }
    }
    taken
}

async fn told(hub: &dyn Hub, device: DeviceId, uplink: Uplink) -> Result<Value, Fault> {
    let arrival = Arrival { device, uplink, mark: None, again: false };
    match hub.uplink(vec![arrival]).await.pop() {
        Some(Ok(())) => Ok(json!(true)),
        Some(Err(UplinkError::Refused(why))) => Err(Fault::new(CODE_FAILED, why)),
        Some(Err(UplinkError::Unavailable(why))) => Err(Fault::new(CODE_UNAVAILABLE, why)),
        None => Err(Fault::new(CODE_UNAVAILABLE, "the hub gave no answer")),
    }
}

/// The whole shadow for who asks for it, `true` for who changed it. One that was never written is empty.
async fn asked(hub: &dyn Hub, device: DeviceId, request: Request) -> Result<Value, Fault> {
    let is_get = matches!(request.deed, Deed::Get(_));
    match hub.shadow(device, request).await {
        Ok(Ok(shadow)) if is_get => Ok(shadow::document(&shadow, None, shadow.updated_at)),
        Ok(Ok(_)) => Ok(json!(true)),
        Ok(Err(Refusal::NoShadow(_))) if is_get => {
            let none = Shadow::none(device, None);
            Ok(shadow::document(&none, None, none.updated_at))
        }
        Ok(Err(refusal)) => Err(Fault::new(i64::from(refusal.code()), refusal.to_string())),
        Err(error) => Err(Fault::new(CODE_UNAVAILABLE, error.to_string())),
    }
}
