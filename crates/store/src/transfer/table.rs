//! Which tables there are, as the first texts of the migrations say: their columns, and by what their rows are known.

use std::sync::LazyLock;

use crate::engine::migration::MIGRATIONS;

/// A table that both engines have.
#[derive(Debug, PartialEq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: Vec<&'static str>,
    /// The columns of the primary key, in its order.
    pub(super) key: Vec<&'static str>,
    /// The column that the engine counts up, or may.
    pub(super) counted: Option<&'static str>,
    /// Whether rows may be large.
    pub(super) is_heavy: bool,
}

/// What is about a copy, or about processes that run.
const NOT_STATE: [&str; 3] = ["copying", "leases", "nodes"];

/// All tables of both engines, each behind those that it refers to. What one engine alone has is made of these.
pub(super) static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let is_state = |table: &Table| !NOT_STATE.contains(&table.name);
    MIGRATIONS.iter().flat_map(|migration| read(migration.text)).filter(is_state).collect()
});

/// The tables that a text creates.
fn read(text: &'static str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("--")) {
        if let Some(name) = line.strip_prefix("create table ").and_then(|rest| rest.strip_suffix(" (")) {
            tables.push(Table { name, columns: Vec::new(), key: Vec::new(), counted: None, is_heavy: false });
            is_inside = true;
        } else if line == ");" {
            is_inside = false;
        } else if let Some(table) = tables.last_mut().filter(|_| is_inside) {
            match line.strip_prefix("primary key (") {
                Some(key) => table.key = key.trim_end_matches([',', ')']).split(", ").collect(),
                // Several columns may stand in one line.
                None => line.split(", ").for_each(|column| table.take(column)),
            }
        }
    }
    tables
}

impl Table {
    fn take(&mut self, column: &'static str) {
        let Some((name, kind)) = column.split_once(' ') else { return };
        self.columns.push(name);
        if kind.contains("{serial}") || kind.contains("{key}") {
            self.counted = Some(name);
        }
        if kind.contains("{serial}") || kind.contains("{key}") || kind.contains("primary key") {
            self.key = vec![name];
        }
        self.is_heavy |= kind.contains("{bytes}");
    }

    /// How many rows go in one transaction.
    pub(super) fn batch(&self) -> i64 {
        if self.is_heavy { 100 } else { 1000 }
    }

    /// The statement that gives the rows behind a place, in the order of the key; the last parameter is how many.
    pub(super) fn select(&self, is_first: bool) -> String {
        let (columns, key) = (self.columns.join(", "), self.key.join(", "));
        let name = self.name;
        if is_first {
            return format!("select {columns} from {name} order by {key} limit $1");
        }
        let place = placeholders(self.key.len());
        let limit = self.key.len() + 1;
        format!("select {columns} from {name} where ({key}) > ({place}) order by {key} limit ${limit}")
    }

    pub(super) fn insert(&self) -> String {
        let placeholders = placeholders(self.columns.len());
        format!("insert into {} ({}) values ({placeholders})", self.name, self.columns.join(", "))
    }

    /// Where the columns of the key are in a row.
    pub(super) fn key_places(&self) -> impl Iterator<Item = usize> {
        self.key.iter().filter_map(|key| self.columns.iter().position(|column| column == key))
    }
}

fn placeholders(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_understood() {
        let text = "-- What is.\ncreate table a (\n    id {serial},\n    b text, c {bytes} not null,\n    \
                    d text references e (id) on delete cascade\n);\ncreate index a_b on a (b);\n\
                    create table f (\n    g text not null,\n    h bigint,\n    primary key (h, g)\n);";
        let tables = read(text);
        let counted = Table {
            name: "a",
            columns: vec!["id", "b", "c", "d"],
            key: vec!["id"],
            counted: Some("id"),
            is_heavy: true,
        };
        assert_eq!(tables[0], counted);
        assert_eq!((tables[1].key.clone(), tables[1].counted), (vec!["h", "g"], None));
        assert_eq!(
            tables[1].select(false),
            "select g, h from f where (h, g) > ($1, $2) order by h, g limit $3"
        );
    }

    #[test]
    fn every_table_has_columns_and_a_key_of_them() {
        assert!(TABLES.len() > 50, "{}", TABLES.len());
        for table in TABLES.iter() {
            assert!(!table.key.is_empty() && table.key_places().count() == table.key.len(), "{table:?}");
        }
    }
}
