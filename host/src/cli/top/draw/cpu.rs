//! The CPU panel: all together, each core, and the curve of the last while.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{RenderDirection, Sparkline};

use super::panels::{panel, unavailable};
use crate::cli::table;
use crate::cli::top::format::{MISSING, bar, column, number, percent, text};
use crate::cli::top::state::{CORES, CPU, State};
use crate::model::Batch;

/// Width of a core with its name, bar and percentage.
const CORE: usize = 26;
/// Width of what is no bar in it: name, brackets, percentage, spaces.
const AROUND: usize = 6 + 2 + 8 + 2;

pub(super) fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let room = usize::from(area.height.saturating_sub(1));
    let why_not = |reason: &str| unavailable(state, "", reason, area.width);
    let mut lines = match state.look(CPU) {
        Ok(all) if number(all, 0, "usage_percent").is_some() => Vec::new(),
        Ok(_) => why_not(&state.why_missing(CPU)),
        Err(reason) => why_not(&reason),
    };
    match state.look(CORES) {
        Ok(batch) => {
            let room = room.saturating_sub(lines.len());
            lines.extend(cores(state, batch, usize::from(area.width), room));
        }
        Err(reason) if lines.is_empty() => lines = why_not(&reason),
        Err(_) => {} // why there is nothing is said already
    }
    lines.truncate(room);
    let below = u16::try_from(lines.len() + 1).unwrap_or(u16::MAX).min(area.height);
    panel(frame, area, title(state), lines);
    let curve = Rect { y: area.y + below, height: area.height - below, ..area };
    if curve.height > 0 && state.look(CPU).is_ok() {
        let percents = state.history.iter().map(|percent| percent.round() as u64);
        let sparkline = Sparkline::default()
            .data(percents)
            .max(100)
            .direction(RenderDirection::RightToLeft)
            .style(state.palette.good());
        frame.render_widget(sparkline, curve);
    }
}

fn title(state: &State) -> Line<'static> {
    let mut line = Line::from(Span::styled("CPU ", state.palette.title()));
    if let Ok(batch) = state.look(CPU) {
        let share = number(batch, 0, "usage_percent");
        line.push_span(Span::styled(percent(share), state.palette.share(share)));
        line.push_span(loads(batch));
    }
    line
}

fn loads(batch: &Batch) -> String {
    let load = |column| number(batch, 0, column).map_or(MISSING.to_owned(), table::float);
    let [one, five, fifteen] = ["load_avg_1m", "load_avg_5m", "load_avg_15m"].map(load);
    format!("  load {one} {five} {fifteen}")
}

/// A bar for each core where there is room, otherwise a cell for each.
fn cores(state: &State, batch: &Batch, width: usize, room: usize) -> Vec<Line<'static>> {
    let beside = (width / CORE).max(1);
    if batch.rows().div_ceil(beside) <= room {
        let bars = (width / beside).saturating_sub(AROUND);
        let one = |row| core(state, batch, row, bars);
        let rows: Vec<usize> = (0..batch.rows()).collect();
        return rows
            .chunks(beside)
            .map(|row| row.iter().copied().flat_map(one).collect())
            .collect();
    }
    let cells: Vec<Option<f64>> =
        (0..batch.rows()).map(|row| number(batch, row, "usage_percent")).collect();
    let one =
        |share: &Option<f64>| Span::styled(column(*share).to_string(), state.palette.share(*share));
    cells.chunks(width.max(1)).map(|row| row.iter().map(one).collect()).collect()
}

fn core(state: &State, batch: &Batch, row: usize, bars: usize) -> [Span<'static>; 3] {
    let share = number(batch, row, "usage_percent");
    [
        Span::raw(format!("{:<6}", text(batch, row, "core"))),
        Span::styled(bar(share, bars), state.palette.share(share)),
        Span::raw(format!(" {:>7}  ", percent(share))),
    ]
}
