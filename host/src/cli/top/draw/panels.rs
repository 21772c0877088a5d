//! The machine: CPU, memory with pressure, network, disks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{cpu, plain};
use crate::cli::top::format::{bar, bytes, number, percent, rate, text};
use crate::cli::top::state::{DEVICES, INTERFACES, MEMORY, MOUNTS, PRESSURE, State};
use crate::model::Batch;

/// Least that a panel needs: its title and a line.
const LOWEST: u16 = 2;
/// Least width of a panel beside others.
const NARROWEST: u16 = 38;
/// Most lines of a panel beside others: more would mostly be empty.
const HIGHEST: u16 = 14;
/// Most lines of a reason.
const REASON: usize = 3;
/// The name of an interface, device or mount point has what a panel's figures leave, within this.
const NAME: std::ops::RangeInclusive<usize> = 8..=32;
/// Width of a rate, and of a percentage, with a space before it.
const RATE: usize = 13;
const PERCENT: usize = 8;
/// Width of what the line of the memory has beside the inside of its bar.
const MEMORY_FIGURES: usize = 7 + 2 + PERCENT + 26;

/// Draws as many panels as there is room for, beside and below each other.
pub(super) fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let beside = beside(area.width);
    let rows = (4 / beside).min(area.height / LOWEST);
    let bands = Layout::vertical((0..rows).map(|_| Constraint::Fill(1)));
    let bands = bands.split(Rect { height: area.height.min(HIGHEST * rows), ..area });
    let areas = bands.iter().flat_map(|band| {
        let parts = Layout::horizontal((0..beside).map(|_| Constraint::Fill(1))).spacing(2);
        parts.split(*band).to_vec()
    });
    let draws = [cpu::draw, memory, network, disk];
    for (area, draw) in areas.zip(draws) {
        draw(frame, area, state);
    }
}

/// A title, and lines below it; where those are too many, it says how many are not seen.
pub(super) fn panel(
    frame: &mut Frame,
    area: Rect,
    title: Line<'static>,
    mut lines: Vec<Line<'static>>,
) {
    fit(&mut lines, usize::from(area.height.saturating_sub(1)));
    lines.insert(0, title);
    frame.render_widget(Paragraph::new(lines), area);
}

fn fit(lines: &mut Vec<Line<'static>>, room: usize) {
    if lines.len() > room && room > 0 {
        let unseen = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(Line::raw(format!("and {unseen} more")));
    }
}

/// How high [`draw`] gets at most.
pub(super) fn highest(width: u16) -> u16 {
    HIGHEST * (4 / beside(width))
}

/// How many panels stand beside each other.
fn beside(width: u16) -> u16 {
    match width / NARROWEST {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 4,
    }
}

/// Says of something why it can't be seen, in lines as wide as the panel.
pub(super) fn unavailable(
    state: &State,
    what: &str,
    reason: &str,
    width: u16,
) -> Vec<Line<'static>> {
    let text: Vec<char> = format!("{what}not available: {}", plain(reason)).chars().collect();
    let lines = text.chunks(usize::from(width).max(1)).take(REASON);
    lines.map(|line| Line::styled(String::from_iter(line), state.palette.faint())).collect()
}

fn title(state: &State, text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), state.palette.title())
}

fn memory(frame: &mut Frame, area: Rect, state: &State) {
    let mut lines = match state.look(MEMORY) {
        Ok(batch) => [("memory ", ""), ("swap   ", "swap_")]
            .into_iter()
            .flat_map(|(name, prefix)| used(state, batch, name, prefix, area.width))
            .collect(),
        Err(reason) => unavailable(state, "", &reason, area.width),
    };
    match state.look(PRESSURE) {
        Ok(batch) => {
            lines.extend((0..batch.rows()).flat_map(|row| pressure(state, batch, row, area.width)))
        }
        Err(reason) => lines.extend(unavailable(state, "pressure ", &reason, area.width)),
    }
    panel(frame, area, title(state, "Memory, pressure"), lines);
}

/// How much of the memory, or of what the columns with this prefix are about, is in use.
fn used(state: &State, batch: &Batch, name: &str, prefix: &str, width: u16) -> Vec<Line<'static>> {
    let figure = |column: &str| number(batch, 0, &format!("{prefix}{column}"));
    let [total, used, share] = ["total_bytes", "used_bytes", "percent"].map(figure);
    if total == Some(0.0) {
        return vec![Line::raw(format!("{name}none"))];
    }
    if total.is_none() && share.is_none() {
        return unavailable(state, name, &state.why_missing(MEMORY), width);
    }
    // Beside the figures, if there is room for both.
    let bar = match usize::from(width).checked_sub(MEMORY_FIGURES) {
        Some(room) if room >= 4 => bar(share, room.min(32)),
        _ => String::new(),
    };
    vec![Line::from(vec![
        Span::raw(name.to_owned()),
        Span::styled(bar, state.palette.share(share)),
        Span::raw(format!("{:>PERCENT$} {} of {}", percent(share), bytes(used), bytes(total))),
    ])]
}

/// In how much of the last 10 s tasks waited for a resource.
fn pressure(state: &State, batch: &Batch, row: usize, width: u16) -> Vec<Line<'static>> {
    let some = number(batch, row, "some_avg10_percent");
    let full = number(batch, row, "full_avg10_percent");
    let resource = format!("{:<6} ", text(batch, row, "resource"));
    if some.is_none() && full.is_none() {
        return unavailable(state, &resource, &state.why_missing(PRESSURE), width);
    }
    vec![Line::from(vec![
        Span::raw(format!("{resource}waits")),
        Span::styled(format!("{:>PERCENT$}", percent(some)), state.palette.share(some)),
        Span::raw(format!(", all {:>7}", percent(full))),
    ])]
}

/// The rows of a stream that were busiest since boot first, so that they keep their place.
fn busiest(batch: &Batch, columns: [&str; 2]) -> Vec<usize> {
    let total =
        |row: &usize| columns.iter().filter_map(|column| number(batch, *row, column)).sum::<f64>();
    let mut rows: Vec<usize> = (0..batch.rows()).collect();
    rows.sort_by(|a, b| total(b).total_cmp(&total(a)));
    rows
}

/// A name, cut or filled up to a width.
fn name(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let short: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{short}…")
}

/// What a panel's figures, which are so wide together, leave for names.
fn room_for_names(area: Rect, figures: usize) -> usize {
    usize::from(area.width).saturating_sub(figures).clamp(*NAME.start(), *NAME.end())
}

fn network(frame: &mut Frame, area: Rect, state: &State) {
    let names = room_for_names(area, 2 * RATE);
    let lines = match state.look(INTERFACES) {
        Ok(batch) => rates(batch, "interface", ["bytes_recv", "bytes_sent"], names, false),
        Err(reason) => unavailable(state, "", &reason, area.width),
    };
    let head = format!("{:<names$}{:>RATE$}{:>RATE$}", "Network", "receive", "send");
    panel(frame, area, title(state, &head), lines);
}

/// A line for each record: its name, how fast two counters of bytes grow, and, if
/// there is room, how busy it is.
fn rates(
    batch: &Batch,
    key: &str,
    columns: [&str; 2],
    names: usize,
    busy: bool,
) -> Vec<Line<'static>> {
    let line = |row| {
        let [a, b] = columns.map(|column| rate(number(batch, row, &format!("{column}_per_sec"))));
        let mut line = format!("{}{a:>RATE$}{b:>RATE$}", name(text(batch, row, key), names));
        if busy {
            let share = number(batch, row, "io_time_seconds_per_sec").map(|share| share * 100.0);
            line += &format!("{:>PERCENT$}", percent(share));
        }
        Line::raw(line)
    };
    busiest(batch, columns).into_iter().map(line).collect()
}

fn disk(frame: &mut Frame, area: Rect, state: &State) {
    let busy = usize::from(area.width) >= NAME.start() + 2 * RATE + PERCENT;
    let names = room_for_names(area, 2 * RATE + if busy { PERCENT } else { 0 });
    let mut head = format!("{:<names$}{:>RATE$}{:>RATE$}", "Disk", "read", "write");
    if busy {
        head += &format!("{:>PERCENT$}", "busy");
    }
    let (mut lines, mounts) = match (state.look(DEVICES), state.look(MOUNTS)) {
        (Ok(devices), Ok(mounts)) => (
            rates(devices, "device", ["read_bytes", "write_bytes"], names, busy),
            (0..mounts.rows()).map(|row| mount(state, mounts, row, names)).collect(),
        ),
        (Err(reason), _) | (_, Err(reason)) => {
            (unavailable(state, "", &reason, area.width), Vec::new())
        }
    };
    // Both get their share of the room.
    let room = usize::from(area.height.saturating_sub(1));
    let devices = room.saturating_sub(mounts.len()).max(room.div_ceil(2));
    fit(&mut lines, devices);
    lines.extend(mounts);
    panel(frame, area, title(state, &head), lines);
}

fn mount(state: &State, batch: &Batch, row: usize, names: usize) -> Line<'static> {
    let share = number(batch, row, "percent");
    let [total, free] = ["total_bytes", "free_bytes"].map(|column| number(batch, row, column));
    Line::from(vec![
        Span::raw(name(text(batch, row, "mount_point"), names)),
        Span::styled(format!("{:>PERCENT$}", percent(share)), state.palette.share(share)),
        Span::raw(format!(" of {}, free {}", bytes(total), bytes(free))),
    ])
}
