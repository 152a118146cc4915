//! Rows of figures, with what they were to reach: as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What one contestant did in each run; nothing where it did not get there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    values: Vec<Option<f64>>,
    /// What is said in place of a value that is not there.
    absent: String,
}

impl Series {
    /// A value for each run; `absent` tells what its absence means.
    pub(crate) fn new(values: Vec<Option<f64>>, absent: &str) -> Self {
        Self {
            values,
            absent: absent.to_owned(),
        }
    }

    /// Of runs that all gave one.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self::new(values.into_iter().map(Some).collect(), "")
    }

    /// The middle one; of an even number, the mean of the middle two. An absent value is greater
    /// than all others.
    pub(crate) fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            odd if odd % 2 == 1 => sorted[middle],
            _ => Some((sorted[middle - 1]? + sorted[middle]?) / 2.0),
        }
    }

    fn sorted(&self) -> Vec<Option<f64>> {
        let mut sorted = self.values.clone();
        let size = |value: &Option<f64>| value.unwrap_or(f64::INFINITY);
        sorted.sort_by(|one, other| size(one).total_cmp(&size(other)));
        sorted
    }

    /// `median (min to max)`
    fn text(&self) -> String {
        let sorted = self.sorted();
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return "-".to_owned();
        };
        let one = |value: &Option<f64>| value.map_or(self.absent.clone(), number);
        let median = one(&self.median());
        match sorted.len() {
            1 => median,
            _ if first == last => format!("{median} (always)"),
            _ => format!("{median} ({} to {})", one(first), one(last)),
        }
    }

    fn json(&self) -> Value {
        let sorted = self.sorted();
        json!({
            "median": self.median(),
            "min": sorted.first().copied().flatten(),
            "max": sorted.last().copied().flatten(),
            "runs": self.values,
        })
    }
}

/// A line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What is measured, with its unit.
    pub(crate) figure: String,
    pub(crate) repoint: Series,
    /// The documented procedure, where it takes part.
    pub(crate) script: Option<Series>,
    pub(crate) target: Option<Target>,
}

/// What a row was to reach.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) reached: bool,
    /// What was found, where it is not the median of the row.
    pub(crate) found: Option<String>,
}

impl Target {
    /// A median of at most `limit`.
    pub(crate) fn at_most(series: &Series, limit: f64, unit: &str) -> Self {
        Self {
            text: format!("at most {} {unit}", number(limit)),
            reached: series.median().is_some_and(|median| median <= limit),
            found: None,
        }
    }

    /// As [`Target::at_most`], for what has to stay below.
    pub(crate) fn below(series: &Series, limit: f64, unit: &str) -> Self {
        Self {
            text: format!("below {} {unit}", number(limit)),
            reached: series.median().is_some_and(|median| median < limit),
            found: None,
        }
    }

    fn verdict(&self) -> String {
        let verdict = if self.reached {
            "reached"
        } else {
            "NOT REACHED"
        };
        match &self.found {
            Some(found) => format!("{verdict} ({found})"),
            None => verdict.to_owned(),
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let (target, verdict) = match &self.target {
            Some(target) => (target.text.clone(), target.verdict()),
            None => ("shown".to_owned(), String::new()),
        };
        let script = self.script.as_ref().map_or("-".to_owned(), Series::text);
        [
            self.figure.clone(),
            self.repoint.text(),
            script,
            target,
            verdict,
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.figure,
            "repoint": self.repoint.json(),
            "script": self.script.as_ref().map(Series::json),
            "target": self.target.as_ref().map(|target| target.text.clone()),
            "reached": self.target.as_ref().map(|target| target.reached),
            "found": self.target.as_ref().and_then(|target| target.found.clone()),
        })
    }
}

/// All rows, as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines = vec![["figure", "repoint", "script", "target", ""].map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths = [0, 1, 2, 3, 4].map(|column| width(column).unwrap_or_default().max(3));
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            write!(text, "| {cell:<width$} ").expect("a String");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                write!(text, "|{:-<1$}", "", width + 2).expect("a String");
            }
            text.push_str("|\n");
        }
    }
    text
}

pub(crate) fn json(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}

/// Three significant digits are more than a median of five can bear.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 && small.fract() != 0.0 => format!("{value:.2}"),
        middle if middle < 99.95 && middle.fract() != 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
