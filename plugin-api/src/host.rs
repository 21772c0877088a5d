//! What the host offers to a collector.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::abi::HostLink;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// The host, as a collector sees it. Cheap to clone; may be used from any thread.
#[derive(Clone)]
pub struct Host {
    pub(crate) link: HostLink,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something failed and a person should look.
    Error = 1,
    /// Something is wrong, and work goes on.
    Warn = 2,
    /// Something happened that is worth knowing.
    Info = 3,
    /// For whoever debugs the plugin.
    Debug = 4,
    /// For whoever traces the plugin step by step.
    Trace = 5,
}

impl Host {
    /// Writes a line to the host's log, where it carries the collector's name. Waits
    /// while the host does not keep up.
    pub fn log(&self, level: Level, message: impl fmt::Display) {
        self.link.log(level as u8, &message.to_string());
    }

    /// [`log`](Self::log) at level info.
    pub fn info(&self, message: impl fmt::Display) {
        self.log(Level::Info, message);
    }

    /// [`log`](Self::log) at level warn.
    pub fn warn(&self, message: impl fmt::Display) {
        self.log(Level::Warn, message);
    }

    /// [`log`](Self::log) at level error.
    pub fn error(&self, message: impl fmt::Display) {
        self.log(Level::Error, message);
    }

    /// [`log`](Self::log) at level debug.
    pub fn debug(&self, message: impl fmt::Display) {
        self.log(Level::Debug, message);
    }

    /// The collector's name in the configuration.
    pub fn collector(&self) -> &str {
        self.link.collector()
    }

    /// Time since this instance was made, by a clock that never goes back and stands still while
    /// the machine is suspended. A test drives it by hand. A collector seldom needs it: the host
    /// stamps each batch and derives the rates.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The time of day, for what is compared with a date: the age of a file, the end of a
    /// certificate. It may jump. A test drives it by hand, from 2020-01-01T00:00:00Z on.
    pub fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// A directory that belongs to this collector alone and outlives restarts and reloads. It is
    /// made when it is first asked for. With the capability `inspect` nothing can be written
    /// there.
    pub fn state_dir(&self) -> Result<PathBuf> {
        let path = PathBuf::from(self.link.state_dir());
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::from(error).context(path.display()))?;
        Ok(path)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("collector", &self.collector()).finish()
    }
}
