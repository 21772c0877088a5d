//! Tables for people.

use crate::model::{Batch, Value};
pub(super) use crate::text::plain;

/// Rows of cells under a head; columns as wide as their widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Numbers stand at the right.
    right: Vec<bool>,
}

impl Table {
    /// Columns whose name begins with `>` stand at the right.
    pub(super) fn new<'a>(head: impl IntoIterator<Item = &'a str>) -> Self {
        let (right, names): (Vec<bool>, Vec<String>) = head
            .into_iter()
            .map(|name| (name.starts_with('>'), name.trim_start_matches('>').to_owned()))
            .unzip();
        Self { rows: vec![names], right }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// Numbers of rows, without the head.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - 1
    }

    pub(super) fn render(&self) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> =
            (0..self.right.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let right = self.right.get(index).is_some_and(|right| *right);
                let gap = if index == 0 { "" } else { "  " };
                let (before, after) = if right { (pad.as_str(), "") } else { ("", pad.as_str()) };
                line.extend([gap, before, cell, after]);
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A value in a cell. What is missing is `-`.
pub(super) fn cell(value: Value<'_>) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::U64(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::F64(value) => float(value),
        Value::Bool(value) => value.to_string(),
        Value::Text(value) => value.to_owned(),
        Value::List(items) => items.split_terminator('\0').collect::<Vec<_>>().join(", "),
    }
}

/// With as many places as a person reads; `--json` has all of them.
pub(super) fn float(value: f64) -> String {
    let text = if value.abs() < 1e15 { format!("{value:.3}") } else { format!("{value:e}") };
    match text.split_once('.') {
        Some((whole, "000")) => whole.to_owned(),
        _ => text,
    }
}

/// A batch: a table of records, or of the columns of the one record that there is.
pub(super) fn batch(batch: &Batch) -> String {
    let columns = &batch.stream.schema.columns;
    if batch.rows() == 1 && batch.stream.keys().next().is_none() {
        let mut table = Table::new(["COLUMN", ">VALUE"]);
        for (index, column) in columns.iter().enumerate() {
            table.row([column.name.clone(), cell(batch.value(0, index))]);
        }
        return table.render();
    }
    let is_number = |column: usize| {
        let mut values = (0..batch.rows()).map(|row| batch.value(row, column));
        values.any(|value| matches!(value, Value::U64(_) | Value::I64(_) | Value::F64(_)))
    };
    let head: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let mark = if is_number(index) { ">" } else { "" };
            format!("{mark}{}", column.name.to_uppercase())
        })
        .collect();
    let mut table = Table::new(head.iter().map(String::as_str));
    for row in 0..batch.rows() {
        table.row((0..columns.len()).map(|column| cell(batch.value(row, column))));
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells_and_nothing_is_a_command_to_the_terminal() {
        let mut table = Table::new(["NAME", ">COUNT", "WHY"]);
        table.row(["ä\x1b[2J".into(), "7".into(), "-".into()]);
        table.row(["b".into(), "1234567".into(), "because".into()]);
        let expected = "\
NAME          COUNT  WHY
ä\\u{1b}[2J        7  -
b           1234567  because
";
        assert_eq!((table.render().as_str(), table.len()), (expected, 2));
    }

    #[test]
    fn floats_are_short_and_whole_ones_have_no_point() {
        let rows = [(0.0, "0"), (1.5, "1.500"), (-2.0, "-2"), (1e18, "1e18"), (0.0004, "0")];
        for (value, text) in rows {
            assert_eq!(float(value), text);
        }
    }
}
