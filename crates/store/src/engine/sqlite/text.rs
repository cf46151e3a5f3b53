//! SQL as SQLite writes it: what the texts of the store leave open is filled in here.

/// A statement. SQLite takes `$1` for a name; `?1` is its placeholder number 1.
pub(super) fn statement(sql: &str) -> String {
    let text = sql.replace('$', "?");
    match text.contains('{') {
        true => text.replace("{each:", "(select value from json_each(").replace('}', "))"),
        false => text,
    }
}

/// The statements of a migration.
pub(super) fn migration(text: &str) -> String {
    text.replace("{key}", "integer primary key")
        .replace("{serial}", "integer primary key autoincrement")
        .replace("{bytes}", "blob")
        .replace("{real}", "real")
}
