//! Flows: their versions, where their steps run, and how much boards were found to hold.

use std::collections::BTreeMap;

use motehub_domain::flow::{self, Flow, FlowVersion, Layout, Limit, StepId};
use motehub_domain::id::{DeviceId, FlowId, ScriptId};
use motehub_domain::placement::Place;

use crate::engine::query::{Query, contains};
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// How many layouts of a flow are kept.
const LAYOUTS_KEPT: i64 = 500;

/// The columns of a flow, in the order in which [`flow_of`] reads them.
macro_rules! flow_select {
    () => {
        "select id, name, description, latest_version, deployed, created_at, updated_at, revision from flows"
    };
}

/// The columns of a layout, in the order in which [`layout_of`] reads them.
macro_rules! layout_select {
    () => {
        "select flow, number, version, at, cause, places from layouts"
    };
}

sql! {
    INSERT = "insert into flows (id, name, name_key, description, latest_version, deployed, created_at, updated_at,
        revision) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing";
    UPDATE = "update flows set name = $2, name_key = $3, description = $4, latest_version = $5, deployed = $6,
        created_at = $7, updated_at = $8, revision = $9 where id = $1 and revision = $9 - 1";
    DELETE = "delete from flows where id = $1";
    BY_ID = concat!(flow_select!(), " where id = $1");
    BY_NAME = concat!(flow_select!(), " where name_key = $1");
    DEPLOYED = concat!(flow_select!(), " where deployed is not null order by created_at, id");
    INSERT_VERSION = "insert into flow_versions (flow, version, author, created_at, comment, graph)
        values ($1, $2, $3, $4, $5, $6) on conflict (flow, version) do nothing";
    VERSION = "select flow, version, author, created_at, comment, graph from flow_versions
        where flow = $1 and version = $2";
    VERSIONS = "select flow, version, author, created_at, comment, graph from flow_versions
        where flow = $1 order by version desc limit $2";
    INSERT_LAYOUT = "insert into layouts (flow, number, version, at, cause, places) values ($1, $2, $3, $4, $5, $6)
        on conflict (flow, number) do nothing";
    PRUNE_LAYOUTS = "delete from layouts where flow = $1 and number <= $2";
    LAYOUT = concat!(layout_select!(), " where flow = $1 order by number desc limit 1");
    LAYOUTS = concat!(layout_select!(), " where flow = $1 order by number desc limit $2 offset $3");
    COUNT_LAYOUTS = "select count(*) from layouts where flow = $1";
    SET_LIMIT = "insert into flow_limits (flow, device, steps, reason, at) values ($1, $2, $3, $4, $5)
        on conflict (flow, device) do update set steps = excluded.steps, reason = excluded.reason, at = excluded.at";
    FORGET_LIMITS = "delete from flow_limits where flow = $1";
    SET_PROGRAM = "insert into programs (device, script) values ($1, $2) on conflict (device) do nothing";
    PROGRAMS = "select device, script from programs";
    RETIRE_PROGRAM = "insert into retired_numbers (number) select number from scripts
        where id in (select script from programs where device = $1)";
    DELETE_PROGRAM = "delete from scripts where id in (select script from programs where device = $1)";
    LIMITS = "select flow, device, steps, reason, at from flow_limits";
}

const LIST: &str = flow_select!();
const COUNT: &str = "select count(*) from flows";
const CONTAINS: &str = " where name_key like ";
const ESCAPE: &str = " escape '\\'";

pub(crate) fn write(flow: &Flow) -> Statement {
    let values = [
        Value::id(flow.id),
        (&flow.name).into(),
        flow.name.to_lowercase().into(),
        (&flow.description).into(),
        flow.latest_version.into(),
        flow.deployed.into(),
        flow.created_at.into(),
        flow.updated_at.into(),
        flow.revision.into(),
    ];
    let sql = if flow.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("flow").unique("name")
}

pub(crate) fn delete(id: FlowId) -> Statement {
    Statement::new(DELETE, [Value::id(id)]).guards("flow")
}

pub(crate) fn write_version(version: &FlowVersion) -> Statement {
    let values = [
        Value::id(version.flow),
        version.version.into(),
        (&version.author).into(),
        version.created_at.into(),
        (&version.comment).into(),
        flow::document(&version.graph).to_string().into(),
    ];
    Statement::new(INSERT_VERSION, values).guards("flow version")
}

pub(crate) fn write_layout(layout: &Layout, transaction: &mut Transaction) {
    let places = layout.places.iter().map(|(step, place)| {
        let place = match place {
            Place::Hub => "hub".to_owned(),
            Place::Device(device) => device.to_string(),
        };
        (step.to_string(), serde_json::Value::String(place))
    });
    let values = [
        Value::id(layout.flow),
        layout.number.into(),
        layout.version.into(),
        layout.at.into(),
        (&layout.cause).into(),
        serde_json::Value::Object(places.collect()).to_string().into(),
    ];
    transaction.push(Statement::new(INSERT_LAYOUT, values).guards("layout"));
    if layout.number > LAYOUTS_KEPT {
        let old = layout.number - LAYOUTS_KEPT;
        transaction.push(Statement::new(PRUNE_LAYOUTS, [Value::id(layout.flow), old.into()]));
    }
}

pub(crate) fn write_limit(limit: &Limit) -> Statement {
    let steps = i64::try_from(limit.steps).unwrap_or(i64::MAX);
    let values = [
        Value::id(limit.flow),
        Value::id(limit.device),
        steps.into(),
        (&limit.reason).into(),
        limit.at.into(),
    ];
    Statement::new(SET_LIMIT, values)
}

pub(crate) fn write_program(device: DeviceId, script: ScriptId) -> Statement {
    Statement::new(SET_PROGRAM, [Value::id(device), Value::id(script)]).guards("program")
}

/// The script that was generated for a device goes with the device: nobody else can use it.
pub(crate) fn delete_program(device: DeviceId) -> [Statement; 2] {
    [RETIRE_PROGRAM, DELETE_PROGRAM].map(|sql| Statement::new(sql, [Value::id(device)]))
}

pub(crate) fn forget_limits(flow: FlowId) -> Statement {
    Statement::new(FORGET_LIMITS, [Value::id(flow)])
}

fn flow_of(row: Row) -> Result<Flow, StoreError> {
    let mut columns = Columns::of("flows", row);
    Ok(Flow {
        id: columns.parsed()?,
        name: columns.text()?,
        description: columns.text()?,
        latest_version: columns.integer()?,
        deployed: columns.maybe_integer()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        revision: columns.integer()?,
    })
}

fn version_of(row: Row) -> Result<FlowVersion, StoreError> {
    let mut columns = Columns::of("flow_versions", row);
    Ok(FlowVersion {
        flow: columns.parsed()?,
        version: columns.integer()?,
        author: columns.text()?,
        created_at: columns.time()?,
        comment: columns.text()?,
        graph: flow::graph(&columns.json()?)
            .map_err(|error| StoreError::damaged(format!("a flow: {error}")))?,
    })
}

fn layout_of(row: Row) -> Result<Layout, StoreError> {
    let mut columns = Columns::of("layouts", row);
    Ok(Layout {
        flow: columns.parsed()?,
        number: columns.integer()?,
        version: columns.integer()?,
        at: columns.time()?,
        cause: columns.text()?,
        places: places(&columns.json()?).ok_or_else(|| StoreError::damaged("the places of a flow"))?,
    })
}

fn places(value: &serde_json::Value) -> Option<BTreeMap<StepId, Place>> {
    let one = |(step, place): (&String, &serde_json::Value)| {
        let place = match place.as_str()? {
            "hub" => Place::Hub,
            device => Place::Device(device.parse().ok()?),
        };
        Some((StepId::parse(step).ok()?, place))
    };
    value.as_object()?.iter().map(one).collect()
}

fn limit_of(row: Row) -> Result<Limit, StoreError> {
    let mut columns = Columns::of("flow_limits", row);
    Ok(Limit {
        flow: columns.parsed()?,
        device: columns.parsed()?,
        steps: usize::try_from(columns.integer()?).unwrap_or(0),
        reason: columns.text()?,
        at: columns.time()?,
    })
}

impl Store {
    /// A flow by its id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn flow(&self, id: FlowId) -> Result<Option<Flow>, StoreError> {
        self.engine().read_one(BY_ID, [Value::id(id)]).await?.map(flow_of).transpose()
    }

    /// A flow by its name, without regard to case.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn flow_named(&self, name: &str) -> Result<Option<Flow>, StoreError> {
        self.engine().read_one(BY_NAME, [name.to_lowercase().into()]).await?.map(flow_of).transpose()
    }

    /// The flows that run, the oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn deployed_flows(&self) -> Result<Vec<Flow>, StoreError> {
        self.engine().read(DEPLOYED, []).await?.into_iter().map(flow_of).collect()
    }

    /// A page of the flows, by name, and how many there are in all. With a text: those that have it in their name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn flows(
        &self,
        text: Option<&str>,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<Flow>, i64), StoreError> {
        let mut list = Query::new(LIST);
        let mut count = Query::new(COUNT);
        if let Some(text) = text {
            for query in [&mut list, &mut count] {
                query.push(CONTAINS).bind(contains(text)).push(ESCAPE);
            }
        }
        list.push(" order by name_key, id limit ").bind(limit).push(" offset ").bind(offset);
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(flow_of).collect::<Result<_, _>>()?, total))
    }

    /// One version of a flow.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn flow_version(&self, flow: FlowId, version: i64) -> Result<Option<FlowVersion>, StoreError> {
        let row = self.engine().read_one(VERSION, [Value::id(flow), version.into()]).await?;
        row.map(version_of).transpose()
    }

    /// The newest versions of a flow, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn flow_versions(&self, flow: FlowId, limit: usize) -> Result<Vec<FlowVersion>, StoreError> {
        let rows = self.engine().read(VERSIONS, [Value::id(flow), limit.into()]).await?;
        rows.into_iter().map(version_of).collect()
    }

    /// Where the steps of a flow run now, or ran last.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn layout(&self, flow: FlowId) -> Result<Option<Layout>, StoreError> {
        self.engine().read_one(LAYOUT, [Value::id(flow)]).await?.map(layout_of).transpose()
    }

    /// A page of the layouts of a flow, newest first, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn layouts(
        &self,
        flow: FlowId,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<Layout>, i64), StoreError> {
        let list = Query::of(LAYOUTS, [Value::id(flow), limit.into(), offset.into()]);
        let (rows, total) = self.engine().page(list, Query::of(COUNT_LAYOUTS, [Value::id(flow)])).await?;
        Ok((rows.into_iter().map(layout_of).collect::<Result<_, _>>()?, total))
    }

    /// The scripts that are generated for boards.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn programs(&self) -> Result<BTreeMap<DeviceId, ScriptId>, StoreError> {
        let read = |row| {
            let mut columns = Columns::of("programs", row);
            Ok((columns.parsed()?, columns.parsed()?))
        };
        self.engine().read(PROGRAMS, []).await?.into_iter().map(read).collect()
    }

    /// What boards were found to hold.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn flow_limits(&self) -> Result<Vec<Limit>, StoreError> {
        self.engine().read(LIMITS, []).await?.into_iter().map(limit_of).collect()
    }
}
