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

pub(super) struct Opened {
    /// Its name.
    pub(super) collector: String,
    pub(super) part: Part,
    /// Each stream's lines; of a snapshot, the last batch as a table.
    streams: BTreeMap<String, VecDeque<String>>,
    /// Number of the stream that is shown.
    stream: usize,
    /// First line and column of it that are shown.
    pub(super) scroll: (usize, usize),
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
            scroll: (0, 0),
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
        let lines = self.streams.entry(batch.stream.topic.clone()).or_default();
        let text = table::batch(batch);
        if batch.stream.schema.kind == StreamKind::Event {
            lines.push_back(timestamp(batch.wall));
        } else {
            lines.clear();
        }
        lines.extend(text.lines().map(str::to_owned));
        if batch.stream.schema.kind == StreamKind::Event {
            lines.drain(..lines.len().saturating_sub(LINES));
        }
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
    pub(super) fn lines(&self, topic: &str) -> Option<&VecDeque<String>> {
        self.streams.get(topic)
    }

    /// Shows the next stream, or the one before; after the last comes the first.
    pub(super) fn turn(&mut self, state_topics: usize, forward: bool) {
        let count = state_topics.max(1);
        let by = if forward { 1 } else { count - 1 };
        self.stream = (self.stream.min(count - 1) + by) % count;
        self.scroll = (0, 0);
    }

    /// Scrolls what is shown by lines and columns.
    pub(super) fn scroll(&mut self, state_topic: Option<&str>, down: isize, right: isize) {
        if self.part == Part::Log {
            let most = self.log.len().saturating_sub(1);
            self.log_back = self.log_back.saturating_add_signed(-down).min(most);
            return;
        }
        let lines = state_topic.and_then(|topic| self.lines(topic));
        let length = lines.map_or(0, VecDeque::len);
        let width = lines.into_iter().flatten().map(|line| line.chars().count()).max().unwrap_or(0);
        let (row, column) = self.scroll;
        // The head stays, and one line at least is seen.
        let row = row.saturating_add_signed(down).min(length.saturating_sub(2));
        self.scroll = (row, column.saturating_add_signed(right).min(width.saturating_sub(1)));
    }
}
