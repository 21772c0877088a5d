//! What the keys do.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::feed::Deed;
use super::opened::{Opened, Part};
use super::state::{Order, State, Told};

/// Keys and what they do, for the help and the foot of the screen.
pub(super) const KEYS: [(&str, &str); 12] = [
    ("↑ ↓ j k", "select a collector; scroll"),
    ("PgUp PgDn", "the same by 10"),
    ("← →", "scroll a stream sideways"),
    ("Enter", "look into the selected collector"),
    ("Esc", "back"),
    ("Tab", "the next stream of a collector"),
    ("r", "restart it"),
    ("d e", "disable it, enable it"),
    ("l", "its log alone, and back"),
    ("s", "sort by name, or worst first"),
    ("p", "pause: figures stay as they are"),
    ("q Ctrl-C", "quit"),
];

/// Lines of a page.
const PAGE: isize = 10;
/// Columns of a step sideways.
const STEP: isize = 8;

/// What a key asks for beyond the state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Quit,
    /// Another collector is looked into, or none.
    Open,
    Do((Deed, String)),
}

pub(super) fn handle(input: &Event, state: &mut State) -> Effect {
    match input {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(key, state),
        _ => Effect::None,
    }
}

fn press(key: &KeyEvent, state: &mut State) -> Effect {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return if key.code == KeyCode::Char('c') { Effect::Quit } else { Effect::None };
    }
    state.told = None;
    if let Some((deed, collector)) = state.question.take() {
        if matches!(key.code, KeyCode::Char('y' | 'Y')) {
            return Effect::Do((deed, collector));
        }
        state.told = Some(Told::good(format!("{collector}: not {}", deed.words().1)));
        return Effect::None;
    }
    if state.help {
        state.help = false;
        return if key.code == KeyCode::Char('q') { Effect::Quit } else { Effect::None };
    }
    match key.code {
        KeyCode::Char('q') => return Effect::Quit,
        KeyCode::Char('?') => state.help = true,
        KeyCode::Char('p') => state.paused = !state.paused,
        KeyCode::Char('s') => state.set_order(match state.order {
            Order::Name => Order::WorstFirst,
            Order::WorstFirst => Order::Name,
        }),
        KeyCode::Char('r') => ask(state, Deed::Restart),
        KeyCode::Char('d') => ask(state, Deed::Disable),
        KeyCode::Char('e') => ask(state, Deed::Enable),
        KeyCode::Enter => return open(state, Part::Both),
        KeyCode::Char('l') => return log(state),
        KeyCode::Esc => {
            state.opened = None;
            return Effect::Open;
        }
        KeyCode::Tab => turn(state, true),
        KeyCode::BackTab => turn(state, false),
        code => {
            let (down, right) = motion(code);
            go(state, down, right);
        }
    }
    Effect::None
}

fn motion(code: KeyCode) -> (isize, isize) {
    match code {
        KeyCode::Up | KeyCode::Char('k') => (-1, 0),
        KeyCode::Down | KeyCode::Char('j') => (1, 0),
        KeyCode::PageUp => (-PAGE, 0),
        KeyCode::PageDown => (PAGE, 0),
        KeyCode::Home => (-isize::MAX, 0),
        KeyCode::End => (isize::MAX, 0),
        KeyCode::Left => (0, -STEP),
        KeyCode::Right => (0, STEP),
        _ => (0, 0),
    }
}

fn go(state: &mut State, down: isize, right: isize) {
    let topic = state.opened.as_ref().and_then(|one| one.stream(state)).map(|stream| stream.0);
    match &mut state.opened {
        Some(opened) => opened.scroll(topic.as_deref(), down, right),
        None => state.select(down),
    }
}

fn turn(state: &mut State, forward: bool) {
    let count = state.opened.as_ref().map_or(0, |opened| opened.topics(state).len());
    if let Some(opened) = &mut state.opened {
        opened.turn(count, forward);
    }
}

fn ask(state: &mut State, deed: Deed) {
    state.question = state.subject().map(|collector| (deed, collector.name.clone()));
}

fn open(state: &mut State, part: Part) -> Effect {
    if state.opened.is_some() {
        return Effect::None;
    }
    let Some(name) = state.subject().map(|collector| collector.name.clone()) else {
        return Effect::None;
    };
    state.selected = Some(name.clone());
    state.opened = Some(Opened::new(name, part));
    Effect::Open
}

/// The log alone, or what is beside it again.
fn log(state: &mut State) -> Effect {
    let Some(opened) = &mut state.opened else { return open(state, Part::Log) };
    opened.part = match opened.part {
        Part::Both => Part::Log,
        Part::Log => Part::Both,
    };
    opened.log_back = 0;
    Effect::None
}
