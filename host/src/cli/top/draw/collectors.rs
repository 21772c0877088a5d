//! The table of collectors.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::plain;
use crate::cli::top::format;
use crate::cli::top::state::{State, phase};
use crate::rpc::proto::Collector;

/// A column: its head, its width, how wide the terminal must be for it, and its cell.
struct Column {
    head: &'static str,
    width: Constraint,
    from: u16,
    is_number: bool,
    cell: fn(&Collector) -> String,
}

const COLUMNS: [Column; 9] = [
    Column {
        head: "COLLECTOR",
        width: Constraint::Length(16),
        from: 0,
        is_number: false,
        cell: |one| plain(&one.name),
    },
    Column {
        head: "PHASE",
        width: Constraint::Length(11),
        from: 0,
        is_number: false,
        cell: |one| plain(phase(one)),
    },
    Column {
        head: "GEN",
        width: Constraint::Length(3),
        from: 60,
        is_number: true,
        cell: |one| one.generation.to_string(),
    },
    Column {
        head: "ISOLATION",
        width: Constraint::Length(9),
        from: 100,
        is_number: false,
        cell: |one| plain(&one.isolation),
    },
    Column {
        head: "EVERY",
        width: Constraint::Length(6),
        from: 60,
        is_number: true,
        cell: |one| format::span(format::duration(one.interval.as_ref())),
    },
    Column {
        head: "ROUNDS",
        width: Constraint::Length(8),
        from: 90,
        is_number: true,
        cell: |one| one.rounds.to_string(),
    },
    Column {
        head: "RESTARTS",
        width: Constraint::Length(8),
        from: 50,
        is_number: true,
        cell: |one| one.restarts.to_string(),
    },
    Column {
        head: "AGE",
        width: Constraint::Length(7),
        from: 60,
        is_number: true,
        cell: |one| format::age(format::duration(one.last_batch_age.as_ref())),
    },
    Column {
        head: "LAST ERROR",
        width: Constraint::Fill(1),
        from: 0,
        is_number: false,
        cell: |one| one.last_error.as_deref().map_or(format::MISSING.to_owned(), plain),
    },
];

/// Draws as many collectors as there is room for, the selected one among them.
pub(super) fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let collectors = state.collectors();
    let columns: Vec<&Column> = COLUMNS.iter().filter(|one| one.from <= area.width).collect();
    let align = |column: &Column, text: String| {
        let line = Line::raw(text);
        if column.is_number { line.right_aligned() } else { line }
    };
    let head = columns.iter().map(|column| align(column, column.head.to_owned()));
    let head = Row::new(head.map(Text::from)).style(state.palette.title());
    let room = usize::from(area.height.saturating_sub(1));
    let selected = state.selected_row();
    let first = first_of(selected, room, collectors.len());
    let rows = collectors.iter().enumerate().skip(first).take(room).map(|(index, collector)| {
        let cells = columns.iter().map(|column| {
            let cell = Cell::new(align(column, (column.cell)(collector)));
            if column.head == "PHASE" { cell.style(state.palette.phase(collector)) } else { cell }
        });
        let style = if index == selected { Modifier::REVERSED } else { Modifier::empty() };
        Row::new(cells).style(Style::new().add_modifier(style))
    });
    let widths: Vec<Constraint> = columns.iter().map(|column| column.width).collect();
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(2), area);
    if collectors.is_empty() && state.status.is_some() && area.height > 1 {
        let below = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(Paragraph::new("no collectors"), below);
    }
}

/// The first row that is shown, so that the selected one is in the middle or the room is filled.
fn first_of(selected: usize, room: usize, count: usize) -> usize {
    selected.saturating_sub(room / 2).min(count.saturating_sub(room))
}

#[cfg(test)]
mod tests {
    use super::first_of;

    #[test]
    fn the_selected_row_is_always_among_those_shown() {
        for count in [1, 5, 100] {
            for room in [1, 2, 7, 200] {
                for selected in 0..count {
                    let first = first_of(selected, room, count);
                    assert!((first..first + room).contains(&selected), "{selected} {room} {count}");
                    assert!(first == 0 || first + room <= count);
                }
            }
        }
    }
}
