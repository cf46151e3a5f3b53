//! Commands, and how each stands at its devices.

use std::collections::HashMap;

use motehub_domain::command::{Command, Execution, ExecutionState};
use motehub_domain::device::Device;
use motehub_domain::id::{CommandId, DeviceId};
use motehub_domain::time::Time;

use crate::device::{device_columns, device_select};
use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// How many devices one statement asks for.
const DEVICES_PER_READ: usize = 500;

/// The columns of a command, in the order in which [`command_columns`] reads them.
macro_rules! command_select {
    () => {
        "c.id, c.name, c.arguments, c.selector, c.devices, c.created_by, c.created_at, c.expires_at"
    };
}

/// The columns of an execution, in the order in which [`execution_columns`] reads them.
macro_rules! execution_select {
    () => {
        "e.command, e.device, e.state, e.tries, e.result, e.reason, e.updated_at, e.deadline, e.revision"
    };
}

/// An execution with its command and its device.
macro_rules! share_select {
    () => {
        concat!(
            "select ",
            command_select!(),
            ", ",
            device_select!(),
            ", ",
            execution_select!(),
            " from executions e join commands c on c.id = e.command join devices d on d.id = e.device where "
        )
    };
}

sql! {
    INSERT = "insert into commands (id, name, arguments, selector, devices, created_by, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing";
    INSERT_EXECUTION = "insert into executions
        (command, device, state, is_open, tries, result, reason, updated_at, deadline, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (command, device) do nothing";
    UPDATE_EXECUTION = "update executions set state = $3, is_open = $4, tries = $5, result = $6, reason = $7,
        updated_at = $8, deadline = $9, revision = $10
        where command = $1 and device = $2 and revision = $10 - 1";
    BY_ID = concat!("select ", command_select!(), " from commands c where c.id = $1");
    LIST = concat!(
        "select ", command_select!(), " from commands c order by c.id desc limit $1 offset $2");
    COUNT = "select count(*) from commands";
    ONE = concat!(share_select!(), "e.command = $1 and e.device = $2");
    QUEUED = concat!(share_select!(), "e.command = $1 and e.state = 'Queued'");
    OF_DEVICE = concat!(
        share_select!(), "e.device = $1 order by e.command desc limit $2 offset $3");
    COUNT_OF_DEVICE = "select count(*) from executions where device = $1";
    DUE = concat!(share_select!(), "e.deadline <= $1 order by e.deadline limit $2");
    NEXT_DEADLINE = "select deadline from executions where deadline is not null order by deadline limit 1";
    SWEEP = "delete from commands where id in (select id from commands where created_at < $1
        order by created_at limit $2) returning id";
}

const OPEN: &str = concat!(share_select!(), "e.is_open = 1 and e.device");
const SHARES: &str = concat!(share_select!(), "e.command = ");
const COUNT_SHARES: &str = "select count(*) from executions e where e.command = ";
const COUNTS: &str = "select command, state, count(*) from executions where command";

/// A command with how many of its devices are in each state, in the order of [`ExecutionState::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub struct CommandView {
    /// The command.
    pub command: Command,
    /// How many devices are in each state.
    pub counts: [i64; ExecutionState::ALL.len()],
}

/// A command at one device, with both.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionView {
    /// The command.
    pub command: Command,
    /// The device.
    pub device: Device,
    /// How it stands.
    pub execution: Execution,
}

pub(crate) fn write(command: &Command) -> Statement {
    let values = vec![
        Value::id(command.id),
        (&command.name).into(),
        command.arguments.to_string().into(),
        command.selector.as_ref().into(),
        command.devices.into(),
        (&command.created_by).into(),
        command.created_at.into(),
        command.expires_at.into(),
    ];
    Statement::new(INSERT, values).guards("command")
}

pub(crate) fn write_execution(execution: &Execution) -> Statement {
    let values = vec![
        Value::id(execution.command),
        Value::id(execution.device),
        execution.state.as_str().into(),
        execution.state.is_open().into(),
        execution.tries.into(),
        execution.result.as_ref().map(ToString::to_string).into(),
        execution.reason.as_ref().into(),
        execution.updated_at.into(),
        execution.deadline.into(),
        execution.revision.into(),
    ];
    let sql = if execution.revision == 1 { INSERT_EXECUTION } else { UPDATE_EXECUTION };
    Statement::new(sql, values).guards("command execution")
}

fn command_columns(columns: &mut Columns) -> Result<Command, StoreError> {
    Ok(Command {
        id: columns.parsed()?,
        name: columns.text()?,
        arguments: columns.json()?,
        selector: columns.maybe_text()?,
        devices: columns.integer()?,
        created_by: columns.text()?,
        created_at: columns.time()?,
        expires_at: columns.time()?,
    })
}

fn execution_columns(columns: &mut Columns) -> Result<Execution, StoreError> {
    Ok(Execution {
        command: columns.parsed()?,
        device: columns.parsed()?,
        state: columns.word(ExecutionState::parse)?,
        tries: columns.integer()?,
        result: columns.maybe_json()?,
        reason: columns.maybe_text()?,
        updated_at: columns.time()?,
        deadline: columns.maybe_time()?,
        revision: columns.integer()?,
    })
}

fn command_of(row: Row) -> Result<Command, StoreError> {
    command_columns(&mut Columns::of("commands", row))
}

fn execution_view_of(row: Row) -> Result<ExecutionView, StoreError> {
    let mut columns = Columns::of("executions", row);
    Ok(ExecutionView {
        command: command_columns(&mut columns)?,
        device: device_columns(&mut columns)?,
        execution: execution_columns(&mut columns)?,
    })
}

fn execution_views_of(rows: Vec<Row>) -> Result<Vec<ExecutionView>, StoreError> {
    rows.into_iter().map(execution_view_of).collect()
}

impl Store {
    /// A command by its id, with how its devices stand.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn command(&self, id: CommandId) -> Result<Option<CommandView>, StoreError> {
        let Some(row) = self.engine().read_one(BY_ID, [Value::id(id)]).await? else { return Ok(None) };
        Ok(self.counted(vec![command_of(row)?]).await?.pop())
    }

    /// A page of the commands, newest first, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn commands(&self, offset: usize, limit: usize) -> Result<(Vec<CommandView>, i64), StoreError> {
        let list = Query::of(LIST, [limit.into(), offset.into()]);
        let (rows, total) = self.engine().page(list, Query::new(COUNT)).await?;
        let commands = rows.into_iter().map(command_of).collect::<Result<Vec<_>, _>>()?;
        Ok((self.counted(commands).await?, total))
    }

    async fn counted(&self, commands: Vec<Command>) -> Result<Vec<CommandView>, StoreError> {
        let mut query = Query::new(COUNTS);
        query.among(commands.iter().map(|command| Value::id(command.id)));
        query.push(" group by command, state");
        let mut all: HashMap<CommandId, [i64; ExecutionState::ALL.len()]> = HashMap::new();
        for row in self.engine().ask(query).await? {
            let mut columns = Columns::of("executions", row);
            let counts = all.entry(columns.parsed()?).or_default();
            let state = columns.word(ExecutionState::parse)?;
            let count = columns.integer()?;
            for (place, known) in counts.iter_mut().zip(ExecutionState::ALL) {
                if known == state {
                    *place = count;
                }
            }
        }
        let view = |command: Command| {
            let counts = all.remove(&command.id).unwrap_or_default();
            CommandView { command, counts }
        };
        Ok(commands.into_iter().map(view).collect())
    }

    /// A command at a device.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn execution(
        &self,
        command: CommandId,
        device: DeviceId,
    ) -> Result<Option<ExecutionView>, StoreError> {
        let row = self.engine().read_one(ONE, [Value::id(command), Value::id(device)]).await?;
        row.map(execution_view_of).transpose()
    }

    /// A page of a command's executions in one of `states` (in any, if that is empty), by the device's name, and how
    /// many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn executions(
        &self,
        command: CommandId,
        states: &[ExecutionState],
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<ExecutionView>, i64), StoreError> {
        let (mut list, mut count) = (Query::new(SHARES), Query::new(COUNT_SHARES));
        for query in [&mut list, &mut count] {
            query.bind(Value::id(command));
            if !states.is_empty() {
                query.push(" and e.state").among(states.iter().map(|state| state.as_str().into()));
            }
        }
        list.push(" order by d.name_key, d.id limit ").bind(limit).push(" offset ").bind(offset);
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((execution_views_of(rows)?, total))
    }

    /// The executions of a command that wait for their device.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn queued_executions(&self, command: CommandId) -> Result<Vec<ExecutionView>, StoreError> {
        execution_views_of(self.engine().read(QUEUED, [Value::id(command)]).await?)
    }

    /// A page of what a device was asked to do, newest first, and how much there is in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn executions_of(
        &self,
        device: DeviceId,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<ExecutionView>, i64), StoreError> {
        let list = Query::of(OF_DEVICE, [Value::id(device), limit.into(), offset.into()]);
        let (rows, total) = self.engine().page(list, Query::of(COUNT_OF_DEVICE, [Value::id(device)])).await?;
        Ok((execution_views_of(rows)?, total))
    }

    /// What these devices have not answered yet, oldest command first; `limit` of it for each 500 devices at
    /// most.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn open_executions(
        &self,
        devices: &[DeviceId],
        limit: usize,
    ) -> Result<Vec<ExecutionView>, StoreError> {
        let mut views = Vec::new();
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(OPEN);
            query.among(some.iter().map(Value::id)).push(" order by e.command limit ").bind(limit);
            views.extend(execution_views_of(self.engine().ask(query).await?)?);
        }
        Ok(views)
    }

    /// The executions whose deadline has come, the longest overdue first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn due_executions(&self, now: Time, limit: usize) -> Result<Vec<ExecutionView>, StoreError> {
        execution_views_of(self.engine().read(DUE, [now.into(), limit.into()]).await?)
    }

    /// When the next execution is due, past or future.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn next_execution_deadline(&self) -> Result<Option<Time>, StoreError> {
        let row = self.engine().read_one(NEXT_DEADLINE, []).await?;
        row.map(|row| Columns::of("executions", row).time()).transpose()
    }

    /// Deletes commands that were asked before a moment, the oldest first, `limit` at most. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn sweep_commands(&self, before: Time, limit: usize) -> Result<usize, StoreError> {
        let sweep = Statement::new(SWEEP, [before.into(), limit.into()]);
        Ok(self.engine().write(vec![sweep].into()).await?.len())
    }
}
