//! What a hub wants of an MQTT broker, its own or one behind a link, and how that is done.

use super::Order;
use crate::mqtt::Handle;

impl Order {
    /// Does it.
    pub fn obey(&self, mqtt: &Handle) {
        match self {
            Self::Disconnect(device) => mqtt.disconnect_device(*device),
            Self::Rights(device, rights) => mqtt.set_rights(*device, rights),
            Self::Forget(principal) => mqtt.forget_principal(principal),
            // The broker has nothing to do with units.
            Self::Units(_) => {}
            Self::Publish { topic, payload, qos, retain } => {
                if mqtt.is_heard(topic) || *retain {
                    mqtt.publish(topic, payload, *qos, *retain);
                }
            }
        }
    }
}
