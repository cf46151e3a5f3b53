//! What steps on the hub do to the world: they set what is desired of devices, give commands, publish and post.

use motehub_domain::change::Actor;
use motehub_domain::command::Request;
use motehub_domain::flow::{Kind, StepId};
use motehub_domain::id::FlowId;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::Work;
use crate::outside::Post;
use crate::perform::Failure;

/// How many addresses are posted to at once.
const POSTS_MAX: usize = 16;
/// Why a step does nothing whose device is gone, or has its name no more.
const NO_DEVICE: &str = "there is no one device with this name";

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
        // Another node may have taken over from a process that stood still.
        if !app.cluster.holds(Work::Flows) {
            continue;
        }
        let Some((name, kind, device)) = app.flows.kind(flow, &step) else { continue };
        let actor = Actor::Token(format!("flow {name}"));
        let done = match kind {
            Kind::Switch { path, .. } => match device {
                Some(device) => said(app.wish(device, &path, value, &actor).await),
                None => Err(NO_DEVICE.to_owned()),
            },
            Kind::Command { command: name, .. } => {
                let request = Request { name, arguments: value, selector: None, expires_in: None };
                match device {
                    Some(device) => said(app.give_command(&request, &[device], &actor).await),
                    None => Err(NO_DEVICE.to_owned()),
                }
            }
            Kind::Publish { topic, retain } => app.publish_on(&topic, value.to_string().as_bytes(), retain),
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

/// What a fault says.
fn said<T>(done: Result<T, Failure>) -> Result<(), String> {
    done.map(drop).map_err(|failure| failure.to_string())
}

impl App {
    /// Publishes by the hub's own broker.
    pub(crate) fn publish_on(&self, topic: &str, payload: &[u8], retain: bool) -> Result<(), String> {
        let mqtt = self.mqtt.get().ok_or("there is no broker")?;
        match mqtt.publish(topic, payload, 1, retain) {
            true => Ok(()),
            false => Err(format!("nothing can be published to {topic}")),
        }
    }
}
