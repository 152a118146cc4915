//! Decides what a written duration means: `5s`, `500ms`, `1m 30s`, `1.5s`, or a number of seconds.
//!
//! Ranges are not decided here; they belong to the key, see [`super::file`].

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing is there.
    #[error("the duration is empty")]
    Empty,
    /// Something stands where a number should.
    #[error("a number such as `5` or `1.5` is expected before each unit")]
    NoNumber,
    /// A number without a unit.
    #[error("`{number}` has no unit; write `{number}s` for seconds")]
    NoUnit {
        /// The number.
        number: String,
    },
    /// No unit of time.
    #[error("`{unit}` is no unit; the units are `ms`, `s`, `m` and `h`")]
    UnknownUnit {
        /// What stands there.
        unit: String,
    },
    /// `1s 1m` or `1s 1s`.
    #[error("`{unit}` is out of order; write each unit once, the longest first")]
    Order {
        /// The unit that comes too late.
        unit: &'static str,
    },
    /// A negative number, not a number, or more than can be counted.
    #[error("the duration cannot be counted")]
    Uncountable,
}

/// The units, the longest first, with their length in seconds.
const UNITS: [(&str, f64); 4] = [("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)];

/// Reads numbers with units; blanks between them do not matter.
///
/// # Errors
/// When the text holds anything else, a unit twice, or a shorter unit before a longer one.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut total = Duration::ZERO;
    let mut units_left = UNITS.as_slice();
    while !rest.is_empty() {
        let (number, after) = split_at_end_of(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_at_end_of(after.trim_start(), char::is_alphabetic);
        let amount = amount(number, unit, after)?;
        let Some((name, seconds)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.into() });
        };
        let Some(index) = units_left.iter().position(|(left, _)| *left == name) else {
            return Err(DurationError::Order { unit: name });
        };
        units_left = &units_left[index + 1..];
        let part = from_seconds(amount * seconds)?;
        total = total.checked_add(part).ok_or(DurationError::Uncountable)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// A number of seconds, as TOML's `5` or `0.5`.
///
/// # Errors
/// When the number is negative, not finite or too great.
pub fn from_seconds(seconds: f64) -> Result<Duration, DurationError> {
    Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::Uncountable)
}

/// A duration as [`parse`] reads it, for messages.
pub(super) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// The number before a unit, or why there is none; `after` is what follows the unit.
fn amount(number: &str, unit: &str, after: &str) -> Result<f64, DurationError> {
    if number.is_empty() || !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(DurationError::NoNumber);
    }
    let amount = number.parse().map_err(|_| DurationError::NoNumber)?;
    if !unit.is_empty() {
        return Ok(amount);
    }
    if after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(DurationError::NoUnit {
            number: number.into(),
        });
    }
    let unit = after.chars().take(1).collect();
    Err(DurationError::UnknownUnit { unit })
}

/// The longest beginning of `text` whose characters are all `wanted`, and the rest.
fn split_at_end_of(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_durations_are_read() {
        for (text, millis) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            (" 2 h ", 7_200_000),
            ("1h 1m 1s 1ms", 3_661_001),
            ("0s", 0),
            ("0.1m", 6_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "the duration is empty"),
            ("  ", "the duration is empty"),
            ("5", "`5` has no unit; write `5s` for seconds"),
            ("1m 30", "`30` has no unit; write `30s` for seconds"),
            ("5 6s", "`5` has no unit; write `5s` for seconds"),
            (
                "s",
                "a number such as `5` or `1.5` is expected before each unit",
            ),
            (
                "-5s",
                "a number such as `5` or `1.5` is expected before each unit",
            ),
            (
                ".5s",
                "a number such as `5` or `1.5` is expected before each unit",
            ),
            (
                "1.2.3s",
                "a number such as `5` or `1.5` is expected before each unit",
            ),
            (
                "5 sec",
                "`sec` is no unit; the units are `ms`, `s`, `m` and `h`",
            ),
            ("5%", "`%` is no unit; the units are `ms`, `s`, `m` and `h`"),
            (
                "30s 1m",
                "`m` is out of order; write each unit once, the longest first",
            ),
            (
                "1s 1s",
                "`s` is out of order; write each unit once, the longest first",
            ),
            ("99999999999999999999h", "the duration cannot be counted"),
        ] {
            let found = parse(text).expect_err(text).to_string();
            assert_eq!(found, reason, "{text}");
        }
    }

    #[test]
    fn a_written_duration_reads_back() {
        for millis in [0, 10, 1_000, 1_500, 60_000, 90_000, 3_600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&written(duration)), Ok(duration));
        }
    }
}
