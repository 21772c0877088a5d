//! Collectors that must not run on a thread of the host again: they ended it, or had to be
//! abandoned. Kept in a file, until the plugin's file is another.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trail;
use super::unload::{is_host, serial_of};
use crate::clock;
use crate::runner::process::signal_name;

/// The file in which they are kept.
const FILE: &str = "accused.json";

/// What is held against a collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accusation {
    /// SHA-256 of the plugin file that did it.
    plugin_sha256: String,
    /// What it did.
    cause: String,
    /// When it became known; RFC 3339.
    time: String,
}

/// All of them, by collector.
#[derive(Debug, Default)]
pub(super) struct Accused {
    directory: PathBuf,
    accused: BTreeMap<String, Accusation>,
}

impl Accused {
    /// Reads what is kept, and what hosts that crashed have left behind.
    pub(super) fn open(directory: &Path) -> Self {
        let mut accused =
            Self { directory: directory.to_owned(), accused: read(&directory.join(FILE)) };
        let mut found = false;
        for trail in trail::left_behind(directory) {
            for (collector, hash, cause) in culprits(&trail) {
                tracing::error!(collector, "ended the host that ran before, {cause}");
                accused.insert(&collector, &hash, cause);
                found = true;
            }
        }
        if found && let Err(error) = accused.write() {
            let directory = directory.display().to_string();
            tracing::error!(directory, "who crashed the host can't be kept: {error}");
        }
        accused
    }

    /// Why a collector must not run on a thread, if that is so for this file of its plugin.
    pub(super) fn of(&self, collector: &str, hash: &str) -> Option<String> {
        let found = self.accused.get(collector).filter(|found| found.plugin_sha256 == hash)?;
        let Accusation { cause, time, .. } = found;
        Some(format!("{cause} (noted {time}); another file of its plugin may run on a thread"))
    }

    /// Adds one, and keeps it.
    pub(super) fn accuse(&mut self, collector: &str, hash: &str, cause: String) -> io::Result<()> {
        self.insert(collector, hash, cause);
        self.write()
    }

    fn insert(&mut self, collector: &str, hash: &str, cause: String) {
        let time = humantime::format_rfc3339_seconds(clock::wall()).to_string();
        let accusation = Accusation { plugin_sha256: hash.to_owned(), cause, time };
        self.accused.insert(collector.to_owned(), accusation);
    }

    fn write(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let text = serde_json::to_vec_pretty(&self.accused)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        io::Write::write_all(&mut file, &text)?;
        file.persist(self.directory.join(FILE)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn read(path: &Path) -> BTreeMap<String, Accusation> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::error!(file = %path.display(), "can't be read: {error}");
            return BTreeMap::new();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::error!(file = %path.display(), "is not what the host wrote: {error}; it starts anew");
        BTreeMap::new()
    })
}

/// Who ended the host, of the trail that it left: collector, hash of its file, and how. A thread
/// that carries nobody's name may be any collector's, so all of them are.
fn culprits(trail: &str) -> Vec<(String, String, String)> {
    let mut threads: Vec<(u32, &str, &str)> = Vec::new();
    let mut end = None;
    for line in trail.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["thread", serial, hash, collector] => {
                threads.extend(serial.parse().ok().map(|serial| (serial, hash, collector)));
            }
            ["crash", signal, serial, name] => {
                let signal = signal_name(signal.parse().unwrap_or_default());
                end = Some((format!("it crashed the host: {signal}"), serial, name));
            }
            ["exit", serial, ref name @ ..] => {
                let name = name.first().copied().unwrap_or_default();
                end = Some(("it ended the host by exit(3)".to_owned(), serial, name));
            }
            _ => {}
        }
    }
    let Some((cause, serial, name)) = end else { return Vec::new() };
    let serial = serial.parse().ok().filter(|serial| *serial != 0).or_else(|| serial_of(name));
    if serial.is_none() && is_host(name) {
        return Vec::new();
    }
    threads
        .into_iter()
        .filter(|thread| serial.is_none_or(|serial| serial == thread.0))
        .map(|(_, hash, collector)| {
            let cause = match serial {
                Some(_) => cause.clone(),
                None => format!("{cause}, on thread `{name}`, which may be its own"),
            };
            (collector.to_owned(), hash.to_owned(), cause)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: &str = "thread 1 aa cpu\nthread 2 bb my disk\n";

    fn names(trail: &str) -> Vec<(String, String)> {
        culprits(trail).into_iter().map(|(name, _, cause)| (name, cause)).collect()
    }

    #[test]
    fn the_collector_whose_thread_crashed_is_accused() {
        let expected = [("my disk".to_owned(), "it crashed the host: SIGSEGV".to_owned())];
        assert_eq!(names(&format!("{THREADS}crash 11 2 ds2:my disk\n")), expected);
        // A thread that the plugin started inherits the name.
        assert_eq!(names(&format!("{THREADS}crash 11 0 ds2:my disk\n")), expected);
        let exit = names(&format!("{THREADS}exit 1 ds1:cpu\n"));
        assert_eq!(exit, [("cpu".to_owned(), "it ended the host by exit(3)".to_owned())]);
    }

    #[test]
    fn a_crash_on_a_thread_of_nobody_s_name_accuses_all() {
        let found = names(&format!("{THREADS}crash 6 0 worker\n"));
        assert_eq!(found.len(), 2);
        assert!(found[0].1.contains("SIGABRT, on thread `worker`"), "{found:?}");
    }

    #[test]
    fn a_crash_of_the_host_s_own_and_a_kill_accuse_nobody() {
        assert_eq!(names(&format!("{THREADS}crash 11 0 dropsonde-spawn\n")), []);
        assert_eq!(names(THREADS), []);
        assert_eq!(names("nonsense\ncrash\nthread\n"), []);
    }

    #[test]
    fn an_accusation_holds_until_the_file_is_another_and_survives_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let mut accused = Accused::open(directory.path());
        accused.accuse("cpu", "aa", "it hung".into()).unwrap();
        let again = Accused::open(directory.path());
        assert!(again.of("cpu", "aa").unwrap().starts_with("it hung (noted 2"));
        assert_eq!(again.of("cpu", "bb"), None);
        assert_eq!(again.of("disk", "aa"), None);
    }

    #[test]
    fn a_file_that_is_damaged_is_no_reason_not_to_start() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert_eq!(Accused::open(directory.path()).of("cpu", "aa"), None);
    }
}
