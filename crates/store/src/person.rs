//! People with their logins, API tokens, and grants of MQTT topics.

use motehub_domain::access::Role;
use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, GrantId, TokenId, UserId};
use motehub_domain::person::{Grant, Grantee, LOGIN_AGE_MAX, LOGIN_IDLE_MAX, Login, Token, User};
use motehub_domain::time::Time;
use motehub_domain::topic::TopicFilter;

use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// The columns of a user, in the order in which [`user_columns`] reads them.
macro_rules! user_select {
    () => {
        "u.id, u.name, u.role, u.disabled, u.password_hash, u.must_change_password, u.created_at, \
         u.last_login_at, u.revision"
    };
}

pub(crate) use user_select;

/// The columns of a token, in the order in which [`token_of`] reads them.
macro_rules! token_select {
    () => {
        "select id, name, role, digest, has_access_key, created_at, expires_at, last_used_at from tokens"
    };
}

sql! {
    INSERT_USER = "insert into users (id, name, name_key, role, disabled, password_hash, must_change_password,
        created_at, last_login_at, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing";
    UPDATE_USER = "update users set name = $2, name_key = $3, role = $4, disabled = $5, password_hash = $6,
        must_change_password = $7, created_at = $8, last_login_at = $9, revision = $10
        where id = $1 and revision = $10 - 1";
    DELETE_USER = "delete from users where id = $1";
    WRITE_LOGIN = "insert into logins (digest, user_id, created_at, seen_at, address, csrf)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (digest) do update set user_id = excluded.user_id, created_at = excluded.created_at,
        seen_at = excluded.seen_at, address = excluded.address, csrf = excluded.csrf";
    END_LOGIN = "delete from logins where digest = $1";
    END_LOGINS_OF = "delete from logins where user_id = $1";
    END_OTHER_LOGINS_OF = "delete from logins where user_id = $1 and digest <> $2";
    LOGIN_SEEN = "update logins set seen_at = $2 where digest = $1";
    SWEEP_LOGINS = "delete from logins where seen_at < $1 or created_at < $2 returning digest";
    INSERT_TOKEN = "insert into tokens (id, name, role, digest, has_access_key, created_at, expires_at, last_used_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing";
    DELETE_TOKEN = "delete from tokens where id = $1";
    TOKEN_USED = "update tokens set last_used_at = $2 where id = $1";
    INSERT_GRANT = "insert into grants (id, device, tag, filter, publish, subscribe)
        values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing";
    DELETE_GRANT = "delete from grants where id = $1";

    USER = concat!("select ", user_select!(), " from users u where u.id = $1");
    USER_BY_NAME = concat!("select ", user_select!(), " from users u where u.name_key = $1");
    STAFF = concat!("select ", user_select!(), " from users u where u.role <> 'customer' order by u.name_key");
    ADMINS = "select count(*) from users where role = 'admin' and disabled = 0";
    LOGIN = concat!(
        "select l.digest, l.user_id, l.created_at, l.seen_at, l.address, l.csrf, ", user_select!(),
        " from logins l join users u on u.id = l.user_id where l.digest = $1");
    TOKENS = concat!(token_select!(), " order by name");
    TOKEN = concat!(token_select!(), " where id = $1");
    TOKEN_BY_DIGEST = concat!(token_select!(), " where digest = $1");
    GRANTS = "select id, device, tag, filter, publish, subscribe from grants order by id";
    GRANT = "select id, device, tag, filter, publish, subscribe from grants where id = $1";
}

const GRANTS_FOR: &str = "select id, device, tag, filter, publish, subscribe from grants where device = ";

pub(crate) fn write_user(user: &User) -> Statement {
    let values = [
        Value::id(user.id),
        (&user.name).into(),
        user.name.to_lowercase().into(),
        user.role.as_str().into(),
        user.disabled.into(),
        (&user.password_hash).into(),
        user.must_change_password.into(),
        user.created_at.into(),
        user.last_login_at.into(),
        user.revision.into(),
    ];
    let sql = if user.revision == 1 { INSERT_USER } else { UPDATE_USER };
    Statement::new(sql, values).guards("user").unique("name")
}

pub(crate) fn delete_user(id: UserId) -> Statement {
    Statement::new(DELETE_USER, [Value::id(id)])
}

pub(crate) fn write_login(login: &Login) -> Statement {
    let values = [
        Value::id(login.digest),
        Value::id(login.user),
        login.created_at.into(),
        login.seen_at.into(),
        (&login.address).into(),
        (&login.csrf).into(),
    ];
    Statement::new(WRITE_LOGIN, values).guards("login")
}

pub(crate) fn end_login(digest: Digest) -> Statement {
    Statement::new(END_LOGIN, [Value::id(digest)])
}

pub(crate) fn end_logins_of(user: UserId) -> Statement {
    Statement::new(END_LOGINS_OF, [Value::id(user)])
}

pub(crate) fn end_other_logins_of(user: UserId, kept: Digest) -> Statement {
    Statement::new(END_OTHER_LOGINS_OF, [Value::id(user), Value::id(kept)])
}

pub(crate) fn login_seen(digest: Digest, at: Time) -> Statement {
    Statement::new(LOGIN_SEEN, [Value::id(digest), at.into()])
}

pub(crate) fn write_token(token: &Token) -> Statement {
    let values = [
        Value::id(token.id),
        (&token.name).into(),
        token.role.as_str().into(),
        Value::id(token.digest),
        token.has_access_key.into(),
        token.created_at.into(),
        token.expires_at.into(),
        token.last_used_at.into(),
    ];
    Statement::new(INSERT_TOKEN, values).guards("token").unique("name")
}

pub(crate) fn delete_token(id: TokenId) -> Statement {
    Statement::new(DELETE_TOKEN, [Value::id(id)])
}

pub(crate) fn token_used(id: TokenId, at: Time) -> Statement {
    Statement::new(TOKEN_USED, [Value::id(id), at.into()])
}

pub(crate) fn write_grant(grant: &Grant) -> Statement {
    let (device, tag) = match &grant.grantee {
        Grantee::Device(device) => (Some(Value::id(device)), None),
        Grantee::Tag(tag) => (None, Some(tag)),
    };
    let values = [
        Value::id(grant.id),
        device.into(),
        tag.into(),
        grant.filter.as_str().into(),
        grant.publish.into(),
        grant.subscribe.into(),
    ];
    Statement::new(INSERT_GRANT, values).guards("grant")
}

pub(crate) fn delete_grant(id: GrantId) -> Statement {
    Statement::new(DELETE_GRANT, [Value::id(id)])
}

/// Reads the columns of [`user_select`].
pub(crate) fn user_columns(columns: &mut Columns) -> Result<User, StoreError> {
    Ok(User {
        id: columns.parsed()?,
        name: columns.text()?,
        role: columns.word(Role::parse)?,
        disabled: columns.boolean()?,
        password_hash: columns.text()?,
        must_change_password: columns.boolean()?,
        created_at: columns.time()?,
        last_login_at: columns.maybe_time()?,
        revision: columns.integer()?,
    })
}

fn user_of(row: Row) -> Result<User, StoreError> {
    user_columns(&mut Columns::of("users", row))
}

fn token_of(row: Row) -> Result<Token, StoreError> {
    let mut columns = Columns::of("tokens", row);
    Ok(Token {
        id: columns.parsed()?,
        name: columns.text()?,
        role: columns.word(Role::parse)?,
        digest: columns.digest()?,
        has_access_key: columns.boolean()?,
        created_at: columns.time()?,
        expires_at: columns.maybe_time()?,
        last_used_at: columns.maybe_time()?,
    })
}

fn grant_of(row: Row) -> Result<Grant, StoreError> {
    let mut columns = Columns::of("grants", row);
    let id = columns.parsed()?;
    let grantee = match (columns.maybe_parsed()?, columns.maybe_text()?) {
        (Some(device), None) => Grantee::Device(device),
        (None, Some(tag)) => Grantee::Tag(tag),
        _ => return Err(StoreError::damaged(format!("grant {id}"))),
    };
    let filter = columns.word(|text| TopicFilter::parse(text).ok())?;
    Ok(Grant { id, grantee, filter, publish: columns.boolean()?, subscribe: columns.boolean()? })
}

impl Store {
    /// A user by id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.engine().read_one(USER, [Value::id(id)]).await?.map(user_of).transpose()
    }

    /// A user by name, without case.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>, StoreError> {
        self.engine().read_one(USER_BY_NAME, [name.to_lowercase().into()]).await?.map(user_of).transpose()
    }

    /// All users but customers, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.engine().read(STAFF, []).await?.into_iter().map(user_of).collect()
    }

    /// How many administrators can log in.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn admins(&self) -> Result<i64, StoreError> {
        let row = self.engine().read_one(ADMINS, []).await?;
        row.map_or(Ok(0), |row| Columns::of("users", row).integer())
    }

    /// The login whose cookie has this digest, expired or not, with its user.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn login(&self, digest: Digest) -> Result<Option<(Login, User)>, StoreError> {
        let Some(row) = self.engine().read_one(LOGIN, [Value::id(digest)]).await? else { return Ok(None) };
        let mut columns = Columns::of("logins", row);
        let login = Login {
            digest: columns.digest()?,
            user: columns.parsed()?,
            created_at: columns.time()?,
            seen_at: columns.time()?,
            address: columns.text()?,
            csrf: columns.text()?,
        };
        Ok(Some((login, user_columns(&mut columns)?)))
    }

    /// Deletes the logins that have expired ([`Login::has_expired`]). Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn sweep_logins(&self, now: Time) -> Result<usize, StoreError> {
        let (idle, old) = (now - LOGIN_IDLE_MAX, now - LOGIN_AGE_MAX);
        let sweep = Statement::new(SWEEP_LOGINS, [idle.into(), old.into()]);
        Ok(self.engine().write(vec![sweep].into()).await?.len())
    }

    /// All API tokens, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.engine().read(TOKENS, []).await?.into_iter().map(token_of).collect()
    }

    /// A token by id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn token(&self, id: TokenId) -> Result<Option<Token>, StoreError> {
        self.engine().read_one(TOKEN, [Value::id(id)]).await?.map(token_of).transpose()
    }

    /// The token with this digest, expired or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn token_by_digest(&self, digest: Digest) -> Result<Option<Token>, StoreError> {
        self.engine().read_one(TOKEN_BY_DIGEST, [Value::id(digest)]).await?.map(token_of).transpose()
    }

    /// All grants, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn grants(&self) -> Result<Vec<Grant>, StoreError> {
        self.engine().read(GRANTS, []).await?.into_iter().map(grant_of).collect()
    }

    /// A grant by id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        self.engine().read_one(GRANT, [Value::id(id)]).await?.map(grant_of).transpose()
    }

    /// The grants of a device and of its tags.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn grants_for(&self, device: DeviceId, tags: &[String]) -> Result<Vec<Grant>, StoreError> {
        let mut query = Query::new(GRANTS_FOR);
        query.bind(Value::id(device)).push(" or tag").among(tags.iter().map(Value::from));
        query.push(" order by id");
        self.engine().ask(query).await?.into_iter().map(grant_of).collect()
    }
}
