//! Tables on standard output, in the form of repmgr and psql.

/// Headings, a rule, and rows; every column is as wide as its widest cell, the last one too. Cells
/// come from a database: a control character in one is escaped, so that a row stays a row.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let width = |column: usize, heading: &&str| {
        let cell = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
        let widest = rows.iter().map(cell).max().unwrap_or(0);
        widest.max(heading.chars().count())
    };
    let widths = headings.iter().enumerate();
    let widths: Vec<usize> = widths.map(|(column, name)| width(column, name)).collect();
    let line = |cells: Vec<&str>| {
        let pad = |(cell, width): (&&str, &usize)| format!("{cell:<width$}");
        let padded: Vec<String> = cells.iter().zip(&widths).map(pad).collect();
        format!(" {}\n", padded.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let mut text = line(headings.to_vec());
    text.push_str(&format!("{}\n", rule.join("+")));
    for row in &rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// A cell of a comma separated list; quoted where a program would otherwise read it wrongly.
pub(super) fn csv(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

fn printable(cell: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    cell.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_looks_like_repmgrs_and_a_hostile_cell_stays_in_its_row() {
        let rows = [
            vec!["1".to_owned(), "node1".to_owned()],
            vec!["2".to_owned(), "a\nb".to_owned()],
        ];
        let expected = concat!(
            " ID | Name \n",
            "----+-------\n",
            " 1  | node1\n",
            " 2  | a\\nb \n",
        );
        assert_eq!(table(&["ID", "Name"], &rows), expected);
    }

    #[test]
    fn a_cell_of_a_list_is_quoted_only_where_it_must_be() {
        assert_eq!(csv("node1"), "node1");
        assert_eq!(csv("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
