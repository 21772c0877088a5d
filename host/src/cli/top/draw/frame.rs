//! The whole screen: head, panels and collectors or one collector, and foot.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::{collectors, opened, panels, plain};
use crate::cli::top::format;
use crate::cli::top::keys::KEYS;
use crate::cli::top::state::{Link, State};

/// Below that nothing can be read.
const SMALLEST: (u16, u16) = (24, 6);
/// From this height on there are panels above the collectors.
const WITH_PANELS: u16 = 16;

/// Draws everything.
pub(in crate::cli::top) fn frame(frame: &mut Frame, state: &State) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("too small: {}x{} at least", SMALLEST.0, SMALLEST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let [head, middle, line, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(self::head(state)), head);
    match &state.opened {
        Some(one) => opened::draw(frame, middle, state, one),
        None => overview(frame, middle, state),
    }
    frame.render_widget(said(state), line);
    frame.render_widget(self::foot(state), foot);
    if state.help {
        help(frame, area, state);
    }
}

fn overview(frame: &mut Frame, area: Rect, state: &State) {
    if frame.area().height < WITH_PANELS {
        return collectors::draw(frame, area, state);
    }
    // The collectors get what they need, half of the screen at most, and what the panels leave.
    let wanted = u16::try_from(state.collectors().len() + 1).unwrap_or(u16::MAX);
    let height = wanted.clamp(4, area.height / 2);
    let height = height.max(area.height.saturating_sub(panels::highest(area.width)));
    let [above, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(height)]).areas(area);
    panels::draw(frame, above, state);
    collectors::draw(frame, below, state);
}

/// The agent itself.
fn head(state: &State) -> Vec<Line<'static>> {
    let palette = state.palette;
    let mut first = vec![Span::styled("dropsonde", palette.title())];
    let mut second = String::new();
    if let Some(agent) = state.status.as_ref().and_then(|status| status.agent.as_ref()) {
        let up = format::duration(agent.uptime.as_ref());
        let up = format::span(up.map(|up| Duration::from_secs(up.as_secs())));
        first.push(format!(" {}  pid {}  up {up}  ", plain(&agent.version), agent.pid).into());
        let memory = format::bytes(Some(agent.resident_bytes as f64));
        let bus = state.status.as_ref().and_then(|status| status.bus.as_ref());
        let (reads, saved) = bus.map_or((0, 0), |bus| (bus.reads, bus.reads_saved));
        second = format!(
            "own CPU {}  own memory {memory}  reads {reads}  reads saved {saved}",
            format::percent(state.own_percent)
        );
    } else {
        first.push("  ".into());
    }
    first.push(match &state.link {
        Link::Waiting => Span::styled("waiting for the agent", palette.warn()),
        Link::Up => Span::styled("connected", palette.good()),
        Link::Away(reason) => {
            let text = format!("the agent has gone, asking again: {}", plain(reason));
            Span::styled(text, palette.bad().add_modifier(Modifier::BOLD))
        }
    });
    if state.paused {
        first.push(Span::styled("  PAUSED", palette.warn().add_modifier(Modifier::BOLD)));
    }
    let rejection = state.status.as_ref().map_or("", |status| &status.config_rejection);
    let mut second = vec![Span::raw(second)];
    if !rejection.is_empty() {
        let text = format!("  configuration not in use: {}", plain(rejection));
        second.push(Span::styled(text, palette.bad()));
    }
    vec![Line::from(first), Line::from(second)]
}

/// A question, what came of a deed, or what ails the collector that keys act on.
fn said(state: &State) -> Line<'static> {
    let palette = state.palette;
    if let Some((deed, collector)) = &state.question {
        let text = format!("{} {}? y/n", deed.words().0, plain(collector));
        return Line::styled(text, palette.warn().add_modifier(Modifier::BOLD));
    }
    if let Some(told) = &state.told {
        let style = if told.is_bad { palette.bad() } else { palette.good() };
        return Line::styled(plain(&told.text), style);
    }
    let error = state.subject().and_then(|one| Some((one, one.last_error.as_ref()?)));
    match error {
        Some((collector, error)) => Line::styled(
            format!("{}, last error: {}", plain(&collector.name), plain(error)),
            palette.warn(),
        ),
        None => Line::default(),
    }
}

fn foot(state: &State) -> Line<'static> {
    let text = match &state.opened {
        None => "q quit  ? help  Enter in  r restart  d disable  e enable  l log  s sort  p pause",
        Some(_) => {
            "q quit  ? help  Esc back  Tab next stream  ←↑↓→ scroll  l log  r restart  p pause"
        }
    };
    Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
}

fn help(frame: &mut Frame, area: Rect, state: &State) {
    let lines: Vec<Line> = KEYS
        .iter()
        .map(|(key, what)| {
            Line::from(vec![
                Span::styled(format!("{key:>9}  "), state.palette.title()),
                Span::raw(*what),
            ])
        })
        .collect();
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let width = 52.min(area.width);
    let inside = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, inside);
    let block = Block::bordered().title("Keys; any closes this");
    frame.render_widget(Paragraph::new(lines).block(block), inside);
}
