//! What firings want of devices and of the broker, one after the other. What the hub did not get to before it stopped
//! is done after its next start.

use motehub_domain::change::Actor;
use motehub_domain::command::Request;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::rule::{Deed, Record, Target};
use motehub_domain::time::Span;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::selectors;
use crate::app::App;
use crate::perform::Failure;

/// How many firings are read at once.
const BATCH_MAX: usize = 100;
/// Most devices of which one action desires something, or to which it gives a command.
const DEVICES_MAX: usize = 1_000;
/// What was to be done longer ago than this is not done any more.
const LATE_MAX: Span = Span::minutes(60);
/// How long to rest after an error.
const REST: Span = Span::seconds(5);

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        let rest = match round(&app).await {
            Ok(true) => continue,
            Ok(false) => None,
            Err(error) => {
                tracing::error!(%error, "what rules want could not be done; trying again");
                Some(app.now() + REST)
            }
        };
        let sleep = async {
            match rest {
                Some(until) => app.clock.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = app.rules.deeds.notified() => {}
            () = sleep => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Does some; whether there may be more.
async fn round(app: &App) -> Result<bool, Failure> {
    let firings = app.store.undone_firings(BATCH_MAX).await?;
    let is_more = !firings.is_empty();
    for firing in firings {
        let name = app.store.rule(firing.rule).await?.map_or_else(String::new, |rule| rule.name);
        let mut problems = firing.problems.clone();
        for deed in firing.trace["actions"].as_array().into_iter().flatten().filter_map(Deed::from_json) {
            if let Err(why) = app.do_deed(&firing, deed, &name).await {
                problems.push(why);
            }
        }
        if let Some(problem) = problems.last() {
            app.rules.trouble(firing.rule, problem.clone(), firing.at);
        }
        let save = vec![Save::FiringDone(firing.id, problems)];
        app.perform(Effects { save, ..Effects::none() }).await?;
    }
    Ok(is_more)
}

impl App {
    async fn do_deed(&self, firing: &Record, deed: Deed, rule: &str) -> Result<(), String> {
        let is_late = || match self.now() - firing.at > LATE_MAX {
            true => Err("the hub was off when this was due".to_owned()),
            false => Ok(()),
        };
        let actor = Actor::Token(format!("rule {rule}"));
        match deed {
            Deed::Desired { path, value, target } => {
                is_late().map_err(|why| format!("desired: {why}"))?;
                for device in self.meant(firing, &target).await.map_err(|why| format!("desired: {why}"))? {
                    let done = self.wish(device, &path, value.clone(), &actor).await;
                    done.map_err(|why| format!("desired {path}: {why}"))?;
                }
                Ok(())
            }
            Deed::Command { name, arguments, target } => {
                is_late().map_err(|why| format!("command: {why}"))?;
                let devices = self.meant(firing, &target).await.map_err(|why| format!("command: {why}"))?;
                let selector = match target {
                    Target::Devices(text) => Some(text),
                    Target::Itself => None,
                };
                let request = Request { name, arguments, selector, expires_in: None };
                let given = self.give_command(&request, &devices, &actor).await;
                given.map(drop).map_err(|why| format!("command {}: {why}", request.name))
            }
            Deed::Publish { topic, payload } => {
                let payload = match payload {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                self.publish_on(&topic, payload.as_bytes(), false).map_err(|why| format!("publish: {why}"))
            }
            // In the transaction of the firing.
            Deed::Webhook(_) | Deed::Mail { .. } | Deed::Alarm { .. } | Deed::Unmade(..) => Ok(()),
        }
    }

    async fn meant(&self, firing: &Record, target: &Target) -> Result<Vec<DeviceId>, String> {
        let Target::Devices(text) = target else {
            return firing.device.map(|device| vec![device]).ok_or_else(|| "the device is gone".to_owned());
        };
        let selector = selectors::read(self, text).await.map_err(|error| error.to_string())?;
        let found = self.store.select_ids(&selector, self.now(), DEVICES_MAX + 1).await;
        let found = found.map_err(|error| error.to_string())?;
        match found.len() > DEVICES_MAX {
            true => Err(format!("more than {DEVICES_MAX} devices are meant by {text}")),
            false => Ok(found),
        }
    }
}
