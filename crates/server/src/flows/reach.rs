//! What steps on the hub do to the world: they set what is desired of devices, give commands, publish and post.

use std::net::IpAddr;
use std::time::Duration;

use motehub_domain::change::Actor;
use motehub_domain::command::{self, Addressee, Request};
use motehub_domain::flow::{Kind, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::time::Span;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::app::App;
use crate::random;

/// Longest answer that is read of an address, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// How long an address may take.
const POST_MAX: Duration = Duration::from_secs(10);
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
                let allowed = app.settings.private_webhooks;
                tokio::spawn(async move {
                    let posted = tokio::task::spawn_blocking(move || post(&url, &value, allowed)).await;
                    drop(permit);
                    if let Ok(Err(why)) = posted {
                        app.flows.fault(flow, step, why, app.now());
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
    async fn switch(
        &self,
        device: Option<DeviceId>,
        path: &str,
        value: Value,
        actor: &Actor,
    ) -> Result<(), String> {
        let device = device.ok_or("there is no one device with this name")?;
        self.wish(device, path, value, actor).await.map_err(|error| error.to_string())
    }

    async fn give_command(
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

/// Posts a value. Addresses inside of private networks are refused unless they are allowed: a flow must not reach what
/// only the hub can.
fn post(url: &str, value: &Value, private_allowed: bool) -> Result<(), String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(POST_MAX))
        .max_redirects(0)
        .http_status_as_error(true)
        .proxy(None)
        .tls_config(crate::authorities::tls())
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), Outside { private_allowed });
    let answer = agent.post(url).content_type("application/json").send(value.to_string());
    let mut answer = answer.map_err(|error| format!("{url}: {error}"))?;
    // Read to its end, so that the other side is not cut off.
    let _ = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    Ok(())
}

/// Resolves names, and leaves out addresses that are not public.
#[derive(Debug)]
struct Outside {
    private_allowed: bool,
}

impl Resolver for Outside {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut public = self.empty();
        for address in all.iter().filter(|address| self.private_allowed || is_public(address.ip())) {
            public.push(*address);
        }
        match public.is_empty() {
            false => Ok(public),
            true => Err(ureq::Error::Other(
                "the address is inside of a private network; allow that with --private-webhooks".into(),
            )),
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_special = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (b == 18 || b == 19));
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || is_shared
                || is_special)
        }
        IpAddr::V6(v6) => match v6.to_ipv4() {
            Some(v4) => is_public(IpAddr::V4(v4)),
            None => {
                let first = v6.segments()[0];
                // Global unicast, without documentation and the ways to other networks.
                first & 0xe000 == 0x2000
                    && v6.segments()[..2] != [0x2001, 0xdb8]
                    && first != 0x2002
                    && v6.segments()[..2] != [0x2001, 0]
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let private = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "2001:db8::1",
            "2002:7f00:1::",
            "ff02::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
