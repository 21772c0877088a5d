//! Figures as people read them.

use std::time::Duration;

use crate::cli::table;
use crate::model::{Batch, Value};
use crate::text::plain;

/// What stands for a value that is missing.
pub(super) const MISSING: &str = "-";

/// The number in a row of a batch; `None` if it is missing or no number.
pub(super) fn number(batch: &Batch, row: usize, column: &str) -> Option<f64> {
    match batch.get(row, column) {
        Value::U64(value) => Some(value as f64),
        Value::I64(value) => Some(value as f64),
        Value::F64(value) => Some(value),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) => None,
    }
}

/// The text in a row of a batch, without what a terminal would take for a command.
pub(super) fn text(batch: &Batch, row: usize, column: &str) -> String {
    plain(&table::cell(batch.get(row, column)))
}

/// `1.5 GiB`.
pub(super) fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value else { return MISSING.to_owned() };
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter().peekable();
    let mut unit = "B";
    while let Some(next) = units.next() {
        unit = next;
        if value.abs() < 1023.95 || units.peek().is_none() {
            break; // what would be shown as 1024.0 is 1.0 of the next
        }
        value /= 1024.0;
    }
    if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") }
}

/// `1.5 MiB/s`.
pub(super) fn rate(value: Option<f64>) -> String {
    if value.is_none() { MISSING.to_owned() } else { format!("{}/s", bytes(value)) }
}

/// `12.5 %`.
pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or(MISSING.to_owned(), |value| format!("{value:.1} %"))
}

/// As the interface has it; `None` if it is missing or negative.
pub(super) fn duration(from: Option<&prost_types::Duration>) -> Option<Duration> {
    from.and_then(|from| Duration::try_from(*from).ok())
}

/// How long ago something was: `0.3 s`, `2m 5s`.
pub(super) fn age(from: Option<Duration>) -> String {
    match from {
        None => MISSING.to_owned(),
        Some(age) if age < Duration::from_secs(60) => format!("{:.1} s", age.as_secs_f64()),
        Some(age) => span(Some(age)),
    }
}

/// `500ms`, `1h 5m`: two units at most.
pub(super) fn span(from: Option<Duration>) -> String {
    let Some(span) = from else { return MISSING.to_owned() };
    let whole =
        if span < Duration::from_secs(10) { span } else { Duration::from_secs(span.as_secs()) };
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A bar of `width` cells, of which a share (0 to 100) is full.
pub(super) fn bar(percent: Option<f64>, width: usize) -> String {
    let share = percent.unwrap_or_default().clamp(0.0, 100.0) / 100.0;
    let full = (share * width as f64).round() as usize; // no more than `width`
    format!("[{}{}]", "|".repeat(full), " ".repeat(width.saturating_sub(full)))
}

/// One cell that is as high as a share (0 to 100).
pub(super) fn column(percent: Option<f64>) -> char {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let Some(percent) = percent else { return ' ' };
    let index = (percent.clamp(0.0, 100.0) / 100.0 * 7.0).round() as usize;
    HEIGHTS.get(index).copied().unwrap_or(' ')
}
