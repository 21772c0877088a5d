//! Watches directories and files (inotify(7)).
//!
//! A file that is being written is left alone until it is closed: `CLOSE_WRITE` and `MOVED_TO`
//! say that it is complete. Events are gathered for a moment, since a copy is several.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long events are gathered.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How long they are gathered at most, where they don't end.
const DEBOUNCE_MAX: Duration = Duration::from_millis(500);

/// Watches until it is dropped.
pub(crate) struct Watcher {
    watcher: RecommendedWatcher,
    /// With what was there when the watch began: a directory that was removed and made anew has
    /// no watch.
    watched: HashMap<PathBuf, Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

/// What has happened since the last time.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Paths that changed and are complete, or are gone.
    pub(crate) paths: HashSet<PathBuf>,
    /// Files that are being written.
    pub(crate) busy: HashSet<PathBuf>,
    /// Events were lost: anything may have changed.
    pub(crate) overflow: bool,
}

/// The receiving end.
pub(crate) struct ChangeStream {
    events: mpsc::UnboundedReceiver<notify::Result<notify::Event>>,
    busy: HashSet<PathBuf>,
}

impl Watcher {
    pub(crate) fn new() -> notify::Result<(Self, ChangeStream)> {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Listing a directory opens it: the host's own look must not lead to the next.
            let opened = |event: &notify::Event| {
                matches!(event.kind, EventKind::Access(AccessKind::Open(_)))
            };
            if event.as_ref().is_ok_and(opened) {
                return;
            }
            let _ = sender.send(event);
        })?;
        let stream = ChangeStream { events, busy: HashSet::new() };
        Ok((Self { watcher, watched: HashMap::new() }, stream))
    }

    /// Watches these directories and no others. Returns those that can't be watched, and why.
    pub(crate) fn set(&mut self, directories: &HashSet<PathBuf>) -> Vec<(PathBuf, String)> {
        let stale = |(path, identity): (&PathBuf, &Identity)| {
            let same = directories.contains(path) && self::identity(path) == Some(*identity);
            (!same).then(|| path.clone())
        };
        let gone: Vec<PathBuf> = self.watched.iter().filter_map(stale).collect();
        for directory in gone {
            let _ = self.watcher.unwatch(&directory);
            self.watched.remove(&directory);
        }
        let mut failed = Vec::new();
        for directory in directories {
            if self.watched.contains_key(directory) {
                continue;
            }
            match self.watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    let identity = identity(directory).unwrap_or_default();
                    self.watched.insert(directory.clone(), identity);
                }
                Err(error) => failed.push((directory.clone(), error.to_string())),
            }
        }
        failed
    }
}

impl ChangeStream {
    /// The next changes, gathered until it has been quiet for a moment. `None` when the watcher
    /// is gone. Cancel-safe only between changes: keep it in a task of its own.
    pub(crate) async fn next(&mut self) -> Option<Changes> {
        loop {
            let changes = self.gather().await?;
            let heard = !changes.paths.is_empty() || !changes.busy.is_empty() || changes.overflow;
            if heard {
                return Some(changes);
            }
        }
    }

    async fn gather(&mut self) -> Option<Changes> {
        let mut changes = Changes::default();
        let first = self.events.recv().await?;
        self.note(first, &mut changes);
        let enough = Instant::now() + DEBOUNCE_MAX;
        while Instant::now() < enough
            && let Ok(Some(event)) = tokio::time::timeout(DEBOUNCE, self.events.recv()).await
        {
            self.note(event, &mut changes);
        }
        changes.busy.clone_from(&self.busy);
        Some(changes)
    }

    fn note(&mut self, event: notify::Result<notify::Event>, changes: &mut Changes) {
        let lost = event.as_ref().map_or(true, notify::Event::need_rescan);
        if lost {
            // The end of a write may be among what was lost.
            self.busy.clear();
            changes.overflow = true;
        }
        let Ok(event) = event else { return };
        for path in event.paths {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => {
                    self.busy.insert(path);
                }
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(_))
                | EventKind::Remove(_) => self.complete(&path, changes),
                // The start of a copy; a new name for a complete file (link(2)) is not empty.
                EventKind::Create(_) if is_empty(&path) => {
                    self.busy.insert(path);
                }
                EventKind::Create(_) | EventKind::Modify(ModifyKind::Metadata(_)) => {
                    changes.paths.insert(path);
                }
                _ => {}
            }
        }
    }

    fn complete(&mut self, path: &Path, changes: &mut Changes) {
        self.busy.remove(path);
        changes.paths.insert(path.to_owned());
    }
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0)
}
