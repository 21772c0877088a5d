//! What the host tells of itself.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::OwnUse;
use crate::bus::BusStatus;
use crate::history::HistoryStatus;
use crate::runner::Quiet;
use crate::sink::otlp::OtlpStatus;
use crate::slot::SlotStatus;

/// One plugin file.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// The file.
    pub file: String,
    /// The plugin's name, if its manifest could be read.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The plugin API that it was built against.
    pub api_version: Option<String>,
    /// What it collects.
    pub description: Option<String>,
    /// `collector` or `events`.
    pub kind: Option<dropsonde_plugin_api::abi::Kind>,
    /// `rust`, or `c` for what has a C entry point.
    pub language: Option<dropsonde_plugin_api::abi::Language>,
    /// The image that is in use; 0 if none is.
    pub generation: u32,
    /// SHA-256 of the image that is in use.
    pub sha256: Option<String>,
    /// Id of the trusted key that signed the image that is in use.
    pub signed_by: Option<String>,
    /// `admitted`, `rejected`, or `checking`. A rejected file may still have an older
    /// generation in use.
    pub state: &'static str,
    /// Why the file as it is now was rejected.
    pub rejection: Option<String>,
    /// Files under this path that were rejected so far.
    pub rejections: u64,
    /// What it must be told before it can run: no collector is started of it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// The linker will never unload it, so that thread-mode reloads add up.
    pub never_unloaded: bool,
}

/// The configuration.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConfigStatus {
    /// Times that a changed configuration was applied.
    pub applied: u64,
    /// Times that a configuration was rejected.
    pub rejected: u64,
    /// Why the configuration as it stands in the files is not in use.
    pub last_rejection: Option<String>,
}

/// The whole host.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its plugin files.
    pub plugins: Vec<PluginStatus>,
    /// Its collectors.
    pub collectors: Vec<SlotStatus>,
    /// Its configuration.
    pub config: ConfigStatus,
    /// Its bus.
    pub bus: BusStatus,
    /// Plugin libraries in the host itself.
    pub libraries: Libraries,
    /// What stores history; `None`: nothing is stored.
    pub history: Option<HistoryStatus>,
    /// What the host itself uses.
    pub host: OwnUse,
    /// The export by OTLP, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpStatus>,
}

/// Plugin libraries in the host itself: of thread mode.
#[derive(Debug, Clone, Serialize)]
pub struct Libraries {
    /// Loaded so far.
    pub loaded: u32,
    /// Closed again.
    pub closed: u32,
    /// Left mapped because something of theirs may still run.
    pub left_mapped: u32,
}

impl From<&Quiet> for Libraries {
    fn from(quiet: &Quiet) -> Self {
        Self {
            loaded: quiet.loads.load(Ordering::Relaxed),
            closed: quiet.closed.load(Ordering::Relaxed),
            left_mapped: quiet.leaked.load(Ordering::Relaxed),
        }
    }
}
