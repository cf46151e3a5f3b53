//! Users, tokens and gateways made at the console, for whoever can read the data folder. A hub may be running on the
//! same folder meanwhile: the database takes care of that.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use motehub_domain::access::Role;
use motehub_domain::change::Actor;
use motehub_domain::gateway;
use motehub_domain::person::{self, Token};
use motehub_domain::rejection::Rejection;
use motehub_store::{Store, StoreError, StoreUrl};

use crate::clock::Clock;
use crate::gateways::{hub_name, join};
use crate::{backup, random, secrets};

/// What every token begins with, so that a leaked one is recognised.
const TOKEN_PREFIX: &str = "mht_";

/// Why a user, token or gateway was not made. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The data folder cannot be made or used.
    #[error("the data folder {folder} cannot be used: {why}")]
    Folder {
        /// Which.
        folder: String,
        /// What the system says.
        why: io::Error,
    },
    /// The name or role is not acceptable, or the name is taken.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be remembered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a user in a store; the folder of a file is made if it is missing. Returns the one-time password; only its
/// hash is kept.
///
/// # Errors
/// If the name is not acceptable or taken, or the store cannot be written.
pub async fn add_user(store: &StoreUrl, name: &str, role: Role) -> Result<String, PeopleError> {
    let store = open(store).await?;
    let password = random::one_time_password();
    let hash = secrets::hash_password(password.clone()).await?;
    let (users, now) = (store.users().await?, Clock::System.now());
    let (_, effects) = person::create_user(random::id(now), name, role, hash, &users, &Actor::System, now)?;
    store.commit(&effects, now).await?;
    Ok(password)
}

/// Makes an API token that never expires. Returns its secret; only its digest is kept.
///
/// # Errors
/// If the name is not acceptable or taken, or the store cannot be written.
pub async fn add_token(store: &StoreUrl, name: &str, role: Role) -> Result<String, PeopleError> {
    let store = open(store).await?;
    let secret = token_secret();
    let (tokens, now) = (store.tokens().await?, Clock::System.now());
    let token = Token {
        id: random::id(now),
        name: name.to_owned(),
        role,
        digest: secrets::digest(&secret),
        has_access_key: false,
        created_at: now,
        expires_at: None,
        last_used_at: None,
    };
    let (_, effects) = person::create_token(&token, &tokens, &Actor::System, now)?;
    store.commit(&effects, now).await?;
    Ok(secret)
}

/// Makes a gateway. Returns its join file; only the public half of its key is kept. `is_own`: the hub speaks TLS at
/// its address with the certificate of its own authority.
///
/// # Errors
/// If name, selector or address are not acceptable, or the store cannot be written.
pub async fn add_gateway(
    store: &StoreUrl,
    data: &Path,
    name: &str,
    selector: &str,
    address: &str,
    is_own: bool,
) -> Result<String, PeopleError> {
    let store = open(store).await?;
    let (count, now) = (store.gateways().await?.len(), Clock::System.now());
    let way = join::Way::new(address, is_own, data)?;
    let key = join::new_key()?;
    let (made, effects) =
        gateway::register(random::id(now), name, selector, key.public, count, &Actor::System, now)?;
    store.commit(&effects, now).await?;
    Ok(join::join_file(&hub_name(&store).await?, &made, &way, &key))
}

/// The secret of a new API token.
pub(crate) fn token_secret() -> String {
    format!("{TOKEN_PREFIX}{}", random::secret())
}

async fn open(store: &StoreUrl) -> Result<Store, PeopleError> {
    if let StoreUrl::Sqlite(file) = store
        && let Some(data) = file.parent()
    {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
        let made = made.and_then(|()| backup::refuse_half_restored(data));
        made.map_err(|why| PeopleError::Folder { folder: data.display().to_string(), why })?;
    }
    Ok(Store::open(store).await?)
}
