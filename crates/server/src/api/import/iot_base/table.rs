//! Tables as CSV, one behind the other: each begins with the names of its columns, by which it is known.

use super::dump::Row;

/// Gives each row to `take`. `of` says which table has these columns.
///
/// # Errors
/// For what is no such table, with its line, and what `take` refuses.
pub(super) fn read(
    bytes: &[u8],
    of: impl Fn(&[String]) -> Option<&'static str>,
    take: &mut dyn FnMut(Row<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |sign: u8| first.iter().filter(|byte| **byte == sign).count();
    let separator = [b',', b';', b'\t'].into_iter().max_by_key(|sign| (count(*sign), *sign == b','));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator.unwrap_or(b','))
        .from_reader(bytes);
    let mut table = None;
    let mut record = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        if !reader.read_byte_record(&mut record).map_err(|error| format!("line {line}: {error}"))? {
            return Ok(());
        }
        let line = record.position().map_or(line, csv::Position::line);
        let fields: Result<Vec<String>, _> =
            record.iter().map(|field| String::from_utf8(field.to_vec())).collect();
        let fields = fields.map_err(|_| format!("line {line}: this is no UTF-8"))?;
        let is_number = |field: &String| field.trim().parse::<f64>().is_ok();
        if fields.iter().any(|field| field.trim().eq_ignore_ascii_case("id")) && !fields.iter().any(is_number)
        {
            let columns: Vec<String> = fields.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
            let Some(name) = of(&columns) else {
                let known = "units, devices, device_states and dashboard_blocks";
                return Err(format!("line {line}: {known} have other columns"));
            };
            table = Some((name, columns));
            continue;
        }
        let Some((name, columns)) = &table else {
            return Err(format!(
                "line {line}: this is no dump with INSERT INTO, and no CSV whose first line names the columns of \
                 units, devices, device_states or dashboard_blocks"
            ));
        };
        if fields.len() != columns.len() {
            let (has, wants) = (fields.len(), columns.len());
            return Err(format!("line {line}: a row of {name} has {has} values for {wants} columns"));
        }
        let value = |field: String| (!matches!(field.as_str(), "" | "NULL" | "\\N")).then_some(field);
        let values: Vec<Option<String>> = fields.into_iter().map(value).collect();
        take(Row { table: name, line, columns, values: &values })?;
    }
}
