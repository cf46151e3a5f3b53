//! Shares and invitations, and customers with what they have.

use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, InvitationId, UserId};
use motehub_domain::person::User;
use motehub_domain::share::{Gift, Invitation, Right, Share};
use motehub_domain::time::Time;

use crate::engine::query::{Query, contains};
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::person::{user_columns, user_select};
use crate::{Store, StoreError};

/// The columns of a share, in the order in which [`share_columns`] reads them.
macro_rules! share_select {
    () => {
        "h.device, h.user_id, h.rights, h.until, h.name, h.name_shown, h.created_by, h.created_at, h.revision"
    };
}

/// The columns of an invitation, in the order in which [`invitation_of`] reads them.
macro_rules! invitation_select {
    () => {
        "select id, digest, gift, device, rights, until, created_by, created_at, expires_at from invitations"
    };
}

sql! {
    INSERT = "insert into shares (device, user_id, rights, until, name, name_shown, created_by, created_at, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (device, user_id) do nothing";
    UPDATE = "update shares set rights = $3, until = $4, name = $5, name_shown = $6, created_by = $7,
        created_at = $8, revision = $9 where device = $1 and user_id = $2 and revision = $9 - 1";
    END = "delete from shares where device = $1 and user_id = $2";
    END_ALL = "delete from shares where device = $1";
    DROP_ALL = "delete from invitations where device = $1";
    DROP_OWNED = "delete from invitations where device in
        (select device from shares where user_id = $1 and rights = 'owner')";
    END_OWNED = "delete from shares where device in
        (select device from shares where user_id = $1 and rights = 'owner')";
    INSERT_INVITATION = "insert into invitations (id, digest, gift, device, rights, until, created_by, created_at,
        expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing";
    DROP_CLAIM = "delete from invitations where device = $1 and gift = 'claim'";
    DROP = "delete from invitations where id = $1";
    SWEEP = "delete from invitations where expires_at <= $1 returning id";

    ONE = concat!("select ", share_select!(), " from shares h where h.device = $1 and h.user_id = $2");
    OF_DEVICE = concat!("select ", share_select!(), ", u.name from shares h join users u on u.id = h.user_id
        where h.device = $1 order by u.name_key");
    OF_USER = concat!("select ", share_select!(), " from shares h
        where h.user_id = $1 and (h.until is null or h.until > $2) order by h.device");
    INVITATION = concat!(invitation_select!(), " where id = $1");
    INVITATION_BY_DIGEST = concat!(invitation_select!(), " where digest = $1");
    INVITATIONS = concat!(invitation_select!(), " where gift = 'account' and expires_at > $1 order by created_at");
    INVITATIONS_OF = concat!(invitation_select!(), " where device = $1 and (expires_at is null or expires_at > $2)
        order by created_at");
}

const CUSTOMERS: &str = concat!(
    "select ",
    user_select!(),
    ", (select count(*) from shares h where h.user_id = u.id and (h.until is null or h.until > "
);

/// A share with the customer's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The share.
    pub share: Share,
    /// Whose.
    pub user_name: String,
}

/// A customer in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Who.
    pub user: User,
    /// How many devices the customer sees now.
    pub devices: i64,
}

pub(crate) fn write(share: &Share) -> Statement {
    let values = [
        Value::id(share.device),
        Value::id(share.user),
        share.right.as_str().into(),
        share.until.into(),
        share.name.as_ref().into(),
        share.name_shown.into(),
        (&share.created_by).into(),
        share.created_at.into(),
        share.revision.into(),
    ];
    Statement::new(if share.revision == 1 { INSERT } else { UPDATE }, values).guards("share")
}

pub(crate) fn end(device: DeviceId, user: UserId) -> Statement {
    Statement::new(END, [Value::id(device), Value::id(user)]).guards("share")
}

pub(crate) fn end_all(device: DeviceId, transaction: &mut Transaction) {
    for sql in [END_ALL, DROP_ALL] {
        transaction.push(Statement::new(sql, [Value::id(device)]));
    }
}

pub(crate) fn delete_owned(user: UserId, transaction: &mut Transaction) {
    for sql in [DROP_OWNED, END_OWNED] {
        transaction.push(Statement::new(sql, [Value::id(user)]));
    }
}

pub(crate) fn write_invitation(invitation: &Invitation, transaction: &mut Transaction) {
    let (gift, rights, until) = match invitation.gift {
        Gift::Account => ("account", None, None),
        Gift::Claim(device) => {
            transaction.push(Statement::new(DROP_CLAIM, [Value::id(device)]));
            ("claim", None, None)
        }
        Gift::Share(_, right, until) => ("share", Some(right.as_str()), until),
    };
    let values = [
        Value::id(invitation.id),
        Value::id(invitation.digest),
        gift.into(),
        invitation.gift.device().map(Value::id).into(),
        rights.into(),
        until.into(),
        (&invitation.created_by).into(),
        invitation.created_at.into(),
        invitation.expires_at.into(),
    ];
    transaction.push(Statement::new(INSERT_INVITATION, values).guards("invitation"));
}

pub(crate) fn drop_invitation(id: InvitationId) -> Statement {
    Statement::new(DROP, [Value::id(id)]).guards("invitation")
}

fn share_columns(columns: &mut Columns) -> Result<Share, StoreError> {
    Ok(Share {
        device: columns.parsed()?,
        user: columns.parsed()?,
        right: columns.word(Right::parse)?,
        until: columns.maybe_time()?,
        name: columns.maybe_text()?,
        name_shown: columns.boolean()?,
        created_by: columns.text()?,
        created_at: columns.time()?,
        revision: columns.integer()?,
    })
}

fn share_of(row: Row) -> Result<Share, StoreError> {
    share_columns(&mut Columns::of("shares", row))
}

fn shared_of(row: Row) -> Result<Shared, StoreError> {
    let mut columns = Columns::of("shares", row);
    Ok(Shared { share: share_columns(&mut columns)?, user_name: columns.text()? })
}

fn invitation_of(row: Row) -> Result<Invitation, StoreError> {
    let mut columns = Columns::of("invitations", row);
    let (id, digest) = (columns.parsed()?, columns.digest()?);
    let (gift, device, rights) = (columns.text()?, columns.maybe_parsed()?, columns.maybe_text()?);
    let until = columns.maybe_time()?;
    let right = rights.as_deref().and_then(Right::parse);
    let gift = match (gift.as_str(), device, right) {
        ("account", None, None) => Gift::Account,
        ("claim", Some(device), None) => Gift::Claim(device),
        ("share", Some(device), Some(right)) => Gift::Share(device, right, until),
        _ => return Err(StoreError::damaged(format!("invitation {id}"))),
    };
    Ok(Invitation {
        id,
        digest,
        gift,
        created_by: columns.text()?,
        created_at: columns.time()?,
        expires_at: columns.maybe_time()?,
    })
}

fn customer_of(row: Row) -> Result<Customer, StoreError> {
    let mut columns = Columns::of("users", row);
    Ok(Customer { user: user_columns(&mut columns)?, devices: columns.integer()? })
}

impl Store {
    /// A customer's share of a device, ended or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn share(&self, device: DeviceId, user: UserId) -> Result<Option<Share>, StoreError> {
        let values = [Value::id(device), Value::id(user)];
        self.engine().read_one(ONE, values).await?.map(share_of).transpose()
    }

    /// All shares of a device, ended or not, by the customers' names.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shares_of(&self, device: DeviceId) -> Result<Vec<Shared>, StoreError> {
        self.engine().read(OF_DEVICE, [Value::id(device)]).await?.into_iter().map(shared_of).collect()
    }

    /// The shares that a customer has now.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn shares_with(&self, user: UserId, now: Time) -> Result<Vec<Share>, StoreError> {
        let values = [Value::id(user), now.into()];
        self.engine().read(OF_USER, values).await?.into_iter().map(share_of).collect()
    }

    /// An invitation by id, expired or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn invitation(&self, id: InvitationId) -> Result<Option<Invitation>, StoreError> {
        self.engine().read_one(INVITATION, [Value::id(id)]).await?.map(invitation_of).transpose()
    }

    /// The invitation whose code has this digest, expired or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn invitation_by_digest(&self, digest: Digest) -> Result<Option<Invitation>, StoreError> {
        let row = self.engine().read_one(INVITATION_BY_DIGEST, [Value::id(digest)]).await?;
        row.map(invitation_of).transpose()
    }

    /// The open invitations to a device, its claim code among them; without a device those to an account. Oldest
    /// first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn invitations(
        &self,
        device: Option<DeviceId>,
        now: Time,
    ) -> Result<Vec<Invitation>, StoreError> {
        let rows = match device {
            Some(device) => self.engine().read(INVITATIONS_OF, [Value::id(device), now.into()]).await?,
            None => self.engine().read(INVITATIONS, [now.into()]).await?,
        };
        rows.into_iter().map(invitation_of).collect()
    }

    /// Deletes the invitations that have expired. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn sweep_invitations(&self, now: Time) -> Result<usize, StoreError> {
        let sweep = Statement::new(SWEEP, [now.into()]);
        Ok(self.engine().write(vec![sweep].into()).await?.len())
    }

    /// A page of the customers whose names have a text in them, by name, and how many there are in all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn customers(
        &self,
        text: &str,
        now: Time,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<Customer>, i64), StoreError> {
        let pattern = contains(text);
        let mut list = Query::new(CUSTOMERS);
        list.bind(now).push(")) from users u where u.role = 'customer' and u.name_key like ");
        list.bind(pattern.clone()).push(" escape '\\' order by u.name_key limit ").bind(limit);
        list.push(" offset ").bind(offset);
        let mut count = Query::new("select count(*) from users where role = 'customer' and name_key like ");
        count.bind(pattern).push(" escape '\\'");
        let (rows, total) = self.engine().page(list, count).await?;
        Ok((rows.into_iter().map(customer_of).collect::<Result<_, _>>()?, total))
    }
}
