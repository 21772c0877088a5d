//! Configuration: layers of TOML become validated settings, once.
//!
//! Precedence, highest first: flags; environment (`DROPSONDE__SECTION__KEY`); the file; the
//! `conf.d/*.toml` beside it, of which the last in order of name wins; defaults.

mod control;
mod given;
mod history;
mod listen;
mod node;
mod otlp;
mod section;
mod trust;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::abi::Capability;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use control::Control;
pub use history::{History, Keep};
pub use listen::{Access, Listen};
pub use node::Origin;
pub(crate) use otlp::{Otlp, Protocol};
pub(crate) use section::suggestion;

use crate::admission::Trust;
use crate::runner::Isolation;
use crate::slot::RestartPolicy;
use node::{MAX_DEPTH, Node, too_deep};
use section::Problems;

/// Where the HTTP API listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9811";
/// The file that is read if it exists and none is named.
pub const DEFAULT_FILE: &str = "/etc/dropsonde/dropsonde.toml";
const ENVIRONMENT_PREFIX: &str = "DROPSONDE__";

/// What the configuration is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that a person named; it must exist. Without one, [`DEFAULT_FILE`] is read if it
    /// is there.
    pub file: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--control`.
    pub control: Option<String>,
    /// `--plugins`; they replace the directories of the file.
    pub plugins: Vec<PathBuf>,
    /// `--allow-unsafe-permissions`.
    pub allow_unsafe_permissions: bool,
    /// The environment.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    fn main_file(&self) -> PathBuf {
        let file = self.file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        std::path::absolute(&file).unwrap_or(file)
    }

    /// The environment of this process, as far as it is text.
    pub fn process_environment() -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }
}

/// The whole configuration, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the HTTP API listens.
    pub listen: Listen,
    /// Whom it answers.
    pub access: Access,
    /// Where the control socket is.
    pub control: Control,
    /// Where collectors keep their state.
    pub state_dir: PathBuf,
    /// Where checked plugin files are copied to; must allow execution.
    pub runtime_dir: PathBuf,
    /// Least severe level that is logged: error, warn, info, debug, trace.
    pub log: tracing::Level,
    /// Directories that are watched for plugins; `None` for the default ones.
    pub directories: Option<Vec<PathBuf>>,
    /// Start a collector with default settings for each plugin that no `[collectors.*]` uses.
    pub autostart: bool,
    /// What is asked of plugin files beyond being intact.
    pub(crate) trust: Trust,
    /// How restarts are paced.
    pub restart: RestartPolicy,
    /// What is exported by OTLP, if anything is.
    pub(crate) otlp: Option<Otlp>,
    /// What holds for collectors that don't say otherwise.
    pub defaults: Defaults,
    /// What is stored of the streams; `None`: nothing.
    pub history: Option<History>,
    /// The configured collectors, by name.
    pub collectors: BTreeMap<String, CollectorSpec>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The user's file, whether it is there or not.
    pub file: PathBuf,
}

/// What holds for collectors that don't say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// `None`: what the plugin proposes.
    pub interval: Option<Duration>,
    /// Longest that a call may take.
    pub deadline: Duration,
    /// Where collectors run.
    pub isolation: Isolation,
    /// What a runner process may use.
    pub limits: Limits,
    /// What plugins may do beyond reading, if their manifest asks for it.
    pub allow: Vec<Capability>,
    /// Whether runner processes are confined; false is for debugging.
    pub sandbox: bool,
}

/// What a runner process may use; past it, it is ended with the limit as the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Private memory, bytes: heap, stacks, private mappings (RLIMIT_DATA of getrlimit(2)).
    pub memory: u64,
    /// Open files.
    pub open_files: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Size of a file that it writes, bytes.
    pub file_size: u64,
    /// Records of one stream in one batch; those beyond are left out and counted. Holds in
    /// thread mode too.
    pub rows: u64,
    /// CPU time, as a percentage of one CPU; 200 are two CPUs. Needs cgroups.
    pub cpu_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            open_files: 4096,
            processes: 64,
            file_size: 64 << 20,
            rows: dropsonde_plugin_api::schema::DEFAULT_ROWS,
            cpu_percent: 100,
        }
    }
}

/// One collector.
#[derive(Debug, Clone)]
pub struct CollectorSpec {
    /// Its name; also the first token of its streams' names.
    pub name: Arc<str>,
    /// The plugin that it is an instance of.
    pub plugin: Arc<str>,
    /// Whether it runs.
    pub enabled: bool,
    /// How often it is collected without demand; `None`: what the plugin proposes.
    pub interval: Option<Duration>,
    /// Longest that a call may take.
    pub deadline: Duration,
    /// Where it runs.
    pub isolation: Isolation,
    /// What its runner process may use.
    pub limits: Limits,
    /// What its plugin may do beyond reading, if its manifest asks for it.
    pub allow: Vec<Capability>,
    /// Whether its runner process is confined; false is for debugging.
    pub sandbox: bool,
    /// Whether the host is ready only when this collector is.
    pub required: bool,
    settings: Option<Node>,
    /// Where it is configured.
    at: Origin,
}

impl PartialEq for CollectorSpec {
    /// Equal if a running collector need not notice the difference: where a setting stands in
    /// the file is no part of it.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.plugin == other.plugin
            && self.enabled == other.enabled
            && self.interval == other.interval
            && self.deadline == other.deadline
            && self.isolation == other.isolation
            && self.limits == other.limits
            && self.allow == other.allow
            && self.sandbox == other.sandbox
            && self.required == other.required
            && self.settings_json() == other.settings_json()
    }
}

impl CollectorSpec {
    /// A collector of a plugin that nobody configured.
    pub(crate) fn auto(plugin: &str, defaults: &Defaults) -> Self {
        Self::with_defaults(plugin, plugin, defaults)
    }

    fn with_defaults(name: &str, plugin: &str, defaults: &Defaults) -> Self {
        Self {
            name: name.into(),
            plugin: plugin.into(),
            enabled: true,
            interval: defaults.interval,
            deadline: defaults.deadline,
            isolation: defaults.isolation,
            limits: defaults.limits,
            allow: defaults.allow.clone(),
            sandbox: defaults.sandbox,
            required: false,
            settings: None,
            at: Origin::Default,
        }
    }

    /// The settings as the plugin gets them.
    pub(crate) fn settings_json(&self) -> String {
        self.settings.as_ref().map_or_else(|| "{}".to_owned(), |node| node.to_json().to_string())
    }

    /// Whether a change to `other` needs a new instance.
    pub(crate) fn needs_new_instance(&self, other: &Self) -> bool {
        self.isolation != other.isolation
            || self.limits != other.limits
            || self.allow != other.allow
            || self.sandbox != other.sandbox
            || self.settings_json() != other.settings_json()
    }

    /// An error about one of its keys.
    pub(crate) fn error(&self, key: &str, message: &str) -> ConfigError {
        let path = format!("collectors.{}.{key}", self.name);
        ConfigError { at: self.at.clone(), path, message: message.to_owned() }
    }

    /// A settings error as the user sees it: with the place of the key.
    pub(crate) fn settings_error(&self, path: &str, message: &str) -> ConfigError {
        let at = self.settings.as_ref().map_or(&self.at, |node| node.locate(path));
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("collectors.{}.settings{dot}{path}", self.name);
        ConfigError { at: at.clone(), path, message: improve(message) }
    }
}

/// serde lists all fields after an unknown one; the nearest is what helps.
fn improve(message: &str) -> String {
    if let Some(key) = message.strip_suffix(", there are no fields") {
        let key = key.strip_prefix("unknown field ").unwrap_or(key);
        return format!("unknown key {key}; this plugin has no settings");
    }
    let Some((unknown, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let Some(key) = unknown.strip_prefix("unknown field `").and_then(|key| key.strip_suffix('`'))
    else {
        return message.to_owned();
    };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    format!("unknown key `{key}`; {}", suggestion(key, &known))
}

/// Something that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands.
    pub at: Origin,
    /// The key, with its tables.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}: {}{colon}{}", self.at, self.path, self.message)
    }
}

/// All that is wrong with a configuration; nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl Config {
    /// Tells whether the files may have changed, through links too: inode, size and time of the
    /// last change of each.
    pub(crate) fn print(&self) -> Vec<(PathBuf, (u64, u64, i64, i64))> {
        let files = parts_of(&self.file).into_iter().chain([self.file.clone()]);
        files
            .filter_map(|file| {
                let meta = std::fs::metadata(&file).ok()?;
                Some((file, (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())))
            })
            .collect()
    }

    /// Reads all layers. Blocks on files.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let read = |file: PathBuf| {
            let text = std::fs::read_to_string(&file);
            (file, text)
        };
        Self::from_layers(sources, files_of(sources).into_iter().map(read).collect())
    }

    /// Validates what was read of the files, lowest first. Reads none itself.
    pub(crate) fn from_layers(
        sources: &Sources,
        layers: Vec<(PathBuf, io::Result<String>)>,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::default();
        let mut tree = Node::table(&Origin::Default);
        for (file, text) in &layers {
            overlay(file, text, &mut tree, &mut problems);
        }
        for (name, value) in &sources.environment {
            if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                set(name, path, value, &mut tree)
                    .unwrap_or_else(|(at, message)| problems.add(&at, "", message));
            }
        }
        let files = layers.into_iter().map(|(file, _)| file).collect();
        let config = validate::validate(&tree, sources, files, &mut problems);
        match config {
            Some(config) if problems.0.is_empty() => Ok(config),
            _ => Err(ConfigErrors(problems.0)),
        }
    }
}

/// The files in order of precedence, lowest first, as absolute paths: file watches speak of those.
fn files_of(sources: &Sources) -> Vec<PathBuf> {
    let file = sources.main_file();
    let mut files = parts_of(&file);
    // One that a person named is read even if it is not there: that is an error.
    if sources.file.is_some() || file.exists() {
        files.push(file);
    }
    files
}

/// The files of the `conf.d` beside a file, in order of name.
fn parts_of(file: &Path) -> Vec<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new("/")).join("conf.d");
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

fn overlay(file: &Path, text: &io::Result<String>, tree: &mut Node, problems: &mut Problems) {
    let path: Arc<Path> = file.into();
    match text {
        Ok(text) => match Node::parse(&path, text) {
            Ok(layer) => tree.overlay(layer),
            Err((at, message)) => problems.add(&at, "", message),
        },
        Err(error) => problems.add(
            &Origin::File { path, line: 1, column: 1 },
            "",
            format!("can't be read: {error}"),
        ),
    }
}

/// One variable of the environment.
fn set(name: &str, path: &str, value: &str, tree: &mut Node) -> Result<(), (Origin, String)> {
    let value = Node::from_environment(name, value)?;
    let path: Vec<String> = path.to_lowercase().split("__").map(str::to_owned).collect();
    if path.len() > MAX_DEPTH {
        return Err(too_deep(value.at));
    }
    tree.insert(&path, value);
    Ok(())
}

#[cfg(test)]
mod tests;
