//! Says when files change: an event for each that appeared, changed or went away.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::prelude::*;

/// What the user may set under `[collectors.NAME.settings]`.
#[settings]
struct Settings {
    /// The files.
    #[serde(default = "default_paths")]
    paths: Vec<PathBuf>,
    /// How often they are looked at.
    #[serde(default = "default_every_ms")]
    every_ms: u64,
}

fn default_paths() -> Vec<PathBuf> {
    [
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/resolv.conf",
    ]
    .map(PathBuf::from)
    .into()
}

fn default_every_ms() -> u64 {
    1000
}

/// A file that appeared, changed or went away.
#[derive(Record)]
#[record(kind = "event")]
struct Change {
    /// The file.
    #[key]
    path: String,
    /// `appeared`, `changed`, or `removed`.
    #[attribute]
    what: &'static str,
    /// Its length since then.
    #[gauge(unit = "By")]
    length_bytes: Option<u64>,
}

/// What tells one state of a file from the next.
type Seen = Option<(SystemTime, u64)>;

struct Watcher {
    files: Vec<(PathBuf, Seen)>,
    pause: Duration,
}

impl EventSource for Watcher {
    type Settings = Settings;
    type Streams = (Change,);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        if settings.every_ms == 0 {
            return Err(Error::setting(
                "every_ms",
                "looking without a pause would take a CPU",
            ));
        }
        let files = settings
            .paths
            .into_iter()
            .map(|path| (path, None))
            .collect();
        Ok(Self {
            files,
            pause: Duration::from_millis(settings.every_ms),
        })
    }

    fn run(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        for (path, seen) in &mut self.files {
            *seen = look(path)?; // what is there from the start is no change
        }
        while !out.wait(self.pause)? {
            for (path, seen) in &mut self.files {
                let now = look(path)?;
                if let Some(what) = difference(*seen, now) {
                    let path = path.display().to_string();
                    out.emit(Change {
                        path,
                        what,
                        length_bytes: now.map(|(_, length)| length),
                    })?;
                }
                *seen = now;
            }
        }
        Ok(())
    }
}

fn look(path: &PathBuf) -> Result<Seen> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some((file.modified()?, file.len()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).context(path.display())),
    }
}

fn difference(before: Seen, now: Seen) -> Option<&'static str> {
    match (before, now) {
        (None, Some(_)) => Some("appeared"),
        (Some(_), None) => Some("removed"),
        _ if before != now => Some("changed"),
        _ => None,
    }
}

export_plugin!(events = Watcher);

#[cfg(test)]
mod tests;
