//! The core: one task that owns the plugin files, the configuration and the slots, and takes
//! one command at a time.

mod apply;
mod bare;
mod files;
mod steering;

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::plugins::Plugins;
use super::steer::Steering;
use super::{Command, ConfigStatus, Loader, PluginStatus, Services};
use crate::admission::{ChangeStream, Changes, Print, Scanned, Watcher, is_busy, is_young, scan};
use crate::config::{CollectorSpec, Config};
use crate::memory::Housekeeping;
use crate::runner::{Failure, remove_if_empty};
use crate::slot::{SlotCommand, SlotHandle, SlotStatus};

/// Where plugins are looked for without configuration, besides the directory of the binary.
pub(crate) const SYSTEM_PLUGINS: &str = "/usr/lib/dropsonde/plugins";

/// Device, inode, mode, change time.
type DirectoryPrint = (u64, u64, u32, i64, i64);

type ConfigPrint = Vec<(PathBuf, (u64, u64, i64, i64))>;

/// How often the directories are looked at without being told: one may have been made or
/// replaced, and not every file system tells.
const PATROL: Duration = Duration::from_secs(4);
/// A directory that is watched, and in which no name has come or gone, is looked into only every
/// so many times: that finds a file that was written in place where nothing tells of it.
const PATROLS: u32 = 3;
/// How soon they are looked at again where something was in the middle of a change.
const A_MOMENT: Duration = Duration::from_millis(50);

pub(super) struct Core {
    services: Arc<Services>,
    config: Config,
    loader: Loader,
    watcher: Watcher,
    commands: mpsc::UnboundedSender<Command>,
    plugins: Plugins,
    known: Scanned,
    busy: HashSet<PathBuf>,
    /// Some files were too young to be looked at.
    put_off: bool,
    slots: BTreeMap<String, Running>,
    /// What a person asked of collectors, on top of the configuration.
    steering: Steering,
    config_status: ConfigStatus,
    status: watch::Sender<Arc<CoreStatus>>,
    /// Directories that could not be watched, so that each is named once.
    unwatched: HashSet<PathBuf>,
    /// The configuration's files as they were when they were last read.
    config_print: ConfigPrint,
    /// As they were at the last patrol.
    patrol_print: ConfigPrint,
    /// The same, of those that could not be read.
    unreadable: HashSet<PathBuf>,
    /// The plugin directories as they were when a patrol last looked into them, and how many
    /// did not since.
    patrolled: (Vec<Option<DirectoryPrint>>, u32),
    memory: Housekeeping,
}

struct Running {
    handle: SlotHandle,
    spec: CollectorSpec,
}

/// What the core publishes.
#[derive(Default)]
pub(super) struct CoreStatus {
    pub(super) plugins: Vec<PluginStatus>,
    pub(super) slots: Vec<watch::Receiver<SlotStatus>>,
    /// Collectors that are there and don't run: disabled, or without a plugin.
    pub(super) idle: Vec<SlotStatus>,
    pub(super) steering: Steering,
    pub(super) config: ConfigStatus,
    /// Every file of the first look was admitted or rejected.
    pub(super) settled: bool,
}

impl Core {
    pub(super) fn start(
        services: Arc<Services>,
        config: Config,
        loader: Loader,
        watcher: Watcher,
        mut changes: ChangeStream,
        commands: &mpsc::UnboundedSender<Command>,
        queue: mpsc::UnboundedReceiver<Command>,
    ) -> watch::Receiver<Arc<CoreStatus>> {
        let (status, receiver) = watch::channel(Arc::default());
        let config_print = config.print();
        let core = Self {
            services,
            config,
            loader,
            watcher,
            commands: commands.clone(),
            plugins: Plugins::default(),
            known: Scanned::new(),
            busy: HashSet::new(),
            put_off: false,
            slots: BTreeMap::new(),
            steering: Steering::default(),
            config_status: ConfigStatus::default(),
            status,
            unwatched: HashSet::new(),
            patrol_print: config_print.clone(),
            config_print,
            unreadable: HashSet::new(),
            patrolled: (Vec::new(), 0),
            memory: Housekeeping::default(),
        };
        let watching = commands.clone();
        tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                if watching.send(Command::Changed(change)).is_err() {
                    return;
                }
            }
        });
        tokio::spawn(core.run(queue));
        receiver
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        self.record();
        self.watch();
        self.look();
        self.publish();
        let mut patrol = tokio::time::interval(PATROL);
        loop {
            let command = tokio::select! {
                command = queue.recv() => command,
                _ = patrol.tick() => Some(Command::Patrol),
            };
            let Some(command) = command else { return };
            match command {
                Command::Patrol => {
                    let print = self.config.print();
                    let edited = print != self.config_print;
                    let stable = print == self.patrol_print;
                    self.patrol_print = print;
                    // Nothing was heard of it, so whether it is complete is not known.
                    if edited && !stable {
                        self.look_again();
                    } else if edited && !self.busy.contains(&self.config.file) {
                        self.reload_unless_young();
                    }
                    self.watch();
                    self.memory.keep();
                    if !self.patrol() && !edited {
                        continue; // nothing to publish
                    }
                }
                Command::Changed(changes) => self.changed(changes),
                Command::Checked { path, checked } => self.checked(&path, checked),
                Command::Bare { plugin, generation, bare } => {
                    self.answered_bare(&plugin, generation, bare);
                }
                Command::Reload { done } => {
                    let loaded = (self.loader)();
                    let outcome = self.reload(loaded);
                    self.look();
                    self.check_again(|_| true);
                    if let Some(done) = done {
                        let _ = done.send(outcome);
                    }
                }
                Command::Steer { collector, order, done } => {
                    let outcome = self.steer(&collector, order);
                    self.publish(); // before it is answered: whoever asks then sees it
                    if let Some(done) = done {
                        let _ = done.send(outcome);
                    }
                    continue;
                }
                Command::Collect { collector, topics, done } => {
                    self.collect(&collector, topics, done);
                }
                Command::Shutdown { done } => {
                    self.shutdown().await;
                    let _ = done.send(());
                    return;
                }
            }
            self.publish();
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        match &self.config.directories {
            Some(directories) => directories.clone(),
            None => default_directories(),
        }
    }

    /// Watches the plugin directories, and the configuration's.
    fn watch(&mut self) {
        let mut wanted: HashSet<PathBuf> = self.directories().into_iter().collect();
        for file in &self.config.files {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            wanted.insert(parent.to_owned());
            let parts = parent.join("conf.d");
            if parts.is_dir() {
                wanted.insert(parts);
            }
        }
        let failed = self.watcher.set(&wanted);
        for (directory, error) in &failed {
            let system =
                self.config.directories.is_none() && directory == Path::new(SYSTEM_PLUGINS);
            if !system && !self.unwatched.contains(directory) {
                tracing::warn!(directory = %directory.display(), "can't be watched: {error}");
            }
        }
        self.unwatched = failed.into_iter().map(|(directory, _)| directory).collect();
    }

    fn changed(&mut self, changes: Changes) {
        self.busy = changes.busy;
        let is_toml =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        let configured = |path: &PathBuf| {
            self.config.files.contains(path)
                || path.parent().is_some_and(|parent| parent.ends_with("conf.d"))
        };
        let config = changes.paths.iter().any(|path| is_toml(path) && configured(path));
        let writing = self.busy.iter().any(configured);
        if (config || changes.overflow) && !writing {
            self.reload_unless_young();
        }
        self.look();
    }

    /// Reads the configuration again, or a moment later if somebody may be writing it now.
    fn reload_unless_young(&mut self) {
        let young = |print: &ConfigPrint| {
            print.iter().any(|(_, (_, size, seconds, nanos))| is_young(*size, *seconds, *nanos))
        };
        let before = self.config.print();
        if young(&before) {
            return self.look_again();
        }
        let loaded = (self.loader)();
        if self.config.print() == before {
            self.reload(loaded);
        } else {
            self.look_again(); // it was written to while it was read
        }
    }

    /// Looks at everything once more in a moment.
    fn look_again(&self) {
        let commands = self.commands.clone();
        tokio::spawn(async move {
            tokio::time::sleep(A_MOMENT).await;
            let _ = commands.send(Command::Patrol); // ended meanwhile
        });
    }

    /// Looks into the directories if something may have changed of which nothing told.
    fn patrol(&mut self) -> bool {
        let directories = self.directories();
        let prints: Vec<_> = directories.iter().map(|path| directory_print(path)).collect();
        let mut places = directories.iter().zip(&prints);
        let blind = places.any(|(path, print)| print.is_some() && self.unwatched.contains(path));
        let (before, passed) = &mut self.patrolled;
        *passed += 1;
        if !blind && !self.put_off && *before == prints && *passed < PATROLS {
            return false;
        }
        self.patrolled = (prints, 0);
        self.look()
    }

    /// Compares the directories with what is known of them; says whether anything is different.
    fn look(&mut self) -> bool {
        let (mut found, unreadable) = scan(&self.directories(), &self.busy);
        for (directory, error) in &unreadable {
            if !self.unreadable.contains(directory) {
                tracing::error!(directory = %directory.display(), "can't be read: {error}; its plugins stay as they are");
            }
            let known = self.known.iter().filter(|(path, _)| path.parent() == Some(directory));
            found.extend(known.map(|(path, print)| (path.clone(), print.clone())));
        }
        // What somebody may be writing now is as it was before, for a moment.
        let young = |(path, print): (&PathBuf, &Print)| {
            (print.is_young() && self.known.get(path) != Some(print)).then(|| path.clone())
        };
        let young: Vec<PathBuf> = found.iter().filter_map(young).collect();
        for path in &young {
            match self.known.get(path) {
                Some(known) => found.insert(path.clone(), known.clone()),
                None => found.remove(path),
            };
        }
        let was_put_off = std::mem::replace(&mut self.put_off, !young.is_empty());
        if self.put_off {
            self.look_again();
        }
        self.unreadable = unreadable.into_iter().map(|(directory, _)| directory).collect();
        let busy = &self.busy;
        let (changed, gone) = self.plugins.diff(&self.known, &found, |path| {
            is_busy(busy, path) || young.iter().any(|young| young == path)
        });
        let different = !changed.is_empty() || !gone.is_empty() || was_put_off;
        for path in changed {
            self.check(path);
        }
        for path in gone {
            self.removed(&path);
        }
        self.known = found;
        different
    }

    fn collect(
        &self,
        collector: &str,
        topics: Vec<String>,
        done: oneshot::Sender<Result<(), Failure>>,
    ) {
        match self.slots.get(collector) {
            Some(running) => {
                running.handle.send(SlotCommand::Collect { topics, done });
            }
            None => {
                let text = format!("there is no collector `{collector}`");
                let _ = done.send(Err(Failure::Failed(text)));
            }
        }
    }

    fn publish(&self) {
        let status = CoreStatus {
            plugins: self.plugins.status(),
            slots: self.slots.values().map(|running| running.handle.status.clone()).collect(),
            idle: self.idle(),
            steering: self.steering.clone(),
            config: self.config_status.clone(),
            settled: !self.put_off && self.plugins.files.values().all(|file| !file.checking),
        };
        self.status.send_replace(Arc::new(status));
    }

    /// Stops the collectors side by side.
    async fn shutdown(&mut self) {
        self.all_slots().clear();
        let mut stopping = Vec::new();
        for (_, running) in std::mem::take(&mut self.slots) {
            let (done, stopped) = oneshot::channel();
            running.handle.send(SlotCommand::Stop { done });
            stopping.push(stopped);
        }
        for stopped in stopping {
            let _ = tokio::time::timeout(Duration::from_secs(6), stopped).await;
        }
        remove_if_empty(&self.services.state_dir);
        self.services.events.clear();
        self.services.history.end().await;
        self.services.spawner.end().await;
        self.services.threads.end();
        self.plugins = Plugins::default();
    }
}

fn directory_print(path: &Path) -> Option<DirectoryPrint> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.mode(), meta.ctime(), meta.ctime_nsec()))
}

/// The directory of the binary, and the system's.
pub(crate) fn default_directories() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    beside.into_iter().chain([PathBuf::from(SYSTEM_PLUGINS)]).collect()
}
