//! The last log lines of each collector, for those who follow one: what its plugin logs, and
//! what the host says of it. All of them go to the host's log too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::clock;
use crate::text::plain;

/// Lines that are kept of each collector, and that may wait for a follower.
pub(crate) const KEPT: usize = 256;
/// Longest line that is kept, in bytes.
const LONGEST: usize = 4096;
/// Collectors whose lines are kept; a name beyond takes the place of one that was silent longest.
const COLLECTORS: usize = 1024;

/// One line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// When it was logged.
    pub wall: SystemTime,
    /// How severe it is.
    pub level: tracing::Level,
    /// The text, at most 4,096 bytes of it.
    pub message: String,
}

/// The lines of all collectors.
#[derive(Default)]
pub(crate) struct Logs {
    by_collector: Mutex<HashMap<String, Log>>,
}

#[derive(Default)]
struct Log {
    kept: VecDeque<LogLine>,
    /// Only while somebody follows.
    live: Option<broadcast::Sender<LogLine>>,
}

impl Logs {
    /// A line of the plugin's own; `level` as the plugin API numbers them.
    pub(crate) fn plugin(&self, collector: &str, level: u8, message: &str) {
        let level = match level {
            1 => tracing::Level::ERROR,
            2 => tracing::Level::WARN,
            3 => tracing::Level::INFO,
            4 => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        };
        let shown = plain(message);
        match level {
            tracing::Level::ERROR => tracing::error!(target: "plugin", collector, "{shown}"),
            tracing::Level::WARN => tracing::warn!(target: "plugin", collector, "{shown}"),
            tracing::Level::INFO => tracing::info!(target: "plugin", collector, "{shown}"),
            tracing::Level::DEBUG => tracing::debug!(target: "plugin", collector, "{shown}"),
            tracing::Level::TRACE => tracing::trace!(target: "plugin", collector, "{shown}"),
        }
        self.keep(collector, level, message);
    }

    /// Keeps what the host says of a collector; saying it in the host's log is the caller's.
    pub(crate) fn keep(&self, collector: &str, level: tracing::Level, message: &str) {
        let mut end = message.len().min(LONGEST);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = message[..end].to_owned();
        let line = LogLine { wall: clock::wall(), level, message };
        let mut all = self.lock();
        if all.len() >= COLLECTORS && !all.contains_key(collector) {
            let last = |log: &Log| log.kept.back().map(|line| line.wall);
            let silent = all.iter().min_by_key(|(_, log)| last(log)).map(|(name, _)| name.clone());
            silent.and_then(|name| all.remove(&name));
        }
        let log = all.entry(collector.to_owned()).or_default();
        if log.kept.len() >= KEPT {
            log.kept.pop_front();
        }
        if let Some(live) = &log.live
            && live.send(line.clone()).is_err()
        {
            log.live = None; // the last follower has gone
        }
        log.kept.push_back(line);
    }

    /// The last lines of a collector, oldest first, and those to come: none is missed between.
    pub(crate) fn follow(
        &self,
        collector: &str,
        lines: usize,
    ) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let mut all = self.lock();
        let log = all.entry(collector.to_owned()).or_default();
        let skip = log.kept.len().saturating_sub(lines);
        let last = log.kept.iter().skip(skip).cloned().collect();
        let live = log.live.get_or_insert_with(|| broadcast::Sender::new(KEPT));
        (last, live.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Log>> {
        self.by_collector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    fn say(logs: &Logs, collector: &str, text: &str) {
        logs.keep(collector, tracing::Level::INFO, text);
    }

    #[test]
    fn a_follower_gets_the_last_lines_and_those_to_come() {
        let logs = Logs::default();
        (0..1000).for_each(|line| say(&logs, "cpu", &line.to_string()));
        let (last, mut live) = logs.follow("cpu", 2);
        let last: Vec<_> = last.into_iter().map(|line| line.message).collect();
        assert_eq!(last, ["998", "999"]);
        say(&logs, "disk", "another's");
        say(&logs, "cpu", "new");
        assert_eq!(live.try_recv().unwrap().message, "new");
        assert_eq!(live.try_recv().unwrap_err(), TryRecvError::Empty);
        assert_eq!(logs.follow("cpu", usize::MAX).0.len(), KEPT);
    }

    #[test]
    fn a_slow_follower_is_told_how_many_lines_it_lost() {
        let logs = Logs::default();
        let (_, mut live) = logs.follow("cpu", 0);
        (0..KEPT + 10).for_each(|line| say(&logs, "cpu", &line.to_string()));
        assert_eq!(live.try_recv().unwrap_err(), TryRecvError::Lagged(10));
    }

    #[test]
    fn lines_and_names_without_end_are_bounded() {
        let logs = Logs::default();
        say(&logs, "long", &"ä".repeat(LONGEST));
        assert_eq!(logs.follow("long", 1).0[0].message.len(), LONGEST);
        (0..2 * COLLECTORS).for_each(|name| say(&logs, &name.to_string(), "x"));
        assert_eq!(logs.lock().len(), COLLECTORS);
    }
}
