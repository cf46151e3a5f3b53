//! Programs: the generated code of boards that run steps, as a script of each board, given to it by deployments.

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::artifact::{Artifact, ArtifactKind};
use motehub_domain::change::Actor;
use motehub_domain::deployment::{self, Cause, Request, Target};
use motehub_domain::device::Device;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::flow::StepId;
use motehub_domain::id::{DeviceId, FlowId, ScriptId};
use motehub_domain::rejection::Rejection;
use motehub_domain::script::{self, Description, Language, Source, Syntax};
use motehub_domain::time::Span;
use motehub_protocol::flow::{Part, program};

use super::boards::{Known, script_of};
use crate::app::App;
use crate::perform::Failure;
use crate::presence;
use crate::random;
use crate::secrets;

/// How long a board must run a program without trouble: values flow meanwhile.
const HEALTH_WINDOW: Span = Span::seconds(5);
/// What the comment of a generated version says.
const COMMENT: &str = "generated";

impl App {
    /// Gives every board the program that it should have: those that run steps theirs, those that lost all of them one
    /// that does nothing.
    pub(crate) async fn give_programs(&self, title: &str, actor: &Actor) -> Result<(), Failure> {
        let wanted = self.flows.by_board();
        let programs = self.store.programs().await?;
        let ids: BTreeSet<DeviceId> = wanted.keys().chain(programs.keys()).copied().collect();
        let ids: Vec<DeviceId> = ids.into_iter().collect();
        let mut given = Vec::new();
        for known in self.known_boards(&ids).await? {
            let id = known.board.id;
            let own = programs.get(&id).copied();
            let parts = wanted.get(&id).map(Vec::as_slice).unwrap_or_default();
            // A board that a person gave another script meanwhile is left alone.
            if parts.is_empty() && script_of(&known.target.software) != own {
                continue;
            }
            let text = self.program_of(&known, parts);
            if let Err(rejection) = script::check_source(&text) {
                tracing::warn!(device = %id, %rejection, "a program is too large");
                continue;
            }
            let digest = secrets::digest(&text);
            let is_asked = *actor != Actor::System;
            let Target { software, open, .. } = &known.target;
            let is_its =
                |artifact: Option<Artifact>| artifact.is_some_and(|artifact| artifact.digest == digest);
            // One that failed before is tried again only if a person says so.
            let has_failed = open.is_none() && !is_its(software.running);
            if is_its(software.active) && !(is_asked && has_failed) {
                continue;
            }
            if is_asked && known.target.quarantined.iter().any(|(one, _)| *one == digest) {
                let save = vec![Save::LiftQuarantine(id, digest)];
                self.perform(Effects { save, ..Effects::none() }).await?;
            }
            let artifact =
                self.program_artifact(&known.target.device, own, known.runs.language(), text, actor).await?;
            given.push((known.target, artifact));
        }
        self.deploy_programs(title, given, actor).await
    }

    /// The program of a board that runs these steps.
    pub(crate) fn program_of(&self, known: &Known, parts: &[(FlowId, BTreeSet<StepId>)]) -> String {
        let graphs: BTreeMap<FlowId, _> =
            parts.iter().filter_map(|(flow, _)| Some((*flow, self.flows.graph(*flow)?))).collect();
        let parts: Vec<Part<'_>> = parts
            .iter()
            .filter_map(|(flow, here)| {
                Some(Part { flow: *flow, graph: graphs.get(flow)?, here: here.clone() })
            })
            .collect();
        program(&parts, &known.board.capabilities, known.runs.shell())
    }

    /// The version of a board's script that is this text; a new one if there is none yet.
    async fn program_artifact(
        &self,
        device: &Device,
        script: Option<ScriptId>,
        language: Language,
        text: String,
        actor: &Actor,
    ) -> Result<Artifact, Failure> {
        let source = Source {
            digest: secrets::digest(&text),
            size_bytes: i64::try_from(text.len()).unwrap_or(i64::MAX),
            syntax: Syntax::Good,
            comment: COMMENT.to_owned(),
        };
        let artifact = |script, version| Artifact {
            kind: ArtifactKind::Script { script, version },
            digest: source.digest,
            size_bytes: source.size_bytes,
        };
        if let Some(script) = script
            && let Some(version) = self.store.version_with(script, source.digest).await?
        {
            return Ok(artifact(script, version));
        }
        self.store.put(text.into_bytes()).await?;
        let Some(script) = script else {
            return self
                .first_program(device, language, source.clone(), actor)
                .await
                .map(|id| artifact(id, 1));
        };
        let version = self
            .attempt(|| async {
                let found = self.store.script(script).await?;
                let found = found.ok_or_else(|| Rejection::not_found("script", script))?;
                let (version, mut effects) =
                    script::save_version(&found, source.clone(), None, actor, self.now())?;
                // It is no work of a person: the flow's own history tells of it.
                effects.changes.clear();
                Ok((version, effects))
            })
            .await?;
        Ok(artifact(script, version))
    }

    async fn first_program(
        &self,
        device: &Device,
        language: Language,
        source: Source,
        actor: &Actor,
    ) -> Result<ScriptId, Failure> {
        let id: ScriptId = random::id(self.now());
        let words = Description {
            name: format!("program of {}", device.id),
            description: format!("generated for the flows on {}", device.name),
            category: String::new(),
        };
        let (_, mut effects) = script::create(id, &words, language, source, actor, self.now())?;
        effects.changes.clear();
        for save in &mut effects.save {
            if let Save::Script(script) = save {
                // Who may run it is decided by placement.
                script.requires.clear();
            }
        }
        effects.save.push(Save::Program(device.id, id));
        self.perform(effects).await?;
        Ok(id)
    }

    async fn deploy_programs(
        &self,
        title: &str,
        given: Vec<(Target, Artifact)>,
        actor: &Actor,
    ) -> Result<(), Failure> {
        if given.is_empty() {
            return Ok(());
        }
        let title: String = title.chars().take(motehub_domain::text::NAME_CHARS_MAX).collect();
        let request =
            Request { title, cause: Cause::Placed, selector: None, health_window: Some(HEALTH_WINDOW) };
        let devices: Vec<DeviceId> = given.iter().map(|(target, _)| target.device.id).collect();
        let artifacts: BTreeMap<DeviceId, Artifact> =
            given.into_iter().map(|(target, artifact)| (target.device.id, artifact)).collect();
        let away = self
            .attempt(|| async {
                let now = self.now();
                let mut away = Vec::new();
                let mut targets = Vec::with_capacity(devices.len());
                for mut target in self.store.targets(&devices).await? {
                    target.online = self.is_online(target.device.id);
                    if !target.online {
                        away.push(target.device.id);
                    }
                    if let Some(artifact) = artifacts.get(&target.device.id) {
                        targets.push((target, *artifact));
                    }
                }
                if targets.is_empty() {
                    return Ok((away, Effects::none()));
                }
                let (_, effects) =
                    deployment::begin(random::id(now), &request, targets, Vec::new(), actor, now)?;
                Ok((away, effects))
            })
            .await?;
        presence::tell_who_came(self, &away).await;
        Ok(())
    }
}
