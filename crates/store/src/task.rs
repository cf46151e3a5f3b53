//! Tasks: each device's share of a deployment, and devices as deployments see them.

mod job;

use std::collections::HashMap;

use motehub_domain::deployment::{Target, Task, TaskState};
use motehub_domain::id::{DeploymentId, DeviceId};
use motehub_domain::time::{Span, Time};

use crate::artifact::{artifact_columns, artifact_values};
use crate::device::{device_columns, device_select, software_columns, software_select};
use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// How many devices one statement fetches.
const TARGETS_PER_READ: usize = 500;

/// The columns of a task, in the order in which [`task_columns`] reads them.
macro_rules! task_select {
    () => {
        "t.deployment, t.device, t.artifact, t.version, t.digest, t.size, \
         t.previous_artifact, t.previous_version, t.previous_digest, t.previous_size, \
         t.state, t.reason, t.traceback, t.tries, t.health_window, t.created_at, t.updated_at, t.deadline, \
         t.job, t.revision"
    };
}

sql! {
    INSERT = "insert into tasks (deployment, device, artifact, version, digest, size,
        previous_artifact, previous_version, previous_digest, previous_size,
        state, is_open, reason, traceback, tries, health_window, created_at, updated_at, deadline, job,
        revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        on conflict (deployment, device) do nothing";
    UPDATE = "update tasks set artifact = $3, version = $4, digest = $5, size = $6,
        previous_artifact = $7, previous_version = $8, previous_digest = $9, previous_size = $10,
        state = $11, is_open = $12, reason = $13, traceback = $14, tries = $15, health_window = $16,
        created_at = $17, updated_at = $18, deadline = $19, job = $20, revision = $21
        where deployment = $1 and device = $2 and revision = $21 - 1";
    ONE = concat!("select ", task_select!(), " from tasks t where t.deployment = $1 and t.device = $2");
    OF_DEVICE = concat!(
        "select ", task_select!(),
        " from tasks t where t.device = $1 order by t.created_at desc, t.deployment desc limit $2");
    DUE = concat!(
        "select ", task_select!(), " from tasks t where t.deadline <= $1 order by t.deadline limit $2");
    NEXT_DEADLINE = "select deadline from tasks where deadline is not null order by deadline limit 1";
}

const LIST: &str = concat!(
    "select ",
    task_select!(),
    ", d.name from tasks t join devices d on d.id = t.device where t.deployment = "
);
const COUNT: &str = "select count(*) from tasks t where t.deployment = ";
const TARGETS: &str = concat!(
    "select ",
    device_select!(),
    ", ",
    software_select!(),
    ", coalesce(p.online, 0), r.free_memory, case when t.device is null then 0 else 1 end, ",
    task_select!(),
    " from devices d left join software s on s.device = d.id left join presence p on p.device = d.id
    left join reports r on r.device = d.id left join tasks t on t.device = d.id and t.is_open = 1 where d.id"
);

pub(crate) fn write(task: &Task) -> Statement {
    let mut values = vec![Value::id(task.deployment), Value::id(task.device)];
    values.extend(artifact_values(Some(&task.artifact)));
    values.extend(artifact_values(task.previous.as_ref()));
    values.extend([
        task.state.as_str().into(),
        task.state.is_open().into(),
        task.reason.as_ref().into(),
        task.traceback.as_ref().into(),
        task.tries.into(),
        task.health_window.0.into(),
        task.created_at.into(),
        task.updated_at.into(),
        task.deadline.into(),
        job::text(&task.job).into(),
        task.revision.into(),
    ]);
    let sql = if task.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("task")
}

/// Reads the columns of [`task_select`].
fn task_columns(columns: &mut Columns) -> Result<Task, StoreError> {
    let deployment = columns.parsed()?;
    let device = columns.parsed()?;
    let damaged = || StoreError::damaged(format!("the task of device {device} in deployment {deployment}"));
    Ok(Task {
        deployment,
        device,
        artifact: artifact_columns(columns)?.ok_or_else(damaged)?,
        previous: artifact_columns(columns)?,
        state: columns.word(TaskState::parse)?,
        reason: columns.maybe_text()?,
        traceback: columns.maybe_text()?,
        tries: columns.integer()?,
        health_window: Span(columns.integer()?),
        created_at: columns.time()?,
        updated_at: columns.time()?,
        deadline: columns.maybe_time()?,
        job: job::read(columns.maybe_json()?).ok_or_else(damaged)?,
        revision: columns.integer()?,
    })
}

fn task_of(row: Row) -> Result<Task, StoreError> {
    task_columns(&mut Columns::of("tasks", row))
}

fn target_of(row: Row) -> Result<Target, StoreError> {
    let mut columns = Columns::of("devices", row);
    let device = device_columns(&mut columns)?;
    let software = software_columns(&mut columns, device.id)?;
    let online = columns.boolean()?;
    let free_memory = columns.maybe_integer()?;
    let open = if columns.boolean()? { Some(task_columns(&mut columns)?) } else { None };
    Ok(Target { device, software, online, open, free_memory, quarantined: Vec::new() })
}

fn restrict(query: &mut Query, states: &[TaskState]) {
    if !states.is_empty() {
        query.push(" and t.state").among(states.iter().map(|state| state.as_str().into()));
    }
}

impl Store {
    /// The share of a device in a deployment.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn task(&self, deployment: DeploymentId, device: DeviceId) -> Result<Option<Task>, StoreError> {
        let row = self.engine().read_one(ONE, [Value::id(deployment), Value::id(device)]).await?;
        row.map(task_of).transpose()
    }

    /// A page of the tasks of a deployment that are in one of `states` (in any, if that is empty), each with
    /// the name of its device, by that name, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn tasks(
        &self,
        deployment: DeploymentId,
        states: &[TaskState],
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<(Task, String)>, i64), StoreError> {
        let mut list = Query::new(LIST);
        let mut count = Query::new(COUNT);
        for query in [&mut list, &mut count] {
            query.bind(Value::id(deployment));
            restrict(query, states);
        }
        list.push(" order by d.name_key, d.id limit ").bind(limit).push(" offset ").bind(offset);
        let read = |row| {
            let mut columns = Columns::of("tasks", row);
            Ok((task_columns(&mut columns)?, columns.text()?))
        };
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(read).collect::<Result<_, StoreError>>()?, total))
    }

    /// The newest tasks of a device, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn tasks_of(&self, device: DeviceId, limit: usize) -> Result<Vec<Task>, StoreError> {
        let rows = self.engine().read(OF_DEVICE, [Value::id(device), limit.into()]).await?;
        rows.into_iter().map(task_of).collect()
    }

    /// The tasks whose deadline has come, the longest overdue first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn due_tasks(&self, now: Time, limit: usize) -> Result<Vec<Task>, StoreError> {
        let rows = self.engine().read(DUE, [now.into(), limit.into()]).await?;
        rows.into_iter().map(task_of).collect()
    }

    /// When the next task is due, past or future.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn next_deadline(&self) -> Result<Option<Time>, StoreError> {
        let row = self.engine().read_one(NEXT_DEADLINE, []).await?;
        row.map(|row| Columns::of("tasks", row).time()).transpose()
    }

    /// A device as deployments see it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn target(&self, device: DeviceId) -> Result<Option<Target>, StoreError> {
        Ok(self.targets(&[device]).await?.pop())
    }

    /// Devices as deployments see them, in the order of `devices`; those that are unknown are left out.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn targets(&self, devices: &[DeviceId]) -> Result<Vec<Target>, StoreError> {
        let mut targets = Vec::with_capacity(devices.len());
        for some in devices.chunks(TARGETS_PER_READ) {
            let mut query = Query::new(TARGETS);
            query.among(some.iter().map(Value::id));
            let mut found = HashMap::with_capacity(some.len());
            for row in self.engine().ask(query).await? {
                let target = target_of(row)?;
                found.insert(target.device.id, target);
            }
            for quarantine in self.quarantines(some).await? {
                if let Some(target) = found.get_mut(&quarantine.device) {
                    target.quarantined.push((quarantine.digest, quarantine.reason));
                }
            }
            targets.extend(some.iter().filter_map(|id| found.remove(id)));
        }
        Ok(targets)
    }
}
