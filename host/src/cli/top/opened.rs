//! A collector that is looked into: its streams and its log, as lines.

use std::collections::{BTreeMap, VecDeque};

use dropsonde_plugin_api::schema::StreamKind;

use super::state::State;
use crate::cli::{steer, table};
use crate::model::Batch;
use crate::rpc::proto::LogLine;
use crate::sink::json::timestamp;

/// Lines that are kept of a log, and of a stream of events.
const LINES: usize = 1024;

/// What is shown below the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Streams, and the last lines of the log.
    Both,
    Log,
}

/// What is known of a stream.
#[derive(Default)]
pub(super) struct Lines {
    /// Of a snapshot, the last batch as a table.
    pub(super) lines: VecDeque<String>,
    pub(super) of_events: bool,
    /// Lines above those that are shown; of events, below them, and 0 follows the stream.
    row: usize,
    /// First column that is shown.
    column: usize,
}

impl Lines {
    fn take(&mut self, batch: &Batch) {
        let text = table::batch(batch);
        self.of_events = batch.stream.schema.kind == StreamKind::Event;
        if !self.of_events {
            self.lines = text.lines().map(str::to_owned).collect();
            return;
        }
        let before = self.lines.len();
        self.lines.push_back(timestamp(batch.wall));
        self.lines.extend(text.lines().map(str::to_owned));
        let more = self.lines.len() - before;
        self.lines.drain(..self.lines.len().saturating_sub(LINES));
        if self.row > 0 {
            self.row = (self.row + more).min(self.lines.len().saturating_sub(1)); // stays put
        }
    }

    /// Row and column, within what there is now: a table may have shrunk.
    pub(super) fn scroll(&self) -> (usize, usize) {
        // The head of a table stays, and one line at least is seen.
        let most = self.lines.len().saturating_sub(if self.of_events { 1 } else { 2 });
        let width = || self.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let column = match self.column {
            0 => 0,
            column => column.min(width().saturating_sub(1)),
        };
        (self.row.min(most), column)
    }

    fn scroll_by(&mut self, down: isize, right: isize) {
        let (row, column) = self.scroll();
        let down = if self.of_events { -down } else { down };
        self.row = row.saturating_add_signed(down);
        self.column = column.saturating_add_signed(right);
        (self.row, self.column) = self.scroll();
    }
}

pub(super) struct Opened {
    /// Its name.
    pub(super) collector: String,
    pub(super) part: Part,
    streams: BTreeMap<String, Lines>,
    /// Number of the stream that is shown.
    stream: usize,
    pub(super) log: VecDeque<String>,
    /// Lines of the log below those that are shown; 0 follows it.
    pub(super) log_back: usize,
}

impl Opened {
    pub(super) fn new(collector: String, part: Part) -> Self {
        Self {
            collector,
            part,
            streams: BTreeMap::new(),
            stream: 0,
            log: VecDeque::new(),
            log_back: 0,
        }
    }

    /// The topics of all its streams.
    pub(super) fn topics(&self, state: &State) -> Vec<String> {
        let collector = state.collector(&self.collector);
        collector.map(|collector| collector.streams.clone()).unwrap_or_default()
    }

    pub(super) fn take_batch(&mut self, batch: &Batch) {
        self.streams.entry(batch.stream.topic.clone()).or_default().take(batch);
    }

    pub(super) fn take_log(&mut self, line: LogLine) {
        if line.lost > 0 {
            self.log.push_back(format!("({} lines were lost)", line.lost));
        }
        self.log.push_back(steer::shown(line, false).trim_end().to_owned());
        let beyond = self.log.len().saturating_sub(LINES);
        self.log.drain(..beyond);
        if self.log_back > 0 {
            self.log_back = (self.log_back + 1).min(self.log.len().saturating_sub(1)); // stays put
        }
    }

    /// Topic, number and count of the stream that is shown; `None` if there is none.
    pub(super) fn stream(&self, state: &State) -> Option<(String, usize, usize)> {
        let topics = self.topics(state);
        let index = self.stream.min(topics.len().checked_sub(1)?);
        topics.get(index).map(|topic| (topic.clone(), index + 1, topics.len()))
    }

    /// The lines of a stream; `None` if nothing has come yet.
    pub(super) fn lines(&self, topic: &str) -> Option<&Lines> {
        self.streams.get(topic)
    }

    /// Shows the next stream, or the one before; after the last comes the first.
    pub(super) fn turn(&mut self, state_topics: usize, forward: bool) {
        let count = state_topics.max(1);
        let by = if forward { 1 } else { count - 1 };
        self.stream = (self.stream.min(count - 1) + by) % count;
        self.streams.values_mut().for_each(|lines| (lines.row, lines.column) = (0, 0));
    }

    /// Scrolls what is shown by lines and columns.
    pub(super) fn scroll(&mut self, state_topic: Option<&str>, down: isize, right: isize) {
        if self.part == Part::Log {
            let most = self.log.len().saturating_sub(1);
            self.log_back = self.log_back.saturating_add_signed(-down).min(most);
            return;
        }
        if let Some(lines) = state_topic.and_then(|topic| self.streams.get_mut(topic)) {
            lines.scroll_by(down, right);
        }
    }
}
