//! Deliveries, in the order in which they go to each recipient.

use motehub_domain::id::DeliveryId;
use motehub_domain::webhook::delivery::{DEAD_KEPT, DELIVERED_KEPT, WAITING_MAX};
use motehub_domain::webhook::{Answer, Delivery, DeliveryState, Recipient, Stage};

use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// The columns of a delivery, in the order in which [`delivery_of`] reads them.
macro_rules! delivery_select {
    () => {
        "select id, recipient, event, body, state, at, tries, until, status, answer, created_at, revision
        from deliveries"
    };
}

sql! {
    INSERT = "insert into deliveries (number, id, recipient, webhook, event, body, state, at, tries, until, answer,
        created_at, revision)
        select (select coalesce(max(number), 0) + 1 from deliveries), $1, $2, $3, $4, $5,
        case when f.too_many = 1 then 'dead' else 'waiting' end, cast($6 as bigint), 0, cast($7 as bigint),
        case when f.too_many = 1 then 'too many waited for it' end, cast($8 as bigint), 1
        from (select case when count(*) < $9 then 0 else 1 end as too_many from deliveries
            where recipient = $2 and state = 'waiting') as f
        where cast($3 as text) is null or exists (select 1 from webhooks where id = $3)
        on conflict (id) do nothing";
    UPDATE = "update deliveries set number = case when state = 'dead' and $2 = 'waiting'
        then (select max(number) + 1 from deliveries) else number end,
        state = $2, at = $3, tries = $4, until = $5, status = $6, answer = $7, revision = $8
        where id = $1 and revision = $8 - 1";
    PRUNE = "delete from deliveries where recipient = $1 and state = $2 and number <= coalesce((select number
        from deliveries where recipient = $1 and state = $2 order by number desc limit 1 offset $3), 0)";
    NEXT = concat!(delivery_select!(), " where recipient = $1 and state = 'waiting' order by number limit 1");
    ONE = concat!(delivery_select!(), " where id = $1");
    LIST = concat!(delivery_select!(), " where recipient = $1 and state = $2 order by number limit $3 offset $4");
    LIST_NEWEST = concat!(delivery_select!(), " where recipient = $1 and state = $2 order by number desc
        limit $3 offset $4");
    COUNT_IN = "select count(*) from deliveries where recipient = $1 and state = $2";
    COUNT = "select coalesce(sum(case when state = 'waiting' then 1 else 0 end), 0),
        coalesce(sum(case when state = 'delivered' then 1 else 0 end), 0),
        coalesce(sum(case when state = 'dead' then 1 else 0 end), 0) from deliveries where recipient = $1";
}

/// How many deliveries of a recipient are kept in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Not taken yet.
    pub waiting: i64,
    /// Taken.
    pub delivered: i64,
    /// Dead letters.
    pub dead: i64,
}

pub(crate) fn write(delivery: &Delivery, transaction: &mut Transaction) {
    let recipient = || Value::id(delivery.to);
    let stage = delivery.state.stage();
    if delivery.revision > 1 {
        let (status, answer) = match &delivery.answer {
            Some(answer) => (answer.status.into(), (&answer.text).into()),
            None => (Value::Null, Value::Null),
        };
        let values = [
            Value::id(delivery.id),
            stage.as_str().into(),
            delivery.state.at().into(),
            delivery.tries.into(),
            delivery.until.into(),
            status,
            answer,
            delivery.revision.into(),
        ];
        transaction.push(Statement::new(UPDATE, values).guards("delivery"));
    } else {
        let webhook = match delivery.to {
            Recipient::Webhook(id) => Value::id(id),
            Recipient::Mail => Value::Null,
        };
        let values = [
            Value::id(delivery.id),
            recipient(),
            webhook,
            (&delivery.event).into(),
            delivery.body.to_string().into(),
            delivery.state.at().into(),
            delivery.until.into(),
            delivery.created_at.into(),
            WAITING_MAX.into(),
        ];
        transaction.push(Statement::new(INSERT, values));
    }
    let kept = match stage {
        Stage::Delivered => (Stage::Delivered, DELIVERED_KEPT),
        // A new one may be a dead letter at once.
        Stage::Waiting | Stage::Dead => (Stage::Dead, DEAD_KEPT),
    };
    transaction.push(Statement::new(PRUNE, [recipient(), kept.0.as_str().into(), kept.1.into()]));
}

fn delivery_of(row: Row) -> Result<Delivery, StoreError> {
    let mut columns = Columns::of("deliveries", row);
    let (id, to, event) = (columns.parsed()?, columns.parsed()?, columns.text()?);
    let body = columns.json()?;
    let (stage, at) = (columns.word(Stage::parse)?, columns.time()?);
    let state = match stage {
        Stage::Waiting => DeliveryState::Waiting(at),
        Stage::Delivered => DeliveryState::Delivered(at),
        Stage::Dead => DeliveryState::Dead(at),
    };
    let (tries, until) = (columns.integer()?, columns.time()?);
    let (status, answer) = (columns.maybe_integer()?, columns.maybe_text()?);
    Ok(Delivery {
        id,
        to,
        event,
        body,
        state,
        tries,
        until,
        answer: answer.map(|text| Answer { status, text }),
        created_at: columns.time()?,
        revision: columns.integer()?,
    })
}

impl Store {
    /// The delivery whose turn it is with a recipient, due or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn next_delivery(&self, to: Recipient) -> Result<Option<Delivery>, StoreError> {
        self.engine().read_one(NEXT, [Value::id(to)]).await?.map(delivery_of).transpose()
    }

    /// A delivery.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.engine().read_one(ONE, [Value::id(id)]).await?.map(delivery_of).transpose()
    }

    /// A page of the deliveries of a recipient in one state, in their order or the newest first, and how many there
    /// are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn deliveries(
        &self,
        to: Recipient,
        stage: Stage,
        newest_first: bool,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<Delivery>, i64), StoreError> {
        let sql = if newest_first { LIST_NEWEST } else { LIST };
        let list = Query::of(sql, [Value::id(to), stage.as_str().into(), limit.into(), offset.into()]);
        let count = Query::of(COUNT_IN, [Value::id(to), stage.as_str().into()]);
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(delivery_of).collect::<Result<_, _>>()?, total))
    }

    /// How many deliveries of a recipient are kept.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn delivery_counts(&self, to: Recipient) -> Result<DeliveryCounts, StoreError> {
        let Some(row) = self.engine().read_one(COUNT, [Value::id(to)]).await? else {
            return Ok(DeliveryCounts::default());
        };
        let mut columns = Columns::of("deliveries", row);
        let (waiting, delivered, dead) = (columns.integer()?, columns.integer()?, columns.integer()?);
        Ok(DeliveryCounts { waiting, delivered, dead })
    }
}
