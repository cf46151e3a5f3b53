//! Jobs at work: what devices ask about their share of deployments by the topics of AWS, and how they are told that
//! there is something for them.

use motehub_domain::deployment::{Target, Task};
use motehub_domain::effects::Effects;
use motehub_domain::firmware::Firmware;
use motehub_domain::id::DeviceId;
use motehub_domain::job::{self, Changed, JobId, Refusal, Request};
use motehub_domain::kept::Principal;
use motehub_gateway::hub::UplinkError;
use motehub_protocol::MqttMessage;
use motehub_protocol::jobs::{self, Ask};
use motehub_protocol::shadow::is_level;
use motehub_store::StoreError;
use serde_json::{Value, json};

use crate::app::App;
use crate::perform::Failure;

impl App {
    /// Does what was asked about jobs. The answer is for the asker alone.
    pub(crate) async fn ask_job(&self, who: Principal, ask: Ask) -> Result<MqttMessage, UplinkError> {
        let Ask { topic, thing, token, request } = ask;
        let done = match request {
            Ok(request) => self.on_jobs(who, &thing, &request).await,
            Err(refusal) => Ok(Err(refusal)),
        };
        let done = done.unwrap_or_else(|failure| {
            tracing::warn!(%failure, "a job could not be read or moved");
            Err(Refusal::InternalError)
        });
        let (verdict, payload) = match done {
            Ok(answer) => ("accepted", job::accepted(answer, token.as_deref(), self.now())),
            Err(refusal) => ("rejected", job::rejected(&refusal, token.as_deref(), self.now())),
        };
        Ok(MqttMessage {
            topic: format!("{topic}/{verdict}"),
            payload: payload.to_string().into_bytes(),
            qos: 1,
        })
    }

    async fn on_jobs(
        &self,
        who: Principal,
        thing: &str,
        request: &Request,
    ) -> Result<Result<Value, Refusal>, Failure> {
        let device = match who {
            Principal::Anonymous => None,
            Principal::Device(_) | Principal::Token(_) => self.thing(who, thing).await?,
        };
        let Some(device) = device else { return Ok(Err(Refusal::ResourceNotFound)) };
        match request {
            Request::Pending => Ok(Ok(job::pending(self.next_job(device).await?.as_ref()))),
            Request::StartNext { details, step } => {
                let started = self.job_moves(device, None, |target, task, of| {
                    job::start(target, task, of, details.clone(), *step, self.now())
                });
                match started.await? {
                    Ok(task) => {
                        let document = self.job_document(&task).await?;
                        Ok(Ok(json!({ "execution": job::execution(&task, thing, Some(document)) })))
                    }
                    // Nothing is pending.
                    Err(Refusal::ResourceNotFound) => Ok(Ok(json!({}))),
                    Err(refusal) => Ok(Err(refusal)),
                }
            }
            Request::Describe { job, with_document } => {
                self.described(device, thing, *job, *with_document).await
            }
            Request::Update(job, update) => {
                let updated = self.job_moves(device, Some(*job), |target, task, of| {
                    job::update(target, task, of, update, self.now())
                });
                let task = match updated.await? {
                    Ok(task) => task,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let mut answer = json!({});
                if update.with_state {
                    answer["executionState"] = job::state(&task);
                }
                if update.with_document {
                    answer["jobDocument"] = self.job_document(&task).await?;
                }
                Ok(Ok(answer))
            }
        }
    }

    /// Loads a job, lets a verb decide, and performs.
    async fn job_moves(
        &self,
        device: DeviceId,
        job: Option<JobId>,
        verb: impl Fn(Target, &Task, Option<&Firmware>) -> Result<(Task, Effects), Refusal>,
    ) -> Result<Result<Task, Refusal>, Failure> {
        self.attempt(|| async {
            let Some((target, task, of)) = self.job(device, job).await? else {
                return Ok((Err(Refusal::ResourceNotFound), Effects::none()));
            };
            Ok(match verb(target, &task, of.as_ref()) {
                Ok((task, effects)) => (Ok(task), effects),
                Err(refusal) => (Err(refusal), Effects::none()),
            })
        })
        .await
    }

    async fn described(
        &self,
        device: DeviceId,
        thing: &str,
        job: Option<JobId>,
        with_document: bool,
    ) -> Result<Result<Value, Refusal>, Failure> {
        let task = match (job, self.job(device, job).await?) {
            (_, Some((_, task, _))) => task,
            (Some(_), None) => return Ok(Err(Refusal::ResourceNotFound)),
            (None, None) => return Ok(Ok(json!({}))),
        };
        if !job::is_pending(&task) {
            return Ok(Err(Refusal::TerminalStateReached(Box::new(task))));
        }
        let document = if with_document { Some(self.job_document(&task).await?) } else { None };
        Ok(Ok(json!({ "execution": job::execution(&task, thing, document) })))
    }

    /// A job of a device, or the next one, with what the verbs need beside it.
    async fn job(
        &self,
        device: DeviceId,
        job: Option<JobId>,
    ) -> Result<Option<(Target, Task, Option<Firmware>)>, StoreError> {
        let Some(mut target) = self.store.target(device).await?.filter(|it| job::has_jobs(&it.device)) else {
            return Ok(None);
        };
        target.online = self.is_online(device);
        let task = match job {
            None => target.open.clone().filter(job::is_pending),
            Some(JobId { deployment: None, .. }) => None,
            Some(JobId { deployment: Some(deployment), number }) => {
                let task = self.store.task(deployment, device).await?;
                task.filter(|task| number.is_none_or(|number| number == task.job.number))
            }
        };
        let Some(task) = task else { return Ok(None) };
        let of = match task.artifact.firmware() {
            Some(firmware) => self.store.firmware(firmware).await?,
            None => None,
        };
        Ok(Some((target, task, of)))
    }

    async fn next_job(&self, device: DeviceId) -> Result<Option<Task>, StoreError> {
        Ok(self.job(device, None).await?.map(|(_, task, _)| task))
    }

    /// What a device shall do.
    async fn job_document(&self, task: &Task) -> Result<Value, StoreError> {
        let (mut name, mut firmware) = (None, None);
        if let Some((script, _)) = task.artifact.script() {
            name = self.store.script(script).await?.map(|script| script.name);
        } else if let Some(id) = task.artifact.firmware() {
            firmware = self.store.firmware(id).await?;
        }
        let base = self.settings.public_url.as_deref().unwrap_or_default();
        let (name, firmware) = (name.as_deref(), firmware.as_ref());
        Ok(jobs::document(task.device, &task.artifact, name, firmware, task.health_window, base))
    }

    /// Tells devices that other jobs are pending than before, as far as anybody has subscribed to that.
    pub(crate) async fn tell_jobs(&self, changed: Vec<Changed>) {
        let is_heard = |topic: &String| self.mqtt.get().is_some_and(|mqtt| mqtt.is_heard(topic));
        let mut told: Vec<DeviceId> = Vec::new();
        for Changed { device, external_id } in changed {
            let is_behind = !self.connections.links_of(device).is_empty() || self.elsewhere(device).is_some();
            let things = external_id.into_iter().filter(|id| is_level(id)).chain([device.to_string()]);
            let heard: Vec<(String, [String; 2])> = things
                .map(|thing| (thing.clone(), jobs::notifications(&thing)))
                .filter(|(_, topics)| is_behind || topics.iter().any(is_heard))
                .collect();
            if heard.is_empty() || told.contains(&device) {
                continue;
            }
            told.push(device);
            let now = self.now();
            let found = async {
                let next = self.next_job(device).await?;
                let document = match &next {
                    Some(task) => Some(self.job_document(task).await?),
                    None => None,
                };
                Ok::<_, StoreError>((next, document))
            };
            let (next, document) = match found.await {
                Ok(found) => found,
                // It is no loss: the device asks for its jobs when it connects.
                Err(error) => {
                    tracing::warn!(%device, %error, "a device could not be told of its jobs");
                    continue;
                }
            };
            for (thing, [list, first]) in heard {
                let execution = next.as_ref().map(|task| job::execution(task, &thing, document.clone()));
                for (topic, payload) in
                    [(list, job::changed(next.as_ref(), now)), (first, job::next_changed(execution, now))]
                {
                    self.publish_about(device, &topic, || payload.to_string().into_bytes());
                }
            }
        }
    }
}
