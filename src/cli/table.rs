//! Results on standard output: tables in the form of repmgr and psql, lists for programs, objects.
//!
//! What is shown comes from a database that somebody else may write to: in every form, a row stays
//! one row, and no cell moves the cursor.

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
    let cell = printable(cell);
    if cell.contains([',', '"']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

/// An object or a list of objects, for programs and for people.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("plain data can be written");
    let escape = |c: char| match c != '\n' && hidden(c) {
        // Outside of a string there is none.
        true => c
            .encode_utf16(&mut [0; 2])
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Text from outside with everything spelled out that would begin a line, move the cursor or turn
/// the direction of writing.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| match hidden(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn hidden(c: char) -> bool {
    let separator = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    c.is_control() || separator || direction
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
        assert_eq!(csv("a\r\nb"), "a\\r\\nb");
    }

    #[test]
    fn what_would_act_on_a_terminal_is_spelled_out() {
        let hostile = "a\u{1b}[2J\u{9b}1m\u{202e}b\u{2028}ü";
        let expected = "a\\u{1b}[2J\\u{9b}1m\\u{202e}b\\u{2028}ü";
        assert_eq!(printable(hostile), expected);
        let expected = "\"a\\u001b[2J\\u009b1m\\u202eb\\u2028ü\"";
        assert_eq!(json(&hostile), expected);
        assert_eq!(json(&["a\nb"]), "[\n  \"a\\nb\"\n]");
    }
}
