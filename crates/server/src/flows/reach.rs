//! What steps on the hub do to the world: they set what is desired of devices, give commands, publish and post.

use motehub_domain::change::Actor;
use motehub_domain::command::{self, Addressee, Request};
use motehub_domain::flow::{Kind, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::time::Span;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::outside::Post;
use crate::random;

/// How many addresses are posted to at once.
const POSTS_MAX: usize = 16;
/// How long a command of a flow waits for its device.
const COMMAND_MAX: Span = Span::minutes(5);

/// A value that came to a step which reaches outside.
#[derive(Debug)]
pub(crate) struct Errand {
    /// Of which flow.
    pub(crate) flow: FlowId,
    /// Which step.
    pub(crate) step: StepId,
    /// The value.
    pub(crate) value: Value,
}

/// Runs until shutdown: one errand after the other, so that what a lamp is told last is what was said last. Posts go
/// their own way, a slow address holds nobody up.
pub(crate) async fn run(app: App, mut errands: mpsc::Receiver<Errand>, shutdown: CancellationToken) {
    let posts = std::sync::Arc::new(tokio::sync::Semaphore::new(POSTS_MAX));
    loop {
        let errand = tokio::select! {
            biased;
            errand = errands.recv() => errand,
            () = shutdown.cancelled() => return,
        };
        let Some(Errand { flow, step, value }) = errand else { return };
        let Some((name, kind, device)) = app.flows.kind(flow, &step) else { continue };
        let actor = Actor::Token(format!("flow {name}"));
        let done = match kind {
            Kind::Switch { path, .. } => app.switch(device, &path, value, &actor).await,
            Kind::Command { command, .. } => app.give_command(device, &command, value, &actor).await,
            Kind::Publish { topic, retain } => app.publish_value(&topic, &value, retain),
            Kind::Webhook { url } => {
                let Ok(permit) = posts.clone().try_acquire_owned() else {
                    app.flows.fault(
                        flow,
                        step,
                        "addresses are slow: the value was dropped".to_owned(),
                        app.now(),
                    );
                    continue;
                };
                let app = app.clone();
                tokio::spawn(async move {
                    let post = Post { url, body: value.to_string(), headers: Vec::new() };
                    let answer = app.outside().post(post).await;
                    drop(permit);
                    if !answer.is_good() {
                        let status = answer.status.map(|status| format!("{status} ")).unwrap_or_default();
                        app.flows.fault(flow, step, format!("{status}{}", answer.text), app.now());
                    }
                });
                continue;
            }
            _ => Ok(()),
        };
        if let Err(why) = done {
            app.flows.fault(flow, step, why, app.now());
        }
    }
}

impl App {
    /// Desires a value of a device.
    pub(crate) async fn switch(
        &self,
        device: Option<DeviceId>,
        path: &str,
        value: Value,
        actor: &Actor,
    ) -> Result<(), String> {
        let device = device.ok_or("there is no one device with this name")?;
        self.wish(device, path, value, actor).await.map_err(|error| error.to_string())
    }

    /// Gives a device a command.
    pub(crate) async fn give_command(
        &self,
        device: Option<DeviceId>,
        name: &str,
        arguments: Value,
        actor: &Actor,
    ) -> Result<(), String> {
        let device = device.ok_or("there is no one device with this name")?;
        let expires_in = Some(COMMAND_MAX);
        let request = Request { name: name.to_owned(), arguments, selector: None, expires_in };
        let given = self.attempt(|| async {
            let device = self.store.device(device).await?;
            let device =
                device.ok_or_else(|| motehub_domain::rejection::Rejection::not_found("device", name))?;
            let online = self.connections.is_online(device.id);
            let to = [Addressee { device, online }];
            let (_, effects) = command::request(random::id(self.now()), &request, &to, actor, self.now())?;
            Ok(((), effects))
        });
        given.await.map_err(|error| error.to_string())
    }

    fn publish_value(&self, topic: &str, value: &Value, retain: bool) -> Result<(), String> {
        let mqtt = self.mqtt.get().ok_or("there is no broker")?;
        match mqtt.publish(topic, value.to_string().as_bytes(), 1, retain) {
            true => Ok(()),
            false => Err("nothing can be published to this topic".to_owned()),
        }
    }
}
