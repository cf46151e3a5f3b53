//! Customers who asked for a device and were told to press its button. A press within a minute makes the one who
//! asked its owner; if several asked, nobody gets it, since a press does not say who stands at the device.
//!
//! It is all in memory: after a restart a customer asks again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use motehub_domain::effects::Effects;
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::share::{self, PRESS_WITHIN, PRESSES};
use motehub_domain::time::Time;

use crate::app::App;
use crate::perform::Failure;

/// Of how many devices it is remembered that somebody asks.
const ASKED_MAX: usize = 10_000;
/// How many customers are remembered for one device: from the second on nobody gets it.
const ASKERS_MAX: usize = 2;

/// Who asks for what.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<DeviceId, Vec<(UserId, Time)>>>);

impl Claims {
    /// A customer asks for a device: its button is to be pressed.
    pub(crate) fn ask(&self, device: DeviceId, user: UserId, now: Time) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= ASKED_MAX && !asked.contains_key(&device) {
            asked.retain(|_, askers| askers.iter().any(|(_, at)| now - *at <= PRESS_WITHIN));
        }
        if asked.len() >= ASKED_MAX && !asked.contains_key(&device) {
            return;
        }
        let askers = asked.entry(device).or_default();
        askers.retain(|(asker, at)| *asker != user && now - *at <= PRESS_WITHIN);
        if askers.len() < ASKERS_MAX {
            askers.push((user, now));
        }
    }

    /// The one customer who asked for a device within the last minute.
    fn taken(&self, device: DeviceId, now: Time) -> Option<UserId> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut askers = asked.remove(&device)?;
        askers.retain(|(_, at)| now - *at <= PRESS_WITHIN);
        match askers.as_slice() {
            [(user, _)] => Some(*user),
            _ => None,
        }
    }
}

impl App {
    /// A device reported an event: if it is a press of its button, the customer who asked for it is its owner.
    pub(crate) async fn pressed(&self, device: DeviceId, event: &str) {
        if !PRESSES.contains(&event) {
            return;
        }
        let Some(user) = self.claims.taken(device, self.now()) else { return };
        let claimed: Result<(), Failure> = self
            .attempt(|| async {
                let (device, user) = (self.store.device(device).await?, self.store.user(user).await?);
                let (Some(device), Some(user)) = (device, user) else { return Ok(((), Effects::none())) };
                let shares = self.store.shares_of(device.id).await?;
                let shares: Vec<_> = shares.into_iter().map(|shared| shared.share).collect();
                Ok(((), share::claim(&device, &user, &shares, self.now())?))
            })
            .await;
        if let Err(error) = claimed {
            tracing::info!(%device, %error, "a press of a button did not give the device to who asked for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use motehub_domain::time::Span;

    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    #[test]
    fn a_press_within_a_minute_gives_the_device_to_the_only_one_who_asked() {
        let (lamp, ada, bo) =
            (DeviceId::from_parts(1, 1), UserId::from_parts(1, 2), UserId::from_parts(1, 3));
        let claims = Claims::default();
        assert_eq!(claims.taken(lamp, NOW), None, "nobody asked");
        claims.ask(lamp, ada, NOW);
        claims.ask(lamp, ada, NOW + Span::seconds(30));
        assert_eq!(claims.taken(lamp, NOW + Span::seconds(90)), Some(ada));
        assert_eq!(claims.taken(lamp, NOW + Span::seconds(90)), None, "a press serves once");
        claims.ask(lamp, ada, NOW);
        assert_eq!(claims.taken(lamp, NOW + Span::seconds(61)), None, "too late");
        claims.ask(lamp, ada, NOW);
        claims.ask(lamp, bo, NOW);
        assert_eq!(claims.taken(lamp, NOW), None, "nobody knows who pressed");
        claims.ask(lamp, ada, NOW);
        claims.ask(lamp, bo, NOW + Span::seconds(61));
        assert_eq!(claims.taken(lamp, NOW + Span::seconds(61)), Some(bo), "the first one gave up");
    }
}
