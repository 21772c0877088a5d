//! What slot and worker say to each other, whatever the link.

use std::path::PathBuf;

use dropsonde_plugin_api::abi::Capability;
use dropsonde_plugin_api::schema::StreamSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sandbox::Sandbox;
use crate::config::Limits;
use crate::model::RawBatch;

/// What the slot asks of the worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Load, describe and create. The first request, and the only one of its kind.
    Begin(Begin),
    /// One round; the bits say which streams are wanted.
    Collect { id: u64, wanted: u64 },
    /// Destroy and end.
    Stop,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// The staged file.
    pub(crate) image: PathBuf,
    pub(crate) events: bool,
    pub(crate) collector: String,
    /// JSON.
    pub(crate) settings: String,
    pub(crate) state_dir: String,
    pub(crate) limits: Limits,
    /// What the plugin asked for and the user allows.
    pub(crate) capabilities: Vec<Capability>,
    /// False only for debugging: a process confines itself before it loads the plugin.
    pub(crate) sandbox: bool,
    /// End after the settings were checked: nothing is created.
    pub(crate) check_only: bool,
}

/// What the worker answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Of a process only, and its first word: what it may no longer do.
    Confined(Sandbox),
    /// It is loaded, and declares these streams.
    Described { streams: Vec<StreamSchema>, interval_ms: u64 },
    /// The settings were found good, and it ends, since no more was asked for.
    SettingsGood,
    /// The instance stands. An event source runs from here on.
    Created,
    /// Rows of one stream; not checked yet.
    Batch(RawBatch),
    /// The round is over, and took so much CPU time of the thread that it ran on.
    Done { id: u64, outcome: Result<Vec<String>, Failure>, cpu_ns: u64 },
    /// Of a thread only: it did what no plugin in the host may do, and this is what.
    Strayed(String),
    /// Of an event source: a batch was bad. A polled collector says so at the end of its round.
    Refused(Failure),
    /// A line for the log.
    Log { level: u8, message: String },
    /// It has ended, by itself or because it was told to. Always the last.
    Closed(Option<Failure>),
}

/// Why a collector does not deliver. Each is shown as it is written here.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Failure {
    /// The plugin could not be opened.
    #[error("{0}")]
    Load(String),
    /// Its declaration of streams was refused.
    #[error("its declaration was refused: {0}")]
    Schema(String),
    /// The settings don't fit; `path` names the key.
    #[error("settings: {message}")]
    Settings {
        /// The key at fault, or empty.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The author's function returned an error.
    #[error("failed: {0}")]
    Failed(String),
    /// Some things could not be read; the rest could.
    #[error("partial: {}", .0.join("; "))]
    Partial(Vec<String>),
    /// The author's function panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It handed over a batch that does not fit its declaration.
    #[error("handed over a bad batch: {0}")]
    BadBatch(String),
    /// A call took too long.
    #[error("deadline {0} exceeded")]
    Deadline(String),
    /// It used more than it may.
    #[error("{0} exceeded")]
    Limit(String),
    /// Its process was ended by a signal.
    #[error("killed by {0}")]
    Killed(String),
    /// Its process ended by itself.
    #[error("exited with code {0}")]
    Exited(i32),
    /// The event source returned though nobody told it to stop.
    #[error("the event source returned by itself")]
    Returned,
    /// Its process could not be started.
    #[error("could not start a process: {0}")]
    Spawn(String),
    /// It sent something that is no message.
    #[error("broke the runner protocol: {0}")]
    Protocol(String),
}

impl Failure {
    /// The kind of it in one word, for counts.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Schema(_) => "schema",
            Self::Settings { .. } => "settings",
            Self::Failed(_) => "failed",
            Self::Partial(_) => "partial",
            Self::Panicked(_) => "panicked",
            Self::BadBatch(_) => "bad_batch",
            Self::Deadline(_) => "deadline",
            Self::Limit(_) => "limit",
            Self::Killed(_) => "killed",
            Self::Exited(_) => "exited",
            Self::Returned => "returned",
            Self::Spawn(_) => "spawn",
            Self::Protocol(_) => "protocol",
        }
    }

    /// Whether the instance must not be called again (an error of one round leaves it usable).
    pub(crate) fn is_fatal(&self) -> bool {
        !matches!(self, Self::Failed(_) | Self::Partial(_) | Self::BadBatch(_))
    }
}
