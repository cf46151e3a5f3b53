//! Deployments and how their tasks stand.

use std::collections::HashMap;

use motehub_domain::deployment::{Cause, Counts, Deployment, DeploymentState, TaskState};
use motehub_domain::id::{DeploymentId, DeviceId, FirmwareId, ScriptId};
use motehub_domain::time::Span;

use crate::artifact::{artifact_columns, artifact_values};
use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// The columns of a deployment, in the order in which [`deployment_of`] reads them.
macro_rules! deployment_select {
    () => {
        "select id, cause, cause_of, artifact, version, digest, size, selector, state, health_window, \
         created_by, created_at, ended_at, title, revision from deployments"
    };
}

sql! {
    INSERT = "insert into deployments (id, cause, cause_of, artifact, version, digest, size, selector, state,
        health_window, created_by, created_at, ended_at, title, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) on conflict (id) do nothing";
    UPDATE = "update deployments set cause = $2, cause_of = $3, artifact = $4, version = $5, digest = $6,
        size = $7, selector = $8, state = $9, health_window = $10, created_by = $11, created_at = $12,
        ended_at = $13, title = $14, revision = $15 where id = $1 and revision = $15 - 1";
    BY_ID = concat!(deployment_select!(), " where id = $1");
    RECOVERY_OF = concat!(
        deployment_select!(), " where cause_of = $1 and cause = 'recovery' order by id limit 1");
}

const LIST: &str = deployment_select!();
const COUNT: &str = "select count(*) from deployments";
const COUNTS: &str = "select deployment, state, count(*) from tasks where deployment";

/// Which deployments are wanted; what is `None` does not restrict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeploymentFilter {
    /// That brought a version of this script to at least one device.
    pub script: Option<ScriptId>,
    /// That brought this firmware to at least one device.
    pub firmware: Option<FirmwareId>,
    /// That have a task of this device.
    pub device: Option<DeviceId>,
    /// In this state.
    pub state: Option<DeploymentState>,
}

pub(crate) fn write(deployment: &Deployment) -> Statement {
    let (cause, of, artifact) = match &deployment.cause {
        Cause::Asked(artifact) => ("asked", None, Some(artifact)),
        Cause::Rollback(of) => ("rollback", Some(Value::id(of)), None),
        Cause::Recovery(of) => ("recovery", Some(Value::id(of)), None),
        Cause::Placed => ("placed", None, None),
    };
    let mut values = vec![Value::id(deployment.id), cause.into(), of.into()];
    values.extend(artifact_values(artifact));
    values.extend([
        deployment.selector.as_ref().into(),
        deployment.state.as_str().into(),
        deployment.health_window.0.into(),
        (&deployment.created_by).into(),
        deployment.created_at.into(),
        deployment.ended_at.into(),
        (&deployment.title).into(),
        deployment.revision.into(),
    ]);
    let sql = if deployment.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("deployment")
}

fn deployment_of(row: Row) -> Result<Deployment, StoreError> {
    let mut columns = Columns::of("deployments", row);
    let id = columns.parsed()?;
    let cause = columns.text()?;
    let of = columns.maybe_parsed()?;
    let cause = match (cause.as_str(), of, artifact_columns(&mut columns)?) {
        ("asked", None, Some(artifact)) => Cause::Asked(artifact),
        ("rollback", Some(of), None) => Cause::Rollback(of),
        ("recovery", Some(of), None) => Cause::Recovery(of),
        ("placed", None, None) => Cause::Placed,
        _ => return Err(StoreError::damaged(format!("deployment {id}"))),
    };
    Ok(Deployment {
        id,
        cause,
        selector: columns.maybe_text()?,
        state: columns.word(DeploymentState::parse)?,
        health_window: Span(columns.integer()?),
        created_by: columns.text()?,
        created_at: columns.time()?,
        ended_at: columns.maybe_time()?,
        title: columns.text()?,
        revision: columns.integer()?,
    })
}

fn restrict(query: &mut Query, filter: &DeploymentFilter) {
    let mut is_first = true;
    let artifacts = [filter.script.map(Value::id), filter.firmware.map(Value::id)];
    for artifact in artifacts.into_iter().flatten() {
        query.condition(&mut is_first).push("id in (select deployment from tasks where artifact = ");
        query.bind(artifact).push(")");
    }
    if let Some(device) = filter.device {
        query.condition(&mut is_first).push("id in (select deployment from tasks where device = ");
        query.bind(Value::id(device)).push(")");
    }
    if let Some(state) = filter.state {
        query.condition(&mut is_first).push("state = ").bind(state.as_str());
    }
}

impl Store {
    /// A deployment by its id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        self.engine().read_one(BY_ID, [Value::id(id)]).await?.map(deployment_of).transpose()
    }

    /// The deployment that returns devices on which `of` failed to their last good version, if there is one.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn recovery_of(&self, of: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        self.engine().read_one(RECOVERY_OF, [Value::id(of)]).await?.map(deployment_of).transpose()
    }

    /// A page of the deployments, newest first, each with how its tasks stand, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn deployments(
        &self,
        filter: DeploymentFilter,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<(Deployment, Counts)>, i64), StoreError> {
        let mut list = Query::new(LIST);
        let mut count = Query::new(COUNT);
        restrict(&mut list, &filter);
        restrict(&mut count, &filter);
        list.push(" order by id desc limit ").bind(limit).push(" offset ").bind(offset);
        let (rows, total) = self.engine().page(list, count).await?;
        let deployments = rows.into_iter().map(deployment_of).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<DeploymentId> = deployments.iter().map(|deployment| deployment.id).collect();
        let mut counts = self.counts_of(&ids).await?;
        let with = |deployment: Deployment| {
            let counts = counts.remove(&deployment.id).unwrap_or_default();
            (deployment, counts)
        };
        Ok((deployments.into_iter().map(with).collect(), total))
    }

    /// How the tasks of a deployment stand.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn counts(&self, id: DeploymentId) -> Result<Counts, StoreError> {
        Ok(self.counts_of(&[id]).await?.remove(&id).unwrap_or_default())
    }

    async fn counts_of(&self, ids: &[DeploymentId]) -> Result<HashMap<DeploymentId, Counts>, StoreError> {
        let mut query = Query::new(COUNTS);
        query.among(ids.iter().map(Value::id)).push(" group by deployment, state");
        let mut all: HashMap<DeploymentId, Counts> = HashMap::new();
        for row in self.engine().ask(query).await? {
            let mut columns = Columns::of("tasks", row);
            let counts = all.entry(columns.parsed()?).or_default();
            let state = columns.word(TaskState::parse)?;
            let count = columns.integer()?;
            if let Some(place) = TaskState::ALL.iter().position(|known| *known == state) {
                counts.0[place] = count;
            }
        }
        Ok(all)
    }
}
