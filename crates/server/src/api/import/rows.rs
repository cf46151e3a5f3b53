//! A CSV table of devices, read row by row: what is wrong with the table as a whole, and what with each row.

use std::collections::HashMap;

use motehub_domain::device::{Dialect, Registration};
use motehub_domain::line::{Address, Line};
use motehub_domain::rejection::Rejection;

/// Most rows of one table.
pub(super) const ROWS_MAX: usize = 20_000;
/// The columns; the first two are required.
const COLUMNS: [&str; 6] = ["name", "dialect", "external_id", "tags", "description", "address"];
/// How many of them are required.
const REQUIRED: usize = 2;
/// Put behind the table: if it is not read as a row of its own, a quote was opened and never closed.
const END: &str = "\u{1}end of the table";

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The line of the file on which it begins; the header is on line 1.
    pub(super) line: u64,
    /// What it says, or what is wrong with it.
    pub(super) read: Result<Registration, Rejection>,
}

/// Reads a table with a header, delimited by commas, semicolons or tabs.
///
/// # Errors
/// If the table as a whole cannot be read: it is not UTF-8, has no header, too many rows.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Row>, Rejection> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Rejection::invalid("file", format!("line {line} is not UTF-8: save the table as «CSV UTF-8»"))
    })?;
    let whole = format!("{}\n{END}\n", text.trim_end_matches(['\r', '\n']));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(whole.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(Ok(record)) if record.get(0) != Some(END) => record,
        _ => return Err(Rejection::invalid("file", format!("it is empty: {}", wanted()))),
    };
    let places = places(&header)?;
    let mut rows = Vec::new();
    let mut is_whole = false;
    let mut lines = Lines { text: whole.as_bytes(), read: 0, line: 1 };
    for record in records {
        let record = record.map_err(|error| Rejection::invalid("file", error.to_string()))?;
        if record.get(0) == Some(END) {
            is_whole = true;
            break;
        }
        if rows.len() == ROWS_MAX {
            return Err(Rejection::too_large("file", format!("at most {ROWS_MAX} rows: split the table")));
        }
        let line = lines.at(record.position().map_or(0, csv::Position::byte));
        rows.push(Row { line, read: one(&record, header.len(), &places) });
    }
    if !is_whole {
        let row = rows.last_mut().ok_or_else(|| open_quote("file"))?;
        row.read = Err(open_quote("row"));
    }
    Ok(rows)
}

/// Counts lines up to where a record begins. The reader's own count is behind at `\r\n` and empty lines.
struct Lines<'a> {
    text: &'a [u8],
    read: usize,
    line: u64,
}

impl Lines<'_> {
    fn at(&mut self, byte: u64) -> u64 {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.read, self.text.len());
        let breaks = self.text[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = &self.text[self.read..from + breaks];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.read = from + breaks;
        self.line
    }
}

fn open_quote(what: &str) -> Rejection {
    Rejection::invalid(
        what,
        "a quote is opened and never closed: everything behind it was taken as one field",
    )
}

fn wanted() -> String {
    format!("the first line is a header, with the columns {}", COLUMNS.join(", "))
}

/// What stands most often in the first line.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let count = |sign: u8| first.bytes().filter(|byte| *byte == sign).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|sign| count(*sign)).unwrap_or(b',')
}

/// Where each of [`COLUMNS`] is.
fn places(header: &csv::StringRecord) -> Result<[Option<usize>; COLUMNS.len()], Rejection> {
    let mut places = [None; COLUMNS.len()];
    for (place, title) in header.iter().enumerate() {
        let title = title.trim().to_lowercase();
        let shown: String = title.chars().take(40).collect();
        let column = COLUMNS.iter().position(|column| *column == title).ok_or_else(|| {
            Rejection::invalid("header", format!("there is no column {shown:?}: {}", wanted()))
        })?;
        if places[column].replace(place).is_some() {
            return Err(Rejection::invalid("header", format!("the column {shown} is there twice")));
        }
    }
    match (0..REQUIRED).find(|column| places[*column].is_none()) {
        Some(column) => Err(Rejection::invalid(
            "header",
            format!("the column {} is missing: {}", COLUMNS[column], wanted()),
        )),
        None => Ok(places),
    }
}

fn one(
    record: &csv::StringRecord,
    width: usize,
    places: &[Option<usize>; COLUMNS.len()],
) -> Result<Registration, Rejection> {
    if record.len() != width {
        let sentence = format!(
            "{} fields, but the header has {width}: put a text with the delimiter in quotes",
            record.len()
        );
        return Err(Rejection::invalid("row", sentence));
    }
    let field = |column: usize| places[column].and_then(|place| record.get(place)).unwrap_or_default();
    let external_id = Some(field(2).trim()).filter(|id| !id.is_empty()).map(str::to_owned);
    let tags = field(3).split([' ', ',', ';', '|']).map(str::trim).filter(|tag| !tag.is_empty());
    let address = Some(field(5)).filter(|address| !address.trim().is_empty());
    let address = address.map(|address| Address::parse("address", address)).transpose()?;
    Ok(Registration {
        name: field(0).to_owned(),
        dialect: Dialect::parse(field(1).trim())?,
        external_id,
        tags: tags.map(str::to_owned).collect(),
        line: address.map(|address| Box::new(Line::at(address))),
        description: field(4).to_owned(),
    })
}

/// Refuses rows that name a device which an earlier row names.
pub(super) fn refuse_repeated(rows: &mut [Row]) {
    let mut seen: HashMap<(Dialect, String), u64> = HashMap::new();
    for row in rows {
        let Ok(Registration { dialect, external_id: Some(id), .. }) = &row.read else { continue };
        match seen.get(&(*dialect, id.clone())) {
            Some(line) => {
                let sentence = format!("{id} is in row {line} already");
                row.read = Err(Rejection::invalid("external_id", sentence));
            }
            None => {
                seen.insert((*dialect, id.clone()), row.line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let rows = read(text.as_bytes()).expect("can be read");
        rows.into_iter().map(|row| row.read.map_or_else(|error| error.sentence, |good| good.name)).collect()
    }

    fn refused(bytes: &[u8]) -> String {
        read(bytes).expect_err("cannot be read").sentence
    }

    #[test]
    fn tables_of_every_spreadsheet_are_read() {
        let same = [
            "name,dialect,external_id,tags\nLamp,native,l-1,hall kitchen\n",
            "\u{feff}Name;Dialect;External_ID;Tags\r\nLamp;native;l-1;hall,kitchen\r\n",
            "\"tags\"\t\"name\"\t\"dialect\"\t\"external_id\"\n\"hall|kitchen\"\t\"Lamp\"\tnative\tl-1",
            "dialect,name,external_id,tags\n\nnative,Lamp, l-1 ,\"hall, kitchen\"\n\n\n",
        ];
        for text in same {
            let rows = read(text.as_bytes()).expect("can be read");
            let lamp = rows[0].read.clone().expect("is good");
            assert_eq!((lamp.name.as_str(), lamp.external_id.as_deref()), ("Lamp", Some("l-1")), "{text}");
            assert_eq!((lamp.tags, rows.len()), (vec!["hall".to_owned(), "kitchen".to_owned()], 1), "{text}");
        }
        let quoted = "name,dialect\n\"a \"\"b\"\", c\",native\n\"two\nlines\",native\n5\" pipe,native\n";
        assert_eq!(names(quoted), ["a \"b\", c", "two\nlines", "5\" pipe"]);
        let lines: Vec<u64> = read(quoted.as_bytes()).expect("reads").iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 3, 5], "a row is named by the line it begins on");
        let windows = read(b"name,dialect\r\na,native\r\n\r\nb,native\r\n").expect("reads");
        assert_eq!(windows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_table_that_is_none_is_refused_as_a_whole() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "empty"),
            (b"\n\n\r\n", "empty"),
            (b"Lamp,native,l-1", "no column \"lamp\""),
            (b"name,external_id\na,b", "dialect is missing"),
            (b"name,dialect,name\na,b,c", "twice"),
            (b"name,dialect\nL\xe4mp,native", "line 2 is not UTF-8"),
            (b"\xff\xfen\0a\0m\0e\0", "line 1 is not UTF-8"),
            (b"name\0,dialect\nLamp,native", "no column \"name\\0\""),
            (b"\"name,dialect\nLamp,native", "no column"),
        ];
        for (bytes, part) in cases {
            let sentence = refused(bytes);
            assert!(sentence.contains(part), "{sentence:?} has no {part:?}");
        }
        let long = format!("name,dialect\n{}", "x,native\n".repeat(ROWS_MAX + 1));
        assert!(refused(long.as_bytes()).contains("split the table"));
    }

    #[test]
    fn a_wrong_row_does_not_hurt_its_neighbours() {
        let text = "name,dialect\na,native\nb\nc,native,x\nd,klingon\ne,native\n";
        let rows = names(text);
        assert_eq!((rows[0].as_str(), rows[4].as_str()), ("a", "e"));
        for (row, part) in
            [(1, "1 fields"), (2, "3 fields"), (3, "the dialects are native, micropython, nodemcu")]
        {
            assert!(rows[row].contains(part), "{:?} has no {part:?}", rows[row]);
        }
        let open = names("name,dialect\na,native\n\"b,native\nc,native\n");
        assert!(open.len() == 2 && open[0] == "a" && open[1].contains("never closed"), "{open:?}");
    }

    #[test]
    fn the_second_of_two_rows_with_one_id_is_refused() {
        let text = "name,dialect,external_id\na,nodemcu,7\nb,native,7\nc,nodemcu,7\nd,native,\ne,native,\n";
        let mut rows = read(text.as_bytes()).expect("reads");
        refuse_repeated(&mut rows);
        let wrong: Vec<u64> = rows.iter().filter(|row| row.read.is_err()).map(|row| row.line).collect();
        assert_eq!(wrong, [4]);
        assert!(rows[2].read.clone().expect_err("wrong").sentence.contains("7 is in row 2 already"));
    }
}
