//! The servers that the hub can use, for tests: real ones, started in a temporary folder on a free port, and stopped and
//! removed when the test process ends, however it ends.

mod nats;
mod postgres;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use nats::Nats;
pub use postgres::Postgres;

/// Says on what hubs under test keep their state: `postgres`, or else SQLite in their data folder.
pub const STORE: &str = "MOTEHUB_TEST_STORE";

/// Whether hubs under test keep their state in PostgreSQL.
pub fn is_postgres() -> bool {
    std::env::var_os(STORE).is_some_and(|word| word == "postgres")
}

/// All that the store of the hub with this data folder holds: the bytes of its file, or what PostgreSQL says of itself.
pub fn stored(data: &Path) -> Vec<u8> {
    let stored = match is_postgres() {
        true => Postgres::dump(&store_of(data)),
        false => std::fs::read(data.join("motehub.db")).unwrap_or_default(),
    };
    assert!(!stored.is_empty(), "nothing is stored in {}", data.display());
    stored
}

/// The URL of the store of the hub with this data folder, the same whenever it is asked for.
pub fn store_of(data: &Path) -> String {
    static DATABASES: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    if !is_postgres() {
        return format!("sqlite:{}", data.join("motehub.db").display());
    }
    let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
    databases.get_or_insert_default().entry(data.to_owned()).or_insert_with(Postgres::database).clone()
}
