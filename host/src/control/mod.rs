//! Control: everything that changes the running system enters here, as one closed enum.

mod core;
mod events;
mod history;
mod host;
mod logs;
mod own;
mod plugins;
mod query;
mod services;
mod status;
mod steer;

pub(crate) use core::default_directories;
pub use host::{Builder, Host, StartError};
pub use logs::LogLine;
pub use own::OwnUse;
pub(crate) use own::boot_time;
pub(crate) use services::Services;
pub use status::{ConfigStatus, PluginStatus, Status};
pub(crate) use steer::Order;
pub use steer::{Paced, SteerError};

use std::path::PathBuf;

use tokio::sync::oneshot;

use crate::admission::{Changes, Image, KeyId, Probed, Rejection};
use crate::config::{Config, ConfigErrors};

/// What changes the running system.
pub(crate) enum Command {
    /// Files changed in a watched directory.
    Changed(Changes),
    /// Look at the directories, though nothing was heard of them.
    Patrol,
    /// A plugin file was checked.
    Checked { path: PathBuf, checked: Result<Checked, Rejection> },
    /// Whether a plugin can run without settings was found out.
    Bare { plugin: String, generation: u32, bare: Bare },
    /// Read the configuration again and look at all plugin files.
    Reload { done: Option<oneshot::Sender<ReloadOutcome>> },
    /// A person asks something of a collector; answered with whether it changed anything.
    Steer {
        collector: String,
        order: Order,
        done: Option<oneshot::Sender<Result<bool, SteerError>>>,
    },
    /// Read streams of a collector now, in one round.
    Collect { collector: String, topics: Vec<String>, done: oneshot::Sender<CollectAnswer> },
    /// Stop all collectors and end.
    Shutdown { done: oneshot::Sender<()> },
}

pub(crate) type CollectAnswer = Result<(), crate::runner::Failure>;

/// An image that was admitted, or the note that the file is what already runs.
pub(crate) enum Checked {
    /// The bytes are those of the image that is in use.
    Unchanged { signed_by: Option<KeyId> },
    /// It passed.
    Admitted(Box<Admitted>),
}

/// An image that was admitted, and what its trial showed.
pub(crate) struct Admitted {
    pub(crate) image: Image,
    pub(crate) signed_by: Option<KeyId>,
    pub(crate) probed: Probed,
    pub(crate) bare: Bare,
}

/// Whether a plugin can run without settings: one that can't is not started by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Bare {
    /// It was not tried.
    #[default]
    Unknown,
    Runs,
    /// What it must be told first.
    Lacks(String),
}

/// What a reload of the configuration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Nothing is different.
    Unchanged,
    /// These collectors were added, changed or removed; the others did not notice.
    Applied {
        /// Names of the collectors concerned.
        collectors: Vec<String>,
        /// Settings that take effect at the next start only.
        needs_restart: Vec<&'static str>,
    },
    /// The configuration is wrong; nothing was changed.
    Rejected(ConfigErrors),
}

/// Where the configuration comes from: read again at each reload.
pub(crate) type Loader = Box<dyn Fn() -> Result<Config, ConfigErrors> + Send>;
