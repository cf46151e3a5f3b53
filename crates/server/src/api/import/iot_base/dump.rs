//! The rows of a few tables in a dump of MySQL or MariaDB. Everything else of it is skipped, whatever its bytes are.

use std::collections::HashMap;

/// Most columns of a table.
const COLUMNS_MAX: usize = 64;
/// Longest value in bytes: those of other tables may be longer.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A row of a table: the names of its columns, its values, and on which line it begins.
pub(super) struct Row<'a> {
    pub(super) table: &'a str,
    pub(super) line: u64,
    pub(super) columns: &'a [String],
    pub(super) values: &'a [Option<String>],
}

/// Whether this looks like a dump.
pub(super) fn is_dump(bytes: &[u8]) -> bool {
    let says = |what: &[u8]| bytes.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what));
    says(b"insert into ") || says(b"create table ") || says(b"insert ignore into ") || says(b"replace into ")
}

/// Gives each row of these tables to `take`, in the order of the dump.
///
/// # Errors
/// For what is no SQL, with its line, and what `take` refuses.
pub(super) fn read(
    bytes: &[u8],
    tables: &[&str],
    take: &mut dyn FnMut(Row<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut dump = Dump { bytes, at: 0, line: 1, columns: HashMap::new() };
    while dump.skip_blanks()?.is_some() {
        let word = dump.word();
        match word.to_ascii_uppercase().as_str() {
            "INSERT" | "REPLACE" => dump.insert(tables, take)?,
            "CREATE" => dump.create(tables)?,
            _ => {}
        }
        dump.skip_statement()?;
    }
    Ok(())
}

struct Dump<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
    /// The columns of the tables, as they were created.
    columns: HashMap<String, Vec<String>>,
}

impl Dump<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u64::from(byte == b'\n');
        Some(byte)
    }

    fn starts(&self, with: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(with)
    }

    fn wrong<T>(&self, why: &str) -> Result<T, String> {
        Err(format!("line {}: {why}", self.line))
    }

    /// Goes on to what is neither blank nor comment, and says what that is.
    fn skip_blanks(&mut self) -> Result<Option<u8>, String> {
        loop {
            let Some(byte) = self.peek() else { return Ok(None) };
            if byte.is_ascii_whitespace() {
                self.next();
            } else if byte == b'#' || self.starts(b"--") {
                while self.next().is_some_and(|byte| byte != b'\n') {}
            } else if self.starts(b"/*") {
                let (begin, rest) = (self.line, &self.bytes[self.at..]);
                let Some(length) = rest.windows(2).position(|end| end == b"*/") else {
                    return Err(format!("line {begin}: a comment begins here and does not end"));
                };
                for _ in 0..length + 2 {
                    self.next();
                }
            } else {
                return Ok(Some(byte));
            }
        }
    }

    /// Goes on behind the end of the statement.
    fn skip_statement(&mut self) -> Result<(), String> {
        while let Some(byte) = self.skip_blanks()? {
            match byte {
                b'\'' | b'"' | b'`' => drop(self.quoted()?),
                _ if self.next() == Some(b';') => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Letters, digits and low lines; empty if there are none.
    fn word(&mut self) -> String {
        let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !is_of_it(*byte)).unwrap_or(rest.len());
        self.at += length;
        String::from_utf8_lossy(&rest[..length.min(VALUE_BYTES_MAX)]).into_owned()
    }

    /// What stands between two equal signs, the first of which comes next.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let (begin, quote) = (self.line, self.next());
        let mut inner = Vec::new();
        loop {
            let byte = match self.next() {
                None => return Err(format!("line {begin}: a text begins here and does not end")),
                byte if byte == quote && self.peek() == quote => self.next(),
                byte if byte == quote => return Ok(inner),
                Some(b'\\') if quote != Some(b'`') => match self.next() {
                    Some(b'n') => Some(b'\n'),
                    Some(b'r') => Some(b'\r'),
                    Some(b't') => Some(b'\t'),
                    Some(b'0') => Some(0),
                    Some(b'b') => Some(8),
                    Some(b'Z') => Some(26),
                    byte => byte,
                },
                byte => byte,
            };
            if inner.len() <= VALUE_BYTES_MAX {
                inner.extend(byte);
            }
        }
    }

    /// A name, in quotes or without, and without that of its database.
    fn name(&mut self) -> Result<String, String> {
        loop {
            let name = match self.skip_blanks()? {
                Some(b'`' | b'"') => String::from_utf8_lossy(&self.quoted()?).into_owned(),
                _ => self.word(),
            };
            if self.peek() != Some(b'.') || name.is_empty() {
                return Ok(name);
            }
            self.next();
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), String> {
        match self.skip_blanks()? {
            Some(byte) if byte == wanted => {
                self.next();
                Ok(())
            }
            _ => self.wrong(&format!("{:?} is expected", char::from(wanted))),
        }
    }

    /// Whether there is a further one, behind a comma; the closing bracket is taken.
    fn goes_on(&mut self) -> Result<bool, String> {
        match self.skip_blanks()? {
            Some(b',') => {
                self.next();
                Ok(true)
            }
            _ => self.expect(b')').map(|()| false),
        }
    }

    /// The name behind `INSERT INTO` or `CREATE TABLE`, if it is one of these.
    fn table(&mut self, behind: &str, tables: &[&str]) -> Result<Option<String>, String> {
        for _ in 0..6 {
            let name = self.name()?;
            if name.eq_ignore_ascii_case(behind) {
                let mut name = self.name()?;
                while ["IF", "NOT", "EXISTS"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
                    name = self.name()?;
                }
                return Ok(Some(name).filter(|name| tables.contains(&name.as_str())));
            }
        }
        Ok(None)
    }

    /// Notes the columns of a table in their order.
    fn create(&mut self, tables: &[&str]) -> Result<(), String> {
        let Some(table) = self.table("TABLE", tables)? else { return Ok(()) };
        if self.skip_blanks()? != Some(b'(') {
            return Ok(());
        }
        self.next();
        let mut columns = Vec::new();
        loop {
            let is_quoted = matches!(self.skip_blanks()?, Some(b'`' | b'"'));
            let name = self.name()?;
            let is_key = ["PRIMARY", "UNIQUE", "KEY", "INDEX", "CONSTRAINT", "FULLTEXT", "FOREIGN"]
                .iter()
                .any(|word| name.eq_ignore_ascii_case(word));
            if is_quoted || !is_key {
                columns.push(name);
            }
            if columns.len() > COLUMNS_MAX {
                return self.wrong(&format!("{table} has more than {COLUMNS_MAX} columns"));
            }
            if !self.definition()? {
                self.columns.insert(table, columns);
                return Ok(());
            }
        }
    }

    /// Goes on behind the definition of a column; whether there is a further one.
    fn definition(&mut self) -> Result<bool, String> {
        let mut depth = 0;
        loop {
            match self.skip_blanks()? {
                None | Some(b';') => return self.wrong("the table ends before its last column does"),
                Some(b'\'' | b'"' | b'`') => {
                    self.quoted()?;
                    continue;
                }
                Some(b'(') => depth += 1,
                Some(b',' | b')') if depth == 0 => return self.goes_on(),
                Some(b')') => depth -= 1,
                Some(_) => {}
            }
            self.next();
        }
    }

    /// Gives the rows of an `INSERT` away.
    fn insert(
        &mut self,
        tables: &[&str],
        take: &mut dyn FnMut(Row<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(table) = self.table("INTO", tables)? else { return Ok(()) };
        let columns = if self.skip_blanks()? == Some(b'(') {
            self.next();
            self.list(|dump| dump.name())?
        } else if let Some(created) = self.columns.get(&table) {
            created.clone()
        } else {
            let why = "without the names of the columns: dump with CREATE TABLE, or with --complete-insert";
            return self.wrong(&format!("{table} {why}"));
        };
        let word = self.name()?;
        if !["VALUES", "VALUE"].iter().any(|values| word.eq_ignore_ascii_case(values)) {
            return self.wrong("VALUES is expected");
        }
        loop {
            self.skip_blanks()?;
            let line = self.line;
            self.expect(b'(')?;
            let values = self.list(Self::value)?;
            if values.len() != columns.len() {
                let (has, wants) = (values.len(), columns.len());
                return Err(format!("line {line}: a row of {table} has {has} values for {wants} columns"));
            }
            take(Row { table: &table, line, columns: &columns, values: &values })?;
            if self.skip_blanks()? != Some(b',') {
                return Ok(());
            }
            self.next();
        }
    }

    /// What stands between brackets, the first of which was taken.
    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut list = Vec::new();
        loop {
            list.push(one(self)?);
            if list.len() > COLUMNS_MAX {
                return self.wrong(&format!("more than {COLUMNS_MAX} columns"));
            }
            if !self.goes_on()? {
                return Ok(list);
            }
        }
    }

    /// A text, a number or NULL.
    fn value(&mut self) -> Result<Option<String>, String> {
        match self.skip_blanks()? {
            Some(b'\'' | b'"') => {
                let line = self.line;
                let bytes = self.quoted()?;
                if bytes.len() > VALUE_BYTES_MAX {
                    return Err(format!("line {line}: a text of more than {VALUE_BYTES_MAX} bytes"));
                }
                let text = String::from_utf8(bytes);
                text.map(Some).map_err(|_| format!("line {line}: a text is no UTF-8: dump it as utf8mb4"))
            }
            _ => {
                let from = self.at;
                while self.peek().is_some_and(|byte| matches!(byte, b'-' | b'+' | b'.')) {
                    self.next();
                }
                loop {
                    self.word();
                    if !matches!(self.peek(), Some(b'.' | b'+' | b'-')) {
                        break;
                    }
                    self.next();
                }
                let text = String::from_utf8_lossy(&self.bytes[from..self.at]).into_owned();
                match text.parse::<f64>() {
                    Ok(_) => Ok(Some(text)),
                    Err(_) if text.eq_ignore_ascii_case("null") => Ok(None),
                    Err(_) => self.wrong("a value is a text in quotes, a number or NULL"),
                }
            }
        }
    }
}
