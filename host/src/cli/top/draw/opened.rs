//! One collector: its state in full, a stream, and its log.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::plain;
use crate::cli::top::format;
use crate::cli::top::opened::{Opened, Part};
use crate::cli::top::state::{State, phase};
use crate::rpc::proto::Collector;

/// Draws the collector that is looked into.
pub(super) fn draw(frame: &mut Frame, area: Rect, state: &State, opened: &Opened) {
    let lines = match state.collector(&opened.collector) {
        Some(collector) => status(state, collector, usize::from(area.width)),
        None => vec![Line::raw(format!("there is no collector `{}`", plain(&opened.collector)))],
    };
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.height / 2);
    let [above, below] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(lines), above);
    if opened.part == Part::Log {
        return log(frame, below, state, opened);
    }
    let [middle, end] = Layout::vertical([Constraint::Fill(2), Constraint::Fill(1)]).areas(below);
    stream(frame, middle, state, opened);
    log(frame, end, state, opened);
}

/// All that the agent says of it, as `name value` pairs, as many beside each other as fit.
fn status(state: &State, collector: &Collector, width: usize) -> Vec<Line<'static>> {
    let head = vec![
        Span::styled(plain(&collector.name), state.palette.title()),
        Span::raw("  "),
        Span::styled(plain(phase(collector)), state.palette.phase(collector)),
        Span::raw(format!("  plugin {}", plain(&collector.plugin))),
    ];
    let mut lines = vec![Line::from(head)];
    let mut line = String::new();
    for (name, value) in figures(collector) {
        let pair = format!("{name} {value}");
        if !line.is_empty() && line.chars().count() + pair.chars().count() + 3 > width {
            lines.push(Line::raw(std::mem::take(&mut line)));
        }
        line += if line.is_empty() { "" } else { " · " };
        line += &pair;
    }
    lines.push(Line::raw(line));
    for (name, text) in remarks(collector) {
        let text: Vec<char> = format!("{name}: {}", plain(&text)).chars().collect();
        let style = state.palette.warn();
        lines.extend(
            text.chunks(width.max(1)).map(|part| Line::styled(String::from_iter(part), style)),
        );
    }
    lines
}

fn figures(one: &Collector) -> Vec<(&'static str, String)> {
    let spent = |from| format::age(format::duration(from));
    let span = |from| format::span(format::duration(from));
    let paced = one.paced_interval.as_ref().map(|_| {
        let left = one.paced_remaining.as_ref();
        let left = left.map_or("until the agent ends".to_owned(), |left| {
            format!("for {}", format::span(format::duration(Some(left))))
        });
        ("paced", format!("{} {left}", span(one.paced_interval.as_ref())))
    });
    let mut figures = vec![
        ("generation", one.generation.to_string()),
        ("isolation", plain(&one.isolation)),
        ("status", plain(&one.status)),
        ("ready", if one.ready { "yes" } else { "no" }.to_owned()),
        ("required", if one.required { "yes" } else { "no" }.to_owned()),
        ("interval", span(one.interval.as_ref())),
        ("rounds", one.rounds.to_string()),
        ("failed", one.failed_rounds.to_string()),
        ("in rounds", spent(one.rounds_duration.as_ref())),
        ("CPU", spent(one.cpu.as_ref())),
        ("late ticks", one.missed_ticks.to_string()),
        ("batches", one.batches.to_string()),
        ("rows left out", one.rows_left_out.to_string()),
        ("last batch", spent(one.last_batch_age.as_ref())),
        ("restarts", one.restarts.to_string()),
    ];
    figures.extend(paced);
    figures
}

fn remarks(one: &Collector) -> Vec<(&'static str, String)> {
    let mut failures: Vec<(&String, &u64)> =
        one.failures.iter().filter(|(_, count)| **count > 0).collect();
    failures.sort();
    let failures: Vec<String> =
        failures.into_iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    let listed = |items: &[String]| (!items.is_empty()).then(|| items.join(", "));
    let remarks = [
        ("not ready", one.reason.clone()),
        ("last error", one.last_error.clone()),
        ("failures", listed(&failures)),
        ("moved to a process", one.moved.clone()),
        ("not in its sandbox", listed(&one.sandbox_missing)),
    ];
    remarks.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

fn stream(frame: &mut Frame, area: Rect, state: &State, opened: &Opened) {
    let Some((topic, number, count)) = opened.stream(state) else {
        let line = Line::styled("Streams: none is known yet", state.palette.title());
        return frame.render_widget(line, area);
    };
    let head = format!("Stream {number} of {count}: {}", plain(&topic));
    let head = |back: usize| Line::styled(head + &lines_back(back), state.palette.title());
    let Some(known) = opened.lines(&topic) else {
        let lines = vec![head(0), Line::raw("nothing has come yet")];
        return frame.render_widget(Paragraph::new(lines), area);
    };
    let room = usize::from(area.height).saturating_sub(1);
    let (row, column) = known.scroll();
    let cut = |line: &String| Line::raw(line.chars().skip(column).collect::<String>());
    let mut lines = Vec::new();
    if known.of_events {
        lines.push(head(row));
        lines.extend(before_last(&known.lines, row, room).map(cut));
    } else {
        lines.push(head(0));
        lines.extend(known.lines.front().map(cut)); // its head stays
        lines.extend(known.lines.iter().skip(1 + row).take(room.saturating_sub(1)).map(cut));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn lines_back(back: usize) -> String {
    if back == 0 { String::new() } else { format!(", {back} lines back") }
}

/// As many lines as there is room for, the last of them so many before the last of all.
fn before_last(
    lines: &VecDeque<String>,
    back: usize,
    room: usize,
) -> impl Iterator<Item = &String> {
    let end = lines.len().saturating_sub(back);
    lines.iter().take(end).skip(end.saturating_sub(room))
}

fn log(frame: &mut Frame, area: Rect, state: &State, opened: &Opened) {
    let head = format!("Log{}", lines_back(opened.log_back));
    let mut lines = vec![Line::styled(head, state.palette.title())];
    let room = usize::from(area.height.saturating_sub(1));
    let shown = before_last(&opened.log, opened.log_back, room);
    lines.extend(shown.map(|line| Line::raw(line.clone())));
    frame.render_widget(Paragraph::new(lines), area);
}
