//! Lists of devices: chosen by a selector or a text, sorted, page by page, fast with 10,000 of them.

use std::collections::HashMap;

use motehub_domain::credential::Rotation;
use motehub_domain::deployment::TaskState;
use motehub_domain::device::{Device, Presence, Software};
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::selector::Selector;
use motehub_domain::time::Time;

use crate::device::{device_columns, device_select, reach, software_columns, software_select};
use crate::engine::query::{Query, contains};
use crate::engine::row::{Columns, Row, Value};
use crate::selector::Context;
use crate::{Store, StoreError};

/// A longer text is in no device.
const TEXT_BYTES_MAX: usize = 4000;
/// How many views one statement fetches.
const VIEWS_PER_READ: usize = 500;

const IDS: &str = "select d.id from devices d left join software s on s.device = d.id
    left join presence p on p.device = d.id left join scripts r on r.id = s.running_script";
const COUNT: &str = "select count(*) from devices d left join software s on s.device = d.id
    left join presence p on p.device = d.id left join scripts r on r.id = s.running_script";
const VIEWS: &str = concat!(
    "select ",
    device_select!(),
    ", ",
    software_select!(),
    ", p.online, p.unreachable, p.gateway, p.seen_at, p.address,
    case when c.device is null then 0 else 1 end, t.state, a.name, r.name, coalesce(w.name, wf.name),
    wf.version, wf.platform, f.name, f.version, f.platform,
    o.started_at, o.sent_at, c.shared_at, c.shared_from
    from devices d
    left join software s on s.device = d.id
    left join presence p on p.device = d.id
    left join credentials c on c.device = d.id
    left join rotations o on o.device = d.id
    left join tasks t on t.device = d.id and t.is_open = 1
    left join scripts a on a.id = s.active_script
    left join scripts r on r.id = s.running_script
    left join scripts w on w.id = s.pending_artifact
    left join firmware wf on wf.id = s.pending_artifact
    left join firmware f on f.id = s.firmware
    where d.id"
);

/// Which devices are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceQuery {
    /// That satisfy this, with the groups in it put in already.
    pub selector: Option<Selector>,
    /// From when the ages in the selector count, and when shares must be good.
    pub now: Time,
    /// That are shared with this customer.
    pub shared_with: Option<UserId>,
    /// That have this text in name, external id or a tag, without case, or have it as their id.
    pub text: Option<String>,
    /// In this order; those that are equal by name.
    pub sort: Sort,
    /// In the opposite order.
    pub descending: bool,
    /// Leaves out so many.
    pub offset: usize,
    /// So many at most.
    pub limit: usize,
}

/// What devices are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Name, without case.
    #[default]
    Name,
    /// When they were last heard; never comes first.
    LastSeen,
    /// Those with a problem, then those with something pending, then those without a script, then the others.
    State,
}

/// A device with all that a list shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// The device.
    pub device: Device,
    /// What it runs and what waits for it.
    pub software: Software,
    /// Whether it is there; `None` if it was never heard.
    pub presence: Option<Presence>,
    /// Whether it has a credential.
    pub has_credential: bool,
    /// What it announced that it can do, sorted.
    pub announced: Vec<String>,
    /// How its open task stands, if it has one.
    pub open_task: Option<TaskState>,
    /// The name of the script of `software.active`.
    pub active_name: Option<String>,
    /// The name of the script of `software.running`.
    pub running_name: Option<String>,
    /// The name of the script or firmware of `software.pending`.
    pub pending_name: Option<String>,
    /// Version and platform of the firmware of `software.pending`.
    pub pending_firmware: Option<(String, String)>,
    /// Name, version and platform of the firmware of `software.firmware`.
    pub firmware: Option<[String; 3]>,
    /// The rotation of its credential that goes on, if one does.
    pub rotation: Option<Rotation>,
    /// When and from which addresses its credential was used at once.
    pub shared: Option<(Time, String)>,
}

fn view_of(row: Row) -> Result<DeviceView, StoreError> {
    let mut columns = Columns::of("devices", row);
    let device = device_columns(&mut columns)?;
    let software = software_columns(&mut columns, device.id)?;
    let online = columns.maybe_integer()?;
    let unreachable = columns.maybe_integer()?;
    let gateway = columns.maybe_parsed()?;
    let seen_at = columns.maybe_time()?;
    let address = columns.maybe_text()?;
    let presence = match (online, seen_at, address) {
        (Some(online), Some(seen_at), Some(address)) => {
            let reach = reach(online != 0, unreachable.is_some_and(|it| it != 0));
            Some(Presence { device: device.id, reach, gateway, seen_at, address })
        }
        _ => None,
    };
    let has_credential = columns.boolean()?;
    let open_task = match columns.maybe_text()? {
        None => None,
        Some(word) => Some(
            TaskState::parse(&word)
                .ok_or_else(|| StoreError::damaged(format!("the open task of device {}", device.id)))?,
        ),
    };
    let active_name = columns.maybe_text()?;
    let running_name = columns.maybe_text()?;
    let pending_name = columns.maybe_text()?;
    let pending_firmware = columns.maybe_text()?.zip(columns.maybe_text()?);
    let firmware = [columns.maybe_text()?, columns.maybe_text()?, columns.maybe_text()?];
    let [name, version, platform] = firmware;
    let firmware =
        name.zip(version).zip(platform).map(|((name, version), platform)| [name, version, platform]);
    let (started_at, sent_at) = (columns.maybe_time()?, columns.maybe_time()?);
    let shared = columns.maybe_time()?.zip(columns.maybe_text()?);
    let rotation = started_at.map(|started_at| Rotation { device: device.id, started_at, sent_at });
    Ok(DeviceView {
        device,
        software,
        presence,
        has_credential,
        announced: Vec::new(),
        open_task,
        active_name,
        running_name,
        pending_name,
        pending_firmware,
        firmware,
        rotation,
        shared,
    })
}

fn order(sort: Sort, descending: bool) -> &'static str {
    match (sort, descending) {
        (Sort::Name, false) => " order by d.name_key, d.id",
        (Sort::Name, true) => " order by d.name_key desc, d.id desc",
        (Sort::LastSeen, false) => " order by coalesce(p.seen_at, 0), d.name_key, d.id",
        (Sort::LastSeen, true) => " order by coalesce(p.seen_at, 0) desc, d.name_key, d.id",
        (Sort::State, false) => {
            " order by case when s.problem is not null then 0 when s.pending_deployment is not null
            or exists (select 1 from tasks t where t.device = d.id and t.is_open = 1) then 1
            when coalesce(s.running_script, s.active_script, s.firmware) is null then 2
            else 3 end, d.name_key, d.id"
        }
        (Sort::State, true) => {
            " order by case when s.problem is not null then 0 when s.pending_deployment is not null
            or exists (select 1 from tasks t where t.device = d.id and t.is_open = 1) then 1
            when coalesce(s.running_script, s.active_script, s.firmware) is null then 2
            else 3 end desc, d.name_key, d.id"
        }
    }
}

impl Store {
    fn choose(&self, query: &mut Query, wanted: &DeviceQuery) {
        let mut is_first = true;
        if let Some(selector) = &wanted.selector {
            let context = Context { telemetry: self.telemetry_state(), now: wanted.now };
            context.restrict(query.condition(&mut is_first), selector);
        }
        if let Some(user) = wanted.shared_with {
            query.condition(&mut is_first).push("exists (select 1 from shares h where h.device = d.id");
            query.push(" and h.user_id = ").bind(Value::id(user));
            query.push(" and (h.until is null or h.until > ").bind(wanted.now).push("))");
        }
        if let Some(text) = &wanted.text {
            let pattern = contains(text);
            // An id counts only as a whole: part of one is part of many, since it is mostly time and chance.
            query.condition(&mut is_first).push("(d.search_key like ").bind(pattern).push(" escape '\\'");
            query.push(" or d.id = ").bind(text.trim().to_ascii_lowercase()).push(")");
        }
    }

    /// Whether one device satisfies a selector at a moment.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn is_selected(
        &self,
        device: DeviceId,
        selector: &Selector,
        now: Time,
    ) -> Result<bool, StoreError> {
        let mut query = Query::new(COUNT);
        let wanted = DeviceQuery { selector: Some(selector.clone()), now, ..DeviceQuery::default() };
        self.choose(&mut query, &wanted);
        query.push(" and d.id = ").bind(Value::id(device));
        let row = self.engine().ask(query).await?.pop();
        row.map_or(Ok(0), |row| Columns::of("devices", row).integer()).map(|count| count > 0)
    }

    /// The ids of the devices that satisfy a selector at a moment, by name; `limit` of them at most.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn select_ids(
        &self,
        selector: &Selector,
        now: Time,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let mut query = Query::new(IDS);
        let wanted = DeviceQuery { selector: Some(selector.clone()), now, ..DeviceQuery::default() };
        self.choose(&mut query, &wanted);
        query.push(order(Sort::Name, false)).push(" limit ").bind(limit);
        self.ids(query).await
    }

    /// How many devices satisfy a selector at a moment.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn count_devices(&self, selector: &Selector, now: Time) -> Result<i64, StoreError> {
        let mut query = Query::new(COUNT);
        let wanted = DeviceQuery { selector: Some(selector.clone()), now, ..DeviceQuery::default() };
        self.choose(&mut query, &wanted);
        self.count(query).await
    }

    /// A page of the devices that are wanted, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn devices(&self, wanted: DeviceQuery) -> Result<(Vec<DeviceView>, i64), StoreError> {
        if wanted.text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Ok((Vec::new(), 0));
        }
        let mut condition = Query::default();
        self.choose(&mut condition, &wanted);
        let (mut list, count) = (Query::before(IDS, &condition), Query::before(COUNT, &condition));
        list.push(order(wanted.sort, wanted.descending));
        list.push(" limit ").bind(wanted.limit).push(" offset ").bind(wanted.offset);
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((self.views(&ids_of(rows)?).await?, total))
    }

    /// A device with all that a list shows of it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn device_view(&self, id: DeviceId) -> Result<Option<DeviceView>, StoreError> {
        Ok(self.views(&[id]).await?.pop())
    }

    async fn ids(&self, query: Query) -> Result<Vec<DeviceId>, StoreError> {
        ids_of(self.engine().ask(query).await?)
    }

    pub(crate) async fn views(&self, ids: &[DeviceId]) -> Result<Vec<DeviceView>, StoreError> {
        let mut views = Vec::with_capacity(ids.len());
        for some in ids.chunks(VIEWS_PER_READ) {
            let mut query = Query::new(VIEWS);
            query.among(some.iter().map(Value::id));
            let mut found = HashMap::with_capacity(some.len());
            for row in self.engine().ask(query).await? {
                let view = view_of(row)?;
                found.insert(view.device.id, view);
            }
            for (id, announced) in self.announced_by(some).await? {
                if let Some(view) = found.get_mut(&id) {
                    view.announced = announced;
                }
            }
            views.extend(some.iter().filter_map(|id| found.remove(id)));
        }
        Ok(views)
    }
}

fn ids_of(rows: Vec<Row>) -> Result<Vec<DeviceId>, StoreError> {
    rows.into_iter().map(|row| Columns::of("devices", row).parsed()).collect()
}
