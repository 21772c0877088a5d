//! Says when files change: an event for each that appeared, changed or went away.

use std::path::{Path, PathBuf};
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

struct File {
    path: PathBuf,
    seen: Seen,
    /// Why it can't be looked at, while it can't.
    trouble: Option<String>,
}

struct Watcher {
    files: Vec<File>,
    pause: Duration,
    host: Host,
}

impl EventSource for Watcher {
    type Settings = Settings;
    type Streams = (Change,);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        if settings.every_ms == 0 {
            return Err(Error::setting(
                "every_ms",
                "looking without a pause would take a CPU",
            ));
        }
        let files = settings
            .paths
            .into_iter()
            .map(|path| File {
                path,
                seen: None,
                trouble: None,
            })
            .collect();
        Ok(Self {
            files,
            pause: Duration::from_millis(settings.every_ms),
            host,
        })
    }

    fn run(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        for file in &mut self.files {
            file.look(&self.host); // what is there from the start is no change
        }
        while !out.wait(self.pause)? {
            for file in &mut self.files {
                let before = file.seen;
                file.look(&self.host);
                if let Some(what) = difference(before, file.seen) {
                    out.emit(Change {
                        path: file.path.display().to_string(),
                        what,
                        length_bytes: file.seen.map(|(_, length)| length),
                    })?;
                }
            }
        }
        Ok(())
    }
}

impl File {
    /// Sees what is there now. Where it can't, it says why, once, and `seen` stays: no other file
    /// should suffer from it.
    fn look(&mut self, host: &Host) {
        let trouble = match look(&self.path) {
            Ok(seen) => {
                self.seen = seen;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            host.warn(trouble);
        }
        self.trouble = trouble;
    }
}

fn look(path: &Path) -> Result<Seen> {
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
