//! Rotation of credentials: a device that still has its old one is sent a fresh secret whenever it listens; the first
//! use of one ends the rotation. Who uses one credential from two addresses is noticed here too.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use motehub_domain::artifact::Digest;
use motehub_domain::credential::{self, Arrivals};
use motehub_domain::device::Device;
use motehub_domain::effects::Effects;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Secret;
use motehub_gateway::link::Order;
use motehub_store::StoreError;

use crate::app::App;
use crate::perform::Failure;
use crate::random;
use crate::secrets;

/// From where devices came lately.
#[derive(Default)]
pub(crate) struct Origins(Mutex<Arrivals>);

impl App {
    /// Sends a fresh secret to those of some devices that are here and whose rotation goes on.
    pub(crate) async fn tell_rotations(&self, devices: &[DeviceId]) {
        let rotations = match self.store.rotations(devices).await {
            Ok(rotations) => rotations,
            Err(error) => return tracing::warn!(%error, "credential rotations could not be looked up"),
        };
        let mut effects = Effects::none();
        for rotation in rotations.iter().filter(|rotation| self.is_online(rotation.device)) {
            let credential = random::secret();
            let digest = secrets::digest(&credential);
            let coap_key = self.access_keys.coap_key_of(rotation.device, digest);
            let secret = Secret { credential, coap_key };
            effects = effects.and(credential::send(rotation, secret, digest, self.now()));
        }
        if let Err(error) = self.perform(effects).await {
            tracing::warn!(%error, "new credentials could not be sent; they are sent when the devices come again");
        }
    }

    /// The device whose secret this is: its credential, or one that it was sent in a rotation. When it uses that, the
    /// old one stops, and whoever still is connected with the old one is disconnected.
    pub(crate) async fn device_by_secret(
        &self,
        secret: Digest,
        name: &str,
    ) -> Result<Option<Device>, StoreError> {
        if let Some(device) = self.store.device_by_credential(secret).await? {
            return Ok(Some(device));
        }
        let Some(device) = self.store.device_by_next_credential(secret).await? else { return Ok(None) };
        if device.external_id.as_deref() != Some(name) && device.id.to_string() != name {
            return Ok(None);
        }
        match self.perform(credential::rotated(&device, secret)).await {
            Ok(()) => {}
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Rejected(rejection)) => return Err(StoreError::Unavailable(rejection.sentence)),
        }
        self.order(&Order::Disconnect(device.id));
        Ok(Some(device))
    }

    /// A device proved who it is. If two addresses take turns with its credential, that is stated.
    pub(crate) async fn arrived(&self, device: DeviceId, from: SocketAddr) {
        let address = from.ip().to_canonical();
        let shared = {
            let mut arrivals = self.origins.0.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.arrived(device, address, self.now())
        };
        if let Some(addresses) = shared {
            self.state_shared(device, &addresses).await;
        }
    }

    /// A device is connected from several addresses at once. That is stated, unless it was a while ago.
    pub(crate) async fn used_by_several(&self, device: DeviceId, addresses: &[IpAddr]) {
        let may_say = {
            let mut arrivals = self.origins.0.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.may_warn(device, self.now())
        };
        if may_say {
            self.state_shared(device, addresses).await;
        }
    }

    async fn state_shared(&self, device: DeviceId, addresses: &[IpAddr]) {
        let stated = match self.store.device(device).await {
            Ok(Some(device)) => self.perform(credential::shared(&device, addresses, self.now())).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = stated {
            tracing::warn!(%device, %error, "that a credential is shared could not be recorded");
        }
    }
}
