//! What is shown of what is known, without an agent or a terminal.

mod opened;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode};

use super::draw::{self, Palette};
use super::feed::Deed;
use super::keys::{self, Effect};
use super::state::{Link, Order, State};
use super::{format, interval};
use crate::model::{Batch, ColumnData, Data, Read, StreamInfo};
use crate::rpc::proto::{Agent, Bus, Collector, LogLine, Status};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn collector(name: &str, phase: &str, streams: &[&str]) -> Collector {
    Collector {
        name: name.into(),
        plugin: name.into(),
        phase: phase.into(),
        isolation: "process".into(),
        generation: 1,
        interval: seconds(1).try_into().ok(),
        streams: streams.iter().map(ToString::to_string).collect(),
        ..Collector::default()
    }
}

fn status(collectors: Vec<Collector>, cpu: u64) -> Result<Box<Status>, String> {
    let agent = Agent {
        version: "1.2.3".into(),
        pid: 77,
        cpu: seconds(cpu).try_into().ok(),
        resident_bytes: 14 << 20,
        uptime: seconds(3720).try_into().ok(),
        ..Agent::default()
    };
    let bus = Bus { reads: 10, reads_saved: 4, ..Bus::default() };
    Ok(Box::new(Status { collectors, bus: Some(bus), agent: Some(agent), ..Status::default() }))
}

fn knowing(collectors: Vec<Collector>) -> State {
    let mut state = State::new(Palette::of_environment());
    state.take_status(status(collectors, 1), seconds(100));
    state
}

/// A batch with a text key and floats, some of them missing.
fn batch(topic: &str, keys: Option<(&str, &[&str])>, floats: &[(&str, &[Option<f64>])]) -> Batch {
    let (of, name) = topic.split_once('.').unwrap();
    let kind = if of == "events" { StreamKind::Event } else { StreamKind::Snapshot };
    let collector: Arc<str> = name.split('.').next().unwrap_or(name).into();
    let schema = |name, role, value| ColumnSchema {
        unit: "1".into(),
        ..ColumnSchema::new(name, role, value)
    };
    let (mut columns, mut data, mut rows) = (Vec::new(), Vec::new(), 1);
    if let Some((key, values)) = keys {
        rows = values.len();
        let bytes = values.concat().into_bytes();
        let mut end = 0;
        let ends = values.iter().map(|value| {
            end += value.len() as u32;
            end
        });
        columns.push(schema(key, Role::Key, ValueType::Text));
        let data_of_key = Data::Text { ends: ends.collect(), bytes };
        data.push(ColumnData { data: data_of_key, validity: Vec::new() });
    }
    for (name, values) in floats {
        columns.push(schema(name, Role::Gauge, ValueType::F64));
        data.push(ColumnData::floats(values.to_vec()));
    }
    let stream = StreamInfo {
        collector: collector.clone(),
        plugin: collector,
        name: name.to_owned(),
        topic: topic.to_owned(),
        declared: columns.len(),
        derived: Vec::new(),
        schema: StreamSchema { name: String::new(), kind, description: String::new(), columns },
    };
    let read = Read {
        generation: 1,
        sequence: 1,
        wall: SystemTime::UNIX_EPOCH,
        monotonic: Duration::ZERO,
        due: Duration::ZERO,
    };
    Batch::new(Arc::new(stream), read, rows, data)
}

fn drawn(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::frame(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|y| {
        let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        row.trim_end().to_owned() + "\n"
    });
    rows.collect()
}

fn press(state: &mut State, code: KeyCode) -> Effect {
    keys::handle(&Event::Key(code.into()), state)
}

#[test]
fn figures_are_short_and_missing_ones_are_not_zero() {
    let bytes: Vec<String> = [0.0, 1023.0, 1023.96, 1536.0, 1048575.0, 1.5e9, 4e18, 1e30]
        .map(|v| format::bytes(Some(v)))
        .into();
    assert_eq!(bytes[..6], ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.4 GiB"]);
    assert_eq!(bytes[6], "3.5 EiB");
    assert!(bytes[7].ends_with(" EiB"));
    assert_eq!([format::bytes(None), format::rate(None), format::percent(None)], ["-", "-", "-"]);
    assert_eq!(format::rate(Some(2048.0)), "2.0 KiB/s");
    assert_eq!(format::percent(Some(99.96)), "100.0 %");
    let span = |millis| format::span(Some(Duration::from_millis(millis)));
    assert_eq!([span(250), span(1000), span(3_725_500)], ["250ms", "1s", "1h 2m"]);
    let age = |millis| format::age(Some(Duration::from_millis(millis)));
    assert_eq!([age(340), age(59_900), age(125_000)], ["0.3 s", "59.9 s", "2m 5s"]);
    assert_eq!(format::bar(Some(50.0), 4), "[||  ]");
    assert_eq!(format::bar(Some(7e9), 2), "[||]");
    assert_eq!(format::bar(None, 2), "[  ]");
    assert_eq!([None, Some(0.0), Some(100.0)].map(format::column), [' ', '▁', '█']);
}

#[test]
fn the_interval_has_a_least_value() {
    assert_eq!(interval("100ms"), Ok(Duration::from_millis(100)));
    assert_eq!(interval("99ms"), Err("the shortest is 100ms".to_owned()));
    assert!(interval("soon").is_err());
}

#[test]
fn the_head_tells_of_the_agent_and_of_its_absence() {
    let mut state = State::new(Palette::of_environment());
    assert!(drawn(&state, 80, 24).contains("waiting for the agent"));
    state.take_status(status(Vec::new(), 1), seconds(100));
    let text = drawn(&state, 80, 24);
    assert!(text.starts_with("dropsonde 1.2.3  pid 77  up 1h 2m  connected\n"), "{text}");
    assert!(text.contains("\nown CPU -  own memory 14.0 MiB  reads 10  reads saved 4\n"), "{text}");
    state.take_status(status(Vec::new(), 3), seconds(104));
    assert!(drawn(&state, 80, 24).contains("\nown CPU 50.0 %  own"));
    state.take_status(Err("gone".into()), seconds(105));
    assert_eq!(state.link, Link::Away("gone".into()));
    let text = drawn(&state, 80, 24);
    assert!(text.contains("pid 77  up 1h 2m  the agent has gone, asking again: gone"), "{text}");
    // Of another agent, whose CPU time is less.
    state.take_status(status(Vec::new(), 0), seconds(106));
    assert!(drawn(&state, 80, 24).contains("\nown CPU -  own"));
}

#[test]
fn what_is_missing_says_why() {
    let mut silent = collector("memory", "quarantined", &["metrics.memory"]);
    silent.last_error = Some("it crashed: SIGSEGV".into());
    let mut disabled = collector("disk", "stopped", &[]);
    disabled.disabled = true;
    let cpu = collector("cpu", "running", &["metrics.cpu", "metrics.cpu.cores"]);
    let mut state = knowing(vec![silent, disabled, cpu]);
    assert_eq!(state.panel_topics(), ["metrics.cpu", "metrics.cpu.cores", "metrics.memory"]);
    let text = drawn(&state, 200, 60);
    for reason in [
        "not available: `memory` is quarantined: it",
        " crashed: SIGSEGV",
        "not available: `disk` is disabled",
        "not available: no collector of plugin `network`",
        "pressure not available: no collector of",
        "not available: `cpu` has not delivered yet",
    ] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let missing: &[Option<f64>] = &[None];
    state.take_batch(batch("metrics.cpu", None, &[("usage_percent", missing)]));
    assert!(state.history.is_empty());
    let text = drawn(&state, 200, 60);
    assert!(text.contains("\nnot available: the machine does not tell"), "{text}");
}

#[test]
fn panels_show_the_machine() {
    let mut state = knowing(vec![
        collector("cpu", "running", &["metrics.cpu", "metrics.cpu.cores"]),
        collector("network", "running", &["metrics.network.interfaces"]),
        collector("memory", "running", &["metrics.memory"]),
    ]);
    let one = |value: f64| [Some(value)];
    let cpu = [("usage_percent", &one(42.0)[..]), ("load_avg_1m", &one(1.5)[..])];
    state.take_batch(batch("metrics.cpu", None, &cpu));
    let cores = [("usage_percent", &[Some(84.0), None][..])];
    state.take_batch(batch("metrics.cpu.cores", Some(("core", &["cpu0", "cpu1"])), &cores));
    let memory = [
        ("used_bytes", &one(1073741824.0)[..]),
        ("total_bytes", &one(4294967296.0)[..]),
        ("percent", &one(25.0)[..]),
        ("swap_total_bytes", &one(0.0)[..]),
    ];
    state.take_batch(batch("metrics.memory", None, &memory));
    let interfaces = [
        ("bytes_recv", &[Some(1.0), Some(9.0)][..]),
        ("bytes_recv_per_sec", &[None, Some(2048.0)][..]),
        ("bytes_sent_per_sec", &[Some(0.0), Some(1.0)][..]),
    ];
    let names = Some(("interface", &["idle0", "a-very-long-interface-name"][..]));
    state.take_batch(batch("metrics.network.interfaces", names, &interfaces));
    let text = drawn(&state, 80, 24);
    for part in [
        "CPU 42.0 %  load 1.500 - -",
        "cpu0  [",
        "84.0 %",
        "memory   25.0 % 1.0 GiB of 4.0 GiB",
        "swap   none",
        "a-very-long-…    2.0 KiB/s        1 B/s",
        "idle0                    -        0 B/s",
        "s sort  p pause\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.find("a-very").unwrap() < text.find("idle0").unwrap(), "{text}");
    // The very same read again is no new point of the curve.
    state.take_batch(batch("metrics.cpu", None, &cpu));
    assert_eq!(state.history, [42.0]);
}

#[test]
fn many_cores_have_a_cell_each() {
    let names: Vec<String> = (0..64).map(|core| format!("cpu{core}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut state =
        knowing(vec![collector("cpu", "running", &["metrics.cpu", "metrics.cpu.cores"])]);
    let shares = vec![Some(100.0); 64];
    let cores = [("usage_percent", &shares[..])];
    state.take_batch(batch("metrics.cpu.cores", Some(("core", &names)), &cores));
    assert_eq!(drawn(&state, 80, 24).matches('█').count(), 64);
}

#[test]
fn a_thousand_collectors_scroll_and_none_are_none() {
    let mut state = knowing(Vec::new());
    assert!(drawn(&state, 80, 24).contains("no collectors"));
    for code in [KeyCode::Down, KeyCode::Enter, KeyCode::Char('r'), KeyCode::End, KeyCode::Tab] {
        assert_eq!(press(&mut state, code), Effect::None);
    }
    assert!(state.question.is_none() && state.opened.is_none());
    let all = (0..1000).map(|index| collector(&format!("c{index:03}"), "running", &[])).collect();
    state.take_status(status(all, 2), seconds(200));
    assert!(drawn(&state, 80, 24).contains("c000"));
    press(&mut state, KeyCode::End);
    let text = drawn(&state, 80, 24);
    assert!(text.contains("c999") && !text.contains("c000"), "{text}");
    press(&mut state, KeyCode::PageUp);
    assert_eq!(state.selected.as_deref(), Some("c989"));
}

#[test]
fn the_worst_come_first_if_asked_for_and_the_selection_stays() {
    let mut restarted = collector("d", "running", &[]);
    restarted.restarts = 3;
    let mut disabled = collector("a", "stopped", &[]);
    disabled.disabled = true;
    let mut state = knowing(vec![
        disabled,
        collector("b", "running", &[]),
        collector("c", "quarantined", &[]),
        restarted,
        collector("e", "degraded", &[]),
    ]);
    state.select(1);
    press(&mut state, KeyCode::Char('s'));
    let names = |state: &State| -> String {
        state.collectors().iter().map(|collector| collector.name.as_str()).collect()
    };
    assert_eq!((names(&state).as_str(), state.order), ("cedba", Order::WorstFirst));
    assert_eq!(state.subject().map(|collector| collector.name.as_str()), Some("b"));
    press(&mut state, KeyCode::Char('s'));
    assert_eq!(names(&state), "abcde");
}

#[test]
fn a_deed_needs_a_yes() {
    let mut state = knowing(vec![collector("b", "running", &[])]);
    for (key, deed, question) in [
        ('r', Deed::Restart, "restart b? y/n"),
        ('d', Deed::Disable, "disable b? y/n"),
        ('e', Deed::Enable, "enable b? y/n"),
    ] {
        assert_eq!(press(&mut state, KeyCode::Char(key)), Effect::None);
        assert!(drawn(&state, 80, 24).contains(question));
        assert_eq!(press(&mut state, KeyCode::Esc), Effect::None);
        assert!(state.question.is_none());
        press(&mut state, KeyCode::Char(key));
        assert_eq!(press(&mut state, KeyCode::Char('y')), Effect::Do((deed, "b".into())));
    }
}

#[test]
fn nothing_from_outside_is_a_command_to_the_terminal() {
    let mut evil = collector("cpu\x1b[2J\u{9b}2J", "degraded\x07", &["metrics.cpu\x1bc"]);
    evil.last_error = Some("bad\x1b]0;title\x07\nline".into());
    evil.reason = evil.last_error.clone();
    let mut state = knowing(vec![evil.clone()]);
    state.told = None;
    let mut texts = vec![drawn(&state, 200, 60)];
    press(&mut state, KeyCode::Enter);
    let message = "log\x1b[31m".to_owned();
    state.take_log(&evil.name, LogLine { message, ..LogLine::default() });
    texts.push(drawn(&state, 200, 60));
    state.link = Link::Away("\x1bc".into());
    texts.push(drawn(&state, 200, 60));
    for text in texts {
        assert!(!text.chars().any(|one| one.is_control() && one != '\n'), "{text:?}");
        assert!(text.contains("\\u{1b}"), "{text}");
    }
}

#[test]
fn every_size_can_be_drawn_in_every_view() {
    let cpu = collector("cpu", "running", &["metrics.cpu", "metrics.cpu.cores"]);
    let mut failing = collector("b", "backing_off", &[]);
    failing.last_error = Some("é".repeat(500));
    let mut state = knowing(vec![failing, cpu]);
    state.take_batch(batch("metrics.cpu", None, &[("usage_percent", &[Some(42.0)][..])]));
    for keys in ["", "?", " jl", "l", "\tjjj"] {
        for key in keys.chars() {
            press(&mut state, KeyCode::Char(key));
            press(&mut state, KeyCode::Right);
        }
        for (width, height) in [0, 1, 23, 24, 40, 80, 200]
            .into_iter()
            .flat_map(|width| [0, 1, 5, 6, 7, 12, 16, 40].map(|height| (width, height)))
        {
            drawn(&state, width, height);
        }
    }
}

#[test]
fn a_collector_is_looked_into_and_left() {
    let streams = ["metrics.c.one", "metrics.c.two"];
    let mut state = knowing(vec![collector("c", "running", &streams)]);
    assert_eq!(press(&mut state, KeyCode::Enter), Effect::Open);
    assert_eq!(press(&mut state, KeyCode::Enter), Effect::None);
    let keys = ["first", "second", "third"];
    let rows = [("value", &[Some(1.0), None, Some(3.0)][..])];
    state.take_batch(batch("metrics.c.one", Some(("key", &keys)), &rows));
    let text = drawn(&state, 80, 24);
    assert!(text.contains("Stream 1 of 2: metrics.c.one\nKEY     VALUE\nfirst"), "{text}");
    press(&mut state, KeyCode::Down);
    assert!(drawn(&state, 80, 24).contains("\nKEY     VALUE\nsecond"));
    press(&mut state, KeyCode::Tab);
    assert!(drawn(&state, 80, 24).contains("Stream 2 of 2: metrics.c.two\nnothing has come yet"));
    press(&mut state, KeyCode::Tab);
    assert!(drawn(&state, 80, 24).contains("Stream 1 of 2"));
    for number in 0..2000 {
        state.take_log("c", LogLine { message: format!("line {number}"), ..LogLine::default() });
        state.take_log("other", LogLine::default());
    }
    assert!(drawn(&state, 80, 24).contains("line 1999"));
    press(&mut state, KeyCode::Char('l'));
    press(&mut state, KeyCode::PageUp);
    let text = drawn(&state, 80, 24);
    assert!(text.contains("Log, 10 lines back") && !text.contains("line 1990"), "{text}");
    // It stays where it is as more come.
    state.take_log("c", LogLine { message: "line 2000".into(), ..LogLine::default() });
    assert!(drawn(&state, 80, 24).contains("line 1989"));
    assert_eq!(press(&mut state, KeyCode::Esc), Effect::Open);
    assert!(drawn(&state, 80, 24).contains("COLLECTOR"));
}
